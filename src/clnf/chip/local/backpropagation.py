"""Backpropagation through the tiles, counted as the other methods are.

Errors go down the stack by reads of the same arrays from the other side; each of them arrives at
the group below through the router.
"""

from typing import Any, final

from torch import Tensor, nn

from clnf.chip.local.method import AbstractMethod, softmax_error

__all__ = ["Backpropagation"]


@final
class Backpropagation(AbstractMethod):
    """What the others are measured against: ``cross_entropy(net(x), labels).backward()``."""

    def teach(self, x: Tensor, labels: Tensor) -> Tensor:
        self.traffic.samples += len(x)
        first, sensed = self.blocks[0].layer, []

        def keep(module: nn.Module, inputs: Any, out: Tensor) -> None:
            sensed.append(out.detach())

        handle = first.register_forward_hook(keep)
        with self.traffic.counting("activations"):
            out = x.detach()
            for block in self.blocks:
                out = block(out)
        handle.remove()
        loss, error = softmax_error(out, labels)
        with self.traffic.counting("errors"):
            out.backward(error)
            # Each layer above was charged for its errors when it handed them on. The first hands
            # none on, but its cells are moved by errors that came from above all the same.
            self.traffic.errors(first, sensed[0])
        return loss
