"""Recurrent steps, compiled: rows of weights are added for spikes, products made where a slope is.

Legend: T steps, B samples, N neurons; M is N filled up to a multiple of 32. Weights are R^T, pre by
post: forward in blocks [K, N, 64], backward as rows [N, M].
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from clnf.devices.sixteen import address, every, load, magnitude, save
from clnf.spiking.events.kernels import Events, busy, fill, product
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
from clnf.spiking.lanes import lowest, marked

__all__ = ["Part", "Steps", "recurrent_backward", "recurrent_forward"]

_F = np.float32
_I = np.uintp
_1, _PAIR, _TILE, _LANES = _I(16), _I(32), _I(64), _I(16)


class Steps(NamedTuple):
    """Arrays over time, [T, B, N]: ``x`` may have no elements, inputs are in ``u`` then."""

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


@njit(nogil=True, cache=True, error_model="numpy")
def recurrent_forward(
    steps: Steps, held: Held, cells: Cells, w: NDArray[np.float32], part: Part
) -> int:
    """Steps ``part.begin`` to ``part.end`` of samples ``part.first`` to ``part.last``.

    Args:
        steps: inputs, and out volts over the threshold and spikes; ``before`` are spikes before
            the first step, [B, N].
        held: state, changed in place.
        cells: coefficients.
        w: R^T, [K, N, 64].
        part: of the work.

    Returns:
        How many spikes came back.
    """
    first, last, neurons = part.first, part.last, steps.u.shape[2]
    samples, count = last - first, 0
    room = samples * neurons + 1
    sent = Events(np.empty(samples + 1, np.int64), np.empty(room, np.uint32), np.empty(room, _F))
    came, none = np.empty((samples, neurons), _F), np.empty((0, 0, 0), _F)
    for t in range(part.begin, part.end):
        z = steps.before[first:last] if t == 0 else steps.z[t - 1, first:last]
        busy(z, sent.start)
        fill(z, sent)
        count += sent.start[samples]
        product(sent, w, came, (0, samples))
        for b in range(samples):
            if steps.x.size > 0:
                for n in range(_I(neurons)):
                    steps.u[t, first + b, n] = steps.x[t, first + b, n] + came[b, n]
            else:
                for n in range(_I(neurons)):
                    steps.u[t, first + b, n] += came[b, n]
        here, out = steps.u[t : t + 1], steps.z[t : t + 1]
        if part.simple:
            lif_forward(none, here, out, held.v, cells, (first, last, samples))
        else:
            spike_forward(none, here, out, held, cells, (first, last, samples))
    return count


@njit(inline="always")
def _dot(weights: int, grads: int, wide: int, parts: NDArray[np.float32]) -> float:
    """Two rows of ``wide`` numbers, a multiple of 32; sixteen sums, then these in a fixed order."""
    a, b = every(_F(0.0)), every(_F(0.0))
    for m in range(_I(0), wide, _PAIR):
        a = a + load(weights, m) * load(grads, m)
        b = b + load(weights, m + _1) * load(grads, m + _1)
    save(parts, _I(0), a + b)
    p = parts
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
    weights, grads, over = address(w), address(after), address(u)
    parts, one, narrows = np.empty(16, _F), every(_F(1.0)), every(narrow)
    whole, line = neurons // _LANES * _LANES, wide * _I(4)
    for tile in range(_I(0), whole, _TILE):
        for row in range(_I(u.shape[0])):
            for n in range(tile, min(tile + _TILE, whole), _LANES):
                marks = marked(magnitude(load(over, row * neurons + n)) * narrows < one)
                while marks != _I(0):
                    at = n + lowest(marks)
                    found = _dot(weights + at * line, grads + row * line, wide, parts)
                    credit[row, at] += found
                    marks &= marks - _I(1)
    for row in range(_I(u.shape[0])):
        for n in range(whole, neurons):
            if abs(u[row, n]) * narrow < _F(1.0):
                found = _dot(weights + n * line, grads + row * line, wide, parts)
                credit[row, n] += found
    after.size, w.size, u.size  # noqa: B018


@njit(nogil=True, cache=True, error_model="numpy")
def recurrent_backward(
    steps: Steps,
    out: tuple[NDArray[np.float32], NDArray[np.float32]],
    grads: Grads,
    how: tuple[Cells, Slope],
    w: NDArray[np.float32],
    part: Part,
) -> None:
    """The way back of :func:`recurrent_forward`, for a compact surrogate.

    Args:
        steps: ``x`` holds gradients with respect to spikes here.
        out: with respect to inputs, and what enters at each step; the second may have no elements.
        grads: with respect to the state, changed in place.
        how: coefficients and slope.
        w: R^T, [N, M], filled up with 0.
        part: of the work; from ``end`` down to ``begin``.
    """
    first, last = part.first, part.last
    gx, enters = out
    neurons, samples = gx.shape[2], last - first
    after = np.zeros((samples, w.shape[1]), _F)
    credit = np.zeros((1, last, neurons), _F)
    for t in range(part.end - 1, part.begin - 1, -1):
        here = steps.u[t : t + 1]
        for b in range(first, last):
            for n in range(_I(neurons)):
                credit[0, b, n] = steps.x[t, b, n]
        if t < part.end - 1:
            _credit(here[0, first:last], credit[0, first:last], after, w, how[1].narrow)
        made = (gx[t : t + 1], enters[t : t + 1] if enters.size > 0 else enters)
        if part.simple:
            lif_backward(here, credit, made, grads.v, how, (first, last, samples))
        else:
            spike_backward(here, credit, made, grads, how, (first, last, samples))
        for b in range(first, last):
            for n in range(_I(neurons)):
                after[b - first, n] = gx[t, b, n]
