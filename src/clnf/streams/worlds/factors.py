"""Factors of a world: what varies, over what range, and how it is drawn.

Each factor of sample i is a hash of (seed, factor, i), so changing the range of one factor
changes no other, and samples may be taken in any order.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clnf.core.errors import ConfigError
from clnf.core.records import Batch
from clnf.core.rng import fold
from clnf.core.units import quantity

__all__ = ["AbstractWorld", "Factor", "Limits", "Scene", "uniform"]

Scene = dict[str, NDArray[np.float64]]
Limits = Mapping[str, Sequence[str] | tuple[float, float]]


@final
@dataclass(frozen=True, kw_only=True)
class Factor:
    """One cause of what a sample is.

    Attributes:
        name: such as "shape" or "pitch_hz"; carries the unit.
        kinds: names of its values where it is one of several; a scene holds the place in them.
        low: smallest value where it is a number, in the unit of the name.
        high: values lie in [low, high).
        logarithmic: drawn evenly in the logarithm.
    """

    name: str
    kinds: tuple[str, ...] = ()
    low: float = quantity("1", 0.0)
    high: float = quantity("1", 1.0)
    logarithmic: bool = False


def uniform(key: int, index: NDArray[np.int64]) -> NDArray[np.float64]:
    """Numbers in [0, 1) by counter: SplitMix64 of ``key + index`` (Steele et al. 2014).

    Args:
        key: of the place, from ``rng.fold``.
        index: int64 [K], counters >= 0.

    Returns:
        float64 [K], with 53 random bits.
    """
    with np.errstate(over="ignore"):
        z = np.uint64(key) + (index.astype(np.uint64) + np.uint64(1)) * np.uint64(
            0x9E3779B97F4A7C15
        )
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(11)).astype(np.float64) * 2.0**-53


class AbstractWorld(ABC):
    """A source whose samples are rendered from factors.

    Args:
        count: samples, >= 1.
        seed: another seed is another world of the same kind.
        label: factor with kinds whose value is the label.
        limits: narrower ranges by factor: names of kinds, or (low, high).
        drift: change of a number factor from one sample to the next, in its unit; where it
            leaves its range it turns back.

    Raises:
        ConfigError: an unknown factor, kind or range, or no samples.
    """

    factors: tuple[Factor, ...]

    def __init__(
        self,
        count: int,
        *,
        seed: int,
        label: str,
        limits: Limits = MappingProxyType({}),
        drift: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        if count < 1:
            raise ConfigError(f"a world has at least one sample, got {count}")
        self.count = count
        self.seed = seed
        self.label = label
        self.drift = dict(drift)
        known = {factor.name: factor for factor in self.factors}
        for name in (label, *limits, *drift):
            if name not in known:
                raise ConfigError(f"there is no factor {name!r}; there are {', '.join(known)}")
        if not known[label].kinds or any(known[name].kinds for name in drift):
            raise ConfigError(
                f"labels are factors with kinds and drift is of numbers, got the label {label!r} "
                f"and drift of {', '.join(drift) or 'nothing'}"
            )
        self._ranges = {name: _range(one, limits.get(name)) for name, one in known.items()}
        self._keys = {name: fold(seed, type(self).__name__, name) for name in known}

    def __len__(self) -> int:
        return self.count

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the labels."""
        return next(factor.kinds for factor in self.factors if factor.name == self.label)

    def scene(self, index: Tensor) -> Scene:
        """Factors of the samples at ``index`` (int64 [K]) by name, float64 [K] each."""
        numbers = index.numpy()
        return {factor.name: self._draw(factor, numbers) for factor in self.factors}

    def take(self, index: Tensor) -> Batch:
        """The samples at ``index`` (int64 [K]), rendered, with their labels."""
        scene = self.scene(index)
        label = torch.from_numpy(scene[self.label].astype(np.int64))
        return Batch.of(torch.from_numpy(self.render(scene)), label)

    @abstractmethod
    def render(self, scene: Scene) -> NDArray[np.float32]:
        """Samples from their factors, float32 [K, ...] in [-1, 1]."""

    def _draw(self, factor: Factor, index: NDArray[np.int64]) -> NDArray[np.float64]:
        chance = uniform(self._keys[factor.name], index)
        allowed = self._ranges[factor.name]
        if factor.kinds:
            return allowed[np.minimum(chance * len(allowed), len(allowed) - 1).astype(int)]
        low, high = allowed
        even = low + (high - low) * chance
        value = low * (high / low) ** chance if factor.logarithmic else even
        step = self.drift.get(factor.name, 0.0)
        return _folded(value + step * index, factor.low, factor.high) if step else value


def _range(
    factor: Factor, asked: Sequence[str] | tuple[float, float] | None
) -> NDArray[np.float64]:
    """Places of the allowed kinds, or the two ends of the range."""
    if factor.kinds:
        names = factor.kinds if asked is None else [str(one) for one in asked]
        if not names or not set(names) <= set(factor.kinds):
            raise ConfigError(f"{factor.name} is one of {', '.join(factor.kinds)}, got {asked}")
        return np.array([factor.kinds.index(name) for name in names], np.float64)
    if asked is None:
        return np.array([factor.low, factor.high])
    if len(asked) != 2 or any(isinstance(end, str) for end in asked):
        raise ConfigError(f"{factor.name} is limited by two numbers, got {asked}")
    low, high = (float(end) for end in asked)
    if not factor.low <= low <= high <= factor.high:
        raise ConfigError(
            f"{factor.name} lies between {factor.low:g} and {factor.high:g}, got {low:g}, {high:g}"
        )
    return np.array([low, high])


def _folded(value: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    """Values reflected at the ends of a range."""
    width = high - low
    away = np.mod(value - low, 2.0 * width)
    return low + np.minimum(away, 2.0 * width - away)
