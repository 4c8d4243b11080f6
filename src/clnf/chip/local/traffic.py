"""What travels between groups of tiles while a lesson is taught, in bits, and what that costs.

A group is the tiles of one layer and the digital parts beside them. Through the router go

    activations   8 bits each, to every group that takes them in
    partial sums  16 bits each, where the rows of a layer are several tiles
    errors        8 bits each, to the group whose cells they move
    labels        8 bits each, to every group with a loss of its own

A bit costs ``routing_bit_j`` of the chip's technology (ISAAC's router, see ``technology.toml``),
and is a row "routing" in the ledger. Reads charge what they need by themselves
(:class:`clnf.chip.circuit.ReadCharges`); what comes here on top is what no read stands for. The
loss of the whole net stands beside no group: what comes out of the last one is not counted, the
errors that go back to it are, for every method alike.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast, final

from torch import Tensor

from clnf.chip.analog import AbstractAnalog
from clnf.chip.circuit import Circuit, ReadCharges
from clnf.core.ledger import ATTOJOULES_PER_JOULE, Ledger

__all__ = ["ERROR_BITS", "LABEL_BITS", "Inside", "Traffic"]

ERROR_BITS = 8
LABEL_BITS = 8


@final
class Traffic:
    """Bits through the router by what they carry, taken from the ledger as they are charged.

    Args:
        circuit: whose ledger and technology.

    Attributes:
        bits: so far, by kind: "activations", "errors", "feedback", "labels" ...
        samples: inputs taught so far.
    """

    def __init__(self, circuit: Circuit) -> None:
        self.circuit = circuit
        self.bits: dict[str, int] = {}
        self.samples = 0

    @property
    def bytes_per_sample(self) -> dict[str, float]:
        """Bytes moved for one input, by kind."""
        return {kind: bits / 8 / max(self.samples, 1) for kind, bits in self.bits.items()}

    @property
    def energy_j(self) -> float:
        """What moving all of them took."""
        return sum(self.bits.values()) * self.circuit.costs.routing_bit_j

    @contextmanager
    def counting(self, kind: str) -> Iterator[None]:
        """Whatever is charged to the router inside is of one kind."""
        before = self._routed()
        yield
        self.bits[kind] = self.bits.get(kind, 0) + self._routed() - before

    def errors(self, layer: AbstractAnalog, gradient: Tensor) -> None:
        """Charge errors that arrive at a layer's columns, for each run of its rows."""
        self._charge(layer, ERROR_BITS * gradient.numel() * len(layer.channels))

    def labels(self, layer: AbstractAnalog, labels: Tensor) -> None:
        """Charge labels that arrive at a group."""
        self._charge(layer, LABEL_BITS * labels.numel())

    def _charge(self, layer: AbstractAnalog, bits: int) -> None:
        each_aj = round(self.circuit.costs.routing_bit_j * ATTOJOULES_PER_JOULE)
        self.circuit.ledger.charge_total(
            "routing", tile=layer.tiles[0].name, count=bits, energy_aj=bits * each_aj
        )

    def _routed(self) -> int:
        return self.circuit.ledger.total(op="routing").count


@final
class Inside:
    """Charges of a layer that stands in the group of another: as they were, but for the router.

    Args:
        charges: of the layer by itself.
    """

    def __init__(self, charges: ReadCharges) -> None:
        self._charges = charges

    @classmethod
    def place(cls, layer: AbstractAnalog) -> None:
        """Put a layer into the group it reads from and writes to, unless it is there."""
        charges: Any = layer.charges
        if not isinstance(charges, cls):
            layer.charges = cast(Any, cls(layer.charges))

    def forward(self, vectors: int, positions: int, ledger: Ledger) -> None:
        """Charge products of an input that is already there."""
        scratch = Ledger()
        self._charges.forward(vectors, positions, scratch)
        _take_over(scratch, ledger)

    def backward(self, vectors: int, positions: int, ledger: Ledger) -> None:
        """Charge products driven from the column side by errors made there."""
        scratch = Ledger()
        self._charges.backward(vectors, positions, scratch)
        _take_over(scratch, ledger)

    def zero(self, part: int, ledger: Ledger) -> None:
        """Charge conversions of nothing."""
        self._charges.zero(part, ledger)


def _take_over(scratch: Ledger, ledger: Ledger) -> None:
    for tile, _, op, count, energy_aj, time_ps in scratch.state():
        if op != "routing":
            ledger.charge_total(op, tile=tile, count=count, energy_aj=energy_aj, time_ps=time_ps)
