"""Guards of generators go on to the same bits from any step; without their state they do not."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from clnf.continual.guards import (
    Distillation,
    DistillationParams,
    MatchedReplay,
    MatchedReplayParams,
    ReducedRehearsal,
    RehearsalParams,
)
from clnf.continual.learner import Learner
from clnf.continual.memory import Balanced
from clnf.core.records import Experience
from faults.small_generator import Field

STEPS = 6


GUARDS: dict[str, Callable[[Field], Any]] = {
    "reduced": lambda m: ReducedRehearsal(m, Balanced(12, seed=0), RehearsalParams(samples=4)),
    "distilled": lambda m: Distillation(m, (5,), DistillationParams(steps=2), seed=1),
    "distilled once": lambda m: Distillation(
        m, (5,), DistillationParams(steps=2, renew=False), seed=1
    ),
    "matched": lambda m: MatchedReplay(m, MatchedReplayParams(samples=4)),
}

Lesson = Callable[..., Experience]


def build(name: str) -> tuple[Field, Learner]:
    torch.manual_seed(0)
    model = Field()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return model, Learner(model, optimizer, guards=[GUARDS[name](model)], seed=0)


def until(name: str, lesson: Lesson, stop: int) -> tuple[Field, Learner]:
    model, learner = build(name)
    list(learner.lesson(lesson("a"), steps=STEPS, batch_size=8))
    learner.consolidate(lesson("a"))
    for info in learner.lesson(lesson("b"), steps=STEPS, batch_size=8):
        if info.step == stop:
            break
    return model, learner


def finish(learner: Learner, lesson: Lesson, start: int) -> None:
    list(learner.lesson(lesson("b"), steps=STEPS, batch_size=8, start_step=start))
    learner.consolidate(lesson("b"))
    list(learner.lesson(lesson("c"), steps=2, batch_size=8))


def same(one: dict[str, Any], two: dict[str, Any]) -> bool:
    return one.keys() == two.keys() and all(
        torch.equal(v, two[k]) if isinstance(v, Tensor) else v == two[k] for k, v in one.items()
    )


@pytest.mark.parametrize("stop", [0, 3, STEPS - 1])
@pytest.mark.parametrize("name", sorted(GUARDS))
def test_resume_is_bit_identical(
    name: str, stop: int, lesson: Lesson, through_disk: Callable[..., Any]
) -> None:
    model, learner = until(name, lesson, stop)
    saved = {k: v.clone() for k, v in model.state_dict().items()}
    state = through_disk(learner.state_dict())
    finish(learner, lesson, stop + 1)
    again, other = build(name)
    again.load_state_dict(saved)
    other.load_state_dict(state)
    finish(other, lesson, stop + 1)
    assert same(model.state_dict(), again.state_dict())
    assert same(learner.state_dict(), other.state_dict())


@pytest.mark.parametrize("name", sorted(GUARDS))
def test_resume_without_the_guards_state_differs(name: str, lesson: Lesson) -> None:
    model, learner = until(name, lesson, 3)
    saved, state = {k: v.clone() for k, v in model.state_dict().items()}, learner.state_dict()
    finish(learner, lesson, 4)
    again, other = build(name)
    again.load_state_dict(saved)
    fresh = {k: v for k, v in other.state_dict().items() if k.startswith("guard.")}
    other.load_state_dict({k: v for k, v in state.items() if not k.startswith("guard.")} | fresh)
    finish(other, lesson, 4)
    assert not same(model.state_dict(), again.state_dict())
