"""The same finite volumes as one sparse matrix, for checking: no modes, no sweeps."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csc_array

from clnf.chip.heat.stack import Stack

__all__ = ["conduction", "storage"]

Array = NDArray[np.float64]


def conduction(stack: Stack) -> Any:
    """Conductances between all cells and to the coolant in W/K, sparse [cells, cells].

    Put together face by face: between two cells lie half of the one and half of the other.
    """
    dx, dy = stack.width_m / stack.columns, stack.depth_m / stack.rows
    size = np.empty((*stack.shape, 3))
    size[..., 0] = stack.heights_m[:, None, None]
    size[..., 1], size[..., 2] = dy, dx
    k = np.broadcast_to(stack.conductivities_w_mk[:, None, None], stack.shape)
    number = np.arange(k.size).reshape(stack.shape)
    rows, columns, values = [], [], []

    def join(a: Any, b: Any, g: Array) -> None:
        for here, there, sign in ((a, a, 1), (b, b, 1), (a, b, -1), (b, a, -1)):
            rows.append(here.ravel())
            columns.append(there.ravel())
            values.append(sign * g.ravel())

    for axis in range(3):
        low = tuple(slice(None, -1) if d == axis else slice(None) for d in range(3))
        high = tuple(slice(1, None) if d == axis else slice(None) for d in range(3))
        face = np.prod(size[low], axis=-1) / size[low][..., axis]
        path = size[low][..., axis] / (2 * k[low]) + size[high][..., axis] / (2 * k[high])
        join(number[low], number[high], face / path)
    below = dx * dy / (size[0, :, :, 0] / (2 * k[0]) + 1 / stack.coolant_w_m2k)
    rows.append(number[0].ravel())
    columns.append(number[0].ravel())
    values.append(below.ravel())
    parts = (np.concatenate(part) for part in (values, rows, columns))
    found, i, j = parts
    return csc_array(coo_array((found, (i, j)), shape=(k.size, k.size)))


def storage(stack: Stack) -> Array:
    """Heat capacity of every cell in J/K, [cells]."""
    cell_m2 = stack.area_m2 / (stack.rows * stack.columns)
    each = stack.capacities_j_m3k * stack.heights_m * cell_m2
    return np.repeat(each, stack.rows * stack.columns)
