"""Tiles of cells that hold a module's weights: converters, reads, pulses, and the bill for it."""

from clnf.chip.crossbar.wires import Wires, effective_conductance, line_currents, node_voltages

__all__ = ["Wires", "effective_conductance", "line_currents", "node_voltages"]
