"""A learning rate in volts: amplitude and width of a pulse set how far a cell steps.

    rate factor of a pulse = f(V) / f(V0) x t / t0,    see :mod:`clnf.devices.voltage`

A rate of 1 is that of the pulse at which the steps were measured. A source of pulses has a range
and a number of amplitudes, so a rate asked for becomes the nearest that it can give, and the rates
at both ends are the limits. Each column may have an amplitude of its own.

Cells that share a line with a selected one see a part of the voltage. With V/2, those in its row
and its column see half; with V/3, all others see a third. Each exposure is a small step too:

    exposures of a cell by V/2 = pulses x (R + C - 2) / (R C), on average

when cells are pulsed one by one, the worst case. Exposures up and down cancel in part; the bound
is that none do.

The number of pulses stays what the optimizer makes it for the measured pulse; each of them then
steps further or less far, in the kernels that move the cells, and its noise goes with its step.
Simplified: write noise stays that of the measured pulse, and pulses of a tile are charged with the
mean V^2 of its columns. A transistor at each cell (1T1R) has no half-selected cells. The report
below moves no cell; ``ChipSpec(half_select=drive.half_select)`` does, see
:mod:`clnf.chip.crossbar.disturb`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

from torch import Tensor

from clnf.chip.analog import AbstractAnalog
from clnf.chip.crossbar.array import Crossbar
from clnf.core.errors import ConfigError, ShapeError
from clnf.core.ledger import Ledger
from clnf.core.units import quantity
from clnf.devices.cell import Cell
from clnf.devices.voltage import AbstractVoltageLaw, law_of

__all__ = ["ColumnVolts", "Disturb", "Drive", "disturb"]

# Places in a law of the energy of a pulse at w = -1 and per unit of w.
_ENERGY = slice(11, 13)
_SHARE = {"V/2": 2.0, "V/3": 3.0, "1T1R": float("inf")}


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
        if not 0 <= self.low_v < self.high_v or not 0 <= self.bits <= 16:
            raise ConfigError(
                "a source of pulses has 0 <= low_v < high_v and 0 to 16 bits, got "
                f"{self.low_v}, {self.high_v} and {self.bits}"
            )
        if self.reference_s <= 0 or self.law.rate(self.reference_v) <= 0:
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
        wide = 1.0 if width_s is None else width_s / self.reference_s
        return self.law.rate(volt_v) / self.law.rate(self.reference_v) * wide

    def amplitude_v(self, rate: float, width_s: float | None = None) -> float:
        """The amplitude whose rate is nearest to one asked for, of those the source can give.

        Args:
            rate: >= 0.
            width_s: of the pulse; None for the measured one.
        """
        wide = 1.0 if width_s is None else width_s / self.reference_s
        asked = self.law.amplitude_v(rate / wide * self.law.rate(self.reference_v))
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

    def schedule_v(self, rates: Sequence[float]) -> list[float]:
        """Amplitudes of a schedule of rates, step by step."""
        return [self.amplitude_v(rate) for rate in rates]

    def energy_factor(self, volt_v: float, width_s: float | None = None) -> float:
        """Energy of a pulse over that of the measured one, V^2 t."""
        wide = 1.0 if width_s is None else width_s / self.reference_s
        return (volt_v / self.reference_v) ** 2 * wide


@final
class ColumnVolts:
    """The amplitude of each column's write pulses, which is its learning rate.

    Args:
        layer: whose cells learn.
        drive: the source of their pulses.

    Attributes:
        volts: amplitude of each column.
        given: rate of each column as the source gives it.
    """

    def __init__(self, layer: AbstractAnalog, drive: Drive) -> None:
        if not layer.plastic:
            raise ConfigError(f"{layer.name} stores; only layers that learn take write pulses")
        self.layer, self.drive = layer, drive
        columns = layer.wiring.columns * layer.wiring.groups
        self.volts = [drive.reference_v] * columns
        self.given = [1.0] * columns
        self._measured: dict[tuple[str, int], tuple[Tensor, Tensor]] = {}
        self._laws = {tile.name: tile.law.clone() for tile in layer.tiles}

    def set(self, rates: float | Sequence[float]) -> None:
        """Program amplitudes for rates relative to the measured pulse.

        Args:
            rates: one for each column, or one for all.

        Raises:
            ShapeError: another number of rates.
        """
        wanted = [rates] * len(self.volts) if isinstance(rates, int | float) else list(rates)
        if len(wanted) != len(self.volts):
            raise ShapeError(
                f"{self.layer.name} has {len(self.volts)} columns, each with a rate, got "
                f"{len(wanted)} rates"
            )
        self.volts = [self.drive.amplitude_v(rate) for rate in wanted]
        self.given = [self.drive.rate(volt) for volt in self.volts]
        for tile in self.layer.tiles:
            columns = self.layer.spot(tile).columns
            energy = [self.drive.energy_factor(volt) for volt in self.volts[columns]]
            self._drive(tile, self.given[columns], sum(energy) / len(energy))

    def remove(self) -> None:
        """Drive all columns with the measured pulse again."""
        self.volts = [self.drive.reference_v] * len(self.volts)
        self.given = [1.0] * len(self.given)
        for tile in self.layer.tiles:
            self._drive(tile, self.given[self.layer.spot(tile).columns], 1.0)

    def _drive(self, tile: Crossbar, rates: list[float], energy: float) -> None:
        tile.law = self._laws[tile.name].clone()
        tile.law[_ENERGY] *= energy
        for plane, table in enumerate(tile.tables):
            measured, driven = self._measured.get((tile.name, plane), (table, table))
            if table is not driven:  # windows closed meanwhile: there are new steps to start from
                measured = table
            now = measured.expand(-1, tile.size).clone()
            now[:2] *= now.new_tensor(rates).repeat_interleave(tile.shape[1])
            tile.tables[plane] = now
            self._measured[tile.name, plane] = measured, now


@final
@dataclass(frozen=True, kw_only=True)
class Disturb:
    """What half-selected cells of a tile went through.

    Attributes:
        pulses: given to selected cells.
        exposures: steps at a part of the voltage, over all cells.
        exposures_per_cell: on average.
        step: of one exposure, as a share of a full pulse's step.
        drift_bound: how far a cell may have moved by them, as a share of its window.
    """

    pulses: int = quantity("1")
    exposures: int = quantity("1")
    exposures_per_cell: float = quantity("1")
    step: float = quantity("1")
    drift_bound: float = quantity("1")


def disturb(
    tile: Crossbar,
    drive: Drive,
    ledger: Ledger,
    *,
    scheme: Literal["V/2", "V/3", "1T1R"] = "V/2",
    lesson: str | None = None,
) -> Disturb:
    """Report what the pulses in a ledger did to half-selected cells of a tile.

    Args:
        tile: whose pulses.
        drive: their source, at the reference amplitude.
        ledger: where they were counted.
        scheme: how unselected lines are held.
        lesson: which one; None for all.
    """
    where = {"tile": tile.name, "op": "pulse"} | ({"lesson": lesson} if lesson else {})
    pulses, (columns, rows) = ledger.total(**where).count, tile.shape
    reached = {"V/2": rows + columns - 2, "V/3": rows * columns - 1, "1T1R": 0}[scheme]
    exposures, cells = pulses * reached, rows * columns * tile.planes
    # A law may be above 0 without any voltage (the exponential one); no voltage is no exposure.
    step = drive.rate(drive.reference_v / _SHARE[scheme]) if reached else 0.0
    response = tile.cell.need(tile.cell.response)
    window = response.bound_max - response.bound_min
    each = exposures / cells
    return Disturb(
        pulses=pulses,
        exposures=exposures,
        exposures_per_cell=each,
        step=step,
        drift_bound=each * step * response.typical_step / window,
    )
