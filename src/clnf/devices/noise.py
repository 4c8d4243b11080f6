"""Read noise: how much one read of a cell strays, by its state and by time.

Where a law grows with time it is 1/f noise accumulated since the write,

    sigma(t) = sigma_1 sqrt(ln((t + tr) / (2 tr))),

taken as independent from read to read, which overstates how fast a slow fluctuation averages out.
The others are white: the same at any time.
"""

import math
from dataclasses import dataclass
from typing import Protocol, final

import torch
from torch import Tensor

from clnf.core.units import quantity
from clnf.devices.programming import SaturatingError, polynomial

__all__ = [
    "LevelNoise",
    "PiecewiseNoise",
    "PowerNoise",
    "ReadNoise",
    "RelativeNoise",
    "SaturatingNoise",
    "piecewise",
]

_LEAST = 1e-4  # of full scale: laws in ln g are cut here


class ReadNoise(Protocol):
    """Spread of one read."""

    def sigma(self, programmed_s: Tensor, now_s: Tensor, time_s: float) -> Tensor:
        """Standard deviation of one read.

        Args:
            programmed_s: conductance as programmed.
            now_s: conductance now, of the same shape.
            time_s: since the write.
        """
        ...


def piecewise(
    g: Tensor, log: tuple[float, float, float, float], start: float, above: tuple[float, ...]
) -> Tensor:
    """clip(slope ln g + offset, low, high) for g < start, a polynomial in g from there on."""
    slope, offset, low, high = log
    below = g.log().mul_(slope).add_(offset).clamp_(low, high)
    if not above:
        return below
    return torch.where(g < start, below, polynomial(above, g))


def _growth(time_s: float, read_time_s: float) -> float:
    ratio = (time_s + read_time_s) / (2 * read_time_s)
    return math.sqrt(max(math.log(ratio), 0.0))


@final
@dataclass(frozen=True, kw_only=True)
class PowerNoise(ReadNoise):
    """sigma = G min(q / g^p, cap) sqrt(ln((t + tr) / (2 tr))), g the programmed G / Gmax.

    Source: Nandakumar et al., ICECS 2019.
    """

    scale: float = quantity("1")
    exponent: float = quantity("1")
    cap: float = quantity("1")
    read_time_s: float = quantity("s")
    conductance_max_s: float = quantity("S")

    def sigma(self, programmed_s: Tensor, now_s: Tensor, time_s: float) -> Tensor:
        g = (programmed_s / self.conductance_max_s).clamp_(_LEAST, 1.0)
        q = g.log_().mul_(-self.exponent).exp_().mul_(self.scale).clamp_(max=self.cap)
        return q.mul_(now_s).mul_(_growth(time_s, self.read_time_s))


@final
@dataclass(frozen=True, kw_only=True)
class PiecewiseNoise(ReadNoise):
    """sigma = G Q(g) sqrt(ln((t + tr) / (2 tr))), Q piecewise in the programmed g = G / Gmax.

    Source: Le Gallo et al., Nat. Electron. 2023.
    """

    log: tuple[float, float, float, float] = quantity("1")
    start: float = quantity("1")
    above: tuple[float, ...] = quantity("1")
    read_time_s: float = quantity("s")
    conductance_max_s: float = quantity("S")

    def sigma(self, programmed_s: Tensor, now_s: Tensor, time_s: float) -> Tensor:
        g = (programmed_s / self.conductance_max_s).clamp_(_LEAST, 1.0)
        q = piecewise(g, self.log, self.start, self.above)
        return q.mul_(now_s).mul_(_growth(time_s, self.read_time_s))


@final
@dataclass(frozen=True, kw_only=True)
class LevelNoise(ReadNoise):
    """sigma = K log10(G / 1 uS) sqrt(ln((t + tr) / (2 tr))), at least 0; meant for 10 to 100 uS.

    Source: Falcone et al., arXiv 2502.04524.
    """

    scale_s: float = quantity("S")
    read_time_s: float = quantity("s")

    def sigma(self, programmed_s: Tensor, now_s: Tensor, time_s: float) -> Tensor:
        level = (now_s * 1e6).clamp_(min=1.0).log10_()
        return level.mul_(self.scale_s * _growth(time_s, self.read_time_s))


@final
@dataclass(frozen=True, kw_only=True)
class RelativeNoise(ReadNoise):
    """sigma = fraction G."""

    fraction: float = quantity("1")

    def sigma(self, programmed_s: Tensor, now_s: Tensor, time_s: float) -> Tensor:
        return now_s * self.fraction


@final
@dataclass(frozen=True, kw_only=True)
class SaturatingNoise(ReadNoise):
    """sigma = height (1 - exp(-G / scale)).

    Source: Agrawal et al., IEDM 2022.
    """

    law: SaturatingError

    def sigma(self, programmed_s: Tensor, now_s: Tensor, time_s: float) -> Tensor:
        return self.law.sigma(now_s)
