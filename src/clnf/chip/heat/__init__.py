"""Heat on the chip: from joules in the ledger to kelvins, and what kelvins do to cells.

One call tells how warm a chip gets by a lesson, or by any other work of its tiles:

    chip_temperatures(chip, did, housing=None, *, network=None) -> Temperatures

    did       a lesson's name in the ledger, or {tile: Work} from ``power.work(rows, before)``
    housing   Housing(cooling=Cooling(package_k_w=..., ambient_k=...), pitch_m=..., at_once=...,
              limit_k=...)
    network   thermal_network(chip, housing), made once where many lessons are asked about

    Temperatures.tiles_k    kelvins of each tile, which ``effects.warm(chip, tiles_k)`` applies
    Temperatures.peaks_k    of the hottest cell of each tile
    Temperatures.hottest_k  of all, in the tile Temperatures.hottest
    Temperatures.slower     by which work must wait to stay below the limit; 1 where it need not

*solve* and *transient* give kelvins of layers from watts, *plan*, *power* and *network* watts and
resistances of tiles, *effects* what kelvins do to cells, *throttle*, *sweep* and *calibrate* what
to do about them.
"""

from clnf.chip.heat.network import Cooling
from clnf.chip.heat.solve import Steady
from clnf.chip.heat.stack import Layer, Solid, Stack, hotspot_stack, tile_stack
from clnf.chip.heat.temperatures import Housing, Temperatures, chip_temperatures, thermal_network
from clnf.chip.heat.transient import Transient

__all__ = [
    "Cooling",
    "Housing",
    "Layer",
    "Solid",
    "Stack",
    "Steady",
    "Temperatures",
    "Transient",
    "chip_temperatures",
    "hotspot_stack",
    "thermal_network",
    "tile_stack",
]
