"""Tensors that people hand in: lists, arrays and tensors alike, looked at once, at the door."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from clnf.core.errors import ConfigError, DataError, ShapeError
from clnf.core.inputs import shown

__all__ = ["dense", "finite", "not_finite", "shares"]


def dense(name: str, value: object, *, dtype: torch.dtype | None = None) -> Tensor:
    """A tensor of real numbers with one place in memory for each.

    Args:
        name: what the sentence calls it, in the plural.
        value: a tensor, an array or nested lists of numbers; a tensor keeps its gradient.
        dtype: to convert to; None keeps the type.

    Raises:
        ShapeError: it is none: text, ragged lists, a sparse or nested tensor, complex or quantised
            numbers, or a tensor on the meta device, which has a shape and no values.

    >>> dense("weights", [[1, 2], [3, 4]], dtype=torch.float32).shape
    torch.Size([2, 2])
    """
    found = value if isinstance(value, Tensor) else _made(name, value)
    fault = _fault(found)
    if fault:
        raise ShapeError(f"{name} must be a dense tensor of real numbers, got {fault}")
    return found if dtype is None else found.to(dtype)


def finite(name: str, value: Tensor) -> float:
    """A tensor of one number, as a float.

    Raises:
        DataError: it is NaN or infinite.

    >>> finite("a loss", torch.tensor(0.5))
    0.5
    """
    found = float(value)
    if not math.isfinite(found):
        raise DataError(f"{name} must be finite, got {found}; look for what overflowed before")
    return found


def not_finite(values: Tensor) -> str:
    """The first value that is not finite and where it stands, as words; empty where all are.

    >>> not_finite(torch.tensor([[0.0, float("nan")]]))
    'nan at [0, 1]'
    """
    bad = ~values.detach().isfinite()
    if not bool(bad.any()):
        return ""
    place = bad.nonzero()[0].tolist()
    return f"{values[tuple(place)].item()}" + (f" at {place}" if place else "")


def shares(name: str, value: object, shape: Sequence[int]) -> Tensor:
    """A mask: float32 shares in [0, 1] of a given shape, without a gradient.

    Args:
        name: what the sentence calls it.
        value: as for :func:`dense`.
        shape: that it must have.

    Raises:
        ConfigError: another shape, or a value outside; named with its place.

    >>> shares("a mask", [[0, 1]], (1, 2))
    tensor([[0., 1.]])
    """
    found = dense(name, value, dtype=torch.float32).detach()
    if found.shape != tuple(shape):
        raise ConfigError(f"{name} needs shape {[*shape]}, got shape {[*found.shape]}")
    good = (found >= 0) & (found <= 1)
    if not bool(good.all()):
        place = (~good).nonzero()[0].tolist()
        raise ConfigError(
            f"{name} needs values in [0, 1], got {found[tuple(place)].item():g} at {place}"
        )
    return found


def _made(name: str, value: Any) -> Tensor:
    try:
        return torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise ShapeError(
            f"{name} must be a tensor of numbers or lists of equal length, got {shown(value)}; "
            "convert it"
        ) from None


def _fault(found: Tensor) -> str:
    """What keeps a tensor from being used, and what to do; empty for nothing."""
    if found.is_nested:
        return "a nested one; pad its rows to one length"
    if found.layout != torch.strided:
        return f"layout {found.layout}; call .to_dense()"
    # A class of its own may keep its values elsewhere and only call itself meta.
    if found.is_meta and type(found) in (Tensor, Parameter):
        return "one on the meta device, without values; make it on the cpu"
    if found.is_complex() or found.is_quantized:
        return f"{found.dtype}; convert it to float"
    return ""
