"""Trains turned into masks: one bit of all rows in a run of words, as coincidences are counted.

See :mod:`clnf.devices.bit_counts`.
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
    any_of,
    every_word,
    load_words,
    negative,
    peek_byte,
    poke_byte,
    poke_long,
    save_words,
    where_words,
)

__all__ = [
    "BITS", "LINE", "SHEAF", "TRAIN", "Masks", "Sheet", "across", "any_bit", "bits_of_marks",
    "close", "fill", "lowest", "room", "sheet_of", "start", "sum_of_words", "turn",
    "where_set_bits",
]  # fmt: skip

_U = np.uint32
_I = np.uintp
# Rows that are turned together.
SHEAF = _I(4 * WIDTH)
# Bits of a train, and what they are of its word.
BITS, TRAIN = _I(31), _U(0x7FFFFFFF)
# Masks and planes are of 16 bits a word, so that a word has the rows of one group of cells. This
# many words fill a register.
LINE = _I(32)


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


def _bytes_of(_: Any, one: Any, two: Any, three: Any, four: Any, place: Any) -> Any:
    """One byte of each of sixty-four words, the ``place``-th from below, as sixteen words."""

    def code(context: Any, builder: Any, kind: Any, args: Any) -> Any:
        *words, which = args
        many = ir.Constant(Words.inside, ir.Undefined)
        index = ir.Constant(ir.VectorType(ir.IntType(32), WIDTH), None)
        shift = builder.mul(which, ir.IntType(32)(8))
        first = builder.insert_element(many, shift, ir.IntType(32)(0))
        shifts = builder.shuffle_vector(first, many, index)
        narrow = ir.VectorType(ir.IntType(8), WIDTH)
        parts = [builder.trunc(builder.lshr(word, shifts), narrow) for word in words]
        halves = [_joined(builder, *parts[:2]), _joined(builder, *parts[2:])]
        return builder.bitcast(_joined(builder, *halves), Words.inside)

    kinds = Words, Words, Words, Words, Words, types.uint32
    return signature(*kinds), code  # type: ignore[no-untyped-call]


def _joined(builder: Any, low: Any, high: Any) -> Any:
    """Two vectors as one."""
    kind = ir.VectorType(ir.IntType(32), 2 * low.type.count)
    return builder.shuffle_vector(low, high, ir.Constant(kind, list(range(kind.count))))


def _bytes_with(_: Any, words: Any, bit: Any) -> Any:
    """Which of the sixty-four bytes of sixteen words have a bit set."""

    def code(context: Any, builder: Any, kind: Any, args: Any) -> Any:
        vector = ir.VectorType(ir.IntType(8), 4 * WIDTH)
        one = builder.shl(ir.IntType(8)(1), builder.trunc(args[1], ir.IntType(8)))
        empty = ir.Constant(vector, ir.Undefined)
        first = builder.insert_element(empty, one, ir.IntType(32)(0))
        index = ir.Constant(ir.VectorType(ir.IntType(32), 4 * WIDTH), None)
        every = builder.shuffle_vector(first, empty, index)
        both = builder.and_(builder.bitcast(args[0], vector), every)
        marks = builder.icmp_unsigned("!=", both, ir.Constant(vector, None))
        return builder.bitcast(marks, ir.IntType(64))

    return signature(types.uintp, Words, types.uint32), code  # type: ignore[no-untyped-call]


_byte_of: Any = intrinsic(_bytes_of)
_with_bit: Any = intrinsic(_bytes_with)
bits_of_marks: Any = intrinsic(_bits_set)
where_set_bits: Any = intrinsic(_set_bits)
any_bit: Any = intrinsic(_not_zero)
_either: Any = intrinsic(_reduced("or"))
sum_of_words: Any = intrinsic(_reduced("add"))
lowest: Any = intrinsic(_zeros_below)


@njit(inline="always")
def room(vectors: Any, wide: Any) -> Masks:
    """Room for the masks of N vectors of M rows; each vector's is to be started and closed."""
    words = (wide + _I(16) * LINE - _I(1)) // (_I(16) * LINE) * LINE
    bits = np.empty(_I(2) * vectors * BITS * words, np.uint16)
    some = np.empty(_I(2) * vectors * BITS, np.uint8)
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
    half = _I(masks.below.shape[0]) * BITS
    places = address(masks.bits), address(masks.some), address(masks.below)
    return Sheet(*places, _I(masks.words), half)


