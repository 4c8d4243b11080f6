"""Keys and normals of a place: each draw is a function of (seed, place, index) and nothing else."""

import hashlib
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clnf.devices import kernels, reference
from clnf.devices.dispatch import run

__all__ = ["hash_key", "hash_normals", "hash_words", "normals_at"]


def hash_key(seed: int, *place: str | int, words: int = 2) -> NDArray[np.uint32]:
    """Key words for the hash of one place, uint32 [words].

    Two words each are those of :func:`clnf.core.rng.fold` at the place and their number.
    """
    begun, out = _begun(seed, place, 8), b""
    for lane in range((words + 1) // 2):
        digest = begun.copy()
        digest.update(_told(lane))
        part = int.from_bytes(digest.digest(), "little") >> 1
        out += ((part & 0xFFFFFFFF) | (part >> 31 << 32)).to_bytes(8, "little")
    return np.frombuffer(out, dtype="<u4")[:words].astype(np.uint32)


def hash_words(seed: int, *place: str | int, words: int) -> NDArray[np.uint32]:
    """Other words of a place, at most 16, all of one digest: uint32 [words]."""
    digest = _begun(seed, place, 4 * words).digest()
    return np.frombuffer(digest, dtype="<u4").astype(np.uint32)


def _told(part: str | int) -> bytes:
    """A part of a place as :func:`clnf.core.rng.fold` tells it to its hash."""
    text = b"int:%d" % part if type(part) is int else f"{type(part).__name__}:{part}".encode()
    return len(text).to_bytes(4, "little") + text


@lru_cache(maxsize=4096, typed=True)
def _opened(seed: int, first: str | int, size: int) -> "hashlib.blake2b":
    """A hash that was told a seed and the first part of a place, the same time after time."""
    return hashlib.blake2b(_told(seed) + _told(first), digest_size=size)


def _begun(seed: int, place: tuple[str | int, ...], size: int) -> "hashlib.blake2b":
    digest = _opened(seed, place[0], size).copy()
    digest.update(b"".join(map(_told, place[1:])))
    return digest


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
