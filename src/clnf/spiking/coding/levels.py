"""Numbers that are to be coded: in [0, 1], each looked at once."""

import torch
from torch import Tensor

from clnf.core.errors import DataError
from clnf.core.inputs import number, whole
from clnf.core.tensors import dense

__all__ = ["levels", "steps_of"]


def levels(x: object) -> Tensor:
    """Numbers in [0, 1], float32.

    Raises:
        DataError: one is outside, or is no number.

    >>> levels([0, 0.5])
    tensor([0.0000, 0.5000])
    """
    found = dense("levels", x, dtype=torch.float32)
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
        ConfigError: no whole number from 1 on, or no number.
    """
    return whole("steps", steps, least=1), number("dt_s", dt_s)
