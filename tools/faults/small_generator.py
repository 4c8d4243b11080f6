"""A generator of five numbers, small enough to be taught, walked and drawn from in a test."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from clnf.core.records import Batch

__all__ = ["Field", "euler_walk"]


def euler_walk(
    field: Any, cond: Tensor, *, noise: Tensor, steps: int, guidance: float
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Points, times and velocities of a field's way from noise, in Euler's steps."""
    x = noise
    for step in range(steps):
        t = torch.full((len(x),), step / steps)
        v = field.velocity(x, t, cond)
        yield x, t, v
        x = x + guidance * v / steps


class Field(nn.Module):
    """A flow's field in 5 dimensions, that can be walked and drawn from.

    Its weights are drawn from torch's own generator, which the caller seeds.
    """

    latent = 5

    def __init__(self) -> None:
        super().__init__()
        self.concept = nn.Embedding(3, 5)
        self.net = nn.Sequential(nn.Linear(11, 8), nn.Tanh(), nn.Linear(8, 5))

    def velocity(self, x: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        out: Tensor = self.net(torch.cat([x, t[:, None], self.concept(cond)], 1))
        return out

    def walk(
        self, cond: Tensor, *, noise: Tensor, steps: int, guidance: float
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        return euler_walk(self, cond, noise=noise, steps=steps, guidance=guidance)

    def draw(self, z: Tensor, cond: Tensor) -> Tensor:
        return z + self.velocity(z, torch.zeros(len(z)), cond)

    def features(self, x: Tensor) -> Tensor:
        out: Tensor = self.net[0](torch.cat([x, x, x[:, :1]], 1))
        return out

    def loss(self, batch: Batch, rng: torch.Generator) -> Tensor:
        noise = torch.randn(batch.x.shape, generator=rng)
        t = torch.rand(len(batch), generator=rng)
        x = (1 - t[:, None]) * noise + t[:, None] * batch.x
        return (self.velocity(x, t, batch.cond) - (batch.x - noise)).square().mean(1)
