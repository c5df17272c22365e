"""scan: a loop as one op.

Derivatives of a loop are loops.  Forward mode carries the tangents along.  Reverse mode is a loop in the other
direction, which carries the cotangents and reads what each step was given; so a loop that is differentiated also
returns the carry before each step, as one more result, and nothing else is kept: the backward loop performs each step
again.  All of these are `scan` ops, and so every order and mixture follows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import index
from typing import Any, NamedTuple

from gradcore.autodiff.arguments import as_value, common_device
from gradcore.autodiff.capture import Body, capture, derived
from gradcore.autodiff.record import add, zeros
from gradcore.core.aval import Aval, aval_of
from gradcore.core.bind import bind
from gradcore.core.op import Family, Mask, Op, Saved
from gradcore.core.trees import Structure, flatten, unflatten
from gradcore.ops.bodies import (
    chosen,
    floating,
    moved_by,
    over_examples,
    own,
    pull,
    push,
    repeated,
    spread,
    swapped,
    written,
    zeros_like,
)


def scan(
    f: Callable[..., Any], init: Any, xs: Any = None, length: int | None = None, reverse: bool = False
) -> tuple[Any, Any]:
    """Carry a value through a loop: `carry, y = f(carry, x)` for each `x` along the first axis of `xs`.

    It is one op: `f` is captured once, a graph has one node for the loop whatever its length, and the gradient keeps
    the carry before each step only (each step is performed again on the way back). In eager code a Python loop is as
    good where memory is no concern.

    Args:
        f: takes the carry and one `x`, returns a pair: the next carry, with the structure, shapes and dtypes of `init`,
            and a tree of tensors (None for nothing). It may use tensors and read cells from around it.
        init: the first carry, a tree of tensors, arrays and numbers.
        xs: a tree of tensors and arrays with first axes of one size, or None.
        length: number of steps; needed where `xs` is None.
        reverse: go from the last `x` to the first; `ys` are in the order of `xs` all the same.

    Returns:
        The last carry, and `ys`: a tree with each `y` at its place along a new first axis.

    Raises:
        TypeError: `f` returns no pair, or the carry changes its structure, shape or dtype.
        ValueError: the first axes of `xs` differ from each other or from `length`, or there is no length.
        StageError: `f` assigns a cell, or asks for the elements of a tensor.

    Example:
        >>> import gradcore as gc
        >>> def step(total, x):
        ...     total = total * 0.5 + x
        ...     return total, total
        >>> gc.scan(step, gc.tensor(0.0), gc.tensor([1.0, 2.0, 4.0]))[1]
        tensor([1.  , 2.5 , 5.25], dtype=float32, device='cpu')
        >>> gc.grad(lambda x: gc.scan(step, gc.tensor(0.0), x)[0])(gc.tensor([1.0, 2.0, 4.0]))
        tensor([0.25, 0.5 , 1.  ], dtype=float32, device='cpu')
    """
    carry, carry_structure = flatten(init)
    slices, x_structure = flatten(xs)
    device = common_device([*carry, *slices])
    carry = [as_value(leaf, "the first carry of scan", device) for leaf in carry]
    slices = [as_value(leaf, "an operand of scan") for leaf in slices]
    steps = _length(slices, length)

    def flat(*leaves: Any) -> Any:
        state = unflatten(carry_structure, leaves[: len(carry)])
        result = f(state, unflatten(x_structure, leaves[len(carry) :]))
        if not isinstance(result, tuple) or len(result) != 2:
            raise TypeError(f"scan needs a function that returns a pair (carry, y), not {flatten(result)[1]}")
        return result

    avals = [*[x.aval for x in carry], *[_one(x.aval) for x in slices]]
    body, closed, structure = capture(flat, avals, "scan")
    _check_carry(carry, carry_structure, body, structure)
    loop = Loop(body, len(closed), len(carry), steps, bool(reverse))
    outs = bind(SCAN, (*closed, *carry, *slices), (loop,))
    last, ys = unflatten(structure, outs)
    return last, ys


def _length(slices: Sequence[Any], length: int | None) -> int:
    if any(x.shape == () for x in slices):
        raise ValueError("scan goes along the first axis of xs, and one of them has no axes")
    sizes = {int(x.shape[0]) for x in slices}
    if length is not None:
        sizes.add(_whole(length))
    if len(sizes) != 1:
        told = " and length" if length is not None else ""
        raise ValueError(
            f"scan got different numbers of steps from xs{told}: {sorted(sizes)}"
            if sizes
            else "scan without xs needs length="
        )
    (steps,) = sizes
    if steps < 0:
        raise ValueError(f"scan cannot take {steps} steps")
    return steps


def _whole(length: Any) -> int:
    try:
        return index(length)
    except TypeError:
        raise TypeError(f"scan takes a whole number as length, not {length!r}") from None


def _one(aval: Aval) -> Aval:
    """Of one step's part."""
    return aval.update(shape=aval.shape[1:])


