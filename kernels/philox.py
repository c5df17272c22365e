"""Random numbers on CUDA: the stream of Philox4x64-10, and what is made of its words, for any place by itself.

Source of the generator: Salmon, Moraes, Dror and Shaw, Parallel random numbers: as easy as 1, 2, 3 (SC 2011).

The operand `key` is three parameters: a pointer to keys on the device, one for each row of the result, or none, and
then the two words of the only key.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from gradcore.kernels.spec import Argument, Launch, Plan, RowSpec

BLOCK, MOST_BLOCKS = 256, 2**16
WORDS = 4  # of the stream that a thread makes at once

PHILOX = r"""
typedef unsigned long long Word;
typedef long long Index;

// Words 4 * place to 4 * place + 3 of the stream, as numpy.random.Philox(key=...) gives them: it counts from one.
__device__ inline void philox(Word key0, Word key1, Index place, Word (&w)[4])
{
    const Word first = 0xD2E7470EE14C6C93, second = 0xCA5A826395121157;
    w[0] = place + 1, w[1] = w[2] = w[3] = 0;
#pragma unroll
    for (int round = 0; round < 10; round++) {
        const Word high0 = __umul64hi(first, w[0]), low0 = first * w[0];
        const Word high1 = __umul64hi(second, w[2]), low1 = second * w[2];
        w[0] = high1 ^ w[1] ^ key0, w[1] = low1, w[2] = high0 ^ w[3] ^ key1, w[3] = low0;
        key0 += 0x9E3779B97F4A7C15, key1 += 0xBB67AE8584CAA73B;
    }
}

// Neighbours that are loaded or stored at once: up to 16 bytes.
template <int N> struct alignas(N * sizeof(T)) Pack { T numbers[N]; };

template <int N> struct Vector {
    static const int size = N * sizeof(T) < 16 ? N : 16 / sizeof(T);
    static __device__ inline bool fits(const T *p, Index left)
    {
        return left >= N && (size_t)p % sizeof(Pack<size>) == 0;
    }
};

template <int N> __device__ inline void load(const T *from, Index left, T (&y)[N])
{
    const int size = Vector<N>::size;
    if (Vector<N>::fits(from, left)) {
#pragma unroll
        for (int k = 0; k < N; k += size) {
            const Pack<size> pack = *(const Pack<size> *)(from + k);
#pragma unroll
            for (int j = 0; j < size; j++) y[k + j] = pack.numbers[j];
        }
    } else {
#pragma unroll
        for (int k = 0; k < N; k++) y[k] = k < left ? from[k] : (T)0;
    }
}

template <int N> __device__ inline void store(T *to, Index left, const T (&y)[N])
{
    const int size = Vector<N>::size;
    if (Vector<N>::fits(to, left)) {
#pragma unroll
        for (int k = 0; k < N; k += size) {
            Pack<size> pack;
#pragma unroll
            for (int j = 0; j < size; j++) pack.numbers[j] = y[k + j];
            *(Pack<size> *)(to + k) = pack;
        }
    } else {
#pragma unroll
        for (int k = 0; k < N; k++)
            if (k < left) to[k] = y[k];
    }
}

