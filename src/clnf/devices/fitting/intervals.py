"""From an estimate to the numbers of the catalogue, each with a confidence interval."""

import math
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from clnf.core.units import quantity
from clnf.devices.fitting.estimate import Estimate
from clnf.devices.fitting.problem import Problem
from clnf.devices.fitting.steps import EXPONENTIAL, LINEAR, POWER

__all__ = ["Parameter", "dead_share", "parameters", "read_parameter"]

Array = NDArray[np.float64]
_CENTRE, _HALF, _STEP, _SHAPE, _BEND, _CYCLE, _WRITE, _READ = 0, 1, 2, 4, 6, 8, 9, 10


@final
@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One fitted number.

    Attributes:
        value: the likeliest value.
        low: lower end of its confidence interval.
        high: upper end.
        unit: SI symbol, ``"1"`` for a pure number.
    """

    value: float = quantity("1")
    low: float = quantity("1")
    high: float = quantity("1")
    unit: str = "1"

    def holds(self, truth: float) -> bool:
        """Whether a value lies in the interval."""
        return self.low <= truth <= self.high


class _Reader:
    """Reads numbers off an estimate; ``rate`` is the chance an interval holds the truth."""

    def __init__(self, problem: Problem, estimate: Estimate, rate: float) -> None:
        self.problem, self.estimate, self.rate = problem, estimate, rate
        n = len(estimate.own)
        tail = (1 + rate) / 2
        self.z = float(stats.norm.ppf(tail))
        self.t = float(stats.t.ppf(tail, n - 1)) if n > 1 else self.z
        d, c = estimate.spread, estimate.own_variance
        self.known = np.square(np.clip(1 - c / d, 0, 1)).sum(axis=0) if n > 1 else np.zeros(3)
        # log dw = log of the median step + s^2/2, so the spread's error enters the mean step.
        s2 = float(d[0]) if n > 1 else 0.0
        self.lift, self.lift_var = s2 / 2, s2**2 / (2 * max(self.known[0], 1.0))

    def plain(self, weights: dict[int, float], extra: float = 0.0) -> tuple[float, float]:
        """A linear combination of shared numbers and its standard error."""
        places, factors = list(weights), np.array(list(weights.values()))
        value = float(self.estimate.shared[places] @ factors)
        cov = self.estimate.covariance[np.ix_(places, places)]
        return value, math.sqrt(max(float(factors @ cov @ factors) + extra, 0.0))

    def logged(self, weights: dict[int, float], shift: float, extra: float) -> Parameter:
        """exp(combination + shift), interval symmetric in the logarithm."""
        value, error = self.plain(weights, extra)
        mid, reach = value + shift, self.t * error
        ends = [math.exp(min(max(x, -60.0), 60.0)) for x in (mid - reach, mid, mid + reach)]
        return Parameter(value=ends[1], low=ends[0], high=ends[2])

    def window(self, sign: float) -> Parameter:
        """Conductance at w = -1 or 1."""
        value, error = self.plain({_CENTRE: 1.0, _HALF: sign})
        h, c = self.problem.half_s, self.problem.centre_s
        mid, reach = c + h * value, h * self.t * error
        return Parameter(value=mid, low=mid - reach, high=mid + reach, unit="S")

    def step(self, up: bool) -> tuple[dict[int, float], float]:
        """Log of dw as a combination of shared numbers, and what is added to it."""
        at = 0 if up else 1
        weights, shift = {_STEP + at: 1.0}, self.lift
        if self.estimate.law.kernel == EXPONENTIAL:
            weights[_BEND + at] = 1.0
        if self.estimate.law.kernel == POWER:
            # gamma log 2, linear about the estimate
            gamma = math.exp(float(self.estimate.shared[_SHAPE + at]))
            weights[_SHAPE + at] = gamma * math.log(2)
            shift += gamma * math.log(2) * (1 - float(self.estimate.shared[_SHAPE + at]))
        return weights, shift

    def cycle(self) -> Parameter:
        """Cycle spread: Student's t with the number of devices that tell it."""
        free = max(self.estimate.carriers - 1.0, 2.0)
        widen = float(stats.t.ppf((1 + self.rate) / 2, free)) / self.z
        return self.root(_CYCLE, widen=widen)

    def root(
        self, place: int, scale: float = 1.0, other: float = 0.0, widen: float = 1.0
    ) -> Parameter:
        """Square root of a variance, times a scale of relative error ``other``."""
        value, error = self.plain({place: 1.0})
        error *= widen
        if value > 3 * error:
            reach = math.exp(min(self.z * math.hypot(0.5 * error / value, other), 60.0))
            mid = math.sqrt(value) * scale
            return Parameter(value=mid, low=mid / reach, high=mid * reach)
        loose = math.exp(min(self.z * other, 60.0))
        low = math.sqrt(max(value - self.z * error, 0.0)) * scale / loose
        high = math.sqrt(max(value, 0.0) + self.z * error) * scale * loose
        return Parameter(value=math.sqrt(max(value, 0.0)) * scale, low=low, high=high)

    def spread(self, k: int) -> Parameter:
        """Device-to-device spread: chi-square where most devices are well known."""
        d = float(self.estimate.spread[k])
        half, error = self.plain({_HALF: 1.0})
        scale = 1.0 / half if k else 1.0  # bounds are in units of y, their spread is relative
        free = float(self.known[k]) - 1.0
        if free >= 3:
            if k:  # the width of the window is uncertain too
                free = 1.0 / (1.0 / free + 2.0 * (error / half) ** 2)
            low, high = (
                scale * math.sqrt(d * free / stats.chi2.ppf(q, free))
                for q in ((1 + self.rate) / 2, (1 - self.rate) / 2)
            )
            return Parameter(value=scale * math.sqrt(d), low=low, high=high)
        c = np.minimum(self.estimate.own_variance[:, k], d * (1 - 1e-9))
        alone = 1.0 / np.maximum(1.0 / c - 1.0 / d, 1e-12)  # variance without the population
        error = math.sqrt(2.0 / float(np.square(1.0 / (d + alone)).sum()))
        high = scale * math.sqrt(d + max(self.z, self.t) * error)
        low = scale * math.sqrt(max(d - self.z * error, 0.0))
        return Parameter(value=scale * math.sqrt(d), low=low, high=high)


