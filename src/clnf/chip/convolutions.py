"""Convolutions of one, two and three dimensions whose weights are tiles of cells.

A convolution drives one vector per output position: rows are input channels x taps, columns
are output channels. A transposed one drives one vector per input position: rows are input
channels, columns are output channels x taps. Each column is converted, and what overlaps is
added digitally.

Legend: B batch, G groups, P vectors, C channels, R rows, O outputs, T taps.
"""

from math import prod
from typing import Any, cast, final

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn import grad as conv_gradients
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from clnf.chip.analog import AbstractAnalog
from clnf.chip.circuit import Circuit
from clnf.chip.crossbar.array import Crossbar
from clnf.chip.kernels import Columns, FlawedColumns
from clnf.chip.wiring import Sizes, Wiring, overlap_add, windows
from clnf.core.errors import ShapeError

__all__ = ["AnalogConv", "AnalogTransposedConv"]

_PRODUCT: dict[int, Any] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TO_INPUT: dict[int, Any] = {
    1: conv_gradients.conv1d_input,
    2: conv_gradients.conv2d_input,
    3: conv_gradients.conv3d_input,
}
_TO_WEIGHT: dict[int, Any] = {
    1: conv_gradients.conv1d_weight,
    2: conv_gradients.conv2d_weight,
    3: conv_gradients.conv3d_weight,
}
_FORMATS = {2: torch.channels_last, 3: torch.channels_last_3d}
_AXES = ("L", "H, W", "D, H, W")


def _channels_last(x: Tensor) -> Tensor:
    """The same values with channels side by side in memory, whatever the dimensions."""
    if x.dim() - 2 in _FORMATS:
        return x.contiguous(memory_format=_FORMATS[x.dim() - 2])
    return x.movedim(1, -1).contiguous().movedim(-1, 1)


def _vectors(x: Tensor) -> Tensor:
    return x.movedim(1, -1).reshape(-1, x.shape[1])


def _image(rows: Tensor, x: Tensor) -> Tensor:
    return rows.view(len(x), *x.shape[2:], rows.shape[1]).movedim(-1, 1)


