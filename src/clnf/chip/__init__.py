"""Tiles of cells that hold a module's weights: converters, reads, pulses, and the bill for it."""

from clnf.chip.crossbar.wires import Wires, effective_conductance, line_currents, node_voltages
from clnf.chip.hosting import Chip, host
from clnf.chip.spec import ChipSpec, ideal_chip
from clnf.chip.tile import Tile
from clnf.chip.updates import PulseOptimizer, PulseRule

__all__ = [
    "Chip",
    "ChipSpec",
    "PulseOptimizer",
    "PulseRule",
    "Tile",
    "Wires",
    "effective_conductance",
    "host",
    "ideal_chip",
    "line_currents",
    "node_voltages",
]
