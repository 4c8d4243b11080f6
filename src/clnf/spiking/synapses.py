"""Layers that follow events: weights alone, and weights with the cells behind them.

``EventLinear`` and ``EventConv2d`` give what arrives at cells. ``SpikingLinear`` and
``SpikingConv2d`` hold the cells too, which makes a gradient of inputs possible that follows events
as well, see :mod:`clnf.spiking.over_time`. All of them take spikes, graded spikes and dense inputs,
and choose whole products where inputs are busy.
"""

from typing import Any, final

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from clnf.core.errors import ShapeError
from clnf.core.inputs import shown, whole
from clnf.spiking.cells import AbstractCell
from clnf.spiking.convolution.maps import Convolution, pair
from clnf.spiking.events.maps import AbstractMap, Kept, Linear
from clnf.spiking.layers import AbstractPopulation, drawn, slope_of
from clnf.spiking.memory import room
from clnf.spiking.over_time import Weights, weighted
from clnf.spiking.plans import is_plain, spread_bias
from clnf.spiking.steps import State
from clnf.spiking.surrogates import AbstractSurrogate, Triangle

__all__ = [
    "AbstractArrival",
    "EventConv2d",
    "EventLinear",
    "SpikingConv2d",
    "SpikingLinear",
    "arrived",
    "check_arriving",
]


@final
class _Arrived(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, by: AbstractMap) -> Any:
        out = room(by.shape(x.shape, weight.shape))
        kept = by.forward(x, weight, out)
        if bias is not None:
            out.add_(spread_bias(bias, out))
        ctx.by, ctx.shape = by, x.shape
        ctx.save_for_backward(weight, *kept.tensors)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> Any:
        weight, *kept = ctx.saved_tensors
        needs, g = ctx.needs_input_grad, g.contiguous()
        gx = ctx.by.back(g, weight, ctx.shape) if needs[0] else None
        gw = ctx.by.weights(Kept(tuple(kept)), g, weight) if needs[1] else None
        gb = g.sum([axis for axis in range(g.dim()) if axis != 2]) if needs[2] else None
        return gx, gw, gb, None


def check_arriving(x: Tensor, weight: Tensor) -> None:
    """Refuse inputs that weights cannot be multiplied with, whatever their shape.

    Raises:
        ShapeError: no dense tensor, nothing in it, or of another type than the weights.
    """
    if not isinstance(x, Tensor) or x.layout != torch.strided:
        raise ShapeError(f"inputs of weights are a dense tensor, got {shown(x)}; convert them")
    if x.numel() == 0:
        raise ShapeError(f"inputs of weights have steps and samples, got {[*x.shape]}; give some")
    if x.dtype != weight.dtype and not torch.is_autocast_enabled(x.device.type):
        raise ShapeError(
            f"inputs are of the weights' type, {weight.dtype}, got {x.dtype}; convert one of them"
        )


def arrived(
    x: Tensor, weight: Tensor, bias: Tensor | None, by: AbstractMap, *, kernels: bool = True
) -> Tensor:
    """What weights make of inputs over time, W x + b, at the cost of the inputs' events.

    Args:
        x: inputs [T, B, ...].
        weight: of the map.
        bias: one for each neuron or channel, or None.
        by: how inputs reach cells.
        kernels: False for torch's own operation always.

    Raises:
        ShapeError: inputs do not fit the weights.
    """
    check_arriving(x, weight)
    by.shape(x.shape, weight.shape)
    if not (kernels and is_plain(x, weight, bias)):
        return by.plain(x, weight, bias)
    return _Arrived.apply(x, weight, bias, by)  # type: ignore[no-untyped-call]


class AbstractArrival(nn.Module):
    """Weights of a map, and nothing behind them.

    Args:
        by: how inputs reach cells.
        shape: of the weights.
        bias: whether there is one.
        seed: of the first weights, uniform in +-1/sqrt(inputs of a cell).
        kernels: False for torch's own operation always.
    """

    def __init__(
        self, by: AbstractMap, shape: tuple[int, ...], *, bias: bool, seed: int, kernels: bool
    ) -> None:
        super().__init__()
        self.by, self.kernels = by, kernels
        self.weight = drawn(seed, *shape, scale=torch.Size(shape[1:]).numel() ** -0.5)
        self.bias = nn.Parameter(torch.zeros(shape[0])) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """W x + b over time, [T, B, ...]."""
        return arrived(x, self.weight, self.bias, self.by, kernels=self.kernels)


