"""Functions that rearrange elements, products, indexing."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import gradcore as gc

from .libraries import F, jax, jnp, torch
from .peers import Draw, Peer, elements, numbers, operand, ours, shapes


def large(low: int, high: int, side: int, **params: Any) -> Any:
    """An operand of `low` to `high` axes of at least `side`; keyword arguments by functions of (draw, shape)."""

    def make(draw: Any, rng: Any, dtype: Any) -> Draw:
        shape = draw(shapes(low, high, side))
        return Draw([numbers(rng, shape, dtype)], {name: rule(draw, shape) for name, rule in params.items()})

    return operand(make)


def _one(low: int = 0, side: int = 0, **params: Any) -> Any:
    return large(low, 3, side, **params)


def axis(draw: Any, shape: Any) -> int:
    return int(draw(st.integers(-len(shape), len(shape) - 1)))


def axes(draw: Any, shape: Any) -> tuple[int, ...]:
    return tuple(draw(st.sets(st.integers(0, len(shape) - 1), min_size=1)))


def order(draw: Any, shape: Any) -> tuple[int, ...]:
    return tuple(draw(st.permutations(range(len(shape)))))


def offset(draw: Any, shape: Any) -> int:
    return int(draw(st.integers(-2, 2)))


def counts(draw: Any, shape: Any) -> tuple[int, ...]:
    return tuple(draw(st.lists(st.integers(0, 2), min_size=len(shape), max_size=len(shape))))


def widths(draw: Any, shape: Any) -> tuple[tuple[int, int], ...]:
    return tuple([(draw(st.integers(0, 2)), draw(st.integers(0, 2))) for _ in shape])


def torch_pad(x: Any, pad_width: Any) -> Any:
    return F.pad(x, [n for pair in reversed(pad_width) for n in pair]) if pad_width else x


def _pair(draw: Any, rng: Any, dtype: Any) -> Draw:
    """Operands that differ in the size of one axis."""
    shape = list(draw(shapes(1, 3, 1)))
    place = draw(st.integers(0, len(shape) - 1))
    arrays = []
    for _ in range(3):
        shape[place] = draw(st.integers(0, 3))
        arrays.append(numbers(rng, shape, dtype))
    return Draw(arrays, {"axis": place})


def _same(draw: Any, rng: Any, dtype: Any) -> Draw:
    shape = draw(shapes(0, 2))
    place = draw(st.integers(0, len(shape)))
    return Draw([numbers(rng, shape, dtype) for _ in range(3)], {"axis": place})


def _flat(draw: Any, rng: Any, dtype: Any) -> Draw:
    return Draw([numbers(rng, draw(st.integers(1, 4)), dtype) for _ in "ab"], {})


def _even(draw: Any, rng: Any, dtype: Any) -> Draw:
    """Two vectors of one size."""
    size = draw(st.integers(1, 4))
    return Draw([numbers(rng, size, dtype) for _ in "ab"], {})


def together(name: str, there: Any, draws: Any) -> Peer:
    """A function of a list of tensors."""
    return Peer(
        name,
        lambda *xs, axis: getattr(gc, name)(xs, axis=axis),
        lambda *xs, axis: there(xs, dim=axis),
        lambda *xs, axis: getattr(jnp, name)(xs, axis=axis),
        draws,
    )


SHAPES = [
    Peer("reshape", lambda x: gc.reshape(x, -1, 1), lambda x: x.reshape(-1, 1), lambda x: x.reshape(-1, 1), _one(1, 1)),
    Peer("ravel", ours("ravel"), torch.ravel, jnp.ravel, _one()),
    Peer("transpose", ours("transpose"), lambda x, axes: x.permute(axes), jnp.transpose, _one(axes=order)),
    Peer("swapaxes", lambda x, a, b: gc.swapaxes(x, a, b), lambda x, a, b: torch.swapaxes(x, a, b),
         lambda x, a, b: jnp.swapaxes(x, a, b), _one(1, a=axis, b=axis)),
    Peer("moveaxis", lambda x, a, b: gc.moveaxis(x, a, b), lambda x, a, b: torch.moveaxis(x, a, b),
         lambda x, a, b: jnp.moveaxis(x, a, b), _one(1, a=axis, b=axis)),
    Peer("expand_dims", ours("expand_dims"), lambda x, axis: torch.unsqueeze(x, axis), jnp.expand_dims,
         _one(1, axis=axis)),
    Peer("squeeze", ours("squeeze"), torch.squeeze, jnp.squeeze, _one()),
    Peer("broadcast_to", lambda x: gc.broadcast_to(x, (2, *x.shape)), lambda x: x.expand(2, *x.shape),
         lambda x: jnp.broadcast_to(x, (2, *x.shape)), _one()),
    Peer("flip", ours("flip"), lambda x, axis: torch.flip(x, axis), jnp.flip, _one(1, axis=axes)),
    Peer("roll", lambda x, n, axis: gc.roll(x, n, axis), lambda x, n, axis: torch.roll(x, n, axis),
         lambda x, n, axis: jnp.roll(x, n, axis), _one(1, 1, n=offset, axis=axis)),
    Peer("tile", lambda x, n: gc.tile(x, n), lambda x, n: torch.tile(x, n), lambda x, n: jnp.tile(x, n),
         _one(n=counts)),
    Peer("repeat", lambda x, n, axis: gc.repeat(x, n, axis), lambda x, n, axis: torch.repeat_interleave(x, n, axis),
         lambda x, n, axis: jnp.repeat(x, n, axis), _one(1, n=lambda d, s: abs(offset(d, s)), axis=axis)),
    Peer("tril", ours("tril"), lambda x, k: torch.tril(x, k), jnp.tril, _one(2, k=offset)),
    Peer("triu", ours("triu"), lambda x, k: torch.triu(x, k), jnp.triu, _one(2, k=offset)),
    Peer("diag", ours("diag"), lambda x, k: torch.diag(x, k), jnp.diag,
         large(1, 2, 3, k=offset)),
    Peer("diagonal", ours("diagonal"), lambda x, offset: torch.diagonal(x, offset), jnp.diagonal,
         large(2, 3, 3, offset=offset)),
    Peer("trace", ours("trace"), torch.trace, jnp.trace, large(2, 2, 1)),
    Peer("pad", ours("pad"), torch_pad, jnp.pad, _one(1, pad_width=widths)),
    together("concatenate", torch.cat, operand(_pair)),
    together("stack", torch.stack, operand(_same)),
    Peer("split", lambda x, axis: gc.split(x, [1, 2], axis)[1], lambda x, axis: torch.tensor_split(x, [1, 2], axis)[1],
         lambda x, axis: jnp.split(x, [1, 2], axis)[1], _one(1, 2, axis=axis)),
    Peer("array_split", lambda x, axis: gc.array_split(x, 3, axis)[0],
         lambda x, axis: torch.tensor_split(x, 3, axis)[0],
         lambda x, axis: jnp.array_split(x, 3, axis)[0], _one(1, axis=axis)),
    Peer("hstack", lambda a, b: gc.hstack((a, b)), lambda a, b: torch.hstack((a, b)), lambda a, b: jnp.hstack((a, b)),
         operand(_flat)),
    Peer("vstack", lambda a, b: gc.vstack((a, a * b)), lambda a, b: torch.vstack((a, a * b)),
         lambda a, b: jnp.vstack((a, a * b)), operand(_even)),
    Peer("broadcast_arrays", lambda a, b: gc.broadcast_arrays(a, b)[0], lambda a, b: torch.broadcast_tensors(a, b)[0],
         lambda a, b: jnp.broadcast_arrays(a, b)[0], elements(2)),
    Peer("cast", lambda x: gc.cast(x, "float32"), lambda x: x.to(torch.float32), lambda x: x.astype("float32"), _one()),
    Peer("meshgrid", lambda a, b: gc.meshgrid(a, b)[0] * gc.meshgrid(a, b)[1],
         lambda a, b: torch.meshgrid(a, b, indexing="xy")[0] * torch.meshgrid(a, b, indexing="xy")[1],
         lambda a, b: jnp.meshgrid(a, b)[0] * jnp.meshgrid(a, b)[1],
         operand(lambda draw, rng, dtype: Draw([numbers(rng, draw(st.integers(1, 4)), dtype) for _ in "ab"], {}))),
    Peer("stop_gradient", lambda x: x * gc.stop_gradient(x), lambda x: x * x.detach(),
         lambda x: x * jax.lax.stop_gradient(x), _one()),
]  # fmt: skip


def _matrices(draw: Any, rng: Any, dtype: Any) -> Draw:
    found = draw(hnp.mutually_broadcastable_shapes(signature="(m?,n),(n,p?)->(m?,p?)", max_dims=2, max_side=4))
    return Draw([numbers(rng, shape, dtype) for shape in found.input_shapes], {})


def _contracted(draw: Any, rng: Any, dtype: Any) -> Draw:
    n, a, b = draw(st.integers(1, 4)), draw(shapes(0, 2, 1)), draw(shapes(0, 1, 1))
    return Draw([numbers(rng, (*a, n), dtype), numbers(rng, (*b, n), dtype)], {})


def _kronecker(draw: Any, rng: Any, dtype: Any) -> Draw:
    return Draw([numbers(rng, draw(shapes(1, 2, 1)), dtype) for _ in "ab"], {})


def _tensors(draw: Any, rng: Any, dtype: Any) -> Draw:
    a, c, b = draw(shapes(0, 2, 1)), draw(shapes(1, 2, 1)), draw(shapes(0, 2, 1))
    return Draw([numbers(rng, (*a, *c), dtype), numbers(rng, (*c, *b), dtype)], {"axes": len(c)})


EXPRESSIONS = ["ij,jk->ik", "ij,jk", "bij,bjk->bik", "ii->i", "ii", "ij->ji", "ij,ij->", "i,j->ij", "ijk,k->ji",
               "ij,jk,kl->il", "i,i,i->i", "ijkl,jl->ik", "...ij,...jk->...ik", "b...,b...->b",
               "ij,kj,kl->i"]  # fmt: skip


def _einsum(draw: Any, rng: Any, dtype: Any) -> Draw:
    text = draw(st.sampled_from(EXPRESSIONS))
    sizes = {letter: draw(st.integers(1, 4)) for letter in "bijkl"}
    more = draw(shapes(0, 2, 1))
    found = [_sizes(term, sizes, more) for term in text.split("->")[0].split(",")]
    return Draw([numbers(rng, shape, dtype) for shape in found], {"text": text})


def _sizes(term: str, sizes: dict[str, int], more: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that a term such as "...ij" asks for."""
    before, dots, after = term.partition("...")
    return (*[sizes[c] for c in before], *(more if dots else ()), *[sizes[c] for c in after])


