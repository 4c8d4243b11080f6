"""A picture of a chip: temperature, wear and activity of its tiles, with its groups outlined."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clnf.chip.groups.placement import Placement
from clnf.chip.groups.table import Seen, TileLine
from clnf.chip.heat.network import ThermalNetwork
from clnf.core.files import check_file, png_of, write_files

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_floor"]

_ZERO_C_K = 273.15
_FREE = "#ececec"  # places without a tile


def draw_floor(
    network: ThermalNetwork, seen: Seen, lines: list[TileLine], path: Path | str
) -> None:
    """Draw a PNG with three maps of one chip.

    Left the temperature of the layer of cells; in the middle the writes of each tile's most worn
    cell, where tiles that only store have few and lessons many; right the energy that each tile
    took for the work. Lines run round the groups, with their names.

    Args:
        network: of the placement's plan, see :func:`clnf.chip.groups.placement.plan_of`.
        seen: what was found out about the chip.
        lines: of all its tiles.
        path: the file, ending in ``.png``; one that is there is replaced.

    Raises:
        ExportError: the name ends in something else, or the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    path = check_file(path, ".png")
    figure = Figure(figsize=(13.2, 4.2), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    _heat(figure, figure.add_subplot(1, 3, 1), network, seen)
    worn = {line.tile: float(line.most_worn) for line in lines}
    _tiles(figure, figure.add_subplot(1, 3, 2), seen, worn, "wear|writes of the most worn cell")
    busy = {line.tile: line.work_j * 1e9 for line in lines}
    _tiles(figure, figure.add_subplot(1, 3, 3), seen, busy, "activity|energy of the work, nJ")
    write_files([(path, png_of(figure))])


def _heat(figure: "Figure", axes: "Axes", network: ThermalNetwork, seen: Seen) -> None:
    plan = network.plan
    width, depth = plan.width_m * 1e3, plan.depth_m * 1e3
    field = network.map(seen.state) - _ZERO_C_K
    shown = axes.imshow(field, origin="lower", extent=(0.0, width, 0.0, depth), cmap="inferno")
    figure.colorbar(shown, ax=axes, label="°C", fraction=0.046, pad=0.03)
    _outline(axes, seen, depth / seen.placed.rows)
    axes.set(title="temperature", xlabel="mm", ylabel="mm")


def _tiles(
    figure: "Figure", axes: "Axes", seen: Seen, values: Mapping[str, float], words: str
) -> None:
    from matplotlib.colors import LogNorm
    from matplotlib.ticker import LogFormatter

    title, label = words.split("|")
    placed = seen.placed
    grid = np.full((placed.rows, placed.columns), np.nan)
    for name, at in zip(placed.names, placed.places, strict=True):
        grid[divmod(at, placed.columns)] = values[name]
    above = grid[np.isfinite(grid) & (grid > 0)]
    low, high = (float(above.min()), float(above.max())) if above.size else (1.0, 10.0)
    norm = LogNorm(low, max(high, 1.01 * low))
    axes.set_facecolor(_FREE)
    drawn = np.where(grid == 0, low, grid)
    size = (0.0, float(placed.columns), 0.0, float(placed.rows))
    shown = axes.imshow(drawn, extent=size, cmap="viridis", norm=norm, interpolation="nearest")
    bar = figure.colorbar(shown, ax=axes, label=label, fraction=0.046, pad=0.03)
    bar.ax.yaxis.set_major_formatter(LogFormatter(minor_thresholds=(2.0, 0.5)))
    bar.ax.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(2.0, 0.5)))
    _outline(axes, seen, 1.0)
    axes.set(title=title, xticks=[], yticks=[], xlabel="places of the grid; grey ones are free")


def _outline(axes: "Axes", seen: Seen, side: float) -> None:
    """Lines between places of different groups, and each group's name where most of it lies."""
    from matplotlib.collections import LineCollection
    from matplotlib.patheffects import withStroke

    grid, names = _numbers(seen.placed, seen.groups)
    rows, columns = grid.shape
    ends: list[Any] = []
    for y in range(rows):
        for x in range(columns):
            top, left = (rows - y) * side, x * side
            if y and grid[y, x] != grid[y - 1, x]:
                ends.append([(left, top), (left + side, top)])
            if x and grid[y, x] != grid[y, x - 1]:
                ends.append([(left, top), (left, top - side)])
    axes.add_collection(LineCollection(ends, colors="white", linewidths=1.1))
    for number, name in enumerate(names):
        down, along = _middle(grid == number)
        text = axes.text(
            (along + 0.5) * side, (rows - down - 0.5) * side, name, ha="center", va="center",
            fontsize=7.5, color="white",
        )  # fmt: skip
        text.set_path_effects([withStroke(linewidth=2.0, foreground="black")])
    axes.set(xlim=(0.0, columns * side), ylim=(0.0, rows * side))


def _numbers(
    placed: Placement, groups: Mapping[str, str | None]
) -> tuple[NDArray[np.int64], list[str]]:
    """Number of the group at each place (-1: none, -2: free), and the groups' names."""
    names = sorted({group for group in groups.values() if group is not None})
    grid = np.full((placed.rows, placed.columns), -2, dtype=np.int64)
    for name, at in zip(placed.names, placed.places, strict=True):
        group = groups.get(name)
        grid[divmod(at, placed.columns)] = -1 if group is None else names.index(group)
    return grid, names


def _middle(mine: NDArray[np.bool_]) -> tuple[float, float]:
    """Where a group is widest, row and column; of like places the one nearest its middle."""
    from scipy.ndimage import distance_transform_edt

    deep = distance_transform_edt(np.pad(mine, 1))[1:-1, 1:-1]
    rows, columns = np.nonzero(deep == deep.max())
    here, there = rows - rows.mean(), columns - columns.mean()
    best = int(np.argmin(here**2 + there**2))
    return float(rows[best]), float(columns[best])
