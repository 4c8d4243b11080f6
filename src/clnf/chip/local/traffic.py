"""What travels between groups of tiles while a lesson is taught, in bits, and what that costs.

A group is the tiles of one layer and the digital parts beside them. Through the router go

    activations   8 bits each, to every group that takes them in
    partial sums  16 bits each, where the rows of a layer are several tiles
    errors        8 bits each, to the group whose cells they move
    labels        8 bits each, to every group with a loss of its own

A bit costs ``routing_bit_j`` of the chip's technology (ISAAC's router, see ``technology.toml``),
and is a row "routing" in the ledger. Reads charge what they need by themselves
(:class:`clnf.chip.circuit.ReadCharges`); what comes here on top is what no read stands for, and
what is in a group already (:func:`held`) comes off. The loss of the whole net stands beside no
group: what comes out of the last one is not counted, the errors that go back to it are, for every
method alike. Digital work on single numbers (activations, pooling, losses) is not charged, for any.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, cast, final

from torch import Tensor

from clnf.chip.analog import AbstractAnalog
from clnf.chip.circuit import Circuit, ReadCharges
from clnf.core.ledger import ATTOJOULES_PER_JOULE, Ledger

__all__ = ["ERROR_BITS", "LABEL_BITS", "Inside", "Traffic", "held", "unread"]

ACTIVATION_BITS = 8
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

    def activations(self, layer: AbstractAnalog, values: Tensor) -> None:
        """Charge activations or states that arrive at a group, where no read of it says so."""
        self._charge(layer, ACTIVATION_BITS * values.numel())

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


class _Standing(ABC):
    """Charges of a layer that differ from its own, which stay behind them.

    Args:
        charges: of the layer by itself.
    """

    def __init__(self, charges: Any) -> None:
        self._charges: ReadCharges = charges

    @abstractmethod
    def forward(self, vectors: int, positions: int, ledger: Ledger) -> None:
        """Charge products of an input."""

    @abstractmethod
    def backward(self, vectors: int, positions: int, ledger: Ledger) -> None:
        """Charge products driven from the column side."""

    def zero(self, part: int, ledger: Ledger) -> None:
        """Charge conversions of nothing."""
        self._charges.zero(part, ledger)


@final
class Inside(_Standing):
    """Charges of a layer that stands in the group of another: as they were, but for the router."""

    @classmethod
    def place(cls, layer: AbstractAnalog) -> None:
        """Put a layer into the group it reads from and writes to, unless it is there."""
        charges: Any = layer.charges
        if not isinstance(charges, cls):
            layer.charges = cast(Any, cls(layer.charges))

    def forward(self, vectors: int, positions: int, ledger: Ledger) -> None:
        _unrouted(lambda own: self._charges.forward(vectors, positions, own), ledger)

    def backward(self, vectors: int, positions: int, ledger: Ledger) -> None:
        _unrouted(lambda own: self._charges.backward(vectors, positions, own), ledger)


@final
class _Rows(_Standing):
    """What goes in is in the group: only partial sums travel."""

    def forward(self, vectors: int, positions: int, ledger: Ledger) -> None:
        # Inputs are what a read charges for positions, see ReadCharges.
        self._charges.forward(vectors, 0, ledger)

    def backward(self, vectors: int, positions: int, ledger: Ledger) -> None:
        self._charges.backward(vectors, positions, ledger)


@final
class _Columns(_Standing):
    """What drives the columns is in the group: only partial sums travel."""

    def forward(self, vectors: int, positions: int, ledger: Ledger) -> None:
        self._charges.forward(vectors, positions, ledger)

    def backward(self, vectors: int, positions: int, ledger: Ledger) -> None:
        _unrouted(lambda own: self._charges.backward(vectors, positions, own), ledger)
        self._charges.backward(0, positions, ledger)


@final
class _Nothing(_Standing):
    """No read at all."""

    def forward(self, vectors: int, positions: int, ledger: Ledger) -> None:
        pass

    def backward(self, vectors: int, positions: int, ledger: Ledger) -> None:
        pass

    def zero(self, part: int, ledger: Ledger) -> None:
        pass


@contextmanager
def held(
    layers: Iterable[AbstractAnalog], *, rows: bool = False, columns: bool = False
) -> Iterator[None]:
    """Inside, what drives these layers is in their groups, and comes through no router.

    Args:
        layers: which.
        rows: their inputs.
        columns: what drives them from the other side.
    """
    kinds = [kind for kind, wanted in ((_Rows, rows), (_Columns, columns)) if wanted]
    with _standing(layers, *kinds):
        yield


@contextmanager
def unread(layers: Iterable[AbstractAnalog]) -> Iterator[None]:
    """Inside, passages only collect what pulses are made of from where it is: they read nothing."""
    with _standing(layers, _Nothing):
        yield


@contextmanager
def _standing(
    layers: Iterable[AbstractAnalog], *kinds: Callable[[Any], _Standing]
) -> Iterator[None]:
    kept = [(layer, layer.charges) for layer in layers]
    for layer, charges in kept:
        for kind in kinds:
            charges = cast(Any, kind(charges))
        layer.charges = charges
    try:
        yield
    finally:
        for layer, charges in kept:
            layer.charges = charges


def _unrouted(charge: Callable[[Ledger], None], ledger: Ledger) -> None:
    scratch = Ledger()
    charge(scratch)
    for tile, _, op, count, energy_aj, time_ps in scratch.state():
        if op != "routing":
            ledger.charge_total(op, tile=tile, count=count, energy_aj=energy_aj, time_ps=time_ps)
