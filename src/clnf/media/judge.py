"""The measuring instrument: a small classifier whose features give KID and class match.

It is trained apart from any generator, on augmented pictures, and knows the families it can be
asked about and one class more, "other": animals, noise, static and blocks of colour. A generated
picture counts as a match only if the judge names the asked family among all of them. A clean
picture of something else goes to the class it resembles most.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clnf.core.errors import ShapeError
from clnf.core.rng import numpy_rng, torch_rng
from clnf.core.units import quantity
from clnf.media.pretrain import shifted

__all__ = ["OTHER", "Judge", "JudgePlan", "kid", "spoiled", "train_judge"]

OTHER = "other"


@final
class Judge(nn.Module):
    """Four convolutions, mean over positions, one linear layer.

    >>> judge = Judge(["faces", "flags"])
    >>> judge.name(torch.zeros(4, 3, 32, 32)).shape, judge.features(torch.zeros(4, 3, 32, 32)).shape
    (torch.Size([4]), torch.Size([4, 128]))
    """

    size = 128

    def __init__(self, families: list[str]) -> None:
        super().__init__()
        self.families = [*families, OTHER]
        widths = [3, 32, 64, 96, self.size]
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(widths))
        self.norms = nn.ModuleList(nn.GroupNorm(8, b) for b in widths[1:])
        self.head = nn.Linear(self.size, len(self.families))

    def features(self, x: Tensor) -> Tensor:
        """Features of pictures in [-1, 1]: [B, 3, 32, 32] to [B, 128].

        Raises:
            ShapeError: x is not a batch of 32x32 colour pictures.
        """
        if x.shape[1:] != (3, 32, 32):
            raise ShapeError(f"the judge sees [B, 3, 32, 32], got {tuple(x.shape)}; resize first")
        for level, (layer, norm) in enumerate(zip(self.layers, self.norms, strict=True)):
            x = F.silu(norm(layer(F.avg_pool2d(x, 2) if level else x)))
        return x.mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Logits over families and "other", [B, len(families)]."""
        out: Tensor = self.head(self.features(x))
        return out

    @torch.no_grad()
    def name(self, x: Tensor) -> Tensor:
        """Index of the most likely class of each picture, int64 [B]."""
        return self(x).argmax(1)

    def match(self, x: Tensor, family: str) -> float:
        """Share of pictures that the judge takes for ``family``, 0 to 1."""
        return float((self.name(x) == self.families.index(family)).float().mean())


def kid(a_ND: Tensor, b_MD: Tensor) -> float:
    """Kernel inception distance: unbiased squared MMD with k(a, b) = (a.b / D + 1)^3.

    Args:
        a_ND: features of one set, N >= 2.
        b_MD: features of the other, M >= 2.

    Returns:
        Near 0 for equal distributions; may be slightly negative.

    Source: Binkowski et al. 2018, equations 4 and 5.
    """
    a, b = a_ND.double(), b_MD.double()
    d = a.shape[1]
    aa, bb, ab = ((p @ q.T / d + 1) ** 3 for p, q in ((a, a), (b, b), (a, b)))
    n, m = len(a), len(b)
    within_a = (aa.sum() - aa.trace()) / (n * (n - 1))
    within_b = (bb.sum() - bb.trace()) / (m * (m - 1))
    return float(within_a + within_b - 2 * ab.mean())


def spoiled(x: Tensor, rng: torch.Generator) -> Tensor:
    """Pictures that are no picture: noise, heavy static, blocks of colour (for "other").

    Args:
        x: pictures in [-1, 1], [B, 3, H, W].
        rng: draws which and how.

    Returns:
        Shape of x.
    """
    b, _, h, w = x.shape
    kind = torch.randint(0, 3, (b,), generator=rng)
    noise = torch.randn(x.shape, generator=rng)
    static = (0.25 * x + 0.75 * noise).clamp(-1, 1)
    blocks = F.interpolate(noise[:, :, : h // 4, : w // 4], size=(h, w)).clamp(-1, 1)
    choices = torch.stack([noise.clamp(-1, 1), static, blocks])
    return choices[kind, torch.arange(b)]


@final
@dataclass(frozen=True, kw_only=True)
class JudgePlan:
    """How long and how fast the judge is trained."""

    steps: int = quantity("1", 1500)
    batch: int = quantity("1", 96)
    lr: float = quantity("1", 2e-3)
    shift: int = quantity("1", 3)
    spoiled: float = quantity("1", 0.1)


def _augmented(x: Tensor, reach: int, rng: torch.Generator) -> Tensor:
    """Change what does not make a family: side, hue, size, place, brightness, sharpness, noise."""
    size = (len(x), 1, 1, 1)
    x = torch.where(torch.rand(size, generator=rng) < 0.5, x.flip(3), x)
    hues = x[:, torch.randperm(3, generator=rng)]
    x = torch.where(torch.rand(size, generator=rng) < 0.3, hues, x)
    zoom = 0.8 + 0.6 * torch.rand(len(x), generator=rng)
    turn = 0.15 * torch.randn(len(x), generator=rng).clamp(-2, 2)
    cos, sin, nil = zoom * turn.cos(), zoom * turn.sin(), torch.zeros(len(x))
    frame = torch.stack([cos, -sin, nil, sin, cos, nil], dim=1).reshape(-1, 2, 3)
    grid = F.affine_grid(frame, list(x.shape), align_corners=False)
    x = F.grid_sample(x - 1, grid, align_corners=False) + 1
    x = shifted(x, reach, rng)
    x = (x + 1) * (0.85 + 0.3 * torch.rand(size, generator=rng)) - 1
    soft = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    blur = torch.rand(size, generator=rng) * (torch.rand(size, generator=rng) < 0.5)
    x = x + blur * (soft - x)
    level = 0.15 * torch.rand(size, generator=rng)
    return (x + level * torch.randn(x.shape, generator=rng)).clamp(-1, 1)


def train_judge(
    judge: Judge, images: Tensor, label: Tensor, plan: JudgePlan, seed: int
) -> Iterator[tuple[int, float]]:
    """Train the judge; classes are drawn equally often.

    Args:
        judge: trained in place.
        images: uint8 [N, 32, 32, 3].
        label: index into ``judge.families``, int64 [N].
        plan: lengths and rates.
        seed: every draw depends on (seed, step) only.

    Yields:
        (step, loss) after each step.
    """
    other = judge.families.index(OTHER)
    chance = (1.0 / torch.bincount(label)[label].double()).numpy()
    chance = chance / chance.sum()
    optimizer = torch.optim.AdamW(judge.parameters(), lr=plan.lr, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, plan.lr, total_steps=plan.steps)
    for step in range(plan.steps):
        picks = numpy_rng(seed, "judge", "pick", step).choice(len(images), plan.batch, p=chance)
        rng = torch_rng(seed, "judge", "draw", step)
        x = images[picks].permute(0, 3, 1, 2).float() / 127.5 - 1.0
        truth = label[picks].clone()
        bad = torch.rand(plan.batch, generator=rng) < plan.spoiled
        x = torch.where(bad[:, None, None, None], spoiled(x, rng), _augmented(x, plan.shift, rng))
        truth[bad] = other
        loss = F.cross_entropy(judge(x), truth, label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        yield step, float(loss.detach())
