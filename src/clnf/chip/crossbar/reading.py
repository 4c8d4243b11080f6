"""What all layers of a chip share while they are read, and what a read costs."""

from collections.abc import Callable, Sequence
from typing import Any, final

from clnf.chip.crossbar.tile import Tile
from clnf.chip.kernels import Columns
from clnf.chip.spec import ChipSpec
from clnf.chip.technology import Technology, technology
from clnf.core.ledger import ATTOJOULES_PER_JOULE, PICOSECONDS_PER_SECOND, Ledger
from clnf.devices.dispatch import run

__all__ = ["Circuit", "Columns", "ReadCharges"]


@final
class Circuit:
    """Switches, clock and ledger of one chip, seen by all its layers.

    Attributes:
        noisy: read noise is on.
        converting: converters quantise.
        calibrating: converters widen their ranges to what they see.
        now_s: simulated time.
    """

    def __init__(self, spec: ChipSpec, seed: int, ledger: Ledger) -> None:
        self.spec = spec
        self.seed = seed
        self.ledger = ledger
        self.costs: Technology = technology(spec.technology, spec.adc_bits or 8)
        self.noisy = spec.read_noise != "off"
        self.converting = True
        self.calibrating = False
        self.now_s = 0.0

    def run(
        self, kernel: Callable[..., Any], plain: Callable[..., Any], args: tuple[Any, ...]
    ) -> int:
        """Run the compiled kernel on the CPU, the torch reference elsewhere."""
        return int(run(kernel, plain, args, compiled=self.spec.kernels))


@final
class ReadCharges:
    """Charges of one vector through each tile of a layer, worked out once.

    Forward: drive the rows, let every cell conduct, convert each column, add the partial sums,
    move 8-bit inputs and 16-bit sums through the buffer. Backward: rows and columns swap.
    """

    def __init__(self, tiles: Sequence[Tile], circuit: Circuit) -> None:
        costs = circuit.costs
        self._forward: list[tuple[str, str, int, int, int]] = []
        self._backward: list[tuple[str, str, int, int, int]] = []
        mvm_ps = round(costs.mvm_s * PICOSECONDS_PER_SECOND)
        for tile in tiles:
            rows = tile.rows.stop - tile.rows.start
            columns = tile.columns.stop - tile.columns.start
            cells = rows * columns * tile.cells_per_weight
            for rowlist, drives, senses in (
                (self._forward, rows, columns),
                (self._backward, columns, rows),
            ):
                rowlist += [
                    ("read", tile.name, cells, _aj(costs.cell_read_j), mvm_ps),
                    ("dac", tile.name, drives, _aj(costs.dac_j), 0),
                    ("adc", tile.name, senses, _aj(costs.adc_j), 0),
                    ("shift_add", tile.name, senses, _aj(costs.shift_add_j), 0),
                    ("buffer", tile.name, 8 * drives + 16 * senses, _aj(costs.buffer_bit_j), 0),
                ]

    def forward(self, vectors: int, ledger: Ledger) -> None:
        """Charge ``vectors`` products."""
        _charge(self._forward, vectors, ledger)

    def backward(self, vectors: int, ledger: Ledger) -> None:
        """Charge ``vectors`` products driven from the column side."""
        _charge(self._backward, vectors, ledger)


def _aj(energy_j: float) -> int:
    return round(energy_j * ATTOJOULES_PER_JOULE)


def _charge(rows: list[tuple[str, str, int, int, int]], vectors: int, ledger: Ledger) -> None:
    for op, tile, count, energy_aj, time_ps in rows:
        ledger.charge_total(
            op,
            tile=tile,
            count=vectors * count,
            energy_aj=vectors * count * energy_aj,
            time_ps=vectors * time_ps,
        )
