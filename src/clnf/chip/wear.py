"""How worn tiles are, told by their cells and by the ledger."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from clnf.chip.crossbar.array import Crossbar
from clnf.core.ledger import NO_LESSONS, Ledger
from clnf.core.units import quantity

__all__ = ["TileWear", "worn"]


@final
@dataclass(frozen=True, kw_only=True)
class TileWear:
    """How worn a tile is.

    Attributes:
        most: pulses of its most worn cell.
        mean: pulses per cell.
        worst: that cell as (plane, column, row).
        endurance: pulses a cell is expected to survive; infinite where that is unknown.
        source: where that figure comes from.
        life_lessons: lessons left to its most worn cell at the mean rate so far; infinite
            while nothing was taught.
    """

    most: int = quantity("1")
    mean: float = quantity("1")
    worst: tuple[int, int, int] = quantity("1")
    endurance: float = quantity("1")
    source: str
    life_lessons: float = quantity("1")


def worn(tiles: Mapping[str, Crossbar], ledger: Ledger) -> dict[str, TileWear]:
    """Wear of every tile.

    A partial pulse counts as a full cycle, which is pessimistic. The rate of the most worn
    cell is its share of the tile's pulses outside "setup" and "calibration", over the lessons
    in the ledger.

    Args:
        tiles: by name.
        ledger: what they were charged with.
    """
    rows = ledger.state()
    lessons = {row[1] for row in rows} - NO_LESSONS
    pulses: dict[tuple[str, bool], int] = {}
    for tile_name, lesson, op, count, *_ in rows:
        if op == "pulse":
            key = (tile_name, lesson in NO_LESSONS)
            pulses[key] = pulses.get(key, 0) + count
    return {
        name: _tile_wear(
            tile, pulses.get((name, False), 0), pulses.get((name, True), 0), len(lessons)
        )
        for name, tile in tiles.items()
    }


def _tile_wear(tile: Crossbar, taught: int, other: int, lessons: int) -> TileWear:
    """Wear of one tile, given its pulses in lessons and outside them."""
    published = tile.cell.material.values.get("endurance_cycles")
    endurance = published.number if published else float("inf")
    source = f"{published.source} ({published.material})" if published else "not published"
    cells = tile.wear.reshape(tile.planes, -1)
    plane, cell = divmod(int(cells.argmax()), cells.shape[1])
    most = int(cells[plane, cell])
    rate = most * (taught / max(taught + other, 1)) / max(lessons, 1)
    return TileWear(
        most=most,
        mean=float(cells.double().mean()),
        worst=(plane, *divmod(cell, tile.rows.stop - tile.rows.start)),
        endurance=endurance,
        source=source,
        life_lessons=(endurance - most) / rate if rate else float("inf"),
    )
