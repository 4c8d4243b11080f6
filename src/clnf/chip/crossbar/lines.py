"""Keys and peaks of a batch of vectors, and pulses of some rows."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clnf.chip.crossbar.outer import TRAIN_BITS
from clnf.devices import batch_moves, coincidence_reference, random_trains
from clnf.devices.batch_moves import Lines
from clnf.devices.trains import Trains

__all__ = ["LINES", "drawn_words", "largest"]

_MASK = 2**64 - 1


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


def drawn_words(seed: int, count: int) -> NDArray[np.uint32]:
    """Key words from one seed: SplitMix64 (Steele et al., OOPSLA 2014), two words a number."""
    words = []
    for step in range(1, count // 2 + 1):
        x = (seed + step * 0x9E3779B97F4A7C15) & _MASK
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
        x ^= x >> 31
        words += [x & 0xFFFFFFFF, x >> 32]
    return np.array(words, dtype=np.uint32)


def largest(line: Tensor, *, compiled: bool) -> float:
    """Largest magnitude of a contiguous tensor [N, M]."""
    if compiled and line.is_cpu:
        return float(random_trains.largest_of(line.numpy()))
    return float(line.abs().max())
