"""Products with sparse rows, compiled: work follows the events, not the size of the matrices.

    product     out[r, :] = sum over events (r, i, a) of a w[i, :]
    outer       out[i, :] += sum over events (r, i, a) of a g[r, :]

Columns go in blocks of 64 that stay in registers, so that the weights of a block stay in the second
cache. Events of a row are added in their order, one after the other, whatever the blocks are.

Legend: R rows (steps times samples), I inputs, N columns; M is N filled up to whole vectors.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from clnf.devices.sixteen import address, every, load, load_one, peek_word, save

__all__ = ["Events", "busy", "fill", "outer", "product"]

_F = np.float32
_I = np.uintp
_LANES, _BLOCK = _I(16), _I(64)
_1, _2, _3 = _I(16), _I(32), _I(48)


class Events(NamedTuple):
    """Numbers of a matrix that are not 0, row by row.

    Attributes:
        start: where each row begins, int64 [R + 1].
        index: column of each, uint32.
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
    """Write down events of ``x`` [R, I]; index and value need one place more than there are."""
    index, value = events.index, events.value
    for r in range(x.shape[0]):
        k = _I(events.start[r])
        for n in range(_I(x.shape[1])):
            # Written always and kept where it is one: a question per number would cost more.
            index[k], value[k] = np.uint32(n), x[r, n]
            k += _I(x[r, n] != _F(0.0))


@njit(nogil=True, cache=True, error_model="numpy")
def product(
    events: Events, w: NDArray[np.float32], out: NDArray[np.float32], part: tuple[int, int]
) -> None:
    """Rows ``part[0]`` to ``part[1]`` of events times ``w`` [I, M], into ``out`` [R, N].

    M is N rounded up to a multiple of 16.
    """
    start, wide, columns = events.start, _I(w.shape[1]), _I(out.shape[1])
    index, value, weights = address(events.index), address(events.value), address(w)
    whole = columns // _BLOCK * _BLOCK
    for n in range(_I(0), whole, _BLOCK):
        for r in range(part[0], part[1]):
            a, b, c, d = every(_F(0.0)), every(_F(0.0)), every(_F(0.0)), every(_F(0.0))
            for k in range(_I(start[r]), _I(start[r + 1])):
                at = _I(peek_word(index, k)) * wide + n
                times = every(load_one(value, k))
                a = a + times * load(weights, at)
                b = b + times * load(weights, at + _1)
                c = c + times * load(weights, at + _2)
                d = d + times * load(weights, at + _3)
            to = _I(r) * columns + n
            save(out, to, a)
            save(out, to + _1, b)
            save(out, to + _2, c)
            save(out, to + _3, d)
    last = np.empty(16, _F)
    for n in range(whole, columns, _LANES):
        for r in range(part[0], part[1]):
            a = every(_F(0.0))
            for k in range(_I(start[r]), _I(start[r + 1])):
                at = _I(peek_word(index, k)) * wide + n
                a = a + every(load_one(value, k)) * load(weights, at)
            save(last, _I(0), a)
            for lane in range(min(_LANES, columns - n)):
                out[r, n + lane] = last[lane]
    # An address keeps nothing alive; these do, to here.
    events.index.size, events.value.size, w.size  # noqa: B018


@njit(nogil=True, cache=True, error_model="numpy")
def outer(
    events: Events, g: NDArray[np.float32], out: NDArray[np.float32], part: tuple[int, int]
) -> None:
    """Columns ``part[0]`` to ``part[1]`` of the sum over rows, onto ``out`` [I, M].

    ``g`` is [R, N], M is N rounded up to a multiple of 16; parts begin at multiples of 16.
    """
    start, wide, columns = events.start, _I(out.shape[1]), _I(g.shape[1])
    index, value, grads = address(events.index), address(events.value), address(g)
    sums = address(out)
    end = min(_I(part[1]), columns)
    first = min(_I(part[0]), end)
    whole = first + (end - first) // _BLOCK * _BLOCK
    for n in range(first, whole, _BLOCK):
        for r in range(g.shape[0]):
            here = _I(r) * columns + n
            a, b = load(grads, here), load(grads, here + _1)
            c, d = load(grads, here + _2), load(grads, here + _3)
            for k in range(_I(start[r]), _I(start[r + 1])):
                at = _I(peek_word(index, k)) * wide + n
                times = every(load_one(value, k))
                save(out, at, load(sums, at) + times * a)
                save(out, at + _1, load(sums, at + _1) + times * b)
                save(out, at + _2, load(sums, at + _2) + times * c)
                save(out, at + _3, load(sums, at + _3) + times * d)
    last = np.zeros(16, _F)
    for n in range(whole, end, _LANES):
        for r in range(g.shape[0]):
            for lane in range(_LANES):
                last[lane] = g[r, n + lane] if n + lane < columns else _F(0.0)
            a = load(last, _I(0))
            for k in range(_I(start[r]), _I(start[r + 1])):
                at = _I(peek_word(index, k)) * wide + n
                save(out, at, load(sums, at) + every(load_one(value, k)) * a)
    events.index.size, events.value.size  # noqa: B018
