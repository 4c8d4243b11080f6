"""Step laws that can be fitted, and a fitted cell in the keys of the materials catalogue."""

from dataclasses import dataclass, field
from typing import final

import numpy as np
from numpy.typing import NDArray

from clnf.core.errors import ConfigError
from clnf.core.units import quantity
from clnf.devices.fitting.steps import EXPONENTIAL, LINEAR, NAMES, POWER

__all__ = ["LAWS", "CellLaw", "Law"]

Array = NDArray[np.float64]
_SHARED = ("centre", "half", "step_up", "step_down", "cycle", "write", "read")
_SLOPES = ("shape_up", "shape_down")
_BENDS = ("bend_up", "bend_down")


@final
@dataclass(frozen=True, kw_only=True)
class Law:
    """One step law: which kernel, which numbers are free, where the search starts.

    Attributes:
        name: as saved in a material.
        says: the step as a formula.
        kernel: number of the law in the kernel.
        shape: starts of both first shapes, one search each.
        bend: starts of both second shapes.
        free: names of the free numbers, of ``steps.NAMES``.
    """

    name: str
    says: str
    kernel: int = quantity("1")
    shape: tuple[float, ...] = quantity("1", (0.0,))
    bend: tuple[float, ...] = quantity("1", (0.0,))
    free: tuple[str, ...] = _SHARED

    @property
    def shapes(self) -> int:
        """How many numbers its shape has: what it costs to prefer it."""
        return len(self.free) - len(_SHARED)

    def freed(self, *, read: bool) -> NDArray[np.intp]:
        """Places of the free numbers among the eleven a population shares."""
        names = [name for name in self.free if read or name != "read"]
        return np.array(sorted(NAMES.index(name) - 3 for name in names))


LAWS = (
    Law(name="constant", says="dw", kernel=LINEAR),
    Law(name="soft_bounds", says="dw (1 - w/b)", kernel=LINEAR, shape=(1.0,)),
    Law(
        name="linear",
        says="dw (1 - slope w/b)",
        kernel=LINEAR,
        shape=(0.2, 0.9),
        bend=(0.0, 0.0),
        free=_SHARED + _SLOPES,
    ),
    Law(
        name="power",
        says="dw (|b - w|/range)^gamma",
        kernel=POWER,
        shape=(-0.7, 0.5),
        bend=(0.0, 0.0),
        free=_SHARED + _SLOPES,
    ),
    Law(
        name="exponential",
        says="dw (1 - A exp(d gamma z)), z = -2 w/range",
        kernel=EXPONENTIAL,
        shape=(0.4, 0.9),
        bend=(-0.3, -2.0),
        free=_SHARED + _SLOPES + _BENDS,
    ),
)


@final
@dataclass(frozen=True, kw_only=True)
class CellLaw:
    """A kind of cell, in the keys of the materials catalogue.

    The hidden weight w runs from -1 to 1 over the conductance window of the mean device. A pulse
    in direction d = +1 or -1 moves it by d step_d(w) (1 + cycle_spread xi), clipped at the
    bounds; a reading sees w + write_noise dw xi', dw the mean of both steps, and has a relative
    error read_noise_scale.

    Attributes:
        law: one of the names in :data:`LAWS`.
        conductance_min_s: conductance at the mean lower bound.
        conductance_max_s: conductance at the mean upper bound.
        step_up: dw of the law upwards, mean over devices.
        step_down: the same downwards.
        step_spread: device-to-device log spread of both steps.
        bound_max_spread: relative device-to-device spread of the upper bound.
        bound_min_spread: relative device-to-device spread of the lower bound.
        cycle_spread: spread of one step, as a fraction of it.
        write_noise: spread of the visible weight, in mean steps.
        read_noise_scale: spread of a reading, as a fraction of the conductance.
        dead_fraction: share of devices that never move.
        states: number of levels the visible conductance snaps to; 0 where there are none.
        shape: the numbers of the law by their catalogue keys: ``slope_up``, ``power_up``,
            ``exponential_gamma_up``, ``exponential_up`` ... and the same ``_down``.
    """

    law: str
    conductance_min_s: float = quantity("S")
    conductance_max_s: float = quantity("S")
    step_up: float = quantity("1")
    step_down: float = quantity("1")
    step_spread: float = quantity("1", 0.0)
    bound_max_spread: float = quantity("1", 0.0)
    bound_min_spread: float = quantity("1", 0.0)
    cycle_spread: float = quantity("1", 0.0)
    write_noise: float = quantity("1", 0.0)
    read_noise_scale: float = quantity("1", 0.0)
    dead_fraction: float = quantity("1", 0.0)
    states: int = quantity("1", 0)
    shape: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.law not in {law.name for law in LAWS}:
            known = ", ".join(law.name for law in LAWS)
            raise ConfigError(f"no step law {self.law!r}; known: {known}")

    def _of(self, key: str, up: bool) -> float:
        return self.shape[f"{key}_{'up' if up else 'down'}"]

    def step(self, w: Array, up: bool, bounds: tuple[Array, Array]) -> Array:
        """Mean step of devices of gain 1 at weights ``w``, towards ``bounds`` = (upper, lower)."""
        d, b = (1.0, bounds[0]) if up else (-1.0, bounds[1])
        dw, width = self.step_up if up else self.step_down, bounds[0] - bounds[1]
        if self.law == "power":
            return dw * np.maximum((b - w) * d / width, 0.0) ** self._of("power", up)
        if self.law == "exponential":
            z = 2 * self.shape["exponential_a"] * w / width + self.shape["exponential_b"]
            power = np.exp(d * self._of("exponential_gamma", up) * z)
            return dw * np.maximum(0.0, 1.0 - self._of("exponential", up) * power)
        slope = {"constant": 0.0, "soft_bounds": 1.0}.get(self.law)
        slope = self._of("slope", up) if slope is None else slope
        return np.asarray(dw * (1.0 - slope * w / b))
