"""Plain torch versions of the batch kernels: same signatures, same draws."""

import torch
from torch import Tensor

from clnf.devices import pulse_reference, pulses
from clnf.devices.encoders import BURST, PHASES
from clnf.devices.pulses import Cells
from clnf.devices.reference import gauss8, root, uniform, word
from clnf.devices.trains import Trains

__all__ = ["encode_even", "encode_random", "pulse_batch"]

_MASK = 0xFFFFFFFF


def encode_random(value: Tensor, scale: float, length: int, key: Tensor, words: Tensor) -> None:
    """Random trains; see :func:`clnf.devices.random_trains.encode_random`."""
    value = value * scale
    index = torch.arange(value.numel(), device=value.device).view_as(value)
    x = word(index, int(key[0]), int(key[1]))
    limit = (value.abs().clamp(max=1.0) * 65536.0 + (x >> 8).float() * 2.0**-24).long()
    train = (value < 0).long() << 31
    for b in range(min(length, 16)):
        x = (x ^ (x << 13)) & _MASK
        x = x ^ (x >> 17)
        x = (x ^ (x << 5)) & _MASK
        train |= ((x & 0xFFFF) < limit).long() << b
        if b + 16 < length:
            train |= ((x >> 16) < limit).long() << (b + 16)
    words.copy_(train)


def encode_even(
    value: Tensor, length: int, role: int, first: int, key: Tensor, words: Tensor
) -> None:
    """Evenly spread trains; see :func:`clnf.devices.encoders.encode_even`."""
    vectors, wide = value.shape
    on = (torch.arange(first, first + vectors, device=value.device) * PHASES[role]) & _MASK
    line = word(torch.arange(wide, device=value.device), int(key[0]), int(key[1]))
    phase = (((line + on[:, None]) & _MASK) >> 8).float() * 2.0**-24
    p = value.abs().clamp(max=1.0)
    if role == BURST:
        train = (1 << (p * float(length) + phase).floor().long()) - 1
    else:
        train, before = torch.zeros_like(p, dtype=torch.int64), torch.zeros_like(p)
        for b in range(length):
            after = (float(b + 1) * p + phase).floor()
            train |= (after > before).long() << b
            before = after
    words.copy_(train | ((value < 0).long() << 31))


def _gone(a: Tensor, n: Tensor) -> Tensor:
    """1 - (1 - a)^n without cancellation."""
    g, bit = torch.zeros_like(a), 1
    while bit <= int(n.max()):
        g = torch.where((n & bit) > 0, g + (a - g * a), g)
        a = a * (2.0 - a)
        bit *= 2
    return g


def _rate(a: Tensor) -> Tensor:
    """-log(1 - a), as the kernel takes it."""
    z = a / (2.0 - a)
    y = z * z
    return z * (2.0 + y * (2.0 / 3.0 + y * 0.4))


def _linear(w: Tensor, n: Tensor, m: Tensor, table: Tensor, law: Tensor) -> tuple[Tensor, Tensor]:
    """Mean move and variance over c^2 of linear steps."""
    slope_up, slope_down = law[pulses.SHAPE_UP], law[pulses.SHAPE_DOWN]
    step_up, step_down, high, low = table
    up = (step_up * slope_up / high.abs().clamp(min=1e-30)).clamp(max=1.0)
    down = (step_down * slope_down / low.abs().clamp(min=1e-30)).clamp(max=1.0)
    one, other = _gone(up, (n - 1).clamp(min=0)), _gone(down, (m - 1).clamp(min=0))
    none = torch.zeros_like(w)
    g = torch.where(n > 0, one + (up - one * up), none)
    h = torch.where(m > 0, other + (down - other * down), none)
    to_up, to_down = high / slope_up - w, low / slope_down - w
    ups, downs = n.float() * _rate(up), m.float() * _rate(down)
    share = ups / (ups + downs).clamp(min=1e-30)
    moved = (g + (h - g * h)) * (share * to_up + (1.0 - share) * to_down)
    one_up, one_down = up * to_up * (1.0 - one), down * to_down * (1.0 - other)
    variance = n.float() * (one_up * one_up) * (1.0 - h)
    return moved, variance + m.float() * (one_down * one_down) * (1.0 - g)


