"""One picture of a fit: traces with predictions, residuals, their distribution, the population."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clnf.core.files import png_of
from clnf.devices.fitting.result import Fit

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["residual_picture"]

Array = NDArray[np.float64]
_BLUE, _RED, _GREY = "#1f5fa8", "#c23b22", "#8a8a8a"
_SHOWN = 4_000  # dots in one panel


def residual_picture(fit: Fit) -> bytes:
    """Draw measured against predicted conductance and what is left over.

    Above, the traces of three devices (slow, middling, fast) with one-step predictions and their
    95 % band; below, standardised residuals against pulse and conductance, their quantiles
    against those of a normal, and the devices' steps and bounds.

    Returns:
        A PNG file.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 8.5), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    grid: Any = figure.add_gridspec(2, 12, height_ratios=(1.1, 1))
    devices = _shown(fit)
    width = 12 // len(devices)
    for place, device in enumerate(devices):
        axes = figure.add_subplot(grid[0, place * width : (place + 1) * width])
        _trace(axes, fit, device, first=place == 0)
    below = [figure.add_subplot(grid[1, 3 * k : 3 * k + 3]) for k in range(4)]
    _against_pulse(below[0], fit)
    _against_conductance(below[1], fit)
    _quantiles(below[2], fit)
    _population(below[3], fit)
    figure.suptitle(
        f"{fit.file}: {fit.law.replace('_', ' ')} law, {fit.devices} devices, "
        f"{fit.readings:,} readings, {len(fit.outliers)} outliers",
        x=0.02,
        ha="left",
    )
    return png_of(figure)


