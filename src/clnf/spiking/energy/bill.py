"""Joules for operations: ranges by item, what no figure is known for, and lines in a ledger.

    energy of an item = count * joules of one operation

The front end comes in by its events, which cost what its circuit costs (:class:`FrontEnd`);
learning by the counts it told. An item that was counted and has no figure is named in ``unknown``
and is not in the sum: a bill with unknown items is a lower end, however wide its range is.
"""

from dataclasses import dataclass
from typing import final

from clnf.core.errors import DeviceLimitError
from clnf.core.inputs import whole
from clnf.core.ledger import Ledger
from clnf.core.units import quantity
from clnf.spiking.coding.frontend import FrontEnd
from clnf.spiking.energy.counts import Counts
from clnf.spiking.energy.figures import Figures, Joules

__all__ = ["EnergyBill", "bill", "charge"]

_COUNTED = {
    "synaptic_operation_j": "synaptic_operations",
    "active_update_j": "active_updates",
    "spike_j": "spikes",
    "memory_bit_j": "memory_bits",
    "trace_update_j": "trace_updates",
    "weight_update_j": "weight_updates",
    "weight_write_j": "weight_writes",
}


@final
@dataclass(frozen=True, kw_only=True)
class EnergyBill:
    """What operations cost together.

    Attributes:
        chip: whose figures were taken.
        items: joules by item.
        counts: operations by item.
        unknown: items that were counted and have no figure, with the reason.
        samples: inferences or lessons in it.
    """

    chip: str
    items: dict[str, Joules]
    counts: dict[str, int]
    unknown: dict[str, str]
    samples: int = quantity("1", 1)

    @property
    def total(self) -> Joules:
        """The sum of all known items."""
        found = Joules(typical=0.0)
        for one in self.items.values():
            found = found + one
        return found

    @property
    def each(self) -> Joules:
        """The sum for one sample."""
        return self.total.times(1 / self.samples)


def _numbers(counts: Counts) -> dict[str, int]:
    found = {item: getattr(counts, name) for item, name in _COUNTED.items()}
    found["idle_update_j"] = counts.updates - counts.active_updates
    return found


def bill(
    counts: Counts, by: Figures, *, samples: int = 1, front: tuple[FrontEnd, int] | None = None
) -> EnergyBill:
    """What operations cost on a chip.

    Args:
        counts: of a layer or a net.
        by: figures of the chip.
        samples: inferences or lessons that were counted together.
        front: what made the events and how many it made; None for events from elsewhere.

    Raises:
        ConfigError: samples or events are no counts.

    >>> from clnf.spiking.energy.figures import figures
    >>> found = bill(Counts(synaptic_operations=1000), figures("loihi"))
    >>> f"{found.total.low * 1e9:.1f} to {found.total.high * 1e9:.1f} nJ"
    '23.6 to 35.5 nJ'
    """
    items, told, unknown = dict[str, Joules](), dict[str, int](), dict[str, str]()
    for item, number in _numbers(counts).items():
        if not number:
            continue
        told[item] = number
        if item in by.joules:
            items[item] = by.joules[item].times(number)
        elif item != "memory_bit_j" or item not in by.gaps:
            unknown[item] = by.gaps.get(item, "not published")
    if front is not None:
        number = told["front_event_j"] = whole("events of the front end", front[1], least=0)
        cost = number * front[0].event_j
        items["front_event_j"] = Joules(low=cost, typical=cost, high=cost)
    return EnergyBill(
        chip=by.name, items=items, counts=told, unknown=unknown,
        samples=whole("samples", samples, least=1),
    )  # fmt: skip


def charge(ledger: Ledger, found: EnergyBill, *, tile: str) -> None:
    """Write the typical energies of a bill into a ledger, an operation a line.

    Args:
        ledger: whose lesson is charged.
        found: the bill.
        tile: what is charged, such as a layer.

    Raises:
        DeviceLimitError: an item has no typical figure, only ends; nothing is charged then.
    """
    vague = [item for item, one in found.items.items() if one.typical is None]
    if vague:
        raise DeviceLimitError(
            f"{found.chip} has no typical figure of {', '.join(vague)}, only ends; supply(...) one"
        )
    for item, one in found.items.items():
        ledger.charge_total(
            item.removesuffix("_j").replace("_", " "),
            tile=tile,
            count=found.counts[item],
            energy_aj=round((one.typical or 0.0) * 10**18),
        )
