"""Plain torch versions of the chip's kernels: same signatures, same noise draws."""

import numpy as np
import torch
from torch import Tensor

from clnf.chip.kernels import Columns, FlawedColumns
from clnf.devices.reference import gauss4, root

__all__ = ["digits", "drive", "plane_sums", "sense", "sense_flawed"]

_BOW = float(np.float32(1.5 * np.sqrt(3.0)))


def drive(x: Tensor, power: Tensor, dac: Tensor, out: Tensor, energy: Tensor, first: int) -> int:
    """Convert inputs to row voltages; see :func:`clnf.chip.kernels.drive`."""
    gain, step, top = (float(v) for v in dac)
    x = x[:, first : first + out.shape[1]]
    asked = x * gain
    code = asked.round().clamp(-8 * top, 8 * top)
    out.copy_(code.clamp(-top, top) * step if top > 0 else x)
    energy.copy_((power * (out * out)).sum(1))
    return int(code.abs().masked_fill(~asked.isfinite(), 0.0).max()) if top > 0 else 0


def digits(volts: Tensor, power: Tensor, plane: Tensor, out: Tensor, energy: Tensor) -> int:
    """Take some bits of converted inputs; see :func:`clnf.chip.kernels.digits`."""
    step, low, base = (float(v) for v in plane)
    code = (volts * (1.0 / plane[0])).round()
    rest = (code.abs() * (1.0 / low)).floor()
    size = (rest - base * (rest * (1.0 / base)).floor()) * low
    out.copy_(torch.where(code > 0, size, -size) * step)
    energy.copy_((power * (out * out)).sum(1))
    return 0


def sense(
    y: Tensor, energy: Tensor, columns: Columns, control: Tensor, key: Tensor, out: Tensor
) -> int:
    """Add read noise, convert, accumulate; see :func:`clnf.chip.kernels.sense`."""
    _, unit, top, noise, bias, carry, watch = (float(v) for v in control)
    index = torch.arange(y.numel(), device=y.device)
    draw = gauss4(index, int(key[0]), int(key[1])).view_as(y)
    spread = columns.sigma * (noise * root(energy))
    # A plain number over a tensor would be a product with its reciprocal, and round twice.
    z = (y + spread * draw) * (control[0] / columns.scale)
    peak = 0
    if top > 0:
        z = z.round().clamp(-8 * top, 8 * top)
        peak = int(z.abs().nan_to_num(0.0).max()) if watch else 0
        z = z.clamp(-top, top)
    value = z * (unit * columns.scale) + bias * columns.bias
    out.copy_(out + value if carry else value)
    return peak


def sense_flawed(
    y: Tensor, energy: Tensor, columns: FlawedColumns, control: Tensor, key: Tensor, out: Tensor
) -> int:
    """Read noise and flawed converters; see :func:`clnf.chip.kernels.sense_flawed`."""
    _, _, top, _, bias, carry, watch, _, _ = (float(v) for v in control)
    index = torch.arange(y.numel(), device=y.device)
    draw = gauss4(index, int(key[0]), int(key[1])).view_as(y)
    gain = control[0] / columns.scale * columns.gain
    spread = (control[3] * gain) * columns.sigma
    noise = root((spread * spread) * energy + control[7] * control[7])
    z = (y * gain + noise * draw) + columns.offset
    u = (z * (1.0 / control[2])).clamp(-1.0, 1.0)
    z = z + ((control[8] * _BOW) * u) * (1.0 - u * u)
    z = z.round().clamp(-8 * top, 8 * top)
    peak = int(z.abs().nan_to_num(0.0).max()) if watch else 0
    value = z.clamp(-top, top) * (control[1] * columns.scale) + bias * columns.bias
    out.copy_(out + value if carry else value)
    return peak


def plane_sums(seen: Tensor, kept: Tensor, noise: Tensor, weight: Tensor, variance: Tensor) -> None:
    """Weight and noise variance of cells; see :func:`clnf.chip.kernels.plane_sums`."""
    scale = noise[0] / seen.shape[0]
    weight.zero_()
    variance.zero_()
    for plane, value in enumerate(seen):
        sigma = noise[1] * (noise[2] + value)
        read = (noise[2] + value) * kept[plane] if len(kept) else value
        weight += read if plane % 2 == 0 else -read
        variance += sigma * sigma
    weight *= scale
    variance *= scale * scale
