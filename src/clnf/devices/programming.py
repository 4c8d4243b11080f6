"""What is left of a target when a cell has been programmed: the published residual error.

    G = max(G_target + sigma(G_target) xi, 0)

The sources programmed with read-back until a cell was accepted; sigma is what stayed. A tile that
verifies and writes again draws a new error each time, which is a scheme of its own on top of that.
"""

from dataclasses import dataclass
from typing import Protocol, final

import torch
from torch import Tensor

from clnf.core.units import quantity

__all__ = ["PolynomialError", "ProgrammingError", "SaturatingError", "polynomial"]


def polynomial(coefficients: tuple[float, ...], x: Tensor) -> Tensor:
    """Sum of c_k x^k, coefficients ascending (Horner)."""
    total = torch.full_like(x, coefficients[-1])
    for factor in reversed(coefficients[:-1]):
        total = total.mul_(x).add_(factor)
    return total


class ProgrammingError(Protocol):
    """Spread of cells programmed to one target."""

    def sigma(self, target_s: Tensor) -> Tensor:
        """Standard deviation in S for targets in S, any shape."""
        ...


@final
@dataclass(frozen=True, kw_only=True)
class PolynomialError(ProgrammingError):
    """sigma = sum of c_k (G / unit)^k, at least 0.

    Attributes:
        coefficients_s: c_k, ascending.
        unit_s: what a target is divided by: full scale, or 1 S.

    >>> error = PolynomialError(coefficients_s=(1e-7, 2e-6), unit_s=25e-6)
    >>> round(float(error.sigma(torch.tensor(12.5e-6))) * 1e6, 6)
    1.1
    """

    coefficients_s: tuple[float, ...] = quantity("S")
    unit_s: float = quantity("S")

    def sigma(self, target_s: Tensor) -> Tensor:
        return polynomial(self.coefficients_s, target_s / self.unit_s).clamp_(min=0.0)


@final
@dataclass(frozen=True, kw_only=True)
class SaturatingError(ProgrammingError):
    """sigma = height (1 - exp(-G / scale)).

    Attributes:
        height_s: its ceiling.
        scale_s: conductance at which 63 % of it are reached.
    """

    height_s: float = quantity("S")
    scale_s: float = quantity("S")

    def sigma(self, target_s: Tensor) -> Tensor:
        return torch.expm1(target_s / -self.scale_s).mul_(-self.height_s)
