"""Conductive bridges: a metal filament grows and dissolves, the step falls along the way.

The source labels the nonlinearity of its steps (2.40 up, -4.88 down) in a way whose relation to a
law of steps was not published with it. Supply step, slope_up and slope_down to pulse one.

Source: the NeuroSim manual's Ag:a-Si row, its attribution unverified.
"""

from clnf.devices import parts
from clnf.devices.cell import Cell
from clnf.devices.materials import Material

__all__ = ["cell"]


def cell(row: Material) -> Cell:
    """The cell of a row of this family."""
    return parts.assemble(row, response=parts.linear_response)
