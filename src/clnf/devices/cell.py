"""One memory cell: all that is known of a material, as laws that can be run.

A cell holds a normalised weight w between the mean bounds of its steps (-1 and 1 where it has
none), laid over the conductance window:

    G(w) = Gmin + (w - low) / (high - low) (Gmax - Gmin)

What nobody published is not there. A law that a simulation cannot do without is an error when it
is asked for (:meth:`Cell.need`); an effect that is unknown is left out and listed by
:attr:`Cell.left_out`.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TypeVar, final

from torch import Tensor

from clnf.core.errors import DeviceLimitError
from clnf.core.ledger import ATTOJOULES_PER_JOULE
from clnf.core.units import quantity
from clnf.devices.drift import Drift
from clnf.devices.lifetime import Endurance, Retention
from clnf.devices.materials import Material
from clnf.devices.noise import ReadNoise
from clnf.devices.programming import ProgrammingError
from clnf.devices.response import Response
from clnf.devices.temperature import LinearTemperature

__all__ = ["Cell", "Pulse", "Unknown", "Window", "known"]

T = TypeVar("T")


@final
@dataclass(frozen=True)
class Unknown:
    """A law that cannot be made: the sentence says which value is missing."""

    sentence: str


@final
@dataclass(frozen=True, kw_only=True)
class Window:
    """Conductance window of a cell.

    Attributes:
        low_s: Gmin, >= 0.
        high_s: Gmax, > Gmin.
    """

    low_s: float = quantity("S")
    high_s: float = quantity("S")

    def __post_init__(self) -> None:
        if not 0 <= self.low_s < self.high_s:
            raise DeviceLimitError(
                f"a conductance window needs 0 <= Gmin < Gmax, got {self.low_s}..{self.high_s} S"
            )

    @property
    def span_s(self) -> float:
        """Gmax - Gmin."""
        return self.high_s - self.low_s


@final
@dataclass(frozen=True, kw_only=True)
class Pulse:
    """A write pulse.

    Attributes:
        up_v: amplitude of a pulse up.
        down_v: amplitude of a pulse down, sign and all.
        width_s: of either.
    """

    up_v: float = quantity("V")
    down_v: float = quantity("V")
    width_s: float = quantity("s")


@final
@dataclass(frozen=True, kw_only=True)
class Cell:
    """What is known of one cell. Made by :func:`clnf.devices.families.cell`.

    Attributes:
        material: the catalogue row, with what the user supplied.
        window: conductance window.
        response: what pulses do.
        pulse: the write pulse.
        programming: error left after programming with read-back.
        noise: of a read.
        drift: of a programmed state.
        retention: loss of a state.
        endurance: writes a cell survives.
        temperature: change of a state's conductance with temperature.
    """

    material: Material
    window: Window | Unknown
    response: Response | Unknown
    pulse: Pulse | Unknown
    programming: ProgrammingError | Unknown
    noise: ReadNoise | Unknown
    drift: Drift | Unknown
    retention: Retention | Unknown
    endurance: Endurance | Unknown
    temperature: LinearTemperature | Unknown

    def need(self, part: T | Unknown) -> T:
        """A part one cannot do without.

        Raises:
            DeviceLimitError: it is unknown; the sentence names the value to supply.
        """
        if isinstance(part, Unknown):
            raise DeviceLimitError(part.sentence)
        return part

    @property
    def left_out(self) -> dict[str, str]:
        """What a simulation of this cell lacks: part -> the sentence that says why."""
        parts = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: p.sentence for name, p in parts.items() if isinstance(p, Unknown)}

    @property
    def bounds(self) -> tuple[float, float]:
        """Mean lower and upper bound of w."""
        if isinstance(self.response, Unknown):
            return -1.0, 1.0
        return self.response.bound_min, self.response.bound_max

    def conductance_s(self, weight: Tensor) -> Tensor:
        """G(w) in S, cut at 0: of w of any shape."""
        window, (low, high) = self.need(self.window), self.bounds
        scale = window.span_s / (high - low)
        return (weight - low).mul_(scale).add_(window.low_s).clamp_(min=0.0)

    def weight(self, conductance_s: Tensor) -> Tensor:
        """The w of a conductance, the other way round."""
        window, (low, high) = self.need(self.window), self.bounds
        return (conductance_s - window.low_s).mul_((high - low) / window.span_s).add_(low)

    def law(self) -> Tensor:
        """The numbers the pulse kernels work with; see :meth:`Response.law`.

        Energy of a pulse is V^2 G t with the conductance of a read (as in NeuroSim; a cell
        conducts differently at the voltage of a write). Where the pulse or the window is unknown
        pulses cost nothing, and :attr:`left_out` says so.
        """
        response = self.need(self.response)
        if isinstance(self.pulse, Unknown) or isinstance(self.window, Unknown):
            return response.law()
        pulse, window, (low, high) = self.pulse, self.window, self.bounds
        per_s = pulse.up_v**2 * pulse.width_s * ATTOJOULES_PER_JOULE
        slope_s = window.span_s / (high - low)
        at_minus_one_s = window.low_s + slope_s * (-1.0 - low)
        down = (pulse.down_v / pulse.up_v) ** 2
        return response.law(per_s * at_minus_one_s, per_s * slope_s, down)


def known(make: Callable[[], T]) -> T | Unknown:
    """What ``make`` gives, or the sentence of the value it lacks."""
    try:
        return make()
    except DeviceLimitError as error:
        return Unknown(str(error))
