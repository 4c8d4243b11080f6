"""Cells fitted to measured pulses: whichever law of steps described them best.

What was not measured, such as drift, is added by supplying its values.
"""

from clnf.devices import parts
from clnf.devices.cell import Cell
from clnf.devices.materials import Material
from clnf.devices.response import Response

__all__ = ["cell"]


def cell(row: Material) -> Cell:
    """The cell of a row of this family."""
    return parts.assemble(row, response=_response, drift=parts.power_drift)


def _response(row: Material) -> Response:
    if "power_up" in row.values:
        return parts.power_response(row)
    if "exponential_up" in row.values:
        return parts.exponential_response(row)
    return parts.linear_response(row)
