"""Convolutions as maps of a layer: pictures [T, B, C, H, W] to pictures [T, B, D, E, F].

Legend: T steps, B samples, R = T B pictures; C, H x W channels and places of inputs, D, E x F of
what comes out; k x l taps.
"""

from dataclasses import dataclass
from typing import cast, final

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad
from torch.nn.grad import conv2d_input, conv2d_weight

from clnf.core.errors import ConfigError, ShapeError
from clnf.core.inputs import shown, whole
from clnf.core.units import quantity
from clnf.spiking.convolution.kernels import Places, spread, weigh
from clnf.spiking.events.lists import Floats, events_of, starts
from clnf.spiking.events.maps import AbstractMap, Kept, kept_events
from clnf.spiking.memory import room
from clnf.spiking.threads import over

__all__ = ["BUSY", "Convolution", "pair"]

BUSY = 0.1  # share of events above which a whole convolution is faster
Pair = tuple[int, int]


def pair(name: str, value: object, least: int) -> Pair:
    """One whole number for both axes, or two."""
    both = value if isinstance(value, tuple | list) else (value, value)
    if len(both) != 2:
        raise ConfigError(f"{name} is one whole number or two, got {shown(value)}; correct it")
    first, second = (whole(name, one, least=least) for one in both)
    return first, second


def _axis(places: int, reached: int, taps: int, how: tuple[int, int, int]) -> np.ndarray:
    """Where each place leads by each tap, -1 for nowhere, [places, taps]."""
    stride, padding, dilation = how
    at = np.arange(places)[:, None] + padding - np.arange(taps)[None] * dilation
    found = np.where(at % stride == 0, at // stride, -1)
    return np.where((found >= 0) & (found < reached), found, -1)


def _axis_back(places: int, reached: int, taps: int, how: tuple[int, int, int]) -> np.ndarray:
    """The other way round."""
    stride, padding, dilation = how
    at = np.arange(places)[:, None] * stride - padding + np.arange(taps)[None] * dilation
    return np.where((at >= 0) & (at < reached), at, -1)


@final
@dataclass(frozen=True, kw_only=True)
class Convolution(AbstractMap):
    """Weights [D, C, k, l]; as ``torch.nn.functional.conv2d`` without groups.

    Attributes:
        stride: between places of what comes out, down and across.
        padding: zeros around pictures.
        dilation: between taps.
    """

    stride: Pair = quantity("1", (1, 1))
    padding: Pair = quantity("1", (0, 0))
    dilation: Pair = quantity("1", (1, 1))

    def __post_init__(self) -> None:
        for name, least in (("stride", 1), ("padding", 0), ("dilation", 1)):
            object.__setattr__(self, name, pair(name, getattr(self, name), least))

    def shape(self, x: torch.Size, weight: torch.Size) -> torch.Size:
        if len(x) != 5 or len(weight) != 4 or x[2] != weight[1]:
            raise ShapeError(
                f"weights {[*weight]} take pictures [steps, samples, channels, rows, columns] of "
                f"{weight[1] if len(weight) > 1 else 'some'} channels, got {[*x]}; correct one"
            )
        out = [
            (x[3 + n] + 2 * self.padding[n] - self.dilation[n] * (weight[2 + n] - 1) - 1)
            // self.stride[n] + 1
            for n in (0, 1)
        ]  # fmt: skip
        if min(out) < 1:
            raise ShapeError(f"pictures {[*x]} are smaller than the kernel {[*weight]}; pad them")
        return torch.Size((*x[:2], weight[0], *out))

    def plain(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        out = conv2d(x.flatten(0, 1), weight, bias, self.stride, self.padding, self.dilation)
        return out.unflatten(0, x.shape[:2])

    def forward(self, x: Tensor, weight: Tensor, out: Tensor) -> Kept:
        rows = x.detach().flatten(0, 1).flatten(1).contiguous()
        start = starts(rows.numpy())
        if start[-1] > BUSY * rows.numel():
            out.copy_(self.plain(x.detach(), weight.detach(), None))
            return Kept((x.detach(),))
        events = events_of(rows.numpy(), start)
        w, places = _channels_last(weight.transpose(0, 1)), self._places(x.shape, out.shape, weight)
        to = cast(Floats, out.flatten(0, 1).flatten(2).numpy())
        over(len(to), lambda a, b: spread(events, w, to, places, (a, b)))
        # Pictures are of a size that the events alone do not tell.
        return Kept((*kept_events(events).tensors, torch.empty(0, *x.shape[3:])))

    def weights(self, kept: Kept, g: Tensor, weight: Tensor) -> Tensor:
        events = kept.events
        if events is None:
            x, way = kept.tensors[0].flatten(0, 1), (self.stride, self.padding, self.dilation)
            return conv2d_weight(x, weight.shape, g.flatten(0, 1), *way)
        if not events.value.size:
            events = events._replace(value=np.ones(events.index.shape, np.float32))
        size = torch.Size((*g.shape[:2], weight.shape[1], *kept.tensors[3].shape[1:]))
        places = self._places(size, g.shape, weight)
        rows = cast(Floats, g.flatten(0, 1).flatten(2).contiguous().numpy())
        sums = np.zeros(_channels_last(weight.transpose(0, 1)).shape, np.float32)
        over(len(weight), lambda a, b: weigh(events, rows, sums, places, (a, b)), least=16)
        return torch.from_numpy(sums[..., : len(weight)]).permute(3, 0, 1, 2).contiguous()

    def back(self, e: Tensor, weight: Tensor, inputs: torch.Size) -> Tensor:
        rows = e.flatten(0, 1).flatten(1).contiguous()
        start = starts(rows.numpy())
        if start[-1] > BUSY * rows.numel():
            size = torch.Size((len(rows), *inputs[2:]))
            g = e.flatten(0, 1)
            found = conv2d_input(size, weight.detach(), g, self.stride, self.padding, self.dilation)
            return found.unflatten(0, inputs[:2])
        events, out = events_of(rows.numpy(), start), room(inputs)
        to = cast(Floats, out.flatten(0, 1).flatten(2).numpy())
        places = self._places_back(inputs, e.shape, weight)
        w = _channels_last(weight)
        over(len(to), lambda a, b: spread(events, w, to, places, (a, b)))
        return out

    def _how(self, axis: int) -> tuple[int, int, int]:
        return self.stride[axis], self.padding[axis], self.dilation[axis]

    def _places(self, x: torch.Size, out: torch.Size, weight: Tensor) -> Places:
        down, across = (
            _axis(x[3 + n], out[3 + n], weight.shape[2 + n], self._how(n)) for n in (0, 1)
        )
        return Places(down, across, out[3], out[4])

    def _places_back(self, x: torch.Size, out: torch.Size, weight: Tensor) -> Places:
        down, across = (
            _axis_back(out[3 + n], x[3 + n], weight.shape[2 + n], self._how(n)) for n in (0, 1)
        )
        return Places(down, across, x[3], x[4])


def _channels_last(w: Tensor) -> Floats:
    """Weights [C, D, k, l] as [C, k, l, L]."""
    moved = w.detach().permute(0, 2, 3, 1)
    return cast(Floats, pad(moved, (0, -moved.shape[3] % 16)).contiguous().numpy())
