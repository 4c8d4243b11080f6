"""A small conditional GAN: one network draws, another tells drawn pictures from real ones.

Shapes: B batch, C channels, S side, Z latent numbers, F features.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from clnf.core.errors import ConfigError, ShapeError
from clnf.core.records import Batch
from clnf.core.units import quantity

__all__ = ["Discriminator", "GanModel", "GanParams", "Generator"]

_SMALLEST = 4  # side at which drawing begins and judging ends
_SLOPE = 0.2


@final
@dataclass(frozen=True, kw_only=True)
class GanParams:
    """Sizes of both networks, and how smooth the judging one is kept.

    Attributes:
        channels: of a picture.
        side: of a picture in pixels, 4 times a power of two, 8 or more.
        width: channels inside.
        latent: numbers that a picture is drawn from.
        concepts: rows of the tables of concepts.
        gamma: factor of the gradient penalty, >= 0.
    """

    channels: int = quantity("1", 3)
    side: int = quantity("1", 32)
    width: int = quantity("1", 32)
    latent: int = quantity("1", 32)
    concepts: int = quantity("1", 16)
    gamma: float = quantity("1", 1.0)

    def __post_init__(self) -> None:
        for name in ("channels", "width", "latent", "concepts"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.side < 2 * _SMALLEST or self.side & (self.side - 1):
            raise ConfigError(f"side must be 8, 16, 32 or another power of two, got {self.side}")
        if not 0 <= self.gamma < float("inf"):
            raise ConfigError(f"gamma must be finite and at least 0, got {self.gamma}")

    @property
    def doublings(self) -> int:
        """Stages from the smallest side to a picture's."""
        return (self.side // _SMALLEST).bit_length() - 1


@final
class Generator(nn.Module):
    """From latent numbers and a concept to a picture: a linear layer, then stages that double it.

    There is no normalisation over a batch: a picture does not depend on its neighbours.
    """

    def __init__(self, params: GanParams) -> None:
        super().__init__()
        width = params.width
        self.concept = nn.Embedding(params.concepts, params.latent)
        self.enter = nn.Linear(2 * params.latent, width * _SMALLEST**2)
        stages = [nn.Conv2d(width, width, 3, padding=1) for _ in range(params.doublings)]
        self.stages = nn.ModuleList(stages)
        self.leave = nn.Conv2d(width, params.channels, 3, padding=1)

    def forward(self, z_BZ: Tensor, cond_B: Tensor) -> Tensor:
        """Pictures in [-1, 1], [B, C, S, S]."""
        x: Tensor = self.enter(torch.cat([z_BZ, self.concept(cond_B)], dim=1))
        x = x.view(len(x), -1, _SMALLEST, _SMALLEST)
        for stage in self.stages:
            x = F.interpolate(F.leaky_relu(x, _SLOPE), scale_factor=2.0)
            x = stage(x)
        return torch.tanh(self.leave(F.leaky_relu(x, _SLOPE)))


@final
class Discriminator(nn.Module):
    """From a picture and a concept to a logit, large for real ones.

    logit = w . f(x) + e_c . f(x) + b, the projection of Miyato and Koyama 2018, equation 4.
    """

    def __init__(self, params: GanParams) -> None:
        super().__init__()
        width = params.width
        self.enter = nn.Conv2d(params.channels, width, 3, padding=1)
        stages = [nn.Conv2d(width, width, 3, padding=1) for _ in range(params.doublings)]
        self.stages = nn.ModuleList(stages)
        self.concept = nn.Embedding(params.concepts, width * _SMALLEST**2)
        nn.init.zeros_(self.concept.weight)
        self.head = nn.Linear(width * _SMALLEST**2, 1)

    def features(self, x: Tensor) -> Tensor:
        """What it sees before it judges, [B, F] with F = 16 width."""
        x = F.leaky_relu(self.enter(x), _SLOPE)
        for stage in self.stages:
            x = F.avg_pool2d(F.leaky_relu(stage(x), _SLOPE), 2)
        return x.flatten(1)

    def forward(self, x: Tensor, cond_B: Tensor) -> Tensor:
        """Logits, [B]."""
        seen = self.features(x)
        out: Tensor = self.head(seen).squeeze(1) + (self.concept(cond_B) * seen).sum(1)
        return out


@final
class GanModel(nn.Module):
    """Generator and discriminator as one thing that learns (an Engine).

    With real x, drawn y = G(z, c) and sp(u) = log(1 + e^u), the loss of a sample is

        sp(-D(x, c)) + sp(D(y', c)) + (gamma / 2) |grad_x D(x, c)|^2 + sp(-D'(y, c)),

    where y' is y without a gradient into G, and D' is D without one into its weights. So one
    backward pass gives each network the gradient of its own game, and one optimizer step moves
    both at once. Weights of samples multiply both games alike.

    Source: non-saturating losses Goodfellow et al. 2014, section 3; penalty R1 and simultaneous
    steps Mescheder et al. 2018, equation 9 and section 3.

    >>> model = GanModel(GanParams(side=8, width=8))
    >>> model.draw(torch.zeros(2, model.latent), torch.tensor([1, 2])).shape
    torch.Size([2, 3, 8, 8])
    """

    def __init__(self, params: GanParams | None = None) -> None:
        super().__init__()
        self.params = params or GanParams()
        self.generator = Generator(self.params)
        self.discriminator = Discriminator(self.params)

    @property
    def latent(self) -> int:
        """Numbers that a picture is drawn from."""
        return self.params.latent

    @property
    def device(self) -> torch.device:
        """Where the parameters live."""
        return self.generator.concept.weight.device

    def draw(self, z: Tensor, cond: Tensor) -> Tensor:
        """Pictures from latent numbers, with gradients.

        Args:
            z: standard normal, [B, Z].
            cond: concept index, int64 [B].

        Raises:
            ShapeError: z has another shape.
        """
        if z.shape != (len(cond), self.latent):
            raise ShapeError(
                f"{len(cond)} pictures are drawn from latent numbers [{len(cond)}, {self.latent}], "
                f"got shape {list(z.shape)}"
            )
        out: Tensor = self.generator(z.to(self.device), cond.to(self.device))
        return out

    def features(self, x: Tensor) -> Tensor:
        """What the discriminator sees in pictures, [B, F], with gradients."""
        return self.discriminator.features(x.to(self.device))

    def loss(self, batch: Batch, rng: torch.Generator) -> Tensor:
        """Both games' loss of each sample.

        Args:
            batch: pictures in [-1, 1], [B, C, S, S], with concept indices.
            rng: draws latent numbers.

        Returns:
            Shape [B], on the model's device.
        """
        batch = batch.to(self.device)
        z = torch.randn((len(batch), self.latent), generator=rng)
        drawn = self.draw(z, batch.cond)
        fake = self.discriminator(drawn.detach(), batch.cond)
        real, slope = self._real(batch)
        still = {name: value.detach() for name, value in self.discriminator.named_parameters()}
        judged: Tensor = functional_call(self.discriminator, still, (drawn, batch.cond))
        smooth = 0.5 * self.params.gamma * slope
        return F.softplus(-real) + F.softplus(fake) + smooth + F.softplus(-judged)

    def _real(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Logits of real pictures and their squared slopes, [B] each."""
        if not self.params.gamma:
            logits: Tensor = self.discriminator(batch.x, batch.cond)
            return logits, torch.zeros_like(logits)
        learns = torch.is_grad_enabled()
        with torch.enable_grad():  # the slope is part of the value, wherever that is asked for
            x = batch.x.detach().requires_grad_()
            logits = self.discriminator(x, batch.cond)
            (slope,) = torch.autograd.grad(logits.sum(), x, create_graph=learns)
        return logits, slope.square().flatten(1).sum(1)

    @torch.no_grad()
    def sample(
        self, cond: Tensor, *, noise: Tensor, steps: int = 1, guidance: float = 1.0
    ) -> Iterator[Tensor]:
        """Draw pictures, in one pass.

        Args:
            cond: concept index, int64 [B].
            noise: latent numbers, [B, Z].
            steps: without effect: a GAN has one.
            guidance: without effect: there is no second branch to guide by.

        Yields:
            The pictures, once, where ``noise`` was.
        """
        yield self.draw(noise, cond).to(noise.device)
