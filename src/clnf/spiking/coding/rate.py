"""Rate code: the higher a level, the more often it spikes, by chance.

    P(spike in a step) = x f dt

Spikes are independent from step to step: a Poisson process cut into bins that hold one spike at
most. Draws depend on the seed and the place only.
"""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from clnf.core.errors import ConfigError
from clnf.core.inputs import check_fields, instance, seconds
from clnf.core.rng import torch_rng
from clnf.core.units import quantity
from clnf.spiking.coding.levels import levels, spikes_of, steps_of

__all__ = ["Rate"]


@final
@dataclass(frozen=True, kw_only=True)
class Rate:
    """Spikes by chance.

    Attributes:
        highest_hz: rate of a level of 1, f.

    >>> code = Rate(highest_hz=500.0)
    >>> z = code.encode([0.0, 1.0], steps=1000, dt_s=1e-3, seed=1)
    >>> z[:, 0].sum().item(), bool(abs(code.decode(z, dt_s=1e-3)[1] - 1) < 0.1)
    (0.0, True)
    """

    highest_hz: float = quantity("Hz", 100.0)

    def __post_init__(self) -> None:
        check_fields(self)
        if not 0 < self.highest_hz < float("inf"):
            raise ConfigError(f"a rate is above 0 Hz, got {self.highest_hz}; correct it")

    def encode(
        self, x: object, *, steps: int, dt_s: float, seed: int, place: tuple[str | int, ...] = ()
    ) -> Tensor:
        """Spikes [T, ...] of levels [...].

        Args:
            x: levels in [0, 1].
            steps: T.
            dt_s: seconds of a step.
            seed: of the draw.
            place: where the draw is used, for several from one seed.

        Raises:
            ConfigError: more than one spike would be due in a step, or a place is no tuple.
            DataError: levels out of range.
        """
        found, (steps, dt_s) = levels(x), steps_of(steps, dt_s)
        if not 0 < self.highest_hz * dt_s <= 1:
            raise ConfigError(
                f"{self.highest_hz} Hz in steps of {dt_s} s is {self.highest_hz * dt_s:g} spikes a "
                "step, which holds one at most; shorten dt_s or lower the rate"
            )
        instance("place", place, tuple, "give one such as (3,)")
        rng = torch_rng(seed, "rate code", *place)
        draws = torch.rand((steps, *found.shape), generator=rng)
        return (draws.to(found.device) < found * (self.highest_hz * dt_s)).to(torch.float32)

    def decode(self, z: Tensor, *, dt_s: float) -> Tensor:
        """Levels [...] of spikes [T, ...]: how many came of those that could, cut at 1.

        Raises:
            ConfigError: ``dt_s`` is no finite time above 0.
            DataError: a spike is negative or not finite.
            ShapeError: no steps.
        """
        found = spikes_of(z)
        return (found.mean(0) / (self.highest_hz * seconds("dt_s", dt_s))).clamp(max=1.0)
