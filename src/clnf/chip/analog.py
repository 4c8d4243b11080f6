"""What analog layers share: the read path, and the way back for gradients.

    x -> DAC -> matrix of conductances + read noise -> ADC -> digital scale and bias

Rows beyond a tile's height become further tiles; each partial sum is converted by itself and
added digitally. The way back (gradients to inputs) goes through the same conductances with the
array driven from the other side; it is simulated without noise or conversion and charged like
a forward read. Straight-through: quantisation and clipping do not change gradients.

Legend: P vectors, C channels, R rows, O outputs (columns).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple, Self, cast

import numpy as np
import torch
from torch import Tensor, nn

from clnf.chip import kernels, reference
from clnf.chip.converters import Converter
from clnf.chip.crossbar.reading import Circuit, Columns, ReadCharges
from clnf.chip.crossbar.tile import PlasticTile, StoredTile, Tile, partition
from clnf.core.errors import DeviceLimitError
from clnf.core.rng import fold
from clnf.devices.soft_bounds import hash_key

__all__ = ["AbstractAnalog"]


class _Through(torch.autograd.Function):
    """The analog product with its way back; quantisation passes gradients straight through."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, layer: "AbstractAnalog"
    ) -> Tensor:
        out, driven = layer.read(x.detach())
        ctx.layer = layer
        ctx.x_shape = x.shape
        keep = driven if weight.requires_grad or layer.capture is not None else []
        ctx.save_for_backward(weight, *keep)
        return out.to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        weight, *driven = ctx.saved_tensors
        layer, grad = ctx.layer, grads[0].float()
        needs = ctx.needs_input_grad
        if layer.capture is not None:
            layer.capture.append((driven, grad.detach()))
        with layer.plain():
            to_x = layer.back(grad, weight, ctx.x_shape) if needs[0] else None
            to_weight = layer.outer(driven, grad, weight) if needs[1] else None
        to_bias = layer.vectors(grad).sum(0) if needs[2] else None
        return to_x, to_weight, to_bias, None


class _Group(NamedTuple):
    """What reading one row group needs: packed weights and the factors around them."""

    weight: Tensor
    power: Tensor
    columns: Columns
    variance: Tensor | None


