"""Rehearsal mixes remembered samples at reduced weight, and names when it keeps what."""

import pytest
import torch

from clnf.continual.guards.rehearsal import Rehearsal, RehearsalParams
from clnf.continual.memory import Balanced, Reservoir
from clnf.core.errors import ConfigError
from clnf.core.protocols import Guard, Memory
from clnf.core.records import Batch


def batch_of(value: float, cond: int, size: int = 4) -> Batch:
    return Batch.of(torch.full((size, 5), value), cond)


def test_contracts():
    guard = Rehearsal(Reservoir(4, seed=0))
    assert isinstance(guard, Guard)
    memory: Memory = guard.memory
    assert len(memory) == 0


def test_an_empty_memory_leaves_the_batch(lesson):
    guard = Rehearsal(Reservoir(4, seed=0))
    batch = batch_of(1.0, 0)
    assert guard.mix(batch, torch.Generator()) is batch


def test_remembered_samples_follow_at_reduced_weight(lesson):
    guard = Rehearsal(Reservoir(50, seed=0), RehearsalParams(samples=6, coefficient=0.25))
    old = lesson()
    guard.consolidate(old)
    assert len(guard.memory) == 40
    mixed = guard.mix(batch_of(9.0, 2), torch.Generator().manual_seed(1))
    assert len(mixed) == 10
    assert mixed.weight.tolist() == [1.0] * 4 + [0.25] * 6
    assert bool((mixed.x[:4] == 9.0).all())
    known = {tuple(row) for row in old.data.x.tolist()}
    assert all(tuple(row) in known for row in mixed.x[4:].tolist())


def test_keeping_by_lesson_needs_boundaries_and_by_batch_does_not(lesson):
    """Pitfall: the two policies hold different samples at the same moment."""
    by_lesson = Rehearsal(Reservoir(50, seed=0), RehearsalParams(keep="lesson"))
    by_batch = Rehearsal(Reservoir(50, seed=0), RehearsalParams(keep="batch"))
    for guard in (by_lesson, by_batch):
        guard.mix(batch_of(1.0, 0), torch.Generator())
    assert (len(by_lesson.memory), len(by_batch.memory)) == (0, 4)
    for guard in (by_lesson, by_batch):
        guard.consolidate(lesson())
    assert (len(by_lesson.memory), len(by_batch.memory)) == (40, 4)


def test_a_batch_is_rehearsed_before_it_is_kept():
    guard = Rehearsal(Reservoir(50, seed=0), RehearsalParams(samples=8, keep="batch"))
    guard.mix(batch_of(1.0, 0), torch.Generator())
    mixed = guard.mix(batch_of(2.0, 1), torch.Generator())
    assert bool((mixed.x[4:] == 1.0).all())
    assert len(guard.memory) == 8  # remembered samples are not offered again


def test_offered_limits_and_spreads(lesson):
    guard = Rehearsal(Balanced(50, seed=0), RehearsalParams(offered=10))
    experience = lesson(x=torch.arange(40.0).repeat(5, 1).T)
    guard.consolidate(experience)
    assert guard.memory.all().x[:, 0].sort().values.tolist() == list(range(0, 40, 4))


def test_large_lessons_are_offered_in_pieces(lesson):
    experience = lesson(size=700)
    Rehearsal(Reservoir(10, seed=0)).consolidate(experience)
    assert max(len(index) for index in experience.data.asked) <= 256
    assert sum(len(index) for index in experience.data.asked) == 700


def test_state_travels(lesson, through_disk):
    guard = Rehearsal(Balanced(12, seed=0))
    guard.consolidate(lesson())
    other = Rehearsal(Balanced(12, seed=0))
    other.load_state_dict(through_disk(guard.state_dict()))
    for g in (guard, other):
        g.consolidate(lesson("second"))
    assert torch.equal(guard.memory.all().x, other.memory.all().x)


@pytest.mark.parametrize(
    "bad", [{"samples": 0}, {"coefficient": -0.1}, {"offered": -1}, {"keep": "never"}]
)
def test_bad_parameters_are_refused(bad):
    with pytest.raises(ConfigError):
        RehearsalParams(**bad)
