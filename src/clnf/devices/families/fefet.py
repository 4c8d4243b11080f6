"""Ferroelectric transistors: domains flip one after the other, which the gate reads as a level.

Published are numbers of levels, endurance and retention, no steps and no spreads. Supply step,
slope_up and slope_down to pulse one with steps that fall linearly towards the bounds. That
domains flip by amplitude rather than by number of pulses is not described.

Source: Ni et al. 2018; EDL 2017; Nat. Commun. 2022 (28 nm); see the catalogue's rows.
"""

from clnf.devices import parts
from clnf.devices.cell import Cell
from clnf.devices.materials import Material

__all__ = ["cell"]


def cell(row: Material) -> Cell:
    """The cell of a row of this family."""
    return parts.assemble(row, response=parts.linear_response)
