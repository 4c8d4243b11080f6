"""Plain torch versions of the batch kernels: same signatures, same draws."""

from typing import Any

import torch
from torch import Tensor

from clnf.devices import pulse_reference, pulses
from clnf.devices.batch_maths import FAR, SMALL
from clnf.devices.batch_moves import Products
from clnf.devices.encoders import BURST, PHASES
from clnf.devices.pulses import Cells
from clnf.devices.reference import exponential, gauss8, root, uniform, word
from clnf.devices.trains import Trains

__all__ = ["encode_even", "encode_random", "pulse_batch", "pulse_products"]

_MASK = 0xFFFFFFFF


def encode_random(value: Tensor, scale: float, length: int, key: Tensor, words: Tensor) -> None:
    """Random trains; see :func:`clnf.devices.random_trains.encode_random`."""
    value = value * scale
    index = torch.arange(value.numel(), device=value.device).view_as(value)
    x = word(index, int(key[0]), int(key[1]))
    limit = (value.abs().clamp(max=1.0) * 2.0**24).long()
    some = (1 << length) - 1
    train = torch.where(limit == 2**24, some, 0)
    left = some - train
    for place in range(23, -1, -1):
        x = (x ^ (x << 13)) & _MASK
        x = x ^ (x >> 17)
        x = (x ^ (x << 5)) & _MASK
        ask = torch.where((limit >> place & 1) > 0, _MASK, 0)
        train |= left & ask & ~x
        left &= ~(x ^ ask)
    words.copy_(train | (value < 0).long() << 31)


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


def _lost(x: Tensor) -> Tensor:
    """(1 - exp(-x)) / x."""
    p = 1.0 / 24.0 - x * (1.0 / 120.0)
    for part in (1.0 / 6.0, 0.5, 1.0):
        p = part - x * p
    return torch.where(x.abs() > SMALL, (1.0 - exponential(0.0 - x)) / x, p)


def _linear(w: Tensor, n: Tensor, m: Tensor, table: Tensor, law: Tensor) -> tuple[Tensor, Tensor]:
    """Mean move and variance over c^2 of linear steps."""
    up, down, high, low = table
    to_up = high * (1.0 / law[pulses.SHAPE_UP]) - w
    to_down = low * (1.0 / law[pulses.SHAPE_DOWN]) - w
    ups, downs = n.float(), m.float()
    raising, lowering = (ups * up).clamp(max=FAR), (downs * down).clamp(max=FAR)
    moved = _lost((raising + lowering).clamp(max=FAR)) * (raising * to_up + lowering * to_down)
    kept_up, kept_down = 1.0 - raising * _lost(raising), 1.0 - lowering * _lost(lowering)
    up, down = up * _lost(0.0 - up) * to_up, down * _lost(0.0 - down) * to_down
    variance = ups * kept_up * (up * up) + downs * kept_down * (down * down)
    return moved, (kept_up * kept_down) * variance


def _curved(w: Tensor, n: Tensor, m: Tensor, table: Tensor, law: Tensor) -> tuple[Tensor, Tensor]:
    cell = table[0], table[1], table[2], table[3]
    at, variance, both = w, torch.zeros_like(w), n + m
    twice = (2 * both).clamp(min=1)
    for i in range(int(both.max())):
        up = (2 * (i + 1) * n + both) // twice > (2 * i * n + both) // twice
        step = pulse_reference.step_at(at, up, cell, law)
        moved = torch.where(up, at + step, at - step)
        moved = torch.minimum(torch.maximum(moved, table[3]), table[2])
        more = (both > i) & (table[0] != 0)
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
    moves = (n + m > 0) & (table[0] != 0)
    noise = law[pulses.WRITE_NOISE] * gauss8(cell, key[2], key[3])
    cells.wear.add_((n + m).to(cells.wear.dtype))
    cells.hidden[moves] = w[moves]
    cells.seen[moves] = (w + noise)[moves]
    return int((n + m).sum()), energy, int((n + m).max())


def pulse_products(products: Products, *rest: Any) -> tuple[int, int, int]:
    """Random trains and their coincidences; see :func:`clnf.devices.batch_moves.pulse_products`."""
    made = []
    for role, value in enumerate((products.rows, products.columns)):
        words = torch.empty_like(value, dtype=torch.int64)
        key = products.keys[2 * role : 2 * role + 2]
        encode_random(value, float(products.scales[role]), products.length, key, words)
        made.append(words)
    trains = Trains(made[0], made[1], products.fence, products.fenced, products.first)
    return pulse_batch(trains, *rest)
