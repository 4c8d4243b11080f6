"""Room for large results, taken again and again.

A fresh tensor of many megabytes is handed out by the system page by page, and emptied: that takes
longer than all steps of a population. What was let go of here is kept, up to a bound, and given to
the next who asks for as much. Values are never looked at: who takes room writes all of it.
"""

from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["room"]

_LARGE = 2**18  # numbers; smaller tensors come from torch
_KEPT = 2**27  # numbers that are kept at most, half a gigabyte
_ALIGN = 16  # numbers in 64 bytes

Floats = NDArray[np.float32]
_free: dict[int, list[Floats]] = {}


@final
class _Lease:
    """Memory that goes back when the last tensor on it is gone."""

    def __init__(self, size: int) -> None:
        kept = _free.get(size)
        try:
            self.memory = kept.pop() if kept else _fresh(size)
        except IndexError:  # another thread was faster
            self.memory = _fresh(size)

    @property
    def __array_interface__(self) -> dict[str, Any]:
        return self.memory.__array_interface__

    def __del__(self) -> None:
        size = self.memory.size
        if sum(n * len(kept) for n, kept in _free.items()) + size <= _KEPT:
            _free.setdefault(size, []).append(self.memory)


def _fresh(size: int) -> Floats:
    """Numbers that begin at a multiple of 64 bytes; NumPy asks for large pages."""
    raw = np.empty(size + _ALIGN, np.float32)
    first = -(raw.ctypes.data // 4) % _ALIGN
    return raw[first : first + size]


def room(shape: torch.Size) -> Tensor:
    """An empty float32 tensor on the CPU, contiguous; a large one begins at 64 bytes.

    >>> room(torch.Size((2, 3))).shape
    torch.Size([2, 3])
    """
    size = shape.numel()
    if size < _LARGE:
        return torch.empty(shape)
    return torch.from_numpy(np.asarray(_Lease(size))).view(shape)
