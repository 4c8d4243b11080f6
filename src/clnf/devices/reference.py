"""Plain torch versions of the kernels of this room: same signatures, same bits.

They run wherever torch runs and are what the compiled kernels are tested against. Words of 32
bits are held in int64 tensors and masked after each operation.
"""

import numpy as np
import torch
from torch import Tensor

from clnf.devices.kernels import Cells, PulseJob
from clnf.devices.trains import Trains

__all__ = [
    "cell_traits",
    "encode",
    "fill_gauss",
    "form",
    "gauss4",
    "gauss8",
    "outer_table",
    "pulse_cells",
    "pulse_outer",
    "root",
    "uniform",
    "word",
]

_MASK = 0xFFFFFFFF
_BYTES = 0x00FF00FF
_SCALE4 = float(np.float32(1.0 / np.sqrt(4 * 65535 / 12)))
_SCALE8 = float(np.float32(1.0 / np.sqrt(8 * 65535 / 12)))
_EXP = tuple(float(np.float32(c)) for c in (1 / 720, 1 / 120, 1 / 24, 1 / 6, 0.5, 1.0, 1.0))


def word(index: Tensor, key0: int, key1: int) -> Tensor:
    """Keyed 32-bit hash of indices [M] (int64), as int64 in [0, 2**32)."""
    k = (key1 ^ (key1 >> 16)) * 0x7FEB352D & _MASK
    k = (k ^ (k >> 15)) * 0x846CA68B & _MASK
    k = k ^ (k >> 16)
    x = (index + key0) & _MASK
    x = x ^ (x >> 16)
    x = (x * 0x7FEB352D) & _MASK
    x = x ^ (x >> 15) ^ k
    x = (x * 0x846CA68B) & _MASK
    return x ^ (x >> 16)


def uniform(index: Tensor, key0: int, key1: int) -> Tensor:
    """Uniform in [0, 1) with 24 bits, float32 [M]."""
    return (word(index, key0, key1) >> 8).float() * 2.0**-24


def _bytes(x: Tensor) -> Tensor:
    s = (x & _BYTES) + ((x >> 8) & _BYTES)
    return (s & 0xFFFF) + (s >> 16)


def gauss4(index: Tensor, key0: int, key1: int) -> Tensor:
    """Irwin-Hall normal of four bytes, float32 [M]."""
    return (_bytes(word(index, key0, key1)) - 510).float() * _SCALE4


def gauss8(index: Tensor, key0: int, key1: int) -> Tensor:
    """Irwin-Hall normal of eight bytes, float32 [M]."""
    total = _bytes(word(index, key0, key1))
    total = total + _bytes(word(index, key0 ^ 0x5BF03635, key1 ^ 0x9E3779B9))
    return (total - 1020).float() * _SCALE8


def _exp(x: Tensor) -> Tensor:
    n = (x * float(np.float32(1.4426950408889634))).round()
    f = x - n * float(np.float32(0.6931471805599453))
    p = torch.full_like(x, _EXP[0])
    for c in _EXP[1:]:
        p = p * f + c
    return p * ((n.to(torch.int32) + 127) << 23).view(torch.float32)


def root(x: Tensor) -> Tensor:
    """Square root, on the CPU by way of double: there float32's is not always rounded correctly.

    Elsewhere it is, or a last bit is lost; some devices have no double.
    """
    return x.double().sqrt().float() if x.is_cpu else x.sqrt()


def fill_gauss(out: Tensor, key: Tensor, first: int) -> None:
    """Fill ``out`` [M] with normals of cells ``first ...`` under a key of two words."""
    index = torch.arange(first, first + out.numel(), device=out.device)
    out.copy_(gauss8(index, int(key[0]), int(key[1])))