PRODUCTS = [
    Peer("matmul", ours("matmul"), torch.matmul, jnp.matmul, operand(_matrices)),
    Peer("linear", ours("linear"), F.linear, None,
         operand(lambda draw, rng, dtype: Draw([numbers(rng, (*draw(shapes(0, 2, 1)), 3), dtype),
                                                numbers(rng, (2, 3), dtype), numbers(rng, 2, dtype)], {}))),
    Peer("dot", ours("dot"), None, jnp.dot,
         operand(lambda draw, rng, dtype: Draw([numbers(rng, (*draw(shapes(0, 2, 1)), 3), dtype),
                                                numbers(rng, (*draw(shapes(0, 1, 1)), 3, 2), dtype)], {}))),
    Peer("inner", ours("inner"), torch.inner, jnp.inner, operand(_contracted)),
    Peer("vdot", ours("vdot"), torch.vdot, jnp.vdot, operand(_even)),
    Peer("outer", ours("outer"), torch.outer, jnp.outer, operand(_flat)),
    Peer("kron", ours("kron"), torch.kron, jnp.kron, operand(_kronecker)),
    Peer("tensordot", ours("tensordot"), lambda a, b, axes: torch.tensordot(a, b, dims=axes), jnp.tensordot,
         operand(_tensors)),
    Peer("einsum", lambda *xs, text: gc.einsum(text, *xs), lambda *xs, text: torch.einsum(text, *xs),
         lambda *xs, text: jnp.einsum(text, *xs), operand(_einsum)),
]  # fmt: skip


