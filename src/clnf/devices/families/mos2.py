"""Two-dimensional MoS2: switching between few states.

Published are on/off ratio, endurance and retention, no steps. Supply step, slope_up and slope_down
to pulse one with steps that fall linearly towards the bounds.

Source: arXiv 2510.20829 (wafer); the 2024 abstract of the few-layer device.
"""

from clnf.devices import parts
from clnf.devices.cell import Cell
from clnf.devices.materials import Material

__all__ = ["cell"]


def cell(row: Material) -> Cell:
    """The cell of a row of this family."""
    return parts.assemble(row, response=parts.linear_response)
