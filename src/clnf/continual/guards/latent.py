"""Latent rehearsal: what a middle layer said is remembered, not the samples themselves."""

from dataclasses import dataclass
from typing import Any, cast, final

import torch
from torch import Tensor, nn

from clnf.continual.memory import AbstractMemory
from clnf.core.errors import ConfigError, RunError
from clnf.core.protocols import Answering
from clnf.core.records import Batch, Experience
from clnf.core.units import quantity

__all__ = ["LatentParams", "LatentRehearsal"]


@final
@dataclass(frozen=True, kw_only=True)
class LatentParams:
    """How much is rehearsed.

    Attributes:
        samples: remembered latents drawn for each step.
        coefficient: factor on their mean loss.
    """

    samples: int = quantity("1", 32)
    coefficient: float = quantity("1", 1.0)

    def __post_init__(self) -> None:
        if self.samples < 1 or not 0 <= self.coefficient < float("inf"):
            raise ConfigError(
                f"latent rehearsal needs samples >= 1 and a finite coefficient >= 0, "
                f"got {self.samples} and {self.coefficient}"
            )


@final
class LatentRehearsal:
    """L = mean l(x, y) + coefficient mean l(head(z'), y'), z' = layer(x') when x' was met.

    Old latents pass through the layers above only: cheaper in memory and in reads of a chip than
    whole samples, and no sample is kept. Layers up to ``layer`` should be frozen or slow, since
    what is remembered does not follow their changes. Each batch is stored as it passes.

    Args:
        memory: keeps latents as its samples.
        model: the model being taught.
        layer: the module of it whose output is remembered.
        head: maps that output to the model's outputs, with the model's own weights.
        params: amounts.

    Source: Pellegrini et al. 2020, Latent replay for real-time continual learning.
    """

    def __init__(
        self,
        memory: AbstractMemory,
        model: Answering,
        layer: nn.Module,
        head: nn.Module,
        params: LatentParams | None = None,
    ) -> None:
        self.memory = memory
        self.params = params or LatentParams()
        self._model = model
        self._head = head
        self._own = 0
        self._old: Batch | None = None
        self._latent: Tensor | None = None
        layer.register_forward_hook(self._keep)

    def _keep(self, layer: nn.Module, _: Any, output: Tensor) -> None:
        if layer.training:
            self._latent = output.detach()

    def begin(self, experience: Experience) -> None:
        """Nothing to prepare."""

    def mix(self, batch: Batch, rng: torch.Generator) -> Batch:
        """The batch as it is; latents are drawn."""
        self._own, self._old, self._latent = len(batch), None, None
        if len(self.memory):
            self._old = self.memory.draw(self.params.samples, rng).to(batch.x.device)
        return batch

    def hear(self, outputs: Tensor, losses: Tensor, batch: Batch) -> Tensor:
        """Store the latents of the step's own rows.

        Raises:
            RunError: the layer took no part in the forward pass.
        """
        if self._latent is None:
            raise RunError("the layer whose output is to be remembered was not run")
        own = slice(0, self._own)
        latent, self._latent = self._latent[own], None
        self.memory.add(Batch(x=latent, cond=batch.cond[own], weight=batch.weight[own]))
        return losses

    def penalty(self) -> Tensor | None:
        """The mean loss of remembered latents."""
        if self._old is None:
            return None
        old, self._old = self._old, None
        said = cast(Tensor, self._head(old.x))
        return self.params.coefficient * self._model.loss_of(said, old).mean()

    def constrain(self, lr: float) -> None:
        """Gradients stay as they are."""

    def consolidate(self, experience: Experience) -> None:
        """Nothing to keep: every batch was already offered."""

    def state_dict(self) -> dict[str, Any]:
        """The memory."""
        return {f"memory.{key}": value for key, value in self.memory.state_dict().items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave."""
        self.memory.load_state_dict({k.removeprefix("memory."): v for k, v in state.items()})
