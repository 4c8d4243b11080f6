"""Linear and convolution layers whose weights are tiles of cells.

    x -> DAC -> matrix of conductances + read noise -> ADC -> digital scale and bias

A convolution drives one vector per output position. Rows beyond a tile's height become
further tiles; each partial sum is converted by itself and added digitally. The way back
(gradients to inputs) goes through the same conductances with the array driven from the other
side; it is simulated without noise or conversion and charged like a forward read.

Legend: B batch, P vectors, C channels, R rows, O outputs (columns).
"""

from abc import ABC, abstractmethod
from typing import Any, cast, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clnf.chip import kernels, reference
from clnf.chip.converters import Converter
from clnf.chip.crossbar.reading import Circuit, Columns, ReadCharges
from clnf.chip.crossbar.tile import PlasticTile, StoredTile, Tile, partition
from clnf.core.errors import ConfigError, DeviceLimitError, ShapeError
from clnf.core.rng import fold
from clnf.devices.soft_bounds import hash_key

__all__ = ["AbstractAnalog", "AnalogConv2d", "AnalogLinear"]


class _Through(torch.autograd.Function):
    """The analog product with its way back; quantisation passes gradients straight through."""

    @staticmethod
    def forward(  # type: ignore[override]
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
        self.bias = leaf.bias
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
        self._groups: list[tuple[Tensor, Tensor, Columns, Tensor]] = []
        if plastic:
            scale = spec.plastic_range / (weight[0].numel() ** 0.5)
            for tile in self.tiles:
                cast(PlasticTile, tile).scale = scale

    def _tile(self, group: slice, columns: slice) -> Tile:
        rows = slice(group.start * self.unit, group.stop * self.unit)
        name = f"{self.name}[{rows.start}:{rows.stop},{columns.start}:{columns.stop}]"
        kind = PlasticTile if self.plastic else StoredTile
        return kind(name, rows, columns, self.circuit.seed, self.circuit.spec)

    def plain(self) -> Any:
        """A context without autocast: the tile decides its own number format."""
        return torch.autocast(self.weight.device.type, enabled=False)

    @torch.no_grad()
    def refresh(self) -> None:
        """Take what the cells read now into ``weight`` and the read path's factors."""
        flat = self.weight.data.view(self.weight.shape[0], -1)
        variance = torch.empty(flat.shape)
        scale = torch.empty(len(self.channels), flat.shape[0])
        for position, tile in enumerate(self.tiles):
            weight, spread = tile.view(self.circuit.now_s)
            flat[tile.columns, tile.rows] = weight.to(flat.device)
            variance[tile.columns, tile.rows] = spread
            scale[position // len(self.columns), tile.columns] = tile.column_scale()
        self._groups = [
            self._group(channels, variance, scale[g]) for g, channels in enumerate(self.channels)
        ]

    def _group(
        self, channels: slice, variance: Tensor, scale_O: Tensor
    ) -> tuple[Tensor, Tensor, Columns, Tensor]:
        part = self.weight.data[:, channels]
        rows = slice(channels.start * self.unit, channels.stop * self.unit)
        spread = variance[:, rows].view(part.shape)
        power = spread.flatten(2).mean((0, 2)) if spread.dim() > 2 else spread.mean(0)
        mean = power.mean()
        sigma = (spread.flatten(1).mean(1) / mean.clamp(min=1e-30)).sqrt()
        device = self.weight.device
        if self.circuit.spec.compute == "bfloat16" and not self.plastic:
            part = part.bfloat16()
        if part.dim() == 4:
            part = part.contiguous(memory_format=torch.channels_last)
        empty = torch.empty(0)
        exact = self.circuit.spec.read_noise == "exact"
        columns = Columns(torch.ones_like(sigma) if exact else sigma, scale_O, empty, empty)
        return (
            part.contiguous() if part.dim() == 2 else part,
            power.to(device),
            Columns(*(t.to(device) for t in columns)),
            spread.to(device) if exact else empty,
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
        calibrating = circuit.calibrating
        if circuit.converting:
            self.dac.observe(x, calibrating=calibrating)
        dac = torch.tensor(self.dac.factors() if circuit.converting else (1.0, 1.0, 0.0))
        rows = self.vectors(x)
        out: Tensor | None = None
        driven: list[Tensor] = []
        for g, (part, power, columns, exact) in enumerate(self._groups):
            piece = rows[:, self.channels[g]]
            volts = torch.empty(piece.shape, device=x.device)
            energy = torch.empty(len(piece), device=x.device)
            circuit.run(kernels.drive, reference.drive, (piece, power, dac, volts, energy))
            image = self.image(volts, x)
            driven.append(image)
            y = self.product(image.to(part.dtype), part).float()
            if circuit.noisy and exact.numel():
                energy_PO = self.vectors(self.product(image.square(), exact))
            else:
                energy_PO = self.gather(energy, x)
            out = self._sense(g, y, energy_PO, columns, out)
        self.reads += 1
        assert out is not None
        self.charges.forward(out.shape[0], circuit.ledger)
        return self.shaped(out, y), driven

    def _sense(
        self, g: int, y: Tensor, energy: Tensor, columns: Columns, out: Tensor | None
    ) -> Tensor:
        circuit, adc = self.circuit, self.adcs[g]
        y_PO = self.vectors(y)
        scale = columns.gain  # weight units at full scale of each column
        top, unit = 0.0, 1.0
        if circuit.converting and adc.bits:
            if adc.tracking or circuit.calibrating or adc.range == 0.0:
                adc.observe(y_PO / scale, calibrating=circuit.calibrating)
            gain, unit, top = adc.factors()
        factors = Columns(
            columns.sigma if circuit.noisy else torch.zeros_like(columns.sigma),
            1.0 / (scale * unit) if top else torch.ones_like(scale),
            scale * unit if top else torch.ones_like(scale),
            self.bias.detach()
            if self.bias is not None and g == len(self._groups) - 1
            else torch.zeros_like(scale),
        )
        if out is None:
            out = torch.zeros_like(y_PO)
        key = hash_key(self.seed, "read", self.reads, g)
        circuit.run(kernels.sense, reference.sense, (y_PO, energy, factors, top, key, out))
        return out

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
    def outer(self, driven: list[Tensor], grad: Tensor, weight: Tensor) -> Tensor:
        """Gradient of the weights from driven inputs and output gradient."""


@final
class AnalogLinear(AbstractAnalog):
    """y = x W^T + b on tiles; x is [..., R], y is [..., O]."""

    def __init__(self, name: str, leaf: nn.Linear, circuit: Circuit, *, plastic: bool) -> None:
        super().__init__(name, leaf, circuit, plastic=plastic)
        self.in_features, self.out_features = leaf.in_features, leaf.out_features

    def prepared(self, x: Tensor) -> Tensor:
        if x.shape[-1] != self.in_features:
            raise ShapeError(
                f"{self.name} takes {self.in_features} features, got shape {tuple(x.shape)}"
            )
        return x.contiguous()

    def vectors(self, x: Tensor) -> Tensor:
        return x.reshape(-1, x.shape[-1])

    def image(self, rows: Tensor, x: Tensor) -> Tensor:
        return rows.view(*x.shape[:-1], rows.shape[-1])

    def product(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.linear(x, weight)

    def gather(self, energy: Tensor, x: Tensor) -> Tensor:
        return energy[:, None]

    def shaped(self, out: Tensor, y: Tensor) -> Tensor:
        return out.view(y.shape)

    def back(self, grad: Tensor, weight: Tensor, shape: torch.Size) -> Tensor:
        self.charges.backward(grad.numel() // grad.shape[-1], self.circuit.ledger)
        return grad @ weight

    def outer(self, driven: list[Tensor], grad: Tensor, weight: Tensor) -> Tensor:
        x = torch.cat([self.vectors(d) for d in driven], dim=1)
        return self.vectors(grad).T @ x


@final
class AnalogConv2d(AbstractAnalog):
    """Two-dimensional convolution on tiles, one vector per output position.

    Any kernel, stride, padding and dilation with zero padding and one group.

    Raises:
        ConfigError: the leaf uses groups or another padding mode.
    """

    def __init__(self, name: str, leaf: nn.Conv2d, circuit: Circuit, *, plastic: bool) -> None:
        if leaf.groups != 1 or leaf.padding_mode != "zeros" or leaf.padding == "same":
            raise ConfigError(
                f"{name} has groups={leaf.groups}, padding={leaf.padding!r} in mode "
                f"{leaf.padding_mode!r}; tiles hold one group with numeric zero padding"
            )
        super().__init__(name, leaf, circuit, plastic=plastic)
        self.kernel_size = cast(tuple[int, int], leaf.kernel_size)
        self.stride = cast(tuple[int, int], leaf.stride)
        self.padding = (0, 0) if leaf.padding == "valid" else cast(tuple[int, int], leaf.padding)
        self.dilation = cast(tuple[int, int], leaf.dilation)

    def prepared(self, x: Tensor) -> Tensor:
        if x.dim() != 4 or x.shape[1] != self.weight.shape[1]:
            raise ShapeError(
                f"{self.name} takes [B, {self.weight.shape[1]}, H, W], got {tuple(x.shape)}"
            )
        return x.contiguous(memory_format=torch.channels_last)

    def vectors(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])

    def image(self, rows: Tensor, x: Tensor) -> Tensor:
        b, _, h, w = x.shape
        return rows.view(b, h, w, rows.shape[1]).permute(0, 3, 1, 2)

    def product(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.conv2d(x, weight, None, self.stride, self.padding, self.dilation)

    def gather(self, energy: Tensor, x: Tensor) -> Tensor:
        b, _, h, w = x.shape
        if self.unit == 1 and self.stride == (1, 1) and self.padding == (0, 0):
            return energy[:, None]
        ones = torch.ones(1, 1, *self.kernel_size, device=x.device)
        return self.product(energy.view(b, 1, h, w), ones).reshape(-1, 1)

    def shaped(self, out: Tensor, y: Tensor) -> Tensor:
        return self.image(out, y)

    def back(self, grad: Tensor, weight: Tensor, shape: torch.Size) -> Tensor:
        self.charges.backward(grad.numel() // grad.shape[1], self.circuit.ledger)
        grad = grad.contiguous(memory_format=torch.channels_last)
        return torch.nn.grad.conv2d_input(
            shape, weight, grad, self.stride, self.padding, self.dilation
        )

    def outer(self, driven: list[Tensor], grad: Tensor, weight: Tensor) -> Tensor:
        grad = grad.contiguous(memory_format=torch.channels_last)
        parts = [
            torch.nn.grad.conv2d_weight(
                d,
                (weight.shape[0], d.shape[1], *self.kernel_size),
                grad,
                self.stride,
                self.padding,
                self.dilation,
            )
            for d in driven
        ]
        return torch.cat(parts, dim=1)


