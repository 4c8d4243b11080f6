"""Passes over a block of cells, by which :mod:`clnf.devices.trains` works on whole vectors.

All state of a block lies in one array at constant offsets, so the compiler knows that nothing
overlaps. A pass is a loop over the block's cells without a branch.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from clnf.devices import pulses
from clnf.devices.kernels import gauss4, gauss8
from clnf.devices.pulses import pulse_cell

__all__ = ["HITS", "LANES", "SIGN", "WORK", "load", "move", "prepare", "store", "wear"]

_F = np.float32
_U = np.uint32
# Indices without a sign: a signed one might count from an array's end, and the question which,
# asked for each cell, would keep the loops below from working on whole vectors.
_I = np.uintp
# Cells handled together, and the lines of their work array.
LANES = _I(512)
_STEP_UP, _STEP_DOWN, _HIGH, _LOW, _W, HITS, SIGN, _TOTAL, _NET, _UP, _DOWN, _TO_UP, _TO_DOWN = (
    _I(line) * LANES for line in range(13)
)
WORK = 13 * 512


@njit(nogil=True, cache=True)
def prepare(work: NDArray[np.float32], law: NDArray[np.float32], size: int) -> None:
    """Part of the way that one pulse covers, and where the way ends; plain steps if constant."""
    slope_up, slope_down = law[pulses.SHAPE_UP], law[pulses.SHAPE_DOWN]
    for r in range(size):
        work[_UP + r] = work[_STEP_UP + r]
        work[_DOWN + r] = work[_STEP_DOWN + r]
    if slope_up == _F(0.0) or slope_down == _F(0.0):
        return
    for r in range(size):
        high, low = work[_HIGH + r], work[_LOW + r]
        most_up, most_down = max(abs(high), _F(1e-30)), max(abs(low), _F(1e-30))
        work[_UP + r] = min(work[_UP + r] * slope_up / most_up, _F(1.0))
        work[_DOWN + r] = min(work[_DOWN + r] * slope_down / most_down, _F(1.0))
        work[_TO_UP + r] = high / slope_up
        work[_TO_DOWN + r] = low / slope_down


@njit(nogil=True, cache=True)
def _constant(
    work: NDArray[np.float32], cycle: float, base: int, keys: tuple[int, int], size: int
) -> None:
    """One vector's coincidences where a step has the same size everywhere."""
    for r in range(size):
        n, w, up, down = work[HITS + r], work[_W + r], work[_UP + r], work[_DOWN + r]
        step = up if work[SIGN + r] > _F(0.0) else -down
        moved = step * (n + cycle * (np.sqrt(n) * gauss4(_U(base + _U(r)), keys[0], keys[1])))
        work[_W + r] = min(max(w + moved, work[_LOW + r]), work[_HIGH + r])


@njit(nogil=True, cache=True)
def _once(
    work: NDArray[np.float32], cycle: float, base: int, keys: tuple[int, int], size: int
) -> None:
    """One vector's coincidences where no cell has more than one, steps falling linearly."""
    for r in range(size):
        n, w = work[HITS + r], work[_W + r]
        up, down = work[_UP + r], work[_DOWN + r]
        to_up, to_down = work[_TO_UP + r], work[_TO_DOWN + r]
        rising = work[SIGN + r] > _F(0.0)
        part = n * (up if rising else down)
        way = (to_up if rising else to_down) - w
        moved = way * (part * (_F(1.0) + cycle * gauss4(_U(base + _U(r)), keys[0], keys[1])))
        work[_W + r] = min(max(w + moved, work[_LOW + r]), work[_HIGH + r])


# Powers by squaring, written out: a loop would stand in the way of whole vectors.
@njit(inline="always")
def _to_three(x: float, n: int) -> float:
    """x^n for n in 0 ... 3."""
    y = x if (n & 1) > 0 else _F(1.0)
    return y * (x * x if (n & 2) > 0 else _F(1.0))


@njit(inline="always")
def _to_thirty_one(x: float, n: int) -> float:
    """x^n for n in 0 ... 31."""
    y = x if (n & 1) > 0 else _F(1.0)
    x = x * x
    y *= x if (n & 2) > 0 else _F(1.0)
    x = x * x
    y *= x if (n & 4) > 0 else _F(1.0)
    x = x * x
    y *= x if (n & 8) > 0 else _F(1.0)
    x = x * x
    return y * (x if (n & 16) > 0 else _F(1.0))


