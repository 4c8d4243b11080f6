"""Peaks of a batch of vectors, and pulses of some rows."""

from typing import Any

import torch
from torch import Tensor

from clnf.chip.crossbar.outer import TRAIN_BITS
from clnf.devices import batch_moves, coincidence_reference, random_trains
from clnf.devices.batch_moves import Lines
from clnf.devices.trains import Trains

__all__ = ["LINES", "peaks"]


def _pulse_lines(job: Lines, *rest: Any) -> tuple[int, int, int]:
    """Pulses of rows as a batch: a row selected has all its bits set, its columns their pulses."""
    count = job.train.T.long()
    parts = torch.arange(0, int(count.abs().max()), TRAIN_BITS, device=count.device)
    size = (count.abs()[:, None] - parts[:, None]).clamp(0, TRAIN_BITS)
    columns = (1 << size) - 1 | ((count > 0).long() << TRAIN_BITS)[:, None]
    rows = torch.zeros(len(job.lines), job.fence.shape[1], dtype=torch.int64, device=count.device)
    rows[torch.arange(len(rows), device=count.device), job.lines] = 2**TRAIN_BITS - 1
    rows = rows.repeat_interleave(len(parts), dim=0)
    trains = Trains(rows, columns.flatten(0, 1), job.fence, job.fenced, job.first)
    return coincidence_reference.pulse_batch(trains, *rest)


# The kernel that applies pulses of rows, and its twin.
LINES = batch_moves.pulse_lines, _pulse_lines


def peaks(one: Tensor, other: Tensor, *, compiled: bool) -> tuple[float, float]:
    """Largest magnitudes of two contiguous tensors [N, M]."""
    if compiled and one.is_cpu and other.is_cpu:
        x, d = random_trains.peaks_of(one.numpy(), other.numpy())
        return float(x), float(d)
    return float(one.abs().max()), float(other.abs().max())
