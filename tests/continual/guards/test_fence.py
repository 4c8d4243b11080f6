"""The fence stops writes where they hurt most, and nowhere else."""

import pytest
import torch

from clnf.continual.fisher import Fisher
from clnf.continual.guards.fence import Fence, FenceParams
from clnf.continual.learner import Learner
from clnf.core.errors import ConfigError, RunError
from clnf.core.protocols import Guard

WEIGHT = "net.0.weight"


@pytest.fixture
def taught(classifier, lesson):
    """A learner with a fence after one lesson, and the score the fence must have used."""

    def build(momentum: float = 0.0, cure: bool = True, adam: bool = False, **params: float):
        model = classifier()
        weights = model.parameters()
        optimizer = (
            torch.optim.Adam(weights, lr=0.05)
            if adam
            else torch.optim.SGD(weights, lr=0.5, momentum=momentum)
        )
        fisher = Fisher(model, seed=0)
        fence = Fence(fisher, FenceParams(**params), optimizer=optimizer if cure else None)
        learner = Learner(model, optimizer, guards=[fence], seed=0)
        start = {name: p.detach().clone() for name, p in model.named_parameters()}
        list(learner.lesson(lesson(), steps=10, batch_size=8))
        importance = fisher.measure(lesson())
        learner.consolidate(lesson())
        score = {
            name: importance[name] * (p.detach() - start[name]) ** 2
            for name, p in model.named_parameters()
        }
        return learner, fence, score

    return build


def test_it_is_a_guard(taught):
    assert isinstance(taught()[1], Guard)


def test_the_highest_scores_are_fenced(taught):
    _, fence, score = taught(fraction=0.2)
    for name, mask in fence.masks.items():
        wanted = torch.zeros(mask.numel(), dtype=torch.bool)
        wanted[score[name].flatten().argsort(descending=True)[: int(0.2 * mask.numel())]] = True
        assert torch.equal(mask.flatten() == 0, wanted)


@pytest.mark.parametrize("how", [{}, {"momentum": 0.9}, {"adam": True}])
def test_fenced_weights_stand_still_and_others_move(taught, lesson, how):
    learner, fence, _ = taught(fraction=0.3, **how)
    weight = dict(learner.model.named_parameters())[WEIGHT]
    before = weight.detach().clone()
    list(learner.lesson(lesson("second"), steps=10, batch_size=8))
    still = weight.detach() == before
    assert torch.equal(still, fence.masks[WEIGHT] == 0)


def test_momentum_leaks_through_a_mask_on_gradients_alone(taught, lesson):
    """Control for the test above: the optimizer must be given."""
    learner, fence, _ = taught(fraction=0.3, momentum=0.9, cure=False)
    weight = dict(learner.model.named_parameters())[WEIGHT]
    before = weight.detach().clone()
    list(learner.lesson(lesson("second"), steps=10, batch_size=8))
    assert bool((weight.detach() != before)[fence.masks[WEIGHT] == 0].any())


def test_a_leaking_fence_scales_gradients(taught):
    learner, fence, _ = taught(fraction=0.3, leak=0.25)
    weight = dict(learner.model.named_parameters())[WEIGHT]
    weight.grad = torch.ones_like(weight)
    fence.constrain(0.1)
    assert torch.equal(weight.grad, fence.masks[WEIGHT])
    assert set(weight.grad.flatten().tolist()) == {0.25, 1.0}


def test_the_fence_grows_to_its_limit(taught, lesson):
    learner, fence, _ = taught(fraction=0.2, limit=0.5)
    shares = [float((fence.masks[WEIGHT] == 0).float().mean())]
    masks = fence.masks[WEIGHT].clone()
    for name in ("b", "c", "d"):
        list(learner.lesson(lesson(name), steps=5, batch_size=8))
        learner.consolidate(lesson(name))
        assert bool((fence.masks[WEIGHT] <= masks).all())  # what is fenced stays fenced
        masks = fence.masks[WEIGHT].clone()
        shares.append(float((masks == 0).float().mean()))
    assert shares == pytest.approx([0.2, 0.4, 17 / 35, 17 / 35])


def test_a_leaking_fence_still_grows_by_its_fraction(taught, lesson):
    """Entries behind a leaking fence go on moving; fencing them again would waste the room."""
    learner, fence, _ = taught(fraction=0.2, leak=0.9)
    list(learner.lesson(lesson("b"), steps=5, batch_size=8))
    learner.consolidate(lesson("b"))
    assert int((fence.masks[WEIGHT] < 1).sum()) == 14


def test_what_did_not_move_is_not_fenced(classifier, lesson):
    model = classifier()
    fence = Fence(Fisher(model, seed=0), FenceParams(fraction=1.0, limit=1.0))
    fence.begin(lesson())
    with torch.no_grad():
        model.net[0].weight[0, 0] += 1.0
    fence.consolidate(lesson())
    assert int((fence.masks[WEIGHT] == 0).sum()) == 1
    assert fence.masks[WEIGHT][0, 0] == 0
    assert bool((fence.masks["net.3.weight"] == 1).all())


def test_masks_exist_before_any_lesson(classifier):
    fence = Fence(Fisher(classifier(), seed=0))
    assert all(bool((mask == 1).all()) for mask in fence.masks.values())


def test_a_lesson_without_a_beginning_is_refused(classifier, lesson):
    with pytest.raises(RunError, match="begin"):
        Fence(Fisher(classifier(), seed=0)).consolidate(lesson())


def test_state_travels_in_the_middle_of_a_lesson(taught, lesson, classifier, through_disk):
    learner, fence, _ = taught()
    fence.begin(lesson("second"))
    other = Fence(Fisher(learner.model, seed=0))
    other.load_state_dict(through_disk(fence.state_dict()))
    with torch.no_grad():
        learner.model.net[0].weight.add_(torch.linspace(-1, 1, 35).view(7, 5))
    for guard in (fence, other):
        guard.consolidate(lesson("second"))
    for name, mask in fence.masks.items():
        assert torch.equal(mask, other.masks[name])
    with pytest.raises(RunError, match="other parameters"):
        Fence(Fisher(learner.model, [WEIGHT], seed=0)).load_state_dict(fence.state_dict())


@pytest.mark.parametrize("name", ["fraction", "leak", "limit"])
def test_bad_parameters_are_refused(name):
    with pytest.raises(ConfigError, match=name):
        FenceParams(**{name: 1.5})
