"""A write fence around the look-up rows of other concepts."""

from typing import Any, final

import torch
from torch import nn

from clnf.core.records import Batch, Experience

__all__ = ["OwnRow"]


@final
class OwnRow:
    """Lets a lesson write only the look-up rows of concepts that its own samples carry.

    Rehearsed samples and dropped conditions also send gradients to the table; without this guard
    each lesson would move every known concept's row a little.

    Args:
        table: the look-up table of concepts.
    """

    def __init__(self, table: nn.Embedding) -> None:
        self._table = table
        self._known: list[int] = [0]
        self._free: list[int] = []

    def begin(self, experience: Experience) -> None:
        """Nothing to prepare: the first batch tells which rows are new."""
        self._free = []

    def mix(self, batch: Batch, rng: torch.Generator) -> Batch:
        """Note which concepts the lesson is about; the batch stays as it is."""
        rows = torch.unique(batch.cond[batch.weight > 0]).tolist()
        self._free = [row for row in rows if row not in self._known]
        return batch

    def penalty(self) -> None:
        """None: the fence acts on gradients."""

    def constrain(self, lr: float) -> None:
        """Clear the gradient of every row that is not the lesson's own."""
        gradient = self._table.weight.grad
        if gradient is not None:
            kept = gradient[self._free].clone()
            gradient.zero_()
            gradient[self._free] = kept

    def consolidate(self, experience: Experience) -> None:
        """From now on the lesson's concepts are known and their rows are closed."""
        index = torch.arange(len(experience.data))
        for piece in index.split(1024):
            for row in torch.unique(experience.data.take(piece).cond).tolist():
                if row not in self._known:
                    self._known.append(row)

    def state_dict(self) -> dict[str, Any]:
        """Rows that are closed."""
        return {"known": list(self._known), "free": list(self._free)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave."""
        self._known, self._free = list(state["known"]), list(state["free"])
