"""A learning rate in volts: amplitude and width of a pulse set how far a cell steps.

Each column of a layer has an amplitude of its own, or all have one; a tile has one width. The
number of pulses stays what the optimizer makes it for the measured pulse; each of them then steps
further or less far, in the kernels that move the cells, and its noise goes with its step. Where the
chip moves half-selected cells, these feel the volts too.

Simplified: write noise stays that of the measured pulse; pulses of a tile are charged with the mean
V^2 t of its columns, and its half-selected cells move with the mean of its columns. Fast cells
beside a tile keep the measured pulse.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

from torch import Tensor

from clnf.chip.analog import AbstractAnalog
from clnf.chip.crossbar.array import Crossbar
from clnf.chip.local.drive import Drive
from clnf.chip.local.exposure import Disturb, Scheme, exposed
from clnf.core.errors import ConfigError, ShapeError
from clnf.core.units import quantity
from clnf.devices.cell import Unknown

__all__ = ["ColumnVolts", "Limits"]

# Places in a law of the energy of a pulse at w = -1 and per unit of w.
_ENERGY = slice(11, 13)


@final
@dataclass(frozen=True, kw_only=True)
class Limits:
    """How far a source of pulses could do what was asked of it.

    Attributes:
        low: smallest rate that it gives at the width now, over that of the measured pulse.
        high: largest.
        asked: rates asked for so far, one for each column and setting.
        beyond: those of them outside low to high.
        worst: largest difference between a rate asked for and given.
        disturb: what half-selected cells of each tile went through, at the volts they had.
    """

    low: float = quantity("1")
    high: float = quantity("1")
    asked: int = quantity("1")
    beyond: int = quantity("1")
    worst: float = quantity("1")
    disturb: dict[str, Disturb]


@final
class ColumnVolts:
    """The amplitude of each column's write pulses, which is its learning rate.

    Args:
        layer: whose cells learn.
        drive: the source of their pulses.

    Attributes:
        volts: amplitude of each column.
        width_s: of all pulses.
        given: rate of each column as the source gives it.
    """

    def __init__(self, layer: AbstractAnalog, drive: Drive) -> None:
        if not layer.plastic:
            raise ConfigError(f"{layer.name} stores; only layers that learn take write pulses")
        self.layer, self.drive, self.width_s = layer, drive, drive.reference_s
        columns = layer.wiring.columns * layer.wiring.groups
        self.volts = [drive.reference_v] * columns
        self.given = [1.0] * columns
        self._measured: dict[tuple[str, int], tuple[Tensor, Tensor]] = {}
        self._own = {tile.name: (tile.law.clone(), tile.cell, tile.make) for tile in layer.tiles}
        self._asked, self._beyond, self._worst = 0, 0, 0.0
        self._doses: dict[str, dict[tuple[float, float], int]] = {}
        self._seen = {tile.name: _worn(tile) for tile in layer.tiles}

    def set(self, rates: float | Sequence[float], *, width_s: float | None = None) -> None:
        """Program amplitudes for rates relative to the measured pulse.

        Args:
            rates: one for each column, or one for all.
            width_s: of the pulses from now on; None for the measured one.

        Raises:
            ShapeError: another number of rates.
            ConfigError: a rate is negative or no number, or the width is not above 0.
        """
        wanted = [rates] * len(self.volts) if isinstance(rates, int | float) else list(rates)
        if len(wanted) != len(self.volts):
            raise ShapeError(
                f"{self.layer.name} has {len(self.volts)} columns, each with a rate, got "
                f"{len(wanted)} rates"
            )
        if not all(0 <= rate < float("inf") for rate in wanted):
            worst = next(rate for rate in wanted if not 0 <= rate < float("inf"))
            raise ConfigError(f"a rate is at least 0 and ends, got {worst}")
        self._count()
        self.volts = self.drive.schedule_v(wanted, width_s)
        self.width_s = self.drive.reference_s if width_s is None else width_s
        self.given = [self.drive.rate(volt, self.width_s) for volt in self.volts]
        self._remember(wanted)
        for tile in self.layer.tiles:
            self._drive(tile)

    def remove(self) -> None:
        """Drive all columns with the measured pulse again."""
        self._count()
        self.volts = [self.drive.reference_v] * len(self.volts)
        self.given, self.width_s = [1.0] * len(self.given), self.drive.reference_s
        for tile in self.layer.tiles:
            self._drive(tile)
            law, tile.cell, tile.make = self._own[tile.name]
            tile.law = law.clone()

    def limits(self, scheme: Scheme = "V/2") -> Limits:
        """What the source could not give, and what half-selected cells went through until now.

        Args:
            scheme: how unselected lines are held.
        """
        self._count()
        low, high = self.drive.limits(self.width_s)
        return Limits(
            low=low, high=high, asked=self._asked, beyond=self._beyond, worst=self._worst,
            disturb={
                tile.name: exposed(tile, self.drive, self._doses.get(tile.name, {}), scheme)
                for tile in self.layer.tiles
            },
        )  # fmt: skip

    def _remember(self, wanted: list[float]) -> None:
        low, high = self.drive.limits(self.width_s)
        slack = 1e-9 * high
        self._asked += len(wanted)
        self._beyond += sum(not low - slack <= rate <= high + slack for rate in wanted)
        gaps = [abs(given - rate) for given, rate in zip(self.given, wanted, strict=True)]
        self._worst = max(self._worst, *gaps)

    def _count(self) -> None:
        """Note how many pulses each column had at the volts it has had."""
        for tile in self.layer.tiles:
            worn, doses = _worn(tile), self._doses.setdefault(tile.name, {})
            fresh = [now - then for now, then in zip(worn, self._seen[tile.name], strict=True)]
            self._seen[tile.name] = worn
            for volt, pulses in zip(self.volts[self.layer.spot(tile).columns], fresh, strict=True):
                if pulses > 0:
                    place = volt, self.width_s
                    doses[place] = doses.get(place, 0) + pulses

    def _drive(self, tile: Crossbar) -> None:
        columns, drive = self.layer.spot(tile).columns, self.drive
        volts, rates = self.volts[columns], self.given[columns]
        law, cell, make = self._own[tile.name]
        tile.law = law.clone()
        tile.law[_ENERGY] *= sum(drive.energy_factor(v, self.width_s) for v in volts) / len(volts)
        if not isinstance(cell.pulse, Unknown):
            wide = cell.pulse.width_s * self.width_s / drive.reference_s
            tile.cell = replace(cell, pulse=replace(cell.pulse, width_s=wide))
        if make.half_select and sum(rates) > 0:
            halves = sum(drive.rate(v / 2, self.width_s) for v in volts)
            tile.make = replace(make, half_select=halves / sum(rates))
        for plane, table in enumerate(tile.tables):
            measured, driven = self._measured.get((tile.name, plane), (table, table))
            if table is not driven:  # windows closed meanwhile: there are new steps to start from
                measured = table
            now = measured.expand(-1, tile.size).clone()
            now[:2] *= now.new_tensor(rates).repeat_interleave(tile.shape[1])
            tile.tables[plane] = now
            self._measured[tile.name, plane] = measured, now


def _worn(tile: Crossbar) -> list[int]:
    """Pulses of each column since it was made."""
    found: list[int] = tile.wear.long().view(tile.planes, *tile.shape).sum((0, 2)).tolist()
    return found
