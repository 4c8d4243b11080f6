"""Random trains of bits, sixteen side by side; the twin is in ``coincidence_reference``.

Evenly spread ones are in :mod:`clnf.devices.encoders`.
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from clnf.devices.sixteen import (
    WIDTH,
    any_of,
    every,
    every_word,
    floats,
    greater,
    lesser,
    load,
    load_words,
    magnitude,
    save,
    save_words,
    where_words,
    whole,
)
from clnf.devices.sixteen_maths import word

__all__ = ["encode_random", "largest_of"]

_F = np.float32
_U = np.uint32
_I = np.uintp
_LANES = np.arange(WIDTH, dtype=np.uint32)
_SIGNED, _LOW = _U(0x80000000), _U(0xFFFF)


@njit(inline="always")
def _sixteen(value: Any, index: Any, length: int, key: tuple[int, int]) -> Any:
    """Trains of sixteen values."""
    none, thirteen, five = every_word(_U(0)), every_word(_U(13)), every_word(_U(5))
    half, low = every_word(_U(16)), every_word(_LOW)
    x = word(index, key[0], key[1])
    more = floats(x >> every_word(_U(8))) * every(_F(2.0**-24))
    limit = whole(lesser(magnitude(value), every(_F(1.0))) * every(_F(65536.0)) + more)
    train = where_words(value < every(_F(0.0)), every_word(_SIGNED), none)
    if not any_of(limit > none):
        return train
    for b in range(min(length, 16)):
        bit = _U(_U(1) << _U(b))
        other = _U(bit << _U(16)) if b + 16 < length else _U(0)
        x = x ^ (x << thirteen)
        x = x ^ (x >> every_word(_U(17)))
        x = x ^ (x << five)
        train = train | where_words((x & low) < limit, every_word(bit), none)
        train = train | where_words((x >> half) < limit, every_word(other), none)
    return train


@njit(nogil=True, cache=True)
def encode_random(
    value: NDArray[np.float32],
    scale: float,
    length: int,
    key: NDArray[np.uint32],
    words: NDArray[np.uint32],
) -> None:
    """Random trains [N, M] of ``length`` <= 31 bits, set with the probability ``|scale value|``.

    A hash starts each train's own xorshift (Marsaglia, J. Stat. Softw. 2003), and each of its
    numbers serves two bits by its halves. A probability becomes a multiple of 2^-16 by chance, anew
    for each train, which keeps its mean.
    """
    count, keys, factor = _I(value.shape[0]) * _I(value.shape[1]), (key[0], key[1]), _F(scale)
    lanes, left = load_words(_LANES, _I(0)), count - count % _I(WIDTH)
    for at in range(_I(0), left, _I(WIDTH)):
        index = lanes + every_word(_U(at))
        save_words(words, at, _sixteen(load(value, at) * every(factor), index, length, keys))
    if left < count:
        few, out = np.zeros(WIDTH, _F), np.empty(WIDTH, _U)
        flat, trains = value.ravel(), words.ravel()
        for k in range(count - left):
            few[k] = flat[left + k] * factor
        index = lanes + every_word(_U(left))
        save_words(out, _I(0), _sixteen(load(few, _I(0)), index, length, keys))
        for k in range(count - left):
            trains[left + k] = out[k]


@njit(nogil=True, cache=True)
def largest_of(value: NDArray[np.float32]) -> float:
    """Largest magnitude of [N, M]; what is not a number does not count."""
    count, most = _I(value.shape[0]) * _I(value.shape[1]), every(_F(0.0))
    left, few, flat = count - count % _I(WIDTH), np.zeros(WIDTH, _F), value.ravel()
    for at in range(_I(0), left, _I(WIDTH)):
        most = greater(magnitude(load(value, at)), most)
    for k in range(count - left):
        few[k] = flat[left + k]
    save(few, _I(0), greater(magnitude(load(few, _I(0))), most))
    return few.max()
