"""A picture of a material: what pulses, time and reads do to its cells, drawn from its laws.

One panel for each law that is known, one line below for each that is not. Lines of a law are
simulated cells; bands are one standard deviation to either side. Colours are those of Okabe and
Ito, which people with any colour vision tell apart; no line is told by its colour alone.
"""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from clnf.core.files import check_file, png_of, write_files
from clnf.core.inputs import whole
from clnf.devices import samples
from clnf.devices.cell import Cell, Unknown
from clnf.devices.draws import hash_key
from clnf.devices.families import cell
from clnf.devices.lifetime import Endurance
from clnf.devices.materials import Material, material

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw"]

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#555555"
_CELLS = 1000
_PULSES = 1000
_SINGLE = 3
# Drift of less than this share of the window could not be seen beside the window.
_SMALL = 0.05
_DRIFT_SHARES = (0.2, 0.5, 0.9)
_TICKS = {1.0: "1 s", 60.0: "1 min", 3600.0: "1 h", 86400.0: "1 day", 30 * 86400.0: "1 month"}

Array = NDArray[np.float64]


def draw(row: Material | str, path: Path | str, *, seed: int = 0) -> None:
    """Draw a material's curves into a PNG.

    Args:
        row: a catalogue row, with values of your own if you supplied some, or its name.
        path: the file, ending in ``.png``; one that is there is replaced.
        seed: of the simulated cells.

    Raises:
        ExportError: the name ends in something else, or the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    row = row if isinstance(row, Material) else material(row)
    path, seed = check_file(path, ".png"), whole("seed", seed)
    one = cell(row)
    panels, lacking = _panels(one, seed)
    lines = max(math.ceil(len(panels) / 2), 0)
    foot = 0.22 * len(lacking) + (0.1 if lacking else 0.0)
    height = 0.5 + 2.75 * lines + foot
    figure = Figure(figsize=(8.0, height), dpi=100)
    FigureCanvasAgg(figure)
    title = f"{row.title} ({row.name})"
    figure.text(0.5, 1 - 0.12 / height, title, fontsize=10.5, ha="center", va="top")
    for place, panel in enumerate(panels, 1):
        panel(figure.add_subplot(lines, min(len(panels), 2), place))
    for number, line in enumerate(reversed(lacking)):
        figure.text(0.02, (0.08 + 0.22 * number) / height, line, fontsize=8, color=GREY)
    if panels:
        figure.tight_layout(rect=(0, foot / height, 1, 1 - 0.38 / height), h_pad=1.2, w_pad=1.5)
    write_files([(path, png_of(figure))])


def _panels(one: Cell, seed: int) -> tuple[list[Callable[["Axes"], None]], list[str]]:
    """What can be drawn, and a line for each law that cannot."""
    parts: list[tuple[str, Any, Callable[[Cell, Any, int, Axes], None], bool]] = [
        ("pulses", one.response, _pulses, False),
        ("programming error", one.programming, _programming, True),
        ("drift", one.drift, _drift, True),
        ("read noise", one.noise, _read, True),
        ("endurance", one.endurance, _endurance, False),
    ]
    panels: list[Callable[[Axes], None]] = []
    lacking = []
    for name, part, paint, in_siemens in parts:
        unknown = part if isinstance(part, Unknown) else one.window if in_siemens else None
        if isinstance(unknown, Unknown):
            lacking.append(f"Not drawn: {name}; {_short(unknown)}.")
        else:
            panels.append(lambda axes, p=paint, law=part: p(one, law, seed, axes))  # type: ignore[misc]
    return panels, lacking


def _short(unknown: Unknown) -> str:
    """Which value is missing, without the advice."""
    return re.split(r" (?:is known )?for |;", unknown.sentence)[0]


def _named(axes: "Axes", title: str, across: str, up: str) -> None:
    axes.set_title(title, fontsize=9, loc="left", fontweight="bold")
    axes.set_xlabel(across, fontsize=8)
    axes.set_ylabel(up, fontsize=8)
    axes.tick_params(labelsize=8)
    axes.grid(visible=True, color="#dddddd", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _legend(axes: "Axes") -> None:
    axes.legend(fontsize=7.5, frameon=False)


def _band(axes: "Axes", x: Array, cells: Array, colour: str, label: str) -> None:
    """Mean, one standard deviation, and a few cells; ``cells`` is [x, cells]."""
    mean, spread = cells.mean(1), cells.std(1)
    axes.fill_between(x, mean - spread, mean + spread, color=colour, alpha=0.2, linewidth=0)
    axes.plot(x, cells[:, :_SINGLE], color=GREY, linewidth=0.5, alpha=0.8)
    axes.plot(x, mean, color=colour, linewidth=1.6, label=label)


def _pulses(one: Cell, law: Any, seed: int, axes: "Axes") -> None:
    marks = sorted({1, 2, 3, 5, 7, *range(10, _PULSES + 1, 10)})
    seen = samples.pulsed(law, marks, cells=_CELLS, seed=seed)
    at = np.array(marks, dtype=np.float64)
    _band(axes, at, seen[0], BLUE, "pulses up")
    _band(axes, at + _PULSES, seen[1], ORANGE, "then pulses down")
    axes.axvline(_PULSES, color=GREY, linewidth=0.8, linestyle=":")
    axes.plot([], [], color=GREY, linewidth=0.5, label="single cells")
    _named(axes, "Pulses: mean, spread, single cells", "pulses", "weight w as read")
    _legend(axes)


def _levels(one: Cell) -> tuple[Array, float, str]:
    """Conductances over the window in S, and the unit they are shown in."""
    window = one.need(one.window)
    unit_s, name = (1e-6, "µS") if window.high_s >= 1e-6 else (1e-9, "nS")
    return np.linspace(max(window.low_s, 0.02 * window.high_s), window.high_s, 60), unit_s, name


def _programming(one: Cell, law: Any, seed: int, axes: "Axes") -> None:
    level, unit_s, name = _levels(one)
    wanted = law.sigma(torch.tensor(level)).numpy()
    axes.plot(level / unit_s, wanted / unit_s, color=BLUE, label="law")
    some = [float(g) for g in level[::6]]
    cells = samples.programmed(law, some, cells=_CELLS, seed=seed)
    spread = cells.std(1) / unit_s
    axes.plot(np.array(some) / unit_s, spread, "o", color=ORANGE, markersize=4,
              label=f"{_CELLS} cells, none below 0")  # fmt: skip
    axes.set_ylim(0, 1.25 * float(wanted.max()) / unit_s)
    _named(axes, "Programming error", f"target ({name})", f"spread of cells ({name})")
    _legend(axes)


def _drift(one: Cell, law: Any, seed: int, axes: "Axes") -> None:
    window, (_, unit_s, name) = one.need(one.window), _levels(one)
    ages = np.geomspace(min(_TICKS), max(_TICKS), 60)
    goals = [window.low_s + share * window.span_s for share in _DRIFT_SHARES]
    cells = samples.drifted(law, goals, [float(a) for a in ages], cells=_CELLS, seed=seed)
    moved = np.abs(cells.mean(2) - goals) + cells.std(2)
    small = float(moved.max()) < _SMALL * window.span_s
    for number, colour in enumerate((BLUE, ORANGE, GREEN)):
        label = f"{goals[number] / unit_s:.3g} {name} at first"
        if not small:
            _band(axes, ages, cells[:, number] / unit_s, colour, label)
        elif number == 1:  # a change so small is shown by itself, for one level
            _band(axes, ages, (cells[:, number] - goals[number]) / unit_s, colour, label)
    axes.set_xscale("log")
    axes.set_xticks(list(_TICKS), list(_TICKS.values()))
    axes.minorticks_off()
    if not small:
        axes.set_ylim(bottom=0, top=1.35 * max(goals) / unit_s)
    what = "change of conductance" if small else "conductance"
    _named(axes, "Drift: mean, spread, single cells", "time since the write", f"{what} ({name})")
    axes.legend(fontsize=7.5, frameon=False, ncols=2, loc="best" if small else "upper left")


def _read(one: Cell, law: Any, seed: int, axes: "Axes") -> None:
    level, unit_s, name = _levels(one)
    since_s = 0.0 if isinstance(one.drift, Unknown) else one.drift.since_s
    at = torch.tensor(level)
    styles = (("1 s", BLUE, "-"), ("1 month", ORANGE, "--"))
    seconds = {label: age for age, label in _TICKS.items()}
    sigmas = [law.sigma(at, at, seconds[label] + since_s).numpy() for label, _, _ in styles]
    same = np.array_equal(*sigmas)
    for sigma, (label, colour, style) in zip(sigmas, styles[: 1 if same else 2], strict=False):
        said = "at any time" if same else f"after {label}"
        axes.plot(level / unit_s, sigma / unit_s, style, color=colour, label=said)
    axes.set_ylim(bottom=0)
    _named(axes, "Read noise", f"conductance ({name})", f"spread of one read ({name})")
    _legend(axes)


def _endurance(one: Cell, law: Endurance, seed: int, axes: "Axes") -> None:
    lives = law.life(_CELLS, hash_key(seed, "samples", "life")).numpy().astype(np.float64)
    at = np.geomspace(0.01 * law.cycles, 4 * law.cycles, 80)
    spent = at[:, None] / lives
    alive = spent < 1.0
    window = 1.0 - law.closing * spent**2
    counted = alive.sum(1)
    some = counted >= _CELLS // 100
    open_still = np.where(alive, window, 0.0).sum(1)[some] / counted[some]
    axes.plot(at, 100 * alive.mean(1), color=BLUE, label="cells alive")
    axes.plot(at[some], 100 * open_still, "--", color=ORANGE, label="their mean window")
    axes.axvline(law.cycles, color=GREY, linewidth=0.8, linestyle=":", label="published")
    axes.set_xscale("log")
    axes.set_ylim(0, 105)
    _named(axes, "Endurance (spread and closing assumed)", "writes", "share (%)")
    _legend(axes)
