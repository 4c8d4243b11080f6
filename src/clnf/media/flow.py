"""Flow matching: a velocity field between noise (t=0) and data (t=1), and its sampler."""

from collections import deque
from collections.abc import Callable, Iterator
from typing import final

import torch
from torch import Tensor, nn

from clnf.core.records import Batch
from clnf.core.rng import torch_rng
from clnf.media.unet import NULL_CONCEPT, UNet

__all__ = ["FlowModel", "heun", "last", "noise_for"]

Field = Callable[[Tensor, Tensor], Tensor]


def noise_for(seeds: list[int], shape: tuple[int, ...]) -> Tensor:
    """Start noise of each sample from its own seed, so a sample does not depend on its batch.

    Args:
        seeds: one integer a sample.
        shape: shape of one sample.

    Returns:
        Standard normal numbers, shape [len(seeds), *shape].
    """
    return torch.stack([torch.randn(shape, generator=torch_rng(s, "start")) for s in seeds])


def last(frames: Iterator[Tensor]) -> Tensor:
    """The finished sample of a sampler that yields estimates on its way."""
    return deque(frames, maxlen=1).pop()


@final
class FlowModel(nn.Module):
    """A backbone with the flow-matching loss (an Engine).

    With data x, noise n and time t: x_t = (1 - t) n + t x, and the field f learns v = x - n.
    The condition is replaced by the null concept with probability ``drop``, which makes
    classifier-free guidance possible.

    Whatever it is given is moved to where its parameters live; all draws are made on the CPU, so
    they are the same on any device.

    Source: Lipman et al. 2022, equation 23 with sigma_min = 0; t logit-normal as in
    Esser et al. 2024, section 3.1; guidance Ho and Salimans 2022, equation 6.
    """

    def __init__(self, net: UNet, *, drop: float = 0.1) -> None:
        super().__init__()
        self.net = net
        self.drop = drop

    @property
    def device(self) -> torch.device:
        """Where the parameters live."""
        return self.net.concept.weight.device

    def loss(self, batch: Batch, rng: torch.Generator) -> Tensor:
        """Mean squared velocity error of each sample.

        Args:
            batch: pictures in [-1, 1], [B, C, H, W], with concept indices.
            rng: draws noise, time and dropped conditions.

        Returns:
            Shape [B], on the model's device; its expectation at a zero output is E[x^2] + 1.
        """
        batch = batch.to(self.device)
        size = len(batch)
        noise = torch.randn(batch.x.shape, generator=rng).to(batch.x)
        t = torch.sigmoid(torch.randn(size, generator=rng)).to(batch.x)
        dropped = torch.rand(size, generator=rng).to(batch.x) < self.drop
        cond = torch.where(dropped, NULL_CONCEPT, batch.cond)
        mix = t[:, None, None, None]
        velocity = self.net((1 - mix) * noise + mix * batch.x, t, cond)
        return (velocity.float() - (batch.x - noise)).square().flatten(1).mean(1)

    @torch.no_grad()
    def sample(
        self, cond: Tensor, *, noise: Tensor, steps: int, guidance: float, first: int = 0
    ) -> Iterator[Tensor]:
        """Draw samples with Heun's method and classifier-free guidance.

        From a picture x instead of noise n alone: give (1 - t) n + t x at t = first / steps
        (SDEdit, Meng et al. 2022, for this time direction).

        Args:
            cond: concept index, int64 [B].
            noise: start, [B, C, H, W], see :func:`noise_for`.
            steps: Heun steps; 2 steps - 1 field evaluations.
            guidance: w in f_null + w (f_cond - f_null); 1 leaves the null branch out.
            first: steps that are taken as done.

        Yields:
            The estimate of the finished picture after each step, in [-1, 1]; the last is final.
            It is where ``noise`` was.
        """
        field = self._guided(cond.to(self.device), guidance, None)
        for frame in heun(field, noise.to(self.device), steps, first=first):
            yield frame.to(noise.device)

    def velocity(self, x: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        """The field at points of one's choice.

        Args:
            x: points, [B, C, H, W].
            t: times, 0 to 1, [B].
            cond: concept index, int64 [B].

        Returns:
            Velocities on the model's device, shape of x.
        """
        x, t, cond = (value.to(self.device) for value in (x, t, cond))
        out: Tensor = self.net(x, t, cond).float()
        return out

    @torch.no_grad()
    def walk(
        self, cond: Tensor, *, noise: Tensor, steps: int, guidance: float
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """The way :meth:`sample` takes, and what the field says on it.

        Args:
            cond: concept index, int64 [B].
            noise: start, [B, C, H, W].
            steps: Heun steps.
            guidance: of the sampler; the velocities yielded are of the concept alone.

        Yields:
            x_t [B, C, H, W], t [B] and velocity at the beginning of each step, so from noise on.
        """
        met: list[tuple[Tensor, Tensor, Tensor]] = []
        field = self._guided(cond.to(self.device), guidance, met)
        for _ in heun(field, noise.to(self.device), steps):
            yield met[0]  # Heun's second look lies a little off the way
            met.clear()

    def _guided(
        self, cond: Tensor, guidance: float, met: list[tuple[Tensor, Tensor, Tensor]] | None
    ) -> Field:
        """The field that draws; where it is asked, and its part for the concept, go to ``met``."""

        def field(x: Tensor, t: Tensor) -> Tensor:
            if guidance == 1.0:
                asked = guided = self.net(x, t, cond).float()
            else:
                both = self.net(
                    torch.cat([x, x]), torch.cat([t, t]), torch.cat([cond, torch.zeros_like(cond)])
                ).float()
                asked, null = both.chunk(2)
                guided = null + guidance * (asked - null)
            if met is not None:
                met.append((x, t, asked))
            return guided

        return field


def heun(field: Field, noise: Tensor, steps: int, *, first: int = 0) -> Iterator[Tensor]:
    """Integrate dx/dt = field(x, t) from t=0 to t=1; the last step is Euler's.

    Args:
        field: velocity, called with x [B, ...] and t [B].
        noise: x at t=0, or at t = first / steps.
        steps: number of equal steps, >= 1.
        first: steps that are taken as done, below ``steps``.

    Yields:
        The projected end point x_t + (1 - t) v, clipped to [-1, 1]; the last is x at t=1.

    Source: Karras et al. 2022, algorithm 1 (deterministic), for this time direction.
    """
    x = noise
    ones = torch.ones(len(x), device=x.device)
    for step in range(first, steps):
        t, dt = step / steps, 1.0 / steps
        slope = field(x, t * ones)
        ahead = x + dt * slope
        if step + 1 < steps:
            slope = 0.5 * (slope + field(ahead, (t + dt) * ones))
            x = x + dt * slope
            yield (x + (1 - t - dt) * slope).clamp(-1, 1)
        else:
            yield ahead.clamp(-1, 1)