@final
class AnalogConv(AbstractAnalog):
    """Convolution on tiles, one vector per output position.

    Any number of dimensions from one to three, any kernel, stride, padding, dilation and groups;
    a tile holds inputs of one group only. Padding other than the same number of zeros on both
    sides is done digitally, before the input converter.
    """

    def __init__(self, name: str, leaf: _ConvNd, circuit: Circuit, *, plastic: bool) -> None:
        groups, taps = leaf.groups, prod(leaf.kernel_size)
        wiring = Wiring(groups, leaf.in_channels // groups, taps, leaf.out_channels // groups)
        super().__init__(name, leaf, circuit, wiring, plastic=plastic)
        self.kernel_size, self.stride = leaf.kernel_size, leaf.stride
        self.dilation, self.dims = leaf.dilation, len(leaf.kernel_size)
        self.in_channels = leaf.in_channels
        self.padding, self._around, self._mode = _padding(leaf)
        self._turned: Tensor | None = None

    def refresh(self) -> None:
        super().refresh()
        self._turned = None

    def padded(self, x: Tensor) -> Tensor:
        if not any(self._around):
            return x
        self._check(x)
        return F.pad(x, self._around, mode=self._mode)

    def _check(self, x: Tensor) -> None:
        if x.dim() != 2 + self.dims or x.shape[1] != self.in_channels:
            raise ShapeError(
                f"{self.name} takes [B, {self.in_channels}, {_AXES[self.dims - 1]}], "
                f"got {tuple(x.shape)}"
            )

    def prepared(self, x: Tensor) -> Tensor:
        self._check(x)
        return _channels_last(x)

    def packed(self, weight: Tensor) -> Tensor:
        return _channels_last(weight)

    def one_column(self, power: Tensor) -> Tensor:
        ones = (1,) * self.dims
        taps = power.view(*power.shape, *ones).expand(*power.shape, *self.kernel_size)
        return self.packed(taps)

    def vectors(self, x: Tensor) -> Tensor:
        return _vectors(x)

    def image(self, rows: Tensor, x: Tensor) -> Tensor:
        return _image(rows, x)

    def product(self, x: Tensor, weight: Tensor) -> Tensor:
        return self._product(x, weight, self.wiring.groups)

    def _product(self, x: Tensor, weight: Tensor, groups: int) -> Tensor:
        convolve = _PRODUCT[self.dims]
        y: Tensor = convolve(x, weight, None, self.stride, self.padding, self.dilation, groups)
        return y

    def gather(self, energy: Tensor, x: Tensor) -> Tensor:
        if self.wiring.unit == 1 and max(self.stride) == 1 and max(self.padding) == 0:
            return energy[:, None]
        ones = torch.ones(1, 1, *self.kernel_size, device=x.device)
        return self._product(energy.view(len(x), 1, *x.shape[2:]), ones, 1).reshape(-1, 1)

    def shaped(self, out: Tensor, y: Tensor, x: Tensor) -> Tensor:
        return self.image(out, y)

    def back(self, grad: Tensor, weight: Tensor, shape: torch.Size) -> Tensor:
        positions = prod(shape) // shape[1]
        self.charges.backward(grad.numel() // grad.shape[1], positions, self.circuit.ledger)
        grad, groups = _channels_last(grad), self.wiring.groups
        reach = [d * (k - 1) for d, k in zip(self.dilation, self.kernel_size, strict=True)]
        if max(self.stride) > 1 or any(p > r for p, r in zip(self.padding, reach, strict=True)):
            args = (self.stride, self.padding, self.dilation, groups)
            to_x: Tensor = _TO_INPUT[self.dims](shape, weight, grad, *args)
            return to_x
        # With stride 1 the way back is a convolution with the turned kernel, and a fast one.
        if self._turned is None:
            apart = weight.detach().view(groups, -1, *weight.shape[1:])
            swapped = apart.transpose(1, 2).flatten(0, 1)
            self._turned = self.packed(swapped.flip(*range(2, 2 + self.dims)))
        around = tuple(r - p for p, r in zip(self.padding, reach, strict=True))
        turned: Tensor = _PRODUCT[self.dims](
            grad, self._turned, None, 1, around, self.dilation, groups
        )
        return turned

    def unfolded(self, driven: list[Tensor], tile: Crossbar) -> Tensor:
        spot = self.spot(tile)
        image = driven[spot.part].chunk(self.wiring.groups, dim=1)[spot.group]
        if self.dims == 2:  # torch has a faster way for images only
            flat = F.unfold(image, self.kernel_size, self.dilation, self.padding, self.stride)
            return flat.transpose(1, 2).reshape(-1, flat.shape[1])
        rows = windows(image, self.kernel_size, self.stride, self.padding, self.dilation)
        return rows.reshape(-1, image.shape[1] * self.wiring.unit)

    def outer(self, driven: list[Tensor], grad: Tensor, weight: Tensor) -> Tensor:
        grad, groups = _channels_last(grad), self.wiring.groups
        parts = [
            _TO_WEIGHT[self.dims](
                d,
                (weight.shape[0], d.shape[1] // groups, *self.kernel_size),
                grad,
                self.stride,
                self.padding,
                self.dilation,
                groups,
            )
            for d in driven
        ]
        return torch.cat(parts, dim=1)


def _padding(leaf: _ConvNd) -> tuple[Sizes, list[int], str]:
    """Zeros on both sides left to the product, then digital padding and its mode."""
    if leaf.padding == "same":
        reach = [d * (k - 1) for d, k in zip(leaf.dilation, leaf.kernel_size, strict=True)]
        sides = [(r // 2, r - r // 2) for r in reach]
    elif leaf.padding == "valid":
        sides = [(0, 0)] * len(leaf.kernel_size)
    else:
        sides = [(int(p), int(p)) for p in leaf.padding]
    if leaf.padding_mode == "zeros" and all(low == high for low, high in sides):
        return tuple(low for low, _ in sides), [], "constant"
    around = [n for side in reversed(sides) for n in side]
    mode = "constant" if leaf.padding_mode == "zeros" else leaf.padding_mode
    return (0,) * len(sides), around, mode


@final
class AnalogTransposedConv(AbstractAnalog):
    """Transposed convolution on tiles, one vector per input position.

    Every tap of every output is a column with a conversion of its own; what overlaps in the
    output is added digitally, and so is the bias.
    """

    def __init__(
        self, name: str, leaf: _ConvTransposeNd, circuit: Circuit, *, plastic: bool
    ) -> None:
        groups, taps = leaf.groups, prod(leaf.kernel_size)
        wiring = Wiring(
            groups, leaf.in_channels // groups, 1, leaf.out_channels // groups * taps, turned=True
        )
        super().__init__(name, leaf, circuit, wiring, plastic=plastic)
        self.kernel_size, self.stride = leaf.kernel_size, leaf.stride
        self.dilation, self.padding = leaf.dilation, cast(Sizes, leaf.padding)
        self.output_padding = leaf.output_padding
        self.in_channels, self.out_channels = leaf.in_channels, leaf.out_channels
        self.dims = len(self.kernel_size)

    @property
    def column_bias(self) -> Tensor | None:
        return None

    def prepared(self, x: Tensor) -> Tensor:
        if x.dim() != 2 + self.dims or x.shape[1] != self.in_channels:
            raise ShapeError(
                f"{self.name} takes [B, {self.in_channels}, {_AXES[self.dims - 1]}], "
                f"got {tuple(x.shape)}"
            )
        if min(self._size(x.shape)) < 1:
            raise ShapeError(
                f"{self.name} makes an output of size {self._size(x.shape)} from "
                f"{tuple(x.shape)}; give a larger input or less padding"
            )
        return _channels_last(x)

    def packed(self, weight: Tensor) -> Tensor:
        # Products give an output's channels side by side, tap by tap, for the sums that follow.
        groups, taps = self.wiring.groups, prod(self.kernel_size)
        apart = weight.view(groups, -1, self.wiring.columns // taps, taps)
        return apart.permute(0, 3, 2, 1).flatten(1, 2).contiguous()

    def ordered(self, columns: Columns | FlawedColumns) -> Columns | FlawedColumns:
        taps = prod(self.kernel_size)
        mine = (c.view(self.wiring.groups, -1, taps).mT.flatten().contiguous() for c in columns)
        return type(columns)(*mine)

    def one_column(self, power: Tensor) -> Tensor:
        return power[:, None]

    def vectors(self, x: Tensor) -> Tensor:
        return _vectors(x)

    def image(self, rows: Tensor, x: Tensor) -> Tensor:
        return rows

    def product(self, x: Tensor, weight: Tensor) -> Tensor:
        groups, columns, rows = weight.shape
        if groups == 1:
            return F.linear(x, weight[0])
        y = torch.bmm(x.view(-1, groups, rows).transpose(0, 1), weight.mT)
        return y.transpose(0, 1).reshape(-1, groups * columns)

    def gather(self, energy: Tensor, x: Tensor) -> Tensor:
        return energy[:, None]

    def shaped(self, out: Tensor, y: Tensor, x: Tensor) -> Tensor:
        parts = out.view(len(x), *x.shape[2:], self.wiring.groups, *self.kernel_size, -1)
        parts = parts.movedim(-1, 2 + self.dims).flatten(1 + self.dims, 2 + self.dims)
        whole = overlap_add(parts, self.stride, self.padding, self.dilation, self._size(x.shape))
        if self.bias is None:
            return whole
        return whole + self.bias.detach().view(-1, *(1,) * self.dims)

    def back(self, grad: Tensor, weight: Tensor, shape: torch.Size) -> Tensor:
        vectors = prod(shape) // shape[1]
        self.charges.backward(vectors, vectors, self.circuit.ledger)
        wired = self.wiring.wired(weight)
        columns = self._taps(grad, shape).view(vectors, *wired.shape[:2]).transpose(0, 1)
        rows = torch.bmm(columns, wired).transpose(0, 1).reshape(vectors, -1)
        return rows.view(shape[0], *shape[2:], shape[1]).movedim(-1, 1)

    def unfolded(self, driven: list[Tensor], tile: Crossbar) -> Tensor:
        spot = self.spot(tile)
        return driven[spot.part].chunk(self.wiring.groups, dim=1)[spot.group]

    def sensed(self, grad: Tensor, tile: Crossbar) -> Tensor:
        taps = self._taps(grad, self._shape(grad))
        return taps[:, self.spot(tile).columns]

    def outer(self, driven: list[Tensor], grad: Tensor, weight: Tensor) -> Tensor:
        groups = self.wiring.groups
        taps = self._taps(grad, self._shape(grad))
        taps = taps.view(len(taps), groups, -1).transpose(0, 1)
        x = torch.cat([d.view(len(d), groups, -1) for d in driven], dim=2).permute(1, 2, 0)
        return torch.bmm(x, taps).view(weight.shape)

    def _size(self, shape: torch.Size) -> Sizes:
        """Spatial size of the output for an input of ``shape``."""
        return tuple(
            (shape[2 + i] - 1) * self.stride[i]
            - 2 * self.padding[i]
            + self.dilation[i] * (self.kernel_size[i] - 1)
            + self.output_padding[i]
            + 1
            for i in range(self.dims)
        )

    def _shape(self, grad: Tensor) -> torch.Size:
        """Shape of the input that gave outputs of the shape of ``grad``: undo :meth:`_size`."""
        spatial = [
            (
                grad.shape[2 + i]
                - 1
                - self.output_padding[i]
                - self.dilation[i] * (self.kernel_size[i] - 1)
                + 2 * self.padding[i]
            )
            // self.stride[i]
            + 1
            for i in range(self.dims)
        ]
        return torch.Size((len(grad), self.in_channels, *spatial))

    def _taps(self, grad: Tensor, shape: torch.Size) -> Tensor:
        """Output gradient at each column of each vector, [P, columns]."""
        seen = windows(grad, self.kernel_size, self.stride, self.padding, self.dilation)
        seen = seen[(slice(None), *(slice(0, n) for n in shape[2:]))]
        return seen.reshape(prod(shape) // shape[1], -1)
