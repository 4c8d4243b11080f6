"""Compiled write-verify of phase-change cells: one pass, each cell until it is accepted.

The laws are those of :mod:`clnf.devices.pcm`; the rounds are those of its torch twin
:func:`clnf.devices.pcm.write_verify`. Draws are the same; logarithms and powers may differ in
the last bit.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from clnf.devices.kernels import gauss8

__all__ = ["Written", "read_pair", "write_verify"]

_F = np.float32
_U = np.uint32


class Written(NamedTuple):
    """What programming leaves in cells [M]: conductance, drift exponent, pulses so far."""

    programmed: Any
    exponent: Any
    wear: Any


@njit(inline="always")
def _clip(x: Any, low: Any, high: Any) -> Any:
    return min(max(x, low), high)


@njit(nogil=True, cache=True)
def write_verify(
    wanted: NDArray[np.float32],
    cells: Written,
    law: NDArray[np.float32],
    keys: NDArray[np.uint32],
    drift_key: NDArray[np.uint32],
) -> tuple[int, int]:
    """Program each cell, read it back, and repeat while it is off by more than the tolerance.

    Args:
        wanted: conductance, S, [M].
        cells: written in place.
        law: :meth:`clnf.devices.pcm.Pcm.numbers`.
        keys: [rounds, 4]: keys of the programming and of the verifying draw of each round.
        drift_key: two words for the drift exponent.

    Returns:
        Pulses given, and the most rounds any cell took.
    """
    full, c0, c1, c2 = law[0], law[1], law[2], law[3]
    scale, power, cap, growth, tolerance, spread = (
        law[12],
        law[13],
        law[14],
        law[15],
        law[16],
        law[17],
    )
    count, most = 0, 0
    for i in range(wanted.shape[0]):
        cell: Any = _U(i)
        g = wanted[i] / full
        sigma = (c0 + g * (c1 + g * c2)) * spread
        value = wanted[i]
        used = 0
        for r in range(keys.shape[0]):
            used += 1
            draw = gauss8(cell, keys[r, 0], keys[r, 1])
            value = max(wanted[i] + sigma * draw, _F(0.0))
            read = value
            if growth > _F(0.0) and value > _F(0.0):
                q = min(
                    scale * np.exp(-power * np.log(_clip(value / full, _F(1e-4), _F(1.0)))), cap
                )
                read = value + value * q * growth * gauss8(cell, keys[r, 2], keys[r, 3])
            if abs(read - wanted[i]) <= tolerance:
                break
        log_g = np.log(_clip(value / full, _F(1e-4), _F(1.0)))
        mean = _clip(law[4] * log_g + law[5], law[6], law[7])
        nu = _clip(law[8] * log_g + law[9], law[10], law[11])
        exponent = abs(mean + nu * gauss8(cell, drift_key[0], drift_key[1]))
        cells.programmed[i] = value
        cells.exponent[i] = exponent * spread
        cells.wear[i] += used
        count += used
        most = max(most, used)
    return count, most


@njit(nogil=True, cache=True)
def read_pair(
    programmed: NDArray[np.float32],
    exponent: NDArray[np.float32],
    now: NDArray[np.float32],
    weight: NDArray[np.float32],
    variance: NDArray[np.float32],
) -> None:
    """Difference of drifted pairs and the variance of one read, both over Gmax.

    Args:
        programmed: conductance, S, [2, M]: counting up, counting down.
        exponent: drift exponents, [2, M].
        now: Gmax, q, exponent of g and cap of the read noise law, its growth by now (0: no
            noise), ln((t + t0) / t0).
        weight: (G+ - G-) / Gmax, [M].
        variance: of the same, [M].
    """
    full, scale, power, cap, growth, age = now[0], now[1], now[2], now[3], now[4], now[5]
    for i in range(programmed.shape[1]):
        weight[i] = _F(0.0)
        variance[i] = _F(0.0)
    for plane in range(2):
        sign = _F(1.0) if plane == 0 else _F(-1.0)
        for i in range(programmed.shape[1]):
            g = programmed[plane, i] / full
            drifted = g
            if age > _F(0.0):
                drifted = g * np.exp(-exponent[plane, i] * age)
            weight[i] += sign * drifted
            if growth > _F(0.0) and g > _F(0.0):
                q = min(scale * np.exp(-power * np.log(_clip(g, _F(1e-4), _F(1.0)))), cap)
                sigma = drifted * (q * growth)
                variance[i] += sigma * sigma
