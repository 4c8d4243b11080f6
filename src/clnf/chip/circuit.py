"""What all layers of a chip share while they are read, and what a read costs."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, final

from clnf.chip.crossbar.array import Crossbar
from clnf.chip.spec import ChipSpec
from clnf.chip.technology import Technology, technology
from clnf.chip.wiring import Spot, Wiring
from clnf.core.ledger import ATTOJOULES_PER_JOULE, PICOSECONDS_PER_SECOND, Ledger
from clnf.devices.dispatch import run

__all__ = ["Circuit", "ReadCharges"]


@final
class Circuit:
    """Switches, clock and ledger of one chip, seen by all its layers.

    Attributes:
        planes: products per input: one, or one for each group of bits driven together.
        noisy: read noise is on.
        converting: converters quantise.
        calibrating: converters widen their ranges to what they see.
        now_s: simulated time.
    """

    def __init__(self, spec: ChipSpec, seed: int, ledger: Ledger) -> None:
        self.spec = spec
        self.seed = seed
        self.ledger = ledger
        serial = spec.converters.serial_bits
        self.planes = -(-(spec.dac_bits - 1) // serial) if serial else 1
        self.costs: Technology = technology(
            spec.technology,
            spec.adc_bits or 8,
            dac_bits=serial or spec.dac_bits or 8,
            borrow=spec.borrow,
            supply=dict(spec.supply),
        )
        self.noisy = spec.read_noise != "off"
        self.converting = True
        self.calibrating = False
        self.now_s = 0.0

    def run(
        self, kernel: Callable[..., Any], plain: Callable[..., Any], args: tuple[Any, ...]
    ) -> int:
        """Run the compiled kernel on the CPU, the torch reference elsewhere."""
        return int(run(kernel, plain, args, compiled=self.spec.kernels))


class _Row(NamedTuple):
    """One line of the bill: operations per vector and per position, cost of each, time."""

    op: str
    tile: str
    per_vector: int
    per_position: int
    energy_aj: int
    time_ps: int


@final
class ReadCharges:
    """Charges of one vector through each tile of a layer, worked out once.

    Forward: drive the rows, let every cell conduct, convert each column and add it up, once for
    each plane of bits; move 8-bit inputs and 16-bit sums through the buffer. Through the router
    go the inputs, once for each position of the input however many vectors see it, and the
    16-bit partial sums of all row parts but the first. Backward: rows and columns swap. Where the
    taps of one channel are more than a tile has rows, the tile stands for a stack of tiles, and
    each of them converts; a sliced weight has a column for each slice.
    """

    def __init__(
        self, tiles: Sequence[Crossbar], spots: Sequence[Spot], wiring: Wiring, circuit: Circuit
    ) -> None:
        self.circuit = circuit
        self._forward: list[_Row] = []
        self._backward: list[_Row] = []
        self._zero: list[tuple[int, str, int]] = []
        for tile, spot in zip(tiles, spots, strict=True):
            rows = tile.rows.stop - tile.rows.start
            columns = tile.columns.stop - tile.columns.start
            cells = rows * columns * tile.cells_per_weight
            inputs = rows // wiring.unit
            travelling = columns * (spot.stack - (spot.part == 0))
            lines = columns * spot.stack * tile.make.mapping.slices
            self._zero.append((spot.part, tile.name, lines))
            self._forward += self._product(tile.name, cells, rows, lines)
            self._forward.append(self._move(tile.name, 16 * travelling, 8 * inputs))
            self._backward += self._product(tile.name, cells, lines, rows)
            later = spot.columns.start % wiring.columns > 0
            self._backward.append(self._move(tile.name, 8 * columns, 16 * inputs * later))

    def _product(self, name: str, cells: int, drives: int, senses: int) -> list[_Row]:
        costs, planes = self.circuit.costs, self.circuit.planes
        mvm_ps = planes * round(costs.mvm_s * PICOSECONDS_PER_SECOND)
        bits = 8 * drives + 16 * senses
        return [
            _Row("read", name, planes * cells, 0, _aj(costs.cell_read_j), mvm_ps),
            _Row("dac", name, planes * drives, 0, _aj(costs.dac_j), 0),
            _Row("adc", name, planes * senses, 0, _aj(costs.adc_j), 0),
            _Row("shift_add", name, planes * senses, 0, _aj(costs.shift_add_j), 0),
            _Row("buffer", name, bits, 0, _aj(costs.buffer_bit_j), 0),
        ]

    def _move(self, name: str, per_vector: int, per_position: int) -> _Row:
        energy_aj = _aj(self.circuit.costs.routing_bit_j)
        return _Row("routing", name, per_vector, per_position, energy_aj, 0)

    def forward(self, vectors: int, positions: int, ledger: Ledger) -> None:
        """Charge ``vectors`` products of an input with ``positions`` positions."""
        _charge(self._forward, vectors, positions, ledger)

    def backward(self, vectors: int, positions: int, ledger: Ledger) -> None:
        """Charge ``vectors`` products driven from the column side."""
        _charge(self._backward, vectors, positions, ledger)

    def zero(self, part: int, ledger: Ledger) -> None:
        """Charge one conversion of nothing for each column of one row part."""
        for mine, name, columns in self._zero:
            if mine == part:
                ledger.charge("adc", tile=name, count=columns, energy_j=self.circuit.costs.adc_j)


def _aj(energy_j: float) -> int:
    return round(energy_j * ATTOJOULES_PER_JOULE)


def _charge(rows: list[_Row], vectors: int, positions: int, ledger: Ledger) -> None:
    for op, tile, per_vector, per_position, energy_aj, time_ps in rows:
        count = vectors * per_vector + positions * per_position
        ledger.charge_total(
            op, tile=tile, count=count, energy_aj=count * energy_aj, time_ps=vectors * time_ps
        )
