"""Kernels over many tensors at once: one launch for all parameters of a network.

The first parameter of each kernel is a table, passed by value: pointers and sizes of as many groups as fit into it.
A block works on one chunk of one group, which it finds by its number.  Threads hold 16 bytes of each tensor at a time.
The text leaves two types open: T, in which tensors are stored, and R, in which numbers are computed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from gradcore.kernels.calculus import replace, simplify
from gradcore.kernels.emit_c import Dialect, safe_name, statements
from gradcore.kernels.emit_cuda import _helpers, _number
from gradcore.kernels.expr import Expr, var, walk
from gradcore.kernels.spec import ElementwiseSpec

THREADS = 256
CHUNK = 4096  # elements of one tensor for one block, at least
BLOCKS = 8192  # chunks grow where there would be more
PARAMETER_BYTES = 4032  # of a kernel's 4096; the others are for pointers beside the table


# --- tables -----------------------------------------------------------------------------------------------------------


class Field(NamedTuple):
    """A member of the table; `grouped` members have an entry (of `length` elements, if not 0) for each group."""

    name: str
    type: str
    length: int = 0
    grouped: bool = True


class Table(NamedTuple):
    """The struct that a kernel takes: C and NumPy lay it out alike, as members are declared by falling alignment."""

    fields: tuple[Field, ...]
    capacity: int

    def text(self, real: Any) -> str:
        """The struct in C."""
        members = []
        for field in self.fields:
            lengths = [str(n) for n in self._shape(field)]
            members.append(f"    {field.type} {field.name}{''.join(f'[{n}]' for n in lengths)};\n")
        size = self.dtype(real).itemsize
        check = f'static_assert(sizeof(Table) == {size}, "the host fills a table of {size} bytes");\n'
        return f"struct Table {{\n{''.join(members)}}};\n{check}"

    def dtype(self, real: Any) -> np.dtype[Any]:
        """The struct in NumPy, where R is `real`."""
        members = [(field.name, _dtype(field.type, real), self._shape(field)) for field in self.fields]
        return np.dtype(members, align=True)

    def _shape(self, field: Field) -> tuple[int, ...]:
        return (self.capacity,) * field.grouped + (field.length,) * bool(field.length)


_DTYPES = {"long long": np.int64, "int": np.int32, "unsigned int": np.uint32, "unsigned char": np.uint8}


def _dtype(type: str, real: Any) -> Any:
    return np.uint64 if type.endswith("*") else real if type == "R" else _DTYPES[type]


def table_of(*fields: Field) -> Table:
    """A table of `fields` and of what every kernel needs, for as many groups as a launch can take."""
    members = (*fields, *_COMMON)
    members = tuple(sorted(members, key=lambda field: -_dtype(field.type, np.float64)().itemsize))
    bytes_of = [max(field.length, 1) * _dtype(field.type, np.float64)().itemsize for field in members]
    grouped = sum(n for n, field in zip(bytes_of, members, strict=True) if field.grouped)
    return Table(members, (PARAMETER_BYTES - sum(bytes_of) + grouped) // grouped)


_COMMON = (
    Field("size", "long long"),
    Field("first", "unsigned int"),
    Field("chunk", "long long", grouped=False),
    Field("count", "int", grouped=False),
)


def chunk_for(elements: int) -> int:
    """How many elements a block takes, where there are so many in all."""
    chunk = CHUNK
    while chunk * BLOCKS < elements:
        chunk *= 2
    return chunk


# --- text that the kernels share --------------------------------------------------------------------------------------

_GROUP = f"""\
#define THREADS {THREADS}

template <typename U> struct __align__(16) Pack {{ U at[16 / sizeof(U)]; }};

struct Piece {{ int group; long long start; int count; }};

// What this block works on: the last group whose first block is not behind this one, and a chunk of it.
__device__ __forceinline__ Piece piece_of(const Table &table)
{{
    int low = 0, high = table.count - 1;
    while (low < high) {{
        const int middle = (low + high + 1) / 2;
        if (table.first[middle] <= blockIdx.x) low = middle;
        else high = middle - 1;
    }}
    const long long start = (long long)(blockIdx.x - table.first[low]) * table.chunk;
    const long long left = table.size[low] - start;
    return {{low, start, (int)(left < table.chunk ? left : table.chunk)}};
}}

