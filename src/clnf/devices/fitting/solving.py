"""Newton's equations of numbers of very different size, some of them hardly determined."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["inverted", "solved"]

Array = NDArray[np.float64]


def solved(matrix: Array, side: Array) -> Array:
    """Newton's step for an information matrix and a gradient, balanced by the diagonal."""
    scale = 1.0 / np.sqrt(np.maximum(np.diag(matrix), 1e-30))
    answer = np.linalg.lstsq(matrix * scale[:, None] * scale, side * scale, rcond=1e-10)[0]
    return np.asarray(answer * scale)


def inverted(matrix: Array) -> Array:
    """Inverse of an information matrix, balanced by its diagonal; zero where it knows nothing."""
    scale = 1.0 / np.sqrt(np.maximum(np.diag(matrix), 1e-30))
    inner = np.linalg.pinv(matrix * scale[:, None] * scale, rcond=1e-10, hermitian=True)
    return np.asarray(inner * scale[:, None] * scale)
