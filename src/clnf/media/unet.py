"""A small U-Net behind a space-to-depth step: 32x32 pictures on a CPU.

Shapes: B batch, C channels, H height, W width, E embedding. Every weight sits in an
``nn.Linear`` or ``nn.Conv2d`` leaf (kernel 1 or 3, stride 1), so all of it can live on tiles;
normalisation, activation, the two look-ups and resizing stay digital.
"""

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clnf.core.errors import ConfigError
from clnf.core.units import quantity

__all__ = ["NULL_CONCEPT", "UNet", "UNetParams", "time_features"]

NULL_CONCEPT = 0


@final
@dataclass(frozen=True, kw_only=True)
class UNetParams:
    """Sizes of the U-Net; the defaults give 1.7 million weights."""

    picture_channels: int = quantity("1", 3)
    fold: int = quantity("1", 2)
    width: int = quantity("1", 48)
    multipliers: tuple[int, ...] = quantity("1", (1, 2, 2))
    embedding: int = quantity("1", 192)
    concepts: int = quantity("1", 64)

    def __post_init__(self) -> None:
        if self.width % 8:
            raise ConfigError(f"width must be a multiple of 8, got {self.width}")
        for name in ("picture_channels", "fold", "width", "embedding", "concepts"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.multipliers or min(self.multipliers) < 1:
            raise ConfigError(f"multipliers must be 1 or more each, got {self.multipliers}")


def time_features(t_B: Tensor, size: int) -> Tensor:
    """Sines and cosines of 1000 t at geometric frequencies from 1 to 1e-4.

    Args:
        t_B: flow time in [0, 1], shape [B].
        size: number of features E, even.

    Returns:
        Shape [B, E].

    Source: Vaswani et al. 2017, section 3.5, applied to 1000 t.
    """
    half = size // 2
    scale = torch.arange(half, device=t_B.device, dtype=torch.float32) / half
    angle = 1000.0 * t_B.float()[:, None] * torch.exp(-math.log(1e4) * scale)
    return torch.cat([angle.sin(), angle.cos()], dim=1)


@final
class _ResBlock(nn.Module):
    """Two convolutions with the embedding as scale and shift between them."""

    def __init__(self, inward: int, outward: int, embedding: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(8, inward)
        self.conv1 = nn.Conv2d(inward, outward, 3, padding=1)
        self.modulate = nn.Linear(embedding, 2 * outward)
        self.norm2 = nn.GroupNorm(8, outward)
        self.conv2 = nn.Conv2d(outward, outward, 3, padding=1)
        self.skip = nn.Conv2d(inward, outward, 1) if inward != outward else nn.Identity()
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.modulate.weight)
        for leaf in (self.conv2, self.modulate):
            assert leaf.bias is not None
            nn.init.zeros_(leaf.bias)

    def forward(self, x: Tensor, embedded: Tensor) -> Tensor:
        scale, shift = self.modulate(embedded)[:, :, None, None].chunk(2, dim=1)
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.norm2(h) * (1 + scale) + shift
        out: Tensor = self.skip(x) + self.conv2(F.silu(h))
        return out


@final
class _Attention(nn.Module):
    """Four-head self-attention over the positions of a small map, added to it."""

    heads = 4

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, channels)
        self.query_key_value = nn.Conv2d(channels, 3 * channels, 1)
        self.join = nn.Conv2d(channels, channels, 1)
        nn.init.zeros_(self.join.weight)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        q, k, v = (
            self.query_key_value(self.norm(x))
            .reshape(b, 3, self.heads, c // self.heads, h * w)
            .transpose(3, 4)
            .unbind(1)
        )
        mixed = F.scaled_dot_product_attention(q, k, v)
        joined: Tensor = self.join(mixed.transpose(2, 3).reshape(b, c, h, w))
        return x + joined


@final
class UNet(nn.Module):
    """Velocity field f(x, t, concept) on pictures.

    >>> net = UNet(UNetParams(width=8, embedding=16))
    >>> net(torch.zeros(2, 3, 32, 32), torch.rand(2), torch.tensor([0, 1])).shape
    torch.Size([2, 3, 32, 32])
    """

    def __init__(self, params: UNetParams) -> None:
        super().__init__()
        self.params = params
        size, width = params.embedding, params.width
        self.concept = nn.Embedding(params.concepts, size)
        self.embed = nn.Sequential(nn.Linear(size, size), nn.SiLU(), nn.Linear(size, size))
        folded = params.picture_channels * params.fold**2
        widths = [width * m for m in params.multipliers]
        self.enter = nn.Conv2d(folded, widths[0], 3, padding=1)
        self.down = nn.ModuleList(
            _ResBlock(widths[max(level - 1, 0)], w, size) for level, w in enumerate(widths)
        )
        deep = widths[-1]
        self.middle1 = _ResBlock(deep, deep, size)
        self.attention = _Attention(deep)
        self.middle2 = _ResBlock(deep, deep, size)
        self.up = nn.ModuleList(
            _ResBlock(widths[min(level + 1, len(widths) - 1)] + w, w, size)
            for level, w in reversed(list(enumerate(widths)))
        )
        self.leave_norm = nn.GroupNorm(8, widths[0])
        self.leave = nn.Conv2d(widths[0], folded, 3, padding=1)
        nn.init.zeros_(self.leave.weight)
        nn.init.normal_(self.concept.weight, std=0.5)

    def forward(self, x: Tensor, t: Tensor, cond: Tensor, r: Tensor | None = None) -> Tensor:
        """Velocity at flow time t.

        Args:
            x: pictures, [B, C, H, W], H and W divisible by fold * 2**(levels - 1).
            t: flow time, 0 noise to 1 data, [B].
            cond: concept index, int64 [B]; 0 means no concept.
            r: end time of an average velocity; not used by this backbone yet.

        Returns:
            dx/dt, shape of x.

        Raises:
            ConfigError: r was given.
        """
        if r is not None:
            raise ConfigError("this U-Net predicts instantaneous velocity; call it without r")
        embedded = F.silu(self.embed(time_features(t, self.params.embedding)) + self.concept(cond))
        h = self.enter(F.pixel_unshuffle(x, self.params.fold))
        kept = []
        for level, block in enumerate(self.down):
            h = block(F.avg_pool2d(h, 2) if level else h, embedded)
            kept.append(h)
        h = self.middle2(self.attention(self.middle1(h, embedded)), embedded)
        for level, block in enumerate(self.up):
            h = F.interpolate(h, scale_factor=2.0, mode="nearest") if level else h
            h = block(torch.cat([h, kept.pop()], dim=1), embedded)
        out: Tensor = self.leave(F.silu(self.leave_norm(h)))
        return F.pixel_shuffle(out, self.params.fold)
