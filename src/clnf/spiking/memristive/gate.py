"""Event-driven learning: where an error is small, nothing learns and nothing is written.

    samples  a sample whose largest |error| is below threshold x scale teaches nothing
    errors   each single error below it becomes 0

``scale`` is the root-mean-square error of the first batch, so a threshold is a pure number. Errors
are taken times the number of samples, as losses are means over them: rehearsal makes batches
larger, not errors smaller. An error may be that of a loss through time, of an online rule at a
step, or a third factor: it is whatever makes weights move. Under a softmax the errors of wrong
classes are many and small, and without them nothing holds the right class back: "samples" is the
better place for those.

With a budget of writes for a lesson the threshold follows what is left of it,

    threshold <- threshold x clip((writes of this step / writes left for the next)^gain, 1/2, 2)

and once it is spent nothing passes until the next lesson. What is withheld is lost, not owed.

After SOEL (Stewart et al., arXiv 2008.01151), where a neuron's update waits for an error large
enough. The controller is the one of ``clnf.chip.local.events``, which gates layers on tiles.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor, nn

from clnf.core.errors import ConfigError
from clnf.core.inputs import check_fields, whole
from clnf.core.units import quantity

__all__ = ["Gate", "GateRule"]

ErrorOf = Callable[[Tensor, int], Tensor]
_LEAST = 1e-3


@final
@dataclass(frozen=True, kw_only=True)
class GateRule:
    """What counts as an event.

    Attributes:
        threshold: in root-mean-squares of the first errors.
        on: where it is: see the head of this module.
        budget: writes allowed in a lesson; None leaves the threshold as it is.
        steps: optimizer steps of a lesson, over which the budget is spread.
        gain: how fast the threshold follows, in (0, 1].
    """

    threshold: float = quantity("1", 1.0)
    on: Literal["samples", "errors"] = "samples"
    budget: int | None = quantity("1", None)
    steps: int = quantity("1", 1)
    gain: float = quantity("1", 0.25)

    def __post_init__(self) -> None:
        check_fields(self)
        if not 0 <= self.threshold < float("inf") or self.on not in ("samples", "errors"):
            raise ConfigError(
                "a threshold is at least 0, on samples or errors, got "
                f"{self.threshold} on {self.on!r}"
            )
        spent_well = self.budget is None or self.budget >= 0
        if not spent_well or self.steps < 1 or not 0 < self.gain <= 1:
            raise ConfigError(
                "a budget is at least 0, its steps at least 1 and its gain in (0, 1], got "
                f"{self.budget}, {self.steps} and {self.gain}"
            )


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
    seen: Tensor
    passed: Tensor
    spent: Tensor
    steps: Tensor

    def __init__(self, rule: GateRule | None = None) -> None:
        super().__init__()
        self.rule = rule or GateRule()
        for name in ("threshold", "scale"):
            self.register_buffer(name, torch.zeros((), dtype=torch.float64))
        self.threshold.fill_(self.rule.threshold)
        for name in ("seen", "passed", "spent", "steps"):
            self.register_buffer(name, torch.zeros((), dtype=torch.int64))

    @property
    def open(self) -> bool:
        """Whether anything may pass: the budget is not spent."""
        return self.rule.budget is None or int(self.spent) < self.rule.budget

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
        """The error [B, ...] with what is no event set to 0."""
        size = error.detach().abs() * len(error)
        if not float(self.scale) and bool(size.any()):
            self.scale.fill_(float(size.square().mean().sqrt()))
        wanted = float(self.threshold) * float(self.scale)
        if self.rule.on == "samples":
            size = size.flatten(1).amax(1)
        event = size >= wanted if self.open else torch.zeros_like(size, dtype=torch.bool)
        self.seen += size.numel()
        self.passed += event.sum()
        return error * event.view(*event.shape, *(1 for _ in error.shape[event.dim() :]))

    def over(self, error_of: ErrorOf) -> ErrorOf:
        """An online rule's errors of each step, gated.

        Args:
            error_of: from outputs [B, K] and the number of a step to errors [B, K].
        """
        return lambda y, t: self.let(error_of(y, t))

    def lesson(self) -> None:
        """Begin a lesson: the budget is whole again, the threshold stays."""
        self.spent.zero_()
        self.steps.zero_()

    def wrote(self, writes: int) -> None:
        """Say how many writes a step of the optimizer took; the threshold follows the budget."""
        self.spent += whole("writes", writes, least=0)
        self.steps += 1
        budget = self.rule.budget
        if budget is None or not self.open:
            return
        left = (budget - int(self.spent)) / max(self.rule.steps - int(self.steps), 1)
        turn = min(max((writes / left) ** self.rule.gain, 0.5), 2.0)
        self.threshold.fill_(max(float(self.threshold) * turn, _LEAST))
