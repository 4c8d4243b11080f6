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
    address,
    count_bits,
    every_word,
    load_words,
    negative,
    peek_byte,
    peek_long,
    peek_short,
    peek_word,
    poke_byte,
    poke_long,
    poke_short,
    save_words,
    where_words,
)

__all__ = [
    "BATCH", "Counts", "Ledge", "Masks", "across", "any_bit", "close", "count_column", "count_of",
    "counts_of", "fill", "ledge_of", "lowest", "new_counts", "room", "sheet_of", "start",
    "turn",
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


class Sheet(NamedTuple):
    """Addresses of masks being made, words of one, and how many come before those of negatives."""

    bits: Any
    some: Any
    below: Any
    words: Any
    half: Any


@njit(inline="always")
def sheet_of(masks: Masks) -> Sheet:
    """Where masks are made."""
    half = _I(masks.below.shape[0]) * _BITS
    places = address(masks.bits), address(masks.some), address(masks.below)
    return Sheet(*places, _I(masks.words), half)


@njit(inline="always")
def start(sheet: Sheet, first: Any, wanted: Any) -> None:
    """Empty the masks of some bits of a vector, whose masks begin with ``first``."""
    left = wanted
    while left != _U(0):
        mask = sheet.bits + _I(2) * (first + lowest(left)) * sheet.words
        for line in range(_I(0), sheet.words, _LINE):
            save_words(mask + _I(2) * line, _I(0), every_word(_U(0)))
        left = _U(left & _U(left - _U(1)))


@njit(inline="always")
def close(sheet: Sheet, vector: Any, wanted: Any) -> None:
    """Note which masks of a vector have any row."""
    left, low = wanted, peek_byte(sheet.below, vector) != 0
    while left != _U(0):
        mask = vector * _BITS + lowest(left)
        poke_byte(sheet.some, mask, _has(sheet, mask))
        if low:
            poke_byte(sheet.some, sheet.half + mask, _has(sheet, sheet.half + mask))
        left = _U(left & _U(left - _U(1)))


@njit(inline="always")
def _has(sheet: Sheet, mask: Any) -> Any:
    both = every_word(_U(0))
    for line in range(_I(0), sheet.words, _LINE):
        both = both | load_words(sheet.bits + _I(2) * (mask * sheet.words + line), _I(0))
    return np.uint8(any_bit(both))


@njit(inline="always")
def _spread(sheet: Sheet, words: Any, first: Any, group: Any) -> None:
    """Write the bits of sixteen rows to the masks of one vector, which begin with ``first``."""
    left = _either(words)
    while left != _U(0):
        bit = lowest(left)
        one = every_word(_U(_U(1) << _U(bit)))
        marks = _bits_of_marks((words & one) > every_word(_U(0)))
        poke_short(sheet.bits, (first + bit) * sheet.words + group, marks)
        left = _U(left & _U(left - _U(1)))


@njit(inline="always")
def fill(sheet: Sheet, trains: Any, place: Any, wanted: Any) -> None:
    """Write trains of sixteen rows, their sign in bit 31; ``place`` is vector and group."""
    (vector, group), none = place, every_word(_U(0))
    below, train = negative(trains), trains & every_word(_TRAIN)
    first = vector * _BITS
    _spread(sheet, where_words(below, none, train), first, group)
    minus = where_words(below, train, none)
    if any_bit(minus):
        first += sheet.half
        if peek_byte(sheet.below, vector) == 0:
            poke_byte(sheet.below, vector, np.uint8(1))
            start(sheet, first, wanted)
        _spread(sheet, minus, first, group)


@njit(nogil=True, cache=True)
def turn(rows: NDArray[np.uint32]) -> Masks:
    """The masks of trains of rows, uint32 [N, R]."""
    vectors, wide = _I(rows.shape[0]), _I(rows.shape[1])
    masks, tail = room(vectors, wide), np.zeros(WIDTH, _U)
    sheet = sheet_of(masks)
    for v in range(vectors):
        start(sheet, v * _BITS, _TRAIN)
        for at in range(_I(0), wide, _I(WIDTH)):
            if at + _I(WIDTH) > wide:
                for k in range(_I(WIDTH)):
                    tail[k] = rows[v, at + k] if at + k < wide else _U(0)
                word = load_words(tail, _I(0))
            else:
                word = load_words(rows, v * wide + at)
            fill(sheet, word, (v, at // _I(WIDTH)), _TRAIN)
        close(sheet, v, _TRAIN)
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
    half, room = _I(masks.below.shape[0]) * _BITS, _I(counts.list.shape[0]) // _I(2)
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
        ones, other = _adder(
            ones, _mask(ledge, k + _I(2), line), _mask(ledge, k + _I(3), line)
        )
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
    for line in range(_I(0), ledge.words, _LINE):
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
        here = load_words(ledge.columns, column * ledge.long + at) & every_word(_TRAIN)
        busy = _U(_bits_of_marks(here > every_word(_U(0))))
        while busy != _U(0):
            v = at + lowest(busy)
            word = peek_word(ledge.columns, column * ledge.long + v)
            train, falling = _U(word & _TRAIN), _I(_U(word >> _U(31)))
            # A row and a column of one sign move the weight down.
            _note(ledge, train, v * _BITS, _I(1) - falling)
            if peek_byte(ledge.below, v) != 0:
                _note(ledge, train, ledge.half + v * _BITS, falling)
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
    for line in range(_I(0), ledge.words, _LINE):
        some = every_word(_U(0))
        for way in range(_I(2)):
            planes = ledge.planes + _I(2) * (way * _PLANES * ledge.words + line)
            for k in range(peek_long(ledge.state[1], way)):
                some = some | load_words(planes + k * step, _I(0))
        save_words(ledge.any + _I(2) * line, _I(0), some)
        cells += _I(_sum(count_bits(some)))
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
        total = where_words(_where_set_bits(peek_short(ledge.planes, at)), total + one, total)
    return total


@njit(inline="always")
def count_of(ledge: Ledge, way: Any, group: Any, row: Any) -> Any:
    """The same of one row of a group."""
    total, first = _U(0), way * _PLANES * ledge.words + group
    for k in range(peek_long(ledge.state[1], way)):
        plane = _U(peek_short(ledge.planes, first + k * ledge.words))
        total = _U(total | _U(_U(_U(plane >> _U(row)) & _U(1)) << _U(k)))
    return total
