"""What writing and checking cells costs."""

from typing import final

from clnf.chip.crossbar.array import Crossbar
from clnf.chip.technology import Technology
from clnf.core.ledger import PICOSECONDS_PER_SECOND, Ledger
from clnf.devices.cell import Unknown

__all__ = ["Bill"]


@final
class Bill:
    """Charges writes and verifying reads of one chip."""

    def __init__(self, ledger: Ledger, costs: Technology) -> None:
        self.ledger = ledger
        self.costs = costs

    def pulses(self, tile: Crossbar, count: int, energy_aj: int, longest: int) -> None:
        """Charge write pulses; rows are selected one after the other."""
        rows, pulse = tile.rows.stop - tile.rows.start, tile.cell.pulse
        width_s = 0.0 if isinstance(pulse, Unknown) else pulse.width_s
        time_ps = longest * rows * round(width_s * PICOSECONDS_PER_SECOND)
        self.ledger.charge_total(
            "pulse", tile=tile.name, count=count, energy_aj=energy_aj, time_ps=time_ps
        )

    def verify(self, tile: Crossbar, weights: int) -> None:
        """Charge reading ``weights`` weights one by one, each through the ADC."""
        each = self.costs.cell_read_j * tile.cells_per_weight + self.costs.adc_j
        self.ledger.charge(
            "verify", tile=tile.name, count=weights, energy_j=each, time_s=self.costs.mvm_s
        )

    def products(self, tile: Crossbar, vectors: int) -> None:
        """Charge reading ``vectors`` whole products, each column through the ADC."""
        rows, columns = tile.rows.stop - tile.rows.start, tile.columns.stop - tile.columns.start
        cells = rows * columns * tile.cells_per_weight
        each = self.costs.cell_read_j * cells + rows * self.costs.dac_j + columns * self.costs.adc_j
        self.ledger.charge(
            "verify", tile=tile.name, count=vectors, energy_j=each, time_s=self.costs.mvm_s
        )
