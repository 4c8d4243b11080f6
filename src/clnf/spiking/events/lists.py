"""Sparse tensors as lists of events, and products that cost what their events cost.

Legend: R rows (steps times samples), I inputs, N columns, K blocks of 64 columns.
"""

from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clnf.spiking.events import kernels
from clnf.spiking.events.kernels import (
    BLOCK,
    CHUNK,
    Events,
    busy,
    fill,
    outer,
    product,
    sort,
    spot,
    unblocked,
    values,
)
from clnf.spiking.memory import room
from clnf.spiking.threads import over

__all__ = [
    "Floats",
    "by_inputs",
    "density",
    "event_outer",
    "event_product",
    "events_of",
    "packed",
    "spotted",
    "starts",
    "together",
    "zeros",
]

Floats = NDArray[np.float32]
_ROWS = 16  # rows that a thread has at least


def starts(x: Floats) -> NDArray[np.int64]:
    """Where events of each row of ``x`` [R, I] begin, [R + 1]; the last is how many there are."""
    start = np.empty(len(x) + 1, np.int64)
    busy(x, start)
    return start


def events_of(x: Floats, start: NDArray[np.int64] | None = None) -> Events:
    """The events of a matrix [R, I], float32 and contiguous; ``start`` as from :func:`starts`.

    >>> events = events_of(np.array([[0, 2, 0], [1, 0, 3]], np.float32))
    >>> events.start.tolist(), events.index[:3].tolist(), events.value[:3].tolist()
    ([0, 1, 3], [1, 0, 2], [2.0, 1.0, 3.0])
    """
    start = starts(x) if start is None else start
    room = int(start[-1]) + 1
    found = Events(start, np.empty(room, np.uint32), np.empty(room, np.float32))
    fill(x, found)
    return found


def spotted(x: Floats, share: float) -> Events | None:
    """The events of a matrix [R, I] in one pass, if they are no more than a share of it.

    Ones have no values.

    >>> spotted(np.array([[0, 1, 0], [1, 0, 1]], np.float32), 0.5).value
    array([], dtype=float32)
    """
    most = int(min(share, 1.0) * x.size)
    if most < 0:
        return None
    start = np.empty(len(x) + 1, np.int64)
    index = room(torch.Size((most + BLOCK + 1,))).numpy().view(np.uint32)
    ones = spot(x, start, index)
    if ones < 0 or start[-1] > most:
        return None
    events = Events(start, index, np.empty(0 if ones else int(start[-1]) + 1, np.float32))
    if not ones:
        values(x, events)
    return events


def density(x: Tensor) -> float:
    """Share of numbers that are not 0."""
    return int(torch.count_nonzero(x)) / max(1, x.numel())


def packed(w: Tensor) -> Floats:
    """A matrix [I, N] in blocks of 64 columns, [K, I, 64], the last filled up with 0."""
    columns = w.shape[1]
    blocks = -(-columns // BLOCK)
    w = w.detach()
    if not w.is_contiguous() and w.t().is_contiguous():
        found = room(torch.Size((blocks, len(w), BLOCK))).numpy()
        if columns % BLOCK:
            found[-1] = 0.0
        kernels.blocks(w.t().numpy(), found)
        return cast(Floats, found)
    if columns % BLOCK:
        w = torch.nn.functional.pad(w, (0, blocks * BLOCK - columns))
    split = w.unflatten(1, (blocks, BLOCK)).movedim(0, 1)
    return cast(Floats, split.contiguous().numpy())


def event_product(events: Events, w: Floats, out: Floats) -> None:
    """Events [R, I] times ``w`` from :func:`packed`, into ``out`` [R, N]."""
    over(len(out), lambda first, last: product(events, w, out, (first, last)), least=_ROWS)


def event_outer(events: Events, g: Floats, inputs: int) -> Tensor:
    """Sum over rows of events [R, I] times rows of ``g`` [R, N], [N, I]."""
    rows, columns = g.shape
    by = by_inputs(events, rows, inputs)
    blocks = -(-columns // BLOCK)
    sums = zeros(blocks, inputs)
    over(blocks, lambda first, last: outer(by, g, sums, (first, last)))
    return together(sums, columns)


def by_inputs(events: Events, rows: int, inputs: int) -> Events:
    """Events sorted by inputs, chunk by chunk of rows."""
    begin = np.empty((-(-rows // CHUNK), inputs + 1), np.int64)
    size = int(events.start[-1])
    by = Events(
        begin, np.empty(size, np.uint32), np.empty(min(size, events.value.size), np.float32)
    )
    sort(events, by)
    return by


def zeros(blocks: int, inputs: int) -> Floats:
    """Sums to begin with, [K, I, 64]."""
    return cast(Floats, room(torch.Size((blocks, inputs, BLOCK))).zero_().numpy())


def together(sums: Floats, columns: int) -> Tensor:
    """Sums [K, I, 64] as a matrix [N, I]."""
    found = room(torch.Size((columns, sums.shape[1])))
    unblocked(sums, found.numpy())
    return found
