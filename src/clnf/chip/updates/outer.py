"""Outer products as coincidences of pulse trains, straight from inputs and output gradients.

    E[change of the weight] = -lr d x

Stochastic: random bits (Gokmen & Vlasov, Front. Neurosci. 2016). Deterministic: evenly spread
bits, which meet BL px pd times up to rounding (after the "deterministic implicit" pulses of the
IBM Analog Hardware Acceleration Kit, Rasch et al., AICAS 2021); what rounding takes from one
vector it gives to others, see :func:`clnf.devices.encoders.encode_even`.

All cells of a tile are pulsed at once, so a vector takes twice a train's time, once for each sign
of its rows. What makes the trains costs nothing here: nobody published it for these tiles.
"""

from typing import NamedTuple

from torch import Tensor

from clnf.chip.analog import AbstractAnalog
from clnf.chip.bill import Bill
from clnf.chip.crossbar.array import Crossbar
from clnf.chip.crossbar.outer import TRAIN_BITS, How, Ready
from clnf.chip.updates.rule import PulseRule
from clnf.core.ledger import PICOSECONDS_PER_SECOND
from clnf.devices.batch_moves import pulse_vectors
from clnf.devices.cell import Unknown

__all__ = ["Due", "charge_pulses", "prepared", "pulse_prepared", "pulse_products", "way"]


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


Captured = list[tuple[list[Tensor], Tensor]]


class Due(NamedTuple):
    """A tile, what a kernel does to it, and for how many vectors."""

    tile: Crossbar
    ready: Ready
    vectors: int


def prepared(layer: AbstractAnalog, captured: Captured, lr: float, rule: PulseRule) -> list[Due]:
    """What :func:`pulse_products` would do, ready to run; nothing where that is not possible.

    Kernels push everything else out of the processor's caches, so it pays to have all of it done
    before the first one runs.
    """
    if len(captured) != 1:
        return []
    ((driven, grad),), how, dues = captured, way(rule), []
    for tile in layer.tiles:
        rows, columns = layer.unfolded(driven, tile), layer.sensed(grad, tile)
        ready = tile.ready((rows.contiguous(), columns.contiguous()), lr, how)
        if ready is None:  # tiles of a layer are alike: then the first one is not ready
            return []
        dues.append(Due(tile, ready, len(rows)))
    return dues


def pulse_prepared(layer: AbstractAnalog, dues: list[Due], bill: Bill) -> None:
    """Pulse a layer's cells with what was prepared."""
    found = [pulse_vectors(*due.ready.job) for due in dues]
    for due, moved in zip(dues, found, strict=True):
        done = due.tile.finish(due.ready, moved)
        charge_pulses(bill, due.tile, done, due.vectors * 2 * TRAIN_BITS)
    layer.refresh()


def pulse_products(
    layer: AbstractAnalog,
    captured: Captured,
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
