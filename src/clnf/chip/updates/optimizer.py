"""An optimizer whose steps are pulses."""

from collections.abc import Callable, Sequence
from typing import Any, final

import torch
from torch import Tensor, nn

from clnf.chip.analog import AbstractAnalog
from clnf.chip.bill import Bill
from clnf.chip.updates.mixed import (
    charge_digital,
    collect,
    direction,
    offers,
    pulse_mixed,
    step_digital,
    work,
)
from clnf.chip.updates.outer import Due, prepared, pulse_prepared, pulse_products
from clnf.chip.updates.rule import TRANSFERRING, PulseRule
from clnf.chip.updates.tiki_taka import TikiTaka
from clnf.core.errors import ConfigError
from clnf.devices.worth import Offer

__all__ = ["PulseOptimizer"]


@final
class PulseOptimizer(torch.optim.Optimizer):
    """Pulses for plastic layers, plain Adam for digital parameters.

    Its ``state_dict`` holds what is digital; cells, the fast ones too, are the chip's.

    Args:
        plastic: layers whose cells learn.
        digital: parameters outside the chip.
        lr: learning rate in weight units.
        rule: how gradients become pulses.
        bill: where to charge.

    Attributes:
        least_worth: asked at each step of the mixed mode, before any cell is pulsed, with what all
            tiles could be given; pulses worth less than it answers wait. None: all are given.
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
        self.least_worth: Callable[[Sequence[Offer]], float] | None = None
        groups: list[dict[str, Any]] = []
        if plastic:
            groups.append({"params": [layer.weight for layer in plastic], "kind": "plastic"})
        if digital:
            rate = lr if rule.digital_lr is None else rule.digital_lr
            groups.append({"params": list(digital), "kind": "digital", "lr": rate})
        super().__init__(groups, {"lr": lr})
        for layer in plastic:
            layer.capture = None if rule.mode == "mixed" else []
        self._fast: TikiTaka | None = None
        if rule.mode in TRANSFERRING:
            self._fast = TikiTaka(rule, bill, list(plastic))

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step: digital parameters move, plastic cells are pulsed and read back."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        # Kernels over cells push everything else out of the processor's caches: they come last.
        dues = self._prepare() if self.rule.mode == "stochastic" else {}
        taken = self._collect() if self.rule.mode == "mixed" else {}
        for group in self.param_groups:
            if group["kind"] == "digital":
                self._step_digital(group["params"], float(group["lr"]))
        for group in self.param_groups:
            lr = float(group["lr"])
            if group["kind"] == "digital":
                self._charge_digital(group["params"])
                continue
            for parameter in group["params"]:
                layer = self.layers[id(parameter)]
                if id(parameter) in dues:
                    pulse_prepared(layer, dues[id(parameter)], self.bill)
                elif self.rule.mode != "mixed":
                    self._step_plastic(layer, lr)
                elif parameter.grad is not None:
                    chosen = taken.get(id(parameter))
                    pulse_mixed(layer, self.state[parameter], self.rule, self.bill, chosen)
        return loss

    def _prepare(self) -> dict[int, list[Due]]:
        """Pulses of all layers that one kernel a tile gives, by the weight's id."""
        dues = {}
        for group in self.param_groups:
            for parameter in group["params"] if group["kind"] == "plastic" else ():
                layer = self.layers[id(parameter)]
                due = prepared(layer, layer.capture or [], float(group["lr"]), self.rule)
                if due:
                    dues[id(parameter)], layer.capture = due, []
        return dues

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop gradients, and what backward passes left for outer products."""
        if not set_to_none:
            super().zero_grad(set_to_none)
        for group in self.param_groups if set_to_none else ():
            for parameter in group["params"]:
                parameter.grad = None
        for layer in self.layers.values():
            layer.capture = None if layer.capture is None else []

    def _step_digital(self, parameters: Sequence[nn.Parameter], lr: float) -> None:
        due = [parameter for parameter in parameters if parameter.grad is not None]
        if due:
            step_digital(due, self.rule, [self.state[parameter] for parameter in due], lr)

    def _charge_digital(self, parameters: Sequence[nn.Parameter]) -> None:
        numbers = sum(parameter.numel() for parameter in parameters if parameter.grad is not None)
        if numbers:
            charge_digital(self.bill, "digital", numbers, *work("adam"))

    def _collect(self) -> dict[int, list[Tensor]]:
        """Add a step to all accumulators; by weight the pulses to give where somebody chooses."""
        rule, mode = self.rule, self.rule.precondition
        offered: dict[int, list[Offer]] = {}
        for group in self.param_groups:
            for parameter in group["params"] if group["kind"] == "plastic" else ():
                if parameter.grad is None:
                    continue
                layer, state = self.layers[id(parameter)], self.state[parameter]
                charge_digital(self.bill, layer.tiles[0].name, parameter.numel(), *work(mode))
                collect(direction(parameter, rule, state, mode) * -float(group["lr"]), state)
                if self.least_worth is not None:
                    offered[id(parameter)] = offers(layer, state, rule)
        if self.least_worth is None or not offered:
            return {}
        least = self.least_worth([one for tiles in offered.values() for one in tiles])
        return {
            key: [one.due * (one.worth >= least) for one in tiles] for key, tiles in offered.items()
        }

    def _step_plastic(self, layer: AbstractAnalog, lr: float) -> None:
        """Outer products become pulses."""
        captured, layer.capture = layer.capture or [], []
        if captured and self._fast is not None:
            self._fast.apply(layer, captured, lr, self.state[layer.weight])
        elif captured:
            pulse_products(layer, captured, lr, self.rule, self.bill)