def _taken(draw: Any, rng: Any, dtype: Any) -> Draw:
    shape = draw(shapes(1, 3, 1))
    indices = rng.integers(0, shape[0], draw(shapes(1, 2)))
    return Draw([numbers(rng, shape, dtype), indices], {})


def _key(draw: Any, n: int) -> Any:
    """An integer, or a slice with a positive step (PyTorch has no others)."""
    start, stop = draw(st.integers(-n, n - 1)), draw(st.none() | st.integers(-n, n))
    return draw(st.sampled_from([start, slice(start, stop, draw(st.integers(1, 2)))]))


def _keyed(draw: Any, rng: Any, dtype: Any) -> Draw:
    shape = draw(shapes(2, 3, 2))
    rows = rng.integers(0, shape[0], draw(st.integers(1, 3)))
    return Draw([numbers(rng, shape, dtype), rows], {"key": tuple([_key(draw, n) for n in shape[1:]])})


def _updated(draw: Any, rng: Any, dtype: Any) -> Draw:
    rows, columns = draw(st.integers(1, 5)), draw(st.integers(1, 3))
    chosen = rng.permutation(rows)[: draw(st.integers(1, rows))]
    return Draw([numbers(rng, (rows, columns), dtype), chosen, numbers(rng, (len(chosen), columns), dtype)], {})


