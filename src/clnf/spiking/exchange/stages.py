"""One node of a graph as a module over time: ``run(x, state)``, as populations have it.

Legend: T steps, B samples.
"""

from collections.abc import Callable
from math import prod
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from clnf.core.errors import DataError
from clnf.spiking.convolution.maps import Convolution
from clnf.spiking.exchange.graph import SPIKING, Array, Node
from clnf.spiking.exchange.reading import Reading, cell_of
from clnf.spiking.exchange.shapes import LARGEST, padding_of, wholes
from clnf.spiking.layers import AbstractPopulation, Neurons, Readout
from clnf.spiking.surrogates import Triangle, spike
from clnf.spiking.synapses import EventConv2d, EventLinear

__all__ = ["Delay", "Plain", "Stage", "copied", "even_padding", "stage_of", "tensor"]

Shape = tuple[int, ...]


def tensor(array: Array, dtype: torch.dtype) -> Tensor:
    """Numbers of a file as a tensor of its own.

    Raises:
        DataError: one is not finite in this type.
    """
    found = torch.from_numpy(np.array(array, np.float64)).to(dtype)
    if not bool(found.isfinite().all()):
        raise DataError(f"weights must be finite {str(dtype)[6:]}; some are not")
    return found


def copied(parameter: Tensor | None, array: Array, dtype: torch.dtype) -> None:
    """Put numbers of a file into a parameter."""
    if parameter is not None:
        parameter.data = tensor(array, dtype).expand(parameter.shape).clone()


@final
class Plain(nn.Module):
    """A node without a state.

    Args:
        work: on inputs [T, B, ...].
        inner: what holds the weights, if anything does.
    """

    def __init__(self, work: Callable[[Tensor], Tensor], inner: nn.Module | None = None) -> None:
        super().__init__()
        self.work, self.inner = work, inner

    def run(self, x: Tensor, state: Any = None) -> tuple[Tensor, None]:
        """All steps."""
        return self.work(x), None


