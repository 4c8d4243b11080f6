"""What pulses do to single cells: spread from cell to cell, steps, wear and energy, compiled.

One pass moves, wears, fences, counts and charges each cell. The torch twins are in
:mod:`clnf.devices.pulse_reference`. A law is the vector that
:meth:`clnf.devices.response.Response.law` makes; its places are named here.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from clnf.devices.kernels import exponential, gauss8, uniform

__all__ = [
    "LAW",
    "TABLE",
    "Cells",
    "PulseJob",
    "form",
    "pulse_cell",
    "pulse_cells",
    "step_at",
    "traits",
]

_F = np.float32
_U = np.uint32

# Places of a law: steps, bounds, spreads, noise, energy at w = -1 and per unit of w, its factor
# for pulses down, kind of step, and the numbers of that kind.
(
    STEP_UP, STEP_DOWN, UPPER, LOWER, LOG_SPREAD, LOG_SHIFT, UPPER_SPREAD, LOWER_SPREAD, CYCLE,
    WRITE_NOISE, DEAD, ENERGY, ENERGY_SLOPE, ENERGY_DOWN, KIND, SHAPE_UP, SHAPE_DOWN, FACTOR_UP,
    FACTOR_DOWN, SCALE, OFFSET, BIAS_SPREAD,
) = range(22)  # fmt: skip
LAW = BIAS_SPREAD + 1
# Lines of a table of cells: step up, step down, upper bound, lower bound.
TABLE = 4
# What the key's first word grows by from one pulse of a train to the next.
_NEXT = _U(0x85EBCA6B)
LINEAR, EXPONENTIAL, POWER = _F(0.0), _F(1.0), _F(2.0)


class Cells(NamedTuple):
    """State of cells in pulse order: hidden and visible weight [M], pulses so far [M]."""

    hidden: Any
    seen: Any
    wear: Any


class PulseJob(NamedTuple):
    """Signed pulses [M] int16, fence [M] float32 in [0, 1], index of the first cell."""

    pulses: Any
    fence: Any
    first: int


@njit(inline="always")
def _spread(
    cell: int, law: NDArray[np.float32], key: NDArray[np.uint32]
) -> tuple[float, float, float, float]:
    """Step up, step down, upper and lower bound of one cell, from its index and the key.

    A dead cell has no steps and both bounds at the value it is stuck at.
    """
    gain = exponential(law[LOG_SPREAD] * gauss8(cell, key[0], key[1]) + law[LOG_SHIFT])
    bias = law[BIAS_SPREAD] * gauss8(cell, key[1], key[0])
    upper = abs(law[UPPER] + law[UPPER] * (law[UPPER_SPREAD] * gauss8(cell, key[2], key[3])))
    lower = -abs(law[LOWER] + law[LOWER] * (law[LOWER_SPREAD] * gauss8(cell, key[4], key[5])))
    if uniform(cell, key[6], key[7]) < law[DEAD]:
        stuck = lower + (upper - lower) * uniform(cell, key[7], key[6])
        return _F(0.0), _F(0.0), stuck, stuck
    up = law[STEP_UP] * (gain * max(_F(1.0) + bias, _F(0.01)))
    down = law[STEP_DOWN] * (gain * max(_F(1.0) - bias, _F(0.01)))
    return up, down, upper, lower


@njit(nogil=True, cache=True)
def traits(
    law: NDArray[np.float32], key: NDArray[np.uint32], first: int, table: NDArray[np.float32]
) -> None:
    """Fill ``table`` [4, M] with steps and bounds of cells ``first ...``.

    It holds nothing but functions of (law, key, cell), and is kept for speed alone.
    """
    for i in range(table.shape[1]):
        up, down, upper, lower = _spread(_U(first + i), law, key)
        table[0, i], table[1, i], table[2, i], table[3, i] = up, down, upper, lower


@njit(nogil=True, cache=True)
def form(
    cells: Cells, law: NDArray[np.float32], table: NDArray[np.float32], key: NDArray[np.uint32]
) -> None:
    """Put cells 0 ... M-1 in their first state: at 0, or stuck, with one draw of write noise."""
    for i in range(cells.hidden.shape[0]):
        w = min(max(_F(0.0), table[3, i]), table[2, i])
        noise = law[WRITE_NOISE] * gauss8(_U(i), key[0], key[1])
        cells.hidden[i] = w
        cells.seen[i] = w + noise if table[0, i] > _F(0.0) else w
        cells.wear[i] = 0


@njit(inline="always")
def step_at(
    w: float, up: bool, cell: tuple[float, float, float, float], law: NDArray[np.float32]
) -> float:
    """Size of the mean step from ``w``, before the clip; see :mod:`clnf.devices.response`."""
    step_up, step_down, upper, lower = cell
    size = step_up if up else step_down
    shape = law[SHAPE_UP] if up else law[SHAPE_DOWN]
    if law[KIND] == LINEAR:
        return size * (_F(1.0) - shape * w / (upper if up else lower))
    span = upper - lower
    if law[KIND] == EXPONENTIAL:
        z = law[SCALE] * w / span * _F(2.0) + law[OFFSET]
        factor = law[FACTOR_UP] if up else law[FACTOR_DOWN]
        grown = exponential(shape * z if up else -(shape * z))
        return size * max(_F(1.0) - factor * grown, _F(0.0))
    left = (upper - w if up else w - lower) / span
    if left <= _F(0.0):
        return _F(0.0)
    return size * exponential(shape * np.log(left))


@njit(inline="always")
def pulse_cell(
    w: float,
    n: int,
    cell: tuple[float, float, float, float],
    law: NDArray[np.float32],
    draw: float,
    place: tuple[int, int, int],
) -> float:
    """Hidden weight after ``n`` signed pulses.

    Linear steps have all their noise in one draw: with a the part of the way to where steps vanish
    that one pulse covers, that way shrinks by (1 - a - a c xi) each pulse; its mean (1-a)^n and its
    second moment ((1-a)^2 + a^2 c^2)^n are exact away from the clip. Other steps go one after the
    other, each with a draw of its own: where a step depends strongly on the weight, what an earlier
    one strayed is soon forgotten, and one draw for all of them would keep it. ``place`` is the
    cell's index and the two words of the first draw's key.
    """
    up = n > 0
    step_up, step_down, upper, lower = cell
    if law[KIND] == LINEAR:
        total, variance = _F(0.0), _F(0.0)
        bound = upper if up else lower
        size = abs(bound)
        slope = law[SHAPE_UP] if up else law[SHAPE_DOWN]
        step = step_up if up else step_down
        if step * slope > size:
            step = size / slope  # no pulse goes further than where steps vanish
        a = step * slope / size if size > _F(0.0) else _F(1.0)
        keep = _F(1.0) - a
        left = _F(1.0) - slope * (w / bound) if size > _F(0.0) else _F(0.0)
        square = keep * keep + (a * law[CYCLE]) * (a * law[CYCLE])
        for _ in range(abs(n)):
            noise = law[CYCLE] * left
            total = total + left
            variance = variance * square + noise * noise
            left = left * keep
        moved = step * (total + np.sqrt(variance) * draw)
        w = w + moved if up else w - moved
        return min(max(w, lower), upper)
    for k in range(abs(n)):
        if k > 0:
            draw = gauss8(_U(place[0]), _U(_U(place[1]) + _U(_U(k) * _NEXT)), _U(place[2]))
        size = step_at(w, up, cell, law)
        moved = size + size * (law[CYCLE] * draw)
        w = w + moved if up else w - moved
        w = min(max(w, lower), upper)
    return w


@njit(nogil=True, cache=True)
def pulse_cells(
    job: PulseJob,
    cells: Cells,
    law: NDArray[np.float32],
    table: NDArray[np.float32],
    draw_key: NDArray[np.uint32],
) -> tuple[int, int, int]:
    """Apply signed pulses to cells in one pass; count, charge, wear and fence on the way.

    A fence of 0 lets no pulse through, 1 lets all through, between it lets each train through
    in proportion (stochastic rounding). Energy per pulse is V^2 G t with the conductance seen
    before the train, in whole attojoules, so sums are exact in any order.

    Args:
        job: pulses, fence, first cell.
        cells: state, changed in place.
        law: see :meth:`clnf.devices.response.Response.law`.
        table: what :func:`traits` gave for these cells, [4, 1] where all are alike.
        draw_key: six words: this operation's key for cycle, write-noise and fence draws.

    Returns:
        Pulses applied, energy in aJ, longest train of pulses.
    """
    count, energy, longest = 0, 0, 0
    for i in range(job.pulses.shape[0]):
        n = np.int32(job.pulses[i])
        if n == 0 or job.fence[i] <= _F(0.0):
            continue
        cell = _U(job.first + i)
        if job.fence[i] < _F(1.0):
            part = _F(abs(n)) * job.fence[i] + uniform(cell, draw_key[4], draw_key[5])
            n = np.int32(np.floor(part)) * (1 if n > 0 else -1)
            if n == 0:
                continue
        size = abs(n)
        each = law[ENERGY] + law[ENERGY_SLOPE] * (cells.seen[i] + _F(1.0))
        if n < 0:
            each = each * law[ENERGY_DOWN]
        energy += size * np.int64(np.rint(max(each, _F(0.0))))
        count += size
        longest = max(longest, size)
        cells.wear[i] += size
        j = i if table.shape[1] > 1 else 0
        mine = table[0, j], table[1, j], table[2, j], table[3, j]
        if mine[0] == _F(0.0):
            continue  # a dead cell takes the pulse and its energy but does not move
        place = cell, draw_key[0], draw_key[1]
        draw = gauss8(cell, draw_key[0], draw_key[1])
        w = pulse_cell(cells.hidden[i], n, mine, law, draw, place)
        cells.hidden[i] = w
        cells.seen[i] = w + law[WRITE_NOISE] * gauss8(cell, draw_key[2], draw_key[3])
    return count, energy, longest
