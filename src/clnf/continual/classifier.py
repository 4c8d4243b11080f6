"""Makes a plain classifier teachable."""

import hashlib
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional

from clnf.core.errors import ClnfError, DataError, ShapeError
from clnf.core.records import Batch

__all__ = ["Classifier", "label_loss"]

# A label that torch passes over. Its default, -100, is what many data sets hand out for "unknown".
_IGNORED = torch.iinfo(torch.int64).min


def label_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """-log softmax(logits) at each label, shape [B]; no label is passed over.

    Labels are looked at more closely only where torch refuses them, so that it costs nothing.

    >>> label_loss(torch.zeros(2, 4), torch.tensor([0, 3])).exp().tolist()
    [4.0, 4.0]

    Args:
        logits: [B, K].
        labels: class indices, int64 [B], from 0 to K - 1.

    Raises:
        ShapeError: a class has no logit, or labels are not whole numbers of torch's type int64.
        DataError: a label is below 0.
    """
    try:
        return functional.cross_entropy(logits, labels, reduction="none", ignore_index=_IGNORED)
    except (IndexError, RuntimeError) as cause:
        raise _refusal(logits, labels) or cause from None


def _refusal(logits: Tensor, labels: Tensor) -> ClnfError | None:
    """What is wrong with labels; None where it is something else."""
    if labels.dtype != torch.int64:
        return ShapeError(
            f"labels are class numbers of type torch.int64, got {labels.dtype}; "
            "give labels.long() where they are whole numbers"
        )
    classes = logits.shape[-1]
    wrong = labels[(labels < 0) | (labels >= classes)]
    if not len(wrong):
        return None
    label = int(wrong[0])
    if label < 0:
        return DataError(
            f"label {label} is no class: labels go from 0 to {classes - 1}; "
            "leave samples without a label out"
        )
    return ShapeError(
        f"class {label} has no logit: the network gives {classes}; "
        "give it one for every class of the stream"
    )


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
            ShapeError: a class has no logit, or labels are not int64.
            DataError: a label is below 0.
        """
        return label_loss(outputs, batch.cond)

    def loss(self, batch: Batch, rng: torch.Generator) -> Tensor:
        """Cross entropy of each sample, shape [B].

        Raises:
            ShapeError: a class has no logit, or labels are not int64.
            DataError: a label is below 0.
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