"""
_HEADERS = {
    "float16": "#include <cuda_fp16.h>\ntypedef __half T;\ntypedef float R;\n",
    "float32": "typedef float T;\ntypedef float R;\n",
    "float64": "typedef double T;\ntypedef double R;\n",
}


def computing(dtype: Any) -> np.dtype[Any]:
    """The dtype that R stands for where T stands for `dtype`."""
    return np.dtype(np.float32 if np.dtype(dtype).itemsize == 2 else dtype)


# --- one scalar expression for all groups -----------------------------------------------------------------------------

_STEP = """\
extern "C" __global__ void __launch_bounds__(THREADS) {kernel}(const Table table)
{{
    const Piece piece = piece_of(table);
    {shared}
    {pointers}
    const auto element = [&]({parameters}) {{
        {body}
    }};
    const int width = 16 / sizeof(T);
    const bool aligned = (({addresses}) & 15) == 0;
    #pragma unroll 1
    for (int i = threadIdx.x * width; i < piece.count; i += THREADS * width) {{
        if (aligned && i + width <= piece.count) {{
            {loads}
            #pragma unroll
            for (int k = 0; k < width; k++)
                element({packed});
            {stores}
        }} else {{
            #pragma unroll 1
            for (int k = i; k < i + width && k < piece.count; k++)
                element({single});
        }}
    }}
}}
"""

_SHARED = "const R {0} = table.shared_at[{1}] ? *table.shared_at[{1}] : table.shared[{1}];"


def step_table(spec: ElementwiseSpec) -> Table:
    """The table of `emit_multi_tensor`."""
    shared = len(spec.scalar_inputs)
    fields = [Field("in", "const T *", len(spec.inputs) - shared), Field("out", "T *", len(spec.outputs))]
    if shared:
        fields += [Field("shared_at", "const R *", shared, False), Field("shared", "R", shared, False)]
    return table_of(*fields)


def kernel_name(spec: ElementwiseSpec) -> str:
    """The name of the function that `emit_multi_tensor` writes."""
    return f"gradcore_multi_{spec.name}"


def emit_multi_tensor(spec: ElementwiseSpec, dtype: Any) -> str:
    """A kernel that applies `spec` to all groups of a table.  Outputs may be the memory of inputs of the same group.

    Its 0-d inputs are the same for all groups: read from `shared_at` where that has a pointer, else the value in
    `shared`.  What depends on them alone is computed once in each thread.  All inputs and outputs are numbers.
    """
    real = Dialect("R", "bool", _number("R"))
    shared = [name for name in spec.inputs if name in spec.scalar_inputs]
    names = [safe_name(name) for name in spec.inputs if name not in spec.scalar_inputs]
    outs = [f"out{k}" for k in range(len(spec.outputs))]
    uniform, rest = _hoisted(spec)
    once = ElementwiseSpec(spec.name, tuple(shared), tuple(uniform)) if uniform else None
    common = statements(once, real, "const R uniform{}") if once else []
    text = _STEP.format(
        kernel=kernel_name(spec),
        shared=_lines(1, map(_SHARED.format, map(safe_name, shared), range(len(shared))), common),
        pointers=_lines(
            1,
            [f"const T *const {name}_at = table.in[piece.group][{k}] + piece.start;" for k, name in enumerate(names)],
            [f"T *const {out}_at = table.out[piece.group][{k}] + piece.start;" for k, out in enumerate(outs)],
        ),
        parameters=", ".join([*[f"const T {name}_in" for name in names], *[f"T &{out}" for out in outs]]),
        body=_lines(2, [f"const R {name} = {name}_in;" for name in names], statements(rest, real, "out{}")),
        addresses=" | ".join(f"(size_t){name}_at" for name in (*names, *outs)),
        loads=_lines(
            3,
            [f"const Pack<T> {name}_pack = *(const Pack<T> *)({name}_at + i);" for name in names],
            [f"Pack<T> {out}_pack;" for out in outs],
        ),
        packed=", ".join(f"{name}_pack.at[k]" for name in (*names, *outs)),
        stores=_lines(3, [f"*(Pack<T> *)({out}_at + i) = {out}_pack;" for out in outs]),
        single=", ".join(f"{name}_at[k]" for name in (*names, *outs)),
    )
    return _HEADERS[str(np.dtype(dtype))] + step_table(spec).text(computing(dtype)) + _GROUP + _helpers(spec) + text


def _lines(depth: int, *parts: Iterable[str]) -> str:
    return ("\n" + "    " * depth).join([line for part in parts for line in part])


def _hoisted(spec: ElementwiseSpec) -> tuple[list[Expr], ElementwiseSpec]:
    """What depends on 0-d inputs alone, and `spec` with `uniform0`, ... in its place."""
    outputs = [simplify(output) for output in spec.outputs]
    order = walk(outputs)
    alike: set[Expr] = set()
    for node in order:
        if node.value in spec.scalar_inputs if node.leaf == "var" else all(arg in alike for arg in node.args):
            alike.add(node)
    read = {arg for node in order if node not in alike for arg in node.args}.union(outputs)
    uniform = [node for node in reversed(order) if node.args and node in alike and node in read]
    for place, node in enumerate(uniform):
        outputs = [replace(output, node, var(f"uniform{place}")) for output in outputs]
    inputs = *spec.inputs, *[f"uniform{place}" for place in range(len(uniform))]
    return uniform, ElementwiseSpec(spec.name, inputs, tuple(outputs))


# --- clipping by the common norm --------------------------------------------------------------------------------------

KINDS = ("float16", "float32", "float64")
"""The dtypes of tensors that may meet in one launch; the table holds the place of each group's."""

