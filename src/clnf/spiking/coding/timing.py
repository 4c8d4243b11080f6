"""Codes in which it matters when a spike comes.

Latency: one spike, the earlier the higher the level.

    linear  t = first + (1 - x) (last - first)
    log     t = first + tau ln(x / (x - floor)),  none where x <= floor

The second is when a membrane with a constant input x reaches a threshold ``floor``.

Phase: a level in bits, the highest first, one a step of a cycle; a spike weighs 2^-(1 + phase).

Sources: Thorpe, Delorme & Van Rullen, Neural Networks 2001 (first spikes); Gerstner et al.,
"Neuronal Dynamics", 2014, chapter 1 (time to threshold); Kim et al., Neurocomputing 2018 (weighted
phases).
"""

from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor

from clnf.core.errors import ConfigError
from clnf.core.inputs import check_fields, seconds, whole
from clnf.core.units import quantity
from clnf.spiking.coding.levels import levels, spikes_of, steps_of

__all__ = ["Latency", "Phase"]


@final
@dataclass(frozen=True, kw_only=True)
class Latency:
    """One spike a level.

    Attributes:
        law: how time follows from a level.
        first_s: when a level of 1 spikes; for the law "log", what is added to all times.
        last_s: when a level of 0 spikes; for the law "log", later spikes do not come.
        tau_s: of the law "log".
        floor: of the law "log"; lower levels never spike.

    >>> code = Latency(last_s=4e-3)
    >>> code.encode([1.0, 0.5, 0.0], steps=5, dt_s=1e-3).argmax(0)
    tensor([0, 2, 4])
    """

    law: Literal["linear", "log"] = "linear"
    first_s: float = quantity("s", 0.0)
    last_s: float = quantity("s", 50e-3)
    tau_s: float = quantity("s", 20e-3)
    floor: float = quantity("1", 0.1)

    def __post_init__(self) -> None:
        check_fields(self)
        if not 0 <= self.first_s < self.last_s < float("inf"):
            raise ConfigError(
                f"a latency code has times from 0 on, first < last, got {self.first_s} and "
                f"{self.last_s} s; correct them"
            )
        if not (0 < self.tau_s < float("inf") and 0 < self.floor < 1):
            raise ConfigError(
                "a time constant is above 0 s and finite, a floor in (0, 1), got "
                f"{self.tau_s} s and {self.floor}; correct them"
            )

    def times_s(self, x: object) -> Tensor:
        """When levels [...] spike, s; infinite for never."""
        found = levels(x)
        if self.law == "linear":
            return self.first_s + (1.0 - found) * (self.last_s - self.first_s)
        above = (found - self.floor).clamp_min(0.0)
        found = self.first_s + self.tau_s * (found / above).log()
        return found.masked_fill((above <= 0) | (found > self.last_s), float("inf"))

    def encode(self, x: object, *, steps: int, dt_s: float) -> Tensor:
        """Spikes [T, ...] of levels [...]: in the step nearest to their time; later ones are lost.

        Raises:
            ConfigError: no steps, or ``dt_s`` is no finite time above 0.
            DataError: levels out of range.
        """
        steps, dt_s = steps_of(steps, dt_s)
        at = (self.times_s(x) / dt_s).round()
        clock = torch.arange(steps, device=at.device).view(-1, *(1 for _ in at.shape))
        return (clock == at).to(torch.float32)

    def decode(self, z: Tensor, *, dt_s: float) -> Tensor:
        """Levels [...] by the first spike of each of [T, ...]; 0 where none came.

        Raises:
            ConfigError: ``dt_s`` is no finite time above 0.
            DataError: a spike is negative or not finite.
            ShapeError: no steps.
        """
        z, dt_s = spikes_of(z), seconds("dt_s", dt_s)
        came = z.amax(0) > 0
        first = z.argmax(0) * dt_s
        if self.law == "linear":
            found = 1.0 - (first - self.first_s) / (self.last_s - self.first_s)
        else:
            found = self.floor / (1.0 - torch.exp(-(first - self.first_s) / self.tau_s))
        return torch.where(came, found.clamp(0.0, 1.0), torch.zeros_like(found))


@final
@dataclass(frozen=True, kw_only=True)
class Phase:
    """Bits of a level, one a step, over and over.

    Attributes:
        bits: steps of a cycle.

    >>> Phase(bits=3).encode([0.625], steps=3).flatten()
    tensor([1., 0., 1.])
    """

    bits: int = quantity("1", 8)

    def __post_init__(self) -> None:
        check_fields(self)
        whole("bits", self.bits, least=1, most=16)

    def weights(self, steps: int) -> Tensor:
        """What a spike of each step weighs, [T]."""
        return 2.0 ** -(1.0 + torch.arange(whole("steps", steps, least=1)) % self.bits)

    def encode(self, x: object, *, steps: int) -> Tensor:
        """Spikes [T, ...] of levels [...], rounded to bits; 1 becomes the highest below it.

        Raises:
            DataError: levels out of range.
        """
        found, top = levels(x), 2**self.bits
        code = (found * top).round().clamp(max=top - 1).to(torch.int64)
        shift = self.bits - 1 - torch.arange(whole("steps", steps, least=1)) % self.bits
        shift = shift.to(code.device).view(-1, *(1 for _ in code.shape))
        return ((code >> shift) & 1).to(torch.float32)

    def decode(self, z: Tensor) -> Tensor:
        """Levels [...] of spikes [T, ...], the mean of whole cycles.

        Raises:
            ConfigError: less than a cycle.
            DataError: a spike is negative or not finite.
        """
        z = spikes_of(z)
        cycles = len(z) // self.bits
        if cycles < 1:
            raise ConfigError(
                f"a cycle of {self.bits} steps is needed, got {len(z)}; give more steps"
            )
        weights = self.weights(cycles * self.bits).to(z)
        return torch.tensordot(weights, z[: cycles * self.bits], dims=1) / cycles
