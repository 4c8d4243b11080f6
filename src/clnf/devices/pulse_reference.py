"""Plain torch versions of the pulse kernels: same signatures, same draws.

They run wherever torch runs and are what the compiled kernels are tested against.
"""

import torch
from torch import Tensor

from clnf.devices import pulses
from clnf.devices.pulses import Cells, PulseJob
from clnf.devices.reference import exponential, gauss4, gauss8, root, uniform, word
from clnf.devices.trains import Trains

__all__ = ["encode", "form", "pulse_cells", "pulse_outer", "step_at", "traits"]

Cell = tuple[Tensor, Tensor, Tensor, Tensor]
_NEXT = 0x85EBCA6B  # see clnf.devices.pulses


def traits(law: Tensor, key: Tensor, first: int, table: Tensor) -> None:
    """Steps and bounds of cells; see :func:`clnf.devices.pulses.traits`."""
    cell = torch.arange(first, first + table.shape[1], device=table.device)
    k = [int(v) for v in key]
    gain = exponential(law[pulses.LOG_SPREAD] * gauss8(cell, k[0], k[1]) + law[pulses.LOG_SHIFT])
    bias = law[pulses.BIAS_SPREAD] * gauss8(cell, k[1], k[0])
    top, floor = law[pulses.UPPER], law[pulses.LOWER]
    upper = (top + top * (law[pulses.UPPER_SPREAD] * gauss8(cell, k[2], k[3]))).abs()
    lower = -(floor + floor * (law[pulses.LOWER_SPREAD] * gauss8(cell, k[4], k[5]))).abs()
    dead = uniform(cell, k[6], k[7]) < law[pulses.DEAD]
    stuck = lower + (upper - lower) * uniform(cell, k[7], k[6])
    none = torch.zeros_like(gain)
    table[0] = torch.where(dead, none, law[pulses.STEP_UP] * (gain * (1.0 + bias).clamp(min=0.01)))
    table[1] = torch.where(
        dead, none, law[pulses.STEP_DOWN] * (gain * (1.0 - bias).clamp(min=0.01))
    )
    table[2] = torch.where(dead, stuck, upper)
    table[3] = torch.where(dead, stuck, lower)


def form(cells: Cells, law: Tensor, table: Tensor, key: Tensor) -> None:
    """Put cells in their first state; see :func:`clnf.devices.pulses.form`."""
    index = torch.arange(cells.hidden.numel(), device=cells.hidden.device)
    noise = law[pulses.WRITE_NOISE] * gauss8(index, int(key[0]), int(key[1]))
    cells.hidden.copy_(torch.zeros_like(noise).clamp(min=table[3], max=table[2]))
    cells.seen.copy_(torch.where(table[0] > 0, cells.hidden + noise, cells.hidden))
    cells.wear.zero_()


def _sided(up: Tensor, law: Tensor, above: int, below: int) -> Tensor:
    return torch.where(up, law[above], law[below])


def step_at(w: Tensor, up: Tensor, cell: Cell, law: Tensor) -> Tensor:
    """Size of the mean step from ``w``, before the clip; see :mod:`clnf.devices.response`."""
    step_up, step_down, upper, lower = cell
    size = torch.where(up, step_up, step_down)
    shape = _sided(up, law, pulses.SHAPE_UP, pulses.SHAPE_DOWN)
    span = upper - lower
    if law[pulses.KIND] == 0:
        return size * (1.0 - shape * w / torch.where(up, upper, lower))
    if law[pulses.KIND] == 1:
        z = law[pulses.SCALE] * w / span * 2.0 + law[pulses.OFFSET]
        factor = _sided(up, law, pulses.FACTOR_UP, pulses.FACTOR_DOWN)
        grown = exponential((torch.where(up, shape * z, -(shape * z))).float())
        return size * (1.0 - factor * grown).clamp(min=0.0)
    left = torch.where(up, upper - w, w - lower) / span
    grown = exponential((shape * left.clamp(min=1e-30).log()).float().clamp(min=-80.0))
    return torch.where(left > 0, size * grown, torch.zeros_like(size))


def _pulse(
    w: Tensor, n: Tensor, cell: Cell, law: Tensor, draw: Tensor, place: tuple[Tensor, int, int]
) -> Tensor:
    """Hidden weight after signed pulses; see :func:`clnf.devices.pulses.pulse_cell`."""
    up, size = n > 0, n.abs()
    _, _, upper, lower = cell
    if law[pulses.KIND] == 0:
        moved = _linear(w, size, up, cell, law, draw)
        w = torch.where(up, w + moved, w - moved)
        return torch.minimum(torch.maximum(w, lower), upper)
    for pulse in range(int(size.max())):
        if pulse > 0:
            draw = gauss8(place[0], (place[1] + pulse * _NEXT) & 0xFFFFFFFF, place[2])
        step = step_at(w, up, cell, law)
        moved = step + step * (law[pulses.CYCLE] * draw)
        moved = torch.where(up, w + moved, w - moved)
        moved = torch.minimum(torch.maximum(moved, lower), upper)
        w = torch.where(size > pulse, moved, w)
    return w


