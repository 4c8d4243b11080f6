"""Direct feedback alignment: the output's error goes to every layer through fixed random weights.

    error of block i:  d_i = B_i e,   e = softmax(out) - one-hot

in place of what backpropagation would send, W^T of all layers above. B_i is a matrix on a tile of
its own beside block i, programmed once and read through its converters with the noise of its
cells; e is broadcast. No array is read from the other side, and a block needs no other block's
weights. Forward weights align with the feedback while they learn.

What it cannot do: lower convolutions align badly, since one random matrix must serve all places
of an image (Bartunov et al., NeurIPS 2018).

Source: Nøkland, "Direct feedback alignment provides learning in deep neural networks", NeurIPS
2016; Lillicrap et al., Nat. Commun. 2016.
"""

from typing import final

import torch
from torch import Tensor, nn

from clnf.chip.analog import AbstractAnalog
from clnf.chip.hosting import Chip
from clnf.chip.local.blocks import sizes
from clnf.chip.local.method import AbstractMethod, softmax_error
from clnf.core.errors import ConfigError
from clnf.core.rng import fold, torch_rng

__all__ = ["DirectFeedback"]


@final
class DirectFeedback(AbstractMethod):
    """Random feedback on tiles of its own.

    Args:
        net: a hosted stack.
        chip: under it.
        example: one input [B, ...], to learn how large each block's output is.
        seed: of the feedback and its cells.
        scale: largest feedback weight; None for 1 / sqrt(classes), as a linear layer begins.

    Attributes:
        feedback: the hosted matrices, one for each block but the last.
    """

    def __init__(
        self, net: nn.Module, chip: Chip, *, example: Tensor, seed: int, scale: float | None = None
    ) -> None:
        super().__init__(net, chip)
        if scale is not None and not 0 < scale < float("inf"):
            raise ConfigError(f"the largest feedback weight must be positive, got {scale}")
        *widths, classes = sizes(self.blocks, example)
        parts = nn.ModuleDict()
        for index, size in enumerate(widths):
            matrix = nn.Linear(classes, size, bias=False)
            rng = torch_rng(fold(seed, "feedback"), index)
            drawn = torch.rand(size, classes, generator=rng) * 2 - 1
            matrix.weight.data = drawn * (classes**-0.5 if scale is None else scale)
            parts[f"feedback{index}"] = matrix
        self.feedback = parts
        if len(parts):
            self.beside(parts, seed=seed)

    def matrix(self, index: int) -> AbstractAnalog:
        """The feedback layer of a block."""
        layer = self.feedback[f"feedback{index}"]
        assert isinstance(layer, AbstractAnalog)
        return layer

    def teach(self, x: Tensor, labels: Tensor) -> Tensor:
        self.traffic.samples += len(x)
        outs: list[Tensor] = []
        with self.traffic.counting("activations"):
            for block in self.blocks:
                x = block(x.detach())
                outs.append(x)
        loss, error = softmax_error(outs[-1], labels)
        with self.traffic.counting("errors"):
            self.traffic.errors(self.blocks[-1].layer, error)
            outs[-1].backward(error)
        for index, out in enumerate(outs[:-1]):
            with self.traffic.counting("feedback"), torch.no_grad():
                sent = self.matrix(index)(error)
            out.backward(sent.view_as(out))
        return loss
