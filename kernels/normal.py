"""Normal numbers from the words of Philox: the same additions, multiplications, divisions and roots on every device.

These are rounded correctly everywhere, so NumPy and CUDA give the same bits, which their own logarithms and sines would
not.  Source of the method: Box and Muller, A note on the generation of random normal deviates (1958).

A pair is made of two integers of 32 bits (halves of a word, for float32) or of 53 bits (of two words, for float64):

- the first gives u in (0, 1] = m * 2**k with m in [sqrt(1/2), sqrt(2)), and the radius sqrt(-2 log(u)), where
  log(u) = k log(2) + 2 artanh(s), s = (m - 1) / (m + 1);
- the second gives an angle in [-pi, pi): a multiple of pi / 2, exactly, and a rest of at most pi / 4.

The series of Taylor have so many terms that what is left out is below a quarter of a unit in the last place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

from gradcore.kernels.philox import FLOATS, KEY, KEYS, PHILOX, fill_plan, keys_in, number_types, numbers_each
from gradcore.kernels.spec import Plan, RowSpec

ARTANH, SINE, COSINE = "artanh", "sine", "cosine"  # artanh(s) / s, sin(a) / a and cos(a), series in the square
TERMS = {4: {ARTANH: 5, SINE: 5, COSINE: 6}, 8: {ARTANH: 10, SINE: 9, COSINE: 9}}  # by bytes of a number


@cache
def coefficients(name: str, size: int) -> tuple[float, ...]:
    """Those of the series in numbers of `size` bytes, the last first."""
    places = range(TERMS[size][name])
    if name == ARTANH:
        terms = [1 / (2 * i + 1) for i in places]
    else:
        terms = [(-1) ** i / math.factorial(2 * i + (name == SINE)) for i in places]
    return tuple(terms[::-1])


# --- NumPy ------------------------------------------------------------------------------------------------------------

PIECE = 2**14  # pairs whose temporaries stay in the cache


def fill_normal(np: Any, words: Any, out: Any) -> None:
    """Normal numbers into `out` of shape (pairs, 2), from a word for each pair (float32) or two (float64)."""
    each = out.itemsize // 4
    for start in range(0, len(out), PIECE):
        piece, some = out[start : start + PIECE], words[start * each : (start + PIECE) * each]
        if each == 1:
            first, second = some & 0xFFFFFFFF, some >> 32
        else:
            first, second = some[0::2] >> 11, some[1::2] >> 11
        radius = _radius(np, first, out.dtype)
        for number, part in zip(piece.T, _direction(np, second, out.dtype), strict=True):
            np.multiply(radius, part, number)


def _radius(np: Any, first: Any, dtype: Any) -> Any:
    bits, mantissa = (32, 23) if dtype.itemsize == 4 else (53, 52)
    u = np.add(first, 1, dtype=dtype)
    u *= 2.0**-bits
    pattern = u.view(f"i{dtype.itemsize}")
    k = pattern - np.asarray(math.sqrt(0.5), dtype).view(pattern.dtype)
    k >>= mantissa
    pattern -= k << mantissa  # now u is m
    s = u - 1
    u += 1
    s /= u
    y = _series(np, ARTANH, s * s)
    y *= s
    y *= 2
    y += np.multiply(k, math.log(2), dtype=dtype)
    y *= -2
    return np.sqrt(y, y)


def _direction(np: Any, second: Any, dtype: Any) -> tuple[Any, Any]:
    """Cosine and sine of the angle."""
    bits = 32 if dtype.itemsize == 4 else 53
    n = second.view(np.int64) + 2 ** (bits - 3)
    quadrant = n >> (bits - 2)
    n &= 2 ** (bits - 2) - 1
    n -= 2 ** (bits - 3)
    rest = n.astype(dtype)
    rest *= math.pi * 2.0 ** (1 - bits)
    square = rest * rest
    sine, cosine = _series(np, SINE, square), _series(np, COSINE, square)
    sine *= rest
    odd = (quadrant & 1).astype(np.bool_)
    x, y = np.where(odd, sine, cosine), np.where(odd, cosine, sine)
    x *= ((quadrant + 1 & 2) - 1).astype(dtype)
    y *= ((quadrant & 2) - 1).astype(dtype)
    return x, y


def _series(np: Any, name: str, z: Any) -> Any:
    last, *others = coefficients(name, z.itemsize)
    y = np.full_like(z, last)
    for coefficient in others:
        y *= z
        y += coefficient
    return y


# --- CUDA -------------------------------------------------------------------------------------------------------------


def _series_text(name: str, type: str, size: int) -> str:
    text, *others = [f"({type}){value.hex()}" for value in coefficients(name, size)]
    for value in others:
        text = f"({text} * z + {value})"
    return f"__device__ inline {type} {name}({type} z) {{ return {text}; }}\n"


_SERIES = "".join([_series_text(name, *of) for of in (("float", 4), ("double", 8)) for name in (ARTANH, SINE, COSINE)])

_NORMAL = r"""
__device__ inline int bits_of(float x) { return __float_as_int(x); }
__device__ inline long long bits_of(double x) { return __double_as_longlong(x); }
__device__ inline float number_of(int bits) { return __int_as_float(bits); }
__device__ inline double number_of(long long bits) { return __longlong_as_double(bits); }

