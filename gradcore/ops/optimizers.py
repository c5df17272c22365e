"""Optimiser steps as ops: one op for all parameters of a dtype, each parameter by one scalar expression.

Operands are the hyperparameters (0-d) and then, for each parameter, its group (parameter, gradient, slots); outputs are
the new parameter and slots of each group.  A device may run all groups in one launch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

from gradcore.core.aval import Aval
from gradcore.core.bind import as_tuple, bind
from gradcore.core.op import Op, Promotion, Sample
from gradcore.kernels import expr as e
from gradcore.ops.conversion import beside
from gradcore.ops.elementwise import make_op
from gradcore.ops.fused import fused
from gradcore.ops.samples import Make, normal, sample
from gradcore.ops.scalar import Scalar

MakeShape = Callable[..., Make]


def optimizer(
    name: str, meaning: Callable[..., Any], hyper: str, slots: str, samples: tuple[Sample, ...], doc: str
) -> Op:
    """An optimiser step.

    Args:
        name: the op's name.
        meaning: scalar expression `(*hyperparameters, parameter, gradient, *slots)` to (new parameter, *new slots).
        hyper: names of the hyperparameters; `step`, where there is one, comes last and counts the steps from 1.
        slots: names of the slots.
        samples: for the generated tests.
        doc: what it does.
    """
    shared, names = len(hyper.split()), (*hyper.split(), "p", "g", *slots.split())
    group = len(names) - shared
    scalar = Scalar(f"{name}_step", names, meaning, count=group - 1, doc=doc, hyper=names[:shared])
    step = make_op(scalar, Promotion.COMMON, (), doc, internal=True)

    def groups(operands: Sequence[Any]) -> list[Sequence[Any]]:
        return [operands[i : i + group] for i in range(shared, len(operands), group)]

    def composed(*operands: Any) -> tuple[Any, ...]:
        """Derivatives of rates are computed beside the parameters and go back to where the rates are."""
        rates = [beside(operands[shared], rate) for rate in operands[:shared]]
        return tuple([out for g in groups(operands) for out in as_tuple(bind(step, (*rates, *g)))])

    def impl(xp: Any, out: Any, *operands: Any) -> tuple[Any, ...]:
        return xp.launch_groups(scalar.forward, out, operands, shared)  # type: ignore[no-any-return]

    def abstract(*avals: Aval) -> tuple[Aval, ...]:
        return tuple([g[0].update(shape=g[0].shape) for g in groups(avals) for _ in range(group - 1)])

    return fused(
        name,
        (*names[:shared], "groups"),
        variadic=True,
        outputs=-1,
        meaning=composed,
        impl=impl,
        abstract=abstract,
        samples=samples,
        doc=doc,
        cuda_half=True,
        host=frozenset(range(shared)),
        kernels={"elementwise": scalar},
    )


def hyper_of(op: Op) -> tuple[str, ...]:
    """Names of the hyperparameters of an optimiser step, in the order of its operands."""
    return op.inputs[:-1]


def slots_of(op: Op) -> tuple[str, ...]:
    """Names of the slots that it keeps for each parameter."""
    return op.kernels["elementwise"].inputs[len(op.inputs) + 1 :]  # type: ignore[no-any-return]


# --- samples ----------------------------------------------------------------------------------------------------------


def between(low: float, high: float) -> MakeShape:
    return lambda *shape: normal(*shape, low=low, high=high)


def _samples(hyper: Sequence[MakeShape], group: Sequence[MakeShape]) -> tuple[Sample, ...]:
    """All operands at once to order 3 would make kernels of over a hundred inputs; so each kind has its own sample."""
    scalars = [make() for make in hyper]
    count = len(scalars)

    def one(*shape: int) -> list[Make]:
        return [make(*shape) for make in group]

    return (
        sample(*scalars, *one(3, 4), order=1, label="all"),
        sample(*scalars, *one(3, 4), wrt=(count, count + 1), label="parameter and gradient"),
        sample(*scalars, *one(2), wrt=(0, *range(count + 2, count + len(group))), order=2, label="rate and slots"),
        sample(*scalars, *one(), *one(0, 3), *one(2, 1), wrt=(0, count), order=1, label="(),(0, 3),(2, 1)"),
    )


RATE = between(0.1, 0.5)
STEP = between(1.0, 3.0)
LARGE = between(0.5, 1.0)  # mean squares: their roots keep clear of 0


# --- stochastic gradient descent --------------------------------------------------------------------------------------


sgd_op: Op = optimizer(
    "sgd",
    lambda lr, p, g: (p - lr * g,),
    hyper="lr",
    slots="",
    samples=_samples([RATE], [normal, normal]),
    doc="p - lr * g for every parameter p with gradient g.",
)


sgd_decay_op: Op = optimizer(
    "sgd_decay",
    lambda lr, weight_decay, p, g: (p - lr * (g + weight_decay * p),),
    hyper="lr weight_decay",
    slots="",
    samples=_samples([RATE] * 2, [normal, normal]),
    doc="p - lr * (g + weight_decay * p) for every parameter p with gradient g.",
)


def _momentum(nesterov: bool, decoupled: bool) -> Op:
    def meaning(lr: Any, momentum: Any, weight_decay: Any, p: Any, g: Any, v: Any) -> Any:
        decay = weight_decay * p
        g = g if decoupled else g + decay
        new_v = momentum * v + g
        move = g + momentum * new_v if nesterov else new_v
        return p - lr * (move + decay if decoupled else move), new_v

    kind = "Nesterov's momentum" if nesterov else "momentum"
    return optimizer(
        f"sgd{'w' if decoupled else ''}_{'nesterov' if nesterov else 'momentum'}",
        meaning,
        hyper="lr momentum weight_decay",
        slots="momentum_buffer",
        samples=_samples([RATE] * 3, [normal] * 3),
        doc=f"Gradient descent with {kind}{' and decoupled weight decay' if decoupled else ''}.",
    )


MOMENTUM_OPS = {flags: _momentum(*flags) for flags in product((False, True), repeat=2)}
"""Step with momentum, by (nesterov, decoupled weight decay)."""


# --- steps divided by the root of mean squares ------------------------------------------------------------------------


def _adam(decoupled: bool) -> Callable[..., Any]:
    def meaning(
        lr: Any, beta1: Any, beta2: Any, eps: Any, decay: Any, step: Any, p: Any, g: Any, m: Any, v: Any
    ) -> Any:
        g = g if decoupled else g + decay * p
        new_m = beta1 * m + (1 - beta1) * g
        new_v = beta2 * v + (1 - beta2) * (g * g)
        rate = lr / (1 - beta1**step)
        deviation = e.sqrt(new_v / (1 - beta2**step)) + eps
        return (p - lr * decay * p if decoupled else p) - rate * (new_m / deviation), new_m, new_v

    return meaning


_ADAM: dict[str, Any] = {
    "hyper": "lr beta1 beta2 eps weight_decay step",
    "slots": "exp_avg exp_avg_sq",
    "samples": _samples([*[RATE] * 5, STEP], [*[normal] * 3, LARGE]),
}
adam_op = optimizer("adam", _adam(False), **_ADAM, doc="Adam (Kingma and Ba, 2015, arXiv:1412.6980).")
adamw_op = optimizer(
    "adamw",
    _adam(True),
    **_ADAM,
    doc="Adam with decoupled weight decay (Loshchilov and Hutter, 2019, arXiv:1711.05101).",
)


def _rmsprop(centered: bool, momentum: bool) -> Op:
    """The hyperparameter and the slots of what is off are left out."""

    def meaning(lr: Any, alpha: Any, eps: Any, decay: Any, *others: Any) -> Any:
        p, g, square, *slots = others[1:] if momentum else others
        g = g + decay * p
        variance = new_square = alpha * square + (1 - alpha) * (g * g)
        made = [new_square]
        if centered:
            mean = alpha * slots[0] + (1 - alpha) * g
            variance = e.maximum(new_square - mean * mean, 0)  # rounding may take it below 0
            made.append(mean)
        move = g / (e.sqrt(variance) + eps)
        if momentum:
            move = others[0] * slots[-1] + move
            made.append(move)
        return p - lr * move, *made

    hyper, slots = "lr alpha eps weight_decay", "square_avg"
    small = between(-0.3, 0.3)
    return optimizer(
        f"rmsprop{'_centered' if centered else ''}{'_momentum' if momentum else ''}",
        meaning,
        hyper=hyper + " momentum" * momentum,
        slots=slots + " grad_avg" * centered + " momentum_buffer" * momentum,
        samples=_samples(
            [RATE, LARGE, RATE, RATE, *[RATE] * momentum],
            [normal, normal, LARGE, *[small] * centered, *[normal] * momentum],
        ),
        doc=f"RMSprop (Hinton, 2012){', centered' * centered}{', with momentum' * momentum}.",
    )


RMSPROP_OPS = {flags: _rmsprop(*flags) for flags in product((False, True), repeat=2)}
"""RMSprop, by (centered, with momentum)."""


def _adagrad(lr: Any, lr_decay: Any, eps: Any, decay: Any, step: Any, p: Any, g: Any, total: Any) -> Any:
    g = g + decay * p
    new_total = total + g * g
    rate = lr / (1 + (step - 1) * lr_decay)
    return p - rate * (g / (e.sqrt(new_total) + eps)), new_total


adagrad_op = optimizer(
    "adagrad",
    _adagrad,
    hyper="lr lr_decay eps weight_decay step",
    slots="sum",
    samples=_samples([*[RATE] * 4, STEP], [normal, normal, LARGE]),
    doc="Adagrad (Duchi, Hazan and Singer, 2011).",
)


# --- steps by the sign ------------------------------------------------------------------------------------------------


def _lion(lr: Any, beta1: Any, beta2: Any, decay: Any, p: Any, g: Any, m: Any) -> Any:
    direction = e.sign(beta1 * m + (1 - beta1) * g)
    return p - lr * (direction + decay * p), beta2 * m + (1 - beta2) * g


def _clear_of_zero(*shape: int) -> Make:
    return normal(*shape, away=1.0)


lion_op = optimizer(
    "lion",
    _lion,
    hyper="lr beta1 beta2 weight_decay",
    slots="exp_avg",
    samples=_samples([RATE, between(0.6, 0.9), RATE, RATE], [normal, between(-1.0, 1.0), _clear_of_zero]),
    doc="Lion (Chen et al., 2023, arXiv:2302.06675).",
)
