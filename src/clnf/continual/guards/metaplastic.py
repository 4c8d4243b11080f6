"""Metaplasticity: the further a weight has gone from zero, the harder it is brought back."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from clnf.core.errors import ConfigError
from clnf.core.records import Batch, Experience
from clnf.core.units import quantity

__all__ = ["Metaplastic", "MetaplasticParams", "stiffen"]


@final
@dataclass(frozen=True, kw_only=True)
class MetaplasticParams:
    """How hard it gets.

    Attributes:
        m: in f = 1 - tanh(m |W|)^2; 0 is plain learning.
    """

    m: float = quantity("1", 1.35)

    def __post_init__(self) -> None:
        if not 0 <= self.m < math.inf:
            raise ConfigError(f"metaplasticity needs a finite m >= 0, got {self.m}")


@torch.no_grad()
def stiffen(moves: list[Tensor], weights: list[Tensor], directions: list[Tensor], m: float) -> None:
    """Multiply by f(W) = 1 - tanh(m |W|)^2, in place, each move that would shrink |W|.

    Args:
        moves: what is subtracted from the weights, changed in place.
        weights: hidden weights.
        directions: whose sign says where a move goes; sign(W) direction > 0 shrinks.
        m: steepness of f.
    """
    factors = torch._foreach_mul(weights, m)
    torch._foreach_tanh_(factors)
    torch._foreach_mul_(factors, factors)
    for move, weight, direction, factor in zip(moves, weights, directions, factors, strict=True):
        shrinks = torch.sign(weight) * direction > 0
        move.sub_(move * factor * shrinks)


@final
class Metaplastic:
    """Multiplies by f(W) = 1 - tanh(m |W|)^2 each gradient that would shrink |W|.

    With plain SGD this is the rule itself; on a chip it is fewer pulses, on multilevel cells
    whose sign alone is read. With moments in the optimizer the rule looks at the first moment:
    take :class:`clnf.continual.binary.MetaplasticAdam` then, not this. Task-free: there is
    nothing to consolidate. Give it hidden weights only, never biases or normalisation.

    Args:
        parameters: hidden weights, by name.
        params: m.

    Source: Laborieux et al. 2021, eq. 1 and algorithm 1.
    """

    def __init__(
        self, parameters: Mapping[str, Tensor], params: MetaplasticParams | None = None
    ) -> None:
        self.params = params or MetaplasticParams()
        self._weights = list(parameters.values())

    def begin(self, experience: Experience) -> None:
        """Nothing to prepare."""

    def mix(self, batch: Batch, rng: torch.Generator) -> Batch:
        """The batch as it is."""
        return batch

    def penalty(self) -> None:
        """None: metaplasticity acts on gradients."""

    def constrain(self, lr: float) -> None:
        """Weaken the gradients that would bring weights back."""
        held = [weight for weight in self._weights if weight.grad is not None]
        gradients = [weight.grad for weight in held if weight.grad is not None]
        if gradients:
            stiffen(gradients, held, gradients, self.params.m)

    def consolidate(self, experience: Experience) -> None:
        """Nothing to keep: all memory is in the weights."""

    def state_dict(self) -> dict[str, Any]:
        """Empty."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to restore."""
