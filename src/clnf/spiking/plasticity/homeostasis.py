"""What keeps cells and weights in their range while rules change them; all of it differentiable.

    Threshold       a spike lifts a cell's threshold, which falls back (Diehl & Cook 2015)
    normalised      all weights into a cell add up to one sum (Diehl & Cook 2015)
    Scaling         weights into a cell grow where it is too silent and shrink where it is too busy
                    (Turrigiano et al., Nature 1998; van Rossum et al., J. Neurosci. 2000)

Cells with a threshold of their own that moves are :class:`clnf.spiking.AdaptiveLIF`.
"""

from dataclasses import dataclass
from typing import final

from torch import Tensor

from clnf.core.inputs import check_fields
from clnf.core.units import quantity
from clnf.spiking.coefficients import Value, check_finite, decay_of, positive

__all__ = ["Scaling", "Threshold", "normalised"]


@final
@dataclass(frozen=True, kw_only=True)
class Threshold:
    """An adaptive threshold: theta' = theta exp(-dt / tau), theta = theta' + jump z.

    Attributes:
        jump_v: what a spike adds.
        tau_s: how it falls back. Defaults are those of Diehl & Cook (2015).

    >>> import torch
    >>> Threshold(jump_v=0.05e-3, tau_s=1e4).step(torch.ones(1), torch.zeros(1), dt_s=1e-3)
    tensor([5.0000e-05])
    """

    jump_v: Value = quantity("V", 0.05e-3)
    tau_s: Value = quantity("s", 1e4)

    def __post_init__(self) -> None:
        check_fields(self)
        check_finite(self)
        positive("tau_s", self.tau_s)

    def step(self, z: Tensor, theta_v: Tensor, *, dt_s: float) -> Tensor:
        """Thresholds one step later.

        Args:
            z: spikes, of any shape.
            theta_v: what the thresholds were lifted by, V.
            dt_s: seconds of a step.
        """
        return theta_v * decay_of(self.tau_s, dt_s, "exact") + self.jump_v * z


@final
@dataclass(frozen=True, kw_only=True)
class Scaling:
    """Synaptic scaling: tau_a da/dt = -a + spikes, dw/dt = speed w (goal - a).

    Attributes:
        goal_hz: rate that a cell is held at.
        activity_tau_s: over which its rate a is measured.
        speed: relative change of weights for each spike too few, a pure number.

    >>> import torch
    >>> rule, z = Scaling(goal_hz=10.0, speed=0.1), torch.zeros(1, 1)
    >>> weight, rate = rule.step(torch.ones(1, 1), z, torch.zeros(1, 1), dt_s=1e-2)
    >>> round(weight.item(), 4)                                 # silent: up by 0.1 x 10 Hz x 10 ms
    1.01
    """

    goal_hz: Value = quantity("Hz", 5.0)
    activity_tau_s: Value = quantity("s", 1.0)
    speed: Value = quantity("1", 0.01)

    def __post_init__(self) -> None:
        check_fields(self)
        check_finite(self)
        positive("goal_hz", self.goal_hz)
        positive("activity_tau_s", self.activity_tau_s)

    def step(
        self, weight: Tensor, z: Tensor, rate_hz: Tensor, *, dt_s: float
    ) -> tuple[Tensor, Tensor]:
        """Weights and rates one step later.

        Args:
            weight: [J, I] shared by samples, which take the mean rate, or [B, J, I].
            z: spikes of the cells behind the weights, [B, J].
            rate_hz: their rates before, [B, J].
            dt_s: seconds of a step.
        """
        kept = decay_of(self.activity_tau_s, dt_s, "exact")
        rate = rate_hz * kept + z * (1.0 - kept) / dt_s
        short = self.goal_hz - rate
        short = short.mean(0) if weight.dim() == 2 else short
        return weight * (1.0 + dt_s * self.speed * short[..., None]), rate


def normalised(weight: Tensor, total: Value) -> Tensor:
    """Weights [..., J, I], none negative, scaled so that those into each cell add up to a sum.

    Cells without any weight stay without.

    >>> import torch
    >>> normalised(torch.tensor([[1.0, 3.0], [0.0, 0.0]]), 2.0)
    tensor([[0.5000, 1.5000],
            [0.0000, 0.0000]])
    """
    sums = weight.sum(-1, keepdim=True)
    return weight * (total / sums.where(sums != 0, 1.0))
