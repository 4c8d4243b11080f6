"""Pulse trains measured on cells that do not exist, to try a fit on known numbers."""

from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
from numpy.typing import NDArray

from clnf.core.rng import numpy_rng
from clnf.core.units import quantity
from clnf.devices.fitting.laws import CellLaw
from clnf.devices.fitting.traces import Traces, join

__all__ = ["Schedule", "measured", "write_csv"]

Array = NDArray[np.float64]


@final
@dataclass(frozen=True, kw_only=True)
class Schedule:
    """What is done to each device and what goes wrong in measuring it.

    Attributes:
        devices: number of devices.
        train: pulses in one direction before the direction turns.
        cycles: trains up and trains down.
        every: read after each ``every``-th pulse only.
        missing: share of readings lost.
        outliers: share of readings replaced by anything between 0 and twice the window.
    """

    devices: int = quantity("1", 40)
    train: int = quantity("1", 50)
    cycles: int = quantity("1", 4)
    every: int = quantity("1", 1)
    missing: float = quantity("1", 0.0)
    outliers: float = quantity("1", 0.0)

    def pulses(self) -> NDArray[np.int8]:
        """Directions of all pulses of one device."""
        return np.tile(np.repeat(np.array([1, -1], dtype=np.int8), self.train), self.cycles)


def _weights(cell: CellLaw, schedule: Schedule, rng: np.random.Generator) -> Array:
    """Visible weights [T, N]."""
    n, s = schedule.devices, cell.step_spread
    gain = np.exp(s * rng.standard_normal(n) - s * s / 2)
    upper = np.abs(1 + cell.bound_max_spread * rng.standard_normal(n))
    lower = -np.abs(1 + cell.bound_min_spread * rng.standard_normal(n))
    dead = rng.random(n) < cell.dead_fraction
    stuck = lower + (upper - lower) * rng.random(n)
    noise = cell.write_noise * (cell.step_up + cell.step_down) / 2
    w, rows = np.clip(np.zeros(n), lower, upper), []
    for pulse in schedule.pulses():
        step = gain * cell.step(w, bool(pulse > 0), (upper, lower))
        w = w + pulse * step * (1 + cell.cycle_spread * rng.standard_normal(n))
        w = np.clip(w, lower, upper)
        rows.append(np.where(dead, stuck, w + noise * rng.standard_normal(n)))
    return np.array(rows)


def measured(cell: CellLaw, schedule: Schedule, seed: int) -> Traces:
    """Traces of ``schedule.devices`` cells of one kind.

    Each device has its own gain exp(s xi - s^2/2) and its own bounds, as said in
    :class:`CellLaw`. With ``cell.states`` the conductance snaps to that many levels over the
    window. Conductances below a thousandth of the window's top read as that.

    Args:
        cell: the kind of cell.
        schedule: what is done to it.
        seed: any integer.
    """
    rng = numpy_rng(seed, "synthetic traces")
    w = _weights(cell, schedule, rng)
    low, high = cell.conductance_min_s, cell.conductance_max_s
    if cell.states:
        rungs = cell.states - 1
        w = np.clip(np.round((w + 1) / 2 * rungs), 0, rungs) / rungs * 2 - 1
    g = low + (w + 1) / 2 * (high - low)
    g = g * (1 + cell.read_noise_scale * rng.standard_normal(g.shape))
    wild = rng.random(g.shape) < schedule.outliers
    g = np.where(wild, 2 * high * rng.random(g.shape), g)
    lost = rng.random(g.shape) < schedule.missing
    lost |= (np.arange(len(g)) % schedule.every != 0)[:, None]
    lost[0] = False
    g = np.where(lost, np.nan, np.maximum(g, 1e-3 * high))
    names = [f"d{i:03d}" for i in range(schedule.devices)]
    return join(names, [schedule.pulses()] * schedule.devices, list(g.T))


def write_csv(traces: Traces, path: Path | str) -> None:
    """Write the readings of traces as a CSV file; pulses that were not read get no line."""
    lines = ["device,pulse,direction,conductance_us"]
    for name, part in traces.parts():
        for pulse, number, g in zip(
            traces.pulses[part], traces.numbers[part], traces.conductance_s[part], strict=True
        ):
            if np.isfinite(g):
                word = "up" if pulse > 0 or (pulse == 0 and number == 1) else "down"
                lines.append(f"{name},{number},{word},{1e6 * g:.6g}")
    Path(path).write_text("\n".join(lines) + "\n", encoding="utf-8")
