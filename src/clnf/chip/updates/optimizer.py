"""An optimizer whose steps are pulses."""

from collections.abc import Callable, Sequence
from typing import Any, final

import torch
from torch import nn

from clnf.chip.analog import AbstractAnalog
from clnf.chip.bill import Bill
from clnf.chip.updates.mixed import (
    charge_digital,
    direction,
    pulse_mixed,
    step_digital,
    work,
)
from clnf.chip.updates.outer import Due, prepared, pulse_prepared, pulse_products
from clnf.chip.updates.rule import TRANSFERRING, PulseRule
from clnf.chip.updates.tiki_taka import TikiTaka
from clnf.core.errors import ConfigError

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
                else:
                    self._step_plastic(layer, lr)
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

    def _step_plastic(self, layer: AbstractAnalog, lr: float) -> None:
        rule, parameter = self.rule, layer.weight
        if rule.mode != "mixed":
            captured, layer.capture = layer.capture or [], []
            if captured and self._fast is not None:
                self._fast.apply(layer, captured, lr, self.state[parameter])
            elif captured:
                pulse_products(layer, captured, lr, rule, self.bill)
            return
        if parameter.grad is None:
            return
        mode, state = rule.precondition, self.state[parameter]
        charge_digital(self.bill, layer.tiles[0].name, parameter.numel(), *work(mode))
        moved = direction(parameter, rule, state, mode) * -lr
        pulse_mixed(layer, moved, state, rule, self.bill)
