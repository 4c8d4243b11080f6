"""Heat on the chip: from joules in the ledger to kelvins, and what kelvins do to cells."""

from clnf.chip.heat.solve import Steady
from clnf.chip.heat.stack import Layer, Solid, Stack, hotspot_stack, tile_stack
from clnf.chip.heat.transient import Transient

__all__ = ["Layer", "Solid", "Stack", "Steady", "Transient", "hotspot_stack", "tile_stack"]
