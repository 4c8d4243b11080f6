"""Online elastic weight consolidation, applied as a proximal step on gradients."""

from dataclasses import dataclass
from typing import Any, final

import torch

from clnf.continual.fisher import Fisher
from clnf.continual.guards.pull import Pull
from clnf.core.errors import ConfigError
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
        explicit: add the plain gradient instead, as the papers do; for comparison, as it
            diverges where lr A > 2.
    """

    strength: float = quantity("1", 100.0)
    gamma: float = quantity("1", 1.0)
    explicit: bool = False

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
        self._pull = Pull(fisher.parameters, explicit=self.params.explicit)

    def begin(self, experience: Experience) -> None:
        """Nothing to prepare."""

    def mix(self, batch: Batch, rng: torch.Generator) -> Batch:
        """The batch as it is."""
        return batch

    def penalty(self) -> None:
        """None: the pull is put on the gradients by :meth:`constrain`."""

    def constrain(self, lr: float) -> None:
        """Replace each gradient by the one whose plain step is the proximal step."""
        self._pull.act(lr, self.params.strength * self.params.gamma)

    def consolidate(self, experience: Experience) -> None:
        """Add the lesson's importance and move the anchor to the present weights."""
        self._pull.settle(self._fisher.measure(experience), self.params.gamma)

    def energy(self) -> float:
        """(lambda/2) sum_i gamma F~_i (theta_i - theta*_i)^2 now, for reports."""
        return self._pull.energy(self.params.strength * self.params.gamma)

    def state_dict(self) -> dict[str, Any]:
        """Importance and anchor by parameter name."""
        return self._pull.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave.

        Raises:
            RunError: the state holds other parameters than this guard.
        """
        self._pull.load_state_dict(state, "EWC")
