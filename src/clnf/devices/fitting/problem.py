"""Traces in the scale of the filter, with what is known about reading them."""

from dataclasses import dataclass, field, replace
from typing import final

import numpy as np
from numpy.typing import NDArray

from clnf.core.units import quantity
from clnf.devices.fitting.traces import Traces

__all__ = ["Problem"]

Array = NDArray[np.float64]
OUTLIER_SHARE = 0.002


@final
@dataclass(frozen=True, kw_only=True)
class Problem:
    """Traces of devices that move, scaled for the filter.

    Attributes:
        traces: of the devices that move.
        y: (G - centre) / half [T].
        centre_s: middle of the measured window.
        half_s: half its width.
        read: relative read noise where it is known; None: fitted.
        floor: log likelihood of an outlier: somewhere in three half windows, one in 500.
        low: lower edge of each reading's bin in units of y [T], empty without levels.
        high: upper edge [T].
        levels_s: the levels, none for most cells.
        scatter: relative scatter of readings about a level.
    """

    traces: Traces
    y: Array
    centre_s: float = quantity("S")
    half_s: float = quantity("S")
    read: float | None = quantity("1", None)
    floor: float = quantity("1", float(np.log(OUTLIER_SHARE / 3)))
    low: Array = field(default_factory=lambda: np.zeros(0))
    high: Array = field(default_factory=lambda: np.zeros(0))
    levels_s: tuple[float, ...] = quantity("S", ())
    scatter: float = quantity("1", 0.0)

    @staticmethod
    def of(traces: Traces, read: float | None = None) -> "Problem":
        """Scale traces by their own window."""
        low, high = np.nanquantile(traces.conductance_s, (0.02, 0.98))
        centre, half = (low + high) / 2, max((high - low) / 2, 1e-3 * high)
        y = (traces.conductance_s - centre) / half
        return Problem(traces=traces, y=y, centre_s=float(centre), half_s=float(half), read=read)

    def part(self, traces: Traces) -> "Problem":
        """Other traces in the same scale."""
        y = (traces.conductance_s - self.centre_s) / self.half_s
        other = replace(self, traces=traces, y=y)
        return other if len(self.low) == 0 else other.snapped(self.levels_s, self.scatter)

    def snapped(self, levels_s: tuple[float, ...], scatter: float) -> "Problem":
        """The same traces of cells that show only the nearest of some levels.

        A reading shows that the weight lies between the middles to the neighbouring levels, the
        outermost bins having no end. Readings stand at their level; those further from every
        level than noise explains are left out.

        Args:
            levels_s: the levels, rising.
            scatter: relative scatter of readings about a level.
        """
        levels = (np.array(levels_s) - self.centre_s) / self.half_s
        edges = np.concatenate([[-np.inf], (levels[1:] + levels[:-1]) / 2, [np.inf]])
        y = (self.traces.conductance_s - self.centre_s) / self.half_s
        read = np.isfinite(y)
        at = np.searchsorted(edges[1:-1], np.where(read, y, 0.0))
        gap = float(np.median(np.diff(levels)))
        g = np.array(levels_s)[at]
        away = np.abs(np.where(read, self.traces.conductance_s, g) - g)
        wild = away > np.minimum(8 * scatter * g + 1e-9 * g, gap * self.half_s / 2)
        return replace(
            self,
            y=np.where(read & ~wild, levels[at], np.nan),
            read=0.0,
            floor=float(np.log(OUTLIER_SHARE * gap / 3)),
            low=edges[at],
            high=edges[at + 1],
            levels_s=levels_s,
            scatter=scatter,
        )
