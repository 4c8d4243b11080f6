"""Rehearsal: some remembered samples in every batch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, final

import torch
from torch import Tensor

from clnf.continual.memory import AbstractMemory
from clnf.core.errors import ConfigError
from clnf.core.protocols import Memory
from clnf.core.records import Batch, Experience, Kind
from clnf.core.units import quantity

__all__ = ["Rehearsal", "RehearsalParams"]


@final
@dataclass(frozen=True, kw_only=True)
class RehearsalParams:
    """How much is rehearsed.

    Attributes:
        samples: remembered samples put into each batch.
        coefficient: factor on their weight; generators do best with 0.1 to 0.5.
        keep: when samples enter the memory. ``"lesson"``: at the end of a committed lesson,
            which needs boundaries. ``"batch"``: each batch as it passes, which needs none, and
            then the current lesson is rehearsed too. The two differ by several points: name
            the choice beside every result.
        offered: samples of a lesson offered to the memory at its end; 0 offers all.
        kinds: kinds of experience kept at their end. Two guards with a memory each can so give
            what was learned last a larger share of each batch than what was known before.
    """

    samples: int = quantity("1", 32)
    coefficient: float = quantity("1", 0.3)
    keep: Literal["lesson", "batch"] = "lesson"
    offered: int = quantity("1", 0)
    kinds: tuple[Kind, ...] = ("core", "new", "feedback")

    def __post_init__(self) -> None:
        if self.samples < 1 or not 0 <= self.coefficient < float("inf") or self.offered < 0:
            raise ConfigError(
                f"rehearsal needs samples >= 1, a finite coefficient >= 0 and offered >= 0, got "
                f"{self.samples}, {self.coefficient} and {self.offered}"
            )
        if self.keep not in ("lesson", "batch"):
            raise ConfigError(f'rehearsal keeps per "lesson" or "batch", got "{self.keep}"')


# Samples of a lesson are offered in pieces so that a large folder never stands in memory whole.
_PIECE = 256


@final
class Rehearsal:
    """Mixes remembered samples into each batch: one concatenated forward pass.

    With the weighted mean of the learner the loss is
    (sum_new l + coefficient sum_old l) / (n_new + coefficient n_old).
    A step then touches more samples: compare methods at equal energy or writes, not at equal
    steps only.

    Args:
        memory: where samples are kept; its policy is part of the result.
        params: amount and coefficient.
        features: what a herding memory ranks by, [B, F] of a batch; a lesson's features then
            stand in memory together. None where the memory needs none.

    Source: Chaudhry et al. 2019 (ER); reduced coefficient: Zajac et al. 2023 (2303.15342).
    """

    def __init__(
        self,
        memory: Memory,
        params: RehearsalParams | None = None,
        *,
        features: Callable[[Batch], Tensor] | None = None,
    ) -> None:
        self.memory = memory
        self.params = params or RehearsalParams()
        self._features = features
        if features is not None and self.params.keep != "lesson":
            raise ConfigError('herding ranks whole lessons; keep per "lesson"')

    def begin(self, experience: Experience) -> None:
        """Nothing to prepare."""

    def mix(self, batch: Batch, rng: torch.Generator) -> Batch:
        """The batch followed by remembered samples at reduced weight."""
        params = self.params
        mixed = batch
        if len(self.memory):
            old = self.memory.draw(params.samples, rng).to(batch.x.device)
            old = Batch(x=old.x, cond=old.cond, weight=old.weight * params.coefficient)
            mixed = Batch.cat([batch, old])
        if params.keep == "batch":
            self.memory.add(batch)
        return mixed

    def penalty(self) -> None:
        """None: rehearsal acts through the batch."""

    def constrain(self, lr: float) -> None:
        """Gradients stay as they are."""

    def consolidate(self, experience: Experience) -> None:
        """Offer the lesson's samples to the memory, unless every batch was already offered."""
        if self.params.keep != "lesson" or experience.kind not in self.params.kinds:
            return
        size = len(experience.data)
        offered = min(size, self.params.offered or size)
        # Evenly spread over the lesson, as its samples may be sorted.
        index = torch.arange(offered) * size // max(1, offered)
        if self._features is not None and isinstance(self.memory, AbstractMemory):
            batches = [experience.data.take(piece) for piece in index.split(_PIECE)]
            with torch.no_grad():
                found = torch.cat([self._features(batch) for batch in batches])
            self.memory.add(Batch.cat(batches), found)
            return
        for at in range(0, offered, _PIECE):
            self.memory.add(experience.data.take(index[at : at + _PIECE]))

    def state_dict(self) -> dict[str, Any]:
        """The memory."""
        return {f"memory.{key}": value for key, value in self.memory.state_dict().items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave."""
        prefix = "memory."
        self.memory.load_state_dict({key.removeprefix(prefix): v for key, v in state.items()})
