"""Undoing drift digitally: one factor a tile, one a column, or one a column learned from products.

    global, column   factor = summed magnitudes at programming / summed magnitudes now
    learned          factor = sum_k a_k y_k / sum_k y_k^2, the least-squares gain of each column
                     from its answers y_k now to those a_k at programming, to K vectors of signs

The first two read every cell once, one by one. The learned factor needs K products only, reads the
column as it is used, and is right for the outputs, where the others are right for magnitudes.
Columns of pulsed cells are trimmed against their wires once, when they are new.

Source: Joshi et al., Nat. Commun. 2020 (one factor per tile, from a read of all rows; the factor
per column is the same idea at a finer grain).
"""

from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from clnf.chip.crossbar.array import Crossbar
from clnf.core.errors import ConfigError

if TYPE_CHECKING:
    from clnf.chip.bill import Bill

__all__ = ["PROBES", "compensate", "remember", "trim"]

# Vectors of the learned factor: its error from read noise and from what cells drift apart falls
# with the root of their number.
PROBES = 32


def remember(tile: Crossbar, weight_CR: Tensor) -> None:
    """Keep what a freshly written tile holds, to compare with later."""
    tile.expected = weight_CR.abs().sum(1)
    tile.answers = weight_CR @ _signs(tile).T


def _signs(tile: Crossbar) -> Tensor:
    return tile.normals("signs", vectors=PROBES).sign()


@torch.no_grad()
def trim(tile: Crossbar, now_s: float, bill: "Bill") -> None:
    """Let a pulse move a weight by what it would without wires, on average over a column.

    For cells that are pulsed, which no target tells what they should read: each column of formed
    cells is read once with all rows driven. What wires take more of far cells than of near ones
    stays.

    Args:
        tile: its ``compensation`` is replaced.
        now_s: simulated time.
        bill: where to charge the reads.
    """
    if tile.make.wires is None:
        return
    kept = tile.attenuation(now_s).view(tile.planes, *tile.shape)
    tile.compensation = 1.0 / kept.mean((0, 2)).clamp(min=1e-12)
    bill.products(tile, 1)


@torch.no_grad()
def compensate(
    tile: Crossbar, now_s: float, bill: "Bill", kind: Literal["global", "column", "learned"]
) -> None:
    """Undo the mean drift digitally, from one calibration.

    Args:
        tile: its ``compensation`` is replaced.
        now_s: simulated time.
        bill: where to charge the calibrating reads.
        kind: what the factor is for and made from, see the head of this module.

    Raises:
        ConfigError: there is no such kind.
    """
    if kind not in ("global", "column", "learned"):
        raise ConfigError(f"compensation is global, column or learned, got {kind!r}")
    tile.compensation = torch.ones_like(tile.scale)
    weight, variance = tile.view(now_s)
    tile.events += 1
    if kind == "learned":
        signs = _signs(tile)
        draw = tile.normals("compensate", tile.events, vectors=PROBES, of_columns=True)
        now = weight @ signs.T + variance.sum(1, keepdim=True).sqrt() * draw.T
        bill.products(tile, PROBES)
        square = now.square().sum(1)
        factor = (tile.answers * now).sum(1) / square.clamp(min=1e-24)
        tile.compensation = torch.where(square > 0, factor, torch.ones_like(factor))
        return
    draw = tile.normals("compensate", tile.events)
    now = (weight + variance.sqrt() * draw).abs().sum(1)
    bill.verify(tile, weight.numel())
    if kind == "column":
        factor = tile.expected / now.clamp(min=1e-12)
        tile.compensation = torch.where(tile.expected > 0, factor, torch.ones_like(factor))
    elif float(now.sum()) > 0:
        tile.compensation.fill_(float(tile.expected.sum() / now.sum()))
