"""C-LoRA's penalty on adapters that go on learning: what earlier lessons changed is left alone."""

from typing import Any, final

import torch
from torch import Tensor, nn

from clnf.continual.adapters import LowRank
from clnf.core.errors import ConfigError, RunError
from clnf.core.records import Batch, Experience

__all__ = ["CLoRA"]


@final
class CLoRA:
    """L = mean_new l + lambda sum over layers of || |P*| o (P - P*) ||_F^2, P = scale up down.

    P* is the change that the adapters made up to the last lesson, the sum over earlier t' of
    A_t' B_t' of the paper; P - P* is what this lesson adds, its A_t B_t; o is elementwise. Here
    one pair goes on learning, where the paper freezes one a lesson: cells need no new tiles.

    Args:
        model: with :class:`clnf.continual.adapters.LowRank` layers.
        strength: lambda.

    Raises:
        ConfigError: the model has no adapters, or strength is not a finite number >= 0.

    Source: Smith et al. 2023 (2304.06027), eq. 5 (the self-regularisation of C-LoRA).
    """

    def __init__(self, model: nn.Module, *, strength: float) -> None:
        self._layers = {n: m for n, m in model.named_modules() if isinstance(m, LowRank)}
        if not self._layers or not 0 <= strength < float("inf"):
            raise ConfigError(
                f"C-LoRA needs a model with adapters and a finite strength >= 0, got "
                f"{len(self._layers)} adapters and {strength}"
            )
        self.strength = strength
        self._past: dict[str, Tensor] = {}

    def begin(self, experience: Experience) -> None:
        """Nothing to prepare."""

    def mix(self, batch: Batch, rng: torch.Generator) -> Batch:
        """The batch as it is."""
        return batch

    def penalty(self) -> Tensor | None:
        """The overlap with earlier changes; None before the first lesson."""
        if not self._past:
            return None
        parts = [
            (past.abs() * (_product(self._layers[name]) - past)).square().sum()
            for name, past in self._past.items()
        ]
        return self.strength * torch.stack(parts).sum()

    def constrain(self, lr: float) -> None:
        """Gradients stay as they are."""

    def consolidate(self, experience: Experience) -> None:
        """What the adapters change now is what the next lesson leaves alone."""
        self._past = {name: _product(layer).detach() for name, layer in self._layers.items()}

    def state_dict(self) -> dict[str, Any]:
        """The earlier changes, by layer."""
        return {name: past.clone() for name, past in self._past.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave.

        Raises:
            RunError: the state was saved for other layers.
        """
        if state and state.keys() != self._layers.keys():
            raise RunError("this C-LoRA state was saved for other adapters")
        self._past = {
            name: value.to(_weight(self._layers[name].up).device, copy=True)
            for name, value in state.items()
        }


def _product(layer: LowRank) -> Tensor:
    """The change of a layer's weight, [outputs, inputs of a patch]."""
    return layer.scale * (_weight(layer.up).flatten(1) @ _weight(layer.down).flatten(1))


def _weight(part: nn.Module) -> Tensor:
    weight = part.weight
    assert isinstance(weight, Tensor)
    return weight
