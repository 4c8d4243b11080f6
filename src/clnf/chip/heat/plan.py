"""Where tiles lie: squares of their known areas side by side on shelves.

A simple plan, and named as such: nobody published how the tiles of a hosted network lie. Tiles of
like size stand together, the largest first; what is between a shelf and the next is empty.
"""

import math
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from clnf.chip.crossbar.array import Crossbar
from clnf.chip.floorplan import TileArea, area
from clnf.chip.hosting import Chip
from clnf.core.errors import ConfigError
from clnf.core.units import quantity

__all__ = ["Plan", "Site", "covered", "place"]

Array = NDArray[np.float64]


@final
@dataclass(frozen=True, kw_only=True)
class Site:
    """One tile's place.

    Attributes:
        name: of the tile.
        left_m: its left side, from the left of the chip.
        low_m: its lower side.
        side_m: of the square.
        lines: rows of its array.
        columns: columns of its array, side by side for all cells of a weight.
    """

    name: str
    left_m: float = quantity("m")
    low_m: float = quantity("m")
    side_m: float = quantity("m")
    lines: int = quantity("1")
    columns: int = quantity("1")


@final
@dataclass(frozen=True, kw_only=True)
class Plan:
    """All tiles of a chip.

    Attributes:
        width_m: of the chip.
        depth_m: of the chip.
        pitch_m: from one cell of an array to the next.
        sites: the tiles.
    """

    width_m: float = quantity("m")
    depth_m: float = quantity("m")
    pitch_m: float = quantity("m")
    sites: tuple[Site, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Of the tiles, in the order of everything that has one number a tile."""
        return tuple(site.name for site in self.sites)

    def shares(self, rows: int, columns: int) -> tuple[Array, Array]:
        """Share of each tile that lies in each row and in each column of a grid.

        Args:
            rows: of the grid over the chip.
            columns: of the grid.

        Returns:
            [tiles, rows] and [tiles, columns]; each line sums to 1.
        """
        low, left, side = (
            np.array([getattr(site, key) for site in self.sites])
            for key in ("low_m", "left_m", "side_m")
        )
        return (
            covered(low, low + side, self.depth_m, rows),
            covered(left, left + side, self.width_m, columns),
        )


def covered(start_m: Array, end_m: Array, length_m: float, cells: int) -> Array:
    """Share of each interval that lies in each of equal cells of a length, [intervals, cells].

    >>> import numpy as np
    >>> covered(np.array([0.5]), np.array([2.5]), 4.0, 4).tolist()
    [[0.25, 0.5, 0.25, 0.0]]
    """
    edges = np.linspace(0.0, length_m, cells + 1)
    inside = np.clip(edges[None, :], start_m[:, None], end_m[:, None])
    return np.asarray(np.diff(inside, axis=1) / (end_m - start_m)[:, None])


def place(chip: Chip, *, pitch_m: float | None = None) -> Plan:
    """Put a chip's tiles on a plan.

    Args:
        chip: whose technology says what the parts of a tile occupy; unknown parts occupy nothing,
            see :func:`clnf.chip.floorplan.area`.
        pitch_m: from cell to cell; None for the root of the technology's area of a cell.

    Raises:
        DeviceLimitError: no pitch was given and the technology knows no area of a cell.
        ConfigError: the pitch is not above 0.
    """
    if pitch_m is not None and not 0 < pitch_m < math.inf:
        raise ConfigError(f"the pitch of cells is above 0 m and finite, got {pitch_m}")
    pitch = pitch_m or math.sqrt(chip.circuit.costs.get("cell_area_m2"))
    areas, tiles = area(chip), chip.tiles
    sides = {name: _side_m(areas[name], tile, pitch) for name, tile in tiles.items()}
    order = sorted(sides, key=lambda name: -sides[name])
    width = max(math.sqrt(sum(side**2 for side in sides.values())), sides[order[0]])
    sites: list[Site] = []
    left, low, shelf, right = 0.0, 0.0, 0.0, 0.0
    for name in order:
        side = sides[name]
        if left and left + side > width * (1 + 1e-9):
            left, low, shelf = 0.0, low + shelf, 0.0
        lines, columns = _size(tiles[name])
        sites.append(
            Site(name=name, left_m=left, low_m=low, side_m=side, lines=lines, columns=columns)
        )
        left, shelf = left + side, max(shelf, side)
        right = max(right, left)
    return Plan(width_m=right, depth_m=low + shelf, pitch_m=pitch, sites=tuple(sites))


def _side_m(found: TileArea, tile: Crossbar, pitch_m: float) -> float:
    """Side of a tile's square: its parts and its cells, at this pitch."""
    lines, columns = _size(tile)
    other = found.known_m2 - found.parts_m2.get("cell", 0.0)
    return math.sqrt(other + lines * columns * pitch_m**2)


def _size(tile: Crossbar) -> tuple[int, int]:
    columns, rows = tile.shape
    return rows, columns * tile.planes
