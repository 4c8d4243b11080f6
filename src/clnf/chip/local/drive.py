"""A source of write pulses: which amplitude and width make which step, and which it can give.

    rate of a pulse = f(V) / f(V0) x t / t0,    see :mod:`clnf.devices.voltage`

A rate of 1 is that of the pulse at which the steps were measured. A source has a range and a
number of amplitudes, so a rate asked for becomes the nearest that it can give, and the rates at
both ends are the limits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from clnf.core.errors import ConfigError
from clnf.core.inputs import check_fields
from clnf.core.units import quantity
from clnf.devices.cell import Cell
from clnf.devices.voltage import AbstractVoltageLaw, law_of

__all__ = ["Drive"]


@final
@dataclass(frozen=True, kw_only=True)
class Drive:
    """A source of write pulses, and what its volts do to steps.

    Attributes:
        law: of steps in volts.
        reference_v: amplitude at which steps were measured, V0.
        reference_s: its width, t0.
        low_v: smallest amplitude of the source.
        high_v: largest.
        bits: its amplitudes are 2^bits, evenly spaced; 0 for any.
    """

    law: AbstractVoltageLaw
    reference_v: float = quantity("V")
    reference_s: float = quantity("s")
    low_v: float = quantity("V")
    high_v: float = quantity("V")
    bits: int = quantity("1", 0)

    def __post_init__(self) -> None:
        check_fields(self)
        if not 0 <= self.low_v < self.high_v or not 0 <= self.bits <= 16:
            raise ConfigError(
                "a source of pulses has 0 <= low_v < high_v and 0 to 16 bits, got "
                f"{self.low_v}, {self.high_v} and {self.bits}"
            )
        if not 0 < self.reference_s < float("inf") or self.law.rate(self.reference_v) <= 0:
            raise ConfigError(
                f"the measured pulse of {self.reference_v} V and {self.reference_s} s moves "
                "nothing by this law; its threshold must be below that amplitude"
            )

    @classmethod
    def of(
        cls,
        cell: Cell,
        law: AbstractVoltageLaw | None,
        *,
        low_v: float,
        high_v: float,
        bits: int = 0,
    ) -> "Drive":
        """A source for a cell, whose published pulse is the reference.

        Raises:
            DeviceLimitError: the cell's pulse, or the law, is not known; the sentence names it.
        """
        pulse, known = cell.need(cell.pulse), law_of(cell, law)
        return cls(
            law=known, reference_v=pulse.up_v, reference_s=pulse.width_s,
            low_v=low_v, high_v=high_v, bits=bits,
        )  # fmt: skip

    def rate(self, volt_v: float, width_s: float | None = None) -> float:
        """Step over the measured step, for a pulse of an amplitude and a width."""
        return self.law.rate(volt_v) / self.law.rate(self.reference_v) * self._wide(width_s)

    def amplitude_v(self, rate: float, width_s: float | None = None) -> float:
        """The amplitude whose rate is nearest to one asked for, of those the source can give.

        Args:
            rate: >= 0.
            width_s: of the pulse; None for the measured one.
        """
        asked = self.law.amplitude_v(rate / self._wide(width_s) * self.law.rate(self.reference_v))
        held = min(max(asked, self.low_v), self.high_v)
        if not self.bits:
            return held
        gap = (self.high_v - self.low_v) / (2**self.bits - 1)
        below = self.low_v + gap * int((held - self.low_v) / gap)
        above = min(below + gap, self.high_v)
        return min((below, above), key=lambda v: abs(self.rate(v, width_s) - rate))

    def limits(self, width_s: float | None = None) -> tuple[float, float]:
        """Smallest and largest rate that the source can give."""
        return self.rate(self.low_v, width_s), self.rate(self.high_v, width_s)

    @property
    def half_select(self) -> float:
        """Step at half the measured amplitude over the whole step, as a chip's spec takes it."""
        return self.rate(self.reference_v / 2)

    def schedule_v(self, rates: Sequence[float], width_s: float | None = None) -> list[float]:
        """Amplitudes of a schedule of rates, step by step."""
        return [self.amplitude_v(rate, width_s) for rate in rates]

    def energy_factor(self, volt_v: float, width_s: float | None = None) -> float:
        """Energy of a pulse over that of the measured one, V^2 t."""
        return (volt_v / self.reference_v) ** 2 * self._wide(width_s)

    def _wide(self, width_s: float | None) -> float:
        """A width over the measured one."""
        if width_s is None:
            return 1.0
        if not 0 < width_s < float("inf"):
            raise ConfigError(f"a pulse has a width above 0, got {width_s} s")
        return width_s / self.reference_s
