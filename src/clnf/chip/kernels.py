"""Compiled passes of the read path: input conversion, read noise with output conversion.

Matrices are [P, C]: P vectors (pixels of all samples for a convolution), C channels. A noise
draw depends on (key, element) only. The torch versions are in :mod:`clnf.chip.reference`.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from clnf.devices.kernels import gauss4

__all__ = ["Columns", "FlawedColumns", "digits", "drive", "plane_sums", "sense", "sense_flawed"]

_F = np.float32
_U = np.uint32
_BOW = _F(1.5 * np.sqrt(3.0))  # u (1 - u^2) is 1 / 1.5 sqrt(3) at its largest
_LANES = 16  # float32 numbers in the widest vector; the sum below is written for this many


class Columns(NamedTuple):
    """Per column, float32 [C]: noise scale, weight at the ADC's full scale, bias."""

    sigma: Any
    scale: Any
    bias: Any


class FlawedColumns(NamedTuple):
    """Columns whose converters differ: also a gain, and an offset in codes, float32 [C]."""

    sigma: Any
    scale: Any
    bias: Any
    gain: Any
    offset: Any


# No fast maths: a sum that may be reordered is summed in another order now and then, depending on
# where its arrays lie in memory, and a last bit is enough to flip a converter's code.
@njit(nogil=True, cache=True)
def drive(
    x: NDArray[np.float32],
    power: NDArray[np.float32],
    dac: NDArray[np.float32],
    out: NDArray[np.float32],
    energy: NDArray[np.float32],
    first: int,
) -> int:
    """Convert inputs to row voltages and sum their weighted squares per vector.

    Args:
        x: inputs [P, all channels].
        power: weight of each channel's square, [C].
        dac: codes per unit, unit per code, largest code (0: no quantisation).
        out: converted inputs [P, C].
        energy: sum over C of power * out^2, [P].
        first: the first of the C channels in ``x``.

    Returns:
        Largest code asked for before clipping, itself cut at eight times full scale. An input
        that is not finite asks for none: a broken sample must not widen a range for good.
    """
    gain, step, top = dac[0], dac[1], dac[2]
    far = _F(8.0) * top
    peak = np.int32(0)
    count = out.shape[1]
    parts = np.zeros(count + (-count) % _LANES, _F)
    for p in range(out.shape[0]):
        mine = np.int32(0)
        if top > _F(0.0):
            for c in range(count):
                code = min(max(np.rint(x[p, first + c] * gain), -far), far)
                mine = max(mine, abs(np.int32(code)))
                volt = min(max(code, -top), top) * step
                out[p, c] = volt
                parts[c] = power[c] * (volt * volt)
        else:
            for c in range(count):
                volt = x[p, first + c]
                out[p, c] = volt
                parts[c] = power[c] * (volt * volt)
        energy[p] = _sum_in_lanes(parts)
        if mine > max(top, peak):  # rare: the loop above stays free of a question per input
            mine = _finite_peak(x[p, first : first + count], gain, far)
        peak = max(peak, mine)
    return peak


@njit(nogil=True, cache=True)
def digits(
    volts: NDArray[np.float32],
    power: NDArray[np.float32],
    plane: NDArray[np.float32],
    out: NDArray[np.float32],
    energy: NDArray[np.float32],
) -> int:
    """Take some bits of converted inputs, and sum their weighted squares per vector.

        out = sign(code) step low (floor(|code| / low) mod base),  code = round(volts / step)

    Args:
        volts: converted inputs [P, C], whole multiples of a step.
        power: weight of each channel's square, [C].
        plane: volts per code, then two powers of two: the lowest bit taken, and ``base``, one
            above the largest digit.
        out: what is driven, [P, C]; over all planes it adds up to ``volts``.
        energy: sum over C of power * out^2, [P].

    Returns:
        0, as nothing is asked of a range.
    """
    step, low, base = plane[0], plane[1], plane[2]
    gain, part, upper = _F(1.0) / step, _F(1.0) / low, _F(1.0) / base
    count = out.shape[1]
    parts = np.zeros(count + (-count) % _LANES, _F)
    for p in range(out.shape[0]):
        for c in range(count):
            code = np.rint(volts[p, c] * gain)
            rest = np.floor(abs(code) * part)
            size = (rest - base * np.floor(rest * upper)) * low
            volt = (size if code > _F(0.0) else -size) * step
            out[p, c] = volt
            parts[c] = power[c] * (volt * volt)
        energy[p] = _sum_in_lanes(parts)
    return 0


