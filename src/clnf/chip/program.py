"""Writing weights into cells and checking them: write-verify.

Every pulse and every verifying read is charged to the ledger and wears its cell.

Write-verify is rare and a long row of small passes, so it always runs on the CPU and its result
goes back to where the tile lives. A seed so gives the same cells, bit for bit, on any device.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import inf
from typing import final

import numpy as np
import torch
from torch import Tensor

from clnf.chip.bill import Bill
from clnf.chip.compensation import remember
from clnf.chip.crossbar.array import Crossbar
from clnf.chip.crossbar.attenuation import aimed
from clnf.chip.crossbar.mapping import Mapping
from clnf.chip.crossbar.together import solve_together
from clnf.core.errors import ConfigError
from clnf.core.inputs import check_fields
from clnf.core.ledger import ATTOJOULES_PER_JOULE
from clnf.core.units import quantity
from clnf.devices.cell import Unknown
from clnf.devices.draws import hash_key, hash_normals, normals_at
from clnf.devices.writing import Laws, Writing, drift_numbers, error_numbers, settled, written

__all__ = ["Verify", "write_all", "write_by_pulses", "write_once"]

_VERIFY_S = 1e-6  # after the pulse, when the verifying read comes
_CPU = torch.device("cpu")


@final
@dataclass(frozen=True, kw_only=True)
class Verify:
    """When a cell counts as written.

    Attributes:
        tolerance: accepted error, as a share of full scale.
        rounds: largest number of program-and-verify rounds.
        longest: most pulses to one cell in a round.
    """

    tolerance: float = quantity("1", 0.01)
    rounds: int = quantity("1", 20)
    longest: int = quantity("1", 1023)

    def __post_init__(self) -> None:
        check_fields(self)
        if not (0 < self.tolerance < inf and self.rounds >= 1 and 1 <= self.longest <= 32767):
            raise ConfigError(
                "verifying needs a finite tolerance above 0, at least 1 round and trains of 1 to "
                f"32767 pulses, got {self.tolerance}, {self.rounds}, {self.longest}"
            )


@torch.no_grad()
def write_once(
    tile: Crossbar, target_CR: Tensor, now_s: float, bill: Bill, verify: Verify
) -> float:
    """Program weights by the published error of their cells: write, read, repeat if far off.

    The verifying read comes a microsecond after the pulse, with the read noise of that time. Each
    round draws the published error anew; with one round what was published is what stays. Energy
    per pulse is taken at full conductance (an upper estimate).

    Args:
        tile: written in place.
        target_CR: weights.
        now_s: simulated time, start of the drift.
        bill: where to charge.
        verify: accepted error and rounds.

    Returns:
        Root-mean-square weight error over the root-mean-square weight, before drift.
    """
    (off,) = write_all([tile], [target_CR], now_s, bill, verify)
    return off


@torch.no_grad()
def write_all(
    tiles: Sequence[Crossbar],
    targets_CR: Sequence[Tensor],
    now_s: float,
    bill: Bill,
    verify: Verify,
) -> list[float]:
    """Program several tiles as :func:`write_once` does each, and solve their wires together."""
    homes = [tile.move(_CPU) for tile in tiles]
    targets = [target.cpu() for target in targets_CR]
    weights = [
        _written(tile, target, now_s, bill, verify)
        for tile, target in zip(tiles, targets, strict=True)
    ]
    solve_together(tiles, now_s)
    left = []
    for tile, target, weight in zip(tiles, targets, weights, strict=True):
        now = _as_written(tile, now_s) if weight is None else weight
        remember(tile, now)
        size, off = (torch.linalg.vector_norm(t) for t in (target, now.sub_(target)))
        left.append(float(off / size.clamp(min=1e-12 * now.numel() ** 0.5)))
    for tile, home in zip(tiles, homes, strict=True):
        tile.move(home)
    return left


def _written(
    tile: Crossbar, target_CR: Tensor, now_s: float, bill: Bill, verify: Verify
) -> Tensor | None:
    """Write the cells of one tile; returns their weights where the same pass gave them."""
    tile.scale = torch.maximum(target_CR.amax(1), -target_CR.amin(1))  # ten times its norm's speed
    tile.compensation = torch.ones_like(tile.scale)
    laws = _laws(tile, verify)
    if laws is None:
        count, rounds = _write_cells(tile, target_CR, verify)
        if tile.drifts:
            tile.born_s.fill_(now_s)
        weight = None
    else:
        weight, count, rounds = _write_at_once(tile, target_CR, laws, now_s), tile.seen.numel(), 1
    if tile.hidden is not tile.seen:
        tile.hidden.copy_(tile.seen)
    tile.events += rounds
    tile.formed = True
    bill.pulses(tile, count, count * _full_pulse_aj(tile), rounds)
    bill.verify(tile, count)
    tile.settle()
    # More than four pairs are summed in an order of torch's own.
    read = tile.make.wires is not None or tile.make.mapping.pairs > 4
    return None if read else weight


def _as_written(tile: Crossbar, now_s: float) -> Tensor:
    """Weights of cells that have not drifted since their write, [C, R]."""
    mapping = tile.make.mapping
    if tile.make.wires is not None or mapping.slices > 1:
        return tile.view(now_s)[0]
    pairs = tile.seen.view(mapping.pairs, 2, tile.size)
    apart = pairs[:, 0] - pairs[:, 1]
    weight = (apart.sum(0) if len(apart) > 1 else apart).view(tile.shape)
    return weight.mul_(_counts(tile)[:, None])


def _counts(tile: Crossbar) -> Tensor:
    """What one w counts in each column, in weights, [C]."""
    low, high = tile.cell.bounds
    return tile.scale * tile.compensation * (tile.make.mapping.coefficient * 2 / (high - low))


def _full_pulse_aj(tile: Crossbar) -> int:
    pulse, window = tile.cell.pulse, tile.cell.need(tile.cell.window)
    if isinstance(pulse, Unknown):
        return 0
    return round(pulse.up_v**2 * window.high_s * pulse.width_s * ATTOJOULES_PER_JOULE)


def _laws(tile: Crossbar, verify: Verify) -> Laws | None:
    """What a single pass over these cells needs to know, or None where one does not do.

    It does for one round, for targets that follow their weight in two straight lines, and for the
    published laws that it knows.
    """
    mapping = tile.make.mapping
    corrected = tile.make.correct_wires and tile.make.wires is not None
    if verify.rounds > 1 or corrected or mapping.slices > 1:
        return None
    errors, numbers = error_numbers(tile.cell), drift_numbers(tile.cell)
    if errors is None or numbers is None:
        return None
    return Laws(_lines(mapping, tile.cell.bounds), errors, numbers)


@lru_cache(maxsize=4)
def _lines(mapping: Mapping, bounds: tuple[float, float]) -> Tensor:
    """Where each plane puts a weight of 0, and what it adds per unit above and below 0."""
    below, middle, above = mapping.targets(torch.tensor([[-1.0, 0.0, 1.0]]), bounds)[:, 0].T
    return torch.stack([middle, above - middle, middle - below], 1).contiguous()


def _write_at_once(tile: Crossbar, target_CR: Tensor, laws: Laws, now_s: float) -> Tensor:
    """Write all cells of a tile in one pass; returns their weights without wires, [C, R]."""
    first = hash_key(tile.seed, "program", tile.events + 1, "write")
    keys = np.concatenate([first, hash_key(tile.seed, "drift", tile.events)])
    seen, trait, born_s, wear = (
        t.view(-1) for t in (tile.seen, tile.trait, tile.born_s, tile.wear)
    )
    weight = torch.empty(tile.size)
    scales = torch.stack([tile.scale.clamp(min=1e-12), _counts(tile)])
    target = target_CR.reshape(-1)
    cells = Writing(seen, trait, born_s, wear, weight, now_s)
    written(target, scales, laws, keys, cells, compiled=tile.make.kernels)
    return weight.view(tile.shape)


def _write_cells(tile: Crossbar, target_CR: Tensor, verify: Verify) -> tuple[int, int]:
    """Write-verify all cells of a tile; returns pulses and rounds."""
    cell, compiled, numbers = tile.cell, tile.make.kernels, drift_numbers(tile.cell)
    seen, trait, place = tile.seen.view(-1), tile.trait.view(-1), ("drift", tile.events)
    relative_CR = target_CR / tile.scale.clamp(min=1e-12)[:, None]
    wanted_s = cell.conductance_s(tile.make.mapping.targets(relative_CR, cell.bounds))
    if tile.make.correct_wires and tile.make.wires is not None:
        window = cell.need(cell.window)
        wanted_s, factor = aimed(wanted_s, tile.make.wires, (window.low_s, window.high_s))
        tile.scale.div_(factor)
    now, count, rounds = _write_and_verify(tile, wanted_s.view(-1), verify)
    if numbers is not None:
        settled(now, numbers, hash_key(tile.seed, *place), seen, trait, compiled=compiled)
    else:
        seen.copy_(cell.weight(now))
        if not isinstance(cell.drift, Unknown):
            draw = hash_normals(tile.seed, place, tuple(now.shape), compiled=compiled)
            trait.copy_(cell.drift.trait(now, draw))
    return count, rounds


def _write_and_verify(tile: Crossbar, wanted: Tensor, verify: Verify) -> tuple[Tensor, int, int]:
    """Conductance of the cells written to ``wanted``, pulses and rounds."""
    cell, compiled = tile.cell, tile.make.kernels
    error, window = cell.need(cell.programming), cell.need(cell.window)
    written, pending = torch.empty(wanted.numel()), torch.arange(len(wanted))
    wear = tile.wear.view(-1)
    count = rounds = 0
    while rounds < verify.rounds and len(pending):
        rounds += 1
        place = ("program", tile.events + rounds)
        target = wanted[pending]
        draw = normals_at(tile.seed, (*place, "write"), pending, compiled=compiled)
        now = error.sigma(target).mul_(draw).add_(target).clamp_(min=0.0)
        written[pending] = now
        wear[pending] += 1
        count += len(pending)
        if rounds == verify.rounds:
            break
        read = now
        if tile.make.noisy and not isinstance(cell.noise, Unknown):
            draw = normals_at(tile.seed, (*place, "verify"), pending, compiled=compiled)
            read = cell.noise.sigma(now, now, _VERIFY_S).mul_(draw).add_(now)
        pending = pending[(read - target).abs() > verify.tolerance * window.span_s]
    return written, count, rounds


@torch.no_grad()
def write_by_pulses(
    tile: Crossbar,
    target_CR: Tensor,
    bill: Bill,
    verify: Verify,
    *,
    only_CR: Tensor | None = None,
    now_s: float = 0.0,
) -> float:
    """Bring weights to a target by pulses, closing the loop on the weight read back.

    The verifying read sees the summed current of a weight's cells, as a column read does. What
    one pulse moves is learned on the way, weight by weight.

    Args:
        tile: pulsed in place.
        target_CR: weights; beyond the range they are cut to it.
        bill: where to charge.
        verify: accepted error and rounds.
        only_CR: bool, weights that may be pulsed; None for all.
        now_s: simulated time.

    Returns:
        Root-mean-square weight error left, in units of the tile's full scale.
    """
    home = tile.move(_CPU)
    target_CR = target_CR.cpu()
    full = tile.scale[:, None]
    target = torch.minimum(torch.maximum(target_CR, -full), full)
    allowed = torch.ones_like(target, dtype=torch.bool) if only_CR is None else only_CR.cpu()
    pending = allowed.clone()
    step, before, given = torch.full_like(target, tile.weight_step), None, torch.zeros_like(target)
    for _ in range(verify.rounds):
        weight, variance = tile.view(now_s)
        read = weight + variance.sqrt() * tile.normals("verify", tile.operations)
        bill.verify(tile, int(pending.sum()))
        error = target - read
        pending &= error.abs() > verify.tolerance * full
        if not pending.any():
            break
        if before is not None:
            step = _learned(step, (read - before).abs(), given, tile.weight_step)
        before, given = read, _wanted(error / step, error) * pending
        for train in _shares(given, len(tile.make.mapping.taught), verify.longest):
            bill.pulses(tile, *tile.pulse(train, fenced=False, now_s=now_s))
    left = ((tile.view(now_s)[0] - target_CR) / full)[allowed]
    tile.move(home)
    return float(left.square().mean().sqrt()) if left.numel() else 0.0


def _wanted(steps: Tensor, error: Tensor) -> Tensor:
    """Whole pulses against an error, at least one."""
    whole = steps.round()
    return torch.where(whole == 0, error.sign(), whole)


def _learned(step: Tensor, moved: Tensor, given: Tensor, typical: float) -> Tensor:
    """What a pulse moves this weight by, corrected half-way by what the last train did."""
    seen = moved / given.abs().clamp(min=1.0)
    better = ((step + seen) / 2).clamp(typical / 8, typical * 64)
    return torch.where(given != 0, better, step)


def _shares(wanted: Tensor, planes: int, longest: int) -> Iterator[Tensor]:
    """Trains for the planes that are taught: even shares, what is left on the first."""
    shared = (wanted / planes).trunc()
    yield (wanted - shared * planes + shared).clamp(-longest, longest)
    others = shared.clamp(-longest, longest)
    if bool(others.any()):
        for _ in range(planes - 1):
            yield others
