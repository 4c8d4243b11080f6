"""What kind of chip: one frozen record, and presets that return it."""

from dataclasses import dataclass, replace
from math import inf
from typing import Literal, final

from clnf.chip.converters import ConverterKind
from clnf.chip.crossbar.make import Make
from clnf.chip.crossbar.mapping import Mapping
from clnf.chip.crossbar.wiring import Wires
from clnf.chip.program import Verify
from clnf.chip.technology import Constant
from clnf.core.errors import ConfigError
from clnf.core.inputs import check_fields, shown
from clnf.core.units import quantity
from clnf.devices.cell import Cell, Unknown
from clnf.devices.families import cell
from clnf.devices.materials import Material, material
from clnf.devices.programming import PolynomialError

__all__ = ["ChipSpec", "ideal_chip"]

# Where cells that learn borrow what their own papers do not give.
_RELATIVES = {
    "conductance_min_s": "cmo_hfox",
    "conductance_max_s": "cmo_hfox",
    "write_voltage_v": "cmo_hfox",
    "write_time_s": "hfox_generic",
    "endurance_cycles": "hfox_generic",
}


@final
@dataclass(frozen=True, kw_only=True)
class ChipSpec:
    """Materials, tile size, converters and write rules of a chip.

    Attributes:
        core: catalogue row of the cells that store, or its name. Where no programming voltage
            was published 2 V is assumed, which sets programming energy only.
        plastic: catalogue row of the cells that learn, or its name. What it lacks of window,
            pulse, endurance and read noise comes from relatives (CMO/HfOx, generic HfOx,
            ``plastic_read_noise``), and sets energy, time and life; learning only through wires.
        relatives: fill in what the rows lack as said above; False leaves it unknown.
        technology: row of ``technology.toml`` for the periphery.
        borrow: another row, for constants that the first one lacks; empty for none.
        supply: constants of your own by name, which come before both rows.
        tile_rows: rows of a tile; a longer layer becomes several tiles, summed digitally.
        tile_columns: columns of a tile.
        plastic_tile_rows: rows of a tile that learns; None: as ``tile_rows``. Long columns lose
            more in their wires, and cells that learn may conduct better than those that store.
        pairs: differential pairs per plastic weight, 1 to 1024; pulses go round them in turn.
        stored: how the weights of tiles that store lie on their cells.
        plastic_range: largest plastic weight, in units of 1/sqrt(rows of the layer).
        dac_bits: input converter; 0 switches quantisation off.
        adc_bits: output converter; 0 switches quantisation off.
        converters: bit-serial inputs, and what is wrong with output converters.
        range_sigma: converter range is at most this many root-mean-squares when calibrated.
        read_noise: how read noise becomes output noise: the exact variance (one more product
            a layer), a rank-one approximation of the cells' variances (nearly free; spread of
            an output off by 1 to 3 % on average over outputs, 17 % at worst), or none.
        plastic_read_noise: read noise of a plastic cell over its conductance. The HfO2 array
            papers give none; 1 % is what Wan et al. (Nature 2022) report for other ReRAM.
        dead_cells: include the material's share of dead cells.
        spreads: keep the materials' spreads and programming noise.
        wires: resistances around the cells of a tile; None for none.
        exact_wires: solve them anew at every change of a cell. Else they are solved when a whole
            tile was written, and the loss then goes with the mean conductance of the tile.
        correct_wires: write stored cells higher by what their wires take, to first order.
        half_select: mean step of a cell at half the amplitude over that at the whole; 0 where
            transistors or selectors keep half-selected cells still. No catalogue row gives it.
        spare_columns: of each tile that learns, to which worn columns can move.
        verify: accepted error when programming, and rounds.
        compute: number format of the simulated products of core tiles; bfloat16 rounds weights
            and sums to 8 bits, below programming noise and half an 8-bit ADC step.
        kernels: use the compiled kernels where they apply (on the CPU); else plain torch.
    """

    core: str | Material = "gst_pcm"
    plastic: str | Material = "hfo2_array_optimised"
    relatives: bool = True
    technology: str = "isaac_32nm"
    borrow: str = ""
    supply: tuple[tuple[str, Constant], ...] = ()
    tile_rows: int = quantity("1", 512)
    tile_columns: int = quantity("1", 512)
    plastic_tile_rows: int | None = quantity("1", None)
    pairs: int = quantity("1", 4)
    stored: Mapping = Mapping()
    plastic_range: float = quantity("1", 3.0)
    dac_bits: int = quantity("1", 8)
    adc_bits: int = quantity("1", 8)
    converters: ConverterKind = ConverterKind()
    range_sigma: float = quantity("1", 8.0)
    read_noise: Literal["separable", "exact", "off"] = "separable"
    plastic_read_noise: float = quantity("1", 0.01)
    dead_cells: bool = True
    spreads: bool = True
    wires: Wires | None = None
    exact_wires: bool = True
    correct_wires: bool = True
    half_select: float = quantity("1", 0.0)
    spare_columns: int = quantity("1", 0)
    verify: Verify = Verify()
    compute: Literal["float32", "bfloat16"] = "float32"
    kernels: bool = True

    def __post_init__(self) -> None:
        check_fields(self)
        rows = min(self.rows(plastic=False), self.rows(plastic=True))
        if min(rows, self.tile_columns, self.pairs) < 1 or self.pairs > 1024:
            raise ConfigError(
                "a chip needs tiles of at least 1 x 1 and at least 1 pair (at most 1024), got "
                f"{rows} x {self.tile_columns} and {self.pairs}"
            )
        for item in self.supply:
            pair = isinstance(item, tuple) and len(item) == 2
            if not (pair and isinstance(item[0], str) and isinstance(item[1], Constant)):
                raise ConfigError(
                    f"supply holds pairs of a name and a Constant, got {shown(item)}; write "
                    '(("adc_j", Constant(value=2e-12, source="...")),)'
                )
        for name, bits in (("dac_bits", self.dac_bits), ("adc_bits", self.adc_bits)):
            if bits != 0 and not 2 <= bits <= 16:
                raise ConfigError(f"{name} must be 0 (off) or 2 to 16, got {bits}")
        if self.converters.serial_bits and self.converters.serial_bits >= self.dac_bits:
            raise ConfigError(
                f"serial_bits of {self.converters.serial_bits} must be below dac_bits, which is "
                f"{self.dac_bits}: a code has one bit for its sign"
            )
        if self.converters.flawed and not self.adc_bits:
            raise ConfigError(
                "flaws of output converters are measured in their codes; got adc_bits 0, give "
                "2 to 16"
            )
        if not 0 <= self.half_select <= 1:
            raise ConfigError(f"half_select is a share of a step, 0 to 1, got {self.half_select}")
        if not 0 <= self.spare_columns <= 4096:
            raise ConfigError(f"spare_columns must be 0 to 4096, got {self.spare_columns}")
        if not 0 <= self.plastic_read_noise < inf:
            raise ConfigError(
                f"plastic_read_noise must be at least 0 and finite, got {self.plastic_read_noise}"
            )
        if not (0 < self.plastic_range < inf and 0 < self.range_sigma < inf):
            raise ConfigError(
                "plastic_range and range_sigma must be positive and finite, got "
                f"{self.plastic_range}, {self.range_sigma}"
            )

    def rows(self, *, plastic: bool) -> int:
        """Rows of tiles that learn, or that store."""
        own = self.plastic_tile_rows if plastic else None
        return self.tile_rows if own is None else own

    def make(self, *, plastic: bool) -> Make:
        """What tiles that learn, or that store, are made of."""
        one = cell(self._plastic_row() if plastic else self._core_row())
        return Make(
            cell=one if self.spreads else _without_spreads(one),
            mapping=Mapping(pairs=self.pairs) if plastic else self.stored,
            wires=self.wires,
            exact_wires=self.exact_wires,
            correct_wires=self.correct_wires,
            half_select=self.half_select,
            spare_columns=self.spare_columns if plastic else 0,
            noisy=self.read_noise != "off",
            kernels=self.kernels,
        )

    def _core_row(self) -> Material:
        row = material(self.core) if isinstance(self.core, str) else self.core
        missing = self.relatives and "write_voltage_v" in row.missing
        return row.supply(write_voltage_v=2.0) if missing else row

    def _plastic_row(self) -> Material:
        row = material(self.plastic) if isinstance(self.plastic, str) else self.plastic
        if not self.relatives:
            return row
        row = row.borrow(**_RELATIVES)
        if "read_noise_scale" not in row.values and self.plastic_read_noise:
            row = row.supply(read_noise_scale=self.plastic_read_noise)
        return row if self.dead_cells else row.supply(dead_fraction=0.0)


def _without_spreads(one: Cell) -> Cell:
    """The same cell with its mean steps alone: exact programming, no drift, no noise."""
    off, response = Unknown("switched off: the chip has no spreads"), one.response
    if not isinstance(response, Unknown):
        response = replace(
            response,
            step_spread=0.0,
            bias_spread=0.0,
            bound_max_spread=0.0,
            bound_min_spread=0.0,
            cycle_spread=0.0,
            write_noise=0.0,
            dead_fraction=0.0,
        )
    exact = PolynomialError(coefficients_s=(0.0,), unit_s=1.0)
    return replace(one, response=response, programming=exact, drift=off)


def ideal_chip(*, kernels: bool = True) -> ChipSpec:
    """A chip without any non-ideality: products equal the dense ones to float32 rounding.

    Plastic cells still move in finite steps; use it to separate faults from physics.
    """
    return ChipSpec(
        dac_bits=0,
        adc_bits=0,
        read_noise="off",
        plastic_read_noise=0.0,
        dead_cells=False,
        spreads=False,
        kernels=kernels,
    )
