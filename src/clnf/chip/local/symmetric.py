"""Reads of an array from the other side, as they are for a method that lives on them.

    columns driven with d -> DAC -> W^T d + read noise -> ADC -> rows

The plain way back of a layer leaves noise and conversion out, which is fair to errors that only
become pulses. Where states are relaxed by such reads they are put in: noise with the variance of
every cell the read passes through, and one 8-bit conversion on each side.

Simplified: a sum over several tiles is converted once, not once a tile; wires are those of the
forward read (their attenuation is in the weights that the cells show).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn.grad import conv1d_input, conv2d_input, conv3d_input

from clnf.chip.analog import AbstractAnalog
from clnf.chip.converters import Converter
from clnf.chip.convolutions import AnalogConv
from clnf.chip.layers import AnalogLinear
from clnf.core.errors import ConfigError
from clnf.devices.draws import hash_normals

__all__ = ["TransposedRead", "silent"]

_INPUTS = {1: conv1d_input, 2: conv2d_input, 3: conv3d_input}


@final
class TransposedRead:
    """Reads of one block's array from the column side.

    Args:
        layer: linear or a convolution.
        modules: the block's linear modules: that layer with flattening or pooling around it.

    Raises:
        ConfigError: the layer is of another kind.
    """

    def __init__(self, layer: AbstractAnalog, modules: nn.Module) -> None:
        if not isinstance(layer, AnalogLinear | AnalogConv):
            raise ConfigError(
                f"{layer.name} is a {type(layer).__name__}; symmetric reads are known of linear "
                "layers and convolutions"
            )
        self.layer, self.modules, spec = layer, modules, layer.circuit.spec
        self.dac = Converter(spec.dac_bits, spec.range_sigma, tracking=True)
        self.adc = Converter(spec.adc_bits, spec.range_sigma, tracking=True)
        self.reads = 0
        self._variance: Tensor | None = None

    def forget(self) -> None:
        """Look at the cells anew; call it after they were pulsed."""
        self._variance = None

    def numbers(self) -> list[tuple[str, float]]:
        """Ranges of both converters, and how many reads had noise."""
        return [("dac", self.dac.range), ("adc", self.adc.range), ("reads", self.reads)]

    def load_numbers(self, numbers: dict[str, float]) -> None:
        """Take back what :meth:`numbers` gave; cells are looked at anew."""
        self.dac.range, self.adc.range = numbers["dac"], numbers["adc"]
        self.reads = int(numbers["reads"])
        self.forget()

    def __call__(
        self, state: Tensor, drive: Tensor | Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Read forward from a state, and back with the columns driven.

        Args:
            state: what enters the block, [B, ...].
            drive: at what leaves it, [B, ...], or how it follows from what leaves it.

        Returns:
            What leaves the block, and what arrives at ``state``.
        """
        leaf = state.detach().requires_grad_()
        driven: list[Tensor] = []
        noise: list[Tensor] = []

        def after(module: nn.Module, inputs: Any, out: Tensor) -> None:
            shape = inputs[0].shape

            def arrive(error: Tensor) -> Tensor:
                sent = self._converted(self.dac, error)
                driven.append(sent)
                noise.append(self._noise(sent, shape))
                return sent

            out.register_hook(arrive)

        def before(module: nn.Module, inputs: Any) -> Tensor:
            x: Tensor = inputs[0].view_as(inputs[0])
            x.register_hook(lambda rows: self._converted(self.adc, rows + noise[0]))
            return x

        hooks = (
            self.layer.register_forward_pre_hook(before),
            self.layer.register_forward_hook(after),
        )
        with torch.enable_grad():
            out = self.modules(leaf)
        for hook in hooks:
            hook.remove()
        driven_by = drive(out.detach()) if callable(drive) else drive
        (back,) = torch.autograd.grad(out, leaf, driven_by)
        return out.detach(), back

    def _converted(self, converter: Converter, values: Tensor) -> Tensor:
        circuit = self.layer.circuit
        if not circuit.converting or not converter.bits or not bool(values.any()):
            return values
        top = 2 ** (converter.bits - 1) - 1
        converter.range = max(converter.range, float(values.abs().max()))
        step = converter.range / top
        return (values / step).round().clamp(-top, top) * step

    def _noise(self, sent: Tensor, shape: torch.Size) -> Tensor:
        if not self.layer.circuit.noisy:
            return torch.zeros(shape, device=sent.device)
        power = self._power(sent.square(), shape)
        self.reads += 1
        draw = hash_normals(self.layer.seed, ("back", self.reads), tuple(shape))
        return power.clamp(min=0.0).sqrt() * draw.to(sent.device)

    def _power(self, driven: Tensor, shape: torch.Size) -> Tensor:
        """Variance that arrives at each input: that of cells by the square of what drives them."""
        layer, variance = self.layer, self._spread()
        if isinstance(layer, AnalogLinear):
            return driven @ variance
        inputs: Callable[..., Tensor] = _INPUTS[layer.dims]
        own = layer.stride, layer.padding, layer.dilation, layer.wiring.groups
        with torch.enable_grad():  # what was padded digitally is added up where it came from
            plain = torch.zeros(shape, device=driven.device, requires_grad=True)
            wide = layer.padded(plain)
        power = inputs(wide.shape, variance, driven, *own)
        return power if wide is plain else torch.autograd.grad(wide, plain, power)[0]

    def _spread(self) -> Tensor:
        """Variance of one read of every weight, in the weight's shape."""
        if self._variance is None:
            layer = self.layer
            variance = torch.empty_like(layer.weight.data)
            flat = layer.matrix(variance)
            for tile in layer.tiles:
                flat[tile.columns, tile.rows] = tile.view(layer.circuit.now_s)[1]
            self._variance = variance
        return self._variance


@contextmanager
def silent(layers: list[AbstractAnalog]) -> Iterator[None]:
    """Inside, reads leave nothing behind for pulses."""
    kept = [(layer, layer.capture, layer.weight.requires_grad) for layer in layers]
    for layer in layers:
        layer.capture = None
        layer.weight.requires_grad_(False)
    try:
        yield
    finally:
        for layer, capture, learns in kept:
            layer.capture = capture
            layer.weight.requires_grad_(learns)
