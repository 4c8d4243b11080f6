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

from clnf.devices.block_passes import HITS, LANES, SIGN, WORK, load, move, prepare, store, wear
from clnf.devices.kernels import uniform, word
from clnf.devices.pulses import Cells

__all__ = ["Trains", "encode", "pulse_outer"]

_F = np.float32
_U = np.uint32
_STRIDE = _U(0x9E3779B9)
_TRAIN, _SIGNED = _U(0x7FFFFFFF), _U(0x80000000)


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
        work[HITS + r] = _F(count)
        work[SIGN + r] = _F(1.0) if _U(_U(row ^ column) & _SIGNED) != _U(0) else _F(-1.0)
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
        work[HITS + r] = np.floor(work[HITS + r] * fence[c, left + r] + draw)


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
    hidden, seen, worn = cells
    work, hits = np.zeros(WORK, _F), np.zeros(512, np.int32)
    energy, count, longest = np.zeros(512, np.int64), np.int64(0), np.int32(0)
    wide = np.uintp(fence.shape[1])
    for c in range(np.uintp(fence.shape[0])):
        for block in range((wide + LANES - np.uintp(1)) // LANES):
            left = block * LANES
            size, start = min(LANES, wide - left), c * wide + left
            base = _U(_U(first) + _U(start))
            load(work, table, hidden, start, size)
            prepare(work, law, size)
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
                move(work, law, some, (base, size), (_U(draw_key[0] ^ shift), draw_key[1]))
            pulsed, top = wear(work, energy, law, seen, worn, (start, size))
            count, longest = count + pulsed, max(longest, top)
            if top > 0:
                store(work, hidden, seen, law, draw_key, (base, start, size))
    return count, energy.sum(), longest
