"""Recurrent steps, compiled: rows of weights are added for spikes, products made where a slope is.

Legend: T steps, B samples, N neurons; M is N filled up to whole vectors. Weights are R^T, [N, M],
pre by post, filled up with 0.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from clnf.devices.sixteen import address, every, load, peek_word, save
from clnf.spiking.kernels import (
    Cells,
    Grads,
    Held,
    Slope,
    lif_backward,
    lif_forward,
    spike_backward,
    spike_forward,
)

__all__ = ["Part", "Steps", "recurrent_backward", "recurrent_forward"]

_F = np.float32
_I = np.uintp
_LANES, _BLOCK, _TILE = _I(16), _I(64), _I(32)
_1, _2, _3 = _I(16), _I(32), _I(48)


class Steps(NamedTuple):
    """Arrays over time, [T, B, N], and spikes before the first step, [B, N]."""

    x: Any
    u: Any
    z: Any
    before: Any


class Part(NamedTuple):
    """What one call does.

    Attributes:
        first: sample.
        last: sample, not included.
        begin: step.
        end: step, not included.
        simple: whether cells have neither current nor adaptation nor refractory time.
    """

    first: int
    last: int
    begin: int
    end: int
    simple: bool


@njit(nogil=True, cache=True)
def _list(z: NDArray[np.float32], index: NDArray[np.uint32], count: NDArray[np.int64]) -> None:
    """Which cells of each row of ``z`` [B, N] spiked."""
    for b in range(z.shape[0]):
        k = _I(0)
        for n in range(_I(z.shape[1])):
            index[b, k] = np.uint32(n)
            k += _I(z[b, n] != _F(0.0))
        count[b] = np.int64(k)


@njit(nogil=True, cache=True, error_model="numpy")
def _gather(
    x: NDArray[np.float32],
    u: NDArray[np.float32],
    w: NDArray[np.float32],
    index: NDArray[np.uint32],
    count: NDArray[np.int64],
) -> None:
    """U = x + rows of w, for one step: x and u [B, N], lists of cells that spiked."""
    columns, wide, room = _I(x.shape[1]), _I(w.shape[1]), _I(index.shape[1])
    cells, weights = address(index), address(w)
    whole = columns // _BLOCK * _BLOCK
    for n in range(_I(0), whole, _BLOCK):
        for r in range(x.shape[0]):
            a, b, c, d = every(_F(0.0)), every(_F(0.0)), every(_F(0.0)), every(_F(0.0))
            for k in range(_I(r) * room, _I(r) * room + _I(count[r])):
                at = _I(peek_word(cells, k)) * wide + n
                a = a + load(weights, at)
                b = b + load(weights, at + _1)
                c = c + load(weights, at + _2)
                d = d + load(weights, at + _3)
            to = _I(r) * columns + n
            save(u, to, load(x, to) + a)
            save(u, to + _1, load(x, to + _1) + b)
            save(u, to + _2, load(x, to + _2) + c)
            save(u, to + _3, load(x, to + _3) + d)
    last = np.empty(16, _F)
    for n in range(whole, columns, _LANES):
        for r in range(x.shape[0]):
            a = every(_F(0.0))
            for k in range(_I(r) * room, _I(r) * room + _I(count[r])):
                a = a + load(weights, _I(peek_word(cells, k)) * wide + n)
            save(last, _I(0), a)
            for lane in range(min(_LANES, columns - n)):
                u[r, n + lane] = x[r, n + lane] + last[lane]
    index.size, w.size  # noqa: B018


@njit(nogil=True, cache=True, error_model="numpy")
def recurrent_forward(
    steps: Steps, held: Held, cells: Cells, w: NDArray[np.float32], part: Part
) -> None:
    """Steps ``part.begin`` to ``part.end`` of samples ``part.first`` to ``part.last``.

    Args:
        steps: inputs, and out volts over the threshold and spikes.
        held: state, changed in place.
        cells: coefficients.
        w: R^T.
        part: of the work.
    """
    first, last = part.first, part.last
    samples, neurons = last - first, steps.u.shape[2]
    index = np.empty((samples, neurons + 1), np.uint32)
    count = np.empty(samples, np.int64)
    none = np.empty((0, 0, 0), _F)
    for t in range(part.begin, part.end):
        sent = steps.before if t == 0 else steps.z[t - 1]
        _list(sent[first:last], index, count)
        _gather(steps.x[t, first:last], steps.u[t, first:last], w, index, count)
        u, z = steps.u[t : t + 1], steps.z[t : t + 1]
        if part.simple:
            lif_forward(none, u, z, held.v, cells, (first, last, samples))
        else:
            spike_forward(none, u, z, held, cells, (first, last, samples))


@njit(inline="always")
def _sum(p: NDArray[np.float32]) -> float:
    """Sixteen numbers in a fixed order."""
    left = ((p[0] + p[8]) + (p[4] + p[12])) + ((p[2] + p[10]) + (p[6] + p[14]))
    right = ((p[1] + p[9]) + (p[5] + p[13])) + ((p[3] + p[11]) + (p[7] + p[15]))
    return left + right


@njit(nogil=True, cache=True, error_model="numpy")
def _credit(
    u: NDArray[np.float32],
    credit: NDArray[np.float32],
    after: NDArray[np.float32],
    w: NDArray[np.float32],
    narrow: float,
) -> None:
    """Add R^T gx of the next step to ``credit`` [B, N] where the slope at ``u`` is not 0.

    ``after`` is gx of the next step, [B, M].
    """
    wide, neurons = _I(w.shape[1]), _I(u.shape[1])
    weights, grads = address(w), address(after)
    parts = np.empty(16, _F)
    for tile in range(_I(0), neurons, _TILE):
        for row in range(_I(u.shape[0])):
            for n in range(tile, min(tile + _TILE, neurons)):
                if not abs(u[row, n]) * narrow < _F(1.0):
                    continue
                a, b = every(_F(0.0)), every(_F(0.0))
                for m in range(_I(0), wide // _2 * _2, _2):
                    a = a + load(weights, n * wide + m) * load(grads, row * wide + m)
                    at = m + _1
                    b = b + load(weights, n * wide + at) * load(grads, row * wide + at)
                for m in range(wide // _2 * _2, wide, _1):
                    a = a + load(weights, n * wide + m) * load(grads, row * wide + m)
                save(parts, _I(0), a + b)
                credit[row, n] += _sum(parts)
    after.size, w.size  # noqa: B018


@njit(nogil=True, cache=True, error_model="numpy")
def recurrent_backward(
    steps: Steps,
    gx: NDArray[np.float32],
    grads: Grads,
    how: tuple[Cells, Slope],
    w: NDArray[np.float32],
    part: Part,
) -> None:
    """The way back of :func:`recurrent_forward`, for a compact surrogate.

    Args:
        steps: ``x`` holds gradients with respect to spikes here.
        gx: out, with respect to inputs.
        grads: with respect to the state, changed in place.
        how: coefficients and slope.
        w: R^T.
        part: of the work; from ``end`` down to ``begin``.
    """
    first, last, neurons = part.first, part.last, gx.shape[2]
    samples = last - first
    after = np.zeros((samples, w.shape[1]), _F)
    credit = np.zeros((1, last, neurons), _F)
    none = np.empty((0, 0, 0), _F)
    for t in range(part.end - 1, part.begin - 1, -1):
        here = steps.u[t : t + 1]
        for b in range(first, last):
            for n in range(_I(neurons)):
                credit[0, b, n] = steps.x[t, b, n]
        if t < part.end - 1:
            _credit(here[0, first:last], credit[0, first:last], after, w, how[1].narrow)
        out = (gx[t : t + 1], none)
        if part.simple:
            lif_backward(here, credit, out, grads.v, how, (first, last, samples))
        else:
            spike_backward(here, credit, out, grads, how, (first, last, samples))
        for b in range(first, last):
            for n in range(_I(neurons)):
                after[b - first, n] = gx[t, b, n]
