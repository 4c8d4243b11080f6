"""What all ways of teaching a stack share: its blocks, its traffic and one optimizer.

    method = DirectFeedback(net, chip, seed=1, outputs=10)
    optimizer = method.optimizer(lr=0.3, rule=PulseRule(mode="stochastic"))
    optimizer.zero_grad(); method.teach(x, labels); optimizer.step()

``teach`` stands where ``loss.backward()`` stood. It leaves the inputs and errors of each layer
where the layer is, and the optimizer's pulses are made from those.
"""

from abc import ABC, abstractmethod
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clnf.chip.analog import AbstractAnalog
from clnf.chip.hosting import Chip, host
from clnf.chip.local.blocks import blocks
from clnf.chip.local.traffic import Traffic
from clnf.chip.updates import PulseOptimizer, PulseRule
from clnf.core.errors import ConfigError
from clnf.core.rng import fold

__all__ = ["AbstractMethod", "softmax_error"]


class AbstractMethod(nn.Module, ABC):
    """A way of making errors for the layers of a stack.

    Args:
        net: a hosted stack, see :func:`clnf.chip.local.blocks.blocks`.
        chip: what :func:`clnf.chip.host` gave for it.

    Attributes:
        net: the stack.
        chip: under the stack.
        blocks: the stack, cut.
        extras: chips of this method's own, in the ledger of the first.
        traffic: what has moved between groups since.
    """

    def __init__(self, net: nn.Module, chip: Chip) -> None:
        super().__init__()
        self.net, self.chip = net, chip
        self.blocks = blocks(net)
        self.extras: list[Chip] = []
        self.traffic = Traffic(chip.circuit)

    def beside(self, parts: nn.ModuleDict, *, seed: int) -> Chip:
        """Put linear parts of this method's own on tiles of the same kind and bill."""
        parts.to(self.blocks[0].layer.weight.device)
        seed = fold(seed, "local", *parts)
        chip = host(parts, assign=_plastic, seed=seed, spec=self.chip.spec, ledger=self.chip.ledger)
        chip.circuit.now_s = self.chip.circuit.now_s
        self.extras.append(chip)
        return chip

    @property
    def chips(self) -> list[Chip]:
        """The chip under the stack, and those of this method's own."""
        return [self.chip, *self.extras]

    def advance(self, seconds: float, *, temperature_k: float | None = None) -> None:
        """Let simulated time pass for all of them, see :meth:`clnf.chip.hosting.Chip.advance`."""
        for chip in self.chips:
            chip.advance(seconds, temperature_k=temperature_k)

    def saved(self) -> dict[str, Any]:
        """All that is remembered: cells of all chips, digital parameters, traffic, own numbers.

        Returns:
            A flat dict of JSON values and of tensors on the CPU.
        """
        state: dict[str, Any] = {"numbers": self.numbers(), "bits": dict(self.traffic.bits)}
        state["samples"] = self.traffic.samples
        for index, chip in enumerate(self.chips):
            state |= {f"chip{index}/{key}": value for key, value in chip.state_dict().items()}
        digital = self._digital().items()
        return state | {f"digital/{k}": v.detach().to("cpu", copy=True) for k, v in digital}

    def restore(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`saved` gave.

        Raises:
            ConfigError: it is another method's, or damaged.
        """
        digital = self._digital()
        wanted = {"numbers", "bits", "samples", *(f"digital/{name}" for name in digital)}
        if not wanted <= state.keys() or state["numbers"].keys() != self.numbers().keys():
            raise ConfigError(
                f"this state is not one of {type(self).__name__} over this stack; restore what "
                "its own saved() gave"
            )
        for index, chip in enumerate(self.chips):
            head = f"chip{index}/"
            chip.load_state_dict(
                {k.removeprefix(head): v for k, v in state.items() if k.startswith(head)}
            )
        for name, parameter in digital.items():
            parameter.data.copy_(state[f"digital/{name}"])
        self.traffic.bits, self.traffic.samples = dict(state["bits"]), state["samples"]
        self.load_numbers(state["numbers"])

    def numbers(self) -> dict[str, float]:
        """What a method counts by itself; most count nothing."""
        return {}

    def load_numbers(self, numbers: dict[str, float]) -> None:
        """Take back what :meth:`numbers` gave."""

    def _digital(self) -> dict[str, nn.Parameter]:
        """Parameters that are not cells."""
        layers = (layer for chip in self.chips for layer in chip.layers.values())
        cells = {id(layer.weight) for layer in layers}
        return {name: p for name, p in self.named_parameters() if id(p) not in cells}

    @property
    def taught(self) -> list[AbstractAnalog]:
        """Layers whose cells learn."""
        return [block.layer for block in self.blocks]

    def optimizer(self, *, lr: float, rule: PulseRule | None = None) -> PulseOptimizer:
        """An optimizer for everything that learns: plastic layers by pulses, the rest by Adam.

        Args:
            lr: learning rate in weight units.
            rule: how gradients become pulses.
        """
        layers = self.taught
        on_tiles = {id(layer.weight) for layer in layers}
        fixed = {id(layer.weight) for chip in self.extras for layer in chip.layers.values()}
        digital = [
            p for p in self.parameters() if p.requires_grad and id(p) not in on_tiles | fixed
        ]
        bill = self.chip.bill
        return PulseOptimizer(layers, digital, lr=lr, rule=rule or PulseRule(), bill=bill)

    @abstractmethod
    def teach(self, x: Tensor, labels: Tensor) -> Tensor:
        """Make errors for every layer from one batch; stands for ``loss.backward()``.

        Args:
            x: inputs, [B, ...].
            labels: classes, [B].

        Returns:
            What to watch: the loss of the last block, a number.
        """

    def forward(self, x: Tensor) -> Tensor:
        """The same as :meth:`predict`, so that a method can stand where its net stood."""
        return self.predict(x)

    def predict(self, x: Tensor) -> Tensor:
        """Scores of each class, [B, classes]."""
        out: Tensor = self.net(x)
        return out


def softmax_error(out: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy, and its gradient to the outputs: (softmax - one-hot) / B."""
    leaf = out.detach().requires_grad_()
    with torch.enable_grad():
        loss = F.cross_entropy(leaf, labels)
    (error,) = torch.autograd.grad(loss, leaf)
    return loss.detach(), error


def _plastic(name: str, leaf: nn.Module) -> Literal["plastic"]:
    return "plastic"
