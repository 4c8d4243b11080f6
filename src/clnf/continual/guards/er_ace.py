"""Rehearsal with asymmetric cross entropy: new classes do not push old ones away."""

import math
from dataclasses import dataclass
from typing import Any, Literal, final

import torch
from torch import Tensor

from clnf.continual.guards.rehearsal import Rehearsal, RehearsalParams
from clnf.continual.guards.replay import Rows, behind, check_keep
from clnf.core.errors import ConfigError
from clnf.core.protocols import Answering, Memory
from clnf.core.records import Batch, Experience
from clnf.core.units import quantity

__all__ = ["ERACE", "ERACEParams"]


@final
@dataclass(frozen=True, kw_only=True)
class ERACEParams:
    """How much is rehearsed.

    Attributes:
        samples: remembered samples put into each batch.
        keep: as in :class:`~clnf.continual.guards.rehearsal.RehearsalParams`.
    """

    samples: int = quantity("1", 32)
    keep: Literal["lesson", "batch"] = "batch"

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise ConfigError(f"rehearsal needs samples >= 1, got {self.samples}")
        check_keep(self.keep)


@final
class ERACE:
    """L = mean CE over new rows, among their own classes, + mean CE over remembered rows.

    For the step's own samples the logits of classes absent from the batch are shut (minus
    infinity), so their gradient is zero there; remembered samples compete among all classes seen
    so far, in batches or in rows drawn from a memory filled before. Needs logits: not for
    generators. Works on a chip.

    Args:
        memory: keeps samples; its policy is part of the result.
        model: the model being taught, with class logits [B, K] as outputs.
        params: amount.

    Source: Caccia et al. 2022, eq. 4.
    """

    def __init__(self, memory: Memory, model: Answering, params: ERACEParams | None = None) -> None:
        self.memory = memory
        self.params = params or ERACEParams()
        # Keeping is rehearsal's own; its mixing is not used.
        self._keeper = Rehearsal(memory, RehearsalParams(keep=self.params.keep))
        self._model = model
        self._seen: set[int] = set()
        self._rows = Rows(new=slice(0, 0), old=slice(0, 0))
        self._losses: Tensor | None = None

    def begin(self, experience: Experience) -> None:
        """Nothing to prepare."""

    def mix(self, batch: Batch, rng: torch.Generator) -> Batch:
        """The batch followed by remembered rows at weight 0."""
        mixed, self._losses = batch, None
        self._rows = Rows(new=slice(0, len(batch)), old=slice(0, 0))
        if len(self.memory):
            mixed, self._rows = behind(batch, self.memory.draw(self.params.samples, rng))
        if self.params.keep == "batch":
            self.memory.add(batch)
        return mixed

    def hear(self, outputs: Tensor, losses: Tensor, batch: Batch) -> Tensor:
        """Judge the step's own rows among their classes, remembered ones among all seen.

        Raises:
            ConfigError: the outputs are not rows of class logits.
        """
        if outputs.dim() != 2:
            raise ConfigError(f"ER-ACE needs logits [B, K], got {tuple(outputs.shape)}")
        new, old = self._rows.new, self._rows.old
        present = torch.unique(batch.cond[new])
        self._seen.update(present.tolist())
        # A memory may come with classes that no batch here has shown.
        self._seen.update(torch.unique(batch.cond[old]).tolist())
        shut = torch.zeros_like(outputs, dtype=torch.bool)
        shut[new] = True
        shut[new, present] = False
        shut[old] = True
        shut[old, sorted(self._seen)] = False
        judged = self._model.loss_of(outputs.masked_fill(shut, -math.inf), batch)
        self._losses = judged[old] if old.stop else None
        # Rows of other guards are not shut anywhere, so their loss is what it was.
        return judged

    def penalty(self) -> Tensor | None:
        """The mean loss of remembered rows among all classes seen."""
        losses, self._losses = self._losses, None
        return None if losses is None else losses.mean()

    def constrain(self, lr: float) -> None:
        """Gradients stay as they are."""

    def consolidate(self, experience: Experience) -> None:
        """Offer the lesson's samples to the memory, unless every batch was already offered."""
        self._keeper.consolidate(experience)

    def state_dict(self) -> dict[str, Any]:
        """The memory and the classes seen."""
        return {**self._keeper.state_dict(), "seen": sorted(self._seen)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave."""
        self._seen = set(state["seen"])
        self._keeper.load_state_dict({k: v for k, v in state.items() if k != "seen"})
