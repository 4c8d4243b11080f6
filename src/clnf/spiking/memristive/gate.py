"""Event-driven learning: where an error is small, nothing learns and nothing is written.

    samples  a sample whose largest |error| is below threshold x scale teaches nothing
    errors   each single error below it becomes 0
    worth    every error passes; of the pulses that are then due only those are given that lower the
             loss by so much each: running gradient x step

``scale`` is the root-mean-square error of the first batch, so a threshold is a pure number. Errors
are taken times the number of samples, as losses are means over them: rehearsal makes batches
larger, not errors smaller. An error may be that of a loss through time, of an online rule at a
step, or a third factor: it is whatever makes weights move. Under a softmax the errors of wrong
classes are many and small, and without them nothing holds the right class back: "samples" is the
better place for those.

With a budget of writes for a lesson the threshold follows what is left of it. On samples and errors
it can only follow what was spent: the first errors, which are the largest, take most, and once the
budget is spent nothing passes until the next lesson; what is withheld is lost. On worth it is found
anew at each step (:mod:`clnf.devices.worth`): the best pulses come first, no more are given than
the budget allows, and what is not given stays owed. Steps too large for the budget would leave
debts that are paid when they are no longer right, so that the learning rate of cells follows too,

    rate <- min(rate / clip((pulses due that are worth it / part of this step)^gain, 1/2, 2), 1)

A net may end in a gate on samples, which spares ways back, while its optimizer is told of another
on worth, which spends the writes.

After SOEL (Stewart et al., arXiv 2008.01151), where a neuron's update waits for an error large
enough. ``clnf.chip.local.events`` gates layers on tiles in the same way.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor, nn

from clnf.core.errors import ConfigError, ShapeError
from clnf.core.inputs import check_fields, instance, whole
from clnf.core.tensors import finite
from clnf.core.units import quantity
from clnf.devices.worth import Offer, check_budget, least_paid, part, turn

__all__ = ["Gate", "GateRule"]

ErrorOf = Callable[..., Tensor]
_LEAST = 1e-3


@final
@dataclass(frozen=True, kw_only=True)
class GateRule:
    """What counts as an event.

    On worth, pulses that are worth the same are given together or not at all: where all that are
    due are worth the same and are more than a step's part of the budget, none is given.

    Attributes:
        threshold: in root-mean-squares of the first errors, or in the loss that one pulse saves
            (worth); None is 1 of the former and 0 of the latter.
        on: where it is: see the head of this module.
        budget: writes allowed in a lesson; None leaves the threshold as it is.
        steps: optimizer steps of a lesson, over which the budget is spread.
        falling: spread it as a rate that falls to 0 in a straight line spends it, not evenly.
        gain: how fast a threshold follows, or on worth the rate, in (0, 1].
    """

    threshold: float | None = quantity("1", None)
    on: Literal["samples", "errors", "worth"] = "samples"
    budget: int | None = quantity("1", None)
    steps: int = quantity("1", 1)
    falling: bool = False
    gain: float = quantity("1", 0.25)

    def __post_init__(self) -> None:
        check_fields(self)
        if not 0 <= self.start < float("inf"):
            raise ConfigError(f"a threshold is at least 0, got {self.threshold}; correct it")
        check_budget(self.budget, self.steps, self.gain)

    @property
    def start(self) -> float:
        """The threshold to begin with."""
        if self.threshold is None:
            return 0.0 if self.on == "worth" else 1.0
        return self.threshold


@final
class Gate(nn.Module):
    """Lets large errors pass; the last module of a net, or around an online rule's errors.

    As a module it gives its inputs as they are, [B, ...], and in training mode stands in the way
    back. Its state is in buffers, so that a net's ``state_dict()`` holds it.

    Args:
        rule: what counts as an event.

    >>> gate, out = Gate(GateRule(threshold=1.0)), torch.zeros(2, 2, requires_grad=True)
    >>> (gate(out) * torch.tensor([[3.0, 0.0], [0.1, 0.1]])).sum().backward()
    >>> out.grad, gate.passed.item(), gate.seen.item()
    (tensor([[3., 0.],
            [0., 0.]]), 1, 2)
    """

    threshold: Tensor
    scale: Tensor
    rate: Tensor
    seen: Tensor
    passed: Tensor
    spent: Tensor
    steps: Tensor

    def __init__(self, rule: GateRule | None = None) -> None:
        super().__init__()
        self.rule = GateRule() if rule is None else instance("rule", rule, GateRule)
        for name, value in (("threshold", self.rule.start), ("scale", 0.0), ("rate", 1.0)):
            self.register_buffer(name, torch.tensor(value, dtype=torch.float64))
        for name in ("seen", "passed", "spent", "steps"):
            self.register_buffer(name, torch.zeros((), dtype=torch.int64))

    @property
    def open(self) -> bool:
        """Whether anything may pass: the budget is not spent."""
        return self.rule.budget is None or int(self.spent) < self.rule.budget

    @property
    def left(self) -> float:
        """Writes that the next step of the optimizer may take; without a budget all."""
        rule = self.rule
        if rule.budget is None:
            return float("inf")
        steps = rule.steps - int(self.steps)
        return (rule.budget - int(self.spent)) * part(steps, falling=rule.falling)

    @property
    def share(self) -> float:
        """Of samples (or errors) that came by, those that passed."""
        return int(self.passed) / max(1, int(self.seen))

    def forward(self, out: Tensor) -> Tensor:
        """``out`` itself."""
        if self.training and out.requires_grad:
            out = out.view_as(out)
            out.register_hook(self.let)
        return out

    def let(self, error: Tensor) -> Tensor:
        """The error [B, ...] with what is no event set to 0.

        The first axis is that of samples: errors of all steps [T, B, K] go through :meth:`over`,
        or are given step by step. Later errors that are not finite go through as they are;
        ``PulseSGD`` refuses them.

        Raises:
            ShapeError: an error without samples and outputs.
            DataError: first errors that are not finite, which would close the gate for ever.
        """
        instance("errors", error, Tensor, "make a tensor")
        if error.dim() < 2:
            raise ShapeError(f"errors are [samples, ...], got {[*error.shape]}; add an axis")
        size = error.detach().abs() * len(error)
        if not float(self.scale) and bool(size.any()):
            self.scale.fill_(finite("the scale of the first errors", size.square().mean().sqrt()))
        wanted = float(self.threshold) * float(self.scale)
        if self.rule.on != "errors":
            size = size.flatten(1).amax(1)
        if self.rule.on == "worth":
            event = torch.ones_like(size, dtype=torch.bool)
        else:
            event = (size >= wanted) & self.open
        self.seen += size.numel()
        self.passed += event.sum()
        return error * event.view(*event.shape, *(1 for _ in error.shape[event.dim() :]))

    def over(self, error_of: ErrorOf) -> ErrorOf:
        """An online rule's errors, gated step by step.

        Args:
            error_of: as the rule takes it: from outputs [B, K] and the number of their step to
                errors [B, K] (``EProp``, ``LocalLosses``), or from outputs of all steps [T, B, K]
                to errors [T, B, K] (``OnlineRule``).

        Returns:
            The same with small errors set to 0; the first scale is that of the first step with
            errors.
        """

        def gated(y: Tensor, *step: int) -> Tensor:
            error = error_of(y, *step)
            return self.let(error) if step else torch.stack([self.let(one) for one in error])

        return gated

    def lesson(self) -> None:
        """Begin a lesson: the budget is whole again; the threshold and the rate stay.

        A rate that a small budget has made low finds its way back step by step.
        """
        self.spent.zero_()
        self.steps.zero_()

    def wrote(self, writes: int) -> None:
        """Say how many writes a step of the optimizer took; the threshold follows the budget."""
        self.spent += whole("writes", writes, least=0)
        self.steps += 1
        budget, rule = self.rule.budget, self.rule
        if budget is not None and rule.on != "worth" and self.open:
            found = float(self.threshold) * turn(writes, self.left, rule.gain)
            self.threshold.fill_(max(found, _LEAST))

    def affordable(self, offered: Sequence[Offer]) -> float:
        """The threshold on worth at this step: the rule's, or what the budget can pay.

        The rate for the next step follows.

        Args:
            offered: what each array could be given now, and what that is worth.
        """
        rule, left = self.rule, self.left
        if rule.budget is not None:
            self.threshold.fill_(least_paid(offered, int(left), rule.start))
        if 0 < left < float("inf"):
            asked = sum(int(one.due[one.worth >= rule.start].abs().sum()) for one in offered)
            rate = float(self.rate) / turn(asked, left, rule.gain)
            self.rate.fill_(min(max(rate, _LEAST), 1.0))
        return float(self.threshold)
