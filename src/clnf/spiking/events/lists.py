"""Sparse tensors as lists of events, and products that cost what their events cost."""

from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clnf.spiking.events.kernels import Events, busy, fill, outer, product
from clnf.spiking.threads import over

__all__ = ["density", "event_outer", "event_product", "events_of", "padded"]

Floats = NDArray[np.float32]
_LANES = 16
_ROWS = 16  # rows that a thread has at least


def events_of(x: Floats) -> Events:
    """The events of a matrix [R, I], float32 and contiguous.

    >>> events = events_of(np.array([[0, 2, 0], [1, 0, 3]], np.float32))
    >>> events.start.tolist(), events.index[:3].tolist(), events.value[:3].tolist()
    ([0, 1, 3], [1, 0, 2], [2.0, 1.0, 3.0])
    """
    start = np.empty(len(x) + 1, np.int64)
    busy(x, start)
    room = int(start[-1]) + 1
    found = Events(start, np.empty(room, np.uint32), np.empty(room, np.float32))
    fill(x, found)
    return found


def density(x: Tensor) -> float:
    """Share of numbers that are not 0."""
    return int(torch.count_nonzero(x)) / max(1, x.numel())


def padded(w: Tensor) -> Floats:
    """A matrix [I, N] with columns of 0 up to a multiple of 16, contiguous."""
    wide = -(-w.shape[1] // _LANES) * _LANES
    out = torch.zeros(w.shape[0], wide)
    out[:, : w.shape[1]] = w.detach()
    return cast(Floats, out.numpy())


def event_product(events: Events, w: Floats, out: Floats) -> None:
    """Events [R, I] times ``w`` [I, M] from :func:`padded`, into ``out`` [R, N]."""
    over(len(out), lambda first, last: product(events, w, out, (first, last)), least=_ROWS)


def event_outer(events: Events, g: Floats, inputs: int) -> Floats:
    """Sum over rows of events [R, I] times rows of ``g`` [R, N], [I, N]."""
    columns = g.shape[1]
    sums = np.zeros((inputs, -(-columns // _LANES) * _LANES), np.float32)
    over(columns, lambda first, last: outer(events, g, sums, (first, last)), least=64)
    return cast(Floats, sums[:, :columns])
