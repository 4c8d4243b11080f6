"""Compiled passes of the read path: input conversion, read noise with output conversion.

Matrices are [P, C]: P vectors (pixels of all samples for a convolution), C channels. A noise
draw depends on (key, element) only. The torch versions are in :mod:`clnf.chip.reference`.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from clnf.devices.kernels import gauss4

__all__ = ["Columns", "drive", "plane_sums", "sense"]

_F = np.float32
_U = np.uint32


class Columns(NamedTuple):
    """Per column, float32 [C]: noise scale, ADC steps per unit, unit per step, bias."""

    sigma: Any
    gain: Any
    step: Any
    bias: Any


@njit(nogil=True, cache=True)
def drive(
    x: NDArray[np.float32],
    power: NDArray[np.float32],
    dac: NDArray[np.float32],
    out: NDArray[np.float32],
    energy: NDArray[np.float32],
) -> None:
    """Convert inputs to row voltages and sum their weighted squares per vector.

    Args:
        x: inputs [P, C].
        power: weight of each channel's square, [C].
        dac: codes per unit, unit per code, largest code (0: no quantisation).
        out: converted inputs [P, C].
        energy: sum over C of power * out^2, [P].
    """
    gain, step, top = dac[0], dac[1], dac[2]
    for p in range(x.shape[0]):
        if top > _F(0.0):
            for c in range(x.shape[1]):
                out[p, c] = min(max(np.rint(x[p, c] * gain), -top), top) * step
        else:
            for c in range(x.shape[1]):
                out[p, c] = x[p, c]
        total = _F(0.0)
        for c in range(x.shape[1]):
            total += power[c] * (out[p, c] * out[p, c])
        energy[p] = total


@njit(nogil=True, cache=True)
def sense(
    y: NDArray[np.float32],
    energy: NDArray[np.float32],
    columns: Columns,
    top: float,
    key: NDArray[np.uint32],
    out: NDArray[np.float32],
) -> None:
    """Add read noise to currents, convert them, and add the result to ``out``.

        out += step * clip(round(gain * (y + sigma sqrt(energy) xi)), -top, top) + bias

    Args:
        y: ideal currents in weight units [P, C].
        energy: noise variance of each vector, [P, 1], or of each element, [P, C].
        columns: per-column factors.
        top: largest ADC code, 0 for none.
        key: two words for the noise.
        out: partial sums [P, C], changed in place.
    """
    separable = energy.shape[1] == 1
    key0, key1 = key[0], key[1]
    for p in range(y.shape[0]):
        base = _U(p * y.shape[1])
        root = np.sqrt(energy[p, 0])
        for c in range(y.shape[1]):
            spread = columns.sigma[c] * (root if separable else np.sqrt(energy[p, c]))
            z = (y[p, c] + spread * gauss4(_U(base + _U(c)), key0, key1)) * columns.gain[c]
            if top > _F(0.0):
                z = min(max(np.rint(z), -top), top)
            out[p, c] += z * columns.step[c] + columns.bias[c]


@njit(nogil=True, cache=True)
def plane_sums(
    seen: NDArray[np.float32],
    noise: NDArray[np.float32],
    weight: NDArray[np.float32],
    variance: NDArray[np.float32],
) -> None:
    """Weight and read-noise variance of cells on 2k planes of alternating sign.

    Args:
        seen: visible cell values [2k, M] in [-1, 1].
        noise: weight scale, relative read noise, conductance at w = 0 over the half window.
        weight: scale / 2k * sum of signed cells, [M].
        variance: (scale / 2k)^2 * sum of (noise * (offset + w))^2, [M].
    """
    planes = seen.shape[0]
    scale = noise[0] / _F(planes)
    for i in range(seen.shape[1]):
        weight[i] = _F(0.0)
        variance[i] = _F(0.0)
    for plane in range(planes):
        sign = _F(1.0) if plane % 2 == 0 else _F(-1.0)
        for i in range(seen.shape[1]):
            value = seen[plane, i]
            sigma = noise[1] * (noise[2] + value)
            weight[i] += sign * value
            variance[i] += sigma * sigma
    for i in range(seen.shape[1]):
        weight[i] *= scale
        variance[i] *= scale * scale
