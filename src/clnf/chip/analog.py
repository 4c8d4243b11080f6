"""What analog layers share: the read path, and the way back for gradients.

    x -> DAC -> matrix of conductances + read noise -> ADC -> digital scale and bias

Rows beyond a tile's height become further tiles; each partial sum is converted by itself and
added digitally. With bit-serial inputs each plane of bits is a product and a conversion of its
own, and the results are shifted and added. The way back (gradients to inputs) goes through the
same conductances with the array driven from the other side; it is simulated without noise or
conversion and charged like a forward read. Straight-through: quantisation and clipping do not
change gradients.

Legend: P vectors, G groups, C channels, R rows, O outputs (columns).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Self, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from clnf.chip import kernels, reference
from clnf.chip.circuit import Circuit, ReadCharges
from clnf.chip.converters import Converter, column_flaws
from clnf.chip.crossbar.array import Crossbar
from clnf.chip.crossbar.partition import partition
from clnf.chip.kernels import Columns, FlawedColumns
from clnf.chip.readback import LayerReader
from clnf.chip.stored import below
from clnf.chip.through import Through
from clnf.chip.wiring import Part, Spot, Wiring
from clnf.core.errors import DeviceLimitError
from clnf.core.rng import fold
from clnf.devices.draws import hash_key

__all__ = ["AbstractAnalog"]


_SENSE: dict[bool, tuple[Callable[..., int], Callable[..., int]]] = {
    False: (kernels.sense, reference.sense),
    True: (kernels.sense_flawed, reference.sense_flawed),
}


class AbstractAnalog(nn.Module, ABC):
    """What linear and convolution layers on tiles share.

    Attributes:
        weight: digital view of what the cells read now; a gradient arrives at plastic ones.
        bias: digital, or None.
        tiles: all tiles of the layer: row part by row part, group by group, column by column.
        plastic: whether pulses may change the cells.
        wiring: how the weight lies on the tiles.
        waiting: whether its weights still wait to be written; see :attr:`blank`.
        capture: None, or a list where each backward pass leaves its inputs and output gradients
            for pulses made of outer products. In training mode no gradient of the weights is
            worked out then, and ``weight.grad`` stays None; in evaluation mode it is, for those
            who measure it.
    """

    weight: nn.Parameter
    bias: nn.Parameter | None
    # Whether a run of rows is read with the weight's own columns and rows, as linear layers do.
    flat = False

    def __init__(
        self, name: str, leaf: nn.Module, circuit: Circuit, wiring: Wiring, *, plastic: bool
    ) -> None:
        super().__init__()
        self.name, self.circuit, self.plastic, self.wiring = name, circuit, plastic, wiring
        weight = cast(Tensor, leaf.weight).detach().float().clone()
        self.weight = nn.Parameter(weight, requires_grad=plastic)
        self.bias = cast("nn.Parameter | None", leaf.bias)
        spec, most = circuit.spec, circuit.spec.rows(plastic=plastic)
        self.channels = list(partition(wiring.channels, wiring.unit, most))
        self.columns = list(partition(wiring.columns, 1, spec.tile_columns))
        self.tiles: list[Crossbar] = []
        self.spots: list[Spot] = []
        for part, channels in enumerate(self.channels):
            for group in range(wiring.groups):
                for columns in self.columns:
                    self.tiles.append(self._tile(*wiring.place(group, channels, columns)))
                    self.spots.append(wiring.spot(part, group, (channels, columns), most))
        self.dac = self._converter(spec.dac_bits)
        self.slices = self.tiles[0].make.mapping.slices
        lines = self.channels * circuit.planes * self.slices
        self.adcs = [self._converter(spec.adc_bits) for _ in lines]
        self.reads, self.waiting = 0, False
        self.capture: list[tuple[list[Tensor], Tensor]] | None = None
        self.seed = fold(circuit.seed, "layer", name)
        self.charges = ReadCharges(self.tiles, self.spots, wiring, circuit)
        self._parts: list[list[Part]] = []
        self.reader = LayerReader(self.tiles, self.spots)
        for tile in self.tiles:
            tile.move(weight.device)
        if plastic:
            scale = spec.plastic_range / ((wiring.channels * wiring.unit) ** 0.5)
            for tile in self.tiles:
                tile.scale.fill_(scale)

    def _converter(self, bits: int) -> Converter:
        spec = self.circuit.spec
        percentile = spec.converters.range_percentile
        return Converter(bits, spec.range_sigma, tracking=self.plastic, percentile=percentile)

    def _tile(self, rows: slice, columns: slice) -> Crossbar:
        name = f"{self.name}[{rows.start}:{rows.stop},{columns.start}:{columns.stop}]"
        circuit = self.circuit
        return Crossbar(name, rows, columns, circuit.seed, circuit.spec.make(plastic=self.plastic))

    def matrix(self, weight: Tensor) -> Tensor:
        """View a tensor of the weight's shape so that [tile.columns, tile.rows] is a tile's."""
        return self.wiring.matrix(weight)

    def spot(self, tile: Crossbar) -> Spot:
        """Where a tile of this layer stands."""
        return self.spots[self.tiles.index(tile)]

    @property
    def column_bias(self) -> Tensor | None:
        """What is added to each column after its last conversion; None for nothing."""
        return self.bias

    @property
    def blank(self) -> bool:
        """Whether its cells are as they were made: not written, read, pulsed, fenced or aged.

        Its ``weight`` is then what is to be written.
        """
        return self.waiting and not self.reads and all(tile.is_untouched for tile in self.tiles)

    @property
    def is_programmed(self) -> bool:
        """Whether all of its cells hold something that was written, or is used."""
        return not self.blank and all(tile.is_programmed for tile in self.tiles)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        """What torch calls to move a module: the cells go where the weight goes."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for tile in self.tiles:
            tile.move(self.weight.device)
        self._parts = []
        return self

    def plain(self) -> AbstractContextManager[Any]:
        """A context without autocast: the tile decides its own number format."""
        kind = self.weight.device.type
        known = kind == "cpu" or torch.amp.is_autocast_available(kind)
        asked = known and torch.is_autocast_enabled(kind)
        return torch.autocast(kind, enabled=False) if asked else nullcontext()

    @torch.no_grad()
    def refresh(self) -> None:
        """Take what the cells read now into ``weight`` and the read path's factors."""
        if self._reads_at_once():
            self._read_at_once()
        else:
            self._read_by_tile()

    def _reads_at_once(self) -> bool:
        """Whether one compiled pass reads all tiles; only where a weight lies as it is read."""
        spec, weight = self.circuit.spec, self.weight
        held = weight.is_contiguous() and (self.column_bias is None or weight.is_cpu)
        simple = self.flat and self.plastic and spec.read_noise != "exact" and held
        return simple and spec.kernels and weight.is_cpu and self.reader.is_plain

    def _read_at_once(self) -> None:
        if not self._parts:
            self._read_by_tile()
        bias, held = self.column_bias, [part for (part,) in self._parts]
        if bias is not None and held[0].columns.bias.data_ptr() != bias.data_ptr():
            own = [one.columns._replace(bias=bias.detach()) for one in held]
            self._parts = [[a._replace(columns=b)] for a, b in zip(held, own, strict=True)]
        self.reader.read(self.weight.data, self._parts)

    def _read_by_tile(self) -> None:
        shape = self.slices, *self.weight.shape
        weights, variances = (torch.empty(shape, device=self.weight.device) for _ in range(2))
        matrices, spreads = ([self.matrix(one) for one in both] for both in (weights, variances))
        wide = len(self.channels), self.wiring.groups * self.wiring.columns
        scale = torch.empty(wide, device=weights.device)
        for tile, spot in zip(self.tiles, self.spots, strict=True):
            place, views = (tile.columns, tile.rows), tile.view_slices(self.circuit.now_s)
            for k, (weight, spread) in enumerate(zip(*views, strict=True)):
                matrices[k][place], spreads[k][place] = weight, spread
            scale[spot.part, spot.columns] = tile.column_scale()
        self.weight.data.copy_(weights.sum(0))
        self._parts = [
            [self._part(p, one, variances[k], scale[p]) for k, one in enumerate(weights)]
            for p in range(len(self.channels))
        ]

    def _part(self, p: int, weights: Tensor, variance: Tensor, scale_O: Tensor) -> Part:
        channels, unit = self.channels[p], self.wiring.unit
        powers, sigmas = [], []
        for group_OR in self.wiring.wired(variance):
            spread_OR = group_OR[:, channels.start * unit : channels.stop * unit]
            power = spread_OR.mean(0).view(-1, unit).mean(1)
            # Rank one: variance(row, column) ~ power(row's channel) * sigma(column)^2.
            powers.append(power)
            sigmas.append((spread_OR.mean(1) / power.mean().clamp(min=1e-30)).sqrt())
        exact = self.circuit.spec.read_noise == "exact"
        sigma, power_GC, bias = torch.cat(sigmas), torch.stack(powers), self.column_bias
        sigma = torch.ones_like(sigma) if exact else sigma
        bias = torch.zeros_like(sigma) if bias is None else bias.detach()
        weight = self.wiring.cut(weights, channels)
        if self.circuit.spec.compute == "bfloat16" and not self.plastic:
            weight = weight.bfloat16()
        grouped = self.wiring.groups > 1 and not exact
        return Part(
            weight=self.packed(weight),
            power_GC=power_GC,
            columns=self.ordered(self._columns(p, Columns(sigma, scale_O, bias))),
            variance=self.packed(self.wiring.cut(variance, channels)) if exact else None,
            lone=self.one_column(power_GC) if grouped else None,
        )

    def _columns(self, p: int, columns: Columns) -> Columns | FlawedColumns:
        """Columns with what is wrong with each one's output converter, fixed for good."""
        kind = self.circuit.spec.converters
        if not kind.flawed:
            return columns
        gain, offset = torch.ones_like(columns.sigma), torch.zeros_like(columns.sigma)
        for tile, spot in zip(self.tiles, self.spots, strict=True):
            if spot.part == p:
                seed = fold(self.circuit.seed, "adc", tile.name)
                drawn = column_flaws(kind, seed, columns.sigma[spot.columns])
                gain[spot.columns], offset[spot.columns] = drawn
        return FlawedColumns(*columns, gain, offset)

    def read(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """One noisy product.

        Args:
            x: layer input.

        Returns:
            Layer output, and the driven inputs of each row group.

        Raises:
            DeviceLimitError: the core has not been programmed.
            ShapeError: the input does not fit.
        """
        if not self._parts:
            if not all(tile.is_programmed for tile in self.tiles):
                raise DeviceLimitError(
                    f"the cells of {self.name} hold nothing yet; call chip.program_core() first"
                )
            self.refresh()
        with torch.no_grad(), self.plain():
            return self._read(self.prepared(x.float()))

    def _read(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        circuit = self.circuit
        if circuit.converting and self.dac.wants(calibrating=circuit.calibrating):
            self.dac.observe(x)
        dac = np.array(self.dac.factors(on=circuit.converting), dtype=np.float32)
        rows = self.vectors(x)
        out = torch.empty(0)
        driven: list[Tensor] = []
        asked = 0
        for p, slices in enumerate(self._parts):
            mine, first = self._inputs(rows, p)
            power = slices[0].power_GC.view(-1)
            volts = torch.empty(len(rows), len(power), device=x.device)
            energy = torch.empty(len(rows), device=x.device)
            args = (mine, power, dac, volts, energy, first)
            asked = max(asked, circuit.run(kernels.drive, reference.drive, args))
            driven.append(self.image(volts, x))
            for k, (plane, energy_P) in enumerate(self._planes(slices[0], volts, energy, dac)):
                image = self.image(plane, x)
                for place, part in enumerate(slices):
                    y = self.product(image.to(part.weight.dtype), part.weight).float()
                    y_PO, step = self.vectors(y), k * self.slices + place
                    out = y_PO if p + step == 0 else out
                    own = energy_P if place == 0 else plane.square() @ part.power_GC.view(-1)
                    self._sense((p, step), y_PO, self._noise_energy(part, image, own, x), out)
        self.dac.track(asked)
        self.reads += 1
        self.charges.forward(out.shape[0], len(rows), circuit.ledger)
        return self.shaped(out, y, x), driven

    def _inputs(self, rows: Tensor, p: int) -> tuple[Tensor, int]:
        """Inputs of one row part, and which of their channels is its first."""
        if self.wiring.groups == 1 or len(self.channels) == 1:
            return rows, self.channels[p].start
        apart = rows.view(len(rows), self.wiring.groups, self.wiring.channels)
        return apart[:, :, self.channels[p]].flatten(1), 0

    def _planes(
        self, part: Part, volts: Tensor, energy: Tensor, dac: NDArray[np.float32]
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """What is driven one after the other, and each one's noise energy per vector."""
        if self.circuit.planes == 1 or dac[2] == 0:
            yield volts, energy
            return
        # Powers of two stand for the digital shift after conversion: they scale currents, noise
        # and range of a plane alike.
        serial, power_C = self.circuit.spec.converters.serial_bits, part.power_GC.view(-1)
        for low in range(0, self.circuit.spec.dac_bits - 1, serial):
            plane, energy_P = torch.empty_like(volts), torch.empty_like(energy)
            levels = np.array((dac[1], 2.0**low, 2.0**serial), dtype=np.float32)
            args = (volts, power_C, levels, plane, energy_P)
            self.circuit.run(kernels.digits, reference.digits, args)
            yield plane, energy_P

    def _noise_energy(self, part: Part, image: Tensor, energy_P: Tensor, x: Tensor) -> Tensor:
        """Noise variance over the columns' own, [P, 1] or [P, O]."""
        if part.variance is not None:
            return self.vectors(self.product(image.square(), part.variance))
        if part.lone is None:
            return self.gather(energy_P, x)
        energy_PG = self.vectors(self.product(image.square(), part.lone))
        return energy_PG.repeat_interleave(self.wiring.columns, dim=1)

    def _sense(self, step: tuple[int, int], y: Tensor, energy: Tensor, out: Tensor) -> None:
        circuit, columns = self.circuit, self._parts[step[0]][step[1] % self.slices].columns
        steps = circuit.planes * self.slices
        adc = self.adcs[index := step[0] * steps + step[1]]
        if circuit.converting and adc.wants(calibrating=circuit.calibrating):
            adc.observe(y / columns.scale)
            if circuit.spec.converters.auto_zero:
                self.charges.zero(step[0], circuit.ledger)
        last = self.column_bias is not None and step[0] == len(self._parts) - 1
        last = last and step[1] == (steps if circuit.converting else self.slices) - 1
        switches = tuple(map(float, (circuit.noisy, last, index > 0, adc.tracking)))
        factors = adc.factors(on=circuit.converting) + switches
        key = hash_key(self.seed, "read", self.reads, index)
        kind = circuit.spec.converters
        flawed = isinstance(columns, FlawedColumns) and factors[2] > 0
        factors += (kind.noise_lsb, kind.bow_lsb) if flawed else ()
        own = columns if flawed else Columns(*columns[:3])
        kernel, plain = _SENSE[flawed]
        args = (y, energy, own, np.array(factors, dtype=np.float32), key, out)
        adc.track(circuit.run(kernel, plain, args))

    def forward(self, x: Tensor) -> Tensor:
        """Layer output, as of the digital layer this one replaced."""
        x = self.padded(x)
        out: Tensor = Through.apply(x, self.weight, self.bias, self)  # type: ignore[no-untyped-call]
        return out

    def state(self) -> dict[str, Any]:
        """Cells, converters and counters: flat, tensors and JSON values."""
        state: dict[str, Any] = {
            "reads": self.reads,
            "dac": self.dac.state(),
            "adcs": [adc.state() for adc in self.adcs],
        }
        for tile in self.tiles:
            state |= {f"{tile.name}/{key}": value for key, value in tile.state().items()}
        return state

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state` gave and refresh the view."""
        self.reads = int(state["reads"])
        self.dac.load_state(state["dac"])
        for adc, value in zip(self.adcs, state["adcs"], strict=True):
            adc.load_state(value)
        keys = sorted(state)
        for tile in self.tiles:
            tile.load_state(below(state, keys, f"{tile.name}/"))
        self._parts, self.waiting = [], False
        if all(tile.is_programmed for tile in self.tiles):
            self.refresh()

    def padded(self, x: Tensor) -> Tensor:
        """The input with what is padded digitally, before any conversion."""
        return x

    @abstractmethod
    def prepared(self, x: Tensor) -> Tensor:
        """The input in the layout the tiles want; raises ShapeError where it does not fit."""

    @abstractmethod
    def packed(self, weight: Tensor) -> Tensor:
        """Weights in the layout the product is fastest with."""

    def ordered(self, columns: Columns | FlawedColumns) -> Columns | FlawedColumns:
        """Factors of columns, put in the order in which a product gives them."""
        return columns

    @abstractmethod
    def one_column(self, power: Tensor) -> Tensor:
        """Weights of one column a group whose taps are all ``power`` [G, C], for a product."""

    @abstractmethod
    def vectors(self, x: Tensor) -> Tensor:
        """View as [P, channels]."""

    @abstractmethod
    def image(self, rows: Tensor, x: Tensor) -> Tensor:
        """Undo :meth:`vectors` for a part of the channels of ``x``."""

    @abstractmethod
    def product(self, x: Tensor, weight: Tensor) -> Tensor:
        """The exact product of driven inputs and one group's weights."""

    @abstractmethod
    def gather(self, energy: Tensor, x: Tensor) -> Tensor:
        """Noise energy per input position -> per output vector, [P, 1]."""

    @abstractmethod
    def shaped(self, out: Tensor, y: Tensor, x: Tensor) -> Tensor:
        """[P, O] as the layer's output, given a product ``y`` of the input ``x``."""

    @abstractmethod
    def back(self, grad: Tensor, weight: Tensor, shape: torch.Size) -> Tensor:
        """Gradient to the input through the same weights; charged as a read."""

    @abstractmethod
    def unfolded(self, driven: list[Tensor], tile: Crossbar) -> Tensor:
        """Row voltages of one tile for each vector, [P, R]."""

    def sensed(self, grad: Tensor, tile: Crossbar) -> Tensor:
        """Output gradients at the columns of one tile for each vector, [P, O]."""
        return self.vectors(grad)[:, self.spot(tile).columns]

    @abstractmethod
    def outer(self, driven: list[Tensor], grad: Tensor, weight: Tensor) -> Tensor:
        """Gradient of the weights from driven inputs and output gradient."""
