"""PackNet's masks: what a lesson kept stays to the bit, what it gave back is free and zero."""

import pytest
import torch

from clnf.continual.guards import PackNet, PackNetParams
from clnf.continual.learner import Learner
from clnf.core.errors import ConfigError, RunError
from clnf.core.protocols import Guard


@pytest.fixture
def packed(classifier, lesson):
    def run(*, momentum=0.9, told=True, params=None, lessons=("a", "b")):
        model = classifier()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=momentum)
        params = params or PackNetParams(prune=0.6, at=10)
        weights = dict(model.named_parameters())
        guard = PackNet(weights, params, optimizer=optimizer if told else None)
        learner = Learner(model, optimizer, guards=[guard], seed=0)
        after = []
        for name in lessons:
            list(learner.lesson(lesson(name), steps=20, batch_size=8))
            learner.consolidate(lesson(name))
            after.append({n: p.detach().clone() for n, p in model.named_parameters()})
        return model, guard, after

    return run


def owners(guard):
    return {k[6:]: v for k, v in guard.state_dict().items() if k.startswith("owner.")}


def test_what_a_lesson_kept_stays_to_the_bit(packed):
    _, guard, (first, second) = packed()
    moved = 0
    for name, owner in owners(guard).items():
        assert torch.equal(first[name][owner == 1], second[name][owner == 1])
        moved += int((first[name][owner == 2] != second[name][owner == 2]).sum())
    assert moved > 10


def test_momentum_would_move_what_is_kept(packed):
    """The negative control: an optimizer the guard does not know of."""
    _, guard, (first, second) = packed(told=False)
    assert any(
        not torch.equal(first[n][o == 1], second[n][o == 1]) for n, o in owners(guard).items()
    )


def test_the_largest_are_kept_and_the_rest_is_zero(packed, classifier, lesson):
    _, guard, (first,) = packed(lessons=("a",), params=PackNetParams(prune=0.6, at=10))
    for name, owner in owners(guard).items():
        if first[name].dim() < 2:
            assert bool((owner == 1).all())
            continue
        assert int((owner == 0).sum()) == int(0.6 * owner.numel())
        assert bool((first[name][owner == 0] == 0).all())
        assert bool((first[name][owner == 1] != 0).all())
    assert 0.4 < guard.free() < 0.6


def test_pruning_takes_the_smallest(classifier, lesson):
    model = classifier()
    guard = PackNet(dict(model.named_parameters()), PackNetParams(prune=0.5, at=0))
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    guard.begin(lesson())
    guard.constrain(0.1)
    for name, mask in guard.masks.items():
        if before[name].dim() == 2:
            size = before[name].abs()
            assert float(size[mask == 1].min()) >= float(size[mask == 0].max())


def test_as_of_shows_an_earlier_lesson_to_the_bit(packed):
    """Pitfall: an answer as of lesson 1 is told the lesson; it is not class-incremental."""
    model, guard, (first, second) = packed()
    x = torch.randn(6, 5)
    now = model(x).detach()
    with guard.as_of(1):
        for name, p in model.named_parameters():
            assert torch.equal(p, first[name])
    assert torch.equal(model(x), now)
    assert all(torch.equal(p, second[n]) for n, p in model.named_parameters())
    with pytest.raises(ConfigError), guard.as_of(3):
        pass


def test_by_gradient_plain_steps_reach_zero_as_well(packed):
    """On a chip the request is a gradient; plain SGD makes it the same write."""
    wanted = PackNetParams(prune=0.6, at=10, by_writing=False)
    _, guard, (first,) = packed(momentum=0.0, lessons=("a",), params=wanted)
    for name, owner in owners(guard).items():
        assert float(first[name][owner == 0].abs().sum()) < 1e-6


def test_contracts(classifier, lesson):
    guard = PackNet(dict(classifier().named_parameters()))
    assert isinstance(guard, Guard)
    with pytest.raises(RunError):
        guard.consolidate(lesson())
    with pytest.raises(RunError):
        guard.load_state_dict({"lesson": 0, "owner.other": torch.zeros(1)})
    with pytest.raises(ConfigError):
        PackNetParams(prune=1.0)