def _check_carry(carry: Sequence[Any], before: Structure, body: Body, structure: Structure) -> None:
    after = structure.children[0]
    if after != before:
        raise TypeError(f"scan: the carry went in as {before} and came out as {after} (* is a tensor)")
    for k, (x, aval) in enumerate(zip(carry, body.results, strict=False)):
        if (tuple(x.shape), x.dtype) != (aval.shape, aval.dtype):
            raise TypeError(
                f"scan: leaf {k} of the carry went in as {x.dtype}{list(x.shape)} and came out as "
                f"{aval.dtype}{list(aval.shape)}; start with a carry of that shape and dtype, or cast it back with "
                ".astype()"
            )


# --- the op -----------------------------------------------------------------------------------------------------------


class Loop(NamedTuple):
    """What is static in a scan.  Operands: what the body closes over, the carry, the xs."""

    body: Body
    closed: int
    carry: int
    length: int
    reverse: bool

    def split(self, operands: Sequence[Any]) -> tuple[list[Any], list[Any], list[Any]]:
        """Closed-over values, carry, xs."""
        stop = self.closed + self.carry
        return list(operands[: self.closed]), list(operands[self.closed : stop]), list(operands[stop:])

    def outputs(self) -> list[Aval]:
        """Carry, and then ys."""
        found = self.body.results
        long = [aval.update(shape=(self.length, *aval.shape)) for aval in found[self.carry :]]
        return found[: self.carry] + long

    def one(self, operands: Sequence[Any]) -> list[Aval]:
        """Avals of what the body gets."""
        closed, carry, xs = self.split([aval_of(x) for x in operands])
        return [*closed, *carry, *map(_one, xs)]

    def derive(self, key: Any, step: Callable[..., Any], groups: Sequence[Sequence[Any]], **changes: Any) -> Loop:
        """A loop with another body, captured once per key, for closed-over values, carry and xs of three groups."""
        shape = self._replace(closed=len(groups[0]), carry=len(groups[1]), **changes)
        cache = self.body.cache
        if (key, self.closed, self.carry) not in cache:
            operands = [x for group in groups for x in group]
            cache[key, self.closed, self.carry] = derived(step, shape.one(operands), "scan")
        return shape._replace(body=cache[key, self.closed, self.carry])

    def __repr__(self) -> str:
        return f"{self.body!r} x {self.length}{' in reverse' if self.reverse else ''}"


def _impl(xp: Any, out: Any, *rest: Any) -> Any:
    *arrays, loop = rest
    closed, carry, xs = loop.split(arrays)
    targets = list(out[loop.carry :]) if out is not None else []
    targets = targets or [xp.np.empty(aval.shape, aval.dtype) for aval in loop.outputs()[loop.carry :]]
    order = range(loop.length)
    for i in reversed(order) if loop.reverse else order:
        results = loop.body.run(xp, [*closed, *carry, *[x[i, ...] for x in xs]])
        carry = results[: loop.carry]
        for target, y in zip(targets, results[loop.carry :], strict=True):
            target[i] = y
    last = [own(xp, x, arrays) for x in carry]
    if out is None:
        return (*last, *targets)
    written(out[: loop.carry], last, xp)
    return out


def _abstract(*rest: Any) -> tuple[Aval, ...]:
    return tuple(rest[-1].outputs())


def _bind(loop: Loop, *groups: Sequence[Any]) -> list[Any]:
    return list(bind(SCAN, tuple([x for group in groups for x in group]), (loop,)))


def _jvp(tangents: Sequence[Any], operands: Sequence[Any], outs: Any, params: tuple[Loop]) -> Any:
    (loop,) = params
    groups = loop.split(operands)
    moves = list(loop.split(tangents))
    moves[1] = [zeros_like(x) if m is None and floating(x) else m for x, m in zip(groups[1], moves[1], strict=True)]
    masks = [tuple([m is not None for m in group]) for group in moves]
    both = [[*group, *chosen(move, mask)] for group, move, mask in zip(groups, moves, masks, strict=True)]
    sizes = [len(group) for group in both]
    count = loop.carry

    def step(*flat: Any) -> Any:
        parts = flat[: sizes[0]], flat[sizes[0] : sizes[0] + sizes[1]], flat[sizes[0] + sizes[1] :]
        values = [x for part, group in zip(parts, groups, strict=True) for x in part[: len(group)]]
        found = [m for p, group, mask in zip(parts, groups, masks, strict=True) for m in spread(p[len(group) :], mask)]
        results, pushed = push(loop.body, values, found)
        moving = sum(masks[1])
        return [*results[:count], *pushed[:moving], *results[count:], *pushed[moving:]]

    found = _bind(loop.derive(("jvp", *masks), step, both), *both)
    moving, results = sum(masks[1]), loop.body.results
    last, ys = found[: sizes[1]], found[sizes[1] :]
    stop = len(results) - count
    kinds = list(map(floating, results))
    pushed = [*spread(last[count : count + moving], kinds[:count]), *spread(ys[stop:], kinds[count:])]
    return (*last[:count], *ys[:stop]), pushed


