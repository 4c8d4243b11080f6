"""Compiled loops of the gate: one look at a batch, and ADWIN over many numbers.

Each has a plain twin that it equals: :func:`look` that in ``sentry``, :func:`adwin_feed` the class
``drift.Adwin``, where the algorithm is explained.
"""

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["adwin_feed", "look"]

_SHORTEST = 5  # as in drift


@njit(cache=True, nogil=True)
def look(bits: NDArray[np.int32], low: NDArray[np.int32], high: NDArray[np.int32]) -> None:
    """Smallest and largest value of every row, in one pass over the bits.

    Floats in the order of their values are integers in the order of ``b ^ (b >> 31 & 2^31-1)``,
    NaN at both ends, so whole numbers tell the range and whether all is finite; unlike
    comparisons of floats they are compared many at a time.

    Args:
        bits: rows of float32 as int32 [B, D].
        low: filled with the smallest key of each row, [B].
        high: filled with the largest, [B].
    """
    rows, size = bits.shape
    for b in range(rows):
        row = bits[b]
        least, most = np.int32(2147483647), np.int32(-2147483648)
        for i in range(size):
            key = row[i] ^ ((row[i] >> np.int32(31)) & np.int32(2147483647))
            least = min(least, key)
            most = max(most, key)
        low[b], high[b] = least, most


@njit(cache=True, nogil=True)
def adwin_feed(
    values: NDArray[np.float64],
    settings: tuple[float, int, int, int],
    sizes: NDArray[np.int64],
    buckets: NDArray[np.float64],
    totals: NDArray[np.float64],
    changed: NDArray[np.bool_],
) -> None:
    """Feed numbers to one detector and note after which of them its window was cut.

    Args:
        values: float64 [N].
        settings: delta, clock, buckets of one size, grace.
        sizes: int64 [R + 3]: values seen, values in the window, rows in use, then the length of
            each row.
        buckets: float64 [R, buckets + 1, 2]: sum and sum of squared deviations.
        totals: float64 [2]: sum and sum of squared deviations of the window.
        changed: filled, bool [N].
    """
    delta, clock, most, grace = settings
    for n in range(len(values)):
        value = values[n]
        count = sizes[1]
        if count:
            gap = value - totals[0] / count
            totals[1] += gap * gap * count / (count + 1)
        sizes[1] = count + 1
        totals[0] += value
        buckets[0, sizes[3], 0] = value
        buckets[0, sizes[3], 1] = 0.0
        sizes[3] += 1
        if sizes[3] > most:
            _compress(most, sizes, buckets)
        sizes[0] += 1
        changed[n] = False
        if sizes[0] % clock or sizes[1] <= grace:
            continue
        while _cut(delta, sizes, buckets, totals):
            _drop(sizes, buckets, totals)
            changed[n] = True


@njit(cache=True, nogil=True)
def _compress(most: int, sizes: NDArray[np.int64], buckets: NDArray[np.float64]) -> None:
    r = 0
    while r < sizes[2]:
        length = sizes[3 + r]
        if length <= most:
            return
        if r + 1 == sizes[2]:
            sizes[2] += 1
            sizes[3 + r + 1] = 0
        gap = (buckets[r, 0, 0] - buckets[r, 1, 0]) / 2.0**r
        spread = buckets[r, 0, 1] + buckets[r, 1, 1] + gap * gap * 2.0**r / 2
        end = sizes[3 + r + 1]
        buckets[r + 1, end, 0] = buckets[r, 0, 0] + buckets[r, 1, 0]
        buckets[r + 1, end, 1] = spread
        sizes[3 + r + 1] = end + 1
        for i in range(2, length):
            buckets[r, i - 2, 0] = buckets[r, i, 0]
            buckets[r, i - 2, 1] = buckets[r, i, 1]
        sizes[3 + r] = length - 2
        r += 1


@njit(cache=True, nogil=True)
def _cut(
    delta: float,
    sizes: NDArray[np.int64],
    buckets: NDArray[np.float64],
    totals: NDArray[np.float64],
) -> bool:
    n = sizes[1]
    if n < 2 * _SHORTEST:
        return False
    log_term = math.log(2.0 * math.log(n) / delta)
    twice_variance = 2.0 * totals[1] / n * log_term
    n0, sum0 = 0, 0.0
    for r in range(sizes[2] - 1, -1, -1):
        size = 1 << r
        for i in range(sizes[3 + r]):
            n0 += size
            sum0 += buckets[r, i, 0]
            n1 = n - n0
            if n1 < _SHORTEST:
                return False
            if n0 < _SHORTEST:
                continue
            inverse = 1.0 / (n0 - _SHORTEST + 1) + 1.0 / (n1 - _SHORTEST + 1)
            bound = math.sqrt(inverse * twice_variance) + 2.0 / 3.0 * inverse * log_term
            if abs(sum0 / n0 - (totals[0] - sum0) / n1) > bound:
                return True
    return False


@njit(cache=True, nogil=True)
def _drop(
    sizes: NDArray[np.int64], buckets: NDArray[np.float64], totals: NDArray[np.float64]
) -> None:
    last = sizes[2] - 1
    size = 1 << last
    total, spread = buckets[last, 0, 0], buckets[last, 0, 1]
    for i in range(1, sizes[3 + last]):
        buckets[last, i - 1, 0] = buckets[last, i, 0]
        buckets[last, i - 1, 1] = buckets[last, i, 1]
    sizes[3 + last] -= 1
    if sizes[3 + last] == 0 and sizes[2] > 1:
        sizes[2] -= 1
    rest = sizes[1] - size
    gap = total / size - (totals[0] - total) / rest
    totals[1] = max(0.0, totals[1] - spread - gap * gap * size * rest / sizes[1])
    sizes[1] = rest
    totals[0] -= total
