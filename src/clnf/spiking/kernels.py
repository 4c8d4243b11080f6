"""Steps of a population over time, forward and backward, compiled: state stays in cache.

A group of samples goes through all steps before the next group, so its state stays near. The way
forward writes u = p - threshold, which is all that the way back needs: spikes are where u > 0, the
slope is a function of u, and a refractory cell has u = -inf. The plain versions are in
:mod:`clnf.spiking.steps`; the order of operations is theirs.

Legend: T steps, B samples, N neurons; all arrays float32 but for the waiting steps.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = [
    "Cells",
    "Grads",
    "Held",
    "Slope",
    "leak_backward",
    "leak_forward",
    "lif_backward",
    "lif_forward",
    "spike_backward",
    "spike_forward",
]

_F = np.float32
_I = np.uintp


class Cells(NamedTuple):
    """Coefficients of each neuron, [N]; after a spike v = keep p - drop."""

    decay: Any
    rest: Any
    kick: Any
    threshold: Any
    keep: Any
    drop: Any
    synapse: Any
    uptake: Any
    current: Any
    fading: Any
    jump: Any


class Held(NamedTuple):
    """State, [B, N], changed in place, and how many steps a spike holds a cell."""

    v: Any
    current: Any
    adaptation: Any
    wait: Any
    hold: int


class Grads(NamedTuple):
    """Gradients with respect to the state, [B, N], changed in place."""

    v: Any
    current: Any
    adaptation: Any


class Slope(NamedTuple):
    """A surrogate: its number, 1/width, height."""

    code: int
    narrow: Any
    height: Any


@njit(inline="always")
def _slope(u: float, slope: Slope) -> float:
    if slope.code == 0:
        part = abs(u) * slope.narrow + _F(1.0)
        return slope.height / (part * part)
    if slope.code == 1:
        part = u * slope.narrow
        return slope.height / (part * part + _F(1.0))
    if slope.code == 2:
        return slope.height * max(_F(1.0) - abs(u) * slope.narrow, _F(0.0))
    return slope.height if abs(u) * slope.narrow < _F(1.0) else _F(0.0)


@njit(nogil=True, cache=True, error_model="numpy")
def lif_forward(
    x: NDArray[np.float32],
    u: NDArray[np.float32],
    z: NDArray[np.float32],
    v: NDArray[np.float32],
    cells: Cells,
    part: tuple[int, int, int],
) -> None:
    """Cells without current, adaptation and refractory time.

    Args:
        x: inputs [T, B, N]; without elements they are in ``u``.
        u: out, volts over the threshold.
        z: out, spikes.
        v: potentials [B, N], changed in place.
        cells: coefficients.
        part: first sample, last sample (not included), samples of a group.
    """
    decay, rest, kick, threshold = cells.decay, cells.rest, cells.kick, cells.threshold
    keep, drop = cells.keep, cells.drop
    for first in range(part[0], part[1], part[2]):
        for t in range(u.shape[0]):
            for b in range(first, min(first + part[2], part[1])):
                if x.size > 0:
                    for n in range(_I(u.shape[2])):
                        u[t, b, n] = x[t, b, n]
                for n in range(_I(u.shape[2])):
                    p = (decay[n] * v[b, n] + rest[n]) + kick[n] * u[t, b, n]
                    over = p - threshold[n]
                    u[t, b, n] = over
                    z[t, b, n] = _F(1.0) if over > _F(0.0) else _F(0.0)
                    v[b, n] = keep[n] * p - drop[n] if over > _F(0.0) else p


@njit(nogil=True, cache=True, error_model="numpy")
def lif_backward(
    u: NDArray[np.float32],
    grad: NDArray[np.float32],
    out: tuple[NDArray[np.float32], NDArray[np.float32]],
    v: NDArray[np.float32],
    how: tuple[Cells, Slope],
    part: tuple[int, int, int],
) -> None:
    """The way back of :func:`lif_forward`.

        e = s(u) gz,   g = e + (keep where z, else 1) gv,   gx = kick g,   gv = decay g

    Args:
        u: as the way forward left it.
        grad: with respect to spikes [T, B, N], gz.
        out: with respect to inputs, gx, and what enters at each step, e; the second may have no
            elements and is left out then.
        v: with respect to potentials [B, N]; of the last ones, then of the first.
        how: coefficients and slope.
        part: as for the way forward.
    """
    cells, slope = how
    gx, enters = out
    decay, kick, keep = cells.decay, cells.kick, cells.keep
    wanted = enters.size > 0
    for first in range(part[0], part[1], part[2]):
        for t in range(u.shape[0] - 1, -1, -1):
            for b in range(first, min(first + part[2], part[1])):
                if wanted:
                    for n in range(_I(u.shape[2])):
                        enters[t, b, n] = grad[t, b, n] * _slope(u[t, b, n], slope)
                for n in range(_I(u.shape[2])):
                    e = grad[t, b, n] * _slope(u[t, b, n], slope)
                    g = e + (keep[n] * v[b, n] if u[t, b, n] > _F(0.0) else v[b, n])
                    gx[t, b, n] = kick[n] * g
                    v[b, n] = decay[n] * g


@njit(nogil=True, cache=True, error_model="numpy")
def spike_forward(
    x: NDArray[np.float32],
    u: NDArray[np.float32],
    z: NDArray[np.float32],
    held: Held,
    cells: Cells,
    part: tuple[int, int, int],
) -> None:
    """Cells with all of current, adaptation and refractory time.

    Args:
        x: inputs [T, B, N]; without elements they are in ``u``.
        u: out, volts over the threshold, -inf where refractory.
        z: out, spikes.
        held: state, changed in place.
        cells: coefficients; what a cell has not has decay and gain 0.
        part: first sample, last sample (not included), samples of a group.
    """
    v, i, a, wait, hold = held
    hold = np.int32(hold)
    for first in range(part[0], part[1], part[2]):
        for t in range(u.shape[0]):
            for b in range(first, min(first + part[2], part[1])):
                if x.size > 0:
                    for n in range(_I(u.shape[2])):
                        u[t, b, n] = x[t, b, n]
                for n in range(_I(u.shape[2])):
                    put = u[t, b, n]
                    push = cells.current[n] * i[b, n] + cells.kick[n] * put
                    i[b, n] = cells.synapse[n] * i[b, n] + cells.uptake[n] * put
                    p = (cells.decay[n] * v[b, n] + cells.rest[n]) + push
                    fading = cells.fading[n] * a[b, n]
                    over = p - (cells.threshold[n] + fading)
                    left = wait[b, n]
                    over = _F(-np.inf) if left > 0 else over
                    p = v[b, n] if left > 0 else p
                    fired = over > _F(0.0)
                    u[t, b, n] = over
                    z[t, b, n] = _F(1.0) if fired else _F(0.0)
                    v[b, n] = cells.keep[n] * p - cells.drop[n] if fired else p
                    a[b, n] = fading + (cells.jump[n] if fired else _F(0.0))
                    wait[b, n] = hold if fired else max(left - np.int32(1), np.int32(0))


@njit(nogil=True, cache=True, error_model="numpy")
def spike_backward(
    u: NDArray[np.float32],
    grad: NDArray[np.float32],
    out: tuple[NDArray[np.float32], NDArray[np.float32]],
    held: Grads,
    how: tuple[Cells, Slope],
    part: tuple[int, int, int],
) -> None:
    """The way back of :func:`spike_forward`; arguments as for :func:`lif_backward`.

        e = s(u) (gz + jump ga),   g = e + (keep where z, else 1) gv
        gx = kick g + uptake gi,   gi = synapse gi + current g
        gv = decay g,              ga = fading (ga - e)

    Where refractory, e is 0, gv stays and nothing of g goes to input and current.
    """
    cells, slope = how
    gx, enters = out
    v, i, a = held
    wanted = enters.size > 0
    for first in range(part[0], part[1], part[2]):
        for t in range(u.shape[0] - 1, -1, -1):
            for b in range(first, min(first + part[2], part[1])):
                for n in range(_I(u.shape[2])):
                    over = u[t, b, n]
                    e = (grad[t, b, n] + cells.jump[n] * a[b, n]) * _slope(over, slope)
                    g = e + (cells.keep[n] * v[b, n] if over > _F(0.0) else v[b, n])
                    free = over > _F(-np.inf)
                    passed = g if free else _F(0.0)
                    gx[t, b, n] = cells.kick[n] * passed + cells.uptake[n] * i[b, n]
                    i[b, n] = cells.synapse[n] * i[b, n] + cells.current[n] * passed
                    v[b, n] = cells.decay[n] * g if free else g
                    a[b, n] = cells.fading[n] * (a[b, n] - e)
                    if wanted:
                        enters[t, b, n] = e


@njit(nogil=True, cache=True, error_model="numpy")
def leak_forward(
    x: NDArray[np.float32],
    y: NDArray[np.float32],
    v: NDArray[np.float32],
    i: NDArray[np.float32],
    cells: Cells,
    part: tuple[int, int, int],
) -> None:
    """A read-out: potentials ``y`` [T, B, N] of inputs ``x``."""
    for first in range(part[0], part[1], part[2]):
        for t in range(x.shape[0]):
            for b in range(first, min(first + part[2], part[1])):
                for n in range(_I(x.shape[2])):
                    put = x[t, b, n]
                    push = cells.current[n] * i[b, n] + cells.kick[n] * put
                    i[b, n] = cells.synapse[n] * i[b, n] + cells.uptake[n] * put
                    p = (cells.decay[n] * v[b, n] + cells.rest[n]) + push
                    v[b, n] = p
                    y[t, b, n] = p


@njit(nogil=True, cache=True, error_model="numpy")
def leak_backward(
    grad: NDArray[np.float32],
    gx: NDArray[np.float32],
    v: NDArray[np.float32],
    i: NDArray[np.float32],
    cells: Cells,
    part: tuple[int, int, int],
) -> None:
    """The way back of :func:`leak_forward`; without elements of ``grad`` it is in ``gx``.

    g = gy + gv,   gx = kick g + uptake gi,   gi = synapse gi + current g,   gv = decay g
    """
    for first in range(part[0], part[1], part[2]):
        for t in range(gx.shape[0] - 1, -1, -1):
            for b in range(first, min(first + part[2], part[1])):
                # A copy first: of two arrays that are one a compiler makes no vectors.
                if grad.size > 0:
                    for n in range(_I(gx.shape[2])):
                        gx[t, b, n] = grad[t, b, n]
                for n in range(_I(gx.shape[2])):
                    g = gx[t, b, n] + v[b, n]
                    gx[t, b, n] = cells.kick[n] * g + cells.uptake[n] * i[b, n]
                    i[b, n] = cells.synapse[n] * i[b, n] + cells.current[n] * g
                    v[b, n] = cells.decay[n] * g
