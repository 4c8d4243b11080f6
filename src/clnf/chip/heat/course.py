"""Temperature in time: what lessons one after the other, or the same work over and over, warm.

Layers go on step by step by :class:`clnf.chip.heat.transient.Transient`, exact for power that
stands still within a step. What an array is hotter than its tile follows its power at once: the
wiring layers around it settle within some 0.1 ms, thickness^2 x capacity / conductivity.

A limit is held by looking one step ahead. Heat is linear, so the temperature that a step ends with
is that of a step of rest, plus what the step's own work adds:

    T(t + d) = T_rest(t + d) + S P

The step then takes the most work that stays below the limit: the tiles wait ("slower"), or fewer
of them work at once ("fewer"; none at all where one would be too many). A chip that is still cold
so works at full speed for a while, which no limit on the mean power allows.

Legend: T tiles, K steps.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
from numpy.typing import NDArray

from clnf.chip.heat.network import Law, ThermalNetwork
from clnf.chip.heat.power import Work, span_s
from clnf.chip.heat.solve import Steady
from clnf.chip.heat.transient import Transient
from clnf.core.errors import ConfigError
from clnf.core.units import quantity

__all__ = ["Course", "Pacing", "follow", "settling_s"]

Array = NDArray[np.float64]
_HALVINGS = 40


@final
@dataclass(frozen=True, kw_only=True)
class Pacing:
    """How work goes on in time.

    Attributes:
        seconds: how long temperatures are followed.
        step_s: length of a step.
        repeats: how often the work is done; None for over and over.
        at_once: tiles that work together; None for all.
        limit_k: what the hottest cell may reach at the end of a step; None for no limit.
        how: what holds the limit.

    Raises:
        ConfigError: a time or number that is not above 0, or more than a million steps.
    """

    seconds: float = quantity("s")
    step_s: float = quantity("s")
    repeats: int | None = quantity("1", 1)
    at_once: int | None = quantity("1", None)
    limit_k: float | None = quantity("K", None)
    how: Literal["slower", "fewer"] = "slower"

    def __post_init__(self) -> None:
        if not 0 < self.step_s <= self.seconds < math.inf or self.seconds > 1e6 * self.step_s:
            raise ConfigError(
                "time is followed in 1 to 1e6 steps above 0 s, got "
                f"{self.seconds} s in steps of {self.step_s} s"
            )
        if self.repeats is not None and self.repeats < 1:
            raise ConfigError(f"work is done at least once, got {self.repeats}")


@final
@dataclass(frozen=True, kw_only=True)
class Course:
    """A chip's temperatures in time.

    Attributes:
        names: of the tiles.
        times_s: end of each step, [K].
        mean_k: mean temperature of each tile's cells then, [K, T].
        hottest_k: of each tile's hottest cell, [K, T].
        speed: of the work in each step, over that of the same work without a limit, [K].
        power_w: of the whole chip, [K].
        done_s: when the work was done; infinite where it was not.
        turns: how often the work was done.
        given_j: heat that came in.
        stored_j: heat that is still there; the rest has left below.
    """

    names: tuple[str, ...]
    times_s: Array
    mean_k: Array
    hottest_k: Array
    speed: Array
    power_w: Array
    done_s: float = quantity("s")
    turns: float = quantity("1")
    given_j: float = quantity("J")
    stored_j: float = quantity("J")

    @property
    def peaks_k(self) -> Array:
        """The hottest cell of all at the end of each step, [K]."""
        return np.asarray(self.hottest_k.max(1))

    @property
    def full_speed_s(self) -> float:
        """How long work goes on before a limit first slows it."""
        slow = np.flatnonzero(self.speed < 1.0 - 1e-9)
        if not slow.size:
            return float(self.times_s[-1])
        return float(self.times_s[slow[0] - 1]) if slow[0] else 0.0


def settling_s(network: ThermalNetwork, done: Mapping[str, Work]) -> float:
    """Time constant of a chip under some work: the heat it holds at rest over what flows.

    Raises:
        ConfigError: no tile was busy.
        DeviceLimitError: a heat capacity is not known.
    """
    power = network.powers(network.rest(done))
    run = Transient(network.stack, 1.0)
    run.load(Steady(network.stack).field(power))
    return run.stored_j / float(power.sum())


def follow(
    network: ThermalNetwork,
    frames: Sequence[Mapping[str, Work]],
    pacing: Pacing,
    *,
    laws: Mapping[str, Law] | None = None,
) -> Course:
    """Follow temperatures from a cold chip on, while work is done in order.

    Args:
        network: the chip's.
        frames: what tiles did, one span after the other: the lessons of a run, the steps of one,
            or a single one that is repeated.
        pacing: how fast, how often, how long.
        laws: conductance at a temperature over that at 300 K by tile; power of a step is that at
            the temperatures it begins with.

    Raises:
        ConfigError: nothing to do, a tile that is not on the plan, or a limit that is not above
            the coolant's temperature.
        DeviceLimitError: a heat capacity is not known.
    """
    tape = _Tape(network, frames, pacing)
    return _Chip(network, pacing, laws or {}).follow(tape)


@final
class _Tape:
    """Work in order, as joules so far over time at full speed."""

    def __init__(
        self, network: ThermalNetwork, frames: Sequence[Mapping[str, Work]], pacing: Pacing
    ) -> None:
        names = network.plan.names
        if unknown := {name for frame in frames for name in frame} - set(names):
            raise ConfigError(f"no place on the plan for tiles {', '.join(sorted(unknown))}")
        busy = [dict(frame) for frame in frames if any(one.busy_s > 0 for one in frame.values())]
        if not busy:
            raise ConfigError("no tile was busy; let the model draw or learn first")
        most = pacing.at_once or len(names)
        spans = np.array([span_s(frame, most) for frame in busy])
        each = [[frame.get(name, Work()) for name in names] for frame in busy]
        joules = np.array([[[w.cells_j for w in f], [w.logic_j for w in f]] for f in each])
        self.ends_s = np.concatenate([[0.0], spans.cumsum()])
        self.so_far_j = np.concatenate([np.zeros((1, 2, len(names))), joules.cumsum(0)])
        self.cycle_s = float(self.ends_s[-1])
        self.whole_s = math.inf if pacing.repeats is None else pacing.repeats * self.cycle_s
        # Speeds of fewer tiles at once, by frame, [frames, numbers].
        self.speeds = np.array([[span_s(f, most) / span_s(f, n + 1) for n in range(most)]
                                for f in busy])  # fmt: skip

    def joules(self, at_s: float) -> Array:
        """All that was done by a time at full speed, [2, T]: in cells, in logic."""
        turns, rest = divmod(min(at_s, self.whole_s), self.cycle_s)
        k = min(int(np.searchsorted(self.ends_s, rest, side="right")), len(self.ends_s) - 1)
        share = (rest - self.ends_s[k - 1]) / (self.ends_s[k] - self.ends_s[k - 1])
        within = self.so_far_j[k - 1] + share * (self.so_far_j[k] - self.so_far_j[k - 1])
        return np.asarray(turns * self.so_far_j[-1] + within)

    def allowed(self, at_s: float, speed: float) -> float:
        """The speed of the most tiles at once that are no faster; 0 where one is."""
        k = int(np.searchsorted(self.ends_s, at_s % self.cycle_s, side="right")) - 1
        slow = self.speeds[min(k, len(self.speeds) - 1)]
        fits = slow[slow <= speed * (1 + 1e-12)]
        return float(fits.max()) if fits.size else 0.0


@final
class _Chip:
    """A chip that warms up step by step."""

    def __init__(self, network: ThermalNetwork, pacing: Pacing, laws: Mapping[str, Law]) -> None:
        limit, self.ambient_k = pacing.limit_k, network.stack.ambient_k
        if limit is not None and not limit > self.ambient_k:
            raise ConfigError(
                f"a limit lies above the coolant's {self.ambient_k:g} K, got {limit:g} K"
            )
        self.network, self.pacing = network, pacing
        self.laws = [laws.get(name) for name in network.plan.names]
        self.run = Transient(network.stack, pacing.step_s)
        self.layer = network.stack.at("cells").start
        self.nothing = np.zeros(network.stack.shape)
        # Kelvins at the end of a step by a watt during it, of cells and of logic, [2, T, T].
        self.gain = self._gain() if limit is not None else None

    def follow(self, tape: _Tape) -> Course:
        """All steps."""
        steps, names = round(self.pacing.seconds / self.pacing.step_s), self.network.plan.names
        mean, hottest = (np.empty((steps, len(names))) for _ in range(2))
        speeds, power = np.ones(steps), np.zeros(steps)
        at_s, done_s, now = 0.0, math.inf, np.full(len(names), self.ambient_k)
        for k in range(steps):
            speed, watts = self._step(tape, at_s, now)
            moved = min(at_s + speed * self.pacing.step_s, tape.whole_s)
            if moved >= tape.whole_s and math.isinf(done_s):
                done_s = k * self.pacing.step_s + (moved - at_s) / max(speed, 1e-300)
            speeds[k], power[k], at_s = speed, watts.sum(), moved
            mean[k], hottest[k] = self._kelvins(self._tiles(), watts[0])
            now = mean[k]
        return Course(
            names=names,
            times_s=np.asarray(self.pacing.step_s * np.arange(1, steps + 1), dtype=np.float64),
            mean_k=mean,
            hottest_k=hottest,
            speed=speeds,
            power_w=power,
            done_s=done_s,
            turns=at_s / tape.cycle_s,
            given_j=float(power.sum() * self.pacing.step_s),
            stored_j=self.run.stored_j,
        )

    def _step(self, tape: _Tape, at_s: float, now_k: Array) -> tuple[float, Array]:
        """Let one step pass; its speed, and watts of cells and of logic, [2, T]."""
        grown = np.array([
            1.0 if law is None else law(float(t)) for law, t in zip(self.laws, now_k, strict=True)
        ])  # fmt: skip
        before = tape.joules(at_s)

        def watts(speed: float) -> Array:
            found = tape.joules(at_s + speed * self.pacing.step_s) - before
            found[0] *= grown
            return np.asarray(found / self.pacing.step_s)

        speed = 1.0
        if self.gain is not None:
            speed = self._most(watts, self._after_rest())
            if self.pacing.how == "fewer":
                speed = tape.allowed(at_s, speed)
        found = watts(speed)
        self.run.advance(self.network.spread(found), 1)
        return speed, found

    def _most(self, watts: Callable[[float], Array], rest_k: Array) -> float:
        """The largest speed whose step ends below the limit, from where rest would end."""
        if self.gain is None or self.pacing.limit_k is None:
            return 1.0
        gain, limit = self.gain, self.pacing.limit_k

        def holds(speed: float) -> bool:
            found = watts(speed)
            base = rest_k + gain[0] @ found[0] + gain[1] @ found[1]
            return bool((self._kelvins(base, found[0])[1] <= limit).all())

        if holds(1.0):
            return 1.0
        low, high = 0.0, 1.0
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            low, high = (middle, high) if holds(middle) else (low, middle)
        return low

    def _tiles(self) -> Array:
        """Rise of each tile's place in the layer of cells now, [T]."""
        return self.network.over_tiles(self.run.plane(self.layer))

    def _kelvins(self, rise_k: Array, cells_w: Array) -> tuple[Array, Array]:
        """Mean and hottest cell of each tile, from the rise of its place and its own power."""
        own = self.network.own_k_w
        mean = self.ambient_k + rise_k + own[0] * cells_w
        return mean, mean + (own[1] - own[0]) * cells_w

    def _after_rest(self) -> Array:
        """Rise of each tile's place after a step of rest, [T]; nothing is changed."""
        now = self.run.mark()
        self.run.advance(self.nothing, 1)
        found = self._tiles()
        self.run.back(now)
        return found

    def _gain(self) -> Array:
        """Each tile's rise at the end of a step by a watt in each other tile meanwhile."""
        count = len(self.network.plan.sites)
        found, cold = np.empty((2, count, count)), self.run.mark()
        for part in range(2):
            for tile in range(count):
                watts = np.zeros((2, count))
                watts[part, tile] = 1.0
                self.run.advance(self.network.spread(watts), 1)
                found[part, :, tile] = self._tiles()
                self.run.back(cold)
        return found
