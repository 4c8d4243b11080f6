"""Stochastic pulse trains: the outer product of two vectors as coincidences of random bits.

Each row and each column sends a train of BL random bits; where both are set, the cell between
them gets a pulse. With bit probabilities px = kx |x| and pd = kd |d| and kx kd = lr/(eps BL)
the mean weight change is -lr d x.

Source: Gokmen & Vlasov, Front. Neurosci. 2016; kx : kd balanced as in Gokmen et al. 2017.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from clnf.devices.kernels import Cells, cell_traits, gauss4, gauss8, uniform, word

__all__ = ["Trains", "encode", "outer_table", "pulse_outer"]

_F = np.float32
_U = np.uint32
_STRIDE = _U(0x9E3779B9)
# Cells handled together, and the lines of their work array after the table's six.
_LANES = 64
_W, _HITS, _SIGN, _TOTAL = (line * _LANES for line in (6, 7, 8, 9))


class Trains(NamedTuple):
    """Bits of rows and columns, their signs, the fence, and the first cell's index.

    Shapes: ``row_bits`` uint32 [N, R], ``row_sign`` float32 [N, R], ``column_bits`` uint32
    [N, C], ``column_sign`` float32 [N, C], ``fence`` float32 [C, R].
    """

    row_bits: Any
    row_sign: Any
    column_bits: Any
    column_sign: Any
    fence: Any
    first: int


@njit(nogil=True, cache=True)
def encode(
    probability: NDArray[np.float32], length: int, key: NDArray[np.uint32], bits: NDArray[np.uint32]
) -> None:
    """Draw ``length`` <= 32 bits, each set with the given probability, into ``bits`` [N, M]."""
    for n in range(probability.shape[0]):
        for m in range(probability.shape[1]):
            limit = _U(min(probability[n, m], _F(1.0)) * _F(2.0**24))
            base = _U(_U(n * probability.shape[1] + m) * _U(32))
            value = _U(0)
            for b in range(length):
                draw = _U(word(_U(base + _U(b)), key[0], key[1]) >> _U(8))
                value = _U(value | _U(_U(draw < limit) << _U(b)))
            bits[n, m] = value


@njit(inline="always")
def _count(x: int) -> int:
    x = _U(x - _U(_U(x >> _U(1)) & _U(0x55555555)))
    x = _U(_U(x & _U(0x33333333)) + _U(_U(x >> _U(2)) & _U(0x33333333)))
    x = _U(_U(x + _U(x >> _U(4))) & _U(0x0F0F0F0F))
    return _U(_U(x * _U(0x01010101)) >> _U(24))


@njit(inline="always")
def _power(log: float) -> float:
    """exp(log) for log <= 0: fifth-order series at log/16, then four squarings."""
    y = max(log, _F(-40.0)) * _F(1.0 / 16.0)
    p = _F(1.0 / 120.0)
    p = p * y + _F(1.0 / 24.0)
    p = p * y + _F(1.0 / 6.0)
    p = p * y + _F(0.5)
    p = p * y + _F(1.0)
    p = p * y + _F(1.0)
    p *= p
    p *= p
    p *= p
    p *= p
    return p


@njit(inline="always")
def _power_minus_one(log: float) -> float:
    """exp(log) - 1 for log >= 0 without cancellation: series, then e(2y) = e(y) (e(y) + 2)."""
    y = min(log, _F(60.0)) * _F(1.0 / 16.0)
    p = _F(1.0 / 720.0)
    p = p * y + _F(1.0 / 120.0)
    p = p * y + _F(1.0 / 24.0)
    p = p * y + _F(1.0 / 6.0)
    p = p * y + _F(0.5)
    p = (p * y + _F(1.0)) * y
    p *= p + _F(2.0)
    p *= p + _F(2.0)
    p *= p + _F(2.0)
    p *= p + _F(2.0)
    return p


@njit(inline="always")
def _logs(step: float, bound: float, cycle: float) -> tuple[float, float]:
    """Logarithms of one pulse's mean factor m and of 1 + variance / m^2.

    A step of more than 98 % of the way to the bound counts as 98 %.
    """
    size = abs(bound)
    a = _F(0.98) if step >= _F(0.98) * size else step / size
    ratio = (a * cycle) / (_F(1.0) - a)
    return np.log1p(-a), np.log1p(ratio * ratio)


@njit(nogil=True, cache=True)
def outer_table(
    law: NDArray[np.float32], key: NDArray[np.uint32], first: int, table: NDArray[np.float32]
) -> None:
    """Fill ``table`` [6, M]: bounds of cells ``first ...``, then pulse logs up and down.

    It holds nothing but functions of (law, key, cell); keeping it saves most of the time of
    :func:`pulse_outer` for few vectors.
    """
    for i in range(table.shape[1]):
        up, down, upper, lower = cell_traits(_U(first + i), law, key)
        table[0, i], table[1, i] = upper, lower
        table[2, i], table[3, i] = _logs(up, upper, law[8])
        table[4, i], table[5, i] = _logs(down, lower, law[8])
        if up == _F(0.0):
            table[2:, i] = _F(0.0)


@njit(inline="always")
def _lanes(work: NDArray[np.float32], base: int, key0: int, key1: int) -> None:
    """One vector's coincidences at a fixed number of cells, all state in one array.

    Constant offsets into one array let the compiler vectorise without alias checks.
    """
    for r in range(_LANES):
        n, w = work[_HITS + r], work[_W + r]
        high, low = work[r], work[_LANES + r]
        log_up, log2_up = work[2 * _LANES + r], work[3 * _LANES + r]
        log_down, log2_down = work[4 * _LANES + r], work[5 * _LANES + r]
        up = work[_SIGN + r] > _F(0.0)
        bound = high if up else low
        mean = _power(n * (log_up if up else log_down))
        spread = mean * np.sqrt(_power_minus_one(n * (log2_up if up else log2_down)))
        draw = gauss4(_U(base + _U(r)), key0, key1)
        value = bound - (bound - w) * (mean - spread * draw)
        work[_W + r] = min(max(value, low), high)
        work[_TOTAL + r] += n


@njit(inline="always")
def _stands(fence: NDArray[np.float32]) -> bool:
    """Whether a fence keeps any pulse from these cells; asked once, as mostly none does."""
    shut = 0
    for r in range(fence.shape[0]):
        shut += fence[r] < _F(1.0)
    return shut > 0


@njit(nogil=True, cache=True)
def pulse_outer(
    trains: Trains,
    cells: Cells,
    law: NDArray[np.float32],
    table: NDArray[np.float32],
    draw_key: NDArray[np.uint32],
) -> tuple[int, int, int]:
    """Apply all vectors' coincidences to the cells [C, R], one vector after the other.

    All coincidences of one vector at one cell are one draw with their exact mean and variance
    (see ``kernels.pulse_cell``). A row with sign s and a column with sign t move the weight
    by -s t. Write noise is drawn once at the end; energy uses the conductance seen before.

    Args:
        trains: bits, signs, fence.
        cells: state [C * R], changed in place.
        law: the cell law, see ``SoftBounds.law``.
        table: from :func:`outer_table`.
        draw_key: six words for cycle, write-noise and fence draws.

    Returns:
        Pulses applied, energy in aJ, longest sum of coincidences at one cell.
    """
    vectors, columns, rows = trains.row_bits.shape[0], *trains.fence.shape
    count, energy, longest = 0, 0, 0
    work = np.zeros(10 * _LANES, _F)
    for c in range(columns):
        for left in range(0, rows, _LANES):
            size, start = min(_LANES, rows - left), c * rows + left
            fenced = _stands(trains.fence[c, left : left + size])
            for r in range(size):
                for line in range(6):
                    work[line * _LANES + r] = table[line, start + r]
                work[_W + r] = cells.hidden[start + r]
                work[_TOTAL + r] = _F(0.0)
            for v in range(vectors):
                column_bits = trains.column_bits[v, c]
                if column_bits == _U(0):
                    continue
                for r in range(size):
                    both = _U(trains.row_bits[v, left + r] & column_bits)
                    work[_HITS + r] = _F(np.int32(_count(both)))
                    work[_SIGN + r] = -trains.column_sign[v, c] * trains.row_sign[v, left + r]
                shift = _U(_U(v) * _STRIDE)
                key0, key1 = _U(draw_key[4] ^ shift), draw_key[5]
                for r in range(size if fenced else 0):
                    if trains.fence[c, left + r] < _F(1.0):
                        draw = uniform(_U(trains.first + start + r), key0, key1)
                        part = work[_HITS + r] * trains.fence[c, left + r]
                        work[_HITS + r] = np.floor(part + draw)
                _lanes(work, _U(trains.first + start), _U(draw_key[0] ^ shift), draw_key[1])
            for r in range(size):
                n = np.int64(work[_TOTAL + r])
                if n == 0:
                    continue
                at = start + r
                each = np.rint(max(law[11] + law[12] * (cells.seen[at] + _F(1.0)), _F(0.0)))
                count += n
                energy += n * np.int64(each)
                longest = max(longest, n)
                cells.wear[at] += n
                if work[2 * _LANES + r] != _F(0.0):
                    noise = gauss8(_U(trains.first + at), draw_key[2], draw_key[3])
                    cells.hidden[at] = work[_W + r]
                    cells.seen[at] = work[_W + r] + law[9] * noise
    return count, energy, longest