template <int SIZE> struct Integers { typedef int Signed; typedef unsigned int Unsigned; };
template <> struct Integers<8> { typedef long long Signed; typedef unsigned long long Unsigned; };
typedef Integers<sizeof(R)>::Signed Signed;
typedef Integers<sizeof(R)>::Unsigned Unsigned;

const int BITS = sizeof(R) == 4 ? 32 : 53, MANTISSA = sizeof(R) == 4 ? 23 : 52;

__device__ inline R radius(Unsigned first)
{
    const R u = ((R)first + 1) * (R)(sizeof(R) == 4 ? 0x1p-32 : 0x1p-53);
    const Signed k = (bits_of(u) - bits_of((R)0.7071067811865476)) >> MANTISSA;
    const R m = number_of(bits_of(u) - k * ((Signed)1 << MANTISSA));
    const R s = (m - 1) / (m + 1);
    return sqrt((artanh(s * s) * s * 2 + (R)k * (R)0.6931471805599453) * -2);
}

__device__ inline void pair(Unsigned first, Unsigned second, R &x, R &y)
{
    const Unsigned quarter = (Unsigned)1 << (BITS - 2), turned = second + quarter / 2;
    const int quadrant = (int)(turned >> (BITS - 2));
    const Signed n = (Signed)(turned & (quarter - 1)) - (Signed)(quarter / 2);
    const R rest = (R)n * (R)(3.141592653589793 * (sizeof(R) == 4 ? 0x1p-31 : 0x1p-52));
    const R r = radius(first), s = sine(rest * rest) * rest, c = cosine(rest * rest);
    x = r * ((quadrant & 1 ? s : c) * (R)((quadrant + 1 & 2) - 1));
    y = r * ((quadrant & 1 ? c : s) * (R)((quadrant & 2) - 1));
}

__device__ inline Unsigned integer(const Word (&w)[4], int i)
{
    return sizeof(R) == 4 ? w[i / 2] >> i % 2 * 32 : w[i % 4] >> 11;
}

extern "C" __global__ void gradcore_normal(
    const Word *keys, Word key0, Word key1, T *out0, Index rows, Index count)
{
    const int N = 32 / sizeof(R);
    fill<N>(keys, key0, key1, out0, rows, count, [](const Word (&w)[4], Index place, T (&y)[N]) {
#pragma unroll
        for (int k = 0; k < N; k += 2) {
            R z[2];
            pair(integer(w, k), integer(w, k + 1), z[0], z[1]);
            y[k] = (T)z[0], y[k + 1] = (T)z[1];
        }
    });
}
"""


def _normal_plan(operands: Sequence[Any], params: tuple[Any, ...]) -> Plan:
    shape, dtype = params
    each = numbers_each(dtype)
    return fill_plan("gradcore_normal", number_types(dtype), keys_in(operands[0]), math.prod(shape), each)


NORMAL = RowSpec(
    "normal",
    PHILOX + _SERIES + _NORMAL,
    ("key",),
    _normal_plan,
    examples=tuple([((key,), ((5, 3), dtype)) for dtype in FLOATS for key in (KEY, KEYS)]),
)
