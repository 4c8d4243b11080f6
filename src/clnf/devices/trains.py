"""Stochastic pulse trains: the outer product of two vectors as coincidences of random bits.

Each row and each column sends a train of BL random bits; where both are set, the cell between
them gets a pulse. With bit probabilities px = kx |x| and pd = kd |d| and kx kd = lr/(eps BL)
the mean weight change is -lr d x.

Where steps fall linearly, all coincidences of one vector at one cell are one draw. With a the part
of the way to where steps vanish that one pulse covers and k = 1 - a, n pulses leave on average k^n
of that way, which is exact, with the spread

    c a sqrt(n (k^2 + a^2 c^2 / 2)^(n-1))

which is exact for one and two pulses and to the square of (a c / k)^2 beyond. The clip to the
bounds comes once, after the n pulses. Other laws than the linear one take one step after the other,
see ``pulses.pulse_cell``.

Source: Gokmen & Vlasov, Front. Neurosci. 2016; kx : kd balanced as in Gokmen et al. 2017.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from clnf.devices import pulses
from clnf.devices.kernels import gauss4, gauss8, uniform, word
from clnf.devices.pulses import Cells, pulse_cell

__all__ = ["Trains", "encode", "pulse_outer"]

_F = np.float32
_U = np.uint32
_STRIDE = _U(0x9E3779B9)
_TRAIN, _SIGNED = _U(0x7FFFFFFF), _U(0x80000000)
# Indices without a sign: a signed one might count from an array's end, and the question which,
# asked for each cell, would keep the loops below from working on whole vectors.
_I = np.uintp
# Cells handled together, and the lines of their work array.
_LANES = _I(512)
_STEP_UP, _STEP_DOWN, _HIGH, _LOW, _W, _HITS, _SIGN, _TOTAL, _NET, _UP, _DOWN, _TO_UP, _TO_DOWN = (
    _I(line) * _LANES for line in range(13)
)
_WORK = 13 * 512


class Trains(NamedTuple):
    """Trains of rows and columns, the fence, whether it shuts, and the first cell's index.

    Shapes: ``rows`` uint32 [N, R], ``columns`` uint32 [N, C], ``fence`` float32 [C, R]. Bits 0 to
    30 of a word are a train, bit 31 is set where its value is negative.
    """

    rows: Any
    columns: Any
    fence: Any
    fenced: bool
    first: int


@njit(nogil=True, cache=True)
def encode(
    value: NDArray[np.float32], length: int, key: NDArray[np.uint32], words: NDArray[np.uint32]
) -> None:
    """Draw trains of ``length`` <= 31 bits into ``words`` [N, M].

    Each bit is set with the probability ``|value|`` (1 and more: always).
    """
    for n in range(value.shape[0]):
        for m in range(value.shape[1]):
            limit = _U(min(abs(value[n, m]), _F(1.0)) * _F(2.0**24))
            base = _U(_U(n * value.shape[1] + m) * _U(32))
            train = _U(0)
            for b in range(length):
                draw = _U(word(_U(base + _U(b)), key[0], key[1]) >> _U(8))
                train = _U(train | _U(_U(draw < limit) << _U(b)))
            words[n, m] = _U(train | _SIGNED) if value[n, m] < _F(0.0) else train


@njit(inline="always")
def _count(x: int) -> int:
    x = _U(x - _U(_U(x >> _U(1)) & _U(0x55555555)))
    x = _U(_U(x & _U(0x33333333)) + _U(_U(x >> _U(2)) & _U(0x33333333)))
    x = _U(_U(x + _U(x >> _U(4))) & _U(0x0F0F0F0F))
    return _U(_U(x * _U(0x01010101)) >> _U(24))


# The passes below work on a block of cells. All their state lies in one array at constant
# offsets, so the compiler knows that nothing overlaps and works on whole vectors.


@njit(nogil=True, cache=True)
def _prepare(work: NDArray[np.float32], law: NDArray[np.float32], size: int) -> None:
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
        n, w, up, down = work[_HITS + r], work[_W + r], work[_UP + r], work[_DOWN + r]
        size = up if work[_SIGN + r] > _F(0.0) else -down
        moved = size * (n + cycle * (np.sqrt(n) * gauss4(_U(base + _U(r)), keys[0], keys[1])))
        work[_W + r] = min(max(w + moved, work[_LOW + r]), work[_HIGH + r])


@njit(nogil=True, cache=True)
def _once(
    work: NDArray[np.float32], cycle: float, base: int, keys: tuple[int, int], size: int
) -> None:
    """One vector's coincidences where no cell has more than one, steps falling linearly."""
    for r in range(size):
        n, w = work[_HITS + r], work[_W + r]
        up, down = work[_UP + r], work[_DOWN + r]
        to_up, to_down = work[_TO_UP + r], work[_TO_DOWN + r]
        rising = work[_SIGN + r] > _F(0.0)
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


