"""Coincidences of a batch of trains at one column of cells, counted for 512 rows at once.

Trains are turned so that one bit of all rows lies in a run of words: a *mask*. A bit that is set
in a column's train adds the mask of its vector and place to a sum for every row. The sums are kept
bit by bit as well, in *planes* of their ones, twos, fours and so on, and a full adder works on 512
rows by a few logical operations. The cost goes with the bits set in columns, not with pulses.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from clnf.devices.sixteen import (
    WIDTH,
    address,
    count_bits,
    every_word,
    load_words,
    peek_byte,
    peek_long,
    peek_short,
    peek_word,
    poke_long,
    save_words,
    where_words,
)
from clnf.devices.train_masks import (
    BITS,
    LINE,
    TRAIN,
    Masks,
    any_bit,
    bits_of_marks,
    lowest,
    sum_of_words,
    where_set_bits,
)

__all__ = [
    "BATCH",
    "Counts",
    "Ledge",
    "count_column",
    "count_of",
    "counts_of",
    "ledge_of",
    "new_counts",
]

_U = np.uint32
_I = np.uintp
# Vectors in one operation at most: of 31 bits they add up to less than 2^13.
BATCH = 256
_PLANES = _I(13)


class Counts(NamedTuple):
    """What a column has counted.

    Shapes: ``planes`` uint16 [2 * 13 * words], of ups and of downs; ``depth`` int64 [2], planes
    in use; ``any`` uint16 [words], rows with pulses; ``list`` int64 [2 * (N * 62 + 1)], masks to
    add, and ``ends`` int64 [2], how many of each.
    """

    planes: Any
    depth: Any
    any: Any
    list: Any
    ends: Any


class Ledge(NamedTuple):
    """Addresses of masks, of what is counted, and of columns; and the sizes of all of them."""

    bits: Any
    some: Any
    below: Any
    planes: Any
    any: Any
    list: Any
    columns: Any
    words: Any
    half: Any
    room: Any
    long: Any
    state: Any


@njit(inline="always")
def new_counts(masks: Masks) -> Counts:
    """Room for what a column counts."""
    words = _I(masks.words)
    planes, some = np.zeros(_I(2) * _PLANES * words, np.uint16), np.zeros(words, np.uint16)
    listed = np.empty(2 * (masks.some.shape[0] + 1), np.int64)
    return Counts(planes, np.zeros(2, np.int64), some, listed, np.zeros(2, np.int64))


@njit(inline="always")
def ledge_of(masks: Masks, counts: Counts, columns: NDArray[np.uint32]) -> Ledge:
    """What counting needs; ``columns`` are trains column by column, see :func:`across`."""
    half, room = _I(masks.below.shape[0]) * BITS, _I(counts.list.shape[0]) // _I(2)
    return Ledge(
        address(masks.bits), address(masks.some), address(masks.below), address(counts.planes),
        address(counts.any), address(counts.list), address(columns), _I(masks.words), half, room,
        _I(columns.shape[1]), (address(counts.ends), address(counts.depth)),
    )  # fmt: skip


@njit(inline="always")
def _adder(a: Any, b: Any, c: Any) -> Any:
    """Sum and carry of three bits."""
    half = a ^ b
    return half ^ c, (a & b) | (half & c)


@njit(inline="always")
def _carry(planes: Any, step: Any, more: Any) -> None:
    """Add bits to a plane and what overflows to those above it."""
    at = planes
    while any_bit(more):
        old = load_words(at, _I(0))
        save_words(at, _I(0), old ^ more)
        more = old & more
        at += step


@njit(inline="always")
def _mask(ledge: Ledge, place: Any, line: Any) -> Any:
    """A mask that is listed."""
    mask = peek_long(ledge.list, place)
    return load_words(ledge.bits + _I(2) * (mask * ledge.words + line), _I(0))


@njit(inline="always")
def _eight(ledge: Ledge, low: Any, first: Any, line: Any) -> Any:
    """Add eight masks to the three lowest planes; also gives the eights that overflow."""
    ones, twos, fours = low
    four, carried = fours, fours ^ fours
    for half in range(_I(2)):
        k = first + half * _I(4)
        ones, two = _adder(ones, _mask(ledge, k, line), _mask(ledge, k + _I(1), line))
        ones, other = _adder(ones, _mask(ledge, k + _I(2), line), _mask(ledge, k + _I(3), line))
        twos, more = _adder(twos, two, other)
        carried = carried | (four & more)
        four = four ^ more
    return ones, twos, four, carried


@njit(inline="always")
def _add(ledge: Ledge, way: Any, count: Any, depth: Any) -> None:
    """Add up the masks listed for ups (``way`` 0) or downs."""
    none, first = every_word(_U(0)), way * ledge.room
    last = first + count
    whole, step = last - count % _I(8), _I(2) * ledge.words
    for line in range(_I(0), ledge.words, LINE):
        low = none, none, none
        planes = ledge.planes + _I(2) * (way * _PLANES * ledge.words + line)
        for k in range(_I(3), depth):
            save_words(planes + k * step, _I(0), none)
        for k in range(first, whole, _I(8)):
            ones, twos, fours, more = _eight(ledge, low, k, line)
            low = ones, twos, fours
            _carry(planes + _I(3) * step, step, more)
        for k in range(whole, last):
            ones, twos, fours = low
            mask = _mask(ledge, k, line)
            two = ones & mask
            four = twos & two
            _carry(planes + _I(3) * step, step, fours & four)
            low = ones ^ mask, twos ^ two, fours ^ four
        ones, twos, fours = low
        save_words(planes, _I(0), ones)
        save_words(planes + step, _I(0), twos)
        save_words(planes + _I(2) * step, _I(0), fours)


@njit(inline="always")
def _note(ledge: Ledge, train: Any, first: Any, way: Any) -> None:
    """Note masks of a train, the first of which is given, for ups (``way`` 0) or downs."""
    ends, left = ledge.state[0], train
    place = way * ledge.room + peek_long(ends, way)
    while left != _U(0):
        mask = first + lowest(left)
        poke_long(ledge.list, place, mask)
        place += _I(peek_byte(ledge.some, mask))
        left = _U(left & _U(left - _U(1)))
    poke_long(ends, way, place - way * ledge.room)


@njit(inline="always")
def _list(ledge: Ledge, column: Any) -> None:
    """Note the masks that a column's trains add to ups and to downs."""
    for at in range(_I(0), ledge.long, _I(WIDTH)):
        here = load_words(ledge.columns, column * ledge.long + at) & every_word(TRAIN)
        busy = _U(bits_of_marks(here > every_word(_U(0))))
        while busy != _U(0):
            v = at + lowest(busy)
            word = peek_word(ledge.columns, column * ledge.long + v)
            train, falling = _U(word & TRAIN), _I(_U(word >> _U(31)))
            # A row and a column of one sign move the weight down.
            _note(ledge, train, v * BITS, _I(1) - falling)
            if peek_byte(ledge.below, v) != 0:
                _note(ledge, train, ledge.half + v * BITS, falling)
            busy = _U(busy & _U(busy - _U(1)))


