"""Linear and convolution layers whose weights are tiles of cells.

A convolution drives one vector per output position.
Legend: B batch, P vectors, C channels, R rows, O outputs (columns).
"""

from typing import cast, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn import grad as conv_gradients

from clnf.chip.analog import AbstractAnalog
from clnf.chip.crossbar.reading import Circuit
from clnf.chip.crossbar.tile import Tile
from clnf.core.errors import ConfigError, ShapeError

__all__ = ["AnalogConv2d", "AnalogLinear"]


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

    def packed(self, weight: Tensor) -> Tensor:
        return weight.contiguous()

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

    def unfolded(self, driven: list[Tensor], tile: Tile) -> Tensor:
        return self.vectors(driven[self.tiles.index(tile) // len(self.columns)])

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
        self._turned: Tensor | None = None

    def refresh(self) -> None:
        super().refresh()
        self._turned = None

    def prepared(self, x: Tensor) -> Tensor:
        if x.dim() != 4 or x.shape[1] != self.weight.shape[1]:
            raise ShapeError(
                f"{self.name} takes [B, {self.weight.shape[1]}, H, W], got {tuple(x.shape)}"
            )
        return x.contiguous(memory_format=torch.channels_last)

    def packed(self, weight: Tensor) -> Tensor:
        return weight.contiguous(memory_format=torch.channels_last)

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
        reach = [d * (k - 1) for d, k in zip(self.dilation, self.kernel_size, strict=True)]
        if self.stride != (1, 1) or any(p > r for p, r in zip(self.padding, reach, strict=True)):
            return conv_gradients.conv2d_input(
                shape, weight, grad, self.stride, self.padding, self.dilation
            )
        # With stride 1 the way back is a convolution with the turned kernel, and a fast one.
        if self._turned is None:
            self._turned = self.packed(weight.detach().flip(2, 3).transpose(0, 1))
        around = tuple(r - p for p, r in zip(self.padding, reach, strict=True))
        return F.conv2d(grad, self._turned, None, 1, around, self.dilation)

    def unfolded(self, driven: list[Tensor], tile: Tile) -> Tensor:
        image = driven[self.tiles.index(tile) // len(self.columns)]
        rows = F.unfold(image, self.kernel_size, self.dilation, self.padding, self.stride)
        return rows.transpose(1, 2).reshape(-1, rows.shape[1])

    def outer(self, driven: list[Tensor], grad: Tensor, weight: Tensor) -> Tensor:
        grad = grad.contiguous(memory_format=torch.channels_last)
        parts = [
            conv_gradients.conv2d_weight(
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