@njit(nogil=True, cache=True)
def _few(
    work: NDArray[np.float32], cycle: float, base: int, keys: tuple[int, int], size: int
) -> None:
    """One vector's coincidences, at most three a cell, steps falling linearly."""
    for r in range(size):
        n, w = work[_HITS + r], work[_W + r]
        up, down = work[_UP + r], work[_DOWN + r]
        to_up, to_down = work[_TO_UP + r], work[_TO_DOWN + r]
        rising = work[_SIGN + r] > _F(0.0)
        part = up if rising else down
        way = (to_up if rising else to_down) - w
        more = np.int32(max(n - _F(1.0), _F(0.0)))
        keep, noise = _F(1.0) - part, part * cycle
        left = keep * _to_three(keep, more)
        square = n * _to_three(keep * keep + _F(0.5) * (noise * noise), more)
        draw = gauss4(_U(base + _U(r)), keys[0], keys[1])
        gone = (_F(1.0) - left) + noise * (np.sqrt(square) * draw)
        moved = way * (gone if n > _F(0.0) else _F(0.0))
        work[_W + r] = min(max(w + moved, work[_LOW + r]), work[_HIGH + r])


@njit(nogil=True, cache=True)
def _many(
    work: NDArray[np.float32], cycle: float, base: int, keys: tuple[int, int], size: int
) -> None:
    """One vector's coincidences, any number, steps falling linearly."""
    for r in range(size):
        n, w = work[_HITS + r], work[_W + r]
        up, down = work[_UP + r], work[_DOWN + r]
        to_up, to_down = work[_TO_UP + r], work[_TO_DOWN + r]
        rising = work[_SIGN + r] > _F(0.0)
        part = up if rising else down
        way = (to_up if rising else to_down) - w
        more = np.int32(max(n - _F(1.0), _F(0.0)))
        keep, noise = _F(1.0) - part, part * cycle
        left = keep * _to_thirty_one(keep, more)
        square = n * _to_thirty_one(keep * keep + _F(0.5) * (noise * noise), more)
        draw = gauss4(_U(base + _U(r)), keys[0], keys[1])
        gone = (_F(1.0) - left) + noise * (np.sqrt(square) * draw)
        moved = way * (gone if n > _F(0.0) else _F(0.0))
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
        n = np.int32(work[_HITS + r])
        if n > 0 and work[_STEP_UP + r] > _F(0.0):
            steps = work[_STEP_UP + r], work[_STEP_DOWN + r]
            cell = steps[0], steps[1], work[_HIGH + r], work[_LOW + r]
            n = n if work[_SIGN + r] > _F(0.0) else -n
            place = _U(base + _U(r)), keys[0], keys[1]
            draw = gauss4(place[0], place[1], place[2])
            work[_W + r] = pulse_cell(work[_W + r], n, cell, law, draw, place)


