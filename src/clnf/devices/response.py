"""How pulses move a cell: the laws of steps, and how they spread.

A cell has a hidden weight w between its own bounds, nominally -1 and 1 over the conductance
window. One pulse in direction d (+1 up, -1 down), towards the bound b of that direction:

    w <- clip(w + d step(w) (1 + c xi))
    seen = w + sigma_write dw xi', drawn again at each pulse

    linear       step(w) = dw (1 - slope w / b)      slope 0: constant steps; 1: soft bounds
    exponential  step(w) = dw max(0, 1 - A exp(d gamma z)),  z = 2 a w / (bmax - bmin) + b
    power        step(w) = dw (d (b - w) / (bmax - bmin))^gamma

Each cell has its own dw, bmax and bmin; they are functions of (seed, cell) and never stored. dw
spreads as exp(s xi - s^2/2), which keeps its mean, by one factor for both directions, and by a
second, 1 + s' xi up and 1 - s' xi down; bounds spread normally and keep their sign. A dead cell is
stuck anywhere between its bounds.

Source: Rasch et al., AICAS 2021 (linear and soft bounds, write noise, spreads); Gong et al., Nat.
Commun. 2018 (exponential); Frascaroli et al., Sci. Rep. 2018 (power).
"""

import math
from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor

from clnf.core.errors import DeviceLimitError
from clnf.core.units import quantity
from clnf.devices import pulse_reference, pulses
from clnf.devices.dispatch import run
from clnf.devices.draws import hash_key
from clnf.devices.pulses import Cells

__all__ = ["Response", "cell_traits", "fresh_cells"]

_KINDS = {"linear": 0.0, "exponential": 1.0, "power": 2.0}
# A smaller slope is as good as none over a whole range, and would cost digits.
_LEAST_SLOPE = 0.01


