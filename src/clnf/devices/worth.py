"""Which pulses a budget of writes pays for.

What a pulse is worth is known before it is given: by how much it lowers the loss, to first order,

    worth = -(gradient x step)

with the gradient of its weight, the running one where there is one, and the signed step that the
pulse makes. With so many pulses left for a lesson each step of it has a part,

    part = left / steps to come                  evenly
    part = left x 2 / (steps to come + 1)        as a rate that falls to 0 in a straight line

and the pulses worth most are given as far as that part goes: no more than the budget, ever.

Where nothing is known beforehand, as of errors that are still to become gradients, a threshold can
only follow what was spent, and is late by a step:

    threshold <- threshold x clip((pulses of this step / part of the next)^gain, 1/2, 2)

The same turn, upside down, fits a learning rate to a budget: pulses that are due go with the rate.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from clnf.core.errors import ConfigError

__all__ = ["Offer", "check_budget", "least_paid", "offer", "part", "turn"]


class Offer(NamedTuple):
    """What some cells could be given now.

    Attributes:
        due: signed whole pulses of each cell.
        worth: by how much a pulse of each lowers the loss, of the same shape.
    """

    due: Tensor
    worth: Tensor


def offer(due: Tensor, gradient: Tensor, step: float) -> Offer:
    """What pulses are worth.

    Args:
        due: signed whole pulses of each cell, of any shape.
        gradient: of their weights, the running one where there is one; of the same shape.
        step: of a weight by one pulse up, in units of the weight.

    >>> offer(torch.tensor([2.0, -1.0]), torch.tensor([-3.0, -1.0]), step=0.5).worth
    tensor([ 1.5000, -0.5000])
    """
    return Offer(due, gradient * due.sign() * -step)


def least_paid(offered: Sequence[Offer], allowed: int, least: float) -> float:
    """The lowest threshold on worth at which all pulses worth as much are within what is allowed.

    Pulses that are worth the same are given together or not at all.

    Args:
        offered: by any number of arrays; cells without a pulse due are no matter.
        allowed: pulses of this step, at least 0.
        least: a threshold that holds in any case.

    >>> due, worth = torch.tensor([3.0, -2.0, 1.0]), torch.tensor([0.5, 0.75, 0.25])
    >>> least = least_paid([Offer(due, worth)], allowed=4, least=0.0)
    >>> due * (worth >= least)
    tensor([ 0., -2.,  0.])
    """
    due = torch.cat([one.due.flatten() for one in offered])
    asked = due != 0
    worth = torch.cat([one.worth.flatten() for one in offered])[asked]
    worth, order = worth.sort(descending=True)
    paid = int((due[asked].abs_()[order].double().cumsum(0) <= allowed).sum())
    if paid == len(worth) or float(worth[paid]) < least:
        return least
    # Just above the first that is too much, and so above all that are worth the same.
    return float(torch.nextafter(worth[paid], worth.new_tensor(float("inf"))))


def part(steps: int, *, falling: bool = False) -> float:
    """Part of what is left of a budget that the next step may take.

    Args:
        steps: of the lesson still to come; below 1 counts as 1.
        falling: as a rate that falls to 0 in a straight line, not evenly.

    >>> part(4), part(4, falling=True)
    (0.25, 0.4)
    """
    steps = max(steps, 1)
    # Of rates k, k - 1 ... 1 the first has 2 / (k + 1) of the sum.
    return 2 / (steps + 1) if falling else 1 / steps


def turn(used: int, left: float, gain: float) -> float:
    """What a threshold is multiplied by after a step that took so many pulses, from 1/2 to 2.

    Args:
        used: pulses of this step.
        left: pulses for the next one, above 0.
        gain: how fast it follows, in (0, 1].

    >>> turn(160, left=10.0, gain=0.25), turn(0, left=10.0, gain=0.25)
    (2.0, 0.5)
    """
    return min(max((used / left) ** gain, 0.5), 2.0)


def check_budget(budget: int | None, steps: int, gain: float) -> None:
    """Say so where a budget cannot be kept.

    Args:
        budget: pulses of a lesson, None for no limit.
        steps: of the lesson.
        gain: of :func:`turn`.

    Raises:
        ConfigError: one of them is out of range.
    """
    spent_well = budget is None or budget >= 0
    if not spent_well or steps < 1 or not 0 < gain <= 1:
        raise ConfigError(
            "a budget is at least 0, its steps at least 1 and its gain in (0, 1], got "
            f"{budget}, {steps} and {gain}"
        )