def _masked(draw: Any, rng: Any, dtype: Any) -> Draw:
    x = numbers(rng, draw(shapes(1, 3, 1)), dtype)
    return Draw([x], {"mask": x > 0})


INDEXING = [
    Peer("take", lambda x, i: gc.take(x, i, 0), lambda x, i: x[i], lambda x, i: jnp.take(x, i, 0), operand(_taken)),
    Peer("getitem", lambda x, i, key: x[(i, *key)], lambda x, i, key: x[(i, *key)], lambda x, i, key: x[(i, *key)],
         operand(_keyed)),
    Peer("getitem-mask", lambda x, mask: x[mask], lambda x, mask: x[torch.asarray(mask)], lambda x, mask: x[mask],
         operand(_masked)),
    Peer("at-set", lambda x, i, v: x.at[i].set(v), lambda x, i, v: x.index_put((i,), v),
         lambda x, i, v: x.at[i].set(v), operand(_updated)),
    Peer("at-add", lambda x, i, v: x.at[i].add(v), lambda x, i, v: x.index_put((i,), v, accumulate=True),
         lambda x, i, v: x.at[i].add(v), operand(_updated)),
    Peer("scatter_add", lambda x, i, v: gc.scatter_add(x, i, v), lambda x, i, v: x.index_add(0, i, v),
         lambda x, i, v: x.at[i].add(v), operand(_updated)),
    Peer("one_hot", lambda i: gc.one_hot(i, 5), lambda i: F.one_hot(i, 5).to(torch.float32),
         lambda i: jax.nn.one_hot(i, 5, dtype=jnp.float32),
         operand(lambda draw, rng, dtype: Draw([rng.integers(0, 5, draw(shapes(0, 2)))], {}))),
]  # fmt: skip
PEERS = [*SHAPES, *PRODUCTS, *INDEXING]
