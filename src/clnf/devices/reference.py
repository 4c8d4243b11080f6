"""Plain torch versions of the random numbers: same signatures, same bits.

They run wherever torch runs and are what the compiled kernels are tested against. Words of 32
bits are held in int64 tensors and masked after each operation.
"""

import numpy as np
import torch
from torch import Tensor

__all__ = [
    "exponential", "fill_gauss", "gauss4", "gauss8", "logarithm", "pick_gauss", "root", "uniform",
    "word",
]  # fmt: skip

_MASK = 0xFFFFFFFF
_BYTES = 0x00FF00FF
_SCALE4 = float(np.float32(1.0 / np.sqrt(4 * 65535 / 12)))
_SCALE8 = float(np.float32(1.0 / np.sqrt(8 * 65535 / 12)))
_EXP = tuple(float(np.float32(c)) for c in (1 / 720, 1 / 120, 1 / 24, 1 / 6, 0.5, 1.0, 1.0))
_LOG = (
    7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1,
    -1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1,
)  # fmt: skip


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


def exponential(x: Tensor) -> Tensor:
    """exp(x) for |x| < 60, as the kernels take it."""
    n = (x * float(np.float32(1.4426950408889634))).round()
    f = x - n * float(np.float32(0.6931471805599453))
    p = torch.full_like(x, _EXP[0])
    for c in _EXP[1:]:
        p = p * f + c
    return p * ((n.to(torch.int32) + 127) << 23).view(torch.float32)


def logarithm(x: Tensor) -> Tensor:
    """ln(x) of normal x > 0, as the kernels take it."""
    bits = x.view(torch.int32)
    power = ((bits + 0x004AFB0D) >> 23) - 127
    f = (bits - (power << 23)).view(torch.float32) - 1.0
    p = torch.full_like(x, _LOG[0])
    for c in _LOG[1:]:
        p = p * f + c
    square, e = f * f, power.float()
    low = p * f * square + e * -2.12194440e-4 - 0.5 * square
    return (f + low) + e * 0.693359375


def root(x: Tensor) -> Tensor:
    """Square root, on the CPU by way of double: there float32's is not always rounded correctly.

    Elsewhere it is, or a last bit is lost; some devices have no double.
    """
    return x.double().sqrt().float() if x.is_cpu else x.sqrt()


def fill_gauss(out: Tensor, key: Tensor, first: int) -> None:
    """Fill ``out`` [M] with normals of cells ``first ...`` under a key of two words."""
    index = torch.arange(first, first + out.numel(), device=out.device)
    out.copy_(gauss8(index, int(key[0]), int(key[1])))


def pick_gauss(out: Tensor, cells: Tensor, key: Tensor) -> None:
    """Fill ``out`` [M] with normals of the cells named, under a key of two words."""
    out.copy_(gauss8(cells, int(key[0]), int(key[1])))
