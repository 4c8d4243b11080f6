"""Writing weights into cells and checking them: write-verify, compensation of drift.

Every pulse and every verifying read is charged to the ledger and wears its cell.

Write-verify is rare and a long row of small passes, so it always runs on the CPU and its result
goes back to where the tile lives. A seed so gives the same cells, bit for bit, on any device.
"""

from typing import final

import numpy as np
import torch
from torch import Tensor

from clnf.chip.crossbar.tile import PlasticTile, StoredTile, Tile
from clnf.chip.technology import Technology
from clnf.core.ledger import ATTOJOULES_PER_JOULE, PICOSECONDS_PER_SECOND, Ledger
from clnf.devices import pcm, pcm_kernels
from clnf.devices.dispatch import run
from clnf.devices.pcm_kernels import Written
from clnf.devices.soft_bounds import hash_key

__all__ = ["Bill", "compensate", "write_plastic", "write_stored"]

_LONGEST_TRAIN = 31
_CPU = torch.device("cpu")


@final
class Bill:
    """Charges writes and verifying reads of one chip."""

    def __init__(self, ledger: Ledger, costs: Technology) -> None:
        self.ledger = ledger
        self.costs = costs

    def pulses(self, tile: Tile, count: int, energy_aj: int, longest: int) -> None:
        """Charge write pulses; rows are selected one after the other."""
        rows = tile.rows.stop - tile.rows.start
        time_ps = longest * rows * round(tile.law.pulse_s * PICOSECONDS_PER_SECOND)
        self.ledger.charge_total(
            "pulse", tile=tile.name, count=count, energy_aj=energy_aj, time_ps=time_ps
        )

    def verify(self, tile: Tile, weights: int) -> None:
        """Charge reading ``weights`` weights one by one, each through the ADC."""
        each = self.costs.cell_read_j * tile.cells_per_weight + self.costs.adc_j
        self.ledger.charge(
            "verify", tile=tile.name, count=weights, energy_j=each, time_s=self.costs.mvm_s
        )


@torch.no_grad()
def write_stored(tile: StoredTile, target_CR: Tensor, now_s: float, bill: Bill) -> float:
    """Program weights into phase-change cells: write, read, repeat where the error is large.

    The verifying read comes a microsecond after the pulse, so its noise is the 1/f noise
    accumulated by then. Energy per pulse is taken at full conductance (an upper estimate).

    Args:
        tile: written in place.
        target_CR: weights.
        now_s: simulated time, start of the drift.
        bill: where to charge.

    Returns:
        Root-mean-square weight error over the root-mean-square weight, before drift.
    """
    law = tile.law
    home = tile.move(_CPU)
    target_CR = target_CR.cpu()
    tile.scale = target_CR.abs().amax(1)
    tile.compensation = torch.ones_like(tile.scale)
    relative = target_CR / tile.scale.clamp(min=1e-12)[:, None]
    wanted = torch.stack([relative.clamp(min=0.0), (-relative).clamp(min=0.0)])
    wanted = wanted * law.conductance_max_s
    pulse_aj = round(law.pulse_v**2 * law.conductance_max_s * law.pulse_s * ATTOJOULES_PER_JOULE)
    count, rounds = _write_cells(tile, wanted)
    tile.events += rounds
    bill.pulses(tile, count, count * pulse_aj, rounds)
    bill.verify(tile, count)
    tile.programmed_at_s = now_s
    weight, _ = tile.view(now_s)
    tile.expected = weight.abs().sum(1)
    tile.move(home)
    return float(
        (weight - target_CR).square().mean().sqrt() / (target_CR.square().mean().sqrt() + 1e-12)
    )


def _write_cells(tile: StoredTile, wanted: Tensor) -> tuple[int, int]:
    """Write-verify all cells of a tile; returns pulses and rounds."""
    spec = tile.spec
    numbers = tile.law.numbers(
        tolerance_s=spec.verify_tolerance * tile.law.conductance_max_s,
        noisy=spec.read_noise != "off",
        spreads=spec.spreads,
    )
    rounds = range(tile.events + 1, tile.events + 1 + spec.verify_rounds)
    keys = np.stack([hash_key(tile.seed, "program", event, words=4) for event in rounds])
    drift_key = hash_key(tile.seed, "drift", tile.events)
    cells = Written(*(t.view(-1) for t in (tile.programmed_s, tile.exponent, tile.wear)))
    args = (wanted.reshape(-1), cells, numbers, keys, drift_key)
    done: tuple[int, int] = run(
        pcm_kernels.write_verify, pcm.write_verify, args, compiled=spec.kernels
    )
    return done


@torch.no_grad()
def write_plastic(
    tile: PlasticTile, target_CR: Tensor, bill: Bill, *, only_CR: Tensor | None = None
) -> float:
    """Bring plastic weights to a target by pulses, closing the loop on the weight read back.

    The verifying read sees the summed current of a weight's cells, as a column read does.

    Args:
        tile: pulsed in place.
        target_CR: weights; beyond the range they are cut to it.
        bill: where to charge.
        only_CR: bool, weights that may be pulsed; None for all.

    Returns:
        Root-mean-square weight error left, in units of the tile's full scale.
    """
    home = tile.move(_CPU)
    target_CR = target_CR.cpu()
    target = target_CR.clamp(-tile.scale, tile.scale)
    allowed = torch.ones_like(target, dtype=torch.bool) if only_CR is None else only_CR.cpu()
    pending = allowed.clone()
    for _ in range(tile.spec.verify_rounds):
        weight, variance = tile.view(0.0)
        noise = tile.normals("verify", tile.operations)
        bill.verify(tile, int(pending.sum()))
        error = target - (weight + variance.sqrt() * noise)
        pending &= error.abs() > tile.spec.verify_tolerance * tile.scale
        if not pending.any():
            break
        train = (error / tile.weight_step).round().clamp(-_LONGEST_TRAIN, _LONGEST_TRAIN)
        train = torch.where(train == 0, error.sign(), train) * pending
        bill.pulses(tile, *tile.pulse(train, fenced=False))
    left = (tile.view(0.0)[0] - target_CR)[allowed]
    tile.move(home)
    return float(left.square().mean().sqrt() / tile.scale) if left.numel() else 0.0


@torch.no_grad()
def compensate(tile: StoredTile, now_s: float, bill: Bill, *, per_column: bool) -> None:
    """Undo the mean drift digitally from one calibrating read.

    Each cell is read once; the summed magnitude of each column now is compared with the one
    stored at programming. Their ratio becomes a digital factor, one per tile or one per column.

    Source: Joshi et al., Nat. Commun. 2020 (one factor per tile, from a read of all rows; the
    factor per column is the same idea at a finer grain).
    """
    tile.compensation = torch.ones_like(tile.scale)
    weight, variance = tile.view(now_s)
    tile.events += 1
    draw = tile.normals("compensate", tile.events)[0]
    now = (weight + variance.sqrt() * draw).abs().sum(1)
    bill.verify(tile, weight.numel())
    if per_column:
        factor = tile.expected / now.clamp(min=1e-12)
        tile.compensation = torch.where(tile.expected > 0, factor, torch.ones_like(factor))
    elif float(now.sum()) > 0:
        tile.compensation.fill_(float(tile.expected.sum() / now.sum()))
