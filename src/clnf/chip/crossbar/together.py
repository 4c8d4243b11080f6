"""Wires of several crossbars solved at once: small matrices in one call cost less than in many."""

from collections.abc import Iterable

import torch

from clnf.chip.crossbar.cells import AbstractCells
from clnf.chip.crossbar.wires import effective_conductance

__all__ = ["solve_together"]

_MOST = 1 << 17  # cells that are solved together


def solve_together(tiles: Iterable[AbstractCells], now_s: float) -> None:
    """Solve the wires of crossbars as the next read of each would, to the same bits.

    Args:
        tiles: any; those of one shape between the same wires are solved together.
        now_s: simulated time.
    """
    alike: dict[object, list[AbstractCells]] = {}
    for tile in tiles:
        if tile.is_unsolved(now_s):
            kind = tile.wires, tile.shape, tile.planes, tile.wear.device
            alike.setdefault(kind, []).append(tile)
    for group in alike.values():
        at_once = max(_MOST // (group[0].planes * group[0].size), 1)
        for start in range(0, len(group), at_once):
            _solve(group[start : start + at_once], now_s)


def _solve(tiles: list[AbstractCells], now_s: float) -> None:
    wires = tiles[0].wires
    assert wires is not None
    cells = torch.cat([tile.between_wires(now_s) for tile in tiles])
    effective = effective_conductance(cells.mT, wires).mT
    for tile, part in zip(tiles, effective.split(tiles[0].planes), strict=True):
        tile.take_solution(part, now_s)
