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

from clnf.core.errors import ConfigError, DataError, ShapeError
from clnf.core.inputs import check_fields, number, shown
from clnf.core.tensors import dense, not_finite
from clnf.core.units import quantity
from clnf.spiking.coefficients import Value, check_finite, decay_of, positive
from clnf.spiking.plasticity.law import check_spread

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

    Each is a number, or a tensor [J] or [B, J] with a value for each cell.

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

        Raises:
            ConfigError: ``dt_s`` is no finite time above 0.
            ShapeError: shapes that do not fit each other.
        """
        weight, z, rate_hz = self._fitting({"weights": weight, "spikes": z, "rates": rate_hz})
        kept = decay_of(self.activity_tau_s, dt_s, "exact")
        rate = rate_hz * kept + z * (1.0 - kept) / dt_s
        short = self.speed * (self.goal_hz - rate)
        short = short.mean(0) if weight.dim() == 2 else short
        return weight * (1.0 + dt_s * short[..., None]), rate

    def _fitting(self, given: dict[str, Tensor]) -> list[Tensor]:
        found = [dense(*one) for one in given.items()]
        weights, spikes, rates = (tuple(one.shape) for one in found)
        if len(spikes) != 2 or rates != spikes or weights[:-1] not in (spikes[1:], spikes):
            raise ShapeError(
                "scaling takes weights [post, pre] or [samples, post, pre], and spikes and rates "
                f"[samples, post], got {[*weights]}, {[*spikes]} and {[*rates]}; reshape them"
            )
        shapes = f", [{spikes[1]}] (post cells) or {[*spikes]} (samples, post cells)"
        for name in ("goal_hz", "activity_tau_s", "speed"):
            check_spread(name, getattr(self, name), spikes, shapes)
        return found


def normalised(weight: Tensor, total: Value) -> Tensor:
    """Weights [..., J, I], none negative, scaled so that those into each cell add up to a sum.

    Cells without any weight stay without.

    Args:
        weight: [J, I], or with more axes in front.
        total: above 0: a number for all cells, [J] with one for each, or [..., J].

    Raises:
        ConfigError: a sum that is not above 0 and finite.
        DataError: a weight that is negative or not finite.
        ShapeError: weights without two axes, or sums that are not those of their cells.

    >>> import torch
    >>> normalised(torch.tensor([[1.0, 3.0], [0.0, 0.0]]), 2.0)
    tensor([[0.5000, 1.5000],
            [0.0000, 0.0000]])
    """
    weight = dense("weights", weight)
    if weight.dim() < 2:
        raise ShapeError(f"weights are [..., post, pre], got {[*weight.shape]}; reshape them")
    fault = not_finite(weight)
    least = 0.0 if fault or not weight.numel() else float(weight.detach().min())
    if fault or least < 0:
        raise DataError(
            f"weights that are to add up are finite and 0 or more, got {fault or least}; clamp them"
        )
    each = weight.shape[:-1]
    check_spread("total", total, each, f", [{each[-1]}] (post cells) or what spreads to {[*each]}")
    fault = not_finite(total) if isinstance(total, Tensor) else ""
    if fault or not (isinstance(total, Tensor) or number("total", total) < float("inf")):
        raise ConfigError(f"total must be finite, got {fault or shown(total)}; correct it")
    positive("total", total)
    wanted = total[..., None] if isinstance(total, Tensor) and total.dim() else total
    sums = weight.sum(-1, keepdim=True)
    return weight * (wanted / sums.where(sums != 0, 1.0))
