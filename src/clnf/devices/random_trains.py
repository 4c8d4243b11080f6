"""Random trains of bits, sixteen side by side; the twin is in ``coincidence_reference``.

A bit is set where a random number is below a probability. Both are compared place by place from
the highest on, in all bits of a train at once: after k places 2^-k of them are undecided, and about
ten words of random bits decide whole trains to 24 places. Evenly spread trains are in
:mod:`clnf.devices.encoders`.
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from clnf.devices.sixteen import (
    WIDTH,
    address,
    every,
    every_word,
    greater,
    lesser,
    load,
    load_words,
    magnitude,
    negative,
    save,
    save_words,
    where_words,
    whole,
)
from clnf.devices.sixteen_maths import word
from clnf.devices.train_masks import (
    BITS,
    SHEAF,
    Masks,
    any_bit,
    close,
    fill,
    room,
    sheet_of,
    start,
)

__all__ = ["encode_columns", "encode_random", "encode_rows", "peaks_of"]

_F = np.float32
_U = np.uint32
_I = np.uintp
_LANES = np.arange(WIDTH, dtype=np.uint32)
_SIGNED, _ALL = _U(0x80000000), _U(0xFFFFFFFF)
# Places of a probability, and how many are compared before it is asked whether that was enough.
_PLACES, _FEW = 24, 7


@njit(inline="always")
def _place(state: Any, limit: Any, less: Any, left: Any) -> Any:
    """Compare one place: random bits, probability, bits known to be set, and bits undecided."""
    state = state ^ (state << every_word(_U(13)))
    state = state ^ (state >> every_word(_U(17)))
    state = state ^ (state << every_word(_U(5)))
    ask = where_words(negative(limit), every_word(_ALL), every_word(_U(0)))
    differ = state ^ ask
    return (
        state,
        limit << every_word(_U(1)),
        less | (left & ask & differ),
        left & (differ ^ every_word(_ALL)),
    )


@njit(inline="always")
def _train(value: Any, index: Any, wanted: Any, key: tuple[int, int]) -> Any:
    """Trains of sixteen values, no sign, of the bits ``wanted``."""
    none = every_word(_U(0))
    limit = whole(lesser(magnitude(value), every(_F(1.0))) * every(_F(2.0**_PLACES)))
    less = where_words(limit > every_word(_U(2**_PLACES - 1)), wanted, none)
    left = where_words(limit > none, wanted ^ less, none)
    if not any_bit(left):
        return less
    state, limit = word(index, key[0], key[1]), limit << every_word(_U(32 - _PLACES))
    for _ in range(_FEW):
        state, limit, less, left = _place(state, limit, less, left)
    for _ in range(_PLACES - _FEW):
        if not any_bit(left):
            break
        state, limit, less, left = _place(state, limit, less, left)
    return less


@njit(inline="always")
def _trains(values: Any, indices: Any, wanted: Any, key: tuple[int, int]) -> Any:
    """The same of twice sixteen: what waits for the one has time for the other."""
    none, one, top = every_word(_U(0)), every(_F(1.0)), every(_F(2.0**_PLACES))
    full, shift = every_word(_U(2**_PLACES - 1)), every_word(_U(32 - _PLACES))
    limit = whole(lesser(magnitude(values[0]), one) * top)
    other = whole(lesser(magnitude(values[1]), one) * top)
    less, more = where_words(limit > full, wanted, none), where_words(other > full, wanted, none)
    left, rest = (
        where_words(limit > none, wanted ^ less, none),
        where_words(other > none, wanted ^ more, none),
    )
    if not any_bit(left | rest):
        return less, more
    state, limit = word(indices[0], key[0], key[1]), limit << shift
    second, other = word(indices[1], key[0], key[1]), other << shift
    for _ in range(_FEW):
        state, limit, less, left = _place(state, limit, less, left)
        second, other, more, rest = _place(second, other, more, rest)
    for _ in range(_PLACES - _FEW):
        if not any_bit(left | rest):
            break
        state, limit, less, left = _place(state, limit, less, left)
        second, other, more, rest = _place(second, other, more, rest)
    return less, more


@njit(inline="always")
def _sign(value: Any) -> Any:
    return where_words(value < every(_F(0.0)), every_word(_SIGNED), every_word(_U(0)))


@njit(nogil=True, cache=True)
def encode_random(
    value: NDArray[np.float32],
    scale: float,
    length: int,
    key: NDArray[np.uint32],
    words: NDArray[np.uint32],
) -> None:
    """Random trains [N, M] of ``length`` <= 31 bits, set with the probability ``|scale value|``.

    A hash of its place starts each train's own xorshift (Marsaglia, J. Stat. Softw. 2003).
    """
    count, keys, factor = _I(value.shape[0]) * _I(value.shape[1]), (key[0], key[1]), _F(scale)
    lanes, some = load_words(_LANES, _I(0)), every_word(_U(_U(_U(1) << _U(length)) - _U(1)))
    few, out = np.zeros(WIDTH, _F), np.empty(WIDTH, _U)
    flat, trains = value.ravel(), words.ravel()
    for at in range(_I(0), count, _I(WIDTH)):
        here = at + _I(WIDTH) <= count
        if not here:
            for k in range(count - at):
                few[k] = flat[at + k]
        own = (load(value, at) if here else load(few, _I(0))) * every(factor)
        train = _train(own, lanes + every_word(_U(at)), some, keys) | _sign(own)
        if here:
            save_words(words, at, train)
            continue
        save_words(out, _I(0), train)
        for k in range(count - at):
            trains[at + k] = out[k]


@njit(nogil=True, cache=True)
def encode_columns(
    value: NDArray[np.float32], scale: float, length: int, key: NDArray[np.uint32]
) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """The trains of :func:`encode_random` column by column, and the bits each vector has in any.

    Returns:
        Trains [M, N] and bits [N], N filled up to whole sixteens.
    """
    vectors, wide = _I(value.shape[0]), _I(value.shape[1])
    long = (vectors + _I(WIDTH - 1)) // _I(WIDTH) * _I(WIDTH)
    # One group more than there are, for they go in pairs.
    own = np.zeros(long + _I(WIDTH), _F)
    words, used = np.empty((wide, long), _U), np.zeros(long, _U)
    keys, factor, some = (key[0], key[1]), every(_F(scale)), _U(_U(_U(1) << _U(length)) - _U(1))
    places = load_words(_LANES, _I(0)) * every_word(_U(wide))
    for m in range(wide):
        for n in range(vectors):
            own[n] = value[n, m]
        for n in range(_I(0), long, _I(2 * WIDTH)):
            one, two = load(own, n) * factor, load(own, n + _I(WIDTH)) * factor
            index = places + every_word(_U(_U(n * wide) + _U(m)))
            both = index, index + every_word(_U(WIDTH * wide))
            train, other = _trains((one, two), both, every_word(some), keys)
            save_words(words, m * long + n, train | _sign(one))
            save_words(used, n, load_words(used, n) | train)
            if n + _I(WIDTH) < long:
                save_words(words, m * long + n + _I(WIDTH), other | _sign(two))
                save_words(used, n + _I(WIDTH), load_words(used, n + _I(WIDTH)) | other)
    return words, used


@njit(nogil=True, cache=True)
def encode_rows(
    value: NDArray[np.float32], scale: float, key: NDArray[np.uint32], wanted: NDArray[np.uint32]
) -> Masks:
    """The trains of :func:`encode_random` as masks, of the bits ``wanted`` [N] of each vector."""
    vectors, wide = _I(value.shape[0]), _I(value.shape[1])
    masks, tail, sixteen = room(vectors, wide), np.zeros(SHEAF, _F), _I(WIDTH)
    sheet, numbers = sheet_of(masks), load_words(_LANES, _I(0))
    keys, factor = (key[0], key[1]), every(_F(scale))
    for v in range(vectors):
        if wanted[v] == _U(0):
            continue
        some = every_word(wanted[v])
        start(sheet, v * BITS, wanted[v])
        for at in range(_I(0), wide, SHEAF):
            here, first = at + SHEAF <= wide, v * wide + at
            if not here:
                for k in range(SHEAF):
                    tail[k] = value[v, at + k] if at + k < wide else _F(0.0)
            source, begin = (address(value), first) if here else (address(tail), _I(0))
            index = numbers + every_word(_U(first))
            one = load(source, begin) * factor, load(source, begin + sixteen) * factor
            words = _trains(one, (index, index + every_word(_U(WIDTH))), some, keys)
            begin, index = begin + _I(2) * sixteen, index + every_word(_U(2 * WIDTH))
            two = load(source, begin) * factor, load(source, begin + sixteen) * factor
            more = _trains(two, (index, index + every_word(_U(WIDTH))), some, keys)
            signed = words[0] | _sign(one[0]), words[1] | _sign(one[1])
            trains = signed[0], signed[1], more[0] | _sign(two[0]), more[1] | _sign(two[1])
            fill(sheet, trains, (v, at // sixteen), wanted[v])
        close(sheet, v, wanted[v])
    return masks


@njit(nogil=True, cache=True)
def peaks_of(one: NDArray[np.float32], other: NDArray[np.float32]) -> tuple[float, float]:
    """Largest magnitudes of two arrays [N, M]; what is not a number does not count."""
    return _peak(one), _peak(other)


@njit(inline="always")
def _peak(value: NDArray[np.float32]) -> float:
    count, most = _I(value.shape[0]) * _I(value.shape[1]), every(_F(0.0))
    left, few, flat = count - count % _I(WIDTH), np.zeros(WIDTH, _F), value.ravel()
    for at in range(_I(0), left, _I(WIDTH)):
        most = greater(magnitude(load(value, at)), most)
    for k in range(count - left):
        few[k] = flat[left + k]
    save(few, _I(0), greater(magnitude(load(few, _I(0))), most))
    return few.max()
