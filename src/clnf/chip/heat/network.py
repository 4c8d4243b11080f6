"""A chip's tiles as a network of thermal resistances, and where it comes to rest.

Steady heat is linear: a watt in tile u warms tile t by R_tu, found once from the map of the whole
stack. Where conductance changes with temperature, so does what cells draw,

    P_t = P_t0 f(T_t),   T = T_coolant + R P,

and the two are brought together by repetition, which converges unless heat runs away.

Legend: T tiles, Y rows and X columns of the map.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from clnf.chip.heat.local import ArrayHeat, array_heat
from clnf.chip.heat.plan import Plan
from clnf.chip.heat.power import Work, span_s
from clnf.chip.heat.solve import Steady
from clnf.chip.heat.stack import Stack, tile_stack
from clnf.core.errors import ConfigError, DeviceLimitError
from clnf.core.units import quantity

__all__ = ["Cooling", "State", "ThermalNetwork"]

Array = NDArray[np.float64]
Law = Callable[[float], float]
_ROUNDS, _CLOSE_K = 200, 1e-9
_HOTTEST_K = 1e4


@final
@dataclass(frozen=True, kw_only=True)
class Cooling:
    """How a chip is cooled and how finely it is looked at.

    Attributes:
        package_k_w: R_conv, from the bottom of the sink to the coolant; None for HotSpot's
            0.1 K/W over a die of 16 mm, by area.
        ambient_k: of the coolant; HotSpot's 45 degrees Celsius.
        rows: of the map.
        columns: of the map.
        filament_k_w: a cell's own resistance to its surroundings; 0 leaves it out.
    """

    package_k_w: float | None = quantity("K/W", None)
    ambient_k: float = quantity("K", 318.15)
    rows: int = quantity("1", 64)
    columns: int = quantity("1", 64)
    filament_k_w: float = quantity("K/W", 0.0)

    def stack(self, plan: Plan) -> Stack:
        """The layers under and over a plan."""
        area_m2, cells = plan.width_m * plan.depth_m, (self.rows, self.columns)
        ambient = self.ambient_k
        if self.package_k_w is None:
            return tile_stack(plan.width_m, plan.depth_m, ambient_k=ambient, cells=cells)
        if not 0 < self.package_k_w < float("inf"):
            raise ConfigError(
                f"the package's resistance is above 0 K/W and finite, got {self.package_k_w}"
            )
        h = 1.0 / (self.package_k_w * area_m2)
        return tile_stack(
            plan.width_m, plan.depth_m, coolant_w_m2k=h, ambient_k=ambient, cells=cells
        )


@final
@dataclass(frozen=True, kw_only=True)
class State:
    """A chip at rest under steady work.

    Attributes:
        names: of the tiles.
        span_s: time the work takes.
        energy_j: of the whole work at these temperatures.
        cells_w: mean power of each tile's cells.
        logic_w: of the silicon under each tile.
        mean_k: mean temperature of each tile's cells.
        hottest_k: temperature of each tile's hottest cell.
        rounds: repetitions until power and temperature agreed.
    """

    names: tuple[str, ...]
    span_s: float = quantity("s")
    energy_j: float = quantity("J")
    cells_w: Array
    logic_w: Array
    mean_k: Array
    hottest_k: Array
    rounds: int = quantity("1")

    @property
    def peak_k(self) -> float:
        """The hottest cell of all."""
        return float(self.hottest_k.max())


@final
class ThermalNetwork:
    """Thermal resistances between the tiles of a plan, solved once.

    Args:
        plan: where tiles lie.
        cooling: below them.
    """

    def __init__(self, plan: Plan, cooling: Cooling | None = None) -> None:
        self.plan, self.cooling = plan, cooling or Cooling()
        self.stack = stack = self.cooling.stack(plan)
        logic, cells = stack.at("logic").start, stack.at("cells").start
        self._solver = Steady(stack, sources=(logic, cells), outputs=(cells,))
        self._rows, self._columns = plan.shares(stack.rows, stack.columns)
        count = len(plan.sites)
        watts = np.zeros((count, 2, stack.rows, stack.columns))
        # Of one solve each, as heat sources of different layers add up.
        self._from = np.empty((2, count, count))
        for layer in range(2):
            watts[:] = 0.0
            watts[:, layer] = self._rows[:, :, None] * self._columns[:, None, :]
            rise = self._solver.planes(watts)[:, 0]
            # A tile lies over few of the map's cells.
            over = sparse.csr_array(watts[:, layer].reshape(count, -1))
            self._from[layer] = over @ rise.reshape(count, -1).T
        self._own = np.array([self._local(site.name) for site in plan.sites]).T

    def array(self, name: str) -> ArrayHeat:
        """A tile's array by itself."""
        site = self.plan.sites[self.plan.names.index(name)]
        return array_heat(site.lines, site.columns, self.plan.pitch_m, site.side_m)

    def _local(self, name: str) -> tuple[float, float]:
        """Mean and most rise of cells above their tile for a watt in its array."""
        array = self.array(name)
        mean, most = array.uniform_k_w()
        filament = self.cooling.filament_k_w / (array.shape[0] * array.shape[1])
        return mean + filament, most + filament

    def cells(self, state: State, name: str, shares: Array) -> Array:
        """Temperature of every cell of one tile.

        Args:
            state: at rest.
            name: of the tile.
            shares: of the tile's power in cells by cell, [lines, columns]; sums to 1.

        Returns:
            K, of the same shape.
        """
        at = state.names.index(name)
        power = state.cells_w[at] * shares
        tile_k = state.mean_k[at] - self._own[0, at] * state.cells_w[at]
        return np.asarray(tile_k + self.array(name).rise(power) + self.cooling.filament_k_w * power)

    def powers(self, state: State) -> Array:
        """Watts in every cell of the stack, [Z, Y, X]; they add up to those of all tiles."""
        return self.spread(np.stack([state.cells_w, state.logic_w]))

    def spread(self, watts: Array) -> Array:
        """Watts in every cell of the stack, [Z, Y, X], from [2, T]: of tiles' cells, of logic."""
        found = np.zeros(self.stack.shape)
        for layer, each in zip(("cells", "logic"), watts, strict=True):
            spread = self._rows.T @ (each[:, None] * self._columns)
            found[self.stack.at(layer).start] = spread
        return found

    def over_tiles(self, plane: Array) -> Array:
        """Mean of a plane of the map, [Y, X], over each tile's place, [T]."""
        return np.asarray(((self._rows @ plane) * self._columns).sum(1))

    @property
    def own_k_w(self) -> Array:
        """Mean and most rise of cells above their tile for a watt in its array, [2, T]."""
        return self._own

    def map(self, state: State) -> Array:
        """Temperature of the layer of cells over the chip, K, [Y, X], without arrays' own rise."""
        logic, cells = self._solver.sources
        return self._solver.planes(self.powers(state)[[logic, cells]])[0] + self.stack.ambient_k

    def rest(
        self,
        done: Mapping[str, Work],
        *,
        at_once: int | None = None,
        slower: float = 1.0,
        laws: Mapping[str, Law] | None = None,
    ) -> State:
        """Where temperatures come to rest while work is repeated without end.

        Args:
            done: what tiles did; those not on the plan are refused.
            at_once: tiles that work together; None for all of them.
            slower: the work takes so many times as long, >= 1.
            laws: conductance at a temperature over that at 300 K by tile; cells of a tile
                without a law draw the same at any temperature.

        Raises:
            ConfigError: a tile is not on the plan, or the work is not made slower but faster.
            DeviceLimitError: heat runs away: warmer cells draw more, and no end is found.
        """
        if unknown := set(done) - set(self.plan.names):
            raise ConfigError(f"no place on the plan for tiles {', '.join(sorted(unknown))}")
        if not 1.0 <= slower < float("inf"):
            raise ConfigError(f"work is made slower by a factor of at least 1, got {slower}")
        span = slower * span_s(dict(done), at_once or len(self.plan.sites))
        each = [done.get(name, Work()) for name in self.plan.names]
        cold = np.array([one.cells_j for one in each]) / span
        logic = np.array([one.logic_j for one in each]) / span
        own = [(laws or {}).get(name) for name in self.plan.names]
        cells, mean, rounds = self._together(cold, logic, own)
        return State(
            names=self.plan.names,
            span_s=span,
            energy_j=float((cells + logic).sum() * span),
            cells_w=cells,
            logic_w=logic,
            mean_k=mean,
            hottest_k=mean + (self._own[1] - self._own[0]) * cells,
            rounds=rounds,
        )

    def _together(
        self, cold: Array, logic: Array, laws: list[Law | None]
    ) -> tuple[Array, Array, int]:
        """Power of cells and their temperatures that agree, and after how many rounds."""
        base = self.stack.ambient_k + self._from[0] @ logic
        cells, last = cold, np.full(len(cold), np.inf)
        for rounds in range(1, _ROUNDS + 1):
            mean = base + self._from[1] @ cells + self._own[0] * cells
            if not (mean < _HOTTEST_K).all():
                break
            if abs(mean - last).max() <= _CLOSE_K:
                return cells, mean, rounds
            last = mean
            grown = [
                1.0 if law is None else law(float(t)) for law, t in zip(laws, mean, strict=True)
            ]
            cells = cold * np.array(grown)
        if rounds == 1:  # before any cell was warm
            raise DeviceLimitError(
                f"this work makes cells hotter than {_HOTTEST_K:,.0f} K, which nothing stands; "
                "cool better or work slower"
            )
        raise DeviceLimitError(
            "heat runs away: warmer cells draw more, and power and temperature find no rest; cool "
            "better, work slower, or supply a smaller conductance_temperature_coefficient"
        )
