"""A picture of a warm chip: map, cells of its hottest tile, a sweep, and temperature in time."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from clnf.chip.heat.course import Course
from clnf.chip.heat.effects import drawn
from clnf.chip.heat.network import State, ThermalNetwork
from clnf.chip.heat.sweep import Point
from clnf.chip.hosting import Chip
from clnf.core.files import check_file, png_of, write_files

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw"]

_ZERO_C_K = 273.15
# Okabe and Ito's colours, which people with any colour vision tell apart, and other marks as well.
_LINES = (("#0072B2", "o"), ("#D55E00", "s"), ("#009E73", "^"), ("#CC79A7", "v"), ("#555555", "D"))


def draw(
    chip: Chip,
    network: ThermalNetwork,
    state: State,
    path: Path | str,
    *,
    points: Sequence[Point] = (),
    courses: Mapping[str, Course] | None = None,
) -> None:
    """Draw a PNG.

    Args:
        chip: whose cells are drawn.
        network: its thermal resistances.
        state: at rest.
        path: the file, ending in ``.png``; one that is there is replaced.
        points: of a sweep; one more panel shows them where there are at least two.
        courses: temperatures in time by what is said of them; one more panel.

    Raises:
        ExportError: the name ends in something else, or the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    path = check_file(path, ".png")
    shown = 2 + (len(points) > 1) + bool(courses)
    rows, columns = (1, shown) if shown < 4 else (2, 2)
    figure = Figure(figsize=(4.2 * columns, 3.9 * rows), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    _map(figure, figure.add_subplot(rows, columns, 1), network, state)
    _array(figure, figure.add_subplot(rows, columns, 2), chip, network, state)
    if len(points) > 1:
        _sweep(figure.add_subplot(rows, columns, 3), points)
    if courses:
        _in_time(figure.add_subplot(rows, columns, shown), courses)
    write_files([(path, png_of(figure))])


def _map(figure: "Figure", axes: "Axes", network: ThermalNetwork, state: State) -> None:
    from matplotlib.patches import Rectangle

    plan = network.plan
    size = (0.0, plan.width_m * 1e3, 0.0, plan.depth_m * 1e3)
    field = network.map(state) - _ZERO_C_K
    shown = axes.imshow(field, origin="lower", extent=size, cmap="inferno")
    for site in plan.sites:
        corner = site.left_m * 1e3, site.low_m * 1e3
        side = site.side_m * 1e3
        axes.add_patch(Rectangle(corner, side, side, fill=False, lw=0.4, ec="white", alpha=0.5))
    figure.colorbar(shown, ax=axes, label="°C", shrink=0.85)
    axes.set(title="chip, layer of cells", xlabel="mm", ylabel="mm")


def _array(
    figure: "Figure", axes: "Axes", chip: Chip, network: ThermalNetwork, state: State
) -> None:
    name = state.names[int(state.hottest_k.argmax())]
    cells = network.cells(state, name, drawn(chip.tiles[name], chip.clock_s)) - _ZERO_C_K
    lines, columns = (count * network.plan.pitch_m * 1e6 for count in cells.shape)
    shown = axes.imshow(cells, origin="lower", extent=(0.0, columns, 0.0, lines), cmap="inferno")
    figure.colorbar(shown, ax=axes, label="°C", shrink=0.85)
    axes.set(title=f"cells of {name}", xlabel="µm", ylabel="µm")
    axes.title.set_fontsize(9)


def _sweep(axes: "Axes", points: Sequence[Point]) -> None:
    for (colour, mark), pitch in zip(
        _LINES * len(points), dict.fromkeys(point.pitch_m for point in points), strict=False
    ):
        mine = [point for point in points if point.pitch_m == pitch]
        times = [point.state.span_s * 1e3 for point in mine]
        peaks = [point.state.peak_k - _ZERO_C_K for point in mine]
        axes.plot(times, peaks, color=colour, marker=mark, ms=4, label=f"{pitch * 1e9:.4g} nm")
        for point, time, peak in zip(mine, times, peaks, strict=True):
            if point.knee:
                axes.plot([time], [peak], "o", ms=12, mfc="none", mec=colour)
            axes.annotate(
                str(point.at_once), (time, peak), fontsize=7, xytext=(3, 4),
                textcoords="offset points",
            )  # fmt: skip
    axes.set(xscale="log", xlabel="time of the work, ms", ylabel="hottest cell, °C")
    axes.set_title("tiles at once; the ring is the knee")
    axes.legend(title="pitch", fontsize=8)


def _in_time(axes: "Axes", courses: Mapping[str, Course]) -> None:
    styles = zip(_LINES, ("-", "--", "-.", ":", "-"), strict=True)
    for ((colour, _), dash), (name, course) in zip(styles, courses.items(), strict=False):
        times, peaks = course.times_s, course.peaks_k - _ZERO_C_K
        axes.plot(times, peaks, color=colour, ls=dash, lw=1.5, label=name)
    axes.set(xlabel="time from a cold start, s", ylabel="hottest cell, °C", title="in time")
    axes.legend(fontsize=8, loc="center right")
