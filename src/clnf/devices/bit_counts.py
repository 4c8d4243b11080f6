"""Coincidences of a batch of trains at one column of cells, counted for 512 rows at once.

Trains are turned so that one bit of all rows lies in a run of words: a *mask*. A bit that is set
in a column's train adds the mask of its vector and place to a sum for every row. The sums are kept
bit by bit as well, in *planes* of their ones, twos, fours and so on, and a full adder works on 512
rows by a few logical operations. The cost goes with the bits set in columns, not with pulses.
"""

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.core.typing.templates import signature
from numba.extending import intrinsic
from numpy.typing import NDArray

from clnf.devices.sixteen import (
    WIDTH,
    Marks,
    Words,
    every_word,
    load_words,
    negative,
    save_words,
    where_words,
)

__all__ = [
    "BATCH",
    "Counts",
    "Masks",
    "count_column",
    "count_of",
    "counts_of",
    "lowest",
    "new_counts",
    "turn",
]

_U = np.uint32
_I = np.uintp
_TRAIN, _SIGNED = _U(0x7FFFFFFF), _U(0x80000000)
_BITS = _I(31)
# Masks and planes are of 16 bits a word, so that a word has the rows of one group of cells. This
# many words fill a register.
_LINE = _I(32)
# Vectors in one operation at most: of 31 bits they add up to less than 2^13.
BATCH = 256
_PLANES = _I(13)


class Masks(NamedTuple):
    """Rows that have a bit set, by sign.

    Shapes: ``bits`` uint16 [2 * N * 31 * words], rows that are not negative first; ``some`` uint8
    [2 * N * 31], whether a mask has any; ``words`` of one mask, in whole registers.
    """

    bits: Any
    some: Any
    words: Any


class Counts(NamedTuple):
    """What a column has counted.

    Shapes: ``planes`` uint16 [2 * 13 * words], of ups and of downs; ``depth`` int64 [2], planes
    in use; ``any`` uint16 [words], rows with pulses; ``list`` int64 [2, N * 62], masks to add.
    """

    planes: Any
    depth: Any
    any: Any
    list: Any


def _bits_set(_: Any, marks: Any) -> Any:
    """Marks as the bits of a word."""
    kinds = signature(types.uint16, Marks)  # type: ignore[no-untyped-call]
    return kinds, lambda context, builder, kind, args: builder.bitcast(args[0], ir.IntType(WIDTH))


def _set_bits(_: Any, word: Any) -> Any:
    """The bits of a word as marks."""
    kinds = signature(Marks, types.uint16)  # type: ignore[no-untyped-call]
    marks = ir.VectorType(ir.IntType(1), WIDTH)
    return kinds, lambda context, builder, kind, args: builder.bitcast(args[0], marks)


def _not_zero(_: Any, words: Any) -> Any:
    """Whether any bit of any word is set."""
    bits = ir.IntType(WIDTH)

    def code(context: Any, builder: Any, kind: Any, args: Any) -> Any:
        marks = builder.icmp_unsigned("!=", args[0], ir.Constant(Words.inside, None))
        return builder.icmp_unsigned("!=", builder.bitcast(marks, bits), bits(0))

    return signature(types.boolean, Words), code  # type: ignore[no-untyped-call]


_bits_of_marks: Any = intrinsic(_bits_set)
_where_set_bits: Any = intrinsic(_set_bits)
_any_bit: Any = intrinsic(_not_zero)


@njit(inline="always")
def _ones(x: Any) -> Any:
    x = _U(x - _U(_U(x >> _U(1)) & _U(0x55555555)))
    x = _U(_U(x & _U(0x33333333)) + _U(_U(x >> _U(2)) & _U(0x33333333)))
    x = _U(_U(x + _U(x >> _U(4))) & _U(0x0F0F0F0F))
    return _U(_U(x * _U(0x01010101)) >> _U(24))