@njit(inline="always")
def _sum_in_lanes(parts: NDArray[np.float32]) -> float:
    """Sum in an order that is written down and yet leaves a whole vector to each instruction.

    Lanes are added up first, then halves of them; ``parts`` is overwritten.
    """
    for start in range(_LANES, len(parts), _LANES):
        for lane in range(_LANES):
            parts[lane] += parts[start + lane]
    for lane in range(8):
        parts[lane] += parts[8 + lane]
    for lane in range(4):
        parts[lane] += parts[4 + lane]
    return (parts[0] + parts[2]) + (parts[1] + parts[3])


@njit(inline="always")
def _finite_peak(x: NDArray[np.float32], gain: float, far: float) -> int:
    """Largest code asked for by inputs that are finite."""
    peak = np.int32(0)
    for value in x:
        asked = np.rint(value * gain)
        if abs(asked) < _F(np.inf):
            peak = max(peak, abs(np.int32(min(max(asked, -far), far))))
    return peak


@njit(inline="always")
def _convert(z: float, top: float, far: float) -> tuple[float, float]:
    code = min(max(np.rint(z), -far), far)
    return (min(max(code, -top), top), code) if top > _F(0.0) else (z, _F(0.0))


@njit(nogil=True, cache=True)
def sense(
    y: NDArray[np.float32],
    energy: NDArray[np.float32],
    columns: Columns,
    control: NDArray[np.float32],
    key: NDArray[np.uint32],
    out: NDArray[np.float32],
) -> int:
    """Add read noise to currents, convert them, and write or add the result to ``out``.

        out <- [out +] scale unit clip(round(gain / scale (y + sigma sqrt(energy) xi))) [+ bias]

    Args:
        y: ideal currents in weight units [P, C].
        energy: noise variance of each vector, [P, 1], or of each element, [P, C].
        columns: per-column factors.
        control: codes per full scale, full scales per code, largest code (0: no
            quantisation), then switches 0 or 1: noise, add the bias, add to ``out``, watch
            the peak (slower; without it the result is 0).
        key: two words for the noise.
        out: partial sums [P, C], changed in place; without a sum so far it may be ``y``.

    Returns:
        Largest code asked for before clipping, itself cut at eight times full scale.
    """
    count = y.shape[1]
    top, far = control[2], _F(8.0) * control[2]
    gain, step, bias = np.empty(count, _F), np.empty(count, _F), np.empty(count, _F)
    for c in range(count):
        gain[c] = control[0] / columns.scale[c]
        step[c] = control[1] * columns.scale[c]
        bias[c] = control[4] * columns.bias[c]
    key0, key1 = key[0], key[1]
    plain = control[6] == _F(0.0) and top > _F(0.0)
    peak = np.int32(0)
    spread, current, held = np.empty(count, _F), np.empty(count, _F), np.zeros(count, _F)
    for p in range(y.shape[0]):
        base = _U(p * count)
        for c in range(count):  # rows of their own, for ``out`` may be ``y``
            current[c] = y[p, c]
        if control[5] > _F(0.0):
            for c in range(count):
                held[c] = out[p, c]
        if energy.shape[1] == 1:
            root = control[3] * np.sqrt(energy[p, 0])
            for c in range(count):
                spread[c] = columns.sigma[c] * root
        else:
            for c in range(count):
                spread[c] = columns.sigma[c] * (control[3] * np.sqrt(energy[p, c]))
        if plain:
            for c in range(count):
                z = (current[c] + spread[c] * gauss4(_U(base + _U(c)), key0, key1)) * gain[c]
                out[p, c] = held[c] + (min(max(np.rint(z), -top), top) * step[c] + bias[c])
            continue
        for c in range(count):
            z = (current[c] + spread[c] * gauss4(_U(base + _U(c)), key0, key1)) * gain[c]
            code, asked = _convert(z, top, far)
            peak = max(peak, abs(np.int32(asked)))
            out[p, c] = held[c] + (code * step[c] + bias[c])
    return peak


