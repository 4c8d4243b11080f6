"""Mixed precision: a digital accumulator collects steps and pays out whole pulses.

    chi <- chi - lr * direction(grad)

and where |chi| reaches eps (one mean pulse) the cell gets trunc(chi / eps) pulses, while chi
keeps the rest. ``direction`` is the gradient, its momentum or Adam's preconditioned step,
computed digitally and charged as such.

Source: Nandakumar et al., Front. Neurosci. 2020.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from clnf.chip.analog import AbstractAnalog
from clnf.chip.bill import Bill
from clnf.chip.updates.rule import PulseRule
from clnf.core.ledger import ATTOJOULES_PER_JOULE
from clnf.devices.worth import Offer, offer

__all__ = [
    "charge_digital",
    "collect",
    "direction",
    "offers",
    "pay_out",
    "pulse_mixed",
    "step_digital",
    "work",
]

# Additions and multiplications per weight and step, for the digital bill.
_WORK = {"none": (2, 2), "momentum": (3, 3), "adam": (6, 10)}


def direction(parameter: nn.Parameter, rule: PulseRule, state: dict[str, Any], mode: str) -> Tensor:
    """What the accumulator collects: the gradient, its running mean, or Adam's step."""
    grad = cast(Tensor, parameter.grad)
    if mode == "none":
        return grad
    if "step" not in state:
        state["step"] = 0
        state["mean"] = torch.zeros_like(grad)
        if mode == "adam":
            state["square"] = torch.zeros_like(grad)
    state["step"] += 1
    mean: Tensor = state["mean"].mul_(rule.beta1).add_(grad, alpha=1 - rule.beta1)
    if mode == "momentum":
        return mean
    square = state["square"].mul_(rule.beta2).addcmul_(grad, grad, value=1 - rule.beta2)
    root = (square / (1 - rule.beta2 ** state["step"])).sqrt_().add_(rule.epsilon)
    return mean / (1 - rule.beta1 ** state["step"]) / root


def step_digital(
    parameters: Sequence[nn.Parameter], rule: PulseRule, states: Sequence[dict[str, Any]], lr: float
) -> None:
    """Adam's step of digital parameters that have a gradient, all at once.

    Bit for bit what :func:`direction` gives each of them; small ones cost less together.
    """
    grads = [cast(Tensor, parameter.grad) for parameter in parameters]
    for state, grad in zip(states, grads, strict=True):
        if "step" not in state:
            state |= {"step": 0, "mean": torch.zeros_like(grad), "square": torch.zeros_like(grad)}
        state["step"] += 1
    means, squares = ([state[name] for state in states] for name in ("mean", "square"))
    torch._foreach_mul_(means, rule.beta1)
    torch._foreach_add_(means, grads, alpha=1 - rule.beta1)
    torch._foreach_mul_(squares, rule.beta2)
    torch._foreach_addcmul_(squares, grads, grads, value=1 - rule.beta2)
    roots = torch._foreach_div(squares, [1 - rule.beta2 ** state["step"] for state in states])
    torch._foreach_sqrt_(roots)
    torch._foreach_add_(roots, rule.epsilon)
    moved = torch._foreach_div(means, [1 - rule.beta1 ** state["step"] for state in states])
    torch._foreach_div_(moved, roots)
    torch._foreach_add_(list(parameters), moved, alpha=-lr)


def pay_out(owed: Tensor, eps: float, rule: PulseRule) -> Tensor:
    """Whole pulses due of what is owed, which loses them; both of one shape."""
    due = _whole_pulses(owed, eps, rule)
    owed.sub_(due, alpha=eps)
    return due


def _whole_pulses(owed: Tensor, eps: float, rule: PulseRule) -> Tensor:
    """Whole pulses due of what is owed, which keeps them."""
    due = (owed / eps).trunc_().clamp_(-rule.longest, rule.longest)
    if rule.threshold > 1.0:
        due.mul_(owed.abs() >= rule.threshold * eps)
    return due


def collect(moved: Tensor, state: dict[str, Any]) -> None:
    """Add a step to the accumulator of a layer."""
    if "chi" not in state:
        state["chi"] = torch.zeros_like(moved)
    state["chi"].add_(moved)


def offers(layer: AbstractAnalog, state: dict[str, Any], rule: PulseRule) -> list[Offer]:
    """What the accumulator of a layer owes each tile, and what that is worth."""
    owed = layer.matrix(state["chi"])
    falls = layer.matrix(state["mean"] if "mean" in state else cast(Tensor, layer.weight.grad))
    found = []
    for tile in layer.tiles:
        due = _whole_pulses(owed[tile.columns, tile.rows], tile.weight_step, rule)
        found.append(offer(due, falls[tile.columns, tile.rows], tile.weight_step))
    return found


def pulse_mixed(
    layer: AbstractAnalog,
    state: dict[str, Any],
    rule: PulseRule,
    bill: Bill,
    taken: Sequence[Tensor] | None = None,
) -> None:
    """Pay out pulses of what the accumulator of a layer owes: all that are due, or some of them.

    Args:
        layer: whose cells are pulsed.
        state: its accumulator.
        rule: which pulses are due.
        bill: where to charge.
        taken: signed whole pulses of each tile; None for all that are due.
    """
    flat = layer.matrix(state["chi"])
    for number, tile in enumerate(layer.tiles):
        owed = flat[tile.columns, tile.rows]
        if taken is None:
            due = pay_out(owed, tile.weight_step, rule)
        else:
            due = taken[number]
            owed.sub_(due, alpha=tile.weight_step)
        count, energy_aj, longest = tile.pulse(due.contiguous(), now_s=layer.circuit.now_s)
        if count:
            bill.pulses(tile, count, energy_aj, longest)
    layer.refresh()


def charge_digital(bill: Bill, tile: str, count: int, adds: int, multiplies: int) -> None:
    """Charge digital arithmetic on ``count`` numbers."""
    each = adds * bill.costs.add_j + multiplies * bill.costs.multiply_j
    energy_aj = count * round(each * ATTOJOULES_PER_JOULE)
    bill.ledger.charge_total("digital", tile=tile, count=count, energy_aj=energy_aj)


def work(mode: str) -> tuple[int, int]:
    """Additions and multiplications of one weight's direction."""
    return _WORK[mode]
