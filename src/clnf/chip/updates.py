"""An optimizer whose steps are pulses.

Mixed precision (Nandakumar et al., Front. Neurosci. 2020): a digital accumulator collects

    chi <- chi - lr * direction(grad)

and where |chi| reaches eps (one mean pulse) the cell gets trunc(chi / eps) pulses, while chi
keeps the rest. ``direction`` is the gradient, its momentum or Adam's preconditioned step,
computed digitally and charged as such.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast, final

import torch
from torch import Tensor, nn

from clnf.chip.analog import AbstractAnalog
from clnf.chip.bill import Bill
from clnf.core.errors import ConfigError
from clnf.core.ledger import ATTOJOULES_PER_JOULE
from clnf.core.units import quantity

__all__ = ["PulseOptimizer", "PulseRule"]

# Additions and multiplications per weight and step, for the digital bill.
_DIGITAL_WORK = {"none": (2, 2), "momentum": (3, 3), "adam": (6, 10)}


@final
@dataclass(frozen=True, kw_only=True)
class PulseRule:
    """How gradients become pulses.

    Attributes:
        mode: mixed precision, or stochastic: each vector's outer product as random pulse
            trains straight from the layer's inputs and output gradients. The stochastic mode
            has no digital accumulator, so changes made to ``.grad`` do not reach the cells;
            use a fence there.
        precondition: none, momentum, or Adam's scaling (Kingma & Ba 2015).
        beta1: memory of the mean gradient.
        beta2: memory of its square.
        epsilon: added to the root of the square.
        threshold: pulses are paid out once |chi| reaches this many mean pulses, >= 1.
        longest: largest pulse train per cell and step.
        digital_lr: learning rate of digital parameters (Adam without decay); None as plastic.
    """

    mode: Literal["mixed", "stochastic"] = "mixed"
    precondition: Literal["none", "momentum", "adam"] = "adam"
    beta1: float = quantity("1", 0.9)
    beta2: float = quantity("1", 0.999)
    epsilon: float = quantity("1", 1e-8)
    threshold: float = quantity("1", 1.0)
    longest: int = quantity("1", 31)
    digital_lr: float | None = quantity("1", None)

    def __post_init__(self) -> None:
        if not (0 <= self.beta1 < 1 and 0 <= self.beta2 < 1 and self.threshold >= 1):
            raise ConfigError(
                "betas must be in [0, 1) and the threshold at least 1, got "
                f"{self.beta1}, {self.beta2}, {self.threshold}"
            )


@final
class PulseOptimizer(torch.optim.Optimizer):
    """Pulses for plastic layers, plain Adam for digital parameters.

    Args:
        plastic: layers whose cells learn.
        digital: parameters outside the chip.
        lr: learning rate in weight units.
        rule: how gradients become pulses.
        bill: where to charge.
    """

    def __init__(
        self,
        plastic: Sequence[AbstractAnalog],
        digital: Sequence[nn.Parameter],
        *,
        lr: float,
        rule: PulseRule,
        bill: Bill,
    ) -> None:
        if not lr > 0:
            raise ConfigError(f"the learning rate must be positive, got {lr}")
        self.layers = {id(layer.weight): layer for layer in plastic}
        self.rule = rule
        self.bill = bill
        groups: list[dict[str, Any]] = []
        if plastic:
            groups.append({"params": [layer.weight for layer in plastic], "kind": "plastic"})
        if digital:
            rate = lr if rule.digital_lr is None else rule.digital_lr
            groups.append({"params": list(digital), "kind": "digital", "lr": rate})
        super().__init__(groups, {"lr": lr})
        for layer in plastic:
            layer.capture = [] if rule.mode == "stochastic" else None

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step: digital parameters move, plastic cells are pulsed and read back."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                if group["kind"] == "plastic" and self.rule.mode == "stochastic":
                    self._pulse_outer(self.layers[id(parameter)], float(group["lr"]))
                    continue
                direction = self._direction(parameter, group["kind"])
                if group["kind"] == "plastic":
                    self._pulse(parameter, direction, float(group["lr"]))
                else:
                    parameter.add_(direction, alpha=-float(group["lr"]))
        return loss

    def _direction(self, parameter: nn.Parameter, kind: str) -> Tensor:
        rule, state = self.rule, self.state[parameter]
        grad = cast(Tensor, parameter.grad)
        mode = "adam" if kind == "digital" else rule.precondition
        self._charge_digital(parameter, mode)
        if mode == "none":
            return grad
        if "step" not in state:
            state["step"] = 0
            state["mean"] = torch.zeros_like(grad)
            if mode == "adam":
                state["square"] = torch.zeros_like(grad)
        state["step"] += 1
        mean = state["mean"].mul_(rule.beta1).add_(grad, alpha=1 - rule.beta1)
        if mode == "momentum":
            return mean
        square = state["square"].mul_(rule.beta2).addcmul_(grad, grad, value=1 - rule.beta2)
        root = (square / (1 - rule.beta2 ** state["step"])).sqrt_().add_(rule.epsilon)
        return mean / (1 - rule.beta1 ** state["step"]) / root

    def _pulse(self, parameter: nn.Parameter, direction: Tensor, lr: float) -> None:
        layer, state = self.layers[id(parameter)], self.state[parameter]
        if "chi" not in state:
            state["chi"] = torch.zeros_like(parameter)
        chi = state["chi"]
        chi.add_(direction, alpha=-lr)
        flat = layer.matrix(chi)
        for tile in layer.tiles:
            part = flat[tile.columns, tile.rows]
            eps = tile.weight_step
            due = (part / eps).trunc_().clamp_(-self.rule.longest, self.rule.longest)
            if self.rule.threshold > 1.0:
                due.mul_(part.abs() >= self.rule.threshold * eps)
            part.sub_(due, alpha=eps)
            count, energy_aj, longest = tile.pulse(due.contiguous())
            if count:
                self.bill.pulses(tile, count, energy_aj, longest)
        layer.refresh()

    def _pulse_outer(self, layer: AbstractAnalog, lr: float) -> None:
        for driven, grad in layer.capture or []:
            for tile in layer.tiles:
                rows = layer.unfolded(driven, tile)
                pulses = tile.pulse_outer(rows, layer.sensed(grad, tile), lr)
                self.bill.pulses(tile, *pulses)
        layer.capture = []
        layer.refresh()

    def _charge_digital(self, parameter: nn.Parameter, mode: str) -> None:
        adds, multiplies = _DIGITAL_WORK[mode]
        costs = self.bill.costs
        layer = self.layers.get(id(parameter))
        each = adds * costs.add_j + multiplies * costs.multiply_j
        count = parameter.numel()
        self.bill.ledger.charge_total(
            "digital",
            tile=layer.tiles[0].name if layer else "digital",
            count=count,
            energy_aj=count * round(each * ATTOJOULES_PER_JOULE),
        )
