"""Memory-aware synapses: what the outputs hang on is held, no labels needed."""

from dataclasses import dataclass
from typing import Any, final

import torch

from clnf.continual.fisher import Fisher
from clnf.continual.guards.pull import Pull
from clnf.core.errors import ConfigError
from clnf.core.records import Batch, Experience
from clnf.core.units import quantity

__all__ = ["MAS", "MASParams"]


@final
@dataclass(frozen=True, kw_only=True)
class MASParams:
    """How firmly the old weights are held.

    Attributes:
        strength: lambda of lambda sum_i Omega_i (theta_i - theta*_i)^2, without a factor 1/2.
        explicit: add the plain gradient instead of the proximal step's.
    """

    strength: float = quantity("1", 1.0)
    explicit: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.strength < float("inf"):
            raise ConfigError(f"MAS needs a finite strength >= 0, got {self.strength}")


@final
class MAS:
    """Pulls each weight towards its value after the last lesson, by the outputs' sensitivity.

    Omega_i = sum over lessons of E_x |d_i ||f(x)||^2|, absolute value per sample; the penalty is
    lambda sum_i Omega_i (theta_i - theta*_i)^2, whose gradient 2 lambda Omega (theta - theta*) acts
    as in :class:`~clnf.continual.guards.pull.Pull`. Suits generators: ||eps_theta(x_t, t)||^2.

    Args:
        sensitivity: a :class:`Fisher` measuring ``FisherParams(of="outputs")``.
        params: strength.

    Raises:
        ConfigError: the measure is of the loss.

    Source: Aljundi et al. 2018, eq. 3 to 5.
    """

    def __init__(self, sensitivity: Fisher, params: MASParams | None = None) -> None:
        if sensitivity.params.of != "outputs":
            raise ConfigError('MAS measures outputs; give it FisherParams(of="outputs")')
        self.params = params or MASParams()
        self._measure = sensitivity
        self._pull = Pull(sensitivity.parameters, explicit=self.params.explicit)

    def begin(self, experience: Experience) -> None:
        """Nothing to prepare."""

    def mix(self, batch: Batch, rng: torch.Generator) -> Batch:
        """The batch as it is."""
        return batch

    def penalty(self) -> None:
        """None: the pull is put on the gradients by :meth:`constrain`."""

    def constrain(self, lr: float) -> None:
        """Pull gradients towards the anchor."""
        self._pull.act(lr, 2 * self.params.strength)

    def consolidate(self, experience: Experience) -> None:
        """Add the lesson's importance and move the anchor to the present weights."""
        self._pull.settle(self._measure.measure(experience))

    def state_dict(self) -> dict[str, Any]:
        """Importance and anchor by parameter name."""
        return self._pull.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave.

        Raises:
            RunError: the state holds other parameters than this guard.
        """
        self._pull.load_state_dict(state, "MAS")