def cell_traits(cell: Tensor, law: Tensor, key: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Step up, step down, upper and lower bound of cells, from their indices [M] and the key."""
    k = [int(v) for v in key]
    gain = _exp(law[4] * gauss8(cell, k[0], k[1]) + law[5])
    upper = (law[2] + law[2] * (law[6] * gauss8(cell, k[2], k[3]))).abs()
    lower = -(law[3] + law[3] * (law[7] * gauss8(cell, k[4], k[5]))).abs()
    dead = uniform(cell, k[6], k[7]) < law[10]
    stuck = lower + (upper - lower) * uniform(cell, k[7], k[6])
    nothing = torch.zeros_like(gain)
    return (
        torch.where(dead, nothing, law[0] * gain),
        torch.where(dead, nothing, law[1] * gain),
        torch.where(dead, stuck, upper),
        torch.where(dead, stuck, lower),
    )


def form(cells: Cells, law: Tensor, traits_key: Tensor, key: Tensor) -> None:
    """Put cells in their first state; see :func:`clnf.devices.kernels.form`."""
    index = torch.arange(cells.hidden.numel(), device=cells.hidden.device)
    up, _, upper, lower = cell_traits(index, law, traits_key)
    noise = law[9] * gauss8(index, int(key[0]), int(key[1]))
    cells.hidden.copy_(torch.zeros_like(noise).clamp(min=lower, max=upper))
    cells.seen.copy_(torch.where(up > 0, cells.hidden + noise, cells.hidden))
    cells.wear.zero_()


def _pulse(
    w: Tensor, n: Tensor, traits: tuple[Tensor, Tensor, Tensor, Tensor], cycle: Tensor, draw: Tensor
) -> Tensor:
    up = n > 0
    bound = torch.where(up, traits[2], traits[3])
    step = torch.where(up, traits[0], traits[1])
    size = bound.abs()
    a = torch.where(step >= size, torch.ones_like(step), step / size)
    keep = 1.0 - a
    square, noise = keep * keep, (a * cycle) * (a * cycle)
    mean = torch.ones_like(w)
    mean2 = torch.ones_like(w)
    variance = torch.zeros_like(w)
    for pulse in range(int(n.abs().max())):
        more = n.abs() > pulse
        variance = torch.where(more, variance * (square + noise) + noise * mean2, variance)
        mean = torch.where(more, mean * keep, mean)
        mean2 = torch.where(more, mean2 * square, mean2)
    distance = bound - w
    w = bound - distance * mean + (distance * root(variance)) * draw
    return torch.minimum(torch.maximum(w, traits[3]), traits[2])


def pulse_cells(
    job: PulseJob, cells: Cells, law: Tensor, traits_key: Tensor, draw_key: Tensor
) -> tuple[int, int, int]:
    """Apply signed pulses to cells; see :func:`clnf.devices.kernels.pulse_cells`."""
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
    each = (law[11] + law[12] * (cells.seen[at] + 1.0)).clamp(min=0.0).round().long()
    cells.wear[at] += size.to(cells.wear.dtype)
    traits = cell_traits(cell, law, traits_key)
    w = _pulse(cells.hidden[at], n, traits, law[8], gauss8(cell, key[0], key[1]))
    seen = w + law[9] * gauss8(cell, key[2], key[3])
    alive = traits[0] != 0
    cells.hidden[at[alive]] = w[alive]
    cells.seen[at[alive]] = seen[alive]
    return int(size.sum()), int((size * each).sum()), int(size.max())


def encode(probability: Tensor, length: int, key: Tensor, bits: Tensor) -> None:
    """Draw bits of trains into ``bits`` [N, M]; see ``clnf.devices.trains.encode``."""
    limit = (probability.clamp(max=1.0) * 2.0**24).long()
    base = torch.arange(probability.numel(), device=limit.device).view_as(limit) * 32
    value = torch.zeros_like(limit)
    for b in range(length):
        draw = word(base + b, int(key[0]), int(key[1])) >> 8
        value |= (draw < limit).long() << b
    bits.copy_(value)


def outer_table(law: Tensor, key: Tensor, first: int, table: Tensor) -> None:
    """Traits of cells for :func:`pulse_outer`, kept as they are: steps, not logarithms."""
    cell = torch.arange(first, first + table.shape[1], device=table.device)
    up, down, upper, lower = cell_traits(cell, law, key)
    up, down = torch.minimum(up, 0.98 * upper), torch.minimum(down, -0.98 * lower)
    for line, value in enumerate((upper, lower, up, down)):
        table[line] = value


def pulse_outer(
    trains: Trains, cells: Cells, law: Tensor, table: Tensor, draw_key: Tensor
) -> tuple[int, int, int]:
    """Coincidences of all vectors, one after the other; see ``clnf.devices.trains``.

    Same draws as the compiled kernel; values agree to 1e-4 (it takes powers from a series).
    """
    key = [int(v) for v in draw_key]
    columns, rows = trains.fence.shape
    device = trains.fence.device
    cell = torch.arange(trains.first, trains.first + columns * rows, device=device)
    upper, lower, up, down = table[0], table[1], table[2], table[3]
    w, fence = cells.hidden.clone(), trains.fence.reshape(-1)
    total = torch.zeros(columns * rows, dtype=torch.int64, device=device)
    row_bits, column_bits = trains.row_bits.long(), trains.column_bits.long()
    for v in range(len(row_bits)):
        both = column_bits[v, :, None] & row_bits[v, None, :]
        n = sum((both >> b) & 1 for b in range(32)).reshape(-1)
        shift = (v * 0x9E3779B9) & 0xFFFFFFFF
        part = (n.float() * fence + uniform(cell, key[4] ^ shift, key[5])).floor().long()
        n = torch.where(fence < 1.0, part, n)
        sign = -(trains.column_sign[v, :, None] * trains.row_sign[v, None, :]).reshape(-1)
        signed = torch.where(sign > 0, n, -n)
        moved = _pulse(
            w, signed, (up, down, upper, lower), law[8], gauss4(cell, key[0] ^ shift, key[1])
        )
        w = torch.where(n > 0, moved, w)
        total += n
    hit, alive = total > 0, (total > 0) & (up > 0)
    each = (law[11] + law[12] * (cells.seen + 1.0)).clamp(min=0.0).round().long()
    cells.wear.add_(total)
    noise = law[9] * gauss8(cell, key[2], key[3])
    cells.hidden[alive] = w[alive]
    cells.seen[alive] = (w + noise)[alive]
    return int(total.sum()), int((total * each)[hit].sum()), int(total.max())
