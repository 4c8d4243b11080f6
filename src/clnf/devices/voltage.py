"""How the amplitude and the width of a pulse set the size of a cell's step.

    step(V, t) = step(V0, t0) x f(|V|) / f(V0) x t / t0

V0, t0 are those of the pulse at which the step was measured. Three laws for f:

    Sinh         f = sinh(V / s)                 hopping of ions in a field
    Exponential  f = exp(V / s)                  its limit at high fields
    Threshold    f = (V / Vt - 1)^a above Vt     and nothing below it

No row of the catalogue has a law of its steps in volts: sources give one amplitude. The numbers
of these laws are therefore always yours, with a source of yours; :func:`law_of` says so.

Simplified: a step is proportional to its pulse's width, and its law in the state is the same at
all amplitudes.

Source: Mott & Gurney's law of hopping, as in Strukov & Williams, Appl. Phys. A 94, 515 (2009)
(sinh); Kvatinsky et al., "VTEAM", IEEE TCAS-II 62, 786 (2015) (threshold).
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

from clnf.core.errors import ConfigError, DeviceLimitError
from clnf.core.inputs import check_fields
from clnf.core.units import quantity
from clnf.devices.cell import Cell

__all__ = ["AbstractVoltageLaw", "Exponential", "Sinh", "Threshold", "law_of", "parsed"]

_STEEPEST = 300.0


@dataclass(frozen=True, kw_only=True)
class AbstractVoltageLaw(ABC):
    """f of the head of this module.

    Attributes:
        source: where its numbers are from.
    """

    source: str

    @abstractmethod
    def rate(self, volt_v: float) -> float:
        """What f is at an amplitude, a pure number >= 0."""

    @abstractmethod
    def amplitude_v(self, rate: float) -> float:
        """The amplitude of a rate, V; the other way round."""

    def _over(self, volt_v: float, scale_v: float) -> float:
        """|V| / s, of which a number of this machine can still be raised."""
        ratio = abs(volt_v) / scale_v
        if not ratio <= _STEEPEST:
            raise DeviceLimitError(
                f"a pulse of {volt_v:g} V is {ratio:g} times scale_v, {scale_v:g} V; no cell is "
                "so steep, give a larger scale_v"
            )
        return ratio

    def _positive(self, name: str, value: float) -> None:
        check_fields(self)
        if not 0 < value < float("inf") or not self.source.strip():
            raise DeviceLimitError(
                f"{name} must be positive and its source named, got {value} from {self.source!r}"
            )


@final
@dataclass(frozen=True, kw_only=True)
class Sinh(AbstractVoltageLaw):
    """f = sinh(V / s).

    Attributes:
        scale_v: s.

    >>> law = Sinh(scale_v=0.1, source="an example")
    >>> round(law.amplitude_v(law.rate(0.7)), 9)
    0.7
    """

    scale_v: float = quantity("V")

    def __post_init__(self) -> None:
        self._positive("scale_v", self.scale_v)

    def rate(self, volt_v: float) -> float:
        return math.sinh(self._over(volt_v, self.scale_v))

    def amplitude_v(self, rate: float) -> float:
        return self.scale_v * math.asinh(max(rate, 0.0))


@final
@dataclass(frozen=True, kw_only=True)
class Exponential(AbstractVoltageLaw):
    """f = exp(V / s).

    Attributes:
        scale_v: s, the volts for a factor of e.
    """

    scale_v: float = quantity("V")

    def __post_init__(self) -> None:
        self._positive("scale_v", self.scale_v)

    def rate(self, volt_v: float) -> float:
        return math.exp(self._over(volt_v, self.scale_v))

    def amplitude_v(self, rate: float) -> float:
        return self.scale_v * math.log(rate) if rate > 1.0 else 0.0


@final
@dataclass(frozen=True, kw_only=True)
class Threshold(AbstractVoltageLaw):
    """f = (V / Vt - 1)^a above Vt, else 0.

    Attributes:
        threshold_v: Vt.
        exponent: a.
    """

    threshold_v: float = quantity("V")
    exponent: float = quantity("1")

    def __post_init__(self) -> None:
        self._positive("threshold_v", self.threshold_v)
        self._positive("exponent", self.exponent)

    def rate(self, volt_v: float) -> float:
        over: float = max(abs(volt_v) / self.threshold_v - 1.0, 0.0)
        return float(over**self.exponent)

    def amplitude_v(self, rate: float) -> float:
        return self.threshold_v * (1.0 + float(max(rate, 0.0) ** (1.0 / self.exponent)))


def law_of(cell: Cell, law: AbstractVoltageLaw | None) -> AbstractVoltageLaw:
    """The law given, or the sentence of the value that is missing.

    Args:
        cell: whose steps.
        law: numbers of yours; None where you have none.

    Raises:
        DeviceLimitError: there is none.
    """
    if law is None:
        raise DeviceLimitError(
            f"how steps of {cell.material.name} change with the amplitude of a pulse was not "
            "published; give a law with your own numbers, for example Sinh(scale_v=..., "
            "source=...) or Threshold(threshold_v=..., exponent=..., source=...)"
        )
    return law


def parsed(text: str, *, source: str) -> AbstractVoltageLaw:
    """A law from its name and numbers, as people type it.

    Args:
        text: ``sinh:S``, ``exponential:S`` or ``threshold:VT:A``, volts and a pure number.
        source: where its numbers are from.

    Raises:
        ConfigError: it has another form.
        DeviceLimitError: a number is out of range.

    >>> parsed("threshold:0.8:2", source="an example").rate(1.6)
    1.0
    """
    name, *words = text.split(":")
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        numbers = []
    match name, numbers:
        case "sinh", [scale]:
            return Sinh(scale_v=scale, source=source)
        case "exponential", [scale]:
            return Exponential(scale_v=scale, source=source)
        case "threshold", [volt, exponent]:
            return Threshold(threshold_v=volt, exponent=exponent, source=source)
    raise ConfigError(
        f"a law of steps in volts is sinh:S, exponential:S or threshold:VT:A, got {text!r}; write "
        "for example sinh:0.2"
    )
