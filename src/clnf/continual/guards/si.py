"""Synaptic intelligence: importance summed along the path of learning."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from clnf.continual.guards.pull import Pull
from clnf.core.errors import ConfigError, RunError
from clnf.core.records import Batch, Experience
from clnf.core.units import quantity

__all__ = ["SI", "SIParams"]


@final
@dataclass(frozen=True, kw_only=True)
class SIParams:
    """How firmly the old weights are held.

    Attributes:
        strength: c of c sum_i Omega_i (theta_i - theta*_i)^2.
        damping: xi in the denominator, > 0; too small, and weights that hardly moved freeze.
        explicit: add the plain gradient instead of the proximal step's.
    """

    strength: float = quantity("1", 0.5)
    damping: float = quantity("1", 0.1)
    explicit: bool = False

    def __post_init__(self) -> None:
        if not (0 <= self.strength < math.inf and 0 < self.damping < math.inf):
            raise ConfigError(
                f"SI needs a finite strength >= 0 and damping > 0, "
                f"got {self.strength} and {self.damping}"
            )


@final
class SI:
    """Pulls each weight by how much its path through the lesson lowered the loss.

    Along the lesson omega_i += -g_i Delta theta_i, with g the gradient of the task's loss and
    Delta theta the real move, whatever the optimizer or the cells made of it. At its end
    Omega_i += max(0, omega_i) / ((theta_i - theta_i^start)^2 + xi), omega <- 0. The gradient of
    c sum_i Omega_i (theta_i - theta*_i)^2 acts as in :class:`~clnf.continual.guards.pull.Pull`.

    Put it before guards that change gradients, or their part counts as the task's. A move is
    read at the next step or at the end of the lesson, so a refused step, which moves nothing,
    adds nothing. On a chip the weights read back are noisy, and so is omega.

    Args:
        parameters: what is held, by name, as ``dict(model.named_parameters())``.
        params: strength and damping.

    Source: Zenke et al. 2017, eq. 3 to 5.
    """

    def __init__(self, parameters: Mapping[str, Tensor], params: SIParams | None = None) -> None:
        self.params = params or SIParams()
        self._pull = Pull(parameters, explicit=self.params.explicit)
        self._weights = list(self._pull.parameters.values())
        self._path: list[Tensor] = []
        self._start: list[Tensor] = []
        self._before: list[Tensor] = []
        self._gradient: list[Tensor] = []

    def begin(self, experience: Experience) -> None:
        """Remember where the lesson starts; the path begins anew."""
        self._path = [torch.zeros_like(w, requires_grad=False) for w in self._weights]
        self._start = [w.detach().clone() for w in self._weights]
        self._before, self._gradient = [], []

    def mix(self, batch: Batch, rng: torch.Generator) -> Batch:
        """The batch as it is."""
        return batch

    def penalty(self) -> None:
        """None: the pull is put on the gradients by :meth:`constrain`."""

    @torch.no_grad()
    def constrain(self, lr: float) -> None:
        """Add the last step to the path, note this one's gradient, then pull."""
        if self._path:
            self._walk()
            self._note()
        self._pull.act(lr, 2 * self.params.strength)

    def _walk(self) -> None:
        """Lower omega by g (theta_now - theta_before)."""
        if self._before:
            moved = torch._foreach_sub(self._weights, self._before)
            torch._foreach_addcmul_(self._path, moved, self._gradient, value=-1)

    def _note(self) -> None:
        gradients = [torch.zeros_like(w) if w.grad is None else w.grad for w in self._weights]
        # The learner will refuse a step that is not finite; it must not spoil the path either.
        if not math.isfinite(sum(map(float, torch._foreach_norm(gradients)))):
            self._before, self._gradient = [], []
        elif self._before:
            torch._foreach_copy_(self._before, self._weights)
            torch._foreach_copy_(self._gradient, gradients)
        else:
            self._before = [w.detach().clone() for w in self._weights]
            self._gradient = [g.clone() for g in gradients]

    @torch.no_grad()
    def consolidate(self, experience: Experience) -> None:
        """Turn the path into importance and move the anchor to the present weights.

        Raises:
            RunError: the lesson was never begun, so there is no path.
        """
        if not self._path:
            raise RunError("SI saw no beginning of this lesson; call begin first")
        self._walk()
        new = {}
        for name, weight, start, path in zip(
            self._pull.parameters, self._weights, self._start, self._path, strict=True
        ):
            new[name] = path.clamp(min=0) / ((weight - start).square() + self.params.damping)
        self._pull.settle(new)
        self._path, self._start, self._before, self._gradient = [], [], [], []

    @property
    def path(self) -> dict[str, Tensor]:
        """The omega of the lesson under way, up to the last step but one."""
        return dict(zip(self._pull.parameters, self._path, strict=False))

    def state_dict(self) -> dict[str, Any]:
        """Importance, anchor, and the path of the lesson under way."""
        state = self._pull.state_dict()
        parts = ("path", "start", "before", "gradient")
        for part, values in zip(parts, self._parts(), strict=True):
            state |= {f"lesson.{part}.{i}": value.clone() for i, value in enumerate(values)}
        return state

    def _parts(self) -> tuple[list[Tensor], ...]:
        return self._path, self._start, self._before, self._gradient

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave.

        Raises:
            RunError: the state holds other parameters than this guard.
        """
        held = {k: v for k, v in state.items() if not k.startswith("lesson.")}
        self._pull.load_state_dict(held, "SI")
        self._path, self._start, self._before, self._gradient = (
            self._part(state, part) for part in ("path", "start", "before", "gradient")
        )

    def _part(self, state: dict[str, Any], part: str) -> list[Tensor]:
        if f"lesson.{part}.0" not in state:
            return []
        values: list[Tensor] = []
        for i, weight in enumerate(self._weights):
            value = state.get(f"lesson.{part}.{i}")
            if value is None or value.shape != weight.shape:
                raise RunError("this SI state was saved for other parameters")
            values.append(value.to(weight.device, copy=True))
        return values
