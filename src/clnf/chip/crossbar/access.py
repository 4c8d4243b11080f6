"""What stands in series with each cell of an array: a transistor or a two-terminal selector."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from clnf.chip.crossbar.laws import AbstractCellLaw, Ohmic
from clnf.core.errors import DeviceLimitError
from clnf.core.inputs import check_fields, number
from clnf.core.tensors import dense
from clnf.core.units import quantity

__all__ = ["Access", "through_transistors"]

_MOST_STEPS = 200


def through_transistors(conductance_s: Tensor, on_ohm: float) -> Tensor:
    """Cells in series with the on-resistance of their transistors: G / (1 + G R).

    The transistor is a resistor here (deep triode, gate fully driven); with it the crossbar stays
    linear, so the result goes where conductances go. Differentiable.

    Args:
        conductance_s: cells, >= 0, any shape.
        on_ohm: resistance between drain and source, >= 0 and finite.

    Returns:
        Shape of ``conductance_s``.

    Raises:
        DeviceLimitError: the resistance is out of range.

    >>> round(float(through_transistors(torch.tensor(1e-4), 1e4)) * 1e6, 3)
    50.0
    """
    _check_ohm(on_ohm)
    conductance_s = dense("conductances", conductance_s)
    return conductance_s / (1 + conductance_s * on_ohm)


def _check_ohm(ohm: float) -> None:
    if not 0 <= number("an on-resistance", ohm, nan=True) < float("inf"):
        raise DeviceLimitError(f"an on-resistance is at least 0 ohm and finite, got {ohm}")


@final
@dataclass(frozen=True, kw_only=True)
class Access(AbstractCellLaw):
    """A cell behind a transistor (1T1R), a selector (1S1R), or both.

    The transistor is its on-resistance R. The selector is I = S V0 sinh(V / V0), which turns on
    steeply but has no hysteresis: no threshold switching, no hold current. The voltage w of the
    cell itself follows from d = w + R I(w) + V0 asinh(I(w) / (S V0)) by Newton's method.

    Attributes:
        cell: law of the cell itself.
        on_ohm: R, >= 0.
        selector_s: S, the selector's conductance at 0 V, > 0; 0 means none.
        selector_v: V0 of the selector, > 0 where there is one.

    Raises:
        DeviceLimitError: a value is out of range.
    """

    cell: AbstractCellLaw = Ohmic()
    on_ohm: float = quantity("ohm", 0.0)
    selector_s: float = quantity("S", 0.0)
    selector_v: float = quantity("V", 0.0)

    def __post_init__(self) -> None:
        check_fields(self)
        _check_ohm(self.on_ohm)
        ends = float("inf")
        if not 0 <= self.selector_s < ends or not (self.selector_s > 0) == (self.selector_v > 0):
            raise DeviceLimitError(
                f"a selector has a conductance at 0 V and a voltage, both positive; got "
                f"{self.selector_s} S and {self.selector_v} V"
            )

    def limit_v(self) -> float:
        """That of the cell, which sees a part of the voltage only."""
        return self.cell.limit_v()

    def check(self, conductance_s: Tensor) -> None:
        """As the cell's law."""
        self.cell.check(conductance_s)

    def current(self, conductance_s: Tensor, volt_v: Tensor) -> Tensor:
        """Current through cell and access device."""
        with torch.no_grad():
            own = self._own(conductance_s, volt_v)
            steep = self._whole(conductance_s, own)[1]
        if torch.is_grad_enabled():
            # One more step, from a point at rest, carries the derivatives.
            own = own - (self._whole(conductance_s, own)[0] - volt_v) / steep
        return self.cell.current(conductance_s, own)

    def slope(self, conductance_s: Tensor, volt_v: Tensor) -> Tensor:
        """The cell's slope over what its own voltage costs in all."""
        return self.tangent(conductance_s, volt_v)[1]

    @torch.no_grad()
    def tangent(self, conductance_s: Tensor, volt_v: Tensor) -> tuple[Tensor, Tensor]:
        """Current and slope from one solution, without derivatives of their own."""
        own = self._own(conductance_s, volt_v)
        steep = self._whole(conductance_s, own)[1]
        slope = self.cell.slope(conductance_s, own) / steep
        return self.cell.current(conductance_s, own), slope

    def _whole(self, conductance_s: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
        """Voltage across cell and access device when the cell has ``own``, and its derivative."""
        amps, slope = self.cell.current(conductance_s, own), self.cell.slope(conductance_s, own)
        whole, steep = own + self.on_ohm * amps, 1 + self.on_ohm * slope
        if self.selector_s:
            share = amps / (self.selector_s * self.selector_v)
            whole = whole + self.selector_v * share.asinh()
            steep = steep + slope / self.selector_s / (1 + share * share).sqrt()
        return whole, steep

    def _own(self, conductance_s: Tensor, volt_v: Tensor) -> Tensor:
        """The cell's voltage: Newton's method, kept between bounds that close in."""
        goal, sign = volt_v.abs() + torch.zeros_like(conductance_s), volt_v.sign()
        low, high = torch.zeros_like(goal), goal.clone()
        own = goal / self._whole(conductance_s, low)[1]
        for _ in range(_MOST_STEPS):
            whole, steep = self._whole(conductance_s, sign * own)
            over = sign * whole - goal
            low, high = torch.where(over <= 0, own, low), torch.where(over > 0, own, high)
            new = own - over / steep
            new = torch.where((new >= low) & (new <= high), new, (low + high) / 2)
            moved, own = (new - own).abs(), new
            # Steps end squared: after one this small, what is left is rounding.
            if bool((moved <= 1e-9 * own).all()):
                break
        return sign * own

    def spice(self, conductance_s: float, name: str, ends: tuple[str, str]) -> list[str]:
        """Transistor, selector and cell in a row, from the word line to the bit line."""
        lines, node = [], ends[0]
        if self.on_ohm:
            lines.append(f"Ron_{name} {node} t_{name} {self.on_ohm:.17g}")
            node = f"t_{name}"
        if self.selector_s:
            v = f"v({node},s_{name})/{self.selector_v:.17g}"
            amps = self.selector_s * self.selector_v
            lines.append(f"Bsel_{name} {node} s_{name} i={amps:.17g}*sinh({v})")
            node = f"s_{name}"
        return lines + self.cell.spice(conductance_s, name, (node, ends[1]))
