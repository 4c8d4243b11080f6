"""Compiled passes: sweeps up and down the layers, and folding fields about their middle.

Legend: N fields, Z cells from bottom to top, M modes.
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["factor", "fold", "sweep", "unfold"]

Array = NDArray[np.float64]
# Modes taken together: all layers of a block stay in the first cache on the way up and down.
_BLOCK = 256


@njit(cache=True, nogil=True)
def factor(diagonal: Array, couplings: Array, inverse: Array, link: Array) -> None:
    """Factor one tridiagonal matrix for each mode.

    Args:
        diagonal: [Z, M].
        couplings: between cell k and k + 1, [Z]; the last is not read.
        inverse: 1 / pivots, written, [Z, M].
        link: coupling k over pivot k, written, [Z, M].
    """
    depth, modes = diagonal.shape
    for m in range(modes):
        inverse[0, m] = 1.0 / diagonal[0, m]
    for k in range(1, depth):
        g = couplings[k - 1]
        for m in range(modes):
            link[k - 1, m] = g * inverse[k - 1, m]
            inverse[k, m] = 1.0 / (diagonal[k, m] - g * link[k - 1, m])
    for m in range(modes):
        link[depth - 1, m] = 0.0


@njit(cache=True, nogil=True)
def sweep(inverse: Array, link: Array, fields: Any) -> None:
    """Solve in place: up the layers, then down again.

    Args:
        inverse: of :func:`factor`, [Z, M].
        link: of :func:`factor`, [Z, M].
        fields: right-hand sides in, solutions out, [N, Z, M].
    """
    count, depth, modes = fields.shape
    for n in range(count):
        for first in range(0, modes, _BLOCK):
            last = min(first + _BLOCK, modes)
            for k in range(1, depth):
                row, below = fields[n, k, first:last], fields[n, k - 1, first:last]
                factors = link[k - 1, first:last]
                for m in range(last - first):
                    row[m] += factors[m] * below[m]
            top, pivots = fields[n, depth - 1, first:last], inverse[depth - 1, first:last]
            for m in range(last - first):
                top[m] *= pivots[m]
            for k in range(depth - 2, -1, -1):
                row, above = fields[n, k, first:last], fields[n, k + 1, first:last]
                factors, pivots = link[k, first:last], inverse[k, first:last]
                for m in range(last - first):
                    row[m] = row[m] * pivots[m] + factors[m] * above[m]


@njit(cache=True, nogil=True)
def fold(fields: Array, parts: Array) -> None:
    """Sums and differences about the middle of rows and of columns.

    Args:
        fields: [N, Y, X], both even.
        parts: written, [N, 2 (sum, difference of rows), 2 (of columns), Y / 2, X / 2].
    """
    count, rows, columns = fields.shape
    wide = columns // 2
    for n in range(count):
        for y in range(rows // 2):
            near, far = fields[n, y], fields[n, rows - 1 - y]
            for x in range(wide):
                a, b = near[x], near[columns - 1 - x]
                c, d = far[x], far[columns - 1 - x]
                parts[n, 0, 0, y, x] = (a + b) + (c + d)
                parts[n, 0, 1, y, x] = (a - b) + (c - d)
                parts[n, 1, 0, y, x] = (a + b) - (c + d)
                parts[n, 1, 1, y, x] = (a - b) - (c - d)


@njit(cache=True, nogil=True)
def unfold(parts: Array, fields: Array) -> None:
    """Undo :func:`fold`, but for the factor of four that cosines over halves bring.

    Args:
        parts: as :func:`fold` writes them.
        fields: written.
    """
    count, rows, columns = fields.shape
    for n in range(count):
        for y in range(rows // 2):
            near, far = fields[n, y], fields[n, rows - 1 - y]
            for x in range(columns // 2):
                a, b = parts[n, 0, 0, y, x], parts[n, 0, 1, y, x]
                c, d = parts[n, 1, 0, y, x], parts[n, 1, 1, y, x]
                near[x], near[columns - 1 - x] = (a + b) + (c + d), (a - b) + (c - d)
                far[x], far[columns - 1 - x] = (a + b) - (c + d), (a - b) - (c - d)
