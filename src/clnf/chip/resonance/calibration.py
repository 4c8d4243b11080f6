"""Find the noise that helps by measuring, and say so when there is none."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import final

import numpy as np
import torch
from scipy.stats import fisher_exact
from torch import Tensor

from clnf.core.errors import ConfigError
from clnf.core.rng import torch_rng
from clnf.core.units import quantity

__all__ = ["Calibration", "Point", "calibrate"]

Look = Callable[[Tensor, float], Tensor]
_AROUND = 1  # points to each side of the best that a parabola is laid through


@final
@dataclass(frozen=True, kw_only=True)
class Point:
    """Detection at one noise.

    Attributes:
        sigma: spread of the added noise.
        accuracy: share of right answers on trials that did not choose the cut.
        error: standard error of that share.
    """

    sigma: float = quantity("1")
    accuracy: float = quantity("1")
    error: float = quantity("1")


@final
@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What a calibration found.

    Attributes:
        sigma: the noise to use; 0 where none helps.
        accuracy: there, on fresh trials.
        at_zero: without added noise, on fresh trials.
        p_value: chance of a difference as large if noise did not help (Fisher's exact test, one
            side).
        helps: whether that chance is below the level asked for.
        curve: every noise tried, zero first.
    """

    sigma: float = quantity("1")
    accuracy: float = quantity("1")
    at_zero: float = quantity("1")
    p_value: float = quantity("1")
    helps: bool
    curve: tuple[Point, ...]

    @property
    def sentence(self) -> str:
        """The finding in words."""
        both = f"{self.accuracy:.3f} against {self.at_zero:.3f} without, p = {self.p_value:.2g}"
        if self.helps:
            return f"noise of spread {self.sigma:.3g} helps: {both}"
        return f"no noise helps, add none: the best tried gave {both}"


def calibrate(
    look: Look,
    contrast: float,
    sigmas: Sequence[float],
    *,
    trials: int,
    seed: int,
    level: float = 0.01,
) -> Calibration:
    """Try noises on known inputs, half of them empty, and test the best against none.

    At every noise half of the trials choose a cut through the sum of codes, the other half are
    judged by it. The best noise is the peak of a parabola in ln(sigma) through the best point and
    its neighbours. Whether it helps is decided by as many trials again, at it and at zero, none of
    which chose anything.

    Args:
        look: takes inputs, [trials], and a spread; gives codes [trials, looks], new ones each
            time.
        contrast: of the inputs that are not empty.
        sigmas: noises to try besides none, > 0 and rising, at least 3.
        trials: at every noise, >= 20.
        seed: of which trials are empty.
        level: largest p-value that counts.

    Raises:
        ConfigError: a value is out of its range.
    """
    rising = all(a < b for a, b in pairwise(sigmas))
    if len(sigmas) < 3 or not rising or not 0 < sigmas[0] <= sigmas[-1] < float("inf"):
        raise ConfigError(f"give at least 3 rising spreads above 0, got {list(sigmas)}")
    if trials < 20:
        raise ConfigError(f"trials must be at least 20, got {trials}; take more")
    if not 0 < level < 1:
        raise ConfigError(f"level must be in (0, 1), got {level}; correct it")
    curve = []
    for k, sigma in enumerate((0.0, *sigmas)):
        right, judged = _right(look, contrast, sigma, trials, fold=(seed, k))
        share = right / judged
        spread = max(share * (1 - share), 0.25 / judged) / judged
        curve.append(Point(sigma=float(sigma), accuracy=share, error=spread**0.5))
    best = _peak(curve[1:])
    some, judged = _right(look, contrast, best, 2 * trials, fold=(seed, len(curve)))
    none, _ = _right(look, contrast, 0.0, 2 * trials, fold=(seed, len(curve) + 1))
    table = [[some, judged - some], [none, judged - none]]
    p_value = float(fisher_exact(table, alternative="greater").pvalue)
    return Calibration(
        sigma=best if p_value < level else 0.0,
        accuracy=some / judged,
        at_zero=none / judged,
        p_value=p_value,
        helps=p_value < level,
        curve=tuple(curve),
    )


def _right(
    look: Look, contrast: float, sigma: float, trials: int, fold: tuple[int, int]
) -> tuple[int, int]:
    """Right answers, and out of how many."""
    there = torch.rand(trials, generator=torch_rng(*fold)) < 0.5
    score = look(there.float() * contrast, sigma).sum(1)
    half = trials // 2
    cut = _cut(score[:half], there[:half])
    return int(((score[half:] > cut) == there[half:]).sum()), trials - half


def _cut(score: Tensor, there: Tensor) -> float:
    """The cut with most right answers; the middle one of equals, so that ties do not lean."""
    levels = torch.unique(score)
    cuts = torch.cat([levels[:1] - 1, levels]).double() + 0.5
    right = ((score[None] > cuts[:, None]) == there[None]).sum(1)
    among = cuts[right == right.max()]
    return float(among[len(among) // 2])


def _peak(points: Sequence[Point]) -> float:
    """Where a parabola through the best point and its neighbours is highest."""
    best = max(range(len(points)), key=lambda k: points[k].accuracy)
    near = points[max(best - _AROUND, 0) : best + _AROUND + 1]
    if len(near) < 2 * _AROUND + 1:  # at an end
        return points[best].sigma
    x = np.log([point.sigma for point in near])
    bend, slope, _ = np.polyfit(x, [point.accuracy for point in near], 2)
    if bend >= 0:
        return points[best].sigma
    return float(np.exp(np.clip(-slope / (2 * bend), x[0], x[-1])))
