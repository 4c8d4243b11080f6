"""Online elastic weight consolidation, applied as a proximal step on gradients."""

from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from clnf.continual.fisher import Fisher
from clnf.core.errors import ConfigError, RunError
from clnf.core.records import Batch, Experience
from clnf.core.units import quantity

__all__ = ["EWC", "EWCParams"]


@final
@dataclass(frozen=True, kw_only=True)
class EWCParams:
    """How firmly the old weights are held.

    Attributes:
        strength: lambda of (lambda/2) sum_i F_i (theta_i - theta*_i)^2. Libraries that leave
            out the factor 1/2 call lambda/2 what is lambda here.
        gamma: how much of the importance of earlier lessons is kept, in [0, 1].
    """

    strength: float = quantity("1", 100.0)
    gamma: float = quantity("1", 1.0)

    def __post_init__(self) -> None:
        if not (0 <= self.strength < float("inf") and 0 <= self.gamma <= 1):
            raise ConfigError(
                f"EWC needs a finite strength >= 0 and gamma in [0, 1], "
                f"got {self.strength} and {self.gamma}"
            )


@final
class EWC:
    """Pulls each weight towards its value after the last lesson, by its importance.

    F~_k = gamma F~_(k-1) + F_k, one anchor theta*, penalty (lambda/2) gamma F~ (theta-theta*)^2.
    It acts on gradients,

        g <- (g + A (theta - theta*)) / (1 + lr A),    A = lambda gamma F~,

    so that theta - lr g is the proximal step. That contracts by 1/(1 + lr A) for any A, where
    the plain gradient multiplies by 1 - lr A and diverges once lr A > 2. Memory does not grow
    with the number of lessons.

    Args:
        fisher: measures importance; its parameters are the ones held, for example adapters.
        params: strength and decay.

    Source: Kirkpatrick et al. 2017, eq. 3; Schwarz et al. 2018, Progress & Compress (online EWC).
    """

    def __init__(self, fisher: Fisher, params: EWCParams | None = None) -> None:
        self.params = params or EWCParams()
        self._fisher = fisher
        self._weights: list[Tensor] = list(fisher.parameters.values())
        self._importance: list[Tensor] = []
        self._anchor: list[Tensor] = []
        self._cached: tuple[float, list[Tensor], list[Tensor]] | None = None

    def begin(self, experience: Experience) -> None:
        """Nothing to prepare."""

    def mix(self, batch: Batch, rng: torch.Generator) -> Batch:
        """The batch as it is."""
        return batch

    def penalty(self) -> None:
        """None: the pull is put on the gradients by :meth:`constrain`."""

    def constrain(self, lr: float) -> None:
        """Replace each gradient by the one whose plain step is the proximal step."""
        if not self._anchor or lr == 0:
            return
        pull, slack = self._at(lr)
        gradients = []
        for weight in self._weights:
            if weight.grad is None:
                weight.grad = torch.zeros_like(weight)
            gradients.append(weight.grad)
        # g' is the point between g and (theta - theta*) / lr at s = lr A / (1 + lr A): two passes
        # over memory instead of the plain gradient's three.
        with torch.no_grad():
            moved = torch._foreach_add(pull, self._weights, alpha=1 / lr)
            torch._foreach_lerp_(gradients, moved, slack)

    def _at(self, lr: float) -> tuple[list[Tensor], list[Tensor]]:
        """-theta*/lr and lr A / (1 + lr A), kept while the rate stays."""
        if self._cached is None or self._cached[0] != lr:
            strength = lr * self.params.strength * self.params.gamma
            slack = list(torch._foreach_mul(self._importance, strength))
            for value in slack:
                value.div_(value + 1)
            self._cached = (lr, list(torch._foreach_mul(self._anchor, -1 / lr)), slack)
        return self._cached[1], self._cached[2]

    def consolidate(self, experience: Experience) -> None:
        """Add the lesson's importance and move the anchor to the present weights."""
        new = self._fisher.measure(experience)
        if self._importance:
            torch._foreach_mul_(self._importance, self.params.gamma)
            torch._foreach_add_(self._importance, list(new.values()))
        else:
            self._importance = [value.clone() for value in new.values()]
        self._anchor = [weight.detach().clone() for weight in self._weights]
        self._cached = None

    def energy(self) -> float:
        """(lambda/2) sum_i gamma F~_i (theta_i - theta*_i)^2 now, for reports."""
        total = 0.0
        for weight, anchor, importance in zip(
            self._weights, self._anchor, self._importance, strict=False
        ):
            total += float((importance * (weight.detach() - anchor).square()).sum())
        return 0.5 * self.params.strength * self.params.gamma * total

    def state_dict(self) -> dict[str, Any]:
        """Importance and anchor by parameter name."""
        state: dict[str, Any] = {"held": bool(self._anchor)}
        if self._anchor:
            for name, importance, anchor in zip(
                self._fisher.parameters, self._importance, self._anchor, strict=True
            ):
                state[f"importance.{name}"] = importance
                state[f"anchor.{name}"] = anchor
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave.

        Raises:
            RunError: the state holds other parameters than this guard.
        """
        names = list(self._fisher.parameters) if state["held"] else []
        wanted = {f"{kind}.{name}" for kind in ("importance", "anchor") for name in names}
        if wanted != set(state) - {"held"}:
            raise RunError("this EWC state was saved for other parameters")
        self._importance = [self._own(state, "importance", name) for name in names]
        self._anchor = [self._own(state, "anchor", name) for name in names]
        self._cached = None

    def _own(self, state: dict[str, Any], kind: str, name: str) -> Tensor:
        """A copy, where the parameter lives."""
        value: Tensor = state[f"{kind}.{name}"]
        return value.to(self._fisher.parameters[name].device, copy=True)
