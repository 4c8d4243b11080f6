"""What pulses of given volts did to cells that share a line with the ones they were meant for.

Cells that share a line with a selected one see a part of the voltage. With V/2, those in its row
and its column see half; with V/3, all others see a third. Each exposure is a small step too:

    exposures of a cell by V/2 = pulses x (R + C - 2) / (R C), on average

when cells are pulsed one by one, the worst case. Exposures up and down cancel in part; the bound
is that none do. A transistor at each cell (1T1R) has no half-selected cells.

The report moves no cell; ``ChipSpec(half_select=drive.half_select)`` does, see
:mod:`clnf.chip.crossbar.disturb`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, final

from clnf.chip.crossbar.array import Crossbar
from clnf.chip.local.drive import Drive
from clnf.core.errors import ConfigError
from clnf.core.ledger import Ledger
from clnf.core.units import quantity

__all__ = ["Disturb", "Scheme", "disturb", "exposed"]

Scheme = Literal["V/2", "V/3", "1T1R"]
_SHARE = {"V/2": 2.0, "V/3": 3.0, "1T1R": float("inf")}


@final
@dataclass(frozen=True, kw_only=True)
class Disturb:
    """What half-selected cells of a tile went through.

    Attributes:
        pulses: given to selected cells.
        exposures: steps at a part of the voltage, over all cells.
        exposures_per_cell: on average.
        step: of one exposure, on average, as a share of the measured pulse's step.
        drift_bound: how far a cell may have moved by them, as a share of its window.
    """

    pulses: int = quantity("1")
    exposures: int = quantity("1")
    exposures_per_cell: float = quantity("1")
    step: float = quantity("1")
    drift_bound: float = quantity("1")


def exposed(
    tile: Crossbar, drive: Drive, doses: Mapping[tuple[float, float], int], scheme: Scheme = "V/2"
) -> Disturb:
    """Report what pulses of several amplitudes did to half-selected cells.

    Args:
        tile: whose pulses.
        drive: their source.
        doses: how many pulses were given at each (amplitude in V, width in s).
        scheme: how unselected lines are held.

    Raises:
        ConfigError: the scheme is none of those.
    """
    if scheme not in _SHARE:
        raise ConfigError(f"unselected lines are held by {', '.join(_SHARE)}, got {scheme!r}")
    (columns, rows), pulses = tile.shape, sum(doses.values())
    reached = {"V/2": rows + columns - 2, "V/3": rows * columns - 1, "1T1R": 0}[scheme]
    # A law may be above 0 without any voltage (the exponential one); no voltage is no exposure.
    share = _SHARE[scheme] if reached else 0.0
    steps = sum(n * drive.rate(v / share, s) for (v, s), n in doses.items()) if share else 0.0
    exposures, cells = pulses * reached, rows * columns * tile.planes
    response = tile.cell.need(tile.cell.response)
    each = exposures / cells
    mean = steps / pulses if pulses else 0.0
    return Disturb(
        pulses=pulses,
        exposures=exposures,
        exposures_per_cell=each,
        step=mean,
        drift_bound=each * mean * response.typical_step / (response.bound_max - response.bound_min),
    )


def disturb(
    tile: Crossbar,
    drive: Drive,
    ledger: Ledger,
    *,
    scheme: Scheme = "V/2",
    lesson: str | None = None,
) -> Disturb:
    """Report what the pulses in a ledger did, had all of them the measured amplitude and width.

    Args:
        tile: whose pulses.
        drive: their source.
        ledger: where they were counted.
        scheme: how unselected lines are held.
        lesson: which one; None for all.
    """
    where = {"tile": tile.name, "op": "pulse"} | ({"lesson": lesson} if lesson else {})
    measured = drive.reference_v, drive.reference_s
    return exposed(tile, drive, {measured: ledger.total(**where).count}, scheme)
