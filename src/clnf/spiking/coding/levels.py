"""Numbers that are to be coded: in [0, 1], each looked at once."""

import torch
from torch import Tensor

from clnf.core.errors import DataError, ShapeError
from clnf.core.inputs import seconds, whole
from clnf.core.tensors import dense, not_finite

__all__ = ["coded", "levels", "spikes_of", "steps_of"]


def levels(x: object, *, dtype: torch.dtype = torch.float32) -> Tensor:
    """Numbers in [0, 1].

    Raises:
        DataError: one is outside, or is no number.

    >>> levels([0, 0.5])
    tensor([0.0000, 0.5000])
    """
    found = dense("levels", x, dtype=dtype)
    good = (found >= 0) & (found <= 1)
    if not bool(good.all()):
        place = (~good).nonzero()[0].tolist()
        raise DataError(
            f"levels are numbers in [0, 1], got {found[tuple(place)].item():g} at {place}; "
            "rescale them"
        )
    return found


def steps_of(steps: int, dt_s: float) -> tuple[int, float]:
    """A number of steps and their length, looked at.

    Raises:
        ConfigError: no whole number from 1 on, or no finite time above 0.
    """
    return whole("steps", steps, least=1), seconds("dt_s", dt_s)


def coded(name: str, z: object) -> Tensor:
    """What a code gave, [T, ...] with a step or more, as floating numbers.

    Raises:
        ShapeError: there are no steps.

    >>> coded("spikes", torch.ones(2, 1, dtype=torch.bool)).dtype
    torch.float32
    """
    found = dense(name, z)
    if found.dim() < 1 or not len(found):
        raise ShapeError(f"{name} have steps, got shape {[*found.shape]}; give some")
    return found if found.is_floating_point() else found.to(torch.float32)


def spikes_of(z: object) -> Tensor:
    """Spikes that a decoder is given, [T, ...]: counts of them, so none is negative.

    Raises:
        DataError: one is negative, or not finite.
        ShapeError: there are no steps.

    >>> spikes_of([[1], [0]]).shape
    torch.Size([2, 1])
    """
    found = coded("spikes", z)
    fault = not_finite(found)
    if not fault and bool((found < 0).any()):
        place = (found < 0).nonzero()[0].tolist()
        fault = f"{found[tuple(place)].item():g} at {place}"
    if fault:
        raise DataError(f"spikes are finite and 0 or more, got {fault}; correct them")
    return found
