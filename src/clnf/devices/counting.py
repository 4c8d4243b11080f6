"""Coincidences of a batch of trains at one column of cells, counted by events.

For every bit of the column's train in a vector, all rows that have this bit set get one more: the
cost is that of the pulses. Where they are many, all rows are gone through instead. Ups are counted
in the low half of 32 bits, downs in the high half.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from clnf.devices.trains import Trains

__all__ = ["BATCH", "count_column", "sort_rows"]

# Vectors in one operation at most: their coincidences at a cell are counted in 16 bits.
BATCH = 256

_U = np.uint32
_I = np.uintp
_TRAIN, _SIGNED = _U(0x7FFFFFFF), _U(0x80000000)
_DOWN_ONE = np.int32(0x10000)


@njit(inline="always")
def _ones(x: int) -> int:
    x = _U(x - _U(_U(x >> _U(1)) & _U(0x55555555)))
    x = _U(_U(x & _U(0x33333333)) + _U(_U(x >> _U(2)) & _U(0x33333333)))
    x = _U(_U(x + _U(x >> _U(4))) & _U(0x0F0F0F0F))
    return _U(_U(x * _U(0x01010101)) >> _U(24))


@njit(nogil=True, cache=True)
def sort_rows(rows: NDArray[np.uint32]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Rows by vector, bit and sign: starts [N * 62 + 1] of runs in the list of rows."""
    vectors, wide, total = _I(rows.shape[0]), _I(rows.shape[1]), np.int64(0)
    for v in range(vectors):
        for r in range(wide):
            total += np.int64(_ones(_U(rows[v, r] & _TRAIN)))
    slots, found = np.empty(total, np.int32), np.empty(total, np.int32)
    starts, busy = np.zeros(rows.shape[0] * 62 + 1, np.int64), np.empty(rows.shape[1], np.int32)
    count = _I(0)
    for v in range(vectors):
        some = _I(0)
        for r in range(wide):
            busy[some] = np.int32(r)
            some += _I(_U(rows[v, r] & _TRAIN) != _U(0))
        for k in range(some):
            r = _I(busy[k])
            row = rows[v, r]
            train, slot = _U(row & _TRAIN), v * _I(62) + _I(row >> _U(31))
            while train != _U(0):
                bit = _ones(_U(_U(train - _U(1)) & _U(~train)))
                place = slot + _I(2) * _I(bit)
                slots[count], found[count] = np.int32(place), np.int32(r)
                count += _I(1)
                starts[place + _I(1)] += 1
                train = _U(train & _U(train - _U(1)))
    for i in range(_I(1), _I(starts.shape[0])):
        starts[i] += starts[i - _I(1)]
    lists, at = np.empty(total, np.int32), starts.copy()
    for i in range(count):
        place = _I(slots[i])
        lists[_I(at[place])] = found[i]
        at[place] += 1
    return starts, lists


@njit(nogil=True, cache=True)
def _meet_few(
    tally: NDArray[np.int32],
    column: int,
    vector: int,
    starts: NDArray[np.int64],
    lists: NDArray[np.int32],
) -> None:
    """Count one vector's coincidences at a column by going through them."""
    train, negative = _U(column & _TRAIN), _U(column & _SIGNED) != _U(0)
    plus = np.int32(1) if negative else _DOWN_ONE
    minus = _DOWN_ONE if negative else np.int32(1)
    while train != _U(0):
        bit = _I(_ones(_U(_U(train - _U(1)) & _U(~train))))
        slot = vector * _I(62) + _I(2) * bit
        first, middle, last = starts[slot], starts[slot + _I(1)], starts[slot + _I(2)]
        for i in range(_I(first), _I(middle)):
            tally[_I(lists[i])] += plus
        for i in range(_I(middle), _I(last)):
            tally[_I(lists[i])] += minus
        train = _U(train & _U(train - _U(1)))


@njit(nogil=True, cache=True)
def _meet_many(
    tally: NDArray[np.int32], column: int, vector: int, rows: NDArray[np.uint32], wide: int
) -> None:
    """Count one vector's coincidences at a column by going through all rows."""
    for r in range(wide):
        row = rows[vector, r]
        count = np.int32(_ones(_U(_U(row & column) & _TRAIN)))
        differ = _U(_U(row ^ column) & _SIGNED) != _U(0)
        tally[r] += count if differ else np.int32(count << np.int32(16))


@njit(nogil=True, cache=True)
def count_column(
    tally: NDArray[np.int32],
    c: int,
    trains: Trains,
    starts: NDArray[np.int64],
    lists: NDArray[np.int32],
) -> int:
    """Count all coincidences at a column; returns whether there may be any."""
    rows, columns = trains.rows, trains.columns
    wide, some = _I(rows.shape[1]), 0
    for r in range(wide):
        tally[r] = 0
    for v in range(_I(rows.shape[0])):
        column = columns[v, c]
        train = _U(column & _TRAIN)
        if train == _U(0):
            continue
        some = 1
        mean = (starts[(v + _I(1)) * _I(62)] - starts[v * _I(62)]) * np.int64(_ones(train))
        if mean > np.int64(wide) * 12:
            _meet_many(tally, column, v, rows, wide)
        else:
            _meet_few(tally, column, v, starts, lists)
    return some
