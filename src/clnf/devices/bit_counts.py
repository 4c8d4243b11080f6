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
from numba.core import cgutils
from numba.core.typing.templates import signature
from numba.extending import intrinsic
from numpy.typing import NDArray

from clnf.devices.sixteen import (
    WIDTH,
    Marks,
    Words,
    count_bits,
    every_word,
    load_words,
    negative,
    save_words,
    where_words,
)

__all__ = [
    "BATCH", "Counts", "Masks", "across", "any_bit", "close", "count_column", "count_of",
    "counts_of", "fill", "lowest", "new_counts", "room", "start", "turn",
]  # fmt: skip

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
    [2 * N * 31], whether a mask has any; ``below`` uint8 [N], whether a vector has negative rows;
    ``words`` of one mask, in whole registers.
    """

    bits: Any
    some: Any
    below: Any
    words: Any


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


def _reduced(name: str) -> Any:
    """All sixteen words joined by an operation of LLVM's."""

    def typer(_: Any, words: Any) -> Any:
        def code(context: Any, builder: Any, kind: Any, args: Any) -> Any:
            word = Words.inside.element
            shape = ir.FunctionType(word, [Words.inside])
            call = f"llvm.vector.reduce.{name}.v{WIDTH}i32"
            function = cgutils.get_or_insert_function(  # type: ignore[no-untyped-call]
                builder.module, shape, call
            )
            return builder.call(function, args)

        return signature(types.uint32, Words), code  # type: ignore[no-untyped-call]

    return typer


def _zeros_below(_: Any, word: Any) -> Any:
    """Place of the lowest bit set of a word that has one."""
    kinds = signature(types.uintp, types.uint32)  # type: ignore[no-untyped-call]

    def code(context: Any, builder: Any, kind: Any, args: Any) -> Any:
        place = builder.cttz(args[0], ir.IntType(1)(1))
        return builder.zext(place, ir.IntType(64))

    return kinds, code


_bits_of_marks: Any = intrinsic(_bits_set)
_where_set_bits: Any = intrinsic(_set_bits)
any_bit: Any = intrinsic(_not_zero)
_either: Any = intrinsic(_reduced("or"))
_sum: Any = intrinsic(_reduced("add"))
lowest: Any = intrinsic(_zeros_below)


@njit(inline="always")
def room(vectors: Any, wide: Any) -> Masks:
    """Room for the masks of N vectors of M rows; each vector's is to be started and closed."""
    words = (wide + _I(16) * _LINE - _I(1)) // (_I(16) * _LINE) * _LINE
    bits = np.empty(_I(2) * vectors * _BITS * words, np.uint16)
    some = np.empty(_I(2) * vectors * _BITS, np.uint8)
    return Masks(bits, some, np.zeros(vectors, np.uint8), words)


@njit(inline="always")
def start(masks: Masks, first: Any, wanted: Any) -> None:
    """Empty the masks of some bits of a vector, whose masks begin with ``first``."""
    words, left = _I(masks.words), wanted
    while left != _U(0):
        mask = first + lowest(left)
        for line in range(_I(0), words, _LINE):
            save_words(masks.bits, mask * words + line, every_word(_U(0)))
        left = _U(left & _U(left - _U(1)))


@njit(inline="always")
def close(masks: Masks, vector: Any, wanted: Any) -> None:
    """Note which masks of a vector have any row."""
    words, left = _I(masks.words), wanted
    half = _I(masks.below.shape[0]) * _BITS
    while left != _U(0):
        mask = vector * _BITS + lowest(left)
        masks.some[mask] = _has(masks.bits, mask * words, words)
        low = masks.below[vector] != 0
        masks.some[half + mask] = _has(masks.bits, (half + mask) * words, words) if low else 0
        left = _U(left & _U(left - _U(1)))


@njit(inline="always")
def _has(bits: NDArray[np.uint16], at: Any, words: Any) -> Any:
    both = every_word(_U(0))
    for line in range(_I(0), words, _LINE):
        both = both | load_words(bits, at + line)
    return np.uint8(any_bit(both))


