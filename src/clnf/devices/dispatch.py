"""The one place that chooses between a compiled kernel and its plain torch twin."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["run"]


def run(
    kernel: Callable[..., Any],
    plain: Callable[..., Any],
    args: tuple[Any, ...],
    *,
    compiled: bool = True,
) -> Any:
    """Run the compiled kernel where all tensors are on the CPU, its torch twin anywhere else.

    Both take the same arguments and change the same ones in place. The kernel gets NumPy views
    of tensors; the twin gets tensors, and words of keys (uint32 arrays) as int64 tensors on the
    CPU. Members of tuples are treated alike.

    Args:
        kernel: compiled by Numba.
        plain: its twin, which runs wherever torch runs.
        args: contiguous tensors, NumPy arrays of keys and factors, plain numbers, and named
            tuples of these.
        compiled: False takes the twin on the CPU too.

    Returns:
        What the chosen one returns.
    """
    if compiled:
        arrays = _arrays(args)
        if arrays is not None:
            return kernel(*arrays)
    return plain(*map(_tensor, args))


def _arrays(values: tuple[Any, ...]) -> list[Any] | None:
    """NumPy views of tensors, or None where one of them lives elsewhere."""
    out: list[Any] = []
    for value in values:
        if isinstance(value, Tensor):
            if not value.is_cpu:
                return None
            out.append(value.numpy())
        elif isinstance(value, tuple):
            inside = _arrays(value)
            if inside is None:
                return None
            out.append(type(value)(*inside))
        else:
            out.append(value)
    return out


def _tensor(value: Any) -> Any:
    if isinstance(value, tuple):
        return type(value)(*map(_tensor, value))
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value.astype(np.int64) if value.dtype == np.uint32 else value)
    return value