@njit(inline="always")
def _spread(
    words: Any, bits: NDArray[np.uint16], some: NDArray[np.uint8], slot: Any, at: Any
) -> None:
    """Write the 31 bits of sixteen rows to the masks of one vector."""
    wide, word = at
    for b in range(_BITS):
        one = every_word(_U(_U(1) << _U(b)))
        mask = _bits_of_marks((words & one) > every_word(_U(0)))
        bits[(slot + b) * wide + word] = mask
        some[slot + b] |= np.uint8(mask != 0)


@njit(inline="always")
def lowest(word: Any) -> Any:
    """Place of the lowest bit set."""
    return _I(_ones(_U(_U(word - _U(1)) & _U(~word))))


@njit(nogil=True, cache=True)
def turn(rows: NDArray[np.uint32]) -> Masks:
    """The masks of trains of rows, uint32 [N, R]."""
    vectors, wide = _I(rows.shape[0]), _I(rows.shape[1])
    words = (wide + _I(16) * _LINE - _I(1)) // (_I(16) * _LINE) * _LINE
    negatives = vectors * _BITS
    bits = np.zeros(_I(2) * negatives * words, np.uint16)
    some, tail = np.zeros(_I(2) * negatives, np.uint8), np.zeros(WIDTH, _U)
    none = every_word(_U(0))
    for v in range(vectors):
        for group in range((wide + _I(15)) // _I(16)):
            first = group * _I(WIDTH)
            if first + _I(WIDTH) > wide:
                for k in range(WIDTH):
                    tail[k] = rows[v, first + _I(k)] if first + _I(k) < wide else _U(0)
                word = load_words(tail, _I(0))
            else:
                word = load_words(rows, v * wide + first)
            if not _any_bit(word & every_word(_TRAIN)):
                continue
            below = negative(word)
            train = word & every_word(_TRAIN)
            plus, minus = where_words(below, none, train), where_words(below, train, none)
            if _any_bit(plus):
                _spread(plus, bits, some, v * _BITS, (words, group))
            if _any_bit(minus):
                _spread(minus, bits, some, negatives + v * _BITS, (words, group))
    return Masks(bits, some, words)


@njit(nogil=True, cache=True)
def new_counts(masks: Masks) -> Counts:
    """Room for what a column counts."""
    words = _I(masks.words)
    planes, some = np.zeros(_I(2) * _PLANES * words, np.uint16), np.zeros(words, np.uint16)
    lists = np.empty((2, masks.some.shape[0]), np.int64)
    return Counts(planes, np.zeros(2, np.int64), some, lists)


@njit(inline="always")
def _adder(a: Any, b: Any, c: Any) -> Any:
    """Sum and carry of three bits."""
    half = a ^ b
    return half ^ c, (a & b) | (half & c)


@njit(inline="always")
def _carry(planes: NDArray[np.uint16], at: Any, step: Any, more: Any) -> None:
    """Add bits to a plane and what overflows to those above it."""
    while _any_bit(more):
        old = load_words(planes, at)
        save_words(planes, at, old ^ more)
        more = old & more
        at += step


@njit(inline="always")
def _eight(masks: Masks, offsets: NDArray[np.int64], low: Any, at: Any) -> Any:
    """Add eight masks to the three lowest planes; also gives the eights that overflow."""
    ones, twos, fours = low
    bits, words = masks.bits, _I(masks.words)
    first, line = at
    four = fours
    carried = fours ^ fours
    for half in range(_I(2)):
        k = first + half * _I(4)
        a = load_words(bits, _I(offsets[k]) * words + line)
        b = load_words(bits, _I(offsets[k + _I(1)]) * words + line)
        ones, two = _adder(ones, a, b)
        a = load_words(bits, _I(offsets[k + _I(2)]) * words + line)
        b = load_words(bits, _I(offsets[k + _I(3)]) * words + line)
        ones, other = _adder(ones, a, b)
        twos, more = _adder(twos, two, other)
        carried = carried | (four & more)
        four = four ^ more
    return ones, twos, four, carried


@njit(nogil=True, cache=True)
def _add(
    masks: Masks, offsets: NDArray[np.int64], count: Any, planes: NDArray[np.uint16], first: Any
) -> None:
    """Add up masks; ``first`` is where the planes that get the sum begin."""
    words, bits = _I(masks.words), masks.bits
    none = every_word(_U(0))
    for line in range(_I(0), words, _LINE):
        ones, twos, fours = none, none, none
        upper = first + _I(3) * words + line
        whole = _I(count) & ~_I(7)
        for k in range(_I(0), whole, _I(8)):
            ones, twos, fours, more = _eight(masks, offsets, (ones, twos, fours), (k, line))
            _carry(planes, upper, words, more)
        for k in range(whole, _I(count)):
            one = load_words(bits, _I(offsets[k]) * words + line)
            two = ones & one
            four = twos & two
            ones, twos = ones ^ one, twos ^ two
            _carry(planes, upper, words, fours & four)
            fours = fours ^ four
        save_words(planes, first + line, ones)
        save_words(planes, first + words + line, twos)
        save_words(planes, first + _I(2) * words + line, fours)


@njit(nogil=True, cache=True)
def _list(column: Any, vector: Any, masks: Masks, out: NDArray[np.int64], ends: Any) -> None:
    """Note the masks that one vector's train adds to ups and to downs."""
    train, below = _U(column & _TRAIN), np.int64(_U(column >> _U(31)))
    other = np.int64(masks.some.shape[0] // 2)
    while train != _U(0):
        bit = lowest(train)
        mask = np.int64(vector) * 31 + np.int64(bit)
        for sign in range(2):
            # A row and a column of one sign move the weight down.
            down = np.int64(sign == below)
            out[down, ends[down]] = mask + sign * other
            ends[down] += np.int64(masks.some[mask + sign * other])
        train = _U(train & _U(train - _U(1)))


@njit(nogil=True, cache=True)
def count_column(
    columns: NDArray[np.uint32], column: Any, masks: Masks, counts: Counts
) -> tuple[int, int]:
    """Count all coincidences at a column; returns cells with some, and groups that have such."""
    ends = np.zeros(2, np.int64)
    for v in range(_I(columns.shape[0])):
        word = columns[v, column]
        if _U(word & _TRAIN) != _U(0):
            _list(word, v, masks, counts.list, ends)
    if ends[0] + ends[1] == 0:
        return 0, 0
    words, planes = _I(masks.words), counts.planes
    for way in range(2):
        depth, left = np.int64(0), ends[way]
        while left > 0:
            depth, left = depth + 1, left >> 1
        counts.depth[way] = depth
        first = _I(way) * _PLANES * words
        for k in range(first + _I(3) * words, first + max(_I(depth), _I(3)) * words):
            planes[k] = 0
        if depth > 0:
            _add(masks, counts.list[way], ends[way], planes, first)
    return _touched(counts, words)


@njit(nogil=True, cache=True)
def _touched(counts: Counts, words: Any) -> Any:
    """Mark rows with pulses; how many, and in how many groups of sixteen."""
    cells, groups = np.int64(0), np.int64(0)
    for word in range(words):
        some = np.uint16(0)
        for way in range(_I(2)):
            for k in range(_I(counts.depth[way])):
                some |= counts.planes[(way * _PLANES + k) * words + word]
        counts.any[word] = some
        cells += np.int64(_ones(_U(some)))
        groups += np.int64(some != 0)
    return cells, groups


@njit(inline="always")
def counts_of(counts: Counts, way: int, group: Any, words: Any) -> Any:
    """Ups (``way`` 0) or downs (1) of a group of sixteen rows."""
    total, none = every_word(_U(0)), every_word(_U(0))
    for k in range(_I(counts.depth[way])):
        plane = _where_set_bits(counts.planes[(_I(way) * _PLANES + k) * words + group])
        total = total + where_words(plane, every_word(_U(_U(1) << _U(k))), none)
    return total


@njit(inline="always")
def count_of(counts: Counts, way: int, group: Any, place: Any) -> Any:
    """The same of one row of a group; ``place`` is which one, and the words of a mask."""
    total = _U(0)
    for k in range(_I(counts.depth[way])):
        plane = _U(counts.planes[(_I(way) * _PLANES + k) * _I(place[1]) + group])
        total = _U(total | _U(_U(_U(plane >> _U(place[0])) & _U(1)) << _U(k)))
    return total
