"""Outer products as coincidences of pulse trains, straight from inputs and output gradients.

    E[change of the weight] = -lr d x

Stochastic: random bits (Gokmen & Vlasov, Front. Neurosci. 2016). Deterministic: evenly spread
bits, which meet BL px pd times up to rounding (after the "deterministic implicit" pulses of the
IBM Analog Hardware Acceleration Kit, Rasch et al., AICAS 2021); what rounding takes from one
vector it gives to others, see :func:`clnf.devices.encoders.encode_even`.

All cells of a tile are pulsed at once, so a vector takes twice a train's time, once for each sign
of its rows. What makes the trains costs nothing here: nobody published it for these tiles.
"""

from torch import Tensor

from clnf.chip.analog import AbstractAnalog
from clnf.chip.bill import Bill
from clnf.chip.crossbar.array import Crossbar
from clnf.chip.crossbar.outer import TRAIN_BITS, How
from clnf.chip.updates.rule import PulseRule
from clnf.core.ledger import PICOSECONDS_PER_SECOND
from clnf.devices.cell import Unknown

__all__ = ["charge_pulses", "pulse_products", "way"]


def way(rule: PulseRule) -> How:
    """How a rule makes pulses of outer products."""
    return How(even=rule.mode == "deterministic", together=rule.together)


def charge_pulses(bill: Bill, tile: Crossbar, moved: tuple[int, int, int], slots: int) -> None:
    """Charge pulses that took ``slots`` pulse widths, whatever number of cells they reached."""
    pulse = tile.cell.pulse
    width_s = 0.0 if isinstance(pulse, Unknown) else pulse.width_s
    time_ps = slots * round(width_s * PICOSECONDS_PER_SECOND)
    bill.ledger.charge_total(
        "pulse", tile=tile.name, count=moved[0], energy_aj=moved[1], time_ps=time_ps
    )


def pulse_products(
    layer: AbstractAnalog,
    captured: list[tuple[list[Tensor], Tensor]],
    lr: float,
    rule: PulseRule,
    bill: Bill,
) -> None:
    """Pulse a layer's cells with what its backward passes left."""
    for driven, grad in captured:
        for tile in layer.tiles:
            rows, columns = layer.unfolded(driven, tile), layer.sensed(grad, tile)
            moved = tile.pulse_outer(rows, columns, lr, how=way(rule), now_s=layer.circuit.now_s)
            charge_pulses(bill, tile, moved, len(rows) * 2 * TRAIN_BITS)
    layer.refresh()
