"""Electrochemical cells: ions move in and out of a channel, steps nearly constant.

    step(w) = dw (1 - slope w / b)

Gated: the write pulse does not flow through the channel, so V^2 G t with the channel's conductance
overstates its energy. The spread of slopes from cell to cell (0.05 and less) is left out.

Source: Tang et al., IEDM 2018 (Li); Kim et al., IEDM 2019 (metal oxide).
"""

from clnf.devices import parts
from clnf.devices.cell import Cell
from clnf.devices.materials import Material

__all__ = ["cell"]


def cell(row: Material) -> Cell:
    """The cell of a row of this family."""
    return parts.assemble(row, response=parts.linear_response)