@njit(nogil=True, cache=True)
def sense_flawed(
    y: NDArray[np.float32],
    energy: NDArray[np.float32],
    columns: FlawedColumns,
    control: NDArray[np.float32],
    key: NDArray[np.uint32],
    out: NDArray[np.float32],
) -> int:
    """As :func:`sense`, by converters that are noisy, crooked and not all alike.

        z = gain_c (g / scale) y + sqrt((gain_c g sigma / scale)^2 energy + noise^2) xi + offset_c
        u = clip(z / top, -1, 1),  code = clip(round(z + bow (3 sqrt(3) / 2) u (1 - u^2)))

    The converter's own noise is independent of the cells', so one draw stands for both.

    Args:
        y: ideal currents in weight units [P, C].
        energy: noise variance of each vector, [P, 1], or of each element, [P, C].
        columns: per-column factors.
        control: as for :func:`sense` with a largest code above 0, then the converter's noise
            and its largest bow, both in codes. The noise is there whatever the noise switch.
        key: two words for the noise.
        out: partial sums [P, C], changed in place; without a sum so far it may be ``y``.

    Returns:
        Largest code asked for before clipping, as :func:`sense` does.
    """
    count = y.shape[1]
    top, far, part = control[2], _F(8.0) * control[2], _F(1.0) / control[2]
    own, bow, wide = control[7] * control[7], control[8] * _BOW, energy.shape[1] > 1
    gain, square, step = np.empty(count, _F), np.empty(count, _F), np.empty(count, _F)
    for c in range(count):
        gain[c] = control[0] / columns.scale[c] * columns.gain[c]
        spread = (control[3] * gain[c]) * columns.sigma[c]
        square[c] = spread * spread
        step[c] = control[1] * columns.scale[c]
    key0, key1 = key[0], key[1]
    peak, current, variance = np.int32(0), np.empty(count, _F), np.empty(count, _F)
    held, offset, bias = np.zeros(count, _F), columns.offset.copy(), control[4] * columns.bias
    for p in range(y.shape[0]):
        base = _U(p * count)
        for c in range(count):  # rows of their own, for ``out`` may be ``y``
            current[c] = y[p, c]
        if control[5] > _F(0.0):
            for c in range(count):
                held[c] = out[p, c]
        for c in range(count):
            variance[c] = square[c] * energy[p, c if wide else 0] + own
        for c in range(count):
            draw = gauss4(_U(base + _U(c)), key0, key1)
            current[c] = (current[c] * gain[c] + np.sqrt(variance[c]) * draw) + offset[c]
        for c in range(count):
            u = min(max(current[c] * part, _F(-1.0)), _F(1.0))
            asked = np.rint(current[c] + (bow * u) * (_F(1.0) - u * u))
            current[c] = min(max(asked, -far), far)
        for c in range(count):
            peak = max(peak, abs(np.int32(current[c])))
            out[p, c] = held[c] + (min(max(current[c], -top), top) * step[c] + bias[c])
    return peak if control[6] > _F(0.0) else np.int32(0)


@njit(nogil=True, cache=True)
def plane_sums(
    seen: NDArray[np.float32],
    kept: NDArray[np.float32],
    noise: NDArray[np.float32],
    weight: NDArray[np.float32],
    variance: NDArray[np.float32],
) -> None:
    """Weight and read-noise variance of cells on 2k planes of alternating sign.

    Args:
        seen: visible cell values [2k, M].
        kept: what wires leave of each cell's conductance, [2k, M]; empty without wires.
        noise: weight scale, relative read noise, and what makes a conductance of w when added to
            it, in units of w.
        weight: scale / 2k * sum of signed cells, [M].
        variance: (scale / 2k)^2 * sum of (noise * (offset + w))^2, [M].
    """
    planes = seen.shape[0]
    scale = noise[0] / _F(planes)
    wired = kept.shape[0] > 0
    for i in range(seen.shape[1]):
        weight[i] = _F(0.0)
        variance[i] = _F(0.0)
    for plane in range(planes):
        sign = _F(1.0) if plane % 2 == 0 else _F(-1.0)
        for i in range(seen.shape[1]):
            sigma = noise[1] * (noise[2] + seen[plane, i])
            variance[i] += sigma * sigma
        if wired:
            for i in range(seen.shape[1]):
                weight[i] += sign * ((noise[2] + seen[plane, i]) * kept[plane, i])
        else:
            for i in range(seen.shape[1]):
                weight[i] += sign * seen[plane, i]
    for i in range(seen.shape[1]):
        weight[i] *= scale
        variance[i] *= scale * scale
