"""One line for each tile and each group: cells, area, talk, wear and warmth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, final

from clnf.chip.analog import AbstractAnalog
from clnf.chip.crossbar.array import Crossbar
from clnf.chip.floorplan import area
from clnf.chip.groups.placement import Placement, Routing
from clnf.chip.heat.network import State
from clnf.chip.heat.power import Work
from clnf.chip.hosting import Chip
from clnf.core.units import quantity

__all__ = ["GroupLine", "Seen", "TileLine", "group_lines", "tile_lines"]

NO_GROUP = "-"


class Seen(NamedTuple):
    """What was found out about a chip while it worked.

    Attributes:
        groups: group of each tile, None for those of none.
        placed: where tiles lie.
        routing: what the talk of the work cost there.
        done: what each tile did.
        state: temperatures at rest while the work is repeated.
    """

    groups: Mapping[str, str | None]
    placed: Placement
    routing: Routing
    done: Mapping[str, Work]
    state: State


@final
@dataclass(frozen=True, kw_only=True)
class TileLine:
    """One tile.

    Attributes:
        tile: its name.
        group: its group.
        learns: whether lessons write it.
        row: of the grid, from the top.
        column: of the grid.
        cells: that hold weights.
        used: those over all cells of a whole tile of this chip, spare columns included.
        area_m2: of its known parts.
        work_j: of reads and converters, for the work.
        routing_j: of what it sent.
        most_worn: writes of its most worn cell.
        spent: that over the published endurance; None where none was published.
        hottest_k: of its hottest cell.
    """

    tile: str
    group: str
    learns: bool
    row: int = quantity("1")
    column: int = quantity("1")
    cells: int = quantity("1")
    used: float = quantity("1")
    area_m2: float = quantity("m2")
    work_j: float = quantity("J")
    routing_j: float = quantity("J")
    most_worn: int = quantity("1")
    spent: float | None = quantity("1", None)
    hottest_k: float = quantity("K")


@final
@dataclass(frozen=True, kw_only=True)
class GroupLine:
    """One group; figures as of its tiles: sums, and the worst of wear and warmth.

    Attributes:
        group: its name.
        tiles: number of them.
        learning: number of those that lessons write.
        cells: that hold weights.
        used: those over all cells of whole tiles.
        area_m2: of known parts.
        work_j: see :class:`TileLine`.
        routing_j: likewise.
        most_worn: writes of the most worn cell.
        most_worn_tile: where that is.
        hottest_k: of the hottest cell.
        hottest_tile: where that is.
    """

    group: str
    tiles: int = quantity("1")
    learning: int = quantity("1")
    cells: int = quantity("1")
    used: float = quantity("1")
    area_m2: float = quantity("m2")
    work_j: float = quantity("J")
    routing_j: float = quantity("J")
    most_worn: int = quantity("1")
    most_worn_tile: str
    hottest_k: float = quantity("K")
    hottest_tile: str


def tile_lines(chip: Chip, seen: Seen) -> list[TileLine]:
    """A line for each tile, in the order of the groups' names and then of the layers."""
    areas, wear = area(chip), chip.wear()
    warm = dict(zip(seen.state.names, seen.state.hottest_k.tolist(), strict=True))
    lines = []
    for layer in chip.layers.values():
        for tile, whole in _tiles(chip, layer):
            name, done = tile.name, seen.done.get(tile.name, Work())
            row, column = divmod(
                seen.placed.places[seen.placed.names.index(name)], seen.placed.columns
            )
            cells, most = tile.size * tile.planes, wear[name].most
            known = wear[name].endurance < float("inf")
            lines.append(
                TileLine(
                    tile=name,
                    group=seen.groups.get(name) or NO_GROUP,
                    learns=layer.plastic,
                    row=row,
                    column=column,
                    cells=cells,
                    used=cells / whole,
                    area_m2=areas[name].known_m2,
                    work_j=done.cells_j + done.logic_j,
                    routing_j=seen.routing.by_tile_j.get(name, 0.0),
                    most_worn=most,
                    spent=most / wear[name].endurance if known else None,
                    hottest_k=warm[name],
                )
            )
    return sorted(lines, key=lambda line: line.group)


def _tiles(chip: Chip, layer: AbstractAnalog) -> list[tuple[Crossbar, int]]:
    """Tiles of a layer, and how many cells a whole tile of this kind has."""
    found = []
    for tile, spot in zip(layer.tiles, layer.spots, strict=True):
        lines = chip.spec.rows(plastic=layer.plastic) * spot.stack
        columns = chip.spec.tile_columns + tile.make.spare_columns
        found.append((tile, lines * columns * tile.planes))
        if tile.fast is not None:
            found.append((tile.fast, lines * columns * tile.fast.planes))
    return found


def group_lines(lines: Sequence[TileLine]) -> list[GroupLine]:
    """A line for each group, by name; those of none come as "-"."""
    found = []
    for group in sorted({line.group for line in lines}):
        mine = [line for line in lines if line.group == group]
        cells = sum(line.cells for line in mine)
        worn = max(mine, key=lambda line: line.most_worn)
        hot = max(mine, key=lambda line: line.hottest_k)
        found.append(
            GroupLine(
                group=group,
                tiles=len(mine),
                learning=sum(line.learns for line in mine),
                cells=cells,
                used=cells / sum(line.cells / line.used for line in mine),
                area_m2=sum(line.area_m2 for line in mine),
                work_j=sum(line.work_j for line in mine),
                routing_j=sum(line.routing_j for line in mine),
                most_worn=worn.most_worn,
                most_worn_tile=worn.tile,
                hottest_k=hot.hottest_k,
                hottest_tile=hot.tile,
            )
        )
    return found
