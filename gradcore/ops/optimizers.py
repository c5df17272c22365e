"""Optimiser steps as ops: one op for all parameters of a dtype, each parameter by one scalar expression.

Operands are the hyperparameters (0-d) and then, for each parameter, its group (parameter, gradient, slots); outputs are
the new parameter and slots of each group.  A device may run all groups in one launch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gradcore.core.aval import Aval
from gradcore.core.bind import as_tuple, bind
from gradcore.core.op import Op, Promotion
from gradcore.kernels import expr as e
from gradcore.ops.elementwise import Scalar, make_op
from gradcore.ops.fused import fused
from gradcore.ops.samples import normal, sample


def optimizer(name: str, meaning: Callable[..., Any], hyper: int, samples: tuple[Any, ...], doc: str) -> Op:
    """An optimiser step.

    Args:
        name: the op's name.
        meaning: scalar expression `(*hyperparameters, parameter, gradient, *slots)` to (new parameter, *new slots).
        hyper: how many hyperparameters.
        samples: for the generated tests.
        doc: what it does.
    """
    names = meaning.__code__.co_varnames[: meaning.__code__.co_argcount]
    group = len(names) - hyper
    scalar = Scalar(f"{name}_step", names, meaning, count=group - 1, doc=doc, hyper=names[:hyper])
    step = make_op(scalar, Promotion.COMMON, (), doc, internal=True)

    def groups(operands: Sequence[Any]) -> list[Sequence[Any]]:
        return [operands[i : i + group] for i in range(hyper, len(operands), group)]

    def composed(*operands: Any) -> tuple[Any, ...]:
        shared = operands[:hyper]
        return tuple([out for g in groups(operands) for out in as_tuple(bind(step, (*shared, *g)))])

    def impl(xp: Any, out: Any, *operands: Any) -> tuple[Any, ...]:
        return xp.launch_groups(scalar.forward, out, operands, hyper)  # type: ignore[no-any-return]

    def abstract(*avals: Aval) -> tuple[Aval, ...]:
        return tuple([g[0].update(shape=g[0].shape) for g in groups(avals) for _ in range(group - 1)])

    return fused(
        name,
        (*names[:hyper], "groups"),
        variadic=True,
        outputs=-1,
        meaning=composed,
        impl=impl,
        abstract=abstract,
        samples=samples,
        doc=doc,
        kernels={"elementwise": scalar},
    )


sgd_op: Op = optimizer(
    "sgd",
    lambda lr, p, g: (p - lr * g,),
    hyper=1,
    samples=(sample(normal(low=0.1, high=0.2), normal(3, 4), normal(3, 4), normal(2), normal(2)),),
    doc="p - lr * g for every parameter p with gradient g.",
)


sgd_decay_op: Op = optimizer(
    "sgd_decay",
    lambda lr, decay, p, g: (p - lr * (g + decay * p),),
    hyper=2,
    samples=(sample(*[normal(low=0.1, high=0.2)] * 2, normal(3, 4), normal(3, 4), normal(2), normal(2)),),
    doc="p - lr * (g + decay * p) for every parameter p with gradient g.",
)


def _momentum(lr: Any, momentum: Any, decay: Any, p: Any, g: Any, v: Any) -> Any:
    new_v = momentum * v + (g + decay * p)
    return p - lr * new_v, new_v


momentum_op: Op = optimizer(
    "sgd_momentum",
    _momentum,
    hyper=3,
    samples=(sample(*[normal(low=0.1, high=0.9)] * 3, normal(3, 4), normal(3, 4), normal(3, 4)),),
    doc="v = momentum * v + g + decay * p; p - lr * v (Sutskever et al., 2013).",
)


def _adamw(lr: Any, beta1: Any, beta2: Any, eps: Any, decay: Any, step: Any, p: Any, g: Any, m: Any, v: Any) -> Any:
    new_m = beta1 * m + (1 - beta1) * g
    new_v = beta2 * v + (1 - beta2) * (g * g)
    rate = lr / (1 - beta1**step)
    deviation = e.sqrt(new_v / (1 - beta2**step)) + eps
    return p - lr * decay * p - rate * (new_m / deviation), new_m, new_v


_ADAMW_OPERANDS = (
    *[normal(low=0.1, high=0.5)] * 5,
    normal(low=1.0, high=3.0),
    *[normal(3, 4)] * 3,
    normal(3, 4, low=0.5, high=1.0),
)
adamw_op: Op = optimizer(
    "adamw",
    _adamw,
    hyper=6,
    samples=(  # all ten operands at once to order 3 make kernels of over a hundred inputs
        sample(*_ADAMW_OPERANDS, order=1, label="all"),
        sample(*_ADAMW_OPERANDS, wrt=(6, 7), label="parameter and gradient"),
        sample(*_ADAMW_OPERANDS, wrt=(0, 8, 9), order=2, label="rate and slots"),
    ),
    doc="Adam with decoupled weight decay (Loshchilov and Hutter, 2019, arXiv:1711.05101).",
)
