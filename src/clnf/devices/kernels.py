"""Counter-based random numbers, compiled (reference beside it).

Random numbers come from a keyed 32-bit hash of the cell's index, so a draw depends on
(key, index) only: any thread count and any split of the cells give the same bits. All
arithmetic is plain IEEE float32 in a fixed order (no contraction, no reassociation), which is
why :mod:`clnf.devices.reference` can agree bit for bit.

In Numba uint32 arithmetic promotes to uint64; each operation is cast back.
"""

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["exponential", "fill_gauss", "gauss4", "gauss8", "pick_gauss", "uniform", "word"]

_F = np.float32
_U = np.uint32
_BYTES = _U(0x00FF00FF)
# Standard deviation of a sum of n independent uniform bytes: sqrt(n (256^2 - 1) / 12).
_SCALE4 = _F(1.0 / np.sqrt(4 * 65535 / 12))
_SCALE8 = _F(1.0 / np.sqrt(8 * 65535 / 12))
_LOG2E, _LN2 = _F(1.4426950408889634), _F(0.6931471805599453)


@njit(inline="always")
def word(index: int, key0: int, key1: int) -> int:
    """Keyed 32-bit hash: a two-multiply mixer with the first key added, the second inside.

    The second key goes through the mixer itself, so close keys give unrelated numbers; the
    compiler lifts that out of loops. Mixer constants: C. Wellons, "Prospecting for hash
    functions" (lowbias32).
    """
    k = _U(key1)
    k = _U(_U(k ^ (k >> _U(16))) * _U(0x7FEB352D))
    k = _U(_U(k ^ (k >> _U(15))) * _U(0x846CA68B))
    k = _U(k ^ (k >> _U(16)))
    x = _U(_U(index) + key0)
    x = _U(x ^ (x >> _U(16)))
    x = _U(x * _U(0x7FEB352D))
    x = _U(_U(x ^ (x >> _U(15))) ^ k)
    x = _U(x * _U(0x846CA68B))
    return _U(x ^ (x >> _U(16)))


@njit(inline="always")
def uniform(index: int, key0: int, key1: int) -> float:
    """Uniform in [0, 1) with 24 bits."""
    return _F(_U(word(index, key0, key1) >> _U(8))) * _F(2.0**-24)


@njit(inline="always")
def gauss4(index: int, key0: int, key1: int) -> float:
    """Irwin-Hall normal of four bytes: |g| <= 3.46, enough ahead of an ADC."""
    x = word(index, key0, key1)
    s = _U(_U(x & _BYTES) + _U(_U(x >> _U(8)) & _BYTES))
    total = _U(_U(s & _U(0xFFFF)) + _U(s >> _U(16)))
    return _F(np.int32(total) - np.int32(510)) * _SCALE4


@njit(inline="always")
def gauss8(index: int, key0: int, key1: int) -> float:
    """Irwin-Hall normal of eight bytes: |g| <= 4.88, for cells and programming."""
    x = word(index, key0, key1)
    y = word(index, _U(key0 ^ _U(0x5BF03635)), _U(key1 ^ _U(0x9E3779B9)))
    s = _U(_U(x & _BYTES) + _U(_U(x >> _U(8)) & _BYTES))
    s = _U(s + _U(_U(y & _BYTES) + _U(_U(y >> _U(8)) & _BYTES)))
    total = _U(_U(s & _U(0xFFFF)) + _U(s >> _U(16)))
    return _F(np.int32(total) - np.int32(1020)) * _SCALE8


@njit(inline="always")
def exponential(x: float) -> float:
    """exp(x) for |x| < 60 from multiplications and additions only (about 2e-7 relative)."""
    n = np.rint(x * _LOG2E)
    f = x - n * _LN2
    p = _F(1.0 / 720.0)
    p = p * f + _F(1.0 / 120.0)
    p = p * f + _F(1.0 / 24.0)
    p = p * f + _F(1.0 / 6.0)
    p = p * f + _F(0.5)
    p = p * f + _F(1.0)
    p = p * f + _F(1.0)
    return _F(math.ldexp(p, np.int32(n)))


@njit(nogil=True, cache=True)
def fill_gauss(out: NDArray[np.float32], key: NDArray[np.uint32], first: int) -> None:
    """Fill ``out`` [M] with normals of cells ``first ...`` under a key of two words."""
    # An index without a sign: a signed one might count from the end, and the question which, asked
    # for each number, would keep the loop from working on whole vectors.
    for i in range(np.uintp(out.shape[0])):
        out[i] = gauss8(_U(_U(first) + _U(i)), key[0], key[1])


@njit(nogil=True, cache=True)
def pick_gauss(out: NDArray[np.float32], cells: NDArray[np.int64], key: NDArray[np.uint32]) -> None:
    """Fill ``out`` [M] with normals of the cells named, under a key of two words."""
    for i in range(np.uintp(out.shape[0])):
        out[i] = gauss8(_U(cells[i]), key[0], key[1])