// Fills rows of `count` numbers, one row for each key; draw(w, place, y) makes N numbers, from `place` on, of 4 words.
template <int N, typename Draw>
__device__ inline void fill(const Word *keys, Word key0, Word key1, T *out, Index rows, Index count, Draw draw)
{
    const Index parts = (count + N - 1) / N, stride = (Index)gridDim.x * blockDim.x;
    for (Index i = (Index)blockIdx.x * blockDim.x + threadIdx.x; i < rows * parts; i += stride) {
        const Index row = rows == 1 ? 0 : i / parts, part = i - row * parts, place = part * N;
        Word w[4];
        T y[N];
        philox(keys ? keys[2 * row] : key0, keys ? keys[2 * row + 1] : key1, part, w);
        draw(w, place, y);
        store<N>(out + row * count + place, count - place, y);
    }
}
"""

_FRACTIONS = r"""
__device__ inline void uniform(const Word (&w)[4], double (&u)[4])
{
    for (int k = 0; k < 4; k++) u[k] = (w[k] >> 11) * 0x1p-53;
}
__device__ inline void uniform(const Word (&w)[4], float (&u)[8])
{
    for (int k = 0; k < 8; k++) u[k] = ((unsigned int)(w[k / 2] >> k % 2 * 32) >> 8) * 0x1p-24f;
}
"""


def fill_plan(
    entry: str, types: dict[str, str], rows: int, count: int, each: int, *rest: Argument, before: tuple[str, ...] = ()
) -> Plan:
    """A launch in which each thread makes `each` numbers of a row at once."""
    blocks = -(-rows * -(-count // each) // BLOCK)
    arguments = (*before, "key", "out0", rows, count, *rest)
    return Plan(types, (Launch(entry, min(blocks, MOST_BLOCKS), BLOCK, arguments),) if blocks else ())


def keys_in(key: Any) -> int:
    return math.prod(key.shape[:-1])


def number_types(dtype: Any) -> dict[str, str]:
    """T is the type of numbers in memory, R the one in which they are made."""
    return {"T": str(dtype), "R": "float64" if str(dtype) == "float64" else "float32"}


def numbers_each(dtype: Any) -> int:
    """How many numbers four words make: of 64 bits each, or of 32."""
    return WORDS if str(dtype) == "float64" else 2 * WORDS


KEY, KEYS = ((2,), "uint64"), ((3, 2), "uint64")
FLOATS = ("float16", "float32", "float64")

# --- words ------------------------------------------------------------------------------------------------------------

_WORDS = r"""
extern "C" __global__ void gradcore_words(
    const Word *keys, Word key0, Word key1, T *out0, Index rows, Index count)
{
    fill<4>(keys, key0, key1, out0, rows, count, [](const Word (&w)[4], Index place, T (&y)[4]) {
        for (int k = 0; k < 4; k++) y[k] = w[k];
    });
}
"""


def _words_plan(key: Any, count: int) -> Plan:
    return fill_plan("gradcore_words", {"T": "uint64"}, keys_in(key), count, WORDS)


RANDOM_BITS = RowSpec(
    "random_bits",
    PHILOX + _WORDS,
    ("key",),
    lambda operands, params: _words_plan(operands[0], math.prod(params[0])),
    examples=(((KEY,), ((5, 3),)), ((KEYS,), ((7,),))),
)
SPLIT_KEY = RowSpec(
    "split_key",
    PHILOX + _WORDS,
    ("key",),
    lambda operands, params: _words_plan(operands[0], 2 * params[0]),
    examples=(((KEY,), (3,)), ((KEYS,), (2,))),
)

# --- uniform numbers --------------------------------------------------------------------------------------------------

_UNIFORM = r"""
extern "C" __global__ void gradcore_uniform(
    const Word *keys, Word key0, Word key1, T *out0, Index rows, Index count)
{
    const int N = 32 / sizeof(R);
    fill<N>(keys, key0, key1, out0, rows, count, [](const Word (&w)[4], Index place, T (&y)[N]) {
        R u[N];
        uniform(w, u);
        for (int k = 0; k < N; k++) y[k] = (T)(sizeof(T) == 2 ? floor(u[k] * 2048) * (R)0x1p-11 : u[k]);
    });
}
"""


def _uniform_plan(operands: Sequence[Any], params: tuple[Any, ...]) -> Plan:
    shape, dtype = params
    each = numbers_each(dtype)
    return fill_plan("gradcore_uniform", number_types(dtype), keys_in(operands[0]), math.prod(shape), each)


UNIFORM = RowSpec(
    "uniform",
    PHILOX + _FRACTIONS + _UNIFORM,
    ("key",),
    _uniform_plan,
    examples=tuple([((key,), ((5, 3), dtype)) for dtype in FLOATS for key in (KEY, KEYS)]),
)

# --- dropout ----------------------------------------------------------------------------------------------------------

_DROPOUT = r"""
extern "C" __global__ void gradcore_dropout(
    const T *x, const Word *keys, Word key0, Word key1, T *out0, Index rows, Index count, double rate, double scale)
{
    const int N = 32 / sizeof(R);
    fill<N>(keys, key0, key1, out0, rows, count, [=](const Word (&w)[4], Index place, T (&y)[N]) {
        R u[N];
        uniform(w, u);
        load<N>(x + place, count - place, y);
        for (int k = 0; k < N; k++) y[k] = (R)rate < u[k] ? (T)((R)y[k] * (R)scale) : (T)0;
    });
}
"""


def _dropout_plan(operands: Sequence[Any], params: tuple[Any, ...]) -> Plan:
    x, (rate,) = operands[0], params
    numbers = 1, math.prod(x.shape), numbers_each(x.dtype), rate, 1.0 / (1.0 - rate)
    return fill_plan("gradcore_dropout", number_types(x.dtype), *numbers, before=("x",))


DROPOUT = RowSpec(
    "dropout",
    PHILOX + _FRACTIONS + _DROPOUT,
    ("x", "key"),
    _dropout_plan,
    examples=tuple([((((5, 3), dtype), KEY), (0.25,)) for dtype in FLOATS]),
)

# --- integers ---------------------------------------------------------------------------------------------------------

_RANDINT = r"""
extern "C" __global__ void gradcore_randint(
    const Word *keys, Word key0, Word key1, T *out0, Index rows, Index count, Index low, Index span)
{
    fill<4>(keys, key0, key1, out0, rows, count, [=](const Word (&w)[4], Index place, T (&y)[4]) {
        for (int k = 0; k < 4; k++) y[k] = (T)(__umul64hi(w[k], (Word)span) + (Word)low);
    });
}

