"""Backpropagation through the tiles, counted as the other methods are.

Errors go down the stack by reads of the same arrays from the other side; what comes out of an
array arrives, through the router, at the group below.
"""

from typing import Any, final

from torch import Tensor, nn

from clnf.chip.analog import AbstractAnalog
from clnf.chip.hosting import Chip
from clnf.chip.local.method import AbstractMethod, softmax_error
from clnf.chip.local.traffic import held

__all__ = ["Backpropagation"]


@final
class Backpropagation(AbstractMethod):
    """What the others are measured against: ``cross_entropy(net(x), labels).backward()``."""

    def __init__(self, net: nn.Module, chip: Chip) -> None:
        super().__init__(net, chip)
        every = (leaf for block in self.blocks for leaf in block.modules.modules())
        layers = [leaf for leaf in every if isinstance(leaf, AbstractAnalog)]
        # Errors go down to the first layer that learns; stored ones before it get none.
        self.reached = layers[layers.index(self.blocks[0].layer) :]

    def teach(self, x: Tensor, labels: Tensor) -> Tensor:
        self.traffic.samples += len(x)
        entered: list[Tensor] = []

        def keep(module: nn.Module, inputs: Any) -> None:
            entered.append(inputs[0].detach())

        hooks = [layer.register_forward_pre_hook(keep) for layer in self.reached[1:]]
        with self.traffic.counting("activations"):
            out = x.detach()
            for block in self.blocks:
                out = block(out)
        for hook in hooks:
            hook.remove()
        loss, error = softmax_error(out, labels)
        with self.traffic.counting("errors"):
            # An error for each number that went up, after pooling, comes down where it came from.
            for layer, passed in zip(self.reached, [*entered, error], strict=True):
                self.traffic.errors(layer, passed)
            with held(self.reached, columns=True):
                out.backward(error)
        return loss
