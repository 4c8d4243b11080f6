"""Forward-forward: every block tells real inputs from false ones, and nothing goes back.

    goodness g = mean of the squares that leave a block
    loss of a block = softplus(level - g of right pairs) + softplus(g of wrong pairs - level)

A pair is an input with a label laid over it: the class's own fixed random pattern of signs, over
all of the input, so that a convolution sees it everywhere. Wrong pairs carry another class, drawn
at random. What leaves a block is brought to a mean square of 1 before the next one, or goodness
would simply be handed on. The last block names classes: it learns by cross-entropy from what
leaves the block before it when no label is laid over the input, and so predicts in one pass.

Three passes a batch: right, wrong, and none. The input travels once, with two labels; patterns are
laid over it in the first group. What it cannot do: blocks below learn to tell pairs apart, not what
the last one needs, and every block but the last hands on three times the activations.

Source: Hinton, "The forward-forward algorithm", arXiv 2212.13345; patterns over the whole input
after Scodellaro et al., "Training convolutional neural networks with the forward-forward
algorithm", arXiv 2312.14924, with random signs in place of waves.
"""

from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clnf.chip.hosting import Chip
from clnf.chip.local.blocks import sizes
from clnf.chip.local.method import AbstractMethod, softmax_error
from clnf.chip.local.traffic import held
from clnf.core.errors import ConfigError
from clnf.core.rng import torch_rng

__all__ = ["ForwardForward", "goodness_loss"]


@final
class ForwardForward(AbstractMethod):
    """Goodness in every block but the last.

    Args:
        net: a hosted stack whose last block gives a score for each class.
        chip: under it.
        example: one input [B, ...].
        seed: of the patterns and of wrong labels.
        strength: height of the patterns, in root-mean-squares of the example.
        level: goodness that parts right from wrong, > 0.

    Raises:
        ConfigError: the stack has one block only, or a number is not positive.
    """

    patterns: Tensor

    def __init__(
        self,
        net: nn.Module,
        chip: Chip,
        *,
        example: Tensor,
        seed: int,
        strength: float = 1.0,
        level: float = 0.5,
    ) -> None:
        super().__init__(net, chip)
        if min(strength, level) <= 0:
            raise ConfigError(f"strength and level must be positive, got {strength} and {level}")
        if len(self.blocks) < 2:
            raise ConfigError("forward-forward needs a block before the last one, got one in all")
        classes = sizes(self.blocks, example)[-1]
        rng = torch_rng(seed, "patterns")
        drawn = torch.randint(0, 2, (classes, *example.shape[1:]), generator=rng) * 2.0 - 1.0
        height = strength * float(example.square().mean().sqrt())
        self.register_buffer("patterns", (drawn * height).to(example.device))
        self.level, self.seed, self.batches = level, seed, 0

    def teach(self, x: Tensor, labels: Tensor) -> Tensor:
        self.traffic.samples += len(x)
        right, wrong, plain = x + self.patterns[labels], x + self.patterns[self._wrong(labels)], x
        with self.traffic.counting("labels"):
            for _ in range(2):
                self.traffic.labels(self.blocks[0].layer, labels)
        for index, block in enumerate(self.blocks[:-1]):
            with self.traffic.counting("activations"):
                with torch.no_grad():
                    plain = _level(block(plain))
                with held([block.layer], rows=index == 0):
                    both = block(torch.cat([right, wrong]).detach())
            good, bad = both.chunk(2)
            goodness_loss(good, bad, self.level).backward()
            right, wrong = _level(both.detach()).chunk(2)
        with self.traffic.counting("activations"):
            out = self.blocks[-1](plain)
        loss, error = softmax_error(out, labels)
        with self.traffic.counting("errors"):
            self.traffic.errors(self.blocks[-1].layer, error)
            out.backward(error)
        return loss

    def predict(self, x: Tensor) -> Tensor:
        for block in self.blocks[:-1]:
            x = _level(block(x))
        return self.blocks[-1](x)

    def numbers(self) -> dict[str, float]:
        return {"batches": self.batches}

    def load_numbers(self, numbers: dict[str, float]) -> None:
        self.batches = int(numbers["batches"])

    def _wrong(self, labels: Tensor) -> Tensor:
        """Another class for each sample."""
        self.batches += 1
        rng, classes = torch_rng(self.seed, "wrong", self.batches), len(self.patterns)
        turn = torch.randint(1, classes, labels.shape, generator=rng).to(labels.device)
        return (labels + turn) % classes


def goodness_loss(right: Tensor, wrong: Tensor, level: float) -> Tensor:
    """Mean loss of one block.

    Args:
        right: what leaves it for right pairs, [B, ...].
        wrong: for wrong pairs.
        level: goodness that parts them.
    """
    good, bad = (one.flatten(1).square().mean(1) for one in (right, wrong))
    return (F.softplus(level - good) + F.softplus(bad - level)).mean()


def _level(x: Tensor) -> Tensor:
    """The same direction with a mean square of 1 for each sample."""
    power = x.flatten(1).square().mean(1).clamp(min=1e-12).rsqrt()
    return x * power.view(-1, *(1,) * (x.dim() - 1))
