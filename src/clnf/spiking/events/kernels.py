"""Products with sparse rows, compiled: work follows the events, not the size of the matrices.

    product     out[r, :]  = sum over events (r, i, a) of a w[i, :]
    outer       out[i, :] += sum over events (r, i, a) of a g[r, :]

Columns go in blocks of 64 that stay in registers. Weights are packed block by block, so that those
of a block lie together and stay in the second cache. For the outer product events are sorted by
input within chunks of rows, whose part of ``g`` is packed too. Sums are taken in the order of rows,
chunk by chunk, whatever the blocks and threads are.

Legend: R rows (steps times samples), I inputs, N columns, K blocks of 64 columns, C chunks.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from clnf.devices.sixteen import (
    address,
    every,
    load,
    load_one,
    peek_word,
    poke_word,
    save,
    save_one,
    soon,
)
from clnf.spiking.lanes import differs, lowest, marked

__all__ = [
    "BLOCK", "CHUNK", "Events", "Lists", "added", "blocks", "busy", "fill", "outer", "product",
    "sort", "spot", "summed", "unblocked", "values",
]  # fmt: skip

BLOCK, CHUNK = 64, 512

_F = np.float32
_I = np.uintp
_B = _I(BLOCK)
_1, _2, _3 = _I(16), _I(32), _I(48)


class Events(NamedTuple):
    """Numbers of a matrix that are not 0, row by row; or, sorted, input by input in each chunk.

    Attributes:
        start: where each row begins, int64 [R + 1]; sorted, each input of each chunk, [C, I + 1].
        index: column of each, uint32; sorted, its row within the chunk.
        value: float32; without elements all are ones.
    """

    start: Any
    index: Any
    value: Any


class Lists(NamedTuple):
    """Addresses of events, and whether all are ones."""

    index: int
    value: int
    ones: bool


@njit(nogil=True, cache=True)
def busy(x: NDArray[np.float32], start: NDArray[np.int64]) -> None:
    """Where the events of each row of ``x`` [R, I] begin, [R + 1]."""
    start[0] = 0
    for r in range(x.shape[0]):
        count = np.int32(0)
        for n in range(_I(x.shape[1])):
            count += np.int32(x[r, n] != _F(0.0))
        start[r + 1] = start[r] + count


@njit(nogil=True, cache=True)
def fill(x: NDArray[np.float32], events: Events) -> None:
    """Write down events of ``x`` [R, I], contiguous."""
    index, value = events.index, events.value
    wide, given, zero = _I(x.shape[1]), address(x), every(_F(0.0))
    indices, values = address(index), address(value)
    whole = wide // _B * _B
    for r in range(_I(x.shape[0])):
        k, row = _I(events.start[r]), r * wide
        for n in range(_I(0), whole, _B):
            at = row + n
            a = marked(differs(load(given, at), zero))
            b = marked(differs(load(given, at + _1), zero))
            c = marked(differs(load(given, at + _2), zero))
            d = marked(differs(load(given, at + _3), zero))
            marks = a | b << _1 | c << _2 | d << _3
            while marks != _I(0):
                at = n + lowest(marks)
                poke_word(indices, k, np.uint32(at))
                save_one(values, k, load_one(given, row + at))
                k += _I(1)
                marks &= marks - _I(1)
        for n in range(whole, wide):
            if x[r, n] != _F(0.0):
                index[k], value[k] = np.uint32(n), x[r, n]
                k += _I(1)
    x.size  # noqa: B018


@njit(nogil=True, cache=True)
def sort(events: Events, by: Events) -> None:
    """Events of rows, input by input in each chunk of rows; rows keep their order."""
    rows = events.start.shape[0] - 1
    for c in range(by.start.shape[0]):
        begin = by.start[c]
        first, last = c * CHUNK, min((c + 1) * CHUNK, rows)
        begin[:] = 0
        for k in range(_I(events.start[first]), _I(events.start[last])):
            begin[_I(events.index[k]) + _I(1)] += 1
        begin[0] = events.start[first]
        for i in range(1, begin.shape[0]):
            begin[i] += begin[i - 1]
        for r in range(first, last):
            for k in range(_I(events.start[r]), _I(events.start[r + 1])):
                i = _I(events.index[k])
                to = _I(begin[i])
                by.index[to] = np.uint32(r - first)
                if by.value.size > 0:
                    by.value[to] = events.value[k]
                begin[i] += 1
        for i in range(begin.shape[0] - 1, 0, -1):
            begin[i] = begin[i - 1]
        begin[0] = events.start[first]


@njit(inline="always")
def summed(lists: Lists, weights: int, first: int, last: int) -> tuple[Any, Any, Any, Any]:
    """Sum over events ``first`` to ``last`` of their value times their row of 64 numbers."""
    a, b, c, d = every(_F(0.0)), every(_F(0.0)), every(_F(0.0)), every(_F(0.0))
    if lists.ones:
        for k in range(first, last):
            at = _I(peek_word(lists.index, k)) * _B
            a, b = a + load(weights, at), b + load(weights, at + _1)
            c, d = c + load(weights, at + _2), d + load(weights, at + _3)
        return a, b, c, d
    for k in range(first, last):
        at = _I(peek_word(lists.index, k)) * _B
        times = every(load_one(lists.value, k))
        a, b = a + times * load(weights, at), b + times * load(weights, at + _1)
        c, d = c + times * load(weights, at + _2), d + times * load(weights, at + _3)
    return a, b, c, d


@njit(inline="always")
def added(sums: int, to: int, more: tuple[Any, Any, Any, Any]) -> None:
    """Add 64 numbers to those at a place."""
    a, b, c, d = more
    save(sums, to, load(sums, to) + a)
    save(sums, to + _1, load(sums, to + _1) + b)
    save(sums, to + _2, load(sums, to + _2) + c)
    save(sums, to + _3, load(sums, to + _3) + d)


@njit(nogil=True, cache=True, error_model="numpy")
def product(
    events: Events, w: NDArray[np.float32], out: NDArray[np.float32], part: tuple[int, int]
) -> None:
    """Rows ``part[0]`` to ``part[1]`` of events times ``w`` [K, I, 64], into ``out`` [R, N]."""
    start, columns, inputs = events.start, _I(out.shape[1]), _I(w.shape[1])
    lists = Lists(address(events.index), address(events.value), events.value.size == 0)
    tail = np.empty(BLOCK, _F)
    for block in range(_I(w.shape[0])):
        n, weights = block * _B, address(w) + _I(4) * block * inputs * _B
        for r in range(part[0], part[1]):
            a, b, c, d = summed(lists, weights, _I(start[r]), _I(start[r + 1]))
            if n + _B <= columns:
                to = _I(r) * columns + n
                save(out, to, a)
                save(out, to + _1, b)
                save(out, to + _2, c)
                save(out, to + _3, d)
            else:
                save(tail, _I(0), a)
                save(tail, _1, b)
                save(tail, _2, c)
                save(tail, _3, d)
                for lane in range(columns - n):
                    out[r, n + lane] = tail[lane]
    # An address keeps nothing alive; these do, to here.
    events.index.size, events.value.size, w.size  # noqa: B018


@njit(nogil=True, cache=True, error_model="numpy")
def _pack(g: NDArray[np.float32], packed: NDArray[np.float32], first: int, n: int) -> None:
    """Columns ``n`` to ``n + 64`` of a chunk of rows of ``g``, side by side."""
    rows, columns = _I(min(CHUNK, g.shape[0] - first)), _I(g.shape[1])
    start = address(g) + _I(4) * (_I(first) * columns + _I(n))
    lanes = columns - _I(n)
    for r in range(rows):
        at, to = r * columns, r * _B
        if lanes >= _B:
            save(packed, to, load(start, at))
            save(packed, to + _1, load(start, at + _1))
            save(packed, to + _2, load(start, at + _2))
            save(packed, to + _3, load(start, at + _3))
        else:
            for lane in range(lanes):
                packed[r, lane] = load_one(start, at + lane)
    g.size  # noqa: B018


@njit(nogil=True, cache=True, error_model="numpy")
def outer(
    by: Events, g: NDArray[np.float32], out: NDArray[np.float32], part: tuple[int, int]
) -> None:
    """Blocks ``part[0]`` to ``part[1]`` of the sum over rows, onto ``out`` [K, I, 64].

    Args:
        by: events of inputs, sorted.
        g: [R, N].
        out: to be added to.
        part: of the blocks.
    """
    lists = Lists(address(by.index), address(by.value), by.value.size == 0)
    inputs, sums = _I(out.shape[1]), address(out)
    packed = np.zeros((CHUNK, BLOCK), _F)
    grads = address(packed)
    for block in range(part[0], part[1]):
        packed[:] = _F(0.0)
        for chunk in range(by.start.shape[0]):
            begin = by.start[chunk]
            _pack(g, packed, chunk * CHUNK, block * BLOCK)
            for i in range(inputs):
                more = summed(lists, grads, _I(begin[i]), _I(begin[i + _I(1)]))
                added(sums, (_I(block) * inputs + i) * _B, more)
    by.index.size, by.value.size, packed.size  # noqa: B018


@njit(nogil=True, cache=True)
def spot(x: NDArray[np.float32], start: NDArray[np.int64], index: NDArray[np.uint32]) -> int:
    """Events of ``x`` [R, I], contiguous, in one pass: where rows begin, and columns.

    Returns:
        1 if each event is a one, 0 if not, and -1 if ``index`` has too little room: 64 more than
        there are events.
    """
    wide, given, zero = _I(x.shape[1]), address(x), every(_F(0.0))
    indices, whole, k = address(index), wide // _B * _B, _I(0)
    most, others = _I(index.size) - _B, _I(0)
    start[0] = 0
    for r in range(_I(x.shape[0])):
        row = r * wide
        for n in range(_I(0), whole, _B):
            at = row + n
            a, b = load(given, at), load(given, at + _1)
            c, d = load(given, at + _2), load(given, at + _3)
            marks = marked(differs(a, zero)) | marked(differs(b, zero)) << _1
            marks |= marked(differs(c, zero)) << _2 | marked(differs(d, zero)) << _3
            if k > most:
                return -1
            while marks != _I(0):
                here = n + lowest(marks)
                others |= _I(load_one(given, row + here) != _F(1.0))
                poke_word(indices, k, np.uint32(here))
                k += _I(1)
                marks &= marks - _I(1)
        for n in range(whole, wide):
            if x[r, n] != _F(0.0):
                if k > most:
                    return -1
                others |= _I(x[r, n] != _F(1.0))
                index[k] = np.uint32(n)
                k += _I(1)
        start[r + _I(1)] = k
    x.size, index.size  # noqa: B018
    return 0 if others else 1


@njit(nogil=True, cache=True)
def values(x: NDArray[np.float32], events: Events) -> None:
    """Write down the values of events of ``x`` [R, I]."""
    for r in range(_I(x.shape[0])):
        for k in range(_I(events.start[r]), _I(events.start[r + _I(1)])):
            events.value[k] = x[r, events.index[k]]


@njit(nogil=True, cache=True)
def blocks(w: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    """``out`` [K, I, 64] from ``w`` [N, I], a tile of both at a time; columns past N are left."""
    tile, given, inputs = _I(16), address(w), _I(w.shape[1])
    for block in range(_I(out.shape[0])):
        first = block * _B
        for begin in range(_I(0), inputs, tile):
            for n in range(min(_B, _I(w.shape[0]) - first)):
                soon(given, (first + n) * inputs + begin + tile)
                for i in range(begin, min(begin + tile, inputs)):
                    out[block, i, n] = w[first + n, i]


@njit(nogil=True, cache=True)
def unblocked(sums: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    """The way back of :func:`blocks`."""
    tile = _I(16)
    for block in range(_I(sums.shape[0])):
        first = block * _B
        for begin in range(_I(0), _I(out.shape[1]), tile):
            for n in range(min(_B, _I(out.shape[0]) - first)):
                for i in range(begin, min(begin + tile, _I(out.shape[1]))):
                    out[first + n, i] = sums[block, i, n]