@final
class Delay(nn.Module):
    """Values that arrive later, each neuron by its own steps.

    Args:
        steps: of each neuron, 0 or more.
    """

    def __init__(self, steps: Array) -> None:
        super().__init__()
        self.steps: Tensor
        self.register_buffer("steps", torch.from_numpy(steps.astype(np.int64)), persistent=False)
        self.least, self.most = int(steps.min()), int(steps.max())

    def run(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """All steps; the state is what is on its way, [most steps, B, ...]."""
        before = x.new_zeros((self.most, *x.shape[1:])) if state is None else state
        line, time = torch.cat([before, x]), len(x)
        out = line.new_zeros(x.shape)
        for steps in self.steps.unique().tolist():
            first = self.most - steps
            mine = (self.steps == steps).expand(x.shape[2:])
            out = torch.where(mine, line[first : first + time], out)
        return out, line[time:]


Stage = AbstractPopulation | Plain | Delay


@np.errstate(all="ignore")  # files hold any numbers
def stage_of(node: Node, shape: Shape, how: Reading, dtype: torch.dtype) -> Stage:
    """The module of a node that takes a shape.

    Raises:
        DataError: numbers that cannot be run.
        ConfigError: time constants that do not suit the step.
    """
    kind = node.kind
    if kind in ("Input", "Output"):
        return Plain(lambda x: x)
    if kind in ("Affine", "Linear"):
        return _matrix(node, dtype)
    if kind in ("Conv1d", "Conv2d"):
        return _convolution(node, dtype)
    if kind in ("SumPool2d", "AvgPool2d"):
        return _pool(node)
    if kind == "Flatten":
        return _flatten(node, len(shape))
    if kind == "Delay":
        return _delay(node, shape, how)
    if kind == "Scale":
        held = nn.ParameterDict({"scale": tensor(node.array("scale"), dtype)})
        return Plain(lambda x: x * held["scale"], held)
    if kind == "Threshold":
        held, slope = (
            nn.ParameterDict({"threshold": tensor(node.array("threshold"), dtype)}),
            Triangle(),
        )
        return Plain(lambda x: spike(x - held["threshold"], slope), held)
    cell = cell_of(node, how, dtype)
    return (Neurons if kind in SPIKING else Readout)(cell, dt_s=how.dt_s)


def _matrix(node: Node, dtype: torch.dtype) -> Plain:
    weight = node.array("weight")
    if weight.ndim == 2:
        rows, columns = weight.shape
        layer = EventLinear(columns, rows, bias=node.kind == "Affine")
        copied(layer.weight, weight, dtype)
        if node.kind == "Affine":
            copied(layer.bias, node.array("bias").reshape(-1), dtype)
        return Plain(layer, layer)
    many = nn.ParameterDict({"weight": tensor(weight, dtype)})
    if node.kind == "Affine":
        bias = tensor(node.array("bias"), dtype)
        many["bias"] = bias if bias.numel() == 1 else bias.reshape(weight.shape[:-1])

    def product(x: Tensor) -> Tensor:
        y = (many["weight"] @ x.unsqueeze(-1)).squeeze(-1)
        return y + many["bias"] if "bias" in many else y

    return Plain(product, many)


def even_padding(node: Node) -> tuple[int, int] | None:
    """Zeros around pictures where both sides of an axis have as many; None where they do not."""
    (up, down), (left, right) = padding_of(node, 2)
    return (up, left) if up == down and left == right else None


def _convolution(node: Node, dtype: torch.dtype) -> Plain:
    axes, weight, bias = int(node.kind[4]), node.array("weight"), node.array("bias").reshape(-1)
    stride, dilation = (wholes(node, name, axes) for name in ("stride", "dilation"))
    padding, groups = padding_of(node, axes), wholes(node, "groups", 1)[0]
    even = even_padding(node) if axes == 2 and groups == 1 else None
    if even is not None:
        how = Convolution(
            stride=(stride[0], stride[1]), padding=even, dilation=(dilation[0], dilation[1])
        )
        sizes = (weight.shape[1], weight.shape[0])
        layer = EventConv2d(sizes, (weight.shape[2], weight.shape[3]), how=how, bias=True)
        copied(layer.weight, weight, dtype)
        copied(layer.bias, bias, dtype)
        return Plain(layer, layer)
    held = nn.ParameterDict({"weight": tensor(weight, dtype), "bias": tensor(bias, dtype)})
    zeros = [side for one in reversed(padding) for side in one]
    product: Any = functional.conv1d if axes == 1 else functional.conv2d

    def convolve(x: Tensor) -> Tensor:
        rows = functional.pad(x.flatten(0, 1), zeros)
        spread = held["bias"].expand(len(weight))
        out = product(rows, held["weight"], spread, stride, 0, dilation, groups)
        return out.unflatten(0, x.shape[:2])

    return Plain(convolve, held)


def _pool(node: Node) -> Plain:
    taps, stride = (wholes(node, name, 2) for name in ("kernel_size", "stride"))
    padding, divisor = padding_of(node, 2), prod(taps) if node.kind == "AvgPool2d" else 1
    zeros = [side for one in reversed(padding) for side in one]

    def pool(x: Tensor) -> Tensor:
        rows = functional.pad(x.flatten(0, 1), zeros)
        out = functional.avg_pool2d(rows, taps, stride, divisor_override=divisor)
        return out.unflatten(0, x.shape[:2])

    return Plain(pool)


def _flatten(node: Node, axes: int) -> Plain:
    ends = (wholes(node, name, 1, least=-64)[0] for name in ("start_dim", "end_dim"))
    first, last = (one + axes * (one < 0) for one in ends)
    last = min(last, axes - 1)
    if first >= axes or first > last:
        return Plain(lambda x: x)
    return Plain(lambda x: x.flatten(first + 2, last + 2))


def _delay(node: Node, shape: Shape, how: Reading) -> Delay:
    seconds = node.array("delay").astype(np.float64)
    steps = np.round(seconds / how.dt_s)
    bad = seconds[~(np.isfinite(seconds) & (seconds >= 0))]
    if bad.size:
        raise DataError(f"delays are 0 s or more, got {bad[0]:g} s; correct them")
    if steps.max() * prod(shape) > LARGEST:
        raise DataError(
            f"a delay of {seconds.max():g} s is {steps.max():g} steps of {how.dt_s:g} s for "
            f"{prod(shape)} values each, and at most {LARGEST} are kept on their way; correct it "
            "or take longer steps"
        )
    return Delay(np.broadcast_to(steps, np.broadcast_shapes(steps.shape, shape)))
