"""As the first guard of a learner the sentry keeps broken samples out of the weights."""

import pytest
import torch
from torch import nn

from clnf.continual.classifier import Classifier
from clnf.continual.learner import Learner
from clnf.core.protocols import Guard
from clnf.core.records import Batch, Experience
from clnf.streams.digits import digits_part
from clnf.streams.sentry import Sentry
from clnf.streams.sources import ArraySource


def learner(*guards: Guard) -> Learner:
    torch.manual_seed(0)
    model = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(784, 10)))
    return Learner(model, torch.optim.SGD(model.parameters(), lr=0.05), guards=guards, seed=0)


@pytest.fixture
def lesson() -> Experience:
    """Digits, every hundredth with a NaN and every hundredth far out of range."""
    batch = digits_part().take(torch.arange(3000))
    batch.x[::100, 0, 5, 5] = float("nan")
    batch.x[50::100] *= 1e4
    return Experience(name="a", concept="a", data=ArraySource(batch.x, batch.cond))


def accuracy(one: Learner) -> float:
    test = digits_part("held_out").take(torch.arange(2000))
    with torch.no_grad():
        return float((one.model(test.x).argmax(1) == test.cond).float().mean())


def test_a_learner_with_a_sentry_learns_what_the_broken_samples_would_spoil(lesson) -> None:
    guarded, bare = learner(Sentry()), learner()
    for one in (guarded, bare):
        list(one.lesson(lesson, steps=94, batch_size=32))
    assert guarded.refused_steps == 0
    assert bare.refused_steps > 10
    assert accuracy(guarded) > accuracy(bare) + 0.03
    sentry = guarded.guards[0]
    assert isinstance(sentry, Sentry)
    assert dict(sentry.counts) == pytest.approx({"finite": 30, "range": 30, "flat": 0}, abs=1)


def test_a_batch_without_any_sound_sample_moves_nothing() -> None:
    one = learner(Sentry())
    before = [p.clone() for p in one.model.parameters()]
    one.step(Batch.of(torch.full((4, 784), 7.0), 0))
    assert one.refused_steps == 1
    assert all(torch.equal(a, b) for a, b in zip(before, one.model.parameters(), strict=True))
    one.step(digits_part().take(torch.arange(4)))
    assert one.refused_steps == 1
    assert not all(torch.equal(a, b) for a, b in zip(before, one.model.parameters(), strict=True))