@final
class EventLinear(AbstractArrival):
    """A matrix for inputs [T, B, I] that are mostly 0.

    Args:
        inputs: I.
        neurons: N.
        bias: whether there is one.
        seed: of the first weights.
        kernels: False for torch's own operation always.

    >>> layer = EventLinear(4, 2, seed=1)
    >>> x = torch.tensor([[[0.0, 1.0, 0.0, 0.0]]])
    >>> torch.equal(layer(x)[0, 0], layer.weight[:, 1])
    True
    """

    def __init__(
        self,
        inputs: int,
        neurons: int,
        *,
        bias: bool = False,
        seed: int = 0,
        kernels: bool = True,
    ) -> None:
        shape = (whole("neurons", neurons, least=1), whole("inputs", inputs, least=1))
        super().__init__(Linear(), shape, bias=bias, seed=seed, kernels=kernels)


@final
class EventConv2d(AbstractArrival):
    """A convolution for pictures [T, B, C, H, W] that are mostly 0.

    Args:
        channels: C of inputs, and of what comes out.
        kernel: taps, one number or two.
        how: stride, padding and dilation; None for 1, 0 and 1.
        bias: whether there is one.
        seed: of the first weights.
        kernels: False for torch's own operation always.
    """

    def __init__(
        self,
        channels: tuple[int, int],
        kernel: int | tuple[int, int],
        *,
        how: Convolution | None = None,
        bias: bool = False,
        seed: int = 0,
        kernels: bool = True,
    ) -> None:
        inputs, outputs = pair("channels", channels, 1)
        shape = (outputs, inputs, *pair("kernel", kernel, 1))
        super().__init__(how or Convolution(), shape, bias=bias, seed=seed, kernels=kernels)


@final
class SpikingLinear(AbstractPopulation):
    """A matrix for inputs [T, B, I], and N cells behind it, recurrent or not.

    Args:
        sizes: I and N.
        cell: one that spikes.
        dt_s: seconds of a step.
        recurrent: whether spikes come back one step later.
        surrogate: slope of spikes; None for a triangle as wide as half a volt.
        seed: of the first weights, in volts: uniform in +-1/sqrt(I) and +-1/sqrt(N).

    >>> from clnf.spiking.cells import LIF
    >>> layer = SpikingLinear((4, 3), LIF(tau_s=10e-3), dt_s=1e-3, recurrent=True)
    >>> layer(torch.ones(5, 2, 4)).shape, [*layer.state_dict()]
    (torch.Size([5, 2, 3]), ['weight', 'recurrent'])
    """

    def __init__(
        self,
        sizes: tuple[int, int],
        cell: AbstractCell,
        *,
        dt_s: float,
        recurrent: bool = False,
        surrogate: AbstractSurrogate | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(cell, dt_s=dt_s, kernels=True, spikes=True)
        self.surrogate = slope_of(surrogate)
        inputs, neurons = pair("sizes", sizes, 1)
        self.fit((neurons,))
        self.weight = drawn(seed, neurons, inputs, scale=inputs**-0.5)
        ring = drawn(seed, neurons, neurons, scale=neurons**-0.5) if recurrent else None
        self.recurrent: nn.Parameter | None
        self.register_parameter("recurrent", ring)

    def run(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        check_arriving(x, self.weight)
        weights = Weights(Linear(), self.weight, None, self.recurrent)
        k = self.coefficients()
        return weighted(x, weights, k, self.surrogate, state, kernels=self.kernels)


@final
class SpikingConv2d(AbstractPopulation):
    """A convolution for pictures [T, B, C, H, W], and a cell at each place of each channel.

    Args:
        channels: C of inputs, and of cells.
        kernel: taps, one number or two.
        cell: one that spikes.
        dt_s: seconds of a step.
        how: stride, padding and dilation; None for 1, 0 and 1.
        seed: of the first weights, in volts: uniform in +-1/sqrt(inputs of a cell).
    """

    def __init__(
        self,
        channels: tuple[int, int],
        kernel: int | tuple[int, int],
        cell: AbstractCell,
        *,
        dt_s: float,
        how: Convolution | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(cell, dt_s=dt_s, kernels=True, spikes=True)
        self.surrogate: AbstractSurrogate = Triangle()
        self.by = how or Convolution()
        inputs, outputs = pair("channels", channels, 1)
        shape = (outputs, inputs, *pair("kernel", kernel, 1))
        self.weight = drawn(seed, *shape, scale=torch.Size(shape[1:]).numel() ** -0.5)

    def run(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        check_arriving(x, self.weight)
        self.fit(self.by.shape(x.shape, self.weight.shape)[2:])
        weights, k = Weights(self.by, self.weight), self.coefficients()
        return weighted(x, weights, k, self.surrogate, state, kernels=self.kernels)
