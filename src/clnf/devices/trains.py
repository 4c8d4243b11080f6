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

import numpy as np
from numba import njit
from numpy.typing import NDArray

from clnf.devices.block_passes import Trains, sweep
from clnf.devices.kernels import word
from clnf.devices.pulses import Cells
from clnf.devices.sixteen import WIDTH

__all__ = ["Trains", "encode", "pulse_outer"]

_F = np.float32
_U = np.uint32
_TRAIN, _SIGNED = _U(0x7FFFFFFF), _U(0x80000000)


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


@njit(nogil=True, cache=True)
def _fill(
    trains: Trains, cells: Cells, table: NDArray[np.float32], column: int
) -> tuple[Trains, Cells, NDArray[np.float32]]:
    """The last cells of a column, fewer than sixteen, filled up with cells that never move."""
    rows, columns, fence, fenced, first = trains
    vectors, wide = rows.shape[0], fence.shape[1]
    left = wide // WIDTH * WIDTH
    start, size = column * wide + left, wide - left
    # Loops, not slices: what numpy's assignment checks takes seconds to compile.
    words, own = np.zeros((vectors, WIDTH), _U), np.empty((vectors, 1), _U)
    for v in range(vectors):
        own[v, 0] = columns[v, column]
        for k in range(size):
            words[v, k] = rows[v, left + k]
    share, few = np.ones((1, WIDTH), _F), np.zeros((4, WIDTH), _F)
    hidden, seen = np.zeros(WIDTH, _F), np.zeros(WIDTH, _F)
    for k in range(size):
        share[0, k] = fence[column, left + k]
        hidden[k], seen[k] = cells.hidden[start + k], cells.seen[start + k]
        for row in range(4):
            few[row, k] = table[row, start + k if table.shape[1] > 1 else 0]
    part = Trains(words, own, share, fenced, first + start)
    return part, Cells(hidden, seen, np.zeros(WIDTH, cells.wear.dtype)), few


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
        table: what :func:`clnf.devices.pulses.traits` gave, [4, 1] where all cells are alike.
        draw_key: six words for cycle, write-noise and fence draws.

    Returns:
        Pulses applied, energy in aJ, longest sum of coincidences at one cell.
    """
    wide = trains.fence.shape[1]
    size = wide % WIDTH
    pulsed, energy, longest = sweep(trains, cells, law, table, draw_key)
    if size == 0:
        return pulsed, energy, longest
    for c in range(trains.columns.shape[1]):
        part, own, few = _fill(trains, cells, table, c)
        more = sweep(part, own, law, few, draw_key)
        start = (c + 1) * wide - size
        for k in range(size):
            cells.hidden[start + k], cells.seen[start + k] = own.hidden[k], own.seen[k]
            cells.wear[start + k] += own.wear[k]
        pulsed, energy, longest = pulsed + more[0], energy + more[1], max(longest, more[2])
    return pulsed, energy, longest
