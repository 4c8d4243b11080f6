"""Makes a plain classifier teachable."""

from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional

from clnf.core.errors import ShapeError
from clnf.core.records import Batch

__all__ = ["Classifier"]


@final
class Classifier(nn.Module):
    """Wraps a module that maps x [B, ...] to logits [B, K]; ``cond`` is the class index.

    All classes of a stream need their logit from the start: an importance measured before a
    head grows would index wrongly.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        """Logits, shape [B, K]."""
        return self.net(x)

    def loss(self, batch: Batch, rng: torch.Generator) -> Tensor:
        """Cross entropy of each sample, shape [B].

        Raises:
            ShapeError: a class has no logit.
        """
        logits = self.net(batch.x)
        try:
            return functional.cross_entropy(logits, batch.cond, reduction="none")
        except IndexError:
            raise ShapeError(
                f"class {int(batch.cond.max())} has no logit: the network gives "
                f"{logits.shape[-1]}; give it one for every class of the stream"
            ) from None

    @torch.no_grad()
    def every_label(self, batch: Batch) -> Batch:
        """Each sample once per class, weighted by the model's probability of that class.

        The empirical Fisher of the result is the exact Fisher of the batch. Shape [B K, ...].
        """
        chance = self.net(batch.x).softmax(-1)
        size, classes = chance.shape
        return Batch(
            x=batch.x.repeat_interleave(classes, 0),
            cond=torch.arange(classes, device=batch.x.device).repeat(size),
            weight=(chance * batch.weight[:, None]).flatten(),
        )
