"""LIF cells over time, sixteen at once, with results written past the cache.

What a step writes is not read again before the whole run is over; written past the cache it does
not have to be fetched first, which is a third of the traffic. Coefficients that all cells share
come as numbers and stay in registers. The twin for any sizes is in :mod:`clnf.spiking.kernels`, and
both give the same bits.

Legend: T steps, B samples, N neurons, a multiple of 16; arrays begin at multiples of 64 bytes.
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from clnf.devices.sixteen import address, every, greater, load, magnitude, save, soon, where
from clnf.spiking.kernels import Cells, Slope
from clnf.spiking.lanes import place, stream, theirs

__all__ = ["lif_backward_wide", "lif_forward_wide", "slopes"]

_F = np.float32
_I = np.uintp
_LANES = _I(16)
_AHEAD = _I(128)  # inputs, 512 bytes; the processor by itself stops at the end of each page


@njit(inline="always")
def slopes(u: Any, slope: Slope) -> Any:
    """The surrogate of sixteen cells."""
    one, zero = every(_F(1.0)), every(_F(0.0))
    narrow, height = every(slope.narrow), every(slope.height)
    if slope.code == 0:
        part = magnitude(u) * narrow + one
        return height / (part * part)
    if slope.code == 1:
        part = u * narrow
        return height / (part * part + one)
    if slope.code == 2:
        return height * greater(one - magnitude(u) * narrow, zero)
    return where(magnitude(u) * narrow < one, height, zero)


@njit(nogil=True, cache=True, error_model="numpy")
def lif_forward_wide(
    x: NDArray[np.float32],
    u: NDArray[np.float32],
    z: NDArray[np.float32],
    v: NDArray[np.float32],
    cells: Cells,
    part: tuple[int, int, int],
) -> None:
    """As :func:`clnf.spiking.kernels.lif_forward`; inputs that are in ``u`` are written plainly.

    Each coefficient is an array [N] or a number.
    """
    samples, neurons = _I(u.shape[1]), _I(u.shape[2])
    fresh = x.size > 0
    given = address(x) if fresh else address(u)
    over, spikes, held = address(u), address(z), address(v)
    decay, rest, kick = place(cells.decay), place(cells.rest), place(cells.kick)
    threshold, keep, drop = place(cells.threshold), place(cells.keep), place(cells.drop)
    zero, one = every(_F(0.0)), every(_F(1.0))
    for first in range(part[0], part[1], part[2]):
        for t in range(_I(u.shape[0])):
            for b in range(_I(first), _I(min(first + part[2], part[1]))):
                here, own = (t * samples + b) * neurons, b * neurons
                for n in range(_I(0), neurons, _LANES):
                    soon(given, here + n + _AHEAD)
                    push = theirs(kick, n) * load(given, here + n)
                    p = (theirs(decay, n) * load(held, own + n) + theirs(rest, n)) + push
                    beyond = p - theirs(threshold, n)
                    fired = beyond > zero
                    if fresh:
                        stream(over, here + n, beyond)
                    if not fresh:
                        save(u, here + n, beyond)
                    stream(spikes, here + n, where(fired, one, zero))
                    after = theirs(keep, n) * p - theirs(drop, n)
                    save(v, own + n, where(fired, after, p))
    x.size, z.size  # noqa: B018


@njit(nogil=True, cache=True, error_model="numpy")
def lif_backward_wide(
    u: NDArray[np.float32],
    grad: NDArray[np.float32],
    out: tuple[NDArray[np.float32], NDArray[np.float32]],
    v: NDArray[np.float32],
    how: tuple[Cells, Slope],
    part: tuple[int, int, int],
) -> None:
    """As :func:`clnf.spiking.kernels.lif_backward`."""
    cells, slope = how
    samples, neurons = _I(u.shape[1]), _I(u.shape[2])
    over, given, gx, enters = address(u), address(grad), address(out[0]), address(out[1])
    decay, kick, keep = place(cells.decay), place(cells.kick), place(cells.keep)
    wanted, held, zero = out[1].size > 0, address(v), every(_F(0.0))
    steps = _I(u.shape[0])
    for first in range(part[0], part[1], part[2]):
        for back in range(steps):
            t = steps - back - _I(1)
            for b in range(_I(first), _I(min(first + part[2], part[1]))):
                here, own = (t * samples + b) * neurons, b * neurons
                for n in range(_I(0), neurons, _LANES):
                    beyond, now = load(over, here + n), load(held, own + n)
                    e = load(given, here + n) * slopes(beyond, slope)
                    g = e + where(beyond > zero, theirs(keep, n) * now, now)
                    stream(gx, here + n, theirs(kick, n) * g)
                    if wanted:
                        stream(enters, here + n, e)
                    save(v, own + n, theirs(decay, n) * g)
    u.size, grad.size, out[0].size, out[1].size
