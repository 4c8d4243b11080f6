"""A write mask over the weights that matter most."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from clnf.continual.fisher import Fisher
from clnf.continual.optimizer_state import still_moments
from clnf.core.errors import ConfigError, RunError
from clnf.core.records import Batch, Experience
from clnf.core.units import quantity

__all__ = ["Fence", "FenceParams"]


@final
@dataclass(frozen=True, kw_only=True)
class FenceParams:
    """How much is fenced, and how tightly.

    Attributes:
        fraction: part of each parameter's entries fenced after each lesson, in [0, 1].
        leak: factor on the gradient of a fenced entry, in [0, 1]; 0 forbids writing.
        limit: largest part of a parameter ever fenced, in [0, 1], so that room to learn stays.
    """

    fraction: float = quantity("1", 0.1)
    leak: float = quantity("1", 0.0)
    limit: float = quantity("1", 0.5)

    def __post_init__(self) -> None:
        for name in ("fraction", "leak", "limit"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ConfigError(f"the fence's {name} lies in [0, 1], got {value}")


@final
class Fence:
    """Fences the entries of each parameter that a lesson needed most.

    After a lesson, entry i scores F_i (theta_i - theta_i^start)^2, twice the loss its undoing
    would cost to second order; the highest ``fraction`` not yet fenced get mask ``leak``.
    Entries that did not move or do not matter are never fenced.

    The mask multiplies gradients. An optimizer's momentum would still move a fenced entry, so
    give the optimizer too: its moments are then masked whenever the fence grows. Weight decay is
    outside the fence's reach.

    Args:
        fisher: measures importance; may be the one EWC uses. Its parameters are fenced.
        params: fraction, leak, limit.
        optimizer: whose moments of fenced entries are to be cleared.

    Source: hard masks as in Mallya & Lazebnik 2018 (PackNet); the score is the diagonal
    quadratic of Kirkpatrick et al. 2017.
    """

    def __init__(
        self,
        fisher: Fisher,
        params: FenceParams | None = None,
        *,
        optimizer: torch.optim.Optimizer | None = None,
    ) -> None:
        self.params = params or FenceParams()
        self._fisher = fisher
        self._optimizer = optimizer
        self._weights = fisher.parameters
        self._start: dict[str, Tensor] = {}
        self._masks: dict[str, Tensor] = {}

    @property
    def masks(self) -> Mapping[str, Tensor]:
        """Factor on writes, 1 free to ``leak`` fenced, by parameter name.

        For the cells of a chip: where the mask is 0 no pulse may fall.
        """
        return {
            name: self._masks.get(name, torch.ones_like(weight, requires_grad=False))
            for name, weight in self._weights.items()
        }

    def begin(self, experience: Experience) -> None:
        """Remember where the lesson starts."""
        self._start = {name: w.detach().clone() for name, w in self._weights.items()}

    def mix(self, batch: Batch, rng: torch.Generator) -> Batch:
        """The batch as it is."""
        return batch

    def penalty(self) -> None:
        """None: the fence acts on gradients."""

    def constrain(self, lr: float) -> None:
        """Multiply each gradient by its mask."""
        gradients, masks = [], []
        for name, mask in self._masks.items():
            gradient = self._weights[name].grad
            if gradient is not None:
                gradients.append(gradient)
                masks.append(mask)
        if gradients:
            torch._foreach_mul_(gradients, masks)

    def consolidate(self, experience: Experience) -> None:
        """Fence what the lesson needed most.

        Raises:
            RunError: the lesson was never begun, so its weight changes are unknown.
        """
        if not self._start:
            raise RunError("the fence saw no beginning of this lesson; call begin first")
        importance = self._fisher.measure(experience)
        for name, weight in self._weights.items():
            moved = weight.detach() - self._start[name]
            mask = self._masks.setdefault(name, torch.ones_like(moved))
            self._grow(mask, importance[name] * moved.square())
            still_moments(self._optimizer, weight, mask)
        self._start = {}

    def _grow(self, mask: Tensor, score: Tensor) -> None:
        fenced = mask < 1
        score = score.masked_fill(fenced, 0).flatten()
        room = int(self.params.limit * mask.numel()) - int(fenced.sum())
        wanted = min(int(self.params.fraction * mask.numel()), room, int((score > 0).sum()))
        if wanted > 0 and self.params.leak < 1:
            # A stable order, so that equal scores are fenced alike everywhere.
            highest = torch.argsort(score, descending=True, stable=True)[:wanted]
            mask.view(-1)[highest] = self.params.leak

    def state_dict(self) -> dict[str, Any]:
        """Masks, and the start of the lesson under way."""
        return {
            **{f"mask.{name}": value.clone() for name, value in self._masks.items()},
            **{f"start.{name}": value.clone() for name, value in self._start.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave.

        Raises:
            RunError: the state holds a parameter this guard does not have.
        """
        found: dict[str, dict[str, Tensor]] = {"mask": {}, "start": {}}
        for key, value in state.items():
            kind, _, name = key.partition(".")
            if name not in self._weights or self._weights[name].shape != value.shape:
                raise RunError(f"this fence state was saved for other parameters: {name}")
            found[kind][name] = value.to(self._weights[name].device, copy=True)
        self._masks, self._start = found["mask"], found["start"]
