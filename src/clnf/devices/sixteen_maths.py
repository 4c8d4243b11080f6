"""The draws and functions of :mod:`clnf.devices.kernels`, sixteen at a time, to the same bits."""

from typing import Any

import numpy as np
from numba import njit

from clnf.devices.sixteen import bits_of, every, every_word, floats, nearest, whole, words_of

__all__ = ["exponential", "gauss4", "gauss8", "logarithm", "uniform", "word"]

_F = np.float32
_U = np.uint32
_BYTES, _HALF = _U(0x00FF00FF), _U(0x0000FFFF)
_SCALE4 = _F(1.0 / np.sqrt(4 * 65535 / 12))
_SCALE8 = _F(1.0 / np.sqrt(8 * 65535 / 12))


@njit(inline="always")
def word(index: Any, key0: Any, key1: Any) -> Any:
    """Keyed hashes of sixteen indices."""
    k = _U(key1)
    k = _U(_U(k ^ _U(k >> _U(16))) * _U(0x7FEB352D))
    k = _U(_U(k ^ _U(k >> _U(15))) * _U(0x846CA68B))
    k = _U(k ^ _U(k >> _U(16)))
    x = index + every_word(_U(key0))
    x = (x ^ (x >> every_word(_U(16)))) * every_word(_U(0x7FEB352D))
    x = ((x ^ (x >> every_word(_U(15)))) ^ every_word(k)) * every_word(_U(0x846CA68B))
    return x ^ (x >> every_word(_U(16)))


@njit(inline="always")
def _bytes(x: Any) -> Any:
    """Pairs of bytes of words added up: two sums a word."""
    few = every_word(_BYTES)
    return (x & few) + ((x >> every_word(_U(8))) & few)


@njit(inline="always")
def gauss4(index: Any, key0: int, key1: int) -> Any:
    """Irwin-Hall normals of four bytes."""
    s = _bytes(word(index, key0, key1))
    total = (s & every_word(_HALF)) + (s >> every_word(_U(16)))
    return floats(total - every_word(_U(510))) * every(_SCALE4)


@njit(inline="always")
def gauss8(index: Any, key0: int, key1: int) -> Any:
    """Irwin-Hall normals of eight bytes."""
    s = _bytes(word(index, key0, key1))
    s = s + _bytes(word(index, _U(_U(key0) ^ _U(0x5BF03635)), _U(_U(key1) ^ _U(0x9E3779B9))))
    total = (s & every_word(_HALF)) + (s >> every_word(_U(16)))
    return floats(total - every_word(_U(1020))) * every(_SCALE8)


@njit(inline="always")
def uniform(index: Any, key0: int, key1: int) -> Any:
    """Uniform in [0, 1) with 24 bits."""
    return floats(word(index, key0, key1) >> every_word(_U(8))) * every(_F(2.0**-24))


@njit(inline="always")
def exponential(x: Any) -> Any:
    """exp(x) for |x| < 60, about 2e-7 relative."""
    n = nearest(x * every(_F(1.4426950408889634)))
    f = x - n * every(_F(0.6931471805599453))
    p = every(_F(1.0 / 720.0)) * f + every(_F(1.0 / 120.0))
    p = p * f + every(_F(1.0 / 24.0))
    p = p * f + every(_F(1.0 / 6.0))
    p = p * f + every(_F(0.5))
    p = p * f + every(_F(1.0))
    p = p * f + every(_F(1.0))
    return p * bits_of((whole(n) + every_word(_U(127))) << every_word(_U(23)))


@njit(inline="always")
def logarithm(x: Any) -> Any:
    """ln(x) for normal x > 0, about 1e-7 relative; coefficients of Cephes' logf (S. Moshier)."""
    bits = words_of(x)
    # Power of two that leaves a rest from sqrt(1/2) to sqrt(2).
    power = ((bits + every_word(_U(0x004AFB0D))) >> every_word(_U(23))) - every_word(_U(127))
    f = bits_of(bits - (power << every_word(_U(23)))) - every(_F(1.0))
    p = every(_F(7.0376836292e-2)) * f + every(_F(-1.1514610310e-1))
    p = p * f + every(_F(1.1676998740e-1))
    p = p * f + every(_F(-1.2420140846e-1))
    p = p * f + every(_F(1.4249322787e-1))
    p = p * f + every(_F(-1.6668057665e-1))
    p = p * f + every(_F(2.0000714765e-1))
    p = p * f + every(_F(-2.4999993993e-1))
    p = p * f + every(_F(3.3333331174e-1))
    square, e = f * f, floats(power)
    low = p * f * square + e * every(_F(-2.12194440e-4)) - every(_F(0.5)) * square
    return (f + low) + e * every(_F(0.693359375))
