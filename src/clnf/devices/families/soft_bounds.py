"""Resistive cells with soft bounds: the step shrinks to nothing as a cell nears its end of range.

    up:   w <- w + dw (1 - w / wmax) (1 + c xi)
    down: w <- w - dw (1 - w / wmin) (1 + c xi)

The HfO2 array papers give steps and their spreads only: no window in siemens, no read noise, no
drift, no endurance. Forming, and the abrupt first set of a filament, are not described.

Source: Gong & Rasch et al., IEDM 2022; equations as in Rasch et al., AICAS 2021.
"""

from clnf.devices import parts
from clnf.devices.cell import Cell
from clnf.devices.materials import Material

__all__ = ["cell"]


def cell(row: Material) -> Cell:
    """The cell of a row of this family."""
    return parts.assemble(row, response=parts.soft_response)
