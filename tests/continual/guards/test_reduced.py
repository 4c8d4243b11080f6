"""Reduced rehearsal adds lambda times the mean loss of old samples, whatever their number."""

import pytest
import torch

from clnf.continual.guards.reduced import ReducedRehearsal
from clnf.continual.guards.rehearsal import Rehearsal, RehearsalParams
from clnf.continual.learner import Learner
from clnf.continual.memory import Reservoir
from clnf.core.protocols import Guard
from clnf.core.records import Batch

PARAMS = RehearsalParams(samples=6, coefficient=0.3)


def test_nothing_is_added_before_anything_is_kept(classifier):
    guard = ReducedRehearsal(classifier(), Reservoir(20, seed=0), PARAMS)
    assert isinstance(guard, Guard)
    batch = Batch.of(torch.zeros(4, 5), 1)
    assert guard.mix(batch, torch.Generator()) is batch
    assert guard.penalty() is None


def test_the_step_is_on_new_plus_lambda_old(lesson, classifier):
    """Written out: mean loss of the batch, plus 0.3 times the mean loss of the draw."""
    model = classifier()
    guard = ReducedRehearsal(model, Reservoir(20, seed=0), PARAMS)
    guard.consolidate(lesson())
    batch = lesson("second").data.take(torch.arange(4))
    rng = torch.Generator().manual_seed(3)
    old = guard.memory.draw(6, rng.clone_state())
    assert guard.mix(batch, rng) is batch
    found = guard.penalty()
    logits = model.net(old.x).log_softmax(1)
    wanted = -0.3 * sum(logits[n, c] for n, c in enumerate(old.cond.tolist())) / 6
    assert found.item() == pytest.approx(wanted.item(), abs=1e-6)
    assert guard.penalty() is None  # a draw counts once


def test_its_share_does_not_depend_on_sizes_where_one_mean_does(lesson, classifier):
    """With 60 old samples beside 4 new ones, one mean is 60 x 0.3 / (4 + 18) parts old."""
    grads = {}
    for name, size in (("few", 4), ("many", 60)):
        for kind in ("reduced", "one mean"):
            model = classifier()
            params = RehearsalParams(samples=size, coefficient=0.3)
            memory = Reservoir(1, seed=0)  # one sample, drawn again and again
            made = {
                "reduced": lambda m, k, p: ReducedRehearsal(m, k, p),
                "one mean": lambda m, k, p: Rehearsal(k, p),
            }[kind](model, memory, params)
            made.consolidate(lesson())
            optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
            learner = Learner(model, optimizer, guards=[made], seed=0)
            learner.step(lesson("second").data.take(torch.arange(4)))
            grads[name, kind] = model.net[0].weight.grad.clone()
    assert torch.allclose(grads["few", "reduced"], grads["many", "reduced"], atol=1e-6)
    assert not torch.allclose(grads["few", "one mean"], grads["many", "one mean"], atol=1e-3)


def test_batches_are_kept_as_they_pass_where_asked(classifier):
    params = RehearsalParams(samples=6, keep="batch")
    guard = ReducedRehearsal(classifier(), Reservoir(20, seed=0), params)
    guard.mix(Batch.of(torch.zeros(4, 5), 1), torch.Generator())
    assert len(guard.memory) == 4
    assert guard.penalty() is None  # what was just kept is not rehearsed at once
