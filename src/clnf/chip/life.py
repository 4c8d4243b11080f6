"""How many more lessons a tile lives, with an interval."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from scipy.optimize import brentq
from scipy.special import ndtri
from torch import Tensor

from clnf.chip.crossbar.array import Crossbar
from clnf.core.errors import ConfigError
from clnf.core.units import quantity
from clnf.devices.lifetime import Endurance

__all__ = ["Life", "project"]

_FAR = 1e30  # lessons; beyond it a tile lives for ever


@final
@dataclass(frozen=True, kw_only=True)
class Life:
    """Lessons left until a share of a tile's cells is dead.

    Attributes:
        lessons: median; infinite where nothing wears it.
        low: lower end of the interval.
        high: upper end.
        share: of cells that may be dead.
        rate: chance that the interval holds the truth, if the stream goes on as it did.
        source: where the endurance comes from.
    """

    lessons: float = quantity("1")
    low: float = quantity("1")
    high: float = quantity("1")
    share: float = quantity("1")
    rate: float = quantity("1")
    source: str


def project(
    tile: Crossbar,
    before: Tensor,
    pulses: Sequence[float],
    *,
    share: float = 0.01,
    rate: float = 0.9,
) -> Life:
    """Project a tile's life from its cells' wear and the lessons so far.

        expected dead after t more lessons = mean_i [1 - S(w_i + r_i t)],
        S(n) = exp(-ln 2 (n / N)^shape)

    w_i is the wear of a cell now and r_i what it wore per lesson since ``before``; a cell that was
    not pulsed will not be. The interval joins two doubts, each as a normal: how many cells really
    die when so many are expected to (each by its own chance), and how many pulses a lesson brings
    (the standard error of the mean of the lessons so far).

    Args:
        tile: whose material states an endurance.
        before: wear at the beginning of the lessons, [planes, M].
        pulses: of each lesson on this tile; at least one. With one alone the second doubt is left
            out.
        share: of cells that may be dead, above 0 and below 1.
        rate: of the interval, above 0 and below 1.

    Raises:
        DeviceLimitError: the material's endurance was not published; supply it.
        ConfigError: a value is out of its range, or the wear shrank.

    Source: Weibull lives as in :mod:`clnf.devices.lifetime`, whose shape is an assumption.
    """
    if not 0 < share < 1 or not 0 < rate < 1 or not pulses:
        raise ConfigError(
            "share and rate lie between 0 and 1 and there is at least one lesson, got "
            f"{share}, {rate} and {len(pulses)} lessons"
        )
    endurance = tile.cell.need(tile.cell.endurance)
    fits = before.shape == tile.wear.shape
    worn = (tile.wear - before.to(tile.wear.device)).double().flatten() if fits else torch.zeros(1)
    if not fits or float(worn.min()) < 0:
        raise ConfigError(
            f"wear before is [{tile.planes}, {tile.size}] and no more than now; got "
            f"{tuple(before.shape)}"
        )
    now, each = tile.wear.double().flatten(), worn / len(pulses)
    law = _Deaths(endurance, now, each)
    mean = sum(pulses) / len(pulses)
    doubt = 0.0
    if len(pulses) > 1 and mean > 0:
        variance = sum((p - mean) ** 2 for p in pulses) / (len(pulses) - 1)
        doubt = math.sqrt(variance / len(pulses)) / mean
    width = float(ndtri(0.5 + 0.5 * rate))
    median = law.when(share, 0.0)
    early, late = (law.when(share, sign * width) for sign in (1.0, -1.0))
    low, high = early, late
    if 0 < median < math.inf:
        # A relative error of the pulses a lesson brings is one of the lessons left.
        low = median * max(0.0, 1.0 - math.hypot(1.0 - early / median, width * doubt))
        high = median * (1.0 + math.hypot(late / median - 1.0, width * doubt))
    value = tile.cell.material.values["endurance_cycles"]
    source = f"{value.source} ({value.material})"
    return Life(lessons=median, low=low, high=high, share=share, rate=rate, source=source)


@final
class _Deaths:
    """Expected dead cells after some lessons, and how far the real number may lie from it."""

    def __init__(self, endurance: Endurance, now: Tensor, each: Tensor) -> None:
        self.cycles, self.shape = endurance.cycles, endurance.shape
        self.now, self.each = now, each

    def chances(self, lessons: float) -> Tensor:
        """That each cell is dead by then, by its wear alone."""
        spent = (self.now + self.each * lessons) / self.cycles
        return -torch.expm1(-math.log(2.0) * spent.pow(self.shape))

    def beyond(self, lessons: float, share: float, width: float) -> float:
        """Dead cells at so many standard deviations above the mean, less those that may be."""
        chance = self.chances(lessons)
        spread = float((chance * (1.0 - chance)).sum().sqrt())
        return float(chance.sum()) + width * spread - share * len(chance)

    def when(self, share: float, width: float) -> float:
        """Lessons at which that is zero."""
        if self.beyond(0.0, share, width) >= 0:
            return 0.0
        end = 1.0
        while self.beyond(end, share, width) < 0:
            end *= 4.0
            if end > _FAR:
                return math.inf
        return float(brentq(self.beyond, 0.0, end, args=(share, width), rtol=1e-6))
