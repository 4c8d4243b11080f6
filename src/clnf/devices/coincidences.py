"""A batch of pulse trains as one operation: coincidences are counted first, then cells move once.

:mod:`clnf.devices.trains` applies vectors one after the other. Here all coincidences of a batch at
one cell become two numbers, n pulses up and m down, and the cell moves by

    w <- w + (1 - (1-a)^n (1-b)^m) (s u + (1 - s) v - w)
    s = n log(1-a) / (n log(1-a) + m log(1-b))

where a and b are the parts of the ways to u and v, where steps vanish, that one pulse covers. This
is the limit of an even mixture of ups and downs; it is exact where all pulses have one direction
or constant steps, and otherwise the mean over all orders to the second order in a and b. Other
laws step through ups and downs in an even mixture. The noise is one draw, exact for one pulse:

    c^2 (n (a (u - w) (1-a)^(n-1))^2 (1-b)^m + m (b (v - w) (1-b)^(m-1))^2 (1-a)^n)

The clip to the bounds comes once. Counting goes by events: for every bit of a column's train,
through the rows that have this bit set, so it costs what there are pulses; where they are many it
goes through all rows instead. Cells without pulses are left aside.


Source: as in :mod:`clnf.devices.trains`; trains without chance as in the "deterministic implicit"
pulses of the IBM Analog Hardware Acceleration Kit (Rasch et al., AICAS 2021).
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from clnf.devices import pulses
from clnf.devices.counting import BATCH, count_column, sort_rows
from clnf.devices.kernels import gauss8, uniform
from clnf.devices.pulses import Cells, step_at
from clnf.devices.trains import Trains

__all__ = ["BATCH", "pulse_batch"]


_F = np.float32
_U = np.uint32
_I = np.uintp
_LOW_HALF = np.int32(0xFFFF)
# Cells handled together, and the lines of their work array; see ``trains``.
_LANES = _I(512)
(
    _STEP_UP, _STEP_DOWN, _HIGH, _LOW, _W, _UPS, _DOWNS, _MOVED, _SPREADS, _UP, _DOWN, _GONE_UP,
    _GONE_DOWN, _DRAW, _NOISE, _ALIVE,
) = (_I(line) * _LANES for line in range(16))  # fmt: skip
_WORK = 16 * 512
# Set in a count of more pulses in one direction than whole vectors of cells can take: 63.
_MANY = np.int32(0x7FC0FFC0)


class _Touched(NamedTuple):
    """Cells with coincidences: their indices, and counts of ups and (in the high half) downs."""

    index: Any
    counts: Any


class _Job(NamedTuple):
    """What a block of cells needs."""

    trains: Trains
    cells: Cells
    law: Any
    table: Any


@njit(inline="always")
def _gone(a: float, n: int) -> float:
    """1 - (1 - a)^n for n in 0 ... 63, without cancellation; written out for whole vectors."""
    g = a if (n & 1) > 0 else _F(0.0)
    a = a * (_F(2.0) - a)
    g = g + (a - g * a if (n & 2) > 0 else _F(0.0))
    a = a * (_F(2.0) - a)
    g = g + (a - g * a if (n & 4) > 0 else _F(0.0))
    a = a * (_F(2.0) - a)
    g = g + (a - g * a if (n & 8) > 0 else _F(0.0))
    a = a * (_F(2.0) - a)
    g = g + (a - g * a if (n & 16) > 0 else _F(0.0))
    a = a * (_F(2.0) - a)
    return g + (a - g * a if (n & 32) > 0 else _F(0.0))


@njit(inline="always")
def _gone_any(a: float, n: int) -> float:
    """The same for any n."""
    g = _F(0.0)
    while n > 0:
        if n & 1:
            g = g + (a - g * a)
        a = a * (_F(2.0) - a)
        n >>= 1
    return g


@njit(inline="always")
def _rate(a: float) -> float:
    """-log(1 - a) for a in [0, 1], by three terms of its series in a / (2 - a)."""
    z = a / (_F(2.0) - a)
    y = z * z
    return z * (_F(2.0) + y * (_F(2.0 / 3.0) + y * _F(0.4)))


@njit(nogil=True, cache=True)
def _less(work: NDArray[np.float32], law: NDArray[np.float32], size: int) -> None:
    """Parts of the way that one pulse covers, and what is gone after all pulses but one."""
    slope_up, slope_down = law[pulses.SHAPE_UP], law[pulses.SHAPE_DOWN]
    for r in range(size):
        most = max(abs(work[_HIGH + r]), _F(1e-30))
        part = min(work[_STEP_UP + r] * slope_up / most, _F(1.0))
        work[_UP + r] = part
        work[_GONE_UP + r] = _gone(part, np.int32(max(work[_UPS + r] - _F(1.0), _F(0.0))))
    for r in range(size):
        most = max(abs(work[_LOW + r]), _F(1e-30))
        part = min(work[_STEP_DOWN + r] * slope_down / most, _F(1.0))
        work[_DOWN + r] = part
        work[_GONE_DOWN + r] = _gone(part, np.int32(max(work[_DOWNS + r] - _F(1.0), _F(0.0))))


@njit(nogil=True, cache=True)
def _less_any(work: NDArray[np.float32], size: int) -> None:
    """The same where some cell has more pulses than whole vectors can take."""
    for r in range(size):
        more = np.int64(max(work[_UPS + r] - _F(1.0), _F(0.0)))
        work[_GONE_UP + r] = _gone_any(work[_UP + r], more)
        more = np.int64(max(work[_DOWNS + r] - _F(1.0), _F(0.0)))
        work[_GONE_DOWN + r] = _gone_any(work[_DOWN + r], more)


# Python's error model asks before each division whether it is by zero, which costs fifty times the
# loop below; no divisor in it is.
@njit(nogil=True, cache=True, error_model="numpy")
def _linear(work: NDArray[np.float32], law: NDArray[np.float32], size: int) -> None:
    """Mean moves and their variances over c^2, see the head of this module."""
    slope_up, slope_down = law[pulses.SHAPE_UP], law[pulses.SHAPE_DOWN]
    one, none = _F(1.0), _F(0.0)
    for r in range(size):
        n, m, w = work[_UPS + r], work[_DOWNS + r], work[_W + r]
        up, down = work[_UP + r], work[_DOWN + r]
        less_up, less_down = work[_GONE_UP + r], work[_GONE_DOWN + r]
        g = less_up + (up - less_up * up) if n > none else none
        h = less_down + (down - less_down * down) if m > none else none
        to_up = work[_HIGH + r] / slope_up - w
        to_down = work[_LOW + r] / slope_down - w
        ups, downs = n * _rate(up), m * _rate(down)
        share = ups / max(ups + downs, _F(1e-30))
        total = g + (h - g * h)
        work[_MOVED + r] = total * (share * to_up + (one - share) * to_down)
        last_up = up * to_up * (one - less_up)
        last_down = down * to_down * (one - less_down)
        variance = n * (last_up * last_up) * (one - h)
        work[_SPREADS + r] = variance + m * (last_down * last_down) * (one - g)


@njit(nogil=True, cache=True)
def _constant(work: NDArray[np.float32], size: int) -> None:
    for r in range(size):
        n, m = work[_UPS + r], work[_DOWNS + r]
        up, down = work[_STEP_UP + r], work[_STEP_DOWN + r]
        work[_MOVED + r] = n * up - m * down
        work[_SPREADS + r] = n * (up * up) + m * (down * down)


@njit(nogil=True, cache=True)
def _curved(work: NDArray[np.float32], law: NDArray[np.float32], size: int) -> None:
    """Any other law, cell by cell: ups and downs in an even mixture along the mean path."""
    for r in range(size):
        n, m = np.int64(work[_UPS + r]), np.int64(work[_DOWNS + r])
        at, variance = work[_W + r], _F(0.0)
        high, low = work[_HIGH + r], work[_LOW + r]
        if work[_STEP_UP + r] > _F(0.0):
            cell = work[_STEP_UP + r], work[_STEP_DOWN + r], high, low
            both = n + m
            for i in range(both):
                up = (2 * (i + 1) * n + both) // (2 * both) > (2 * i * n + both) // (2 * both)
                step = step_at(at, up, cell, law)
                at = at + step if up else at - step
                at = min(max(at, low), high)
                variance = variance + step * step
        work[_MOVED + r], work[_SPREADS + r] = at - work[_W + r], variance


@njit(nogil=True, cache=True)
def _gather(tally: NDArray[np.int32], cells: tuple[int, int], list_: _Touched, filled: int) -> int:
    """Note the cells of a column that have coincidences; returns how many are noted now."""
    first, wide = cells
    index, counts = list_
    for r in range(wide):
        index[filled], counts[filled] = first + r, tally[r]
        filled += _I(tally[r] != 0)
    return filled


@njit(nogil=True, cache=True)
def _load(
    work: NDArray[np.float32],
    touched: _Touched,
    table: NDArray[np.float32],
    hidden: NDArray[np.float32],
    place: tuple[int, int],
) -> int:
    """Bring a block of touched cells into the work array; returns all counts or-ed together."""
    left, size = place
    index, counts = touched
    some = np.int32(0)
    for r in range(size):
        some = np.int32(some | counts[left + r])
    for r in range(size):
        both = counts[left + r]
        work[_UPS + r] = _F(np.int32(both & _LOW_HALF))
        work[_DOWNS + r] = _F(np.int32(both >> np.int32(16)))
    for r in range(size):
        at = index[left + r]
        work[_STEP_UP + r] = table[_I(0), at]
        work[_STEP_DOWN + r] = table[_I(1), at]
        work[_HIGH + r] = table[_I(2), at]
        work[_LOW + r] = table[_I(3), at]
        work[_W + r] = hidden[at]
    return some


@njit(nogil=True, cache=True)
def _shut(
    work: NDArray[np.float32],
    fence: NDArray[np.float32],
    touched: _Touched,
    place: tuple[int, int, int],
    keys: tuple[int, int],
) -> None:
    """Keep pulses from fenced cells, in proportion by stochastic rounding."""
    first, left, size = place
    wide = _I(fence.shape[1])
    for r in range(size):
        at = touched.index[left + r]
        let = fence[at // wide, at % wide]
        draw = uniform(_U(_U(first) + _U(at)), keys[0], keys[1])
        other = uniform(_U(_U(first) + _U(at)), keys[1], keys[0])
        work[_UPS + r] = np.floor(work[_UPS + r] * let + draw)
        work[_DOWNS + r] = np.floor(work[_DOWNS + r] * let + other)


@njit(nogil=True, cache=True)
def _draw(
    work: NDArray[np.float32], line: int, touched: _Touched, place: tuple[int, int, int],
    keys: tuple[int, int],
) -> None:  # fmt: skip
    """One normal for each touched cell of a block."""
    first, left, size = place
    key0, key1 = keys
    index = touched.index
    for r in range(size):
        work[line + r] = gauss8(_U(_U(first) + _U(index[left + r])), key0, key1)


@njit(nogil=True, cache=True)
def _move(work: NDArray[np.float32], law: NDArray[np.float32], some: int, size: int) -> None:
    """Move a block of cells; ``some`` is all counts or-ed together."""
    cycle = law[pulses.CYCLE]
    if law[pulses.KIND] != pulses.LINEAR:
        _curved(work, law, size)
    elif law[pulses.SHAPE_UP] == _F(0.0) or law[pulses.SHAPE_DOWN] == _F(0.0):
        _constant(work, size)
    else:
        _less(work, law, size)
        if np.int32(some & _MANY) != 0:
            _less_any(work, size)
        _linear(work, law, size)
    for r in range(size):
        draw = cycle * (np.sqrt(work[_SPREADS + r]) * work[_DRAW + r])
        w = work[_W + r] + (work[_MOVED + r] + draw)
        work[_W + r] = min(max(w, work[_LOW + r]), work[_HIGH + r])


@njit(nogil=True, cache=True)
def _store(
    work: NDArray[np.float32],
    law: NDArray[np.float32],
    cells: Cells,
    touched: _Touched,
    place: tuple[int, int],
) -> tuple[int, int, int]:
    """Count, wear and charge a block, write its cells; returns sum, energy and largest.

    A dead cell takes its pulses and stays where it is stuck.
    """
    hidden, seen, wear = cells
    left, size = place
    base, slope, down = law[pulses.ENERGY], law[pulses.ENERGY_SLOPE], law[pulses.ENERGY_DOWN]
    noise = law[pulses.WRITE_NOISE]
    energy, count, most = np.int64(0), np.int64(0), np.int32(0)
    for r in range(size):
        at = touched.index[left + r]
        ups, downs = work[_UPS + r], work[_DOWNS + r]
        each = max(base + slope * (seen[at] + _F(1.0)), _F(0.0))
        raised = np.float64(ups) * np.rint(np.float64(each))
        energy += np.int64(raised + np.float64(downs) * np.rint(np.float64(each * down)))
        n = np.int32(ups + downs)
        wear[at] += n
        count += n
        most = max(most, n)
        if n > 0 and work[_ALIVE + r] > _F(0.0):
            hidden[at] = work[_W + r]
            seen[at] = work[_W + r] + noise * work[_NOISE + r]
    return count, energy, most


@njit(nogil=True, cache=True)
def _block(
    work: NDArray[np.float32],
    job: _Job,
    touched: _Touched,
    place: tuple[int, int],
    draw_key: NDArray[np.uint32],
) -> tuple[int, int, int]:
    """Move a block of touched cells; returns pulses, energy, longest."""
    trains, cells, law, table = job
    left, size = place
    some = _load(work, touched, table, cells.hidden, place)
    for r in range(size):
        work[_ALIVE + r] = work[_STEP_UP + r]
    where = trains.first, left, size
    if trains.fenced:
        _shut(work, trains.fence, touched, where, (draw_key[4], draw_key[5]))
    if law[pulses.CYCLE] > _F(0.0):
        _draw(work, _DRAW, touched, where, (draw_key[0], draw_key[1]))
    if law[pulses.WRITE_NOISE] > _F(0.0):
        _draw(work, _NOISE, touched, where, (draw_key[2], draw_key[3]))
    _move(work, law, some, size)
    return _store(work, law, cells, touched, place)


@njit(nogil=True, cache=True)
def pulse_batch(
    trains: Trains,
    cells: Cells,
    law: NDArray[np.float32],
    table: NDArray[np.float32],
    draw_key: NDArray[np.uint32],
) -> tuple[int, int, int]:
    """Apply a batch's coincidences to the cells [C, R], all of them in one move of each cell.

    A row and a column of one sign move the weight down, of two signs up. Write noise is drawn
    once; energy uses the conductance seen before.

    Args:
        trains: trains of rows and columns of at most :data:`BATCH` vectors, fence.
        cells: state [C * R], changed in place; without write noise both weights may be one array.
        law: see :meth:`clnf.devices.response.Response.law`.
        table: what :func:`clnf.devices.pulses.traits` gave for these cells.
        draw_key: six words for cycle, write-noise and fence draws.

    Returns:
        Pulses applied, energy in aJ, longest sum of coincidences at one cell.
    """
    wide = _I(trains.fence.shape[1])
    starts, lists = sort_rows(trains.rows)
    tally, work = np.zeros(wide, np.int32), np.zeros(_WORK, _F)
    job, room = _Job(trains, cells, law, table), wide + _LANES
    touched = _Touched(np.empty(room, np.uint64), np.empty(room, np.int32))
    count, energy, longest, filled = np.int64(0), np.int64(0), np.int32(0), _I(0)
    last = _I(trains.fence.shape[0]) - _I(1)
    for c in range(last + _I(1)):
        if count_column(tally, c, trains, starts, lists) != 0:
            filled = _gather(tally, (c * wide, wide), touched, filled)
        left = _I(0)
        while filled - left >= _LANES or (c == last and filled > left):
            size = min(_LANES, filled - left)
            pulsed, spent, top = _block(work, job, touched, (left, size), draw_key)
            count, energy, longest = count + pulsed, energy + spent, max(longest, top)
            left += size
        for k in range(filled - left):
            touched.index[k] = touched.index[left + k]
            touched.counts[k] = touched.counts[left + k]
        filled -= left
    return count, energy, longest
