"""One array of cells by itself: how much hotter than their tile its cells are.

The map of a chip is too coarse for an array of some micrometres, so that map spreads an array's
heat over its tile, and what is missing is solved here on a window around the array, finer in all
directions: the rise of its cells above the mean of the window, and what the wiring below a window
takes more than that below a tile. Lengths between window and tile are left out in the silicon,
which conducts some sixty times better than the wiring: a hundredth of the rise here.

A cell's own filament is narrower still; its rise above the array is power times a resistance of
its own, which is 0 unless it is supplied.
"""

from dataclasses import replace
from functools import cache
from typing import final

import numpy as np
from numpy.typing import NDArray

from clnf.chip.heat.plan import covered
from clnf.chip.heat.solve import Steady
from clnf.chip.heat.stack import tile_stack
from clnf.core.errors import ShapeError

__all__ = ["FILAMENT_K_W", "ArrayHeat", "array_heat"]

Array = NDArray[np.float64]
# SKY130 ReRAM, Verilog-A: time constant 0.23 ns over heat capacity 3.1825e-16 J/K.
FILAMENT_K_W = 7.23e5
# A window is so many times the array, and wider than twice the wiring layers are high.
_GRID, _WINDOW, _LEAST_M = 128, 4.0, 25e-6
_FINE = {"silicon": 4, "wiring": 8, "upper wiring": 8}


@final
class ArrayHeat:
    """An array of equal cells on a square window.

    Args:
        lines: rows of cells.
        columns: columns of cells.
        pitch_m: from cell to cell.
        most_m: side of the tile, which the window does not exceed. How the tile is cooled makes
            no difference within it.
    """

    def __init__(self, lines: int, columns: int, pitch_m: float, most_m: float) -> None:
        self.shape = lines, columns
        high, wide = lines * pitch_m, columns * pitch_m
        window = max(_WINDOW * max(high, wide), _LEAST_M)
        window = max(min(window, most_m), high, wide)
        coarse = tile_stack(window, window, cells=(_GRID, _GRID))
        layers = tuple(replace(one, cells=_FINE.get(one.name, 1)) for one in coarse.layers)
        stack = replace(coarse, layers=layers)
        cells, logic = stack.at("cells").start, stack.at("logic").stop
        between = float((1.0 / stack.couplings_w_m2k[logic : cells + 1]).sum())
        self._more_k_w = between * max(1.0 / window**2 - 1.0 / most_m**2, 0.0)
        self._solver = Steady(stack, sources=(cells,), outputs=(cells,))
        self._rows = _edges(lines, pitch_m, (window - high) / 2, window)
        self._columns = _edges(columns, pitch_m, (window - wide) / 2, window)

    def rise(self, power_w: Array) -> Array:
        """How much hotter than its tile each cell is.

        Args:
            power_w: in each cell of the array, [lines, columns].

        Returns:
            K, of the same shape.

        Raises:
            ShapeError: another shape.
        """
        if power_w.shape != self.shape:
            raise ShapeError(f"power is {list(self.shape)} in this array, got {power_w.shape}")
        spread = self._rows.T @ power_w @ self._columns
        rise = self._solver.planes(spread[None])[0]
        rise += self._more_k_w * power_w.sum() - rise.mean()
        return np.asarray(self._rows @ rise @ self._columns.T)

    def uniform_k_w(self) -> tuple[float, float]:
        """Mean and largest rise of cells for one watt spread evenly over them."""
        even = np.full(self.shape, 1.0 / (self.shape[0] * self.shape[1]))
        rise = self.rise(even)
        return float(rise.mean()), float(rise.max())


def _edges(count: int, pitch_m: float, first_m: float, window_m: float) -> Array:
    start = first_m + pitch_m * np.arange(count, dtype=np.float64)
    return covered(start, start + pitch_m, window_m, _GRID)


@cache
def array_heat(lines: int, columns: int, pitch_m: float, most_m: float) -> ArrayHeat:
    """An :class:`ArrayHeat`, made once for arrays that are alike."""
    return ArrayHeat(lines, columns, pitch_m, most_m)