@final
@dataclass(frozen=True, kw_only=True)
class Response:
    """Law of a cell's steps.

    Attributes:
        kind: which law, see the head of this module.
        step_up: dw towards the upper bound, > 0.
        step_down: dw towards the lower bound, > 0.
        shape_up: slope of a linear law in [0, 1], gamma of the others.
        shape_down: the same for pulses down.
        factor_up: A of an exponential law.
        factor_down: the same for pulses down.
        scale: a of an exponential law.
        offset: b of an exponential law.
        step_spread: device-to-device log spread of the step, >= 0.
        bias_spread: device-to-device spread of what steps up have more than steps down.
        bound_max: mean upper bound.
        bound_min: mean lower bound, negative.
        bound_max_spread: relative device-to-device spread of the upper bound.
        bound_min_spread: relative device-to-device spread of the lower bound.
        cycle_spread: cycle-to-cycle spread c of a step, fraction of that step.
        write_noise: sigma_write: spread of the visible weight, in mean steps.
        dead_fraction: share of cells that never move, in [0, 1).
    """

    kind: Literal["linear", "exponential", "power"] = "linear"
    step_up: float = quantity("1")
    step_down: float = quantity("1")
    shape_up: float = quantity("1", 1.0)
    shape_down: float = quantity("1", 1.0)
    factor_up: float = quantity("1", 0.0)
    factor_down: float = quantity("1", 0.0)
    scale: float = quantity("1", 0.0)
    offset: float = quantity("1", 0.0)
    step_spread: float = quantity("1", 0.0)
    bias_spread: float = quantity("1", 0.0)
    bound_max: float = quantity("1", 1.0)
    bound_min: float = quantity("1", -1.0)
    bound_max_spread: float = quantity("1", 0.0)
    bound_min_spread: float = quantity("1", 0.0)
    cycle_spread: float = quantity("1", 0.0)
    write_noise: float = quantity("1", 0.0)
    dead_fraction: float = quantity("1", 0.0)

    def __post_init__(self) -> None:
        inside = self.bound_min < 0 < self.bound_max
        one_sided = self.kind != "linear" and self.bound_min == 0 < self.bound_max
        if min(self.step_up, self.step_down) <= 0 or not (inside or one_sided):
            raise DeviceLimitError(
                f"steps must be positive and bounds on both sides of 0, got steps "
                f"{self.step_up}, {self.step_down} and bounds {self.bound_min}, {self.bound_max}"
            )
        if not 0 <= self.dead_fraction < 1:
            raise DeviceLimitError(f"the dead fraction must be in [0, 1), got {self.dead_fraction}")
        shapes = self.shape_up, self.shape_down
        if self.kind == "linear" and not all(0 <= shape <= 1 for shape in shapes):
            raise DeviceLimitError(f"slopes of a linear law must be in [0, 1], got {shapes}")
        if self.kind == "power" and not all(0 < shape <= 20 for shape in shapes):
            raise DeviceLimitError(f"exponents of a power law must be in (0, 20], got {shapes}")
        if self.kind == "exponential":
            reach = max(shapes) * (abs(self.scale) + abs(self.offset))
            if not 0 <= reach < 50 or min(shapes) < 0:
                raise DeviceLimitError(
                    f"gamma (|a| + |b|) of an exponential law must be in [0, 50), got gamma "
                    f"{shapes}, a {self.scale}, b {self.offset}"
                )

    @property
    def spreads(self) -> bool:
        """Whether cells differ in their steps or bounds."""
        bounds = self.bound_max_spread, self.bound_min_spread
        return any((self.step_spread, self.bias_spread, *bounds, self.dead_fraction))

    @property
    def step(self) -> float:
        """Mean of both step sizes dw."""
        return (self.step_up + self.step_down) / 2

    def law(self, pulse_aj: float = 0.0, slope_aj: float = 0.0, down: float = 1.0) -> Tensor:
        """The numbers the pulse kernels work with, float32 on the CPU.

        Args:
            pulse_aj: energy of a pulse up at w = -1.
            slope_aj: what it gains per unit of w.
            down: energy of a pulse down over that of one up.
        """
        up, low = self.shape_up, self.shape_down
        if self.kind == "linear" and max(up, low) < _LEAST_SLOPE:
            up = low = 0.0
        elif self.kind == "linear":
            up, low = max(up, _LEAST_SLOPE), max(low, _LEAST_SLOPE)
        values = [
            self.step_up, self.step_down, self.bound_max, self.bound_min,
            self.step_spread, -self.step_spread**2 / 2,
            self.bound_max_spread, self.bound_min_spread,
            self.cycle_spread, self.write_noise * self.step,
            self.dead_fraction, pulse_aj, slope_aj, down,
            _KINDS[self.kind], up, low, self.factor_up, self.factor_down, self.scale, self.offset,
            self.bias_spread,
        ]  # fmt: skip
        return torch.tensor(values, dtype=torch.float32)

    def mean_step(self, weight: Tensor, *, up: bool) -> Tensor:
        """Mean step of a typical cell from weights [...], before the clip."""
        mean = (self.step_up, self.step_down, self.bound_max, self.bound_min)
        a, b, c, d = (torch.tensor(v, dtype=weight.dtype) for v in mean)
        return pulse_reference.step_at(weight, torch.tensor(up), (a, b, c, d), self.law())

    @property
    def typical_step(self) -> float:
        """Mean step in the middle of the range, both directions averaged."""
        middle = torch.tensor((self.bound_min + self.bound_max) / 2)
        both = [float(self.mean_step(middle, up=up)) for up in (True, False)]
        return sum(both) / 2

    @property
    def states(self) -> float:
        """Mean steps over the range, both directions averaged: not a count of pulses."""
        return (self.bound_max - self.bound_min) / self.step

    @property
    def symmetry(self) -> float:
        """Weight at which a pulse up and a pulse down are of one size; nan where none is.

        >>> round(Response(step_up=0.02, step_down=0.01).symmetry, 6)
        0.333333
        """
        low, high = self.bound_min, self.bound_max
        for _ in range(60):
            middle = (low + high) / 2
            at = torch.tensor(middle, dtype=torch.float64)
            gain = float(self.mean_step(at, up=True) - self.mean_step(at, up=False))
            if gain == 0.0:
                return middle
            low, high = (middle, high) if gain > 0 else (low, middle)
        inside = self.bound_min + 1e-9 < low < self.bound_max - 1e-9
        return round(low, 12) + 0.0 if inside else math.nan


def cell_traits(
    response: Response, count: int, seed: int, *, first: int = 0, compiled: bool = True
) -> Tensor:
    """Steps and bounds of each cell, [4, M]: up, down, upper, lower.

    Args:
        response: the law of steps.
        count: number of cells.
        seed: the tile's seed, which fixes each cell's spread.
        first: index of the first of them.
        compiled: use the compiled kernel, not its torch twin.
    """
    table = torch.empty(pulses.TABLE, count)
    args = response.law(), hash_key(seed, "traits", words=8), first, table
    run(pulses.traits, pulse_reference.traits, args, compiled=compiled)
    return table


def fresh_cells(response: Response, table: Tensor, seed: int, *, compiled: bool = True) -> Cells:
    """Cells as they come: at w = 0 with one draw of write noise, dead ones where they stuck.

    They are made on the CPU, once; move them where they shall live.

    Args:
        response: the law of steps.
        table: what :func:`cell_traits` gave, of fewer than 2**32 cells.
        seed: the tile's seed.
        compiled: use the compiled kernel, not its torch twin.
    """
    count = table.shape[1]
    if count >= 2**32:
        raise DeviceLimitError(f"one tile holds at most 2**32 cells, got {count}")
    cells = Cells(torch.empty(count), torch.empty(count), torch.empty(count, dtype=torch.int32))
    args = cells, response.law(), table, hash_key(seed, "forming")
    run(pulses.form, pulse_reference.form, args, compiled=compiled)
    return cells
