"""The one place that chooses between a compiled kernel and its plain torch twin."""

from collections.abc import Callable, Iterator
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
    if compiled and all(tensor.is_cpu for tensor in _tensors(args)):
        return kernel(*map(_array, args))
    return plain(*map(_tensor, args))


def _tensors(values: tuple[Any, ...]) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, tuple):
            yield from _tensors(value)


def _array(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.numpy()
    if isinstance(value, tuple):
        return type(value)(*map(_array, value))
    return value


def _tensor(value: Any) -> Any:
    if isinstance(value, tuple):
        return type(value)(*map(_tensor, value))
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value.astype(np.int64) if value.dtype == np.uint32 else value)
    return value
