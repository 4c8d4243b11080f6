"""Input spikes as events: step by step, which inputs spike. Poisson spikes are drawn by place.

A draw depends on the seed, the place, the step and the input alone: not on how many steps are drawn
at once, nor on threads.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from clnf.core.errors import ConfigError, DataError
from clnf.core.inputs import instance, seconds, shown, whole
from clnf.core.rng import fold
from clnf.core.tensors import dense
from clnf.spiking.plasticity.network.kernels import draw

__all__ = ["Events", "check_events", "events_of", "poisson", "trains_of"]


class Events(NamedTuple):
    """Spikes in the order of time.

    Attributes:
        starts: where a step begins in ``cells``, int64 [steps + 1].
        cells: which cells spike, rising within a step, int32 [spikes].
        size: how many cells there are.
    """

    starts: Tensor
    cells: Tensor
    size: int

    @property
    def steps(self) -> int:
        """How many steps there are."""
        return len(self.starts) - 1


def check_events(events: Events) -> None:
    """Refuse events that are no steps of cells: kernels take their places unseen.

    Raises:
        DataError: other kinds of numbers, steps that do not go up to the end, or cells outside.
    """
    if not isinstance(events, Events):
        raise DataError(f"events must be Events, got {shown(events)}; take events_of(spikes)")
    starts, cells = events.starts, events.cells
    fault = ""
    if (starts.dtype, cells.dtype) != (torch.int64, torch.int32):
        fault = f"of {starts.dtype} and {cells.dtype}, not int64 and int32"
    elif starts.dim() != 1 or cells.dim() != 1 or not len(starts):
        fault = f"{[*starts.shape]} and {[*cells.shape]}, not two rows"
    else:
        begins = starts.numpy()
        if begins[0] != 0 or begins[-1] != len(cells) or (begins[1:] < begins[:-1]).any():
            fault = f"of steps that do not go up from 0 to the {len(cells)} spikes"
        elif len(cells) and cells.numpy().view(np.uint32).max() >= events.size:
            fault = f"of cells from {int(cells.min())} to {int(cells.max())} among {events.size}"
    if fault:
        raise DataError(f"events are {fault}; take events_of(spikes)")


def events_of(trains: Tensor) -> Events:
    """Events of spikes [T, N] of 0 and 1.

    Raises:
        DataError: another shape, or other numbers.

    >>> events_of(torch.eye(2)).cells
    tensor([0, 1], dtype=torch.int32)
    """
    found = dense("spikes", trains)
    if found.dim() != 2 or not bool(((found == 0) | (found == 1)).all()):
        raise DataError(
            f"spikes are 0 and 1 [steps, cells], got shape {[*found.shape]}; convert them"
        )
    starts = torch.zeros(len(found) + 1, dtype=torch.int64)
    torch.cumsum((found != 0).sum(1), 0, out=starts[1:])
    return Events(starts, found.nonzero()[:, 1].to(torch.int32), found.shape[1])


def trains_of(events: Events, dtype: torch.dtype = torch.float32) -> Tensor:
    """Spikes [T, N] of events.

    Raises:
        DataError: they are none.
    """
    check_events(events)
    steps = torch.repeat_interleave(torch.arange(events.steps), events.starts.diff())
    out = torch.zeros(events.steps, events.size, dtype=dtype)
    out[steps, events.cells.long()] = 1.0
    return out


def poisson(
    rates_hz: object, *, steps: int, dt_s: float, seed: int, place: tuple[str | int, ...] = ()
) -> Events:
    """Spikes by chance, P = rate dt in each step, independent of each other.

    Args:
        rates_hz: of each input, [N].
        steps: T.
        dt_s: seconds of a step.
        seed: of the draw.
        place: where it is used.

    Raises:
        ConfigError: more than one spike would be due in a step, or ``dt_s`` is no finite time
            above 0.
        DataError: rates that are negative, not finite, or not [N].

    >>> events = poisson([0.0, 100.0], steps=1000, dt_s=1e-3, seed=1)
    >>> set(events.cells.tolist()), 60 < len(events.cells) < 140
    ({1}, True)
    """
    rates = dense("rates", rates_hz, dtype=torch.float64)
    whole("steps", steps, least=1)
    seconds("dt_s", dt_s)
    if rates.dim() != 1 or not len(rates):
        raise DataError(f"rates are one or more, [inputs], got {[*rates.shape]}; reshape them")
    bad = (~(rates.isfinite() & (rates >= 0))).nonzero().flatten().tolist()
    if bad:
        raise DataError(
            f"rates are finite and 0 Hz or more, got {rates[bad[0]].item():g} at [{bad[0]}]; "
            "correct them"
        )
    if float(rates.max()) * dt_s > 1:
        raise ConfigError(
            f"{float(rates.max()):g} Hz in steps of {dt_s} s is more than one spike a step; "
            "shorten dt_s"
        )
    instance("place", place, tuple, "give one such as (3,)")
    key = fold(seed, "poisson", *place)
    bars = np.floor(rates.numpy() * dt_s * 2.0**24).astype(np.uint32)
    starts, cells = np.zeros(steps + 1, np.int64), np.empty(steps * len(bars), np.int32)
    draw(bars, key & 0xFFFFFFFF, key >> 32, starts, cells)
    return Events(torch.from_numpy(starts), torch.from_numpy(cells[: starts[-1]].copy()), len(bars))
