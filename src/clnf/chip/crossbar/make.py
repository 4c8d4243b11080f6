"""What a crossbar is made of."""

from dataclasses import dataclass
from typing import final

from clnf.chip.crossbar.mapping import Mapping
from clnf.chip.crossbar.wiring import Wires
from clnf.core.units import quantity
from clnf.devices.cell import Cell

__all__ = ["Make"]


@final
@dataclass(frozen=True, kw_only=True)
class Make:
    """What a crossbar is made of.

    Attributes:
        cell: one memory cell.
        mapping: how a weight lies on cells.
        wires: resistances around the cells; None for none.
        exact_wires: solve them at every change of a cell; else carry the last solution on.
        correct_wires: write stored cells higher by what their wires take.
        half_select: step of a half-selected cell over that of a meant one, see
            :mod:`clnf.chip.crossbar.disturb`.
        spare_columns: columns of cells beside those that are read.
        noisy: reads are noisy.
        kernels: use compiled kernels on the CPU.
    """

    cell: Cell
    mapping: Mapping = Mapping()
    wires: Wires | None = None
    exact_wires: bool = True
    correct_wires: bool = True
    half_select: float = quantity("1", 0.0)
    spare_columns: int = quantity("1", 0)
    noisy: bool = True
    kernels: bool = True
