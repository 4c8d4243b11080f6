"""Tiles of cells that hold a module's weights: converters, reads, pulses, and the bill for it."""

from clnf.chip.crossbar.access import Access, through_transistors
from clnf.chip.crossbar.laws import AbstractCellLaw, Milo, Ohmic, Polynomial, Sinh
from clnf.chip.crossbar.mapping import Mapping
from clnf.chip.crossbar.nonlinear import Operating, nonlinear_currents, nonlinear_voltages
from clnf.chip.crossbar.spice import netlist, read_currents
from clnf.chip.crossbar.wires import effective_conductance, line_currents, node_voltages
from clnf.chip.crossbar.wiring import Wires
from clnf.chip.hosting import Chip, host
from clnf.chip.program import Verify
from clnf.chip.spec import ChipSpec, ideal_chip
from clnf.chip.tile import Tile
from clnf.chip.updates import PulseOptimizer, PulseRule

__all__ = [
    "AbstractCellLaw",
    "Access",
    "Chip",
    "ChipSpec",
    "Mapping",
    "Milo",
    "Ohmic",
    "Operating",
    "Polynomial",
    "PulseOptimizer",
    "PulseRule",
    "Sinh",
    "Tile",
    "Verify",
    "Wires",
    "effective_conductance",
    "host",
    "ideal_chip",
    "line_currents",
    "netlist",
    "node_voltages",
    "nonlinear_currents",
    "nonlinear_voltages",
    "read_currents",
    "through_transistors",
]