def _saving(*rest: Any) -> Any:
    """The loop that also returns the carry before each step, which its vjp reads."""
    *operands, loop = rest
    groups = loop.split(operands)

    def step(*flat: Any) -> Any:
        return [*loop.body(*flat), *loop.split(flat)[1]]

    saving = loop.derive("saving", step, groups)
    return tuple(bind(SAVING, tuple(operands), (saving,)))[: len(loop.body.results)]


def _saves(needed: Mask, params: tuple[Loop]) -> Saved:
    (loop,) = params
    count = len(loop.body.results)
    closed, _, xs = loop.split(range(len(needed)))
    return Saved((*closed, *xs), tuple(range(count - loop.carry, count)))


def _vjp(needed: Mask, g: Any, operands: Sequence[Any], outs: Any, params: tuple[Loop]) -> Any:
    """The loop backward: it carries the cotangents of the carry and the sums for what the body closes over."""
    (loop,) = params
    closed, carry, xs = loop.split(operands)
    needed = moved_by(needed, operands)
    of_closed, of_init, of_xs = map(tuple, loop.split(needed))
    gs = tuple(g) if isinstance(g, tuple) else (g,)
    gs += (None,) * (len(loop.body.results) - len(gs))
    moving = tuple([floating(x) for x in carry])
    mask = tuple([part is not None for part in gs[loop.carry :]])
    before = outs[len(outs) - loop.carry :]
    like = next(part for part in gs if part is not None)
    start = [zeros(aval_of(x), like) if part is None else part for x, part in zip(carry, gs, strict=False)]
    groups = (
        closed,
        [*chosen(start, moving), *[zeros_like(x) for x in chosen(closed, of_closed)]],
        [*before, *xs, *chosen(gs[loop.carry :], mask)],
    )

    def step(*flat: Any) -> Any:
        values = list(flat[: len(closed)])
        state = list(flat[len(closed) : len(closed) + len(groups[1])])
        rest = list(flat[len(closed) + len(groups[1]) :])
        count = sum(moving)
        primals = [*values, *rest[: loop.carry], *rest[loop.carry : loop.carry + len(xs)]]
        parts = [*spread(state[:count], moving), *spread(rest[loop.carry + len(xs) :], mask)]
        found = pull(loop.body, primals, (*of_closed, *moving, *of_xs), parts)
        sums, stop = state[count:], len(state) - count
        return [
            *found[stop : stop + count],
            *[add(a, b) for a, b in zip(sums, found[:stop], strict=True)],
            *found[stop + count :],
        ]

    back = loop.derive(("vjp", needed, mask), step, groups, reverse=not loop.reverse)
    found = _bind(back, *groups)
    count, stop = sum(moving), len(groups[1])
    init = [part if on else None for part, on in zip(spread(found[:count], moving), of_init, strict=True)]
    return (*spread(found[count:stop], of_closed), *init, *spread(found[stop:], of_xs))


def _batch(size: int, mapped: Sequence[bool], operands: Sequence[Any], params: tuple[Loop]) -> Any:
    (loop,) = params
    of_closed, of_carry, of_xs = map(tuple, loop.split(mapped))
    closed, carry, xs = loop.split(operands)
    xs = [swapped(x) if on else x for x, on in zip(xs, of_xs, strict=True)]
    while True:  # the carry is mapped where it starts so, and where a step makes it so
        state = [x if on == was else repeated(x, size) for x, on, was in _rows(carry, of_carry, loop, mapped)]
        groups = closed, state, xs
        masks = (*of_closed, *of_carry, *of_xs)
        owned: list[bool] = loop.body.cache.setdefault(("owned", size, masks), [])

        def step(*flat: Any, masks: Any = masks, owned: Any = owned, of_carry: Any = of_carry) -> Any:
            outs, owned[:] = over_examples(loop.body, size, flat, masks)
            forced = [*of_carry, *[True] * (len(outs) - loop.carry)]
            return [repeated(x, size) if f and not o else x for x, o, f in zip(outs, owned, forced, strict=True)]

        wide = loop.derive(("batch", size, masks), step, groups)
        grown = tuple([a or b for a, b in zip(of_carry, owned, strict=False)])
        if grown == of_carry:
            break
        of_carry = grown
    found = _bind(wide, *groups)
    last = [x if on else repeated(x, size) for x, on in zip(found, of_carry, strict=False)]
    return (*last, *map(swapped, found[loop.carry :]))


def _rows(carry: Sequence[Any], of_carry: Sequence[bool], loop: Loop, mapped: Sequence[bool]) -> Any:
    return zip(carry, of_carry, loop.split(mapped)[1], strict=True)


def _op(name: str, **fields: Any) -> Op:
    return Op(
        name=name,
        family=Family.CALL,
        inputs=("operands",),
        params=("loop",),
        outputs=-1,
        variadic=True,
        impl=_impl,
        abstract=_abstract,
        jvp=_jvp,
        batch=_batch,
        half=False,
        internal=True,
        doc=scan.__doc__ or "",
        **fields,
    )


SCAN = _op("scan", meaning=_saving)
SAVING = _op("scan_saving", vjp=_vjp, saves=_saves)
