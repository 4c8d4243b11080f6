"""A course: a method teaches a stack batch by batch, and what that took.

    for each batch: zero_grad, teach, step;   rate falls in a straight line to 0

Every method goes through the same loop, so that only what makes the errors differs.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor, nn

from clnf.chip.hosting import Chip
from clnf.chip.local.backpropagation import Backpropagation
from clnf.chip.local.equilibrium import Equilibrium, Relaxation
from clnf.chip.local.events import EventRule, Events
from clnf.chip.local.feedback import DirectFeedback
from clnf.chip.local.forward_forward import ForwardForward
from clnf.chip.local.layerwise import LocalLosses
from clnf.chip.local.method import AbstractMethod
from clnf.chip.updates import PulseOptimizer, PulseRule
from clnf.core.errors import ConfigError
from clnf.core.inputs import check_fields
from clnf.core.rng import torch_rng
from clnf.core.units import quantity

__all__ = ["METHODS", "Course", "Spent", "make_method", "right", "spent", "teach"]

METHODS = ("backpropagation", "feedback", "layerwise", "forward-forward", "equilibrium")


def make_method(
    name: str,
    net: nn.Module,
    chip: Chip,
    *,
    example: Tensor,
    seed: int,
    relaxation: Relaxation | None = None,
) -> AbstractMethod:
    """A method by its name.

    Args:
        name: one of METHODS.
        net: a hosted stack.
        chip: under it.
        example: inputs [B, ...], to learn sizes from.
        seed: of what the method draws.
        relaxation: of equilibrium propagation.

    Raises:
        ConfigError: there is no such method, or it cannot teach this stack.
    """
    match name:
        case "backpropagation":
            return Backpropagation(net, chip)
        case "feedback":
            return DirectFeedback(net, chip, example=example, seed=seed)
        case "layerwise":
            return LocalLosses(net, chip, example=example, seed=seed)
        case "forward-forward":
            return ForwardForward(net, chip, example=example, seed=seed)
        case "equilibrium":
            return Equilibrium(net, chip, relaxation=relaxation)
    raise ConfigError(f"a way of teaching is one of {', '.join(METHODS)}, got {name!r}")


@final
@dataclass(frozen=True, kw_only=True)
class Course:
    """What is taught with.

    Attributes:
        lr: learning rate at the first batch, in weight units.
        steps: batches.
        batch: samples of each, drawn with replacement.
        seed: of the draw.
        rule: how errors become pulses.
        events: what counts as an event; None pulses everything.
        falling: whether the rate of pulses falls to 0, or stays for a schedule in volts.
    """

    lr: float = quantity("1")
    steps: int = quantity("1")
    batch: int = quantity("1", 32)
    seed: int = quantity("1", 0)
    rule: PulseRule = field(
        default_factory=lambda: PulseRule(mode="mixed", precondition="none", digital_lr=0.01)
    )
    events: EventRule | None = None
    falling: bool = True

    def __post_init__(self) -> None:
        check_fields(self)
        if not 0 < self.lr < float("inf") or min(self.steps, self.batch) < 1:
            raise ConfigError(
                "a course has a rate above 0, steps and samples, got "
                f"{self.lr}, {self.steps} and {self.batch}"
            )


def teach(
    method: AbstractMethod,
    course: Course,
    split: tuple[Tensor, Tensor],
    *,
    lesson: str = "training",
    ahead: Callable[[int], None] = lambda step: None,
) -> Events | None:
    """Teach one lesson.

    Args:
        method: over a hosted stack.
        course: rate, batches, rule.
        split: samples [N, ...] and their classes [N].
        lesson: its name in the ledger.
        ahead: called with the number of each batch before it, for bars and schedules.

    Returns:
        What stood between errors and optimizer, where the course has events.
    """
    ledger, rng, (x, y) = method.chip.ledger, torch_rng(course.seed, "batches"), split
    optimizer = method.optimizer(lr=course.lr, rule=course.rule)
    events = Events(optimizer, course.events) if course.events else None
    ledger.lesson, before = lesson, ledger.lesson
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _rates(optimizer, course))
    for step in range(course.steps):
        ahead(step)
        picked = torch.randint(0, len(y), (course.batch,), generator=rng)
        optimizer.zero_grad()
        method.teach(x[picked], y[picked])
        (events or optimizer).step()
        schedule.step()
    ledger.lesson = before
    return events


def _rates(optimizer: PulseOptimizer, course: Course) -> list[Callable[[int], float]]:
    """Rates of each group over the steps, relative to the first."""

    def falling(step: int) -> float:
        return 1.0 - step / course.steps

    def level(step: int) -> float:
        return 1.0

    groups = [course.falling or one["kind"] == "digital" for one in optimizer.param_groups]
    return [falling if falls else level for falls in groups]


@torch.no_grad()
def right(method: AbstractMethod, split: tuple[Tensor, Tensor]) -> float:
    """Share of samples whose class is named rightly."""
    x, y = split
    return float((method(x).argmax(1) == y).float().mean())


@final
@dataclass(frozen=True, kw_only=True)
class Spent:
    """What a lesson took, heads and other cells of the method's own included.

    Attributes:
        energy_j: all of it.
        route_j: of that, moving bits between groups.
        write_j: of that, write pulses.
        digital_j: of that, digital arithmetic.
        busy_s: summed over tiles.
        pulses: write pulses.
        pulses_worst: of the most worn cell, since it was made.
        bytes: through the router, for one input.
        before_j: of what came before the lesson: first weights, feedback.
    """

    energy_j: float = quantity("J")
    route_j: float = quantity("J")
    write_j: float = quantity("J")
    digital_j: float = quantity("J")
    busy_s: float = quantity("s")
    pulses: int = quantity("1")
    pulses_worst: int = quantity("1")
    bytes: float = quantity("B")
    before_j: float = quantity("J")


def spent(method: AbstractMethod, lesson: str = "training") -> Spent:
    """Read the ledger and the wear of a method's chips."""
    ledger = method.chip.ledger
    whole, routed = ledger.total(lesson=lesson), ledger.total(lesson=lesson, op="routing")
    pulses = ledger.total(lesson=lesson, op="pulse")
    return Spent(
        energy_j=whole.energy_j,
        route_j=routed.energy_j,
        write_j=pulses.energy_j,
        digital_j=ledger.total(lesson=lesson, op="digital").energy_j,
        busy_s=whole.time_s,
        pulses=pulses.count,
        pulses_worst=max(tile.most for chip in method.chips for tile in chip.wear().values()),
        bytes=routed.count / 8 / max(method.traffic.samples, 1),
        before_j=ledger.total(lesson="setup").energy_j,
    )
