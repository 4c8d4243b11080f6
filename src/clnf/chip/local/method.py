"""What all ways of teaching a stack share: its blocks, its traffic and one optimizer.

    method = DirectFeedback(net, chip, seed=1, outputs=10)
    optimizer = method.optimizer(lr=0.3, rule=PulseRule(mode="stochastic"))
    optimizer.zero_grad(); method.teach(x, labels); optimizer.step()

``teach`` stands where ``loss.backward()`` stood. It leaves the inputs and errors of each layer
where the layer is, and the optimizer's pulses are made from those.
"""

from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clnf.chip.analog import AbstractAnalog
from clnf.chip.hosting import Chip, host
from clnf.chip.local.blocks import blocks
from clnf.chip.local.traffic import Traffic
from clnf.chip.updates import PulseOptimizer, PulseRule
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