@njit(nogil=True, cache=True)
def _meet(
    work: NDArray[np.float32],
    hits: NDArray[np.int32],
    rows: NDArray[np.uint32],
    column: int,
    place: tuple[int, int, int],
) -> int:
    """Coincidences and direction of one vector at a block's cells; all counts or-ed together."""
    v, left, size = place
    for r in range(size):
        row = rows[v, left + r]
        count = np.int32(_count(_U(_U(row & column) & _TRAIN)))
        hits[r] = count
        work[_HITS + r] = _F(count)
        work[_SIGN + r] = _F(1.0) if _U(_U(row ^ column) & _SIGNED) != _U(0) else _F(-1.0)
    some = np.int32(0)
    for r in range(size):
        some = np.int32(some | hits[r])
    return some


@njit(nogil=True, cache=True)
def _shut(
    work: NDArray[np.float32],
    fence: NDArray[np.float32],
    place: tuple[int, int, int],
    base: int,
    keys: tuple[int, int],
) -> None:
    """Keep pulses from fenced cells, in proportion by stochastic rounding."""
    c, left, size = place
    for r in range(size):
        draw = uniform(_U(base + _U(r)), keys[0], keys[1])
        work[_HITS + r] = np.floor(work[_HITS + r] * fence[c, left + r] + draw)


@njit(nogil=True, cache=True)
def _move(
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
        work[_TOTAL + r] += work[_HITS + r]
        work[_NET + r] += work[_SIGN + r] * work[_HITS + r]


@njit(nogil=True, cache=True)
def pulse_outer(
    trains: Trains,
    cells: Cells,
    law: NDArray[np.float32],
    table: NDArray[np.float32],
    draw_key: NDArray[np.uint32],
) -> tuple[int, int, int]:
    """Apply all vectors' coincidences to the cells [C, R], one vector after the other.

    A row and a column of one sign move the weight down, of two signs up. Write noise is drawn
    once at the end; energy uses the conductance seen before.

    Args:
        trains: trains of rows and columns, fence.
        cells: state [C * R], changed in place; without write noise both weights may be one array.
        law: see :meth:`clnf.devices.response.Response.law`.
        table: what :func:`clnf.devices.pulses.traits` gave for these cells.
        draw_key: six words for cycle, write-noise and fence draws.

    Returns:
        Pulses applied, energy in aJ, longest sum of coincidences at one cell.
    """
    rows, columns, fence, fenced, first = trains
    hidden, seen, wear = cells
    work, hits = np.zeros(_WORK, _F), np.zeros(512, np.int32)
    energy, count, longest = np.zeros(512, np.int64), np.int64(0), np.int32(0)
    wide = _I(fence.shape[1])
    for c in range(_I(fence.shape[0])):
        for block in range((wide + _LANES - _I(1)) // _LANES):
            left = block * _LANES
            size, start = min(_LANES, wide - left), c * wide + left
            base = _U(_U(first) + _U(start))
            _load(work, table, hidden, start, size)
            _prepare(work, law, size)
            for v in range(rows.shape[0]):
                column = columns[v, c]
                some = _meet(work, hits, rows, column, (v, left, size)) if column else 0
                if some == 0:
                    continue
                shift = _U(_U(v) * _STRIDE)
                if fenced:
                    _shut(
                        work, fence, (c, left, size), base, (_U(draw_key[4] ^ shift), draw_key[5])
                    )
                _move(work, law, some, (base, size), (_U(draw_key[0] ^ shift), draw_key[1]))
            pulsed, top = _wear(work, energy, law, seen, wear, (start, size))
            count, longest = count + pulsed, max(longest, top)
            if top > 0:
                _store(work, hidden, seen, law, draw_key, (base, start, size))
    return count, energy.sum(), longest


@njit(nogil=True, cache=True)
def _load(
    work: NDArray[np.float32],
    table: NDArray[np.float32],
    hidden: NDArray[np.float32],
    start: int,
    size: int,
) -> None:
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
def _wear(
    work: NDArray[np.float32],
    energy: NDArray[np.int64],
    law: NDArray[np.float32],
    seen: NDArray[np.float32],
    wear: NDArray[np.int32],
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
        wear[start + r] += n
        count += n
        most = max(most, n)
    return count, most


@njit(nogil=True, cache=True)
def _store(
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
