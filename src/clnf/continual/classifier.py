"""Makes a plain classifier teachable."""

import hashlib
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

    def outputs(self, batch: Batch, rng: torch.Generator) -> Tensor:
        """Logits, shape [B, K]."""
        return self.net(batch.x)

    def loss_of(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Cross entropy of each row of logits [B, K], shape [B].

        Raises:
            ShapeError: a class has no logit.
        """
        try:
            return functional.cross_entropy(outputs, batch.cond, reduction="none")
        except IndexError:
            raise ShapeError(
                f"class {int(batch.cond.max())} has no logit: the network gives "
                f"{outputs.shape[-1]}; give it one for every class of the stream"
            ) from None

    def loss(self, batch: Batch, rng: torch.Generator) -> Tensor:
        """Cross entropy of each sample, shape [B].

        Raises:
            ShapeError: a class has no logit.
        """
        return self.loss_of(self.net(batch.x), batch)

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

    @torch.no_grad()
    def drawn_label(self, batch: Batch) -> Batch:
        """Each sample with one label drawn from the model's own probabilities.

        The empirical Fisher of the result is the one-draw estimate of the exact Fisher: right in
        the mean, but a single draw can miss by half or double, as rare labels weigh most. The
        draw is fixed by the logits themselves, so that measuring again gives the same.
        """
        chance = self.net(batch.x).softmax(-1)
        digest = hashlib.blake2b(chance.numpy(force=True).tobytes(), digest_size=8).digest()
        rng = torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)
        drawn = torch.multinomial(chance.cpu(), 1, generator=rng)[:, 0]
        return Batch(x=batch.x, cond=drawn.to(batch.cond.device), weight=batch.weight)
