"""Layer-local losses: every block has a small head of its own and learns from nothing else.

    loss of block i = (1 - s) cross_entropy(A_i h_i, labels) + s |S(h_i) - S(one-hot)|^2

h_i is what leaves the block, A_i its head, hosted on a tile in the same group and pulsed like any
layer; S is the matrix of cosines between the samples of a batch, each centred first. The last
block has the cross-entropy of its own output. Only labels travel, besides activations.

The head reads the flattened output of its block; the source pools large images first and, for
convolutions, compares standard deviations of feature maps after one more convolution, which is
left out. S is worked out digitally and charged so.

What it cannot do: a block learns nothing for the sake of later ones, so the first blocks of a
narrow stack throw away what only later ones could use.

Source: Nøkland & Eidnes, "Training neural networks with local error signals", ICML 2019 (which
takes s = 0.99).
"""

from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clnf.chip.analog import AbstractAnalog
from clnf.chip.hosting import Chip
from clnf.chip.local.blocks import sizes
from clnf.chip.local.method import AbstractMethod, softmax_error
from clnf.chip.local.traffic import Inside
from clnf.chip.updates import PulseOptimizer, PulseRule
from clnf.chip.updates.mixed import charge_digital
from clnf.core.errors import ConfigError
from clnf.core.rng import fold, torch_rng

__all__ = ["LocalLosses", "similarity_loss"]


@final
class LocalLosses(AbstractMethod):
    """A head and a loss for each block.

    Args:
        net: a hosted stack whose last block gives a score for each class.
        chip: under it.
        example: one input [B, ...], to learn how large each block's output is.
        seed: of the heads and their cells.
        similarity: s, the share of the loss that compares samples, in [0, 1].

    Attributes:
        heads: the hosted heads, one for each block but the last.
    """

    def __init__(
        self, net: nn.Module, chip: Chip, *, example: Tensor, seed: int, similarity: float = 0.0
    ) -> None:
        super().__init__(net, chip)
        if not 0 <= similarity <= 1:
            raise ConfigError(f"the share of the similarity must be in [0, 1], got {similarity}")
        self.similarity = similarity
        *widths, classes = sizes(self.blocks, example)
        parts = nn.ModuleDict()
        for index, width in enumerate(widths):
            head = nn.Linear(width, classes)
            rng = torch_rng(fold(seed, "head"), index)
            head.weight.data = (torch.rand(classes, width, generator=rng) * 2 - 1) * width**-0.5
            head.bias.data.zero_()
            parts[f"head{index}"] = head
        self.heads = parts
        if len(parts):
            self.beside(parts, seed=seed)
        for index in range(len(parts)):
            Inside.place(self.head(index))

    def head(self, index: int) -> AbstractAnalog:
        """The head of a block."""
        layer = self.heads[f"head{index}"]
        assert isinstance(layer, AbstractAnalog)
        return layer

    @property
    def taught(self) -> list[AbstractAnalog]:
        return super().taught + [self.head(index) for index in range(len(self.heads))]

    def optimizer(self, *, lr: float, rule: PulseRule | None = None) -> PulseOptimizer:
        made = super().optimizer(lr=lr, rule=rule)
        for index in range(len(self.heads)):
            Inside.place(self.head(index))  # fast cells that add to a weight bring charges anew
        return made

    def teach(self, x: Tensor, labels: Tensor) -> Tensor:
        self.traffic.samples += len(x)
        for index, block in enumerate(self.blocks[:-1]):
            with self.traffic.counting("activations"):
                x = block(x.detach())
            with self.traffic.counting("labels"):
                self.traffic.labels(block.layer, labels)
                self._local(index, x, labels).backward()
        with self.traffic.counting("activations"):
            out = self.blocks[-1](x.detach())
        loss, error = softmax_error(out, labels)
        with self.traffic.counting("errors"):
            self.traffic.errors(self.blocks[-1].layer, error)
            out.backward(error)
        return loss

    def _local(self, index: int, h: Tensor, labels: Tensor) -> Tensor:
        """The loss of one block."""
        flat, share = h.flatten(1), self.similarity
        loss = torch.zeros((), device=h.device)
        if share < 1:
            loss = loss + (1 - share) * F.cross_entropy(self.head(index)(flat), labels)
        if share > 0:
            # One product of all pairs forward, two on the way back.
            count, tile = 3 * len(flat) ** 2 * flat.shape[1], self.blocks[index].layer.tiles[0]
            charge_digital(self.chip.bill, tile.name, count, 1, 1)
            loss = loss + share * similarity_loss(flat, labels)
        return loss


def similarity_loss(h: Tensor, labels: Tensor) -> Tensor:
    """Mean squared difference of the cosines between samples and those between their labels.

    Args:
        h: what leaves a block, [B, N].
        labels: [B].
    """
    one_hot = F.one_hot(labels, int(labels.max()) + 1).to(h.dtype)
    return F.mse_loss(_cosines(h), _cosines(one_hot))


def _cosines(x: Tensor) -> Tensor:
    centred = F.normalize(x - x.mean(1, keepdim=True), dim=1)
    return centred @ centred.T