def parameters(problem: Problem, estimate: Estimate, rate: float = 0.95) -> dict[str, Parameter]:
    """All numbers of a law in the keys of the catalogue.

    Intervals come from the Fisher information of the marginal likelihood (Student's t with the
    number of devices for window, steps and cycle spread, chi-square for spreads), in the
    logarithm for what is positive. Spreads are absent for a single device.

    Args:
        problem: the traces.
        estimate: what was fitted to them.
        rate: chance that an interval holds the truth, in (0, 1).
    """
    reader = _Reader(problem, estimate, rate)
    found = {"conductance_min_s": reader.window(-1.0), "conductance_max_s": reader.window(1.0)}
    steps = [reader.step(up) for up in (True, False)]
    for key, (weights, shift) in zip(("step_up", "step_down"), steps, strict=True):
        found[key] = reader.logged(weights, shift, reader.lift_var)
    found |= _shapes(reader)
    if len(estimate.own) > 1:
        for k, key in enumerate(("step_spread", "bound_max_spread", "bound_min_spread")):
            found[key] = reader.spread(k)
    found["cycle_spread"] = reader.cycle()
    dw = (found["step_up"].value + found["step_down"].value) / 2
    mixed: dict[int, float] = {}
    for key, (weights, _) in zip(("step_up", "step_down"), steps, strict=True):
        for place, factor in weights.items():
            mixed[place] = mixed.get(place, 0.0) + factor * found[key].value / (2 * dw)
    _, error = reader.plain(mixed, reader.lift_var)
    found["write_noise"] = reader.root(_WRITE, 1.0 / dw, error)
    if problem.read is None:
        found["read_noise_scale"] = reader.root(_READ)
    return found


def _shapes(reader: _Reader) -> dict[str, Parameter]:
    """The law's own numbers."""
    law, found = reader.estimate.law, {}
    for at, way in enumerate(("up", "down")):
        if law.kernel == LINEAR:
            value, error = reader.plain({_SHAPE + at: 1.0})
            low, high = max(value - reader.z * error, 0.0), min(value + reader.z * error, 1.0)
            found[f"slope_{way}"] = Parameter(value=value, low=low, high=high)
            continue
        key = "power" if law.kernel == POWER else "exponential_gamma"
        value, error = reader.plain({_SHAPE + at: 1.0})
        # Beyond the limits of the search nothing was looked at.
        ends = [math.exp(min(max(value + k * reader.z * error, -4.0), 4.0)) for k in (-1, 0, 1)]
        found[f"{key}_{way}"] = Parameter(value=ends[1], low=ends[0], high=ends[2])
        if law.kernel == EXPONENTIAL:
            value, error = reader.plain({_BEND + at: 1.0})
            bends = [min(max(value + k * reader.z * error, -6.0), 1.5) for k in (-1, 0, 1)]
            ends = [1 - math.exp(-bend) for bend in bends]
            found[f"exponential_{way}"] = Parameter(value=ends[1], low=ends[0], high=ends[2])
    if law.kernel == EXPONENTIAL:
        found["exponential_a"] = Parameter(value=-1.0, low=-1.0, high=-1.0)
        found["exponential_b"] = Parameter(value=0.0, low=0.0, high=0.0)
    return found


def dead_share(dead: int, devices: int, rate: float = 0.95) -> Parameter:
    """Share of dead devices with Clopper and Pearson's interval.

    >>> round(dead_share(1, 10).high, 3)
    0.445
    """
    tail = (1 - rate) / 2
    low = float(stats.beta.ppf(tail, dead, devices - dead + 1)) if dead else 0.0
    high = float(stats.beta.ppf(1 - tail, dead + 1, devices - dead)) if dead < devices else 1.0
    return Parameter(value=dead / devices, low=low, high=high)


def read_parameter(noise: float, count: int, rate: float = 0.95) -> Parameter:
    """Relative read noise from ``count`` readings of cells that do not move; 0: it was given."""
    if not count:
        return Parameter(value=noise, low=noise, high=noise)
    low, high = (
        noise * math.sqrt(count / stats.chi2.ppf(q, count))
        for q in ((1 + rate) / 2, (1 - rate) / 2)
    )
    return Parameter(value=noise, low=low, high=high)
