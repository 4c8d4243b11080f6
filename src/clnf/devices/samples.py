"""Many cells of one material run through its laws: what statistics and pictures are made of.

All draws are those of the chip (:mod:`clnf.devices.draws`), keyed by (seed, law, cell), so any
number of torch's threads gives the same bits.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clnf.devices import pulse_reference, pulses
from clnf.devices.dispatch import run
from clnf.devices.draws import hash_key, hash_normals
from clnf.devices.drift import Drift
from clnf.devices.noise import ReadNoise
from clnf.devices.programming import ProgrammingError
from clnf.devices.pulses import Cells, PulseJob
from clnf.devices.response import Response, cell_traits

__all__ = ["AGES", "crossing", "drifted", "programmed", "pulsed", "read"]

# Ages that drift is judged at, in seconds, and how people call them.
AGES = {1.0: "1 s", 3600.0: "1 h", 86400.0: "1 day", 30 * 86400.0: "1 month"}

_SPREADS = (
    "step_spread", "bias_spread", "bound_max_spread", "bound_min_spread", "cycle_spread",
    "write_noise", "dead_fraction",
)  # fmt: skip
_GRID = 4001


def pulsed(
    response: Response, marks: Sequence[int], *, cells: int, seed: int = 0
) -> NDArray[np.float64]:
    """Visible weights after pulses up from each cell's lower bound, then down from there.

    Each pulse is a pass of the pulse kernel of its own.

    Args:
        response: the law of steps.
        marks: numbers of pulses at which to look, rising; the last is where pulses turn down.
        cells: how many.
        seed: of the cells and their draws.

    Returns:
        Weights on the way up, then on the way down, [2, marks, cells].

    >>> law = Response(kind="linear", step_up=0.1, step_down=0.1, shape_up=0.0, shape_down=0.0)
    >>> [round(float(w), 6) for w in pulsed(law, (1, 5), cells=1).ravel()]
    [-0.9, -0.5, -0.6, -1.0]
    """
    table, law = cell_traits(response, cells, seed), response.law()
    bottom = table[3].clone()
    state = Cells(bottom, bottom.clone(), torch.zeros(cells, dtype=torch.int32))
    seen, fence = np.empty((2, len(marks), cells)), torch.ones(cells)
    for way, sign in enumerate((1, -1)):
        job = PulseJob(torch.full((cells,), sign, dtype=torch.int16), fence, 0)
        for n in range(1, marks[-1] + 1):
            key = hash_key(seed, "samples", "pulse", way, n, words=6)
            args = job, state, law, table, key
            run(pulses.pulse_cells, pulse_reference.pulse_cells, args)
            if n in marks:
                seen[way, list(marks).index(n)] = state.seen.numpy()
    return seen


def crossing(response: Response) -> float:
    """Weight at which one pulse up and one down move a typical cell alike; nan where none is.

    Measured: cells without any spread, side by side from bound to bound, get one pulse each way.
    """
    none: dict[str, Any] = dict.fromkeys(_SPREADS, 0.0)
    plain = replace(response, **none)
    table, law = cell_traits(plain, _GRID, 0), plain.law()
    start = torch.linspace(plain.bound_min, plain.bound_max, _GRID)
    moved = []
    for sign in (1, -1):
        state = Cells(start.clone(), start.clone(), torch.zeros(_GRID, dtype=torch.int32))
        job = PulseJob(torch.full((_GRID,), sign, dtype=torch.int16), torch.ones(_GRID), 0)
        args = job, state, law, table, hash_key(0, "samples", "crossing", words=6)
        run(pulses.pulse_cells, pulse_reference.pulse_cells, args)
        moved.append((state.hidden - start).abs().numpy().astype(np.float64))
    gain, at = moved[0] - moved[1], start.numpy().astype(np.float64)
    # At the bounds it is the clip that makes steps small, not the law.
    inside = (at[1:] - plain.step > plain.bound_min) & (at[:-1] + plain.step < plain.bound_max)
    turns = np.flatnonzero((gain[:-1] >= 0) & (gain[1:] < 0) & inside)
    if turns.size == 0:
        return float("nan")
    i = int(turns[0])
    return float(at[i] + (at[i + 1] - at[i]) * gain[i] / (gain[i] - gain[i + 1]))


def programmed(
    error: ProgrammingError, targets_s: Sequence[float], *, cells: int, seed: int = 0
) -> NDArray[np.float64]:
    """Conductances of cells programmed to targets, S [targets, cells]."""
    target = _wide(targets_s, cells)
    draw = hash_normals(seed, ("samples", "program"), tuple(target.shape))
    return _double(error.sigma(target).mul_(draw).add_(target).clamp_(min=0.0))


def drifted(
    drift: Drift,
    targets_s: Sequence[float],
    ages_s: Sequence[float],
    *,
    cells: int,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Conductances at ages after a write that hit its targets, S [ages, targets, cells].

    A cell draws its trait once, so its ages are points of one path.
    """
    start = _wide(targets_s, cells)
    trait = drift.trait(start, hash_normals(seed, ("samples", "drift"), tuple(start.shape)))
    return np.stack([_double(drift.at(start, trait, torch.tensor(age))) for age in ages_s])


def read(
    noise: ReadNoise,
    levels_s: Sequence[float],
    times_s: Sequence[float],
    *,
    cells: int,
    seed: int = 0,
) -> NDArray[np.float64]:
    """One read of each cell at times since its write, S [times, levels, cells].

    The cells still are as they were programmed; every read has a draw of its own.
    """
    level = _wide(levels_s, cells)
    reads = []
    for number, time_s in enumerate(times_s):
        draw = hash_normals(seed, ("samples", "read", number), tuple(level.shape))
        reads.append(_double(noise.sigma(level, level, time_s).mul_(draw).add_(level)))
    return np.stack(reads)


def _wide(values: Sequence[float], cells: int) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)[:, None].expand(-1, cells).contiguous()


def _double(values: Tensor) -> NDArray[np.float64]:
    return values.numpy().astype(np.float64)
