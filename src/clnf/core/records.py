"""The typed records that travel from room to room."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, final

import torch
from torch import Tensor

from clnf.core.errors import ShapeError
from clnf.core.units import quantity

__all__ = ["Action", "Batch", "Experience", "Kind", "Quality", "Source", "Verdict"]

Kind = Literal["core", "new", "feedback"]
Action = Literal["commit", "rollback", "skip", "reject"]


@final
@dataclass(frozen=True, kw_only=True)
class Batch:
    """Samples with their condition and weight.

    Attributes:
        x: data, shape [B, ...]; images are [B, C, H, W] in [-1, 1].
        cond: concept or class index, int64 [B].
        weight: factor on each sample's loss, float32 [B], >= 0.
    """

    x: Tensor
    cond: Tensor
    weight: Tensor

    def __post_init__(self) -> None:
        # Of a tensor, size(0) is half the price of len().
        if not (self.x.size(0) == self.cond.size(0) == self.weight.size(0)):
            raise ShapeError(
                f"a batch needs as many conditions and weights as samples, got {len(self.x)} "
                f"samples, {len(self.cond)} conditions, {len(self.weight)} weights"
            )

    def __len__(self) -> int:
        return self.x.size(0)

    @staticmethod
    def of(x: Tensor, cond: Tensor | int, weight: float = 1.0) -> "Batch":
        """Build a batch with one weight, and one condition or a tensor of them.

        >>> Batch.of(torch.zeros(2, 3), 4).cond.tolist()
        [4, 4]
        """
        if isinstance(cond, int):
            cond = torch.full((len(x),), cond, dtype=torch.int64)
        return Batch(x=x, cond=cond, weight=torch.full((len(x),), float(weight)))

    @staticmethod
    def cat(batches: "Sequence[Batch]") -> "Batch":
        """Join batches along the sample axis."""
        return Batch(
            x=torch.cat([b.x for b in batches]),
            cond=torch.cat([b.cond for b in batches]),
            weight=torch.cat([b.weight for b in batches]),
        )

    def select(self, index: Tensor) -> "Batch":
        """The samples at ``index`` (int64 [K] or bool [B])."""
        return Batch(x=self.x[index], cond=self.cond[index], weight=self.weight[index])

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch on another device."""
        return Batch(x=self.x.to(device), cond=self.cond.to(device), weight=self.weight.to(device))


class Source(Protocol):
    """Finite data that can be taken by index."""

    def __len__(self) -> int: ...

    def take(self, index: Tensor) -> Batch:
        """The samples at ``index`` (int64 [K]), decoded to model range."""
        ...


@final
@dataclass(frozen=True, kw_only=True)
class Experience:
    """One lesson offered by a stream.

    Attributes:
        name: unique in a run, shown in journal and report.
        concept: what it is about (the condition's name).
        kind: core knowledge, something new, or feedback from people.
        data: the samples.
        priority: factor on the loss of its samples, >= 0.
        provenance: where the data came from, one line.
    """

    name: str
    concept: str
    data: Source
    kind: Kind = "new"
    priority: float = quantity("1", 1.0)
    provenance: str = ""


@final
@dataclass(frozen=True)
class Quality:
    """Measures by name, each a value per concept or probe: ``{"match": {"faces": 0.97}}``."""

    measures: dict[str, dict[str, float]] = field(default_factory=dict)

    def get(self, measure: str, probe: str) -> float:
        """One value; raises KeyError where it was not measured."""
        return self.measures[measure][probe]


@final
@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the monitor decided about a lesson, why, and what it saw.

    Attributes:
        action: commit, rollback, skip or reject.
        reason: one sentence for people.
        before: quality before the lesson.
        after: quality after it; None where it was not taught.
    """

    action: Action
    reason: str
    before: Quality
    after: Quality | None = None