class AbstractAnalog(nn.Module, ABC):
    """What linear and convolution layers on tiles share.

    Attributes:
        weight: digital view of what the cells read now; a gradient arrives at plastic ones.
        bias: digital, or None.
        tiles: all tiles of the layer, row group by row group.
        plastic: whether pulses may change the cells.
    """

    weight: nn.Parameter
    bias: nn.Parameter | None

    def __init__(
        self, name: str, leaf: nn.Linear | nn.Conv2d, circuit: Circuit, *, plastic: bool
    ) -> None:
        super().__init__()
        self.name, self.circuit, self.plastic = name, circuit, plastic
        weight = leaf.weight.detach().float().clone()
        self.weight = nn.Parameter(weight, requires_grad=plastic)
        self.bias = cast("nn.Parameter | None", leaf.bias)
        self.unit = weight[0, 0].numel()  # rows per input channel
        spec = circuit.spec
        self.channels = list(partition(weight.shape[1], self.unit, spec.tile_rows))
        self.columns = list(partition(weight.shape[0], 1, spec.tile_columns))
        self.tiles: list[Tile] = [self._tile(g, c) for g in self.channels for c in self.columns]
        self.dac = Converter(spec.dac_bits, spec.range_sigma, tracking=plastic)
        self.adcs = [
            Converter(spec.adc_bits, spec.range_sigma, tracking=plastic) for _ in self.channels
        ]
        self.reads = 0
        self.capture: list[tuple[list[Tensor], Tensor]] | None = None
        self.seed = fold(circuit.seed, "layer", name)
        self.charges = ReadCharges(self.tiles, circuit)
        self._groups: list[_Group] = []
        for tile in self.tiles:
            tile.move(weight.device)
        if plastic:
            scale = spec.plastic_range / (weight[0].numel() ** 0.5)
            for tile in self.tiles:
                cast(PlasticTile, tile).scale = scale

    def _tile(self, group: slice, columns: slice) -> Tile:
        rows = slice(group.start * self.unit, group.stop * self.unit)
        name = f"{self.name}[{rows.start}:{rows.stop},{columns.start}:{columns.stop}]"
        kind = PlasticTile if self.plastic else StoredTile
        return kind(name, rows, columns, self.circuit.seed, self.circuit.spec)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        """What torch calls to move a module: the cells go where the weight goes."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for tile in self.tiles:
            tile.move(self.weight.device)
        self._groups = []
        return self

    def plain(self) -> AbstractContextManager[Any]:
        """A context without autocast: the tile decides its own number format."""
        kind = self.weight.device.type
        if not torch.amp.is_autocast_available(kind):
            return nullcontext()
        return torch.autocast(kind, enabled=False)

    @torch.no_grad()
    def refresh(self) -> None:
        """Take what the cells read now into ``weight`` and the read path's factors."""
        flat = self.weight.data.view(self.weight.shape[0], -1)
        variance = torch.empty(flat.shape, device=flat.device)
        scale = torch.empty(len(self.channels), flat.shape[0], device=flat.device)
        for position, tile in enumerate(self.tiles):
            weight, spread = tile.view(self.circuit.now_s)
            flat[tile.columns, tile.rows] = weight
            variance[tile.columns, tile.rows] = spread
            scale[position // len(self.columns), tile.columns] = tile.column_scale()
        self._groups = [
            self._group(channels, variance, scale[g]) for g, channels in enumerate(self.channels)
        ]

    def _group(self, channels: slice, variance: Tensor, scale_O: Tensor) -> "_Group":
        part = self.weight.data[:, channels]
        rows = slice(channels.start * self.unit, channels.stop * self.unit)
        spread_OR = variance[:, rows]
        power = spread_OR.mean(0).view(-1, self.unit).mean(1)
        exact = self.circuit.spec.read_noise == "exact"
        # Rank one: variance(row, column) ~ power(row's channel) * sigma(column)^2.
        sigma = (spread_OR.mean(1) / power.mean().clamp(min=1e-30)).sqrt()
        bias = torch.zeros_like(sigma) if self.bias is None else self.bias.detach()
        if self.circuit.spec.compute == "bfloat16" and not self.plastic:
            part = part.bfloat16()
        return _Group(
            weight=self.packed(part),
            power=power,
            columns=Columns(torch.ones_like(sigma) if exact else sigma, scale_O, bias),
            variance=self.packed(spread_OR.reshape(part.shape)) if exact else None,
        )

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
        if not self._groups:
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
        for g, group in enumerate(self._groups):
            volts = torch.empty(len(rows), len(group.power), device=x.device)
            energy = torch.empty(len(rows), device=x.device)
            args = (rows, group.power, dac, volts, energy, self.channels[g].start)
            asked = max(asked, circuit.run(kernels.drive, reference.drive, args))
            image = self.image(volts, x)
            driven.append(image)
            y = self.product(image.to(group.weight.dtype), group.weight).float()
            if group.variance is None:
                energy_PO = self.gather(energy, x)
            else:
                energy_PO = self.vectors(self.product(image.square(), group.variance))
            y_PO = self.vectors(y)
            out = out if g else torch.empty_like(y_PO)
            self._sense(g, y_PO, energy_PO, out)
        self.dac.track(asked)
        self.reads += 1
        self.charges.forward(out.shape[0], circuit.ledger)
        return self.shaped(out, y), driven

    def _sense(self, g: int, y: Tensor, energy: Tensor, out: Tensor) -> None:
        circuit, adc, columns = self.circuit, self.adcs[g], self._groups[g].columns
        if circuit.converting and adc.wants(calibrating=circuit.calibrating):
            adc.observe(y / columns.scale)
        last = self.bias is not None and g == len(self._groups) - 1
        switches = tuple(map(float, (circuit.noisy, last, g > 0, adc.tracking)))
        control = np.array(adc.factors(on=circuit.converting) + switches, dtype=np.float32)
        key = hash_key(self.seed, "read", self.reads, g)
        args = (y, energy, columns, control, key, out)
        adc.track(circuit.run(kernels.sense, reference.sense, args))

    def forward(self, x: Tensor) -> Tensor:
        """Layer output, as of the digital layer this one replaced."""
        out: Tensor = _Through.apply(x, self.weight, self.bias, self)  # type: ignore[no-untyped-call]
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
        for tile in self.tiles:
            prefix = f"{tile.name}/"
            own = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
            tile.load_state(own)
        self._groups = []
        if all(tile.is_programmed for tile in self.tiles):
            self.refresh()

    @abstractmethod
    def prepared(self, x: Tensor) -> Tensor:
        """The input in the layout the tiles want; raises ShapeError where it does not fit."""

    @abstractmethod
    def packed(self, weight: Tensor) -> Tensor:
        """Weights in the layout the product is fastest with."""

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
    def shaped(self, out: Tensor, y: Tensor) -> Tensor:
        """[P, O] in the shape of a product ``y``."""

    @abstractmethod
    def back(self, grad: Tensor, weight: Tensor, shape: torch.Size) -> Tensor:
        """Gradient to the input through the same weights; charged as a read."""

    @abstractmethod
    def unfolded(self, driven: list[Tensor], tile: Tile) -> Tensor:
        """Row voltages of one tile for each vector, [P, R]."""

    @abstractmethod
    def outer(self, driven: list[Tensor], grad: Tensor, weight: Tensor) -> Tensor:
        """Gradient of the weights from driven inputs and output gradient."""
