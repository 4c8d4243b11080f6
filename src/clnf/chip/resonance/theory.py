"""What noise does to a level that a coarse converter cannot see.

A level x plus Gaussian noise of spread sigma falls into code k of a quantiser with probability

    p_k(x, sigma) = Phi((e_{k+1} - x) / sigma) - Phi((e_k - x) / sigma),

e the edges between codes. The sum of N independent looks has the N-fold convolution of p. All
else here follows from that, without an approximation but for noise that is white and Gaussian.

Two levels between 0 and the first edge give the same code without noise and different sums with
it; too much noise drowns both. The best sigma between is stochastic resonance (Gammaitoni et al.,
Rev. Mod. Phys. 70, 223, 1998), for a static threshold also called dithering (Gray & Stockham,
IEEE Trans. Inf. Theory 39, 805, 1993). Levels on two sides of an edge need no noise.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import ndtr

from clnf.core.errors import ConfigError
from clnf.core.units import quantity

__all__ = [
    "Optimum",
    "Quantiser",
    "best_of",
    "code_chances",
    "detection",
    "detection_apart",
    "mean_square_error",
    "optimum",
]

_NEVER = 1e-18  # a chance that no sum in float64 sees
_GRID = 64  # sigmas tried before the best of them is refined
_LEAST, _MOST = 1e-3, 30.0  # in units of the distance from the amplitude to the edge, and of it


@final
@dataclass(frozen=True, kw_only=True)
class Quantiser:
    """Codes of an ideal quantiser.

        one edge:   code = 1 where x > threshold, else 0                     (a comparator)
        more:       code = clip(round(x / step), -top, top), edges at odd half steps

    Attributes:
        step: distance between two codes, in the units of the level; twice the threshold of a
            comparator.
        top: largest code; 0 for a comparator.
    """

    step: float = quantity("1")
    top: int = quantity("1", 0)

    def __post_init__(self) -> None:
        if not 0 < self.step < math.inf or self.top < 0:
            raise ConfigError(
                "a quantiser needs a step above 0 and a top of at least 0, got "
                f"{self.step} and {self.top}"
            )

    @property
    def edges(self) -> NDArray[np.float64]:
        """Levels at which the code changes, in rising order."""
        lowest = np.arange(-self.top, self.top) if self.top else np.arange(1)
        return np.asarray((lowest + 0.5) * self.step, dtype=np.float64)

    @property
    def codes(self) -> NDArray[np.int64]:
        """All codes in rising order."""
        return np.arange(2) if not self.top else np.arange(-self.top, self.top + 1)

    def convert(self, x: NDArray[np.float64]) -> NDArray[np.int64]:
        """Codes of levels, of the same shape; what lies on an edge takes the lower code."""
        return self.codes[np.searchsorted(self.edges, x)]


def code_chances(level: float, sigma: float, quantiser: Quantiser) -> NDArray[np.float64]:
    """Probability of each code, [codes].

    Args:
        level: without the noise.
        sigma: spread of the noise, >= 0.
        quantiser: its codes.

    >>> code_chances(0.25, 0.25, Quantiser(step=1.0)).round(3)
    array([0.841, 0.159])
    """
    if not 0 <= sigma < math.inf:
        raise ConfigError(f"the spread of noise is at least 0, got {sigma}")
    if sigma == 0:
        chosen = quantiser.convert(np.array([level]))
        return (quantiser.codes == chosen).astype(np.float64)
    below = ndtr((quantiser.edges - level) / sigma)
    chances: NDArray[np.float64] = np.diff(np.concatenate([[0.0], below, [1.0]]))
    return chances


def _sum_chances(one: NDArray[np.float64], looks: int) -> NDArray[np.float64]:
    """Distribution of the sum of independent codes: a power of the transform of one."""
    size = looks * (len(one) - 1) + 1
    powered = np.fft.irfft(np.fft.rfft(one, 2 * size) ** looks, 2 * size)[:size]
    found: NDArray[np.float64] = np.clip(powered, 0.0, None)
    return found / found.sum()


def _reached(chances: list[NDArray[np.float64]]) -> slice:
    """Codes that one of the looks ever gives; the sums of the others are 0."""
    some = np.flatnonzero(np.max([each.max(0, initial=0.0) for each in chances], axis=0) > _NEVER)
    return slice(int(some[0]), int(some[-1]) + 1)


def detection(amplitude: float, sigma: float, quantiser: Quantiser, *, looks: int) -> float:
    """Share of right answers to "was it 0 or the amplitude?", asked equally often.

        accuracy = 1/2 + 1/4 sum_s |P_A(s) - P_0(s)|,

    s the sum of codes over the looks: the answer with the larger likelihood is given.

    Args:
        amplitude: the other level.
        sigma: spread of the noise in one look.
        quantiser: what every look goes through.
        looks: independent ones, >= 1.

    >>> round(detection(0.25, 0.0, Quantiser(step=1.0), looks=16), 3)
    0.5
    >>> round(detection(0.25, 0.25, Quantiser(step=1.0), looks=16), 3)
    0.848
    """
    if looks < 1:
        raise ConfigError(f"a detector needs at least one look, got {looks}")
    each = [code_chances(level, sigma, quantiser)[None] for level in (0.0, amplitude)]
    reached = _reached(each)
    none, some = (_sum_chances(one[0, reached], looks) for one in each)
    return float(0.5 + 0.25 * np.abs(some - none).sum())


def detection_apart(
    amplitude: float,
    offsets: NDArray[np.float64],
    sigmas: NDArray[np.float64],
    quantiser: Quantiser,
) -> float:
    """The same for looks that are not alike: each has an offset and a noise of its own.

    Offsets that differ from look to look uncover a level as noise does: each look has its edges
    elsewhere.

    Args:
        amplitude: the other level.
        offsets: added to the level of each look, [looks].
        sigmas: spread of the noise of each look, [looks].
        quantiser: what every look goes through.

    >>> alike = np.zeros(16), np.full(16, 0.25)
    >>> round(detection_apart(0.25, *alike, Quantiser(step=1.0)), 3)
    0.848
    """
    if not 0 < len(offsets) == len(sigmas):
        raise ConfigError(
            f"every look has an offset and a spread, got {len(offsets)} and {len(sigmas)}"
        )
    looks = list(zip(map(float, offsets), map(float, sigmas), strict=True))
    each = [
        np.array([code_chances(level + offset, sigma, quantiser) for offset, sigma in looks])
        for level in (0.0, amplitude)
    ]
    reached = _reached(each)
    size = len(looks) * (reached.stop - reached.start - 1) + 1
    sums = []
    for one in each:
        spectrum = np.ones(size // 2 + 1, dtype=np.complex128)
        for look in one[:, reached]:  # one by one: many looks of many codes fill the memory
            spectrum *= np.fft.rfft(look, size)
        powered = np.clip(np.fft.irfft(spectrum, size), 0.0, None)
        sums.append(powered / powered.sum())
    return float(0.5 + 0.25 * np.abs(sums[1] - sums[0]).sum())


def mean_square_error(
    levels: NDArray[np.float64], sigma: float, quantiser: Quantiser, *, looks: int
) -> float:
    """How far the mean code of some looks lies from the level, squared, mean over levels.

        E = mean_x [ (step E[k|x] - x)^2 + step^2 Var[k|x] / looks ]

    The first term is what the quantiser hides and noise uncovers; the second is the noise left.

    Args:
        levels: shown equally often, [levels].
        sigma: spread of the noise in one look.
        quantiser: what every look goes through; meant for one with codes on both sides.
        looks: independent ones, >= 1.
    """
    codes, total = quantiser.codes.astype(np.float64), 0.0
    for level in levels:
        chance = code_chances(float(level), sigma, quantiser)
        mean = float(chance @ codes)
        spread = float(chance @ (codes - mean) ** 2)
        total += (quantiser.step * mean - float(level)) ** 2 + quantiser.step**2 * spread / looks
    return total / len(levels)


@final
@dataclass(frozen=True, kw_only=True)
class Optimum:
    """The noise at which detection is best.

    Attributes:
        sigma: spread of the noise; 0 where none helps.
        accuracy: there.
        at_zero: without noise.
        low: least sigma that loses no more than ``slack``.
        high: largest one.
        slack: what a sigma between them may lose of the accuracy.
    """

    sigma: float = quantity("1")
    accuracy: float = quantity("1")
    at_zero: float = quantity("1")
    low: float = quantity("1")
    high: float = quantity("1")
    slack: float = quantity("1", 0.01)

    @property
    def helps(self) -> bool:
        """Whether any noise is better than none."""
        return self.accuracy > self.at_zero


def optimum(
    amplitude: float, quantiser: Quantiser, *, looks: int, slack: float = 0.01, own: float = 0.0
) -> Optimum:
    """Find the best noise to add for detection, by theory.

    Args:
        amplitude: level to tell from 0, > 0.
        quantiser: what every look goes through.
        looks: independent ones.
        slack: accuracy that a sigma inside [low, high] may lose; take twice the standard error
            of a measurement to say where its best may fall.
        own: spread of the noise that a look has anyway; a source that is noisy enough by itself
            needs none added.
    """
    if not 0 < amplitude < math.inf or not 0 <= own < math.inf:
        raise ConfigError(
            f"amplitude must be above 0 and own noise at least 0, got {amplitude} and {own}"
        )

    def gain(sigma: float) -> float:
        return detection(amplitude, math.hypot(sigma, own), quantiser, looks=looks)

    return best_of(gain, max(amplitude, quantiser.step), slack=slack)


def best_of(gain: Callable[[float], float], scale: float, *, slack: float = 0.01) -> Optimum:
    """Find the noise at which detection is best.

    Args:
        gain: accuracy at an added noise, from 0 on.
        scale: a noise of about the right size; sought from a thousandth to 30 times of it.
        slack: see :func:`optimum`.
    """
    if not 0 < slack < 0.5:
        raise ConfigError(f"slack must be in (0, 0.5), got {slack}")
    grid = np.linspace(math.log(_LEAST * scale), math.log(_MOST * scale), _GRID)
    found = [gain(math.exp(at)) for at in grid]
    best, zero = int(np.argmax(found)), gain(0.0)
    if found[best] <= zero + 1e-12:
        return Optimum(sigma=0.0, accuracy=zero, at_zero=zero, low=0.0, high=0.0, slack=slack)
    around = float(grid[max(best - 1, 0)]), float(grid[min(best + 1, _GRID - 1)])
    peak = minimize_scalar(lambda at: -gain(math.exp(at)), bounds=around, method="bounded")
    accuracy, fine = float(-peak.fun), np.linspace(grid[0], grid[-1], 8 * _GRID)
    kept = [float(at) for at in fine if gain(math.exp(at)) >= accuracy - slack]
    return Optimum(
        sigma=math.exp(float(peak.x)),
        accuracy=accuracy,
        at_zero=zero,
        low=math.exp(min(*kept, float(peak.x))),
        high=math.exp(max(*kept, float(peak.x))),
        slack=slack,
    )
