"""What wires leave of each cell of a crossbar, and how to write cells so that it is what was meant.

The cell at row i and column j loses, to first order in the resistances, the share

    x_ij = sum_l Rw min(j, l) G_il + sum_k Rb min(i, k) G_kj

with i counted from where columns end and j from where rows are driven, both from 1, Rw and Rb the
resistance of a segment; a driver's and a read-out's resistance adds to every term of its sum. What
is left of the cell is about 1 / (1 + x).
"""

from typing import NamedTuple

import torch
from torch import Tensor

from clnf.chip.crossbar.wires import effective_conductance
from clnf.chip.crossbar.wiring import Wires

__all__ = ["Attenuation", "aimed", "solution", "solve"]


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


def solve(cells: Tensor, wires: Wires | None, state: tuple[int, int, float]) -> Attenuation:
    """Solve the wires of every plane.

    A cell of no conductance keeps 0, though what reaches its column by other ways is not nothing.

    Args:
        cells: S, [planes, C, R]; rows of a crossbar are the last dimension here.
        wires: around them.
        state: to remember.
    """
    assert wires is not None
    return solution(cells, effective_conductance(cells.mT, wires).mT, state)


def solution(cells: Tensor, effective_s: Tensor, state: tuple[int, int, float]) -> Attenuation:
    """What wires leave of cells, of which ``effective_s`` is left; all [planes, C, R]."""
    now, effective = cells.flatten(1), effective_s.reshape(len(cells), -1)
    kept = torch.where(now > 0, effective / now.clamp(min=1e-30), torch.zeros_like(now))
    return Attenuation(state, kept, now.mean(1, keepdim=True))


def aimed(wanted_s: Tensor, wires: Wires, window_s: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """Where to write cells for what is left of them behind their wires to be what is wanted.

    Each target is raised by its first-order loss. A column whose targets then lie beyond the window
    is written smaller as a whole, which its digital scale undoes.

    Args:
        wanted_s: effective conductances, S, [planes, C, R].
        wires: around them.
        window_s: lowest and highest conductance of a cell, S.

    Returns:
        Conductances to write, [planes, C, R], and the factor of each column, [C], at most 1.
    """
    low, high = window_s
    raised = wanted_s * (1.0 + _loss(wanted_s, wires))
    factor = (high / raised.amax((0, 2)).clamp(min=high)).clamp(max=1.0)
    return (raised * factor[:, None]).clamp(low, high), factor


def _loss(cells: Tensor, wires: Wires) -> Tensor:
    """Share of each cell's current that its wires take, to first order."""
    sides = [1] * (wires.rows_from == "right") + [2] * (wires.columns_to == "bottom")
    near = cells.double().flip(sides)
    word = wires.word_ohm * _shared(near, 1) + wires.source_ohm * near.sum(1, keepdim=True)
    bit = wires.bit_ohm * _shared(near, 2) + wires.sink_ohm * near.sum(2, keepdim=True)
    return (word + bit).flip(sides).to(cells.dtype)


def _shared(cells: Tensor, side: int) -> Tensor:
    """sum_l min(j, l) G_l along a side: what flows through each segment, summed on the way in."""
    return cells.flip(side).cumsum(side).flip(side).cumsum(side)
