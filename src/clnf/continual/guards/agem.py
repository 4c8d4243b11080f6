"""Averaged gradient episodic memory: no step may raise the loss of the memory."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, final

import torch
from torch import Tensor

from clnf.continual.guards.rehearsal import Rehearsal, RehearsalParams
from clnf.continual.guards.replay import check_keep
from clnf.continual.running import Running
from clnf.core.errors import ConfigError
from clnf.core.protocols import Learnable, Memory
from clnf.core.records import Batch, Experience
from clnf.core.units import quantity

__all__ = ["AGEM", "AGEMParams"]


@final
@dataclass(frozen=True, kw_only=True)
class AGEMParams:
    """How much memory a step asks.

    Attributes:
        samples: remembered samples whose mean gradient is the reference.
        keep: as in :class:`~clnf.continual.guards.rehearsal.RehearsalParams`; the paper keeps
            per lesson.
    """

    samples: int = quantity("1", 32)
    keep: Literal["lesson", "batch"] = "lesson"

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise ConfigError(f"A-GEM needs samples >= 1, got {self.samples}")
        check_keep(self.keep)


@final
class AGEM:
    """If g . g_ref < 0: g <- g - (g . g_ref / ||g_ref||^2) g_ref.

    g_ref is the gradient of the memory's mean loss, over all parameters as one vector. Costs a
    second forward and backward pass; normalisation works on its own batch there, and its running
    statistics stay those of the steps. On a chip they are reads too, and charged as such; what is
    projected there is the request, not what noisy pulses make of it.

    Args:
        memory: keeps samples; its policy is part of the result.
        model: the model being taught.
        parameters: those projected, by name.
        params: amount.

    Source: Chaudhry et al. 2019 (A-GEM), eq. 11.
    """

    def __init__(
        self,
        memory: Memory,
        model: Learnable,
        parameters: Mapping[str, Tensor],
        params: AGEMParams | None = None,
    ) -> None:
        self.memory = memory
        self.params = params or AGEMParams()
        self._keeper = Rehearsal(memory, RehearsalParams(keep=self.params.keep))
        self._model = model
        self._weights = list(parameters.values())
        self._running = Running(model)
        self._old: tuple[Batch, int] | None = None

    def begin(self, experience: Experience) -> None:
        """Nothing to prepare."""

    def mix(self, batch: Batch, rng: torch.Generator) -> Batch:
        """The batch as it is; the reference samples are drawn."""
        self._old = None
        if len(self.memory):
            old = self.memory.draw(self.params.samples, rng).to(batch.x.device)
            self._old = (old, int(torch.randint(2**62, (1,), generator=rng)))
        if self.params.keep == "batch":
            self.memory.add(batch)
        return batch

    def penalty(self) -> None:
        """None: the memory acts on gradients."""

    def constrain(self, lr: float) -> None:
        """Take the part out of the gradient that would raise the memory's loss."""
        if self._old is None:
            return
        (old, seed), self._old = self._old, None
        asked = self._reference(old, seed)
        gradients, references = [], []
        for weight, reference in zip(self._weights, asked, strict=True):
            if reference is not None:
                if weight.grad is None:
                    weight.grad = torch.zeros_like(weight)
                gradients.append(weight.grad)
                references.append(reference)
        along = sum(float(torch.sum(g * r)) for g, r in zip(gradients, references, strict=True))
        square = sum(float(norm) ** 2 for norm in torch._foreach_norm(references))
        if along < 0 < square:
            torch._foreach_add_(gradients, references, alpha=-along / square)

    def _reference(self, old: Batch, seed: int) -> tuple[Tensor | None, ...]:
        before = self._running.now()
        loss = self._model.loss(old, torch.Generator().manual_seed(seed)).mean()
        asked = torch.autograd.grad(loss, self._weights, allow_unused=True)
        for buffer, value in before:
            buffer.copy_(value)
        return asked

    def consolidate(self, experience: Experience) -> None:
        """Offer the lesson's samples to the memory, unless every batch was already offered."""
        self._keeper.consolidate(experience)

    def state_dict(self) -> dict[str, Any]:
        """The memory."""
        return self._keeper.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave."""
        self._keeper.load_state_dict(state)
