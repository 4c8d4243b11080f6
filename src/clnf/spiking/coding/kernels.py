"""Send-on-delta, compiled; the plain version is in :mod:`clnf.spiking.coding.delta`."""

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["Comparators", "compare"]

_F = np.float32


class Comparators(NamedTuple):
    """Steps and thresholds in volts, float32, and refractory steps."""

    step: Any
    hysteresis: Any
    rest: int


@njit(nogil=True, cache=True)
def compare(
    x: NDArray[np.float32],
    noise: NDArray[np.float32],
    out: NDArray[np.float32],
    by: Comparators,
    part: tuple[int, int],
) -> None:
    """Events of channels ``part[0]`` to ``part[1]``.

    Args:
        x: signals [T, N] in volts.
        noise: volts on the comparator, [T, N], or one row for all steps.
        out: +1, -1 or 0, [T, N].
        by: the comparators.
        part: of the channels.
    """
    one = noise.shape[0] == 1
    for n in range(part[0], part[1]):
        kept, last, wait = x[0, n], _F(0.0), 0
        for t in range(x.shape[0]):
            away = x[t, n] - kept + noise[0 if one else t, n]
            up = by.step + (by.hysteresis if last < _F(0.0) else _F(0.0))
            down = by.step + (by.hysteresis if last > _F(0.0) else _F(0.0))
            event = _F(0.0)
            if wait > 0:
                wait -= 1
            elif away > up:
                event = _F(1.0)
            elif -away > down:
                event = _F(-1.0)
            if event != _F(0.0):
                kept += event * by.step
                last, wait = event, by.rest
            out[t, n] = event
