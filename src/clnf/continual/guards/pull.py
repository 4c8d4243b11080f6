"""The quadratic pull towards an anchor that EWC, SI and MAS share."""

from collections.abc import Mapping
from typing import Any, final

import torch
from torch import Tensor

from clnf.core.errors import RunError

__all__ = ["Pull"]


@final
class Pull:
    """Holds importance W and anchor theta*, and pulls gradients by A = stiffness W.

    The penalty (1/2) sum_i A_i (theta_i - theta*_i)^2 acts on gradients: proximal,

        g <- (g + A (theta - theta*)) / (1 + lr A),

    so that theta - lr g is the proximal step, which contracts by 1/(1 + lr A) for any A; or
    explicit, g <- g + A (theta - theta*), which multiplies by 1 - lr A and diverges once
    lr A > 2. One importance and one anchor, whatever the number of lessons.

    Args:
        parameters: what is held, by name.
        explicit: take the plain gradient, as most papers do, instead of the proximal step.
    """

    def __init__(self, parameters: Mapping[str, Tensor], *, explicit: bool = False) -> None:
        self.parameters = dict(parameters)
        self.importance: list[Tensor] = []
        self.anchor: list[Tensor] = []
        self._weights = list(self.parameters.values())
        self._explicit = explicit
        self._cached: tuple[tuple[float, float], list[Tensor], list[Tensor]] | None = None

    def act(self, lr: float, stiffness: float) -> None:
        """Change the gradients of all parameters that learn, for the step of size ``lr``."""
        if not self.anchor or lr == 0:
            return
        every = zip(self._weights, *self._at(lr, stiffness), strict=True)
        pulled = [one for one in every if one[0].requires_grad]
        if not pulled:
            return
        weights, first, second = ([*column] for column in zip(*pulled, strict=True))
        gradients = []
        for weight in weights:
            if weight.grad is None:
                weight.grad = torch.zeros_like(weight)
            gradients.append(weight.grad)
        with torch.no_grad():
            if self._explicit:
                torch._foreach_addcmul_(gradients, weights, first)
                torch._foreach_sub_(gradients, second)
                return
            # g' is the point between g and (theta - theta*) / lr at s = lr A / (1 + lr A): two
            # passes over memory instead of the plain gradient's three.
            moved = torch._foreach_add(first, weights, alpha=1 / lr)
            torch._foreach_lerp_(gradients, moved, second)

    def _at(self, lr: float, stiffness: float) -> tuple[list[Tensor], list[Tensor]]:
        """-theta*/lr and lr A / (1 + lr A), or A and A theta*; kept while the rate stays."""
        if self._cached is None or self._cached[0] != (lr, stiffness):
            if self._explicit:
                first = list(torch._foreach_mul(self.importance, stiffness))
                second = list(torch._foreach_mul(first, self.anchor))
            else:
                first = list(torch._foreach_mul(self.anchor, -1 / lr))
                second = list(torch._foreach_mul(self.importance, lr * stiffness))
                for value in second:
                    value.div_(value + 1)
            self._cached = ((lr, stiffness), first, second)
        return self._cached[1], self._cached[2]

    def settle(self, new: Mapping[str, Tensor], keep: float = 1.0) -> None:
        """W <- keep W + new; the anchor moves to the present weights.

        Args:
            new: importance of the lesson just learned, by name.
            keep: factor on the importance of earlier lessons.
        """
        if self.importance:
            torch._foreach_mul_(self.importance, keep)
            torch._foreach_add_(self.importance, [new[name] for name in self.parameters])
        else:
            self.importance = [new[name].clone() for name in self.parameters]
        self.anchor = [weight.detach().clone() for weight in self._weights]
        self._cached = None

    def energy(self, stiffness: float) -> float:
        """(1/2) sum_i A_i (theta_i - theta*_i)^2 now, for reports."""
        total = 0.0
        for weight, anchor, importance in zip(
            self._weights, self.anchor, self.importance, strict=False
        ):
            total += float((importance * (weight.detach() - anchor).square()).sum())
        return 0.5 * stiffness * total

    def state_dict(self) -> dict[str, Any]:
        """Importance and anchor by parameter name."""
        state: dict[str, Any] = {"held": bool(self.anchor)}
        if self.anchor:
            for name, importance, anchor in zip(
                self.parameters, self.importance, self.anchor, strict=True
            ):
                state[f"importance.{name}"] = importance.clone()
                state[f"anchor.{name}"] = anchor.clone()
        return state

    def load_state_dict(self, state: dict[str, Any], guard: str) -> None:
        """Restore what :meth:`state_dict` gave.

        Raises:
            RunError: the state holds other parameters than this guard.
        """
        names = list(self.parameters) if state["held"] else []
        wanted = {f"{kind}.{name}" for kind in ("importance", "anchor") for name in names}
        if wanted != set(state) - {"held"}:
            raise RunError(f"this {guard} state was saved for other parameters")
        self.importance = [self._own(state, "importance", name) for name in names]
        self.anchor = [self._own(state, "anchor", name) for name in names]
        self._cached = None

    def _own(self, state: dict[str, Any], kind: str, name: str) -> Tensor:
        """A copy, where the parameter lives."""
        value: Tensor = state[f"{kind}.{name}"]
        return value.to(self.parameters[name].device, copy=True)