# The part of a way that n pulses cover, each a part a of what is left: 1 - (1 - a)^n, doubled and
# joined in parts so that a small a loses no digits.
@njit(inline="always")
def _part_of_three(a: float, n: int) -> float:
    """1 - (1 - a)^n for n in 0 ... 3."""
    y = a if (n & 1) > 0 else _F(0.0)
    a = a * (_F(2.0) - a)
    return y + a * (_F(1.0) - y) if (n & 2) > 0 else y


@njit(inline="always")
def _part_of_thirty_one(a: float, n: int) -> float:
    """1 - (1 - a)^n for n in 0 ... 31."""
    y = a if (n & 1) > 0 else _F(0.0)
    a = a * (_F(2.0) - a)
    y = y + a * (_F(1.0) - y) if (n & 2) > 0 else y
    a = a * (_F(2.0) - a)
    y = y + a * (_F(1.0) - y) if (n & 4) > 0 else y
    a = a * (_F(2.0) - a)
    y = y + a * (_F(1.0) - y) if (n & 8) > 0 else y
    a = a * (_F(2.0) - a)
    return y + a * (_F(1.0) - y) if (n & 16) > 0 else y


@njit(nogil=True, cache=True)
def _few(
    work: NDArray[np.float32], cycle: float, base: int, keys: tuple[int, int], size: int
) -> None:
    """One vector's coincidences, at most three a cell, steps falling linearly."""
    for r in range(size):
        n, w = work[HITS + r], work[_W + r]
        up, down = work[_UP + r], work[_DOWN + r]
        to_up, to_down = work[_TO_UP + r], work[_TO_DOWN + r]
        rising = work[SIGN + r] > _F(0.0)
        part = up if rising else down
        way = (to_up if rising else to_down) - w
        more = np.int32(max(n - _F(1.0), _F(0.0)))
        keep, noise = _F(1.0) - part, part * cycle
        covered = _part_of_three(part, np.int32(n))
        square = n * _to_three(keep * keep + _F(0.5) * (noise * noise), more)
        draw = gauss4(_U(base + _U(r)), keys[0], keys[1])
        moved = way * (covered + noise * (np.sqrt(square) * draw))
        work[_W + r] = min(max(w + moved, work[_LOW + r]), work[_HIGH + r])


@njit(nogil=True, cache=True)
def _many(
    work: NDArray[np.float32], cycle: float, base: int, keys: tuple[int, int], size: int
) -> None:
    """One vector's coincidences, any number, steps falling linearly."""
    for r in range(size):
        n, w = work[HITS + r], work[_W + r]
        up, down = work[_UP + r], work[_DOWN + r]
        to_up, to_down = work[_TO_UP + r], work[_TO_DOWN + r]
        rising = work[SIGN + r] > _F(0.0)
        part = up if rising else down
        way = (to_up if rising else to_down) - w
        more = np.int32(max(n - _F(1.0), _F(0.0)))
        keep, noise = _F(1.0) - part, part * cycle
        covered = _part_of_thirty_one(part, np.int32(n))
        square = n * _to_thirty_one(keep * keep + _F(0.5) * (noise * noise), more)
        draw = gauss4(_U(base + _U(r)), keys[0], keys[1])
        moved = way * (covered + noise * (np.sqrt(square) * draw))
        work[_W + r] = min(max(w + moved, work[_LOW + r]), work[_HIGH + r])


@njit(nogil=True, cache=True)
def _curved(
    work: NDArray[np.float32],
    law: NDArray[np.float32],
    base: int,
    keys: tuple[int, int],
    size: int,
) -> None:
    """One vector's coincidences for any other law of steps, cell by cell."""
    for r in range(size):
        n = np.int32(work[HITS + r])
        if n > 0 and work[_STEP_UP + r] > _F(0.0):
            steps = work[_STEP_UP + r], work[_STEP_DOWN + r]
            cell = steps[0], steps[1], work[_HIGH + r], work[_LOW + r]
            n = n if work[SIGN + r] > _F(0.0) else -n
            place = _U(base + _U(r)), keys[0], keys[1]
            draw = gauss4(place[0], place[1], place[2])
            work[_W + r] = pulse_cell(work[_W + r], n, cell, law, draw, place)


