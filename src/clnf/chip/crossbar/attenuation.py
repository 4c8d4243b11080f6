"""What wires leave of each cell of a crossbar."""

from typing import NamedTuple

import torch
from torch import Tensor

from clnf.chip.crossbar.wires import effective_conductance
from clnf.chip.crossbar.wiring import Wires

__all__ = ["Attenuation", "attenuation"]


class Attenuation(NamedTuple):
    """Effective conductance over conductance of each cell, at one state of the cells.

    Attributes:
        state: what the cells had been through: pulses, writes, time.
        kept: [planes, M].
        level: mean conductance of each plane then, [planes, 1].
    """

    state: tuple[int, int, float]
    kept: Tensor
    level: Tensor


def attenuation(cells: Tensor, wires: Wires | None, state: tuple[int, int, float]) -> Attenuation:
    """Solve the wires of every plane.

    A cell of no conductance keeps 0, though what reaches its column by other ways is not nothing.

    Args:
        cells: S, [planes, C, R]; rows of a crossbar are the last dimension here.
        wires: around them.
        state: to remember.
    """
    assert wires is not None
    planes, now = len(cells), cells.flatten(1)
    solved = effective_conductance(cells.mT, wires).mT.reshape(planes, -1)
    kept = torch.where(now > 0, solved / now.clamp(min=1e-30), torch.zeros_like(now))
    return Attenuation(state, kept, now.mean(1, keepdim=True))
