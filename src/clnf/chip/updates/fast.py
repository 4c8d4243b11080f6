"""Fast cells beside a crossbar: single rows are read, cells brought to their symmetry points.

Legend: K lines, C columns, R rows.
"""

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from clnf.chip.bill import Bill
from clnf.chip.crossbar.array import Crossbar
from clnf.chip.crossbar.make import Make
from clnf.chip.crossbar.mapping import Mapping
from clnf.chip.program import Verify
from clnf.chip.readback import numbers_of, sense_lines
from clnf.devices.cell import Unknown
from clnf.devices.draws import hash_key, hash_normals
from clnf.devices.noise import RelativeNoise
from clnf.devices.response import Response

__all__ = ["attach", "read_lines", "shift_cycles", "zero_shift"]


def attach(tile: Crossbar, make: Make, gamma: float = 0.0) -> Crossbar:
    """Put fast cells beside those of a tile, or take the ones there: one each, and a reference.

    They lie on the same rows and columns, take no pulses where a fence is shut, and their state
    is part of the tile's. A read of a weight adds ``gamma`` times theirs.
    """
    if tile.fast is None:
        make = replace(make, mapping=Mapping(kind="reference"))
        fast = Crossbar(f"{tile.name}/fast", tile.rows, tile.columns, tile.seed, make)
        fast.scale.copy_(tile.scale)
        fast.move(tile.wear.device)
        fast.set_temperature(tile.temperature_k)
        if tile.waiting:
            fast.load_state(tile.waiting)
        fast.set_fence((tile.fence > 0).float())
        tile.fast, tile.waiting = fast, {}
    tile.gamma = gamma
    return tile.fast


def read_lines(tile: Crossbar, lines_K: Tensor, now_s: float, *, adc_bits: int = 0) -> Tensor:
    """Weights of some rows, driven one after the other at full voltage, [K, C].

    With the noise of a read, and converted: full scale of the converter is that of the column.

    Args:
        tile: what is read.
        lines_K: rows.
        now_s: simulated time.
        adc_bits: of the converter; 0 for none.
    """
    if tile.make.kernels and tile.seen.is_cpu and _is_simple(tile):
        return _read_at_once(tile, lines_K, adc_bits)
    weight_KC, variance_KC = _lines(tile, lines_K, now_s)
    if variance_KC is not None:
        place = ("line", tile.operations, int(lines_K[0]))
        device, compiled = weight_KC.device, tile.make.kernels
        draw = hash_normals(
            tile.seed, place, tuple(weight_KC.shape), device=device, compiled=compiled
        )
        weight_KC = weight_KC.addcmul_(variance_KC.sqrt_(), draw)
    if adc_bits:
        top = 2 ** (adc_bits - 1) - 1
        code = (weight_KC * (top / tile.column_scale())).round_().clamp_(-top, top)
        weight_KC = code.mul_(tile.column_scale() / top)
    return weight_KC


def _is_simple(tile: Crossbar) -> bool:
    noise = tile.cell.noise if tile.make.noisy else None
    known = noise is None or isinstance(noise, (Unknown, RelativeNoise))
    return known and not tile.drifts and tile.make.wires is None


def _read_at_once(tile: Crossbar, lines_K: Tensor, adc_bits: int) -> Tensor:
    """The same by one compiled pass; a view of [C, K]."""
    out = torch.empty(tile.shape[0], len(lines_K))
    top = 2 ** (adc_bits - 1) - 1 if adc_bits else 0
    key = hash_key(tile.seed, "line", tile.operations, int(lines_K[0]))
    low, high = tile.cell.bounds
    numbers = np.array((*numbers_of(tile), top), dtype=np.float32)
    numbers[0] = tile.make.mapping.coefficient * 2 / (high - low)
    scale, lines = tile.column_scale().numpy(), lines_K.numpy()
    sense_lines(tile.seen.numpy(), scale, lines, numbers, key, out.numpy())
    return out.T


def _lines(tile: Crossbar, lines_K: Tensor, now_s: float) -> tuple[Tensor, Tensor | None]:
    noise = tile.cell.noise if tile.make.noisy else None
    if not _is_simple(tile):
        weight, variance = tile.view(now_s)
        return weight[:, lines_K].T.contiguous(), variance[:, lines_K].T.contiguous()
    w = tile.seen.view(tile.planes, *tile.shape)[:, :, lines_K].transpose(1, 2)
    low, high = tile.cell.bounds
    per_w = tile.make.mapping.coefficient * 2 / (high - low)
    full = per_w * tile.column_scale()
    weight = (w[0::2] - w[1::2]).sum(0).mul_(full)
    if not isinstance(noise, RelativeNoise):
        return weight, None
    window = tile.cell.need(tile.cell.window)
    middle = window.low_s * (high - low) / window.span_s - low
    return weight, (w + middle).mul_(noise.fraction).square_().sum(0).mul_(full.square())


def shift_cycles(response: Response) -> int:
    """Pulses up and down that bring cells to their symmetry points: none if they start there."""
    alike = response.step_up == response.step_down and response.bias_spread == 0.0
    if response.kind == "linear" and alike:
        return 0
    return min(math.ceil(2 * response.states), 1000)


@torch.no_grad()
def zero_shift(tile: Crossbar, cycles: int, bill: Bill, verify: Verify, now_s: float) -> None:
    """Bring cells to where pulses up and down weigh the same, and references to that level.

    Alternating pulses take every cell to its own symmetry point; then the reference beside it is
    written to the same conductance, by write-verify on their difference.

    Args:
        tile: cells with references, changed in place.
        cycles: pulses up, each followed by one down.
        bill: where to charge.
        verify: accepted error and rounds.
        now_s: simulated time.

    Source: Kim et al., "Zero-shifting technique for deep neural network training on resistive
    cross-point arrays", arXiv 1907.10228 (2019).
    """
    one = torch.ones(tile.shape, device=tile.wear.device)
    for cycle in range(2 * cycles):
        train = one if cycle % 2 == 0 else -one
        bill.pulses(tile, *tile.pulse(train, fenced=False, now_s=now_s, plane=0))
    full, pending = tile.scale[:, None], one.bool()
    for _ in range(verify.rounds):
        weight, variance = tile.view(now_s)
        read = weight + variance.sqrt() * tile.normals("shift", tile.operations)
        bill.verify(tile, int(pending.sum()))
        pending &= read.abs() > verify.tolerance * full
        if not pending.any():
            break
        due = (-read / tile.weight_step).round().clamp(-verify.longest, verify.longest)
        due = torch.where(due == 0, -read.sign(), due) * pending
        bill.pulses(tile, *tile.pulse(due, fenced=False, now_s=now_s, plane=1))
