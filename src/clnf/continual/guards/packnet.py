"""PackNet: each lesson keeps its largest weights for good and leaves the rest to later ones."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from clnf.continual.optimizer_state import still_moments
from clnf.core.errors import ConfigError, RunError
from clnf.core.records import Batch, Experience
from clnf.core.units import quantity

__all__ = ["PackNet", "PackNetParams"]


@final
@dataclass(frozen=True, kw_only=True)
class PackNetParams:
    """How much is given back, and when.

    Attributes:
        prune: part of the weights free in a lesson that is given back, in [0, 1); the paper
            takes 0.5 to 0.75.
        at: step of the lesson at which it is; the steps after it retrain what is kept.
        by_writing: set what is given back to zero directly. False asks for it by a gradient
            theta/lr instead, which plain SGD turns into zero at once and a chip into pulses
            towards it at every later step: cells are not one's own to overwrite.
    """

    prune: float = quantity("1", 0.5)
    at: int = quantity("1", 0)
    by_writing: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.prune < 1 or self.at < 0:
            raise ConfigError(
                f"PackNet prunes a part in [0, 1) at a step >= 0, got {self.prune} and {self.at}"
            )


@final
class PackNet:
    """Write masks by lesson: what a lesson kept is never written again.

    Step ``at`` of a lesson: of each parameter's free entries the largest part 1 - ``prune`` by
    |theta| is kept, the rest is set to zero and stays so while the kept ones are trained on.
    After the lesson the kept entries are its own, the others are free again. Parameters of less
    than two dimensions are not pruned: the first lesson keeps them whole, as in the paper.

    To answer as after lesson t, what came later must be shut out, so it must be told which
    lesson is asked: :meth:`as_of`. Accuracy so measured is task-incremental.

    Args:
        parameters: what is packed, by name.
        params: part and step.
        optimizer: whose moments of masked entries are to be cleared; without it only SGD without
            momentum keeps them. Weight decay is outside the masks' reach.

    Source: Mallya & Lazebnik 2018, section 3.
    """

    def __init__(
        self,
        parameters: Mapping[str, Tensor],
        params: PackNetParams | None = None,
        *,
        optimizer: torch.optim.Optimizer | None = None,
    ) -> None:
        self.params = params or PackNetParams()
        self._weights = dict(parameters)
        self._optimizer = optimizer
        # 0 is free, k belongs to lesson k (from 1), -1 was given back in the lesson under way.
        self._owner = {
            name: torch.zeros_like(w, dtype=torch.int16, requires_grad=False)
            for name, w in self._weights.items()
        }
        self._open: dict[str, Tensor] = {}
        self._lesson = 0
        self._step = 0
        self._pruned = False

    @property
    def masks(self) -> Mapping[str, Tensor]:
        """1 where the lesson under way may write, 0 elsewhere, by name; fences for a chip."""
        return {
            name: (owner == 0).to(self._weights[name].dtype) for name, owner in self._owner.items()
        }

    def free(self) -> float:
        """Part of all entries that no lesson owns."""
        total = sum(owner.numel() for owner in self._owner.values())
        return sum(int((owner <= 0).sum()) for owner in self._owner.values()) / total

    def begin(self, experience: Experience) -> None:
        """Open what is free to the next lesson."""
        self._lesson += 1
        self._step, self._pruned = 0, False
        self._remask()

    def mix(self, batch: Batch, rng: torch.Generator) -> Batch:
        """The batch as it is."""
        return batch

    def penalty(self) -> None:
        """None: masks act on gradients."""

    @torch.no_grad()
    def constrain(self, lr: float) -> None:
        """Give back when it is time; then let no gradient reach what is kept or given back."""
        if self._lesson and self._step == self.params.at and not self._pruned:
            self._prune()
        self._step += 1
        pairs = [
            (weight.grad, self._open[name])
            for name, weight in self._weights.items()
            if name in self._open and weight.grad is not None
        ]
        if pairs:
            torch._foreach_mul_([g for g, _ in pairs], [m for _, m in pairs])
        if self._pruned and not self.params.by_writing and lr:
            for name, weight in self._weights.items():
                if weight.grad is not None:
                    weight.grad.add_(weight * (self._owner[name] == -1), alpha=1 / lr)

    def _prune(self) -> None:
        for name, weight in self._weights.items():
            if weight.dim() < 2:
                continue
            owner = self._owner[name]
            free = torch.nonzero(owner.flatten() == 0).flatten()
            order = torch.argsort(weight.flatten()[free].abs(), stable=True)
            owner.view(-1)[free[order[: int(self.params.prune * len(free))]]] = -1
            if self.params.by_writing:
                weight.mul_(owner != -1)
        self._pruned = True
        self._remask()

    def _remask(self) -> None:
        self._open = dict(self.masks)
        for name, mask in self._open.items():
            still_moments(self._optimizer, self._weights[name], mask)

    @torch.no_grad()
    def consolidate(self, experience: Experience) -> None:
        """What the lesson kept becomes its own; what it gave back is free.

        Raises:
            RunError: the lesson was never begun.
        """
        if not self._open:
            raise RunError("PackNet saw no beginning of this lesson; call begin first")
        if not self._pruned:
            self._prune()
        for name, owner in self._owner.items():
            owner[owner == 0] = self._lesson
            owner[owner == -1] = 0
            # What the optimizer left beside zero would be noise for the next lesson's choice.
            if self.params.by_writing:
                self._weights[name].mul_(owner != 0)
        self._open, self._pruned = {}, False

    @contextmanager
    def as_of(self, lesson: int) -> Iterator[None]:
        """Within it only entries of lessons 1 to ``lesson`` count; afterwards all are back.

        For digital weights: on a chip it would be a reprogramming.

        Raises:
            ConfigError: no such lesson was consolidated.
        """
        if not 1 <= lesson <= self._lesson:
            raise ConfigError(f"lesson {lesson} was not packed; there are 1 to {self._lesson}")
        kept = {name: w.detach().clone() for name, w in self._weights.items()}
        with torch.no_grad():
            for name, owner in self._owner.items():
                self._weights[name].mul_((owner >= 1) & (owner <= lesson))
        try:
            yield
        finally:
            with torch.no_grad():
                for name, value in kept.items():
                    self._weights[name].copy_(value)

    def state_dict(self) -> dict[str, Any]:
        """Owners, and where the lesson under way stands."""
        state: dict[str, Any] = {
            "lesson": self._lesson,
            "step": self._step,
            "pruned": self._pruned,
            "open": bool(self._open),
        }
        return state | {f"owner.{name}": v.clone() for name, v in self._owner.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave.

        Raises:
            RunError: the state holds other parameters than this guard.
        """
        wanted = {f"owner.{name}": w.shape for name, w in self._weights.items()}
        if wanted != {k: v.shape for k, v in state.items() if k.startswith("owner.")}:
            raise RunError("this PackNet state was saved for other parameters")
        self._lesson, self._step, self._pruned = state["lesson"], state["step"], state["pruned"]
        for name, owner in self._owner.items():
            owner.copy_(state[f"owner.{name}"])
        self._open = dict(self.masks) if state["open"] else {}
