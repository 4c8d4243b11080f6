"""Keys and normals of a place: each draw is a function of (seed, place, index) and nothing else."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clnf.core.rng import fold
from clnf.devices import kernels, reference
from clnf.devices.dispatch import run

__all__ = ["hash_key", "hash_normals", "normals_at"]


def hash_key(seed: int, *place: str | int, words: int = 2) -> NDArray[np.uint32]:
    """Key words for the hash of one place, uint32 [words]."""
    parts = [fold(seed, *place, lane) for lane in range((words + 1) // 2)]
    both = [w for part in parts for w in (part & 0xFFFFFFFF, (part >> 31) & 0xFFFFFFFF)]
    return np.array(both[:words], dtype=np.uint32)


def hash_normals(
    seed: int,
    place: tuple[str | int, ...],
    shape: tuple[int, ...],
    *,
    device: torch.device | str = "cpu",
    compiled: bool = True,
) -> Tensor:
    """Standard normals of a place, each a function of (seed, place, index) only.

    Args:
        seed: any integer.
        place: words and integers, see :func:`clnf.core.rng.fold`.
        shape: of the result, fewer than 2**32 numbers.
        device: where the result lives.
        compiled: on the CPU, use the compiled kernel, not its torch twin; the bits are the same.
    """
    out, key = torch.empty(shape, device=device), hash_key(seed, *place)
    job = (out.view(-1), key, 0)
    run(kernels.fill_gauss, reference.fill_gauss, job, compiled=compiled)
    return out


def normals_at(
    seed: int, place: tuple[str | int, ...], cells: Tensor, *, compiled: bool = True
) -> Tensor:
    """The normals :func:`hash_normals` has at some of its indices, int64 [M]."""
    out, key = torch.empty(cells.shape, device=cells.device), hash_key(seed, *place)
    run(kernels.pick_gauss, reference.pick_gauss, (out, cells, key), compiled=compiled)
    return out
