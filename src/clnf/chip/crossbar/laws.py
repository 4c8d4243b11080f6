"""How the current through a cell depends on its voltage, where Ohm's law is not enough.

All laws pass through the origin and rise with the voltage: then a crossbar of them has one
solution. All are odd, I(-V) = -I(V), but for one that was measured at both polarities.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from clnf.core.errors import DeviceLimitError
from clnf.core.inputs import check_fields
from clnf.core.units import quantity

__all__ = ["AbstractCellLaw", "Milo", "Ohmic", "Polynomial", "Sinh"]


class AbstractCellLaw(ABC):
    """Current through a cell of a given conductance, from its word line to its bit line."""

    @abstractmethod
    def limit_v(self) -> float:
        """The largest voltage at a cell for which the law holds, in V."""

    @abstractmethod
    def current(self, conductance_s: Tensor, volt_v: Tensor) -> Tensor:
        """Current in A, differentiable with respect to both; shapes broadcast."""

    @abstractmethod
    def slope(self, conductance_s: Tensor, volt_v: Tensor) -> Tensor:
        """The derivative of the current with respect to the voltage, in S."""

    def tangent(self, conductance_s: Tensor, volt_v: Tensor) -> tuple[Tensor, Tensor]:
        """Current and slope; a law for which both are one piece of work says so here."""
        return self.current(conductance_s, volt_v), self.slope(conductance_s, volt_v)

    @abstractmethod
    def spice(self, conductance_s: float, name: str, ends: tuple[str, str]) -> list[str]:
        """Lines of a netlist for one cell between two nodes; names of elements end in ``name``."""

    def check(self, conductance_s: Tensor) -> None:  # noqa: B027 - most laws take any cell
        """Raise DeviceLimitError where the law does not hold for a conductance."""


@final
@dataclass(frozen=True, kw_only=True)
class Ohmic(AbstractCellLaw):
    """I = G V."""

    def limit_v(self) -> float:
        """No limit."""
        return float("inf")

    def current(self, conductance_s: Tensor, volt_v: Tensor) -> Tensor:
        """I = G V."""
        return conductance_s * volt_v

    def slope(self, conductance_s: Tensor, volt_v: Tensor) -> Tensor:
        """The conductance."""
        return conductance_s * torch.ones_like(volt_v)

    def spice(self, conductance_s: float, name: str, ends: tuple[str, str]) -> list[str]:
        """A resistor, or nothing for a cell without conductance."""
        if conductance_s == 0:
            return []
        return [f"R{name} {ends[0]} {ends[1]} {1 / conductance_s:.17g}"]


@final
@dataclass(frozen=True, kw_only=True)
class Polynomial(AbstractCellLaw):
    """I = G (V + a V |V| + b V^3).

    Attributes:
        second_per_v: a.
        third_per_v2: b.
        most_v: the law holds for |V| up to here; the current must rise all the way.

    Raises:
        DeviceLimitError: the current would fall somewhere in the range.
    """

    second_per_v: float = quantity("1/V", 0.0)
    third_per_v2: float = quantity("1/V2", 0.0)
    most_v: float = quantity("V")

    def __post_init__(self) -> None:
        check_fields(self)
        a, b = self.second_per_v, self.third_per_v2
        at = [self.most_v]
        if b > 0 and 0 < -a / (3 * b) < self.most_v:
            at.append(-a / (3 * b))  # where 1 + 2 a V + 3 b V^2 is least
        rises = all(1 + 2 * a * v + 3 * b * v * v > 0 for v in at)
        if not 0 < self.most_v < float("inf") or not rises:
            raise DeviceLimitError(
                f"the current must rise up to most_v > 0, got V + {a} V^2 + {b} V^3 up to "
                f"{self.most_v} V; take a smaller most_v"
            )

    def limit_v(self) -> float:
        """As declared."""
        return self.most_v

    def current(self, conductance_s: Tensor, volt_v: Tensor) -> Tensor:
        """I = G (V + a V |V| + b V^3)."""
        more = self.second_per_v * volt_v.abs() + self.third_per_v2 * volt_v * volt_v
        return conductance_s * volt_v * (1 + more)

    def slope(self, conductance_s: Tensor, volt_v: Tensor) -> Tensor:
        """G (1 + 2 a |V| + 3 b V^2)."""
        more = 2 * self.second_per_v * volt_v.abs() + 3 * self.third_per_v2 * volt_v * volt_v
        return conductance_s * (1 + more)

    def spice(self, conductance_s: float, name: str, ends: tuple[str, str]) -> list[str]:
        """A behavioural source."""
        v = f"v({ends[0]},{ends[1]})"
        more = f"{self.second_per_v:.17g}*abs({v})+{self.third_per_v2:.17g}*{v}*{v}"
        return [f"B{name} {ends[0]} {ends[1]} i={conductance_s:.17g}*{v}*(1+{more})"]


@final
@dataclass(frozen=True, kw_only=True)
class Milo(AbstractCellLaw):
    """HfO2 1T1R: I = G V + NL2 V^2 + NL3 V^3, both factors polynomials of log10(G).

    A fit to curves of four states, 62.5 to 110 uS, between -0.5 and 0.5 V; cells and voltages
    outside are refused. NL2 is negative: the cell conducts better at negative voltages.

    Source: Milo et al. IRPS 2021, figure 1; the fit is CrossSim's (RRAM_Milo).
    """

    def limit_v(self) -> float:
        """0.5 V, the end of what was measured."""
        return 0.5

    def check(self, conductance_s: Tensor) -> None:
        """Raise DeviceLimitError outside 62.5 to 110 uS."""
        least, most = float(conductance_s.detach().min()), float(conductance_s.detach().max())
        if not 62.5e-6 <= least <= most <= 110e-6:
            raise DeviceLimitError(
                f"this law was measured for cells of 62.5 to 110 uS, got {least * 1e6:.6g} to "
                f"{most * 1e6:.6g} uS; use Polynomial with values of your own"
            )

    @staticmethod
    def _factors(conductance_s: Tensor) -> tuple[Tensor, Tensor]:
        x = conductance_s.log10()
        second = ((0.0001388 * x + 0.001541) * x + 0.005711) * x + 0.007063
        return second, (8.871e-5 * x + 6.7919e-4) * x + 1.2968e-3

    def current(self, conductance_s: Tensor, volt_v: Tensor) -> Tensor:
        """I = G V + NL2 V^2 + NL3 V^3."""
        second, third = self._factors(conductance_s)
        return volt_v * (conductance_s + volt_v * (second + third * volt_v))

    def slope(self, conductance_s: Tensor, volt_v: Tensor) -> Tensor:
        """G + 2 NL2 V + 3 NL3 V^2."""
        second, third = self._factors(conductance_s)
        return conductance_s + volt_v * (2 * second + 3 * third * volt_v)

    def spice(self, conductance_s: float, name: str, ends: tuple[str, str]) -> list[str]:
        """A behavioural source."""
        factors = self._factors(torch.tensor(conductance_s, dtype=torch.float64))
        second, third = (float(f) for f in factors)
        v = f"v({ends[0]},{ends[1]})"
        more = f"{second:.17g}*{v}+{third:.17g}*{v}*{v}"
        return [f"B{name} {ends[0]} {ends[1]} i={v}*({conductance_s:.17g}+{more})"]


@final
@dataclass(frozen=True, kw_only=True)
class Sinh(AbstractCellLaw):
    """I = G V0 sinh(V / V0): Ohm's law at low voltages, exponential at high ones.

    Attributes:
        scale_v: V0, > 0.

    Raises:
        DeviceLimitError: the scale is not positive.
    """

    scale_v: float = quantity("V")

    def __post_init__(self) -> None:
        check_fields(self)
        if not 0 < self.scale_v < float("inf"):
            raise DeviceLimitError(f"scale_v must be positive and finite, got {self.scale_v} V")

    def limit_v(self) -> float:
        """12 V0; there the slope is 8e4 times that at 0 V."""
        return 12 * self.scale_v

    def current(self, conductance_s: Tensor, volt_v: Tensor) -> Tensor:
        """I = G V0 sinh(V / V0)."""
        return conductance_s * self.scale_v * (volt_v / self.scale_v).sinh()

    def slope(self, conductance_s: Tensor, volt_v: Tensor) -> Tensor:
        """G cosh(V / V0)."""
        return conductance_s * (volt_v / self.scale_v).cosh()

    def spice(self, conductance_s: float, name: str, ends: tuple[str, str]) -> list[str]:
        """A behavioural source."""
        v = f"v({ends[0]},{ends[1]})/{self.scale_v:.17g}"
        return [f"B{name} {ends[0]} {ends[1]} i={conductance_s * self.scale_v:.17g}*sinh({v})"]