@njit(inline="always")
def start(sheet: Sheet, first: Any, wanted: Any) -> None:
    """Empty the masks of some bits of a vector, whose masks begin with ``first``."""
    left = wanted
    while left != _U(0):
        mask = sheet.bits + _I(2) * (first + lowest(left)) * sheet.words
        for line in range(_I(0), sheet.words, LINE):
            save_words(mask + _I(2) * line, _I(0), every_word(_U(0)))
        left = _U(left & _U(left - _U(1)))


@njit(inline="always")
def close(sheet: Sheet, vector: Any, wanted: Any) -> None:
    """Note which masks of a vector have any row."""
    left, low = wanted, peek_byte(sheet.below, vector) != 0
    while left != _U(0):
        mask = vector * BITS + lowest(left)
        poke_byte(sheet.some, mask, _has(sheet, mask))
        if low:
            poke_byte(sheet.some, sheet.half + mask, _has(sheet, sheet.half + mask))
        left = _U(left & _U(left - _U(1)))


@njit(inline="always")
def _has(sheet: Sheet, mask: Any) -> Any:
    both = every_word(_U(0))
    for line in range(_I(0), sheet.words, LINE):
        both = both | load_words(sheet.bits + _I(2) * (mask * sheet.words + line), _I(0))
    return np.uint8(any_bit(both))


@njit(inline="always")
def _spread(sheet: Sheet, words: Any, first: Any, place: Any, wanted: Any) -> None:
    """Write bits of sixty-four rows to the masks of a vector, ``first`` on, at ``place``."""
    one, two, three, four = words
    for byte in range(4):
        left = _U(_U(wanted >> _U(8 * byte)) & _U(0xFF))
        if left == _U(0):
            continue
        own, begin = _byte_of(one, two, three, four, _U(byte)), first + _I(8 * byte)
        while left != _U(0):
            bit = lowest(left)
            mask = sheet.bits + _I(2) * ((begin + bit) * sheet.words + place)
            poke_long(mask, _I(0), _with_bit(own, _U(bit)))
            left = _U(left & _U(left - _U(1)))


@njit(inline="always")
def fill(sheet: Sheet, trains: Any, place: Any, wanted: Any) -> None:
    """Write trains of sixty-four rows, their sign in bit 31.

    ``trains`` are four times sixteen; ``place`` is the vector and the first of four groups.
    """
    (vector, group), bits = place, every_word(TRAIN)
    one, two, three, four = trains
    first = vector * BITS
    signs = one | two | three | four
    if not any_of(negative(signs)):
        _spread(sheet, trains, first, group, wanted)
        return
    plus = _without(one), _without(two), _without(three), _without(four)
    _spread(sheet, plus, first, group, wanted)
    minus = (
        (one & bits) ^ plus[0], (two & bits) ^ plus[1],
        (three & bits) ^ plus[2], (four & bits) ^ plus[3],
    )  # fmt: skip
    if any_bit(minus[0] | minus[1] | minus[2] | minus[3]):
        first += sheet.half
        if peek_byte(sheet.below, vector) == 0:
            poke_byte(sheet.below, vector, np.uint8(1))
            start(sheet, first, wanted)
        _spread(sheet, minus, first, group, wanted)


@njit(inline="always")
def _without(words: Any) -> Any:
    """Trains of rows that are not negative, nothing of others."""
    return where_words(negative(words), every_word(_U(0)), words)


@njit(nogil=True, cache=True)
def turn(rows: NDArray[np.uint32]) -> Masks:
    """The masks of trains of rows, uint32 [N, R]."""
    vectors, wide = _I(rows.shape[0]), _I(rows.shape[1])
    masks, tail = room(vectors, wide), np.zeros(SHEAF, _U)
    sheet, sixteen = sheet_of(masks), _I(WIDTH)
    for v in range(vectors):
        start(sheet, v * BITS, TRAIN)
        for at in range(_I(0), wide, SHEAF):
            here = at + SHEAF <= wide
            if not here:
                for k in range(SHEAF):
                    tail[k] = rows[v, at + k] if at + k < wide else _U(0)
            source, first = (address(rows), v * wide + at) if here else (address(tail), _I(0))
            words = (
                load_words(source, first),
                load_words(source, first + sixteen),
                load_words(source, first + _I(2) * sixteen),
                load_words(source, first + _I(3) * sixteen),
            )
            fill(sheet, words, (v, at // sixteen), TRAIN)
        close(sheet, v, TRAIN)
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
