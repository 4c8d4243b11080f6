"""The measuring instrument: a small classifier whose features give KID and class match.

It is trained apart from any generator, on augmented pictures, and knows the families it can be
asked about and one class more, "other": noise, static, blocks and blobs of colour, and pictures
of families that nobody asks for; for the bundled judge these are mammals, birds, sea animals and
insects. A generated picture counts as a match only if the judge names the asked family among all
of them. A clean picture of something else goes to the class it resembles most.

A family may have only twenty pictures to learn from, too few for deep layers. So what it looks
for is learned without labels: dictionaries of patches at three scales (``dictionary``). Only the
two small layers after them are trained by gradients.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clnf.core.errors import ConfigError, ShapeError
from clnf.core.rng import numpy_rng, torch_rng
from clnf.core.units import quantity
from clnf.media.patches import colours, dictionary, strongest
from clnf.media.pretrain import above_zero, shifted

__all__ = ["OTHER", "Judge", "JudgePlan", "spoiled", "train_judge"]

OTHER = "other"
_CHUNK = 256  # pictures whose answers are computed together, for memory's sake
# Not in the plan: a new key would change the hash of the recipe that the bundled judge names.
_WEIGHT_DECAY = 0.1  # of the two layers, which have many more weights than there are pictures
_SMOOTHING = 0.05  # of labels, as a few pictures could pass for another family
_GOOD_TO_SPOILED = 16  # pictures for each spoiled one, which join the families of "other"


class _Scale(NamedTuple):
    """One dictionary: how far pictures are shrunk, its patches' side and number, their stride."""

    shrink: int
    side: int
    patches: int
    stride: int


_SCALES = (_Scale(1, 6, 384, 2), _Scale(2, 6, 384, 1), _Scale(4, 5, 256, 1))


def _all(x: Tensor) -> Tensor:
    return x


@final
class Judge(nn.Module):
    """Strongest answers of three patch dictionaries and colours, then two linear layers.

    >>> judge = Judge(["faces", "flags"])
    >>> judge.name(torch.zeros(4, 3, 32, 32)).shape, judge.features(torch.zeros(4, 3, 32, 32)).shape
    (torch.Size([4]), torch.Size([4, 128]))
    """

    size = 128

    def __init__(self, families: list[str]) -> None:
        super().__init__()
        self.families = [*families, OTHER]
        self.patches = nn.ModuleList(nn.Conv2d(3, s.patches, s.side) for s in _SCALES)
        self.patches.requires_grad_(False)
        width = sum(2 * s.patches for s in _SCALES) + colours(torch.zeros(1, 3, 32, 32)).shape[1]
        self.centre = nn.Buffer(torch.zeros(width))
        self.spread = nn.Buffer(torch.ones(width))
        self.embed = nn.Linear(width, self.size)
        self.norm = nn.LayerNorm(self.size)
        self.head = nn.Linear(self.size, len(self.families))

    def dictionaries(self) -> Iterator[tuple[_Scale, Tensor, Tensor]]:
        """Scale, filters and offsets of each dictionary of patches."""
        for layer, scale in zip(self.patches, _SCALES, strict=True):
            assert isinstance(layer, nn.Conv2d)
            assert layer.bias is not None
            yield scale, layer.weight, layer.bias

    def answers(self, x: Tensor) -> Tensor:
        """What the untrained part sees: [B, 3, 32, 32] in [-1, 1] to [B, answers].

        Raises:
            ShapeError: x is not a batch of 32x32 colour pictures.
        """
        if x.shape[1:] != (3, 32, 32):
            raise ShapeError(f"the judge sees [B, 3, 32, 32], got {tuple(x.shape)}; resize first")
        seen = [
            strongest(_shrunk(x, scale.shrink), filters, offset, scale.stride)
            for scale, filters, offset in self.dictionaries()
        ]
        return torch.cat([*seen, colours(x)], dim=1)

    def embedded(self, answers: Tensor, left: Callable[[Tensor], Tensor] = _all) -> Tensor:
        """Features from answers: [B, answers] to [B, size].

        Args:
            answers: of the untrained part.
            left: what a step of training leaves of the scaled answers; all of them by default.
        """
        seen = left((answers - self.centre) / self.spread)
        out: Tensor = F.silu(self.norm(self.embed(seen)))
        return out

    def features(self, x: Tensor) -> Tensor:
        """Features of pictures in [-1, 1]: [B, 3, 32, 32] to [B, size].

        Raises:
            ShapeError: x is not a batch of 32x32 colour pictures.
        """
        return self.embedded(self.answers(x))

    def forward(self, x: Tensor) -> Tensor:
        """Logits over families and "other", mean of a picture and its mirror image.

        Returns:
            Shape [B, C]; C counts ``families``, of which "other" is the last.
        """
        both = self.head(self.features(torch.cat([x, x.flip(3)])))
        out: Tensor = both.reshape(2, len(x), -1).mean(0)
        return out

    @torch.no_grad()
    def name(self, x: Tensor) -> Tensor:
        """Index of the most likely class of each picture, int64 [B]."""
        return self(x).argmax(1)

    def match(self, x: Tensor, family: str) -> float:
        """Share of pictures that the judge takes for ``family``, 0 to 1."""
        return float((self.name(x) == self.families.index(family)).float().mean())