@njit(inline="always")
def _spread(words: Any, bits: NDArray[np.uint16], first: Any, at: Any) -> None:
    """Write the bits of sixteen rows to the masks of one vector, which begin with ``first``."""
    wide, word = at
    left = _either(words)
    while left != _U(0):
        bit = lowest(left)
        one = every_word(_U(_U(1) << _U(bit)))
        bits[(first + bit) * wide + word] = _bits_of_marks((words & one) > every_word(_U(0)))
        left = _U(left & _U(left - _U(1)))


@njit(inline="always")
def fill(masks: Masks, trains: Any, place: Any, wanted: Any) -> None:
    """Write trains of sixteen rows, their sign in bit 31; ``place`` is vector and group."""
    (vector, group), words, none = place, _I(masks.words), every_word(_U(0))
    below, train = negative(trains), trains & every_word(_TRAIN)
    first = vector * _BITS
    _spread(where_words(below, none, train), masks.bits, first, (words, group))
    minus = where_words(below, train, none)
    if any_bit(minus):
        first += _I(masks.below.shape[0]) * _BITS
        if masks.below[vector] == 0:
            masks.below[vector] = 1
            start(masks, first, wanted)
        _spread(minus, masks.bits, first, (words, group))


@njit(nogil=True, cache=True)
def turn(rows: NDArray[np.uint32]) -> Masks:
    """The masks of trains of rows, uint32 [N, R]."""
    vectors, wide = _I(rows.shape[0]), _I(rows.shape[1])
    masks, tail = room(vectors, wide), np.zeros(WIDTH, _U)
    for v in range(vectors):
        start(masks, v * _BITS, _TRAIN)
        for at in range(_I(0), wide, _I(WIDTH)):
            if at + _I(WIDTH) > wide:
                for k in range(_I(WIDTH)):
                    tail[k] = rows[v, at + k] if at + k < wide else _U(0)
                word = load_words(tail, _I(0))
            else:
                word = load_words(rows, v * wide + at)
            fill(masks, word, (v, at // _I(WIDTH)), _TRAIN)
        close(masks, v, _TRAIN)
    return masks


@njit(nogil=True, cache=True)
def across(columns: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Trains of columns [N, C] column by column, [C, N] with N filled up to whole sixteens."""
    vectors, wide = _I(columns.shape[0]), _I(columns.shape[1])
    long = (vectors + _I(WIDTH - 1)) // _I(WIDTH) * _I(WIDTH)
    out = np.zeros((wide, long), _U)
    for c in range(wide):
        for v in range(vectors):
            out[c, v] = columns[v, c]
    return out


@njit(inline="always")
def new_counts(masks: Masks) -> Counts:
    """Room for what a column counts."""
    words = _I(masks.words)
    planes, some = np.zeros(_I(2) * _PLANES * words, np.uint16), np.zeros(words, np.uint16)
    listed = np.empty(2 * (masks.some.shape[0] + 1), np.int64)
    return Counts(planes, np.zeros(2, np.int64), some, listed, np.zeros(2, np.int64))


@njit(inline="always")
def _adder(a: Any, b: Any, c: Any) -> Any:
    """Sum and carry of three bits."""
    half = a ^ b
    return half ^ c, (a & b) | (half & c)


@njit(inline="always")
def _carry(planes: NDArray[np.uint16], at: Any, step: Any, more: Any) -> None:
    """Add bits to a plane and what overflows to those above it."""
    while any_bit(more):
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


@njit(inline="always")
def _add(masks: Masks, counts: Counts, way: Any) -> None:
    """Add up the masks listed for ups (``way`` 0) or downs."""
    words, bits, planes, listed = _I(masks.words), masks.bits, counts.planes, counts.list
    none, one = every_word(_U(0)), _I(way) * (_I(listed.shape[0]) // _I(2))
    last = one + _I(counts.ends[way])
    whole = last - _I(counts.ends[way]) % _I(8)
    for line in range(_I(0), words, _LINE):
        low = none, none, none
        first = _I(way) * _PLANES * words + line
        upper = first + _I(3) * words
        for k in range(_I(3), _I(counts.depth[way])):
            save_words(planes, first + k * words, none)
        for k in range(one, whole, _I(8)):
            ones, twos, fours, more = _eight(masks, listed, low, (k, line))
            low = ones, twos, fours
            _carry(planes, upper, words, more)
        for k in range(whole, last):
            mask = load_words(bits, _I(listed[k]) * words + line)
            two = low[0] & mask
            four = low[1] & two
            _carry(planes, upper, words, low[2] & four)
            low = low[0] ^ mask, low[1] ^ two, low[2] ^ four
        for k in range(_I(3)):
            save_words(planes, first + k * words, low[k])


@njit(inline="always")
def _note(masks: Masks, counts: Counts, train: Any, first: Any, way: Any) -> None:
    """Note masks of a train, the first of which is given, for ups (``way`` 0) or downs."""
    end, listed, left = _I(counts.ends[way]), counts.list, train
    place = _I(way) * (_I(listed.shape[0]) // _I(2)) + end
    while left != _U(0):
        mask = first + lowest(left)
        listed[place] = mask
        place += _I(masks.some[mask])
        left = _U(left & _U(left - _U(1)))
    counts.ends[way] = place - _I(way) * (_I(listed.shape[0]) // _I(2))


@njit(inline="always")
def _list(columns: NDArray[np.uint32], column: Any, masks: Masks, counts: Counts) -> None:
    """Note the masks that a column's trains add to ups and to downs."""
    long, half = _I(columns.shape[1]), _I(masks.below.shape[0]) * _BITS
    counts.ends[0] = counts.ends[1] = 0
    for at in range(_I(0), long, _I(WIDTH)):
        here = load_words(columns, _I(column) * long + at) & every_word(_TRAIN)
        busy = _U(_bits_of_marks(here > every_word(_U(0))))
        while busy != _U(0):
            v = at + lowest(busy)
            word = columns[_I(column), v]
            train, falling = _U(word & _TRAIN), _I(_U(word >> _U(31)))
            # A row and a column of one sign move the weight down.
            _note(masks, counts, train, v * _BITS, _I(1) - falling)
            if masks.below[v] != 0:
                _note(masks, counts, train, half + v * _BITS, falling)
            busy = _U(busy & _U(busy - _U(1)))


@njit(inline="always")
def count_column(columns: NDArray[np.uint32], column: Any, masks: Masks, counts: Counts) -> Any:
    """Count all coincidences at a column; returns cells with some, and groups that have such.

    ``columns`` are trains column by column, as :func:`across` gives them.
    """
    _list(columns, column, masks, counts)
    cells = groups = _I(0)
    if counts.ends[0] + counts.ends[1] > 0:
        for way in range(_I(2)):
            depth, left = np.int64(0), counts.ends[way]
            while left > 0:
                depth, left = depth + 1, left >> 1
            counts.depth[way] = depth
            if depth > 0:
                _add(masks, counts, way)
        cells, groups = _touched(counts, _I(masks.words))
    return cells, groups


@njit(inline="always")
def _touched(counts: Counts, words: Any) -> Any:
    """Mark rows with pulses; how many, and in how many groups of sixteen."""
    cells, groups, planes = _I(0), _I(0), counts.planes
    none, one, low = every_word(_U(0)), every_word(_U(1)), every_word(_U(0xFFFF))
    half = every_word(_U(16))
    for line in range(_I(0), words, _LINE):
        some = none
        for way in range(_I(2)):
            for k in range(_I(counts.depth[way])):
                some = some | load_words(planes, (way * _PLANES + k) * words + line)
        save_words(counts.any, line, some)
        cells += _I(_sum(count_bits(some)))
        halves = where_words((some & low) > none, one, none)
        groups += _I(_sum(halves + where_words((some >> half) > none, one, none)))
    return cells, groups


@njit(inline="always")
def counts_of(counts: Counts, way: int, group: Any, words: Any) -> Any:
    """Ups (``way`` 0) or downs (1) of a group of sixteen rows."""
    total, one = every_word(_U(0)), every_word(_U(1))
    depth = _I(counts.depth[way])
    for up in range(depth):
        plane = counts.planes[(_I(way) * _PLANES + depth - up - _I(1)) * words + group]
        total = total + total
        total = where_words(_where_set_bits(plane), total + one, total)
    return total


@njit(inline="always")
def count_of(counts: Counts, way: int, group: Any, place: Any) -> Any:
    """The same of one row of a group; ``place`` is which one, and the words of a mask."""
    total = _U(0)
    for k in range(_I(counts.depth[way])):
        plane = _U(counts.planes[(_I(way) * _PLANES + k) * _I(place[1]) + group])
        total = _U(total | _U(_U(_U(plane >> _U(place[0])) & _U(1)) << _U(k)))
    return total
