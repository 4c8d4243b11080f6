"""What a driver puts on a line after a spike: a voltage over time, in straight lines.

Each line of a crossbar has a driver. A spike of the cell before a synapse starts a wave on its
row, one of the cell behind it a wave on its column; a new spike starts the wave anew. Three shapes:

    rectangle   one level, from a delay on
    bipolar     one level, then another of its own sign
    action      a ramp up to a peak, then a tail of the other sign that fades in a straight line

Sources: Zamarreno-Ramos et al., Frontiers in Neuroscience 5, 26 (2011) (action potentials with
tails; theirs are exponentials); Querlioz et al., IEEE Trans. Nanotechnology 12, 288 (2013)
(rectangle before, two levels behind).
"""

from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from clnf.core.errors import ConfigError
from clnf.core.inputs import check_fields, number
from clnf.core.units import quantity

__all__ = ["Wave", "action", "bipolar", "rectangle"]


@final
@dataclass(frozen=True, kw_only=True)
class Wave:
    """Points of a voltage over time; straight lines between them, 0 V before and after.

    Attributes:
        times_s: since the spike, from 0 on, in order; two alike make a jump.
        volts_v: at these times.

    >>> Wave(times_s=(0.0, 1e-3), volts_v=(1.0, 0.0)).at(np.array([0.25e-3, 2e-3]))
    array([0.75, 0.  ])
    """

    times_s: tuple[float, ...] = quantity("s")
    volts_v: tuple[float, ...] = quantity("V")

    def __post_init__(self) -> None:
        check_fields(self)
        for what in ("times_s", "volts_v"):
            for one in getattr(self, what):
                number(f"each of {what}", one, nan=True)
        good = len(self.times_s) == len(self.volts_v) >= 2
        if not (good and np.isfinite([*self.times_s, *self.volts_v]).all()):
            raise ConfigError(
                "a wave has two points or more, as many times as volts and all finite, got "
                f"{self.times_s} and {self.volts_v}; correct it"
            )
        if self.times_s[0] < 0 or min(np.diff(self.times_s)) < 0 or not self.times_s[-1] > 0:
            raise ConfigError(
                f"times of a wave go up from 0 s or later, got {self.times_s}; sort them"
            )

    @property
    def end_s(self) -> float:
        """When the line rests again."""
        return self.times_s[-1]

    @property
    def peak_v(self) -> float:
        """Largest amplitude."""
        return max(map(abs, self.volts_v))

    def at(self, since_s: NDArray[Any]) -> NDArray[np.float64]:
        """Volts at times since the spike, of any shape; 0 before the first point."""
        found = np.interp(since_s, self.times_s, self.volts_v, left=0.0, right=0.0)
        return np.asarray(found, np.float64)


def rectangle(volt_v: float, width_s: float, *, delay_s: float = 0.0) -> Wave:
    """One level for a time.

    Args:
        volt_v: of the level.
        width_s: of it, above 0.
        delay_s: between the spike and its begin.

    >>> rectangle(0.5, 20e-3).peak_v
    0.5
    """
    return Wave(times_s=(delay_s, delay_s + width_s), volts_v=(volt_v, volt_v))


def bipolar(first_v: float, second_v: float, width_s: float, *, delay_s: float = 0.0) -> Wave:
    """Two levels, one after the other.

    Args:
        first_v: of the first.
        second_v: of the second.
        width_s: of each of them, above 0.
        delay_s: between the spike and the first.
    """
    middle, end = delay_s + width_s, delay_s + 2 * width_s
    return Wave(
        times_s=(delay_s, middle, middle, end), volts_v=(first_v, first_v, second_v, second_v)
    )


def action(peak_v: float, rise_s: float, tail_v: float, tail_s: float) -> Wave:
    """A ramp from 0 to a peak, then a tail of the other sign that fades.

    Args:
        peak_v: where the ramp ends.
        rise_s: how long it takes.
        tail_v: amplitude of the tail at its begin; its sign is the other one.
        tail_s: how long it takes to fade.
    """
    start = -tail_v if peak_v > 0 else tail_v
    return Wave(times_s=(0.0, rise_s, rise_s, rise_s + tail_s), volts_v=(0.0, peak_v, start, 0.0))