def _shrunk(x: Tensor, by: int) -> Tensor:
    """Averages over by x by pixels; the coarsest gets a white rim, so that edges count."""
    x = F.avg_pool2d(x, by) if by > 1 else x
    return F.pad(x, (1, 1, 1, 1), value=1.0) if by == 4 else x


def spoiled(x: Tensor, rng: torch.Generator) -> Tensor:
    """Pictures that are no picture, for "other".

    Noise, heavy static, blocks of colour, soft blobs of colour, a picture smeared beyond telling.

    Args:
        x: pictures in [-1, 1], [B, 3, H, W].
        rng: draws which and how.

    Returns:
        Shape of x.
    """
    b, _, h, w = x.shape
    kind = torch.randint(0, 5, (b,), generator=rng)
    noise = torch.randn(x.shape, generator=rng)
    static = (0.25 * x + 0.75 * noise).clamp(-1, 1)
    blocks = F.interpolate(noise[:, :, : h // 4, : w // 4], size=(h, w)).clamp(-1, 1)
    rough = torch.randn((b, 3, 4, 4), generator=rng) + torch.randn((b, 3, 1, 1), generator=rng)
    blobs = F.interpolate(rough, size=(h, w), mode="bicubic").clamp(-1, 1)
    smear = x
    for _ in range(int(torch.randint(3, 6, (1,), generator=rng))):
        smear = F.avg_pool2d(F.pad(smear, (2, 2, 2, 2), mode="replicate"), 5, stride=1)
    choices = torch.stack([noise.clamp(-1, 1), static, blocks, blobs, smear])
    return choices[kind, torch.arange(b)]


@final
@dataclass(frozen=True, kw_only=True)
class JudgePlan:
    """How long and how fast the judge is trained.

    Attributes:
        copies: changed copies of every picture; their answers are computed once and kept.
        steps: of the two layers on these answers.
        batch: answers in a step.
        lr: highest learning rate.
        shift: largest shift of a copy in pixels.
        hue: chance that a copy's colour channels change places.
        drop: chance that an answer or a feature is left out of a step.
    """

    copies: int = quantity("1", 20)
    steps: int = quantity("1", 800)
    batch: int = quantity("1", 128)
    lr: float = quantity("1", 1.5e-3)
    shift: int = quantity("1", 3)
    hue: float = quantity("1", 0.075)
    drop: float = quantity("1", 0.3)

    def __post_init__(self) -> None:
        above_zero(self, "copies", "steps", "batch", "lr")
        if not 0 <= self.shift <= 32:
            raise ConfigError(f"shift must be 0 to 32 pixels, got {self.shift}")
        if not 0.0 <= self.hue <= 1.0:
            raise ConfigError(f"hue must be 0 to 1, got {self.hue}")
        if not 0.0 <= self.drop < 1.0:
            raise ConfigError(f"drop must be at least 0 and below 1, got {self.drop}")


def _augmented(x: Tensor, plan: JudgePlan, rng: torch.Generator) -> Tensor:
    """Change what does not make a family: side, hue, size, place, brightness, sharpness, noise."""
    size = (len(x), 1, 1, 1)
    x = torch.where(torch.rand(size, generator=rng) < 0.5, x.flip(3), x)
    hues = x[:, torch.randperm(3, generator=rng)]
    x = torch.where(torch.rand(size, generator=rng) < plan.hue, hues, x)
    zoom = 0.8 + 0.6 * torch.rand(len(x), generator=rng)
    turn = 0.15 * torch.randn(len(x), generator=rng).clamp(-2, 2)
    cos, sin, nil = zoom * turn.cos(), zoom * turn.sin(), torch.zeros(len(x))
    frame = torch.stack([cos, -sin, nil, sin, cos, nil], dim=1).reshape(-1, 2, 3)
    grid = F.affine_grid(frame, list(x.shape), align_corners=False)
    x = F.grid_sample(x - 1, grid, align_corners=False) + 1
    x = shifted(x, plan.shift, rng)
    x = (x + 1) * (0.85 + 0.3 * torch.rand(size, generator=rng)) - 1
    soft = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    blur = torch.rand(size, generator=rng) * (torch.rand(size, generator=rng) < 0.5)
    x = x + blur * (soft - x)
    level = 0.15 * torch.rand(size, generator=rng)
    return (x + level * torch.randn(x.shape, generator=rng)).clamp(-1, 1)


@torch.no_grad()
def _prepared(
    judge: Judge, x: Tensor, label: Tensor, plan: JudgePlan, seed: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Answers to changed copies of all pictures and to spoiled ones, with their classes."""
    for scale, filters, offset in judge.dictionaries():
        rng = torch_rng(seed, "judge", "patches", scale.shrink)
        learned = dictionary(_shrunk(x, scale.shrink), scale.side, scale.patches, rng)
        filters.copy_(learned[0])
        offset.copy_(learned[1])
    other = judge.families.index(OTHER)
    for copy in range(plan.copies):
        rng = torch_rng(seed, "judge", "draw", copy)
        bad = torch.randperm(len(x), generator=rng)[: len(x) // _GOOD_TO_SPOILED + 1]
        both = torch.cat([_augmented(x, plan, rng), spoiled(x[bad], rng)])
        answers = torch.cat([judge.answers(part) for part in both.split(_CHUNK)])
        yield answers, torch.cat([label, torch.full((len(bad),), other)])


def train_judge(
    judge: Judge, images: Tensor, label: Tensor, plan: JudgePlan, seed: int
) -> Iterator[tuple[int, float]]:
    """Train the judge: patches without labels, then two layers; classes are drawn equally often.

    Args:
        judge: trained in place.
        images: uint8 [N, 32, 32, 3].
        label: index into ``judge.families``, int64 [N].
        plan: lengths and rates.
        seed: every draw depends on (seed, copy or step) only.

    Yields:
        (step, loss) after each step, of ``plan.copies + plan.steps``; while copies are prepared
        the loss is that of guessing.

    Raises:
        DataError: the pictures are too few or too flat to learn patches from.
    """
    ready = []
    x = images.permute(0, 3, 1, 2).float() / 127.5 - 1.0
    for copy, pair in enumerate(_prepared(judge, x, label, plan, seed)):
        ready.append(pair)
        yield copy, math.log(len(judge.families))
    answers, label = (torch.cat(part) for part in zip(*ready, strict=True))
    judge.centre.copy_(answers.mean(0))
    # An answer that hardly ever varies must not be blown up to the size of the others.
    judge.spread.copy_(answers.std(0) + 0.1 * answers.std(0).mean())
    chance = (1.0 / torch.bincount(label)[label].double()).numpy()
    chance = chance / chance.sum()
    layers = [p for p in judge.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(layers, lr=plan.lr, weight_decay=_WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, plan.lr, total_steps=plan.steps)
    for step in range(plan.steps):
        picks = numpy_rng(seed, "judge", "pick", step).choice(len(label), plan.batch, p=chance)
        rng = torch_rng(seed, "judge", "drop", step)
        left = partial(_dropped, chance=plan.drop, rng=rng)
        logits = judge.head(left(judge.embedded(answers[picks], left)))
        loss = F.cross_entropy(logits, label[picks], label_smoothing=_SMOOTHING)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        yield plan.copies + step, float(loss.detach())


def _dropped(x: Tensor, chance: float, rng: torch.Generator) -> Tensor:
    return x * (torch.rand(x.shape, generator=rng) >= chance) / (1 - chance)