def _linear(w: Tensor, size: Tensor, up: Tensor, cell: Cell, law: Tensor, draw: Tensor) -> Tensor:
    step_up, step_down, upper, lower = cell
    bound = torch.where(up, upper, lower)
    way = bound.abs()
    slope = _sided(up, law, pulses.SHAPE_UP, pulses.SHAPE_DOWN)
    step = torch.where(up, step_up, step_down)
    step = torch.where(step * slope > way, way / slope, step)
    a = torch.where(way > 0, step * slope / way, torch.ones_like(step))
    keep = 1.0 - a
    left = torch.where(way > 0, 1.0 - slope * (w / bound), torch.zeros_like(w))
    cycle = law[pulses.CYCLE]
    square = keep * keep + (a * cycle) * (a * cycle)
    total, variance = torch.zeros_like(w), torch.zeros_like(w)
    for pulse in range(int(size.max())):
        more = size > pulse
        noise = cycle * left
        total = torch.where(more, total + left, total)
        variance = torch.where(more, variance * square + noise * noise, variance)
        left = left * keep
    return step * (total + root(variance) * draw)


def _energy(seen: Tensor, law: Tensor) -> tuple[Tensor, Tensor]:
    """Energy of a pulse up and of one down, whole aJ."""
    each = law[pulses.ENERGY] + law[pulses.ENERGY_SLOPE] * (seen + 1.0)
    up = each.clamp(min=0.0)
    return up.round().long(), (up * law[pulses.ENERGY_DOWN]).round().long()


def pulse_cells(
    job: PulseJob, cells: Cells, law: Tensor, table: Tensor, draw_key: Tensor
) -> tuple[int, int, int]:
    """Apply signed pulses to cells; see :func:`clnf.devices.pulses.pulse_cells`."""
    key = [int(v) for v in draw_key]
    at = torch.nonzero((job.pulses != 0) & (job.fence > 0)).squeeze(1)
    cell = at + job.first
    n = job.pulses[at].long()
    part = (n.abs().float() * job.fence[at] + uniform(cell, key[4], key[5])).floor().long()
    n = torch.where(job.fence[at] < 1.0, part * n.sign(), n)
    at, cell, n = at[n != 0], cell[n != 0], n[n != 0]
    if at.numel() == 0:
        return 0, 0, 0
    size = n.abs()
    each = torch.where(n > 0, *_energy(cells.seen[at], law))
    cells.wear[at] += size.to(cells.wear.dtype)
    table = table.expand(pulses.TABLE, job.pulses.numel())
    mine = table[0, at], table[1, at], table[2, at], table[3, at]
    draw = gauss8(cell, key[0], key[1])
    w = _pulse(cells.hidden[at], n, mine, law, draw, (cell, key[0], key[1]))
    seen = w + law[pulses.WRITE_NOISE] * gauss8(cell, key[2], key[3])
    alive = mine[0] != 0
    cells.hidden[at[alive]] = w[alive]
    cells.seen[at[alive]] = seen[alive]
    return int(size.sum()), int((size * each).sum()), int(size.max())


def encode(value: Tensor, length: int, key: Tensor, words: Tensor) -> None:
    """Draw trains into ``words`` [N, M]; see ``clnf.devices.trains.encode``."""
    limit = (value.abs().clamp(max=1.0) * 2.0**24).long()
    base = torch.arange(value.numel(), device=limit.device).view_as(limit) * 32
    train = (value < 0).long() << 31
    for b in range(length):
        draw = word(base + b, int(key[0]), int(key[1])) >> 8
        train |= (draw < limit).long() << b
    words.copy_(train)


def pulse_outer(
    trains: Trains, cells: Cells, law: Tensor, table: Tensor, draw_key: Tensor
) -> tuple[int, int, int]:
    """Coincidences of all vectors, one after the other; see ``clnf.devices.trains``.

    Same draws as the compiled kernel, whose spread of more than two pulses is approximate.
    """
    key = [int(v) for v in draw_key]
    columns, rows = trains.fence.shape
    device = trains.fence.device
    cell = torch.arange(trains.first, trains.first + columns * rows, device=device)
    mine = table[0], table[1], table[2], table[3]
    w, fence = cells.hidden.clone(), trains.fence.reshape(-1)
    total = torch.zeros(columns * rows, dtype=torch.int64, device=device)
    rising = torch.zeros_like(total)
    row_words, column_words = trains.rows.long(), trains.columns.long()
    for v in range(len(row_words)):
        both = column_words[v, :, None] & row_words[v, None, :]
        n = sum((both >> b) & 1 for b in range(31)).reshape(-1)
        shift = (v * 0x9E3779B9) & 0xFFFFFFFF
        part = (n.float() * fence + uniform(cell, key[4] ^ shift, key[5])).floor().long()
        n = torch.where(fence < 1.0, part, n)
        differ = column_words[v, :, None] ^ row_words[v, None, :]
        up = (differ >> 31 > 0).reshape(-1)
        signed = torch.where(up, n, -n)
        place = cell, key[0] ^ shift, key[1]
        moved = _pulse(w, signed, mine, law, gauss4(*place), place)
        w = torch.where((n > 0) & (mine[0] > 0), moved, w)
        total += n
        rising += torch.where(up, n, torch.zeros_like(n))
    up, down = _energy(cells.seen, law)
    energy = int((rising * up + (total - rising) * down).sum())
    moves = (total > 0) & (mine[0] > 0)
    cells.wear.add_(total)
    noise = law[pulses.WRITE_NOISE] * gauss8(cell, key[2], key[3])
    cells.hidden[moves] = w[moves]
    cells.seen[moves] = (w + noise)[moves]
    return int(total.sum()), energy, int(total.max())