@njit(nogil=True, cache=True)
def move(
    work: NDArray[np.float32],
    law: NDArray[np.float32],
    some: int,
    place: tuple[int, int],
    keys: tuple[int, int],
) -> None:
    """One vector's coincidences at a block of cells, by the cheapest way there is."""
    (base, size), cycle = place, law[pulses.CYCLE]
    if law[pulses.KIND] != pulses.LINEAR:
        _curved(work, law, base, keys, size)
    elif law[pulses.SHAPE_UP] == _F(0.0) or law[pulses.SHAPE_DOWN] == _F(0.0):
        _constant(work, cycle, base, keys, size)
    elif some == 1:
        _once(work, cycle, base, keys, size)
    elif some <= 3:
        _few(work, cycle, base, keys, size)
    else:
        _many(work, cycle, base, keys, size)
    for r in range(size):
        work[_TOTAL + r] += work[HITS + r]
        work[_NET + r] += work[SIGN + r] * work[HITS + r]


@njit(nogil=True, cache=True)
def load(
    work: NDArray[np.float32],
    table: NDArray[np.float32],
    hidden: NDArray[np.float32],
    start: int,
    size: int,
) -> None:
    """Take a block of cells in, with no pulses so far."""
    for r in range(size):
        work[_STEP_UP + r] = table[_I(0), start + r]
        work[_STEP_DOWN + r] = table[_I(1), start + r]
        work[_HIGH + r] = table[_I(2), start + r]
        work[_LOW + r] = table[_I(3), start + r]
        work[_W + r] = hidden[start + r]
    for r in range(size):
        work[_TOTAL + r] = _F(0.0)
        work[_NET + r] = _F(0.0)


@njit(nogil=True, cache=True)
def wear(
    work: NDArray[np.float32],
    energy: NDArray[np.int64],
    law: NDArray[np.float32],
    seen: NDArray[np.float32],
    worn: NDArray[np.int32],
    place: tuple[int, int],
) -> tuple[int, int]:
    """Count a block's pulses, wear its cells and add up energy; returns sum and largest."""
    base, slope, down = law[pulses.ENERGY], law[pulses.ENERGY_SLOPE], law[pulses.ENERGY_DOWN]
    start, size = place
    count, most = np.int32(0), np.int32(0)
    for r in range(size):
        each = base + slope * (seen[start + r] + _F(1.0))
        each = max(each, _F(0.0))
        ups = _F(0.5) * (work[_TOTAL + r] + work[_NET + r])
        downs = work[_TOTAL + r] - ups
        raised = np.float64(ups) * np.rint(np.float64(each))
        energy[r] += np.int64(raised + np.float64(downs) * np.rint(np.float64(each * down)))
    for r in range(size):
        n = np.int32(work[_TOTAL + r])
        worn[start + r] += n
        count += n
        most = max(most, n)
    return count, most


@njit(nogil=True, cache=True)
def store(
    work: NDArray[np.float32],
    hidden: NDArray[np.float32],
    seen: NDArray[np.float32],
    law: NDArray[np.float32],
    draw_key: NDArray[np.uint32],
    place: tuple[int, int, int],
) -> None:
    """Write a block's cells back; a dead cell stays where it is stuck."""
    base, start, size = place
    noise = law[pulses.WRITE_NOISE]
    if noise == _F(0.0):
        for r in range(size):
            hidden[start + r] = work[_W + r]
            seen[start + r] = work[_W + r] if work[_TOTAL + r] > _F(0.0) else seen[start + r]
        return
    for r in range(size):
        drawn = work[_W + r] + noise * gauss8(_U(base + _U(r)), draw_key[2], draw_key[3])
        before = seen[start + r]
        moves = work[_TOTAL + r] > _F(0.0) and work[_STEP_UP + r] > _F(0.0)
        seen[start + r] = drawn if moves else before
        hidden[start + r] = work[_W + r]
