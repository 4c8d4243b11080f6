"""Rehearsal for generators: the mean loss of old samples beside that of new ones, weighing less."""

from typing import Any, final

import torch
from torch import Tensor

from clnf.continual.guards.rehearsal import Rehearsal, RehearsalParams
from clnf.core.protocols import Learnable, Memory
from clnf.core.records import Batch, Experience

__all__ = ["ReducedRehearsal"]


@final
class ReducedRehearsal:
    """L = mean_new l + lambda mean_old l, lambda the ``coefficient``, below 1 for generators.

    :class:`Rehearsal` takes one weighted mean instead, whose share of old samples grows with
    their number; here it is lambda, whatever the sizes. Old samples get a forward pass of their
    own, with noise and times of their own.

    Args:
        model: the model being taught.
        memory: where samples are kept.
        params: amount, coefficient and what is kept, as for :class:`Rehearsal`.

    Source: Zajac et al. 2023 (2303.15342), who find lambda of 0.1 to 0.5 best for diffusion.
    """

    def __init__(
        self, model: Learnable, memory: Memory, params: RehearsalParams | None = None
    ) -> None:
        self._model = model
        self._keeping = Rehearsal(memory, params)
        self._old: Batch | None = None
        self._draw = 0

    @property
    def memory(self) -> Memory:
        """Where samples are kept."""
        return self._keeping.memory

    def begin(self, experience: Experience) -> None:
        """Nothing to prepare."""

    def mix(self, batch: Batch, rng: torch.Generator) -> Batch:
        """The batch as it is; old samples are drawn."""
        params = self._keeping.params
        self._old = None
        if len(self.memory):
            self._old = self.memory.draw(params.samples, rng).to(batch.x.device)
            self._draw = int(torch.randint(2**62, (1,), generator=rng))
        if params.keep == "batch":
            self.memory.add(batch)
        return batch

    def penalty(self) -> Tensor | None:
        """The coefficient times the mean loss of the old samples; None while there are none."""
        if self._old is None:
            return None
        old, self._old = self._old, None
        losses = self._model.loss(old, torch.Generator().manual_seed(self._draw))
        return self._keeping.params.coefficient * losses.mean()

    def constrain(self, lr: float) -> None:
        """Gradients stay as they are."""

    def consolidate(self, experience: Experience) -> None:
        """Offer the lesson's samples to the memory, as :class:`Rehearsal` does."""
        self._keeping.consolidate(experience)

    def state_dict(self) -> dict[str, Any]:
        """The memory."""
        return self._keeping.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave."""
        self._keeping.load_state_dict(state)