def _shown(fit: Fit) -> list[int]:
    order = np.argsort(fit.estimate.own[:, 0])
    n = len(order)
    return [int(order[i]) for i in sorted({n // 10, n // 2, n - 1 - n // 10})]


def _residuals(fit: Fit) -> tuple[Array, NDArray[np.intp]]:
    """Standardised residuals of readings that are no outliers, and their rows."""
    seen = fit.estimate.seen
    rows = np.flatnonzero(seen[2] == 1.0)
    return (fit.problem.y[rows] - seen[0, rows]) / seen[1, rows], rows


def _thin(rows: NDArray[np.intp]) -> NDArray[np.intp]:
    return np.linspace(0, len(rows) - 1, min(len(rows), _SHOWN)).astype(np.intp)


def _trace(axes: "Axes", fit: Fit, device: int, *, first: bool) -> None:
    problem, seen = fit.problem, fit.estimate.seen
    name, part = list(problem.traces.parts())[device]
    number = problem.traces.numbers[part]
    g = 1e6 * problem.traces.conductance_s[part]
    known = seen[2, part] > 0
    mean = 1e6 * (problem.centre_s + problem.half_s * seen[0, part])
    reach = 1e6 * 1.96 * problem.half_s * seen[1, part]
    axes.plot(number, g, ".", ms=3, color=_GREY, label="read")
    axes.plot(
        number[known], mean[known], lw=1.0, color=_BLUE, label="foretold from the pulse before"
    )
    axes.fill_between(
        number[known], (mean - reach)[known], (mean + reach)[known], color=_BLUE, alpha=0.18, lw=0,
        label="95 % of readings",
    )  # fmt: skip
    odd = seen[2, part] == 2.0
    low, high = _room(np.concatenate([g[np.isfinite(g) & ~odd], (mean - reach)[known],
                                      (mean + reach)[known]]))  # fmt: skip
    edge = 0.025 * (high - low)
    above, below = odd & (g > high), odd & (g < low)
    near = odd & ~above & ~below
    axes.plot(number[near], g[near], "x", color=_RED, ms=6, label="outlier")
    axes.plot(number[above], np.full(above.sum(), high - edge), "^", color=_RED, ms=6,
              label="beyond the axis")  # fmt: skip
    axes.plot(number[below], np.full(below.sum(), low + edge), "v", color=_RED, ms=6)
    axes.set_ylim(low, high)
    axes.set_title(f"device {name}, gain {np.exp(fit.estimate.own[device, 0]):.2f}", fontsize=10)
    axes.set_xlabel("pulse number")
    if first:
        axes.set_ylabel("conductance (µS)")
    if first:
        axes.figure.legend(
            *axes.get_legend_handles_labels(), loc="upper right", ncols=5, fontsize=8, frameon=False
        )


def _room(values: Array) -> tuple[float, float]:
    """Ends of an axis that holds values and a tenth of their range on each side, from 0 on."""
    low, high = float(values.min()), float(values.max())
    margin = 0.1 * (high - low) or 0.1 * high
    return max(low - margin, 0.0), high + margin


def _band(axes: "Axes") -> None:
    for level in (-1.96, 1.96):
        axes.axhline(level, color=_GREY, lw=0.8, ls="--")
    axes.axhline(0.0, color=_GREY, lw=0.8)
    axes.set_ylim(-5, 5)


def _running(axes: "Axes", x: Array, z: Array) -> None:
    """Mean residual in twelve pieces of x, with twice its standard error."""
    edges = np.quantile(x, np.linspace(0, 1, 13))
    at = np.clip(np.searchsorted(edges, x, side="right") - 1, 0, 11)
    full = [k for k in range(12) if (at == k).sum() > 4]
    centre = [float(x[at == k].mean()) for k in full]
    mean = [float(z[at == k].mean()) for k in full]
    error = [2 * float(z[at == k].std()) / np.sqrt((at == k).sum()) for k in full]
    axes.errorbar(centre, mean, error, color=_RED, marker="o", ms=3, lw=1.2, label="mean ± 2 s.e.")
    axes.legend(fontsize=7, loc="upper right")


def _against_pulse(axes: "Axes", fit: Fit) -> None:
    z, rows = _residuals(fit)
    number = fit.problem.traces.numbers[rows].astype(np.float64)
    at = _thin(rows)
    axes.plot(number[at], z[at], ".", ms=2, alpha=0.35, color=_BLUE)
    _band(axes)
    _running(axes, number, z)
    axes.set_xlabel("pulse number")
    axes.set_ylabel("standardised residual (1)")


def _against_conductance(axes: "Axes", fit: Fit) -> None:
    z, rows = _residuals(fit)
    mean = 1e6 * (fit.problem.centre_s + fit.problem.half_s * fit.estimate.seen[0, rows])
    at = _thin(rows)
    axes.plot(mean[at], z[at], ".", ms=2, alpha=0.35, color=_BLUE)
    _band(axes)
    _running(axes, mean, z)
    axes.set_xlabel("foretold conductance (µS)")
    axes.set_ylabel("standardised residual (1)")


def _quantiles(axes: "Axes", fit: Fit) -> None:
    from scipy.stats import norm

    z, _ = _residuals(fit)
    q = (np.arange(len(z)) + 0.5) / len(z)
    at = np.unique(np.concatenate([_thin(np.arange(len(z))), np.arange(min(20, len(z)))]))
    axes.plot([-4.5, 4.5], [-4.5, 4.5], color=_GREY, lw=0.8)
    axes.plot(norm.ppf(q)[at], np.sort(z)[at], ".", ms=3, color=_BLUE)
    axes.set_xlabel("quantile of a normal (1)")
    axes.set_ylabel("quantile of the residuals (1)")


def _population(axes: "Axes", fit: Fit) -> None:
    """Bounds of the devices against their gain."""
    problem, estimate = fit.problem, fit.estimate
    h, c = problem.half_s, problem.centre_s
    gain = np.exp(estimate.own[:, 0])
    for k, colour, label in ((1, _RED, "upper bound"), (2, _BLUE, "lower bound")):
        bound = 1e6 * (c + h * estimate.own[:, k])
        axes.plot(gain, bound, "o", ms=4, alpha=0.7, color=colour, label=label)
        key = "conductance_max_s" if k == 1 else "conductance_min_s"
        one = fit.parameters[key]
        axes.axhline(1e6 * one.value, color=colour, lw=0.8)
        axes.axhspan(1e6 * one.low, 1e6 * one.high, color=colour, alpha=0.12, lw=0,
                     label="mean, 95 %" if k == 1 else None)  # fmt: skip
    axes.set_xscale("log")
    if gain.max() / gain.min() < 20:
        low, high = min(0.5, gain.min() / 1.3), max(2.0, gain.max() * 1.3)
        ticks = [t for t in (0.1, 0.2, 0.5, 1, 2, 5, 10) if low <= t <= high]
        axes.set_xlim(low, high)
        axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
        axes.set_xticks([], minor=True)
    axes.set_xlabel("gain of the device's step (1)")
    axes.set_ylabel("bound (µS)")
    axes.legend(fontsize=7, loc="best")