@njit(inline="always")
def count_column(ledge: Ledge, column: Any) -> Any:
    """Count all coincidences at a column; returns cells with some."""
    ends, depths = ledge.state
    poke_long(ends, _I(0), _I(0))
    poke_long(ends, _I(1), _I(0))
    _list(ledge, column)
    cells = _I(0)
    if peek_long(ends, _I(0)) + peek_long(ends, _I(1)) > _I(0):
        for way in range(_I(2)):
            depth, left = _I(0), peek_long(ends, way)
            while left > _I(0):
                depth, left = depth + _I(1), left >> _I(1)
            poke_long(depths, way, depth)
            if depth > _I(0):
                _add(ledge, way, peek_long(ends, way), depth)
        cells = _touched(ledge)
    return cells


@njit(inline="always")
def _touched(ledge: Ledge) -> Any:
    """Mark rows with pulses, and how many."""
    cells, step = _I(0), _I(2) * ledge.words
    for line in range(_I(0), ledge.words, LINE):
        some = every_word(_U(0))
        for way in range(_I(2)):
            planes = ledge.planes + _I(2) * (way * _PLANES * ledge.words + line)
            for k in range(peek_long(ledge.state[1], way)):
                some = some | load_words(planes + k * step, _I(0))
        save_words(ledge.any + _I(2) * line, _I(0), some)
        cells += _I(sum_of_words(count_bits(some)))
    return cells


@njit(inline="always")
def counts_of(ledge: Ledge, way: Any, group: Any) -> Any:
    """Ups (``way`` 0) or downs (1) of a group of sixteen rows."""
    total, one = every_word(_U(0)), every_word(_U(1))
    depth = peek_long(ledge.state[1], way)
    at = (way * _PLANES + depth) * ledge.words + group
    for _ in range(depth):
        at -= ledge.words
        total = total + total
        total = where_words(where_set_bits(peek_short(ledge.planes, at)), total + one, total)
    return total


@njit(inline="always")
def count_of(ledge: Ledge, way: Any, group: Any, row: Any) -> Any:
    """The same of one row of a group."""
    total, first = _U(0), way * _PLANES * ledge.words + group
    for k in range(peek_long(ledge.state[1], way)):
        plane = _U(peek_short(ledge.planes, first + k * ledge.words))
        total = _U(total | _U(_U(_U(plane >> _U(row)) & _U(1)) << _U(k)))
    return total