def _curved(w: Tensor, n: Tensor, m: Tensor, table: Tensor, law: Tensor) -> tuple[Tensor, Tensor]:
    cell = table[0], table[1], table[2], table[3]
    at, variance, both = w, torch.zeros_like(w), n + m
    twice = (2 * both).clamp(min=1)
    for i in range(int(both.max())):
        up = (2 * (i + 1) * n + both) // twice > (2 * i * n + both) // twice
        step = pulse_reference.step_at(at, up, cell, law)
        moved = torch.where(up, at + step, at - step)
        moved = torch.minimum(torch.maximum(moved, table[3]), table[2])
        more = (both > i) & (table[0] > 0)
        at = torch.where(more, moved, at)
        variance = torch.where(more, variance + step * step, variance)
    return at - w, variance


def _tally(trains: Trains) -> tuple[Tensor, Tensor]:
    """Coincidences that move each cell up and down, int64 [C * R]."""
    rows, columns = trains.rows.long(), trains.columns.long()
    up = torch.zeros(trains.fence.shape, dtype=torch.int64, device=trains.fence.device)
    down = torch.zeros_like(up)
    for v in range(len(rows)):
        both = columns[v, :, None] & rows[v, None, :]
        n = torch.zeros_like(up)
        for b in range(31):
            n += (both >> b) & 1
        differ = (columns[v, :, None] ^ rows[v, None, :]) >> 31 > 0
        up += torch.where(differ, n, torch.zeros_like(n))
        down += torch.where(differ, torch.zeros_like(n), n)
    return up.view(-1), down.view(-1)


def pulse_batch(
    trains: Trains, cells: Cells, law: Tensor, table: Tensor, draw_key: Tensor
) -> tuple[int, int, int]:
    """A batch of coincidences; see :func:`clnf.devices.batch_moves.pulse_batch`."""
    key = [int(v) for v in draw_key]
    n, m = _tally(trains)
    cell = torch.arange(trains.first, trains.first + n.numel(), device=n.device)
    if trains.fenced:
        fence = trains.fence.reshape(-1)
        n = (n.float() * fence + uniform(cell, key[4], key[5])).floor().long()
        m = (m.float() * fence + uniform(cell, key[5], key[4])).floor().long()
    if law[pulses.KIND] != 0:
        moved, variance = _curved(cells.hidden, n, m, table, law)
    elif law[pulses.SHAPE_UP] == 0 or law[pulses.SHAPE_DOWN] == 0:
        moved = n.float() * table[0] - m.float() * table[1]
        variance = n.float() * (table[0] * table[0]) + m.float() * (table[1] * table[1])
    else:
        moved, variance = _linear(cells.hidden, n, m, table, law)
    draw = law[pulses.CYCLE] * (root(variance) * gauss8(cell, key[0], key[1]))
    w = cells.hidden + (moved + draw)
    w = torch.minimum(torch.maximum(w, table[3]), table[2])
    each = (law[pulses.ENERGY] + law[pulses.ENERGY_SLOPE] * (cells.seen + 1.0)).clamp(min=0.0)
    down = (each * law[pulses.ENERGY_DOWN]).round().long()
    energy = int((n * each.round().long() + m * down).sum())
    moves = (n + m > 0) & (table[0] > 0)
    noise = law[pulses.WRITE_NOISE] * gauss8(cell, key[2], key[3])
    cells.wear.add_((n + m).to(cells.wear.dtype))
    cells.hidden[moves] = w[moves]
    cells.seen[moves] = (w + noise)[moves]
    return int((n + m).sum()), energy, int((n + m).max())
