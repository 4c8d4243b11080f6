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
    every_word,
    load_words,
    negative,
    peek_byte,
    poke_byte,
    poke_short,
    save_words,
    where_words,
)

__all__ = [
    "BITS", "LINE", "TRAIN", "Masks", "Sheet", "across", "any_bit", "bits_of_marks", "close",
    "fill", "lowest", "room", "sheet_of", "start", "sum_of_words", "turn", "where_set_bits",
]  # fmt: skip

_U = np.uint32
_I = np.uintp
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
def _spread(sheet: Sheet, words: Any, first: Any, group: Any) -> None:
    """Write the bits of sixteen rows to the masks of one vector, which begin with ``first``."""
    left = _either(words)
    while left != _U(0):
        bit = lowest(left)
        one = every_word(_U(_U(1) << _U(bit)))
        marks = bits_of_marks((words & one) > every_word(_U(0)))
        poke_short(sheet.bits, (first + bit) * sheet.words + group, marks)
        left = _U(left & _U(left - _U(1)))


@njit(inline="always")
def fill(sheet: Sheet, trains: Any, place: Any, wanted: Any) -> None:
    """Write trains of sixteen rows, their sign in bit 31; ``place`` is vector and group."""
    (vector, group), none = place, every_word(_U(0))
    below, train = negative(trains), trains & every_word(TRAIN)
    first = vector * BITS
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
        start(sheet, v * BITS, TRAIN)
        for at in range(_I(0), wide, _I(WIDTH)):
            if at + _I(WIDTH) > wide:
                for k in range(_I(WIDTH)):
                    tail[k] = rows[v, at + k] if at + k < wide else _U(0)
                word = load_words(tail, _I(0))
            else:
                word = load_words(rows, v * wide + at)
            fill(sheet, word, (v, at // _I(WIDTH)), TRAIN)
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
