"""Which devices move with their pulses: the dead and the contrary are told apart first."""

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from clnf.core.errors import DataError
from clnf.core.units import quantity
from clnf.devices.fitting.traces import Traces

__all__ = ["Census", "census"]

_SURE = 4.0  # standard errors
_LEAST = 0.04  # of the typical movement
_ENOUGH = 30  # readings of dead cells that tell the read noise
_TRAINS = 4  # from how many trains on their spread tells how sure a movement is
_CHANCE = 0.01  # accepted chance that devices which move at random look as one-sided as these


@final
@dataclass(frozen=True, kw_only=True)
class Census:
    """Devices by what they do.

    Attributes:
        living: indices of devices that follow their pulses.
        dead: indices of devices that never move.
        contrary: indices of devices that move against their pulses.
        read_noise: relative scatter of the dead ones' readings, None without enough of them.
        read_count: readings it comes from.
    """

    living: tuple[int, ...] = quantity("1")
    dead: tuple[int, ...] = quantity("1")
    contrary: tuple[int, ...] = quantity("1")
    read_noise: float | None = quantity("1", None)
    read_count: int = quantity("1", 0)


def census(traces: Traces) -> Census:
    """Sort devices by the movement of their trains: late third against early third.

    A device is dead where this movement is below 4 standard errors and below 4 % of the typical
    device's. What is left of a dead device's scatter is the noise of reading. Readings that wander
    without regard to the pulses move along and against them alike often; devices that do so are
    refused together.

    Raises:
        DataError: no device moves with its pulses, or most move against them, or about as many
            with as against.
    """
    found = [_movement(traces, part) for _, part in traces.parts()]
    moved, error = np.array(found).T
    moving = np.abs(moved) > _SURE * error
    typical = float(np.median(np.abs(moved[moving]))) if moving.any() else 0.0
    sure = moving & (np.abs(moved) > _LEAST * typical)
    living, contrary = np.flatnonzero(sure & (moved > 0)), np.flatnonzero(sure & (moved < 0))
    both = min(len(living), len(contrary))
    if both and binomtest(both, len(living) + len(contrary)).pvalue > _CHANCE:
        raise DataError(
            f"{len(living)} devices move with their pulses and {len(contrary)} against them, as "
            "readings that wander by themselves would; check the columns of direction and "
            "conductance"
        )
    if len(contrary) > len(living):
        raise DataError(
            f"{len(contrary)} of {len(moved)} devices fall where pulses go up and rise where they "
            "go down; swap up and down in the column of directions"
        )
    if len(living) == 0:
        raise DataError(
            f"none of {len(moved)} devices moves with its pulses beyond the noise; check the "
            "columns of direction and conductance, or measure longer trains"
        )
    dead = np.flatnonzero(~sure)
    noise, count = _read_noise(traces, dead)
    return Census(
        living=tuple(living.tolist()),
        dead=tuple(dead.tolist()),
        contrary=tuple(contrary.tolist()),
        read_noise=noise,
        read_count=count,
    )


def _movement(traces: Traces, part: slice) -> tuple[float, float]:
    """Mean movement along the pulses from train to train, and its standard error.

    The late third of each train is compared with that of the train before it, which a cell that
    saturates within a few pulses shows too; the first train with its own early third.
    """
    g, way = traces.conductance_s[part], traces.pulses[part].copy()
    if way[0] == 0 and len(way) > 1:
        way[0] = way[1]
    turns = np.flatnonzero(np.diff(way) != 0) + 1
    moves, counts, before = [], [], np.nan
    for a, b in zip([0, *turns], [*turns, len(way)], strict=True):
        row = g[a:b][np.isfinite(g[a:b])]
        third = (len(row) + 2) // 3
        if len(row) < 2 or not way[a]:
            before = np.nan
            continue
        late = float(np.median(row[-third:]))
        start = before if np.isfinite(before) else float(np.median(row[:third]))
        moves.append(int(way[a]) * (late - start))
        counts.append(third)
        before = late
    row = g[np.isfinite(g)]
    scatter = 1.4826 * np.median(np.abs(np.diff(row))) / np.sqrt(2) + 1e-6 * np.median(row)
    if not moves:
        return 0.0, float(scatter)
    error = 1.25 * scatter * np.sqrt(np.sum(2.0 / np.array(counts))) / len(counts)
    if len(moves) >= _TRAINS:
        # Readings that wander by themselves are smooth from pulse to pulse, but trains of theirs
        # are not alike. The first train is, as it begins anywhere, of its own length.
        rest = moves[1:]
        error = max(error, np.std(rest, ddof=1) / np.sqrt(len(rest)))
    return float(np.mean(moves)), float(error)


def _read_noise(traces: Traces, dead: NDArray[np.intp]) -> tuple[float | None, int]:
    """Relative scatter of dead devices, outliers beyond five deviations left out."""
    rows = [part for _, part in traces.parts()]
    total, count = 0.0, 0
    for i in dead:
        g = traces.conductance_s[rows[i]]
        g = g[np.isfinite(g)]
        off = g / np.median(g) - 1.0
        kept = off[np.abs(off) <= 5 * 1.4826 * np.median(np.abs(off)) + 1e-12]
        total += float(((kept - kept.mean()) ** 2).sum())
        count += len(kept) - 1
    return (float(np.sqrt(total / count)), count) if count >= _ENOUGH else (None, 0)
