"""Stochastic pulse trains: the outer product of two vectors as coincidences of random bits.

Each row and each column sends a train of BL random bits; where both are set, the cell between
them gets a pulse. With bit probabilities px = kx |x| and pd = kd |d| and kx kd = lr/(eps BL)
the mean weight change is -lr d x.

All coincidences of one vector at one cell are one draw. With a the part of the way to where
steps vanish that one pulse covers and k = 1 - a, n pulses leave on average k^n of that way, which
is exact, with the spread

    c a sqrt(n (k^2 + a^2 c^2 / 2)^(n-1))

which is exact for one and two pulses and to the square of (a c / k)^2 beyond. The clip to the
bounds comes once, after the n pulses. One draw at a time, see ``pulses.pulse_cell``.

Source: Gokmen & Vlasov, Front. Neurosci. 2016; kx : kd balanced as in Gokmen et al. 2017.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from clnf.devices.block_passes import Fixed, Vectors, line
from clnf.devices.kernels import word
from clnf.devices.pulses import Cells
from clnf.devices.sixteen import WIDTH

__all__ = ["Trains", "encode", "pulse_outer"]

_F = np.float32
_U = np.uint32
_I = np.uintp
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


@njit(nogil=True, cache=True)
def _meeting(words: NDArray[np.uint32], v_words: Vectors, column: int) -> int:
    """Gather the vectors whose train on this column has a bit; returns their number."""
    active = 0
    for v in range(words.shape[0]):
        word = words[v, column]
        if _U(word & _TRAIN) != _U(0):
            v_words.which[active], v_words.words[active] = v, word
            active += 1
    return active


@njit(nogil=True, cache=True)
def _rest(
    vectors: Vectors,
    cells: Cells,
    fixed: Fixed,
    law: NDArray[np.float32],
    draw_key: NDArray[np.uint32],
    place: tuple[int, int, int, int],
) -> tuple[int, int, int]:
    """The last cells of a column, fewer than sixteen, in a group filled up with cells at rest."""
    size, active, start, index = place
    table, fence, fenced = fixed
    state, worn = np.zeros((2, WIDTH), _F), np.zeros(WIDTH, np.int32)
    few, share = np.zeros((4, WIDTH), _F), np.ones(WIDTH, _F)
    for k in range(size):
        state[0, k], state[1, k] = cells.hidden[start + k], cells.seen[start + k]
        share[k] = fence[start + k]
        for row in range(4):
            few[row, k] = table[row, start + k if table.shape[1] > 1 else 0]
    part = Cells(state[0], state[1], worn)
    own = Fixed(few, share, fenced)
    done = line(vectors, part, own, law, draw_key, (1, active, 0, 0, index))
    for k in range(size):
        cells.hidden[start + k] = state[0, k]
        cells.seen[start + k] = state[1, k]
        cells.wear[start + k] += worn[k]
    return done


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
    wide, count = fence.shape[1], rows.shape[0]
    fixed = Fixed(table, fence.reshape(-1), fenced)
    vectors = Vectors(rows, np.empty(count, _U), np.empty(count, _U))
    groups = wide // WIDTH
    rest = wide - groups * WIDTH
    last = np.zeros((count, WIDTH), _U)
    last[:, :rest] = rows[:, groups * WIDTH :]
    ends = Vectors(last, vectors.which, vectors.words)
    pulsed, energy, longest = np.int64(0), np.int64(0), np.int64(0)
    for c in range(columns.shape[1]):
        active = _meeting(columns, vectors, c)
        if active == 0:
            continue
        start = c * wide
        place = groups, active, 0, start, first + start
        one, cost, top = line(vectors, cells, fixed, law, draw_key, place)
        pulsed, energy, longest = pulsed + one, energy + cost, max(longest, np.int64(top))
        if rest:
            start += groups * WIDTH
            end = rest, active, start, first + start
            one, cost, top = _rest(ends, cells, fixed, law, draw_key, end)
            pulsed, energy, longest = pulsed + one, energy + cost, max(longest, np.int64(top))
    return pulsed, energy, longest
