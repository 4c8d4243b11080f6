"""What becomes of a programmed conductance with time.

Each programming of a cell draws one trait, which says how this cell will drift until it is written
again; the conductance at any age is then fixed. Time counts from the end of programming.
"""

import math
from dataclasses import dataclass
from typing import Protocol, final

import torch
from torch import Tensor

from clnf.core.units import quantity
from clnf.devices.noise import piecewise
from clnf.devices.programming import PolynomialError

__all__ = ["Drift", "LeakDrift", "LogDrift", "PowerDrift", "RelaxationDrift"]

_LEAST = 1e-4  # of full scale: laws in ln g are cut here


class Drift(Protocol):
    """How cells drift."""

    def trait(self, programmed_s: Tensor, draw: Tensor) -> Tensor:
        """What one programming fixes, from standard normals of the shape of the cells."""
        ...

    def at(self, programmed_s: Tensor, trait: Tensor, age_s: Tensor) -> Tensor:
        """Conductance at ages >= 0 in seconds, S; all of one shape, or one age for all."""
        ...

    @property
    def since_s(self) -> float:
        """Time between the write and age 0."""
        ...


@final
@dataclass(frozen=True, kw_only=True)
class PowerDrift(Drift):
    """G(t) = G_prog ((t + t0) / t0)^-nu, nu = |mu(g) + sigma(g) xi| once per programming.

    mu and sigma are clip(slope ln g + offset, low, high) of the programmed g = G / Gmax, with a
    polynomial above a changeover where the source has one.

    Source: Nandakumar et al., ICECS 2019; Le Gallo et al., Nat. Electron. 2023.
    """

    mean: tuple[float, float, float, float] = quantity("1")
    spread: tuple[float, float, float, float] = quantity("1")
    mean_start: float = quantity("1", 2.0)
    mean_above: tuple[float, ...] = quantity("1", ())
    spread_start: float = quantity("1", 2.0)
    spread_above: tuple[float, ...] = quantity("1", ())
    reference_s: float = quantity("s")
    conductance_max_s: float = quantity("S")

    def trait(self, programmed_s: Tensor, draw: Tensor) -> Tensor:
        g = (programmed_s / self.conductance_max_s).clamp_(_LEAST, 1.0)
        mean = piecewise(g, self.mean, self.mean_start, self.mean_above)
        spread = piecewise(g, self.spread, self.spread_start, self.spread_above)
        return spread.mul_(draw).add_(mean).abs_()

    def at(self, programmed_s: Tensor, trait: Tensor, age_s: Tensor) -> Tensor:
        return (-trait * torch.log1p(age_s / self.reference_s)).exp_().mul_(programmed_s)

    @property
    def since_s(self) -> float:
        return self.reference_s


@final
@dataclass(frozen=True, kw_only=True)
class LogDrift(Drift):
    """G(t) = max(G_prog + mean ln(t/s) + (slope ln(t/s) + offset) xi, 0) from one second on.

    xi is drawn once per programming. Before one second nothing has moved.

    Source: Falcone et al., arXiv 2502.04524.
    """

    mean_s: float = quantity("S")
    spread_s: tuple[float, float] = quantity("S")

    def trait(self, programmed_s: Tensor, draw: Tensor) -> Tensor:
        return draw

    def at(self, programmed_s: Tensor, trait: Tensor, age_s: Tensor) -> Tensor:
        log = age_s.clamp(min=1.0).log_()
        slope, offset = self.spread_s
        moved = trait * (slope * log + offset) + self.mean_s * log
        moved = torch.where(age_s < 1.0, torch.zeros_like(moved), moved)
        return moved.add_(programmed_s).clamp_(min=0.0)

    @property
    def since_s(self) -> float:
        return 0.0


@final
@dataclass(frozen=True, kw_only=True)
class RelaxationDrift(Drift):
    """Spread that grows after programming, known at a few ages only.

        G(t) = max(G_prog + sqrt(sigma(t)^2 - sigma(first)^2) xi, 0)

    The variance goes linearly in ln t between the ages; it starts at the first and stays what it
    was at the last, beyond which nothing was measured. xi is drawn once per programming.

    Source: Wan et al., Nature 2022.
    """

    ages_s: tuple[float, ...] = quantity("s")
    spreads: tuple[PolynomialError, ...]

    def trait(self, programmed_s: Tensor, draw: Tensor) -> Tensor:
        return draw

    def at(self, programmed_s: Tensor, trait: Tensor, age_s: Tensor) -> Tensor:
        log = age_s.clamp(min=self.ages_s[0]).log_()
        grown = torch.zeros_like(programmed_s)
        for later in range(1, len(self.ages_s)):
            low, high = (math.log(self.ages_s[i]) for i in (later - 1, later))
            part = ((log - low) / (high - low)).clamp_(0.0, 1.0)
            step = self._variance(later, programmed_s) - self._variance(later - 1, programmed_s)
            grown.add_(step.mul_(part))
        return grown.clamp_(min=0.0).sqrt_().mul_(trait).add_(programmed_s).clamp_(min=0.0)

    @property
    def since_s(self) -> float:
        return 0.0

    def _variance(self, age: int, programmed_s: Tensor) -> Tensor:
        return self.spreads[age].sigma(programmed_s).square_()


@final
@dataclass(frozen=True, kw_only=True)
class LeakDrift(Drift):
    """A charge that leaks: G(t) = rest + (G_prog - rest) exp(-t / tau), tau = tau0 (1 + s xi).

    Attributes:
        lifetime_s: mean tau0 of the cells.
        spread: s, from cell to cell; tau stays above a tenth of tau0.
        rest_s: conductance of an empty cell.

    Source: Li et al., VLSI 2018.
    """

    lifetime_s: float = quantity("s")
    spread: float = quantity("1", 0.0)
    rest_s: float = quantity("S")

    def trait(self, programmed_s: Tensor, draw: Tensor) -> Tensor:
        return (1.0 + self.spread * draw).clamp_(min=0.1)

    def at(self, programmed_s: Tensor, trait: Tensor, age_s: Tensor) -> Tensor:
        kept = torch.exp(-age_s / self.lifetime_s / trait)
        return kept.mul_(programmed_s - self.rest_s).add_(self.rest_s)

    @property
    def since_s(self) -> float:
        return 0.0
