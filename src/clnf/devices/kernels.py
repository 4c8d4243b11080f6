"""Counter-based random numbers and the pulse kernel, compiled (reference beside it).

Random numbers come from a keyed 32-bit hash of the cell's index, so a draw depends on
(key, index) only: any thread count and any split of the cells give the same bits. All
arithmetic is plain IEEE float32 in a fixed order (no contraction, no reassociation), which is
why :mod:`clnf.devices.reference` can agree bit for bit.

In Numba uint32 arithmetic promotes to uint64; each operation is cast back.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = [
    "Cells",
    "PulseJob",
    "cell_traits",
    "fill_gauss",
    "form",
    "gauss4",
    "gauss8",
    "pulse_cell",
    "pulse_cells",
    "uniform",
    "word",
]

_F = np.float32
_U = np.uint32
_BYTES = _U(0x00FF00FF)
# Standard deviation of a sum of n independent uniform bytes: sqrt(n (256^2 - 1) / 12).
_SCALE4 = _F(1.0 / np.sqrt(4 * 65535 / 12))
_SCALE8 = _F(1.0 / np.sqrt(8 * 65535 / 12))
_LOG2E, _LN2 = _F(1.4426950408889634), _F(0.6931471805599453)


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
def word(index: int, key0: int, key1: int) -> int:
    """Keyed 32-bit hash: a two-multiply mixer with the first key added, the second inside.

    The second key goes through the mixer itself, so close keys give unrelated numbers; the
    compiler lifts that out of loops. Mixer constants: C. Wellons, "Prospecting for hash
    functions" (lowbias32).
    """
    k = _U(key1)
    k = _U(_U(k ^ (k >> _U(16))) * _U(0x7FEB352D))
    k = _U(_U(k ^ (k >> _U(15))) * _U(0x846CA68B))
    k = _U(k ^ (k >> _U(16)))
    x = _U(_U(index) + key0)
    x = _U(x ^ (x >> _U(16)))
    x = _U(x * _U(0x7FEB352D))
    x = _U(_U(x ^ (x >> _U(15))) ^ k)
    x = _U(x * _U(0x846CA68B))
    return _U(x ^ (x >> _U(16)))


@njit(inline="always")
def uniform(index: int, key0: int, key1: int) -> float:
    """Uniform in [0, 1) with 24 bits."""
    return _F(_U(word(index, key0, key1) >> _U(8))) * _F(2.0**-24)


@njit(inline="always")
def gauss4(index: int, key0: int, key1: int) -> float:
    """Irwin-Hall normal of four bytes: |g| <= 3.46, enough ahead of an ADC."""
    x = word(index, key0, key1)
    s = _U(_U(x & _BYTES) + _U(_U(x >> _U(8)) & _BYTES))
    total = _U(_U(s & _U(0xFFFF)) + _U(s >> _U(16)))
    return _F(np.int32(total) - np.int32(510)) * _SCALE4


@njit(inline="always")
def gauss8(index: int, key0: int, key1: int) -> float:
    """Irwin-Hall normal of eight bytes: |g| <= 4.88, for cells and programming."""
    x = word(index, key0, key1)
    y = word(index, _U(key0 ^ _U(0x5BF03635)), _U(key1 ^ _U(0x9E3779B9)))
    s = _U(_U(x & _BYTES) + _U(_U(x >> _U(8)) & _BYTES))
    s = _U(s + _U(_U(y & _BYTES) + _U(_U(y >> _U(8)) & _BYTES)))
    total = _U(_U(s & _U(0xFFFF)) + _U(s >> _U(16)))
    return _F(np.int32(total) - np.int32(1020)) * _SCALE8


@njit(inline="always")
def _exp(x: float) -> float:
    """exp(x) for |x| < 60 from multiplications and additions only (about 2e-7 relative)."""
    n = np.rint(x * _LOG2E)
    f = x - n * _LN2
    p = _F(1.0 / 720.0)
    p = p * f + _F(1.0 / 120.0)
    p = p * f + _F(1.0 / 24.0)
    p = p * f + _F(1.0 / 6.0)
    p = p * f + _F(0.5)
    p = p * f + _F(1.0)
    p = p * f + _F(1.0)
    return _F(math.ldexp(p, np.int32(n)))


@njit(nogil=True, cache=True)
def fill_gauss(out: NDArray[np.float32], key: NDArray[np.uint32], first: int) -> None:
    """Fill ``out`` [M] with normals of cells ``first ...`` under a key of two words."""
    for i in range(out.shape[0]):
        out[i] = gauss8(_U(first + i), key[0], key[1])


@njit(inline="always")
def cell_traits(
    cell: int, law: NDArray[np.float32], key: NDArray[np.uint32]
) -> tuple[float, float, float, float]:
    """Step up, step down, upper and lower bound of one cell, from its index and the key.

    ``law`` is :meth:`clnf.devices.soft_bounds.SoftBounds.law`. A dead cell has no step and
    both bounds at the value it is stuck at.
    """
    gain = _exp(law[4] * gauss8(cell, key[0], key[1]) + law[5])
    upper = abs(law[2] + law[2] * (law[6] * gauss8(cell, key[2], key[3])))
    lower = -abs(law[3] + law[3] * (law[7] * gauss8(cell, key[4], key[5])))
    if uniform(cell, key[6], key[7]) < law[10]:
        stuck = lower + (upper - lower) * uniform(cell, key[7], key[6])
        return _F(0.0), _F(0.0), stuck, stuck
    return law[0] * gain, law[1] * gain, upper, lower


@njit(nogil=True, cache=True)
def form(
    cells: Cells,
    law: NDArray[np.float32],
    traits_key: NDArray[np.uint32],
    key: NDArray[np.uint32],
) -> None:
    """Put cells 0 ... M-1 in their first state: at 0, or stuck, with one draw of write noise."""
    for i in range(cells.hidden.shape[0]):
        up, _, upper, lower = cell_traits(_U(i), law, traits_key)
        w = min(max(_F(0.0), lower), upper)
        noise = law[9] * gauss8(_U(i), key[0], key[1])
        cells.hidden[i] = w
        cells.seen[i] = w + noise if up > _F(0.0) else w
        cells.wear[i] = 0


@njit(inline="always")
def pulse_cell(
    w: float, n: int, traits: tuple[float, float, float, float], cycle: float, draw: float
) -> float:
    """Hidden weight after ``n`` signed pulses, mean and variance exact away from the clip.

    With a = step/|bound| the distance to the bound shrinks by (1 - a - a c xi) each pulse, so
    after n pulses its mean factor is (1-a)^n and its second moment ((1-a)^2 + a^2 c^2)^n.
    """
    bound = traits[2] if n > 0 else traits[3]
    step = traits[0] if n > 0 else traits[1]
    size = abs(bound)
    a = _F(1.0) if step >= size else step / size
    keep = _F(1.0) - a
    square, noise = keep * keep, (a * cycle) * (a * cycle)
    mean, mean2, variance = _F(1.0), _F(1.0), _F(0.0)
    for _ in range(abs(n)):
        variance = variance * (square + noise) + noise * mean2
        mean = mean * keep
        mean2 = mean2 * square
    distance = bound - w
    w = bound - distance * mean + (distance * np.sqrt(variance)) * draw
    return min(max(w, traits[3]), traits[2])


@njit(nogil=True, cache=True)
def pulse_cells(
    job: PulseJob,
    cells: Cells,
    law: NDArray[np.float32],
    traits_key: NDArray[np.uint32],
    draw_key: NDArray[np.uint32],
) -> tuple[int, int, int]:
    """Apply signed pulses to cells in one pass; count, charge, wear and fence on the way.

    A fence of 0 lets no pulse through, 1 lets all through, between it lets each train through
    in proportion (stochastic rounding). Energy per pulse is V^2 G t with the conductance seen
    before the train, in whole attojoules, so sums are exact in any order.

    Args:
        job: pulses, fence, first cell.
        cells: state, changed in place.
        law: the cell law as 13 float32, see ``SoftBounds.law``.
        traits_key: eight words: the tile's key for cell-to-cell spread.
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
        energy += size * np.int64(
            np.rint(max(law[11] + law[12] * (cells.seen[i] + _F(1.0)), _F(0.0)))
        )
        count += size
        longest = max(longest, size)
        cells.wear[i] += size
        traits = cell_traits(cell, law, traits_key)
        if traits[0] == _F(0.0):
            continue  # a dead cell takes the pulse and its energy but does not move
        draw = gauss8(cell, draw_key[0], draw_key[1])
        w = pulse_cell(cells.hidden[i], n, traits, law[8], draw)
        cells.hidden[i] = w
        cells.seen[i] = w + law[9] * gauss8(cell, draw_key[2], draw_key[3])
    return count, energy, longest
