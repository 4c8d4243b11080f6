"""Products with events and the cells behind them in one go: sums meet their cells in registers.

Forward, 64 sums of a row of events go through a step of their cells at once; backward, where inputs
have no gradient, what comes back to 64 cells goes into the gradient of their weights by way of the
cache. The parts are :mod:`clnf.spiking.events.kernels` and :mod:`clnf.spiking.wide`.

Legend: T steps, B samples, R = T B rows, I inputs, N neurons, a multiple of 64, K blocks of 64.
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from clnf.devices.sixteen import address, every, load, save, soon, where
from clnf.spiking.events.kernels import BLOCK, CHUNK, Events, Lists, added, summed
from clnf.spiking.kernels import Cells, Slope
from clnf.spiking.lanes import place, stream, theirs
from clnf.spiking.wide import slopes

__all__ = ["fused_backward", "fused_forward"]

_F = np.float32
_I = np.uintp
_B = _I(BLOCK)
_AHEAD = _I(4)  # rows; 64 numbers of each are no run that a processor would see by itself
_0, _1, _2, _3 = _I(0), _I(16), _I(32), _I(48)


@njit(inline="always")
def _places(cells: Cells) -> Cells:
    c = cells
    return Cells(
        place(c.decay), place(c.rest), place(c.kick), place(c.threshold), place(c.keep),
        place(c.drop), place(c.synapse), place(c.uptake), place(c.current), place(c.fading),
        place(c.jump),
    )  # fmt: skip


@njit(inline="always")
def _stepped(put: Any, at: tuple[int, int, int], out: tuple[int, int, int], k: Cells) -> None:
    """A step of sixteen cells; ``at`` their number, state and row, ``out`` u, z and v."""
    n, own, here = at
    zero, one = every(_F(0.0)), every(_F(1.0))
    push = theirs(k.kick, n) * put
    p = (theirs(k.decay, n) * load(out[2], own) + theirs(k.rest, n)) + push
    beyond = p - theirs(k.threshold, n)
    fired = beyond > zero
    stream(out[0], here, beyond)
    stream(out[1], here, where(fired, one, zero))
    save(out[2], own, where(fired, theirs(k.keep, n) * p - theirs(k.drop, n), p))


@njit(nogil=True, cache=True, error_model="numpy")
def fused_forward(
    events: Events,
    w: NDArray[np.float32],
    out: tuple[NDArray[np.float32], NDArray[np.float32]],
    v: NDArray[np.float32],
    cells: Cells,
    part: tuple[int, int],
) -> None:
    """Cells behind a product with events.

    Args:
        events: of inputs, row by row.
        w: weights [K, I, 64].
        out: volts over the threshold and spikes, [T, B, N], beginning at 64 bytes.
        v: potentials [B, N], changed in place.
        cells: coefficients, arrays [N] or numbers.
        part: first sample, last sample (not included).
    """
    start, (u, z), k = events.start, out, _places(cells)
    samples, neurons, inputs = _I(u.shape[1]), _I(u.shape[2]), _I(w.shape[1])
    lists = Lists(address(events.index), address(events.value), events.value.size == 0)
    to = address(u), address(z), address(v)
    for block in range(_I(w.shape[0])):
        weights, n = address(w) + _I(4) * block * inputs * _B, block * _B
        for t in range(_I(u.shape[0])):
            for b in range(_I(part[0]), _I(part[1])):
                r = t * samples + b
                sums = summed(lists, weights, _I(start[r]), _I(start[r + _I(1)]))
                own, here = b * neurons + n, r * neurons + n
                _stepped(sums[0], (n, own, here), to, k)
                _stepped(sums[1], (n + _1, own + _1, here + _1), to, k)
                _stepped(sums[2], (n + _2, own + _2, here + _2), to, k)
                _stepped(sums[3], (n + _3, own + _3, here + _3), to, k)
    events.index.size, events.value.size, w.size, u.size, z.size  # noqa: B018


@njit(inline="always")
def _returned(
    at: tuple[int, int, int], row: int, given: tuple[int, int, int, int], k: Cells, slope: Slope
) -> None:
    """A step back of sixteen cells; ``row`` takes gx.

    ``given`` are u, gradients of spikes and of v, and numbers of a row.
    """
    n, own, here = at
    soon(given[0], here - _AHEAD * given[3])
    soon(given[1], here - _AHEAD * given[3])
    over, now = load(given[0], here), load(given[2], own)
    e = load(given[1], here) * slopes(over, slope)
    g = e + where(over > every(_F(0.0)), theirs(k.keep, n) * now, now)
    save(row, _0, theirs(k.kick, n) * g)
    save(given[2], own, theirs(k.decay, n) * g)


@njit(nogil=True, cache=True, error_model="numpy")
def fused_backward(
    by: Events,
    given: tuple[NDArray[np.float32], NDArray[np.float32]],
    out: NDArray[np.float32],
    v: NDArray[np.float32],
    how: tuple[Cells, Slope],
    part: tuple[int, int],
) -> None:
    """The gradient of weights, from the gradient of spikes.

    Args:
        by: events of inputs, sorted.
        given: volts over the threshold and gradients of spikes, [T, B, N].
        out: sums [K, I, 64], to be added to.
        v: gradients of potentials [B, N]; of the last ones, then of the first.
        how: coefficients, arrays [N] or numbers, and slope.
        part: first block, last block (not included).
    """
    (u, grad), k, slope = given, _places(how[0]), how[1]
    samples, neurons, inputs = _I(u.shape[1]), _I(u.shape[2]), _I(out.shape[1])
    lists = Lists(address(by.index), address(by.value), by.value.size == 0)
    rows, packed = u.shape[0] * u.shape[1], np.empty((CHUNK, BLOCK), _F)
    places, grads = (address(u), address(grad), address(v), neurons), address(packed)
    sums = address(out)
    for block in range(_I(part[0]), _I(part[1])):
        n = block * _B
        for chunk in range(by.start.shape[0] - 1, -1, -1):
            first, begin = chunk * CHUNK, by.start[chunk]
            for r in range(min(first + CHUNK, rows) - 1, first - 1, -1):
                own, here = _I(r) % samples * neurons + n, _I(r) * neurons + n
                row = grads + _I(4) * _I(r - first) * _B
                _returned((n, own, here), row, places, k, slope)
                _returned((n + _1, own + _1, here + _1), row + _I(64), places, k, slope)
                _returned((n + _2, own + _2, here + _2), row + _I(128), places, k, slope)
                _returned((n + _3, own + _3, here + _3), row + _I(192), places, k, slope)
            for i in range(inputs):
                more = summed(lists, grads, _I(begin[i]), _I(begin[i + _I(1)]))
                added(sums, (block * inputs + i) * _B, more)
    by.index.size, by.value.size, packed.size, u.size, grad.size  # noqa: B018
