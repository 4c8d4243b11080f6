"""A learner's optimizer that keeps to a budget of pulses."""

from collections.abc import Callable
from typing import Any, final

import torch

from clnf.chip.local.events import EventRule, Events
from clnf.chip.updates import PulseOptimizer

__all__ = ["Budgeted"]


@final
class Budgeted(torch.optim.Optimizer):
    """Looks like the optimizer it holds; its steps let pulse only what the budget is worth.

    At each step the pulses that are worth most are given, as many as this step's part of the budget
    pays for, see :mod:`clnf.chip.local.events`. The parts fall in a straight line, as the rate of a
    lesson does; what a cell is still owed at the end is dropped with the optimizer's state.

    Args:
        inner: whose parameters, groups and state these are.
        budget: pulses a lesson.
        steps: of a lesson.
    """

    def __init__(self, inner: PulseOptimizer, *, budget: int, steps: int) -> None:
        # Nothing of the base is set up: groups and state are the inner one's.
        self.inner = inner
        self.budget = budget
        rule = EventRule(threshold=0.0, on="worth", budget=budget, steps=steps, falling=True)
        self.events = Events(inner, rule)
        self.param_groups, self.state, self.defaults = (
            inner.param_groups,
            inner.state,
            inner.defaults,
        )

    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step, with the events only."""
        assert closure is None, "a learner works out its loss itself"
        self.events.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """As the inner one does."""
        self.inner.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        """The inner one's; :meth:`position` is beside it."""
        return self.inner.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave."""
        self.inner.load_state_dict(state_dict)
        self.param_groups, self.state = self.inner.param_groups, self.inner.state

    def position(self) -> dict[str, Any]:
        """Threshold, pulses spent and steps done in this lesson, as JSON values."""
        events = self.events
        return {"threshold": events.threshold, "spent": events.spent, "steps": events.steps}

    def load_position(self, position: dict[str, Any]) -> None:
        """Restore what :meth:`position` gave."""
        self.events.threshold = position["threshold"]
        self.events.spent, self.events.steps = position["spent"], position["steps"]