// The fraction has 128 bits; a span of zero stands for 2**64.
extern "C" __global__ void gradcore_randint_wide(
    const Word *keys, Word key0, Word key1, T *out0, Index rows, Index count, Index low, Index span)
{
    fill<2>(keys, key0, key1, out0, rows, count, [=](const Word (&w)[4], Index place, T (&y)[2]) {
        for (int k = 0; k < 2; k++) {
            const Word first = w[2 * k], second = w[2 * k + 1];
            const Word lower = first * (Word)span, carried = __umul64hi(second, (Word)span);
            const Word below = __umul64hi(first, (Word)span) + (lower + carried < lower);
            y[k] = (T)((span ? below : first) + (Word)low);
        }
    });
}
"""


def _randint_plan(operands: Sequence[Any], params: tuple[Any, ...]) -> Plan:
    low, high, shape, dtype = params
    span = high - low
    entry, each = ("gradcore_randint", 4) if span <= 2**32 else ("gradcore_randint_wide", 2)
    rows, count = keys_in(operands[0]), math.prod(shape)
    return fill_plan(entry, {"T": str(dtype)}, rows, count, each, _signed(low), _signed(span))


def _signed(number: int) -> int:
    """The signed integer with the low 64 bits of a number."""
    return (number + 2**63) % 2**64 - 2**63


RANDINT = RowSpec(
    "randint",
    PHILOX + _RANDINT,
    ("key",),
    _randint_plan,
    examples=(
        ((KEY,), (0, 10, (5, 3), "int64")),
        ((KEYS,), (-(2**63), 2**63, (5,), "int64")),
        ((KEY,), (0, 2**40, (5,), "uint64")),
        *[((KEY,), (0, 10, (5, 3), f"{sign}int{bits}")) for sign in ("", "u") for bits in (8, 16, 32)],
    ),
)
