"""Calibration at temperature: scales of columns and ranges of converters, learned anew.

Vectors of signs are sent through every tile, each several times, and the answers averaged: read
noise falls with the root of the number of reads. The least-squares gain of each column between the
answers wanted and those found becomes its digital factor,

    factor = sum_k a_k y_k / sum_k y_k^2,

as in :mod:`clnf.chip.compensation`, here for cells that learn as well. It undoes what all cells of
a column share; what the cells of one column do not share stays. Every product is charged.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from clnf.chip.compensation import PROBES
from clnf.chip.crossbar.array import Crossbar
from clnf.chip.hosting import Chip
from clnf.core.errors import ConfigError
from clnf.core.inputs import whole
from clnf.core.ledger import Cost
from clnf.core.units import quantity

__all__ = ["Calibrated", "answers", "calibrate"]

LESSON = "calibration"


@final
@dataclass(frozen=True, kw_only=True)
class Calibrated:
    """What a calibration did.

    Attributes:
        off_before: root-mean-square error of products over that of the products wanted, without
            noise of the read that shows it.
        off_after: the same afterwards.
        cost: what it cost; the same sums stand in the ledger under "calibration".
        reads: of each vector.
    """

    off_before: float = quantity("1")
    off_after: float = quantity("1")
    cost: Cost
    reads: int = quantity("1")


@torch.no_grad()
def answers(
    chip: Chip, *, reads: int = 1, names: Collection[str] | None = None, vectors: int = PROBES
) -> dict[str, Tensor]:
    """Averaged answers of tiles to their vectors of signs, [columns, vectors] each.

    Args:
        chip: charged for the products.
        reads: of each vector, >= 1.
        names: of the tiles that are asked; None for all but those that are blank.
        vectors: how many of a tile's vectors of signs are sent, the first ones; 1 to 32.

    Raises:
        ConfigError: fewer than one read, no such number of vectors, or a tile that is not there.
        DeviceLimitError: a tile holds nothing yet.
    """
    if reads < 1:
        raise ConfigError(f"answers are averaged over at least one read, got {reads}")
    whole("vectors", vectors, least=1, most=PROBES)
    _check_names(chip, names or ())
    lesson, chip.ledger.lesson = chip.ledger.lesson, LESSON
    found, blank = {}, chip.blank
    for name, tile in chip.tiles.items():
        if name in blank if names is None else name not in names:
            continue
        exact, spread = _products(tile, chip.clock_s, vectors)
        tile.events += 1
        draw = tile.normals("calibrate", tile.events, vectors=vectors, of_columns=True)
        found[name] = exact + (spread / reads).sqrt() * draw.T
        chip.bill.products(tile, vectors * reads)
    chip.ledger.lesson = lesson
    return found


@torch.no_grad()
def calibrate(
    chip: Chip,
    wanted: Mapping[str, Tensor],
    *,
    reads: int = 1,
    inputs: Callable[[], object] | None = None,
) -> Calibrated:
    """Bring products back to what they were.

    Args:
        chip: its columns get new factors and, with ``inputs``, its converters new ranges.
        wanted: by tile what :func:`answers` gave when all was well; tiles left out stay, and
            are not read.
        reads: of each vector, >= 1.
        inputs: sends typical inputs through the module, from which converters take their ranges;
            those reads are charged too.

    Raises:
        ConfigError: as :func:`answers`, or a tile that is not there.
    """
    _check_names(chip, wanted)
    before = chip.ledger.total(lesson=LESSON)
    off_before = _off(chip, wanted)
    for name, now in answers(chip, reads=reads, names=wanted).items():
        tile, square = chip.tiles[name], now.square().sum(1)
        factor = (wanted[name] * now).sum(1) / square.clamp(min=1e-24)
        alive = (square > 0) & (factor > 0)
        tile.compensation = tile.compensation * torch.where(alive, factor, 1.0)
    for layer in chip.layers.values():
        if not layer.blank:
            layer.refresh()
    if inputs is not None:
        _ranges(chip, inputs)
    after = chip.ledger.total(lesson=LESSON)
    cost = Cost(
        count=after.count - before.count,
        energy_aj=after.energy_aj - before.energy_aj,
        time_ps=after.time_ps - before.time_ps,
    )
    off = _off(chip, wanted)
    return Calibrated(off_before=off_before, off_after=off, cost=cost, reads=reads)


def _check_names(chip: Chip, names: Collection[str]) -> None:
    if unknown := set(names) - set(chip.tiles):
        raise ConfigError(f"no tiles {', '.join(sorted(unknown))} on this chip")


def _products(tile: Crossbar, now_s: float, vectors: int = PROBES) -> tuple[Tensor, Tensor]:
    """Products with the tile's vectors of signs, and the variance of one read of each column."""
    weight, variance = tile.view(now_s)
    signs = tile.normals("signs", vectors=PROBES).sign()[:vectors]
    return weight @ signs.T, variance.sum(1, keepdim=True)


def _off(chip: Chip, wanted: Mapping[str, Tensor]) -> float:
    missed = size = 0.0
    for name, want in wanted.items():
        exact, _ = _products(chip.tiles[name], chip.clock_s)
        missed += float((exact - want).double().square().sum())
        size += float(want.double().square().sum())
    return float((missed / max(size, 1e-300)) ** 0.5)


def _ranges(chip: Chip, inputs: Callable[[], object]) -> None:
    """Let all converters take their ranges from typical inputs."""
    lesson, chip.ledger.lesson = chip.ledger.lesson, LESSON
    for layer in chip.layers.values():
        for converter in (layer.dac, *layer.adcs):
            converter.range = 0.0
    chip.calibrating(True)
    try:
        inputs()
    finally:
        chip.calibrating(False)
        chip.ledger.lesson = lesson
