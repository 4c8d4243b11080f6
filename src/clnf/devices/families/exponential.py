"""Cells whose step changes exponentially with the state.

    step(w) = dw max(0, 1 - A exp(d gamma z)),  z = 2 a w / (wmax - wmin) + b

The single HfO2 device, and phase-change cells as they are trained: those are one-sided, only
pulses up are gradual, and a pair is refreshed when it fills up. The pulse down of that row is as
steep as its source has it and stands for no melting.

Source: Gong et al., Nat. Commun. 2018; Nandakumar et al., Front. Neurosci. 2020.
"""

from clnf.devices import parts
from clnf.devices.cell import Cell
from clnf.devices.materials import Material

__all__ = ["cell"]


def cell(row: Material) -> Cell:
    """The cell of a row of this family."""
    return parts.assemble(row, response=parts.exponential_response)