_LOADS = """\
// The next elements of a tensor, `width` at most; 16 bytes at once where they lie so.
template <typename U> __device__ __forceinline__ Pack<U> loaded(const U *x, int i, int count, bool aligned)
{
    const int width = 16 / sizeof(U);
    if (aligned && i + width <= count) return *(const Pack<U> *)(x + i);
    Pack<U> pack;
    #pragma unroll
    for (int k = 0; k < width; k++)
        if (i + k < count) pack.at[k] = x[i + k];
    return pack;
}

"""

_NORM = """\
__device__ __forceinline__ double join(double a, double b) { return JOIN; }
__device__ __forceinline__ float join(float a, float b) { return JOIN; }

// What a thread makes of its elements: one total for each place in 16 bytes, then these by a tree.
template <typename U> __device__ __forceinline__ R total_of(const void *at, const Piece &piece)
{
    const U *x = (const U *)at + piece.start;
    const int width = 16 / sizeof(U);
    const bool aligned = ((size_t)x & 15) == 0;
    R totals[width] = {};
    for (int i = threadIdx.x * width; i < piece.count; i += THREADS * width) {
        const Pack<U> pack = loaded(x, i, piece.count, aligned);
        #pragma unroll
        for (int k = 0; k < width; k++) {
            const R v = i + k < piece.count ? (R)pack.at[k] : (R)0;
            totals[k] = join(totals[k], TERM);
        }
    }
    #pragma unroll
    for (int half = width / 2; half; half /= 2)
        #pragma unroll
        for (int k = 0; k < half; k++) totals[k] = join(totals[k], totals[k + half]);
    return totals[0];
}

template <typename U> __device__ U block_total(U mine, U *room)
{
    room[threadIdx.x] = mine;
    for (int half = THREADS / 2; half; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) room[threadIdx.x] = join(room[threadIdx.x], room[threadIdx.x + half]);
    }
    __syncthreads();
    return room[0];
}

// Each block writes the total of its piece; the last one joins them, in double, in the order of the blocks.
extern "C" __global__ void __launch_bounds__(THREADS) gradcore_multi_norm(
    const Table table, R *partials, unsigned int *tickets, R *out)
{
    __shared__ double room[THREADS];
    __shared__ bool last;
    const Piece piece = piece_of(table);
    const void *x = table.in[piece.group];
    const int kind = table.kind[piece.group];
    R mine;
    if (kind == 0) mine = total_of<__half>(x, piece);
    else if (kind == 1) mine = total_of<float>(x, piece);
    else mine = total_of<double>(x, piece);
    mine = block_total(mine, (R *)room);
    if (threadIdx.x == 0) {
        partials[table.before + blockIdx.x] = mine;
        __threadfence();
        last = atomicAdd(tickets, 1u) == table.blocks - 1;
    }
    __syncthreads();
    if (!last) return;
    __threadfence();
    double total = 0;
    for (int i = threadIdx.x; i < table.blocks; i += THREADS) total = join(total, (double)((volatile R *)partials)[i]);
    total = block_total(total, room);
    if (threadIdx.x == 0) {
        *out = FINISH;
        *tickets = 0;
    }
}
"""
_NORMS = {
    2.0: {"JOIN": "a + b", "TERM": "v * v", "FINISH": "sqrt((R)total)"},
    np.inf: {"JOIN": "a != a || b <= a ? a : b", "TERM": "(v < 0 ? -v : v)", "FINISH": "(R)total"},
}

