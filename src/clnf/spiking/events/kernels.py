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
)
from clnf.spiking.lanes import differs, lowest, marked

__all__ = ["BLOCK", "CHUNK", "Events", "busy", "fill", "outer", "product", "sort"]

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
        value: float32.
    """

    start: Any
    index: Any
    value: Any


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
                by.index[to], by.value[to] = np.uint32(r - first), events.value[k]
                begin[i] += 1
        for i in range(begin.shape[0] - 1, 0, -1):
            begin[i] = begin[i - 1]
        begin[0] = events.start[first]


@njit(nogil=True, cache=True, error_model="numpy")
def product(
    events: Events, w: NDArray[np.float32], out: NDArray[np.float32], part: tuple[int, int]
) -> None:
    """Rows ``part[0]`` to ``part[1]`` of events times ``w`` [K, I, 64], into ``out`` [R, N]."""
    start, columns, inputs = events.start, _I(out.shape[1]), _I(w.shape[1])
    index, value, weights = address(events.index), address(events.value), address(w)
    last = np.empty(BLOCK, _F)
    for block in range(_I(w.shape[0])):
        n, base = block * _B, block * inputs * _B
        for r in range(part[0], part[1]):
            a, b, c, d = every(_F(0.0)), every(_F(0.0)), every(_F(0.0)), every(_F(0.0))
            for k in range(_I(start[r]), _I(start[r + 1])):
                at = base + _I(peek_word(index, k)) * _B
                times = every(load_one(value, k))
                a = a + times * load(weights, at)
                b = b + times * load(weights, at + _1)
                c = c + times * load(weights, at + _2)
                d = d + times * load(weights, at + _3)
            if n + _B <= columns:
                to = _I(r) * columns + n
                save(out, to, a)
                save(out, to + _1, b)
                save(out, to + _2, c)
                save(out, to + _3, d)
            else:
                save(last, _I(0), a)
                save(last, _1, b)
                save(last, _2, c)
                save(last, _3, d)
                for lane in range(columns - n):
                    out[r, n + lane] = last[lane]
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
    index, value, sums = address(by.index), address(by.value), address(out)
    inputs = _I(out.shape[1])
    packed = np.zeros((CHUNK, BLOCK), _F)
    grads = address(packed)
    for block in range(part[0], part[1]):
        packed[:] = _F(0.0)
        for chunk in range(by.start.shape[0]):
            begin = by.start[chunk]
            _pack(g, packed, chunk * CHUNK, block * BLOCK)
            for i in range(inputs):
                a, b, c, d = every(_F(0.0)), every(_F(0.0)), every(_F(0.0)), every(_F(0.0))
                for k in range(_I(begin[i]), _I(begin[i + _I(1)])):
                    at = _I(peek_word(index, k)) * _B
                    times = every(load_one(value, k))
                    a = a + times * load(grads, at)
                    b = b + times * load(grads, at + _1)
                    c = c + times * load(grads, at + _2)
                    d = d + times * load(grads, at + _3)
                to = (_I(block) * inputs + i) * _B
                save(out, to, load(sums, to) + a)
                save(out, to + _1, load(sums, to + _1) + b)
                save(out, to + _2, load(sums, to + _2) + c)
                save(out, to + _3, load(sums, to + _3) + d)
    by.index.size, by.value.size, packed.size  # noqa: B018