NORM_TABLE = table_of(
    Field("in", "const void *"),
    Field("kind", "unsigned char"),
    Field("before", "int", grouped=False),  # blocks of earlier launches
    Field("blocks", "int", grouped=False),  # of all launches
)


def emit_norm(norm_type: float, real: Any) -> str:
    """A kernel for the norm of all elements of all groups, 2 or infinite, in one number of type R, which is `real`.

    Its totals are of type R, so squares overflow as those of R do.
    """
    text = _NORM
    for name, meaning in _NORMS[norm_type].items():
        text = text.replace(name, meaning)
    return _mixed_header(real) + NORM_TABLE.text(real) + _GROUP + _LOADS + text


_SCALE = """\
template <typename U> __device__ __forceinline__ void scale(const void *from, void *to, R factor, const Piece &piece)
{
    const U *x = (const U *)from + piece.start;
    U *y = (U *)to + piece.start;
    const int width = 16 / sizeof(U);
    const bool aligned = (((size_t)x | (size_t)y) & 15) == 0;
    for (int i = threadIdx.x * width; i < piece.count; i += THREADS * width) {
        Pack<U> pack = loaded(x, i, piece.count, aligned);
        #pragma unroll
        for (int k = 0; k < width; k++) pack.at[k] = (U)((R)pack.at[k] * factor);
        if (aligned && i + width <= piece.count) {
            *(Pack<U> *)(y + i) = pack;
            continue;
        }
        #pragma unroll
        for (int k = 0; k < width; k++)
            if (i + k < piece.count) y[i + k] = pack.at[k];
    }
}

extern "C" __global__ void __launch_bounds__(THREADS) gradcore_multi_clip(const Table table, const R *total)
{
    const R limit = table.shared_at[0] ? *table.shared_at[0] : table.shared[0];
    const R ratio = limit / (*total + R(1e-6)), factor = ratio >= 1 ? R(1) : ratio;
    const Piece piece = piece_of(table);
    const void *x = table.in[piece.group];
    void *y = table.out[piece.group];
    const int kind = table.kind[piece.group];
    if (factor == 1 && x == y) return;
    if (kind == 0) scale<__half>(x, y, factor, piece);
    else if (kind == 1) scale<float>(x, y, factor, piece);
    else if (sizeof(R) == sizeof(double)) scale<double>(x, y, factor, piece);
}
"""

CLIP_TABLE = table_of(
    Field("in", "const void *"),
    Field("out", "void *"),
    Field("kind", "unsigned char"),
    Field("shared_at", "const R *", 1, grouped=False),
    Field("shared", "R", 1, grouped=False),
)


def emit_clip(real: Any) -> str:
    """A kernel that multiplies all groups by min(limit / (total + 1e-6), 1), where R is `real`.

    Memory that would stay as it is is not touched.
    """
    return _mixed_header(real) + CLIP_TABLE.text(real) + _GROUP + _LOADS + _SCALE


def _mixed_header(real: Any) -> str:
    return f"#include <cuda_fp16.h>\ntypedef {'double' if real == np.float64 else 'float'} R;\n"
