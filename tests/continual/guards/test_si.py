"""SI's path, importance and pull equal a loop written out by hand."""

import pytest
import torch

from clnf.continual.fisher import Fisher
from clnf.continual.guards import EWC, SI, EWCParams, SIParams
from clnf.continual.learner import Learner
from clnf.core.errors import ConfigError, RunError
from clnf.core.protocols import Guard
from clnf.core.records import Batch

LR = 0.1
C, XI = 0.7, 0.05


def taught(model, lessons, params, optimizer=None):
    weights = dict(model.named_parameters())
    guard = SI(weights, params)
    optimizer = optimizer or torch.optim.SGD(model.parameters(), lr=LR)
    learner = Learner(model, optimizer, guards=[guard], seed=0)
    for experience in lessons:
        list(learner.lesson(experience, steps=6, batch_size=8))
        learner.consolidate(experience)
    return guard


def values(model):
    return [p.detach() for p in model.parameters()]


def by_hand(model, lessons, reference, *, total_gradient=False, reset=True):
    """Zenke's equations in float64, on the batches the learner drew."""
    weights = list(model.parameters())
    importance = [torch.zeros_like(w, dtype=torch.float64) for w in weights]
    omega = [torch.zeros_like(w, dtype=torch.float64) for w in weights]
    anchor = None
    for experience, asked in zip(lessons, reference, strict=True):
        if reset:
            omega = [torch.zeros_like(o) for o in omega]
        start = [w.detach().double() for w in weights]
        for index in asked:
            batch = Batch.of(experience.data.x[index], experience.data.cond[index])
            loss = model.loss(batch, torch.Generator()).mean()
            task = torch.autograd.grad(loss, weights)
            for i, weight in enumerate(weights):
                before = weight.detach().double()
                gradient = task[i].double()
                total = gradient.clone()
                if anchor is not None:
                    total += 2 * C * importance[i] * (before - anchor[i])
                with torch.no_grad():
                    weight.copy_(before - LR * total)
                omega[i] -= (total if total_gradient else gradient) * (
                    weight.detach().double() - before
                )
        for i, weight in enumerate(weights):
            moved = weight.detach().double() - start[i]
            importance[i] += omega[i].clamp(min=0) / (moved**2 + XI)
        anchor = [w.detach().double() for w in weights]
    return importance


@pytest.fixture
def both(classifier, lesson):
    """Importance by the guard and by hand, after the same three lessons."""

    def run(**wrong):
        lessons = [lesson(name) for name in ("a", "b", "c")]
        model, other = classifier(), classifier()
        guard = taught(model, lessons, SIParams(strength=C, damping=XI, explicit=True))
        asked = [list(e.data.asked) for e in lessons]
        wanted = by_hand(other, lessons, asked, **wrong)
        state = guard.state_dict()
        found = [state[f"importance.{name}"].double() for name, _ in model.named_parameters()]
        gap = max(float((a - b).abs().max()) for a, b in zip(found, wanted, strict=True))
        apart = max(
            float((a - b).abs().max()) for a, b in zip(values(model), values(other), strict=True)
        )
        return max(gap, apart)

    return run


def test_equals_brute_force(both):
    assert both() < 1e-5


@pytest.mark.parametrize("wrong", [{"total_gradient": True}, {"reset": False}])
def test_the_known_mistakes_show(both, wrong):
    """Pitfall: the gradient with the penalty in it, or a path never reset, are another method."""
    assert both(**wrong) > 1e-4


def test_the_path_of_small_plain_steps_is_the_loss_it_lowered(classifier, lesson):
    model, experience = classifier(), lesson()
    batch = experience.data.take(torch.arange(40))
    loss = lambda: float(model.loss(batch, torch.Generator()).mean().detach())  # noqa: E731
    guard = SI(dict(model.named_parameters()))
    learner = Learner(model, torch.optim.SGD(model.parameters(), lr=1e-3), guards=[guard], seed=0)
    guard.begin(experience)
    before = loss()
    for _ in range(400):
        learner.step(batch)
    # The last move is read when the next step begins.
    guard.constrain(1e-3)
    path = sum(float(value.sum()) for value in guard.path.values())
    assert path == pytest.approx(before - loss(), rel=0.01)
    assert before - loss() > 0.01


def test_real_moves_count_with_another_optimizer(classifier, lesson):
    """Pitfall: -g Delta theta with Adam is not lr g^2."""
    model, experience = classifier(), lesson()
    guard = SI(dict(model.named_parameters()))
    learner = Learner(model, torch.optim.Adam(model.parameters(), lr=0.01), guards=[guard], seed=0)
    guard.begin(experience)
    batch = experience.data.take(torch.arange(8))
    start = [p.detach().clone() for p in model.parameters()]
    task = torch.autograd.grad(model.loss(batch, torch.Generator()).mean(), model.parameters())
    learner.step(batch)
    guard.constrain(0.01)
    for path, g, p, s in zip(guard.path.values(), task, model.parameters(), start, strict=True):
        assert torch.allclose(path, -g * (p.detach() - s), atol=1e-7)
        assert not torch.allclose(path, 0.01 * g * g, atol=1e-7)


def test_a_refused_step_leaves_the_path(classifier, lesson):
    model, experience = classifier(), lesson()
    guard = SI(dict(model.named_parameters()))
    learner = Learner(model, torch.optim.SGD(model.parameters(), lr=LR), guards=[guard], seed=0)
    guard.begin(experience)
    good = experience.data.take(torch.arange(8))
    learner.step(good)
    learner.step(Batch.of(torch.full((8, 5), float("nan")), 0))
    learner.step(good)
    guard.consolidate(experience)
    assert learner.refused_steps == 1
    importance = [v for k, v in guard.state_dict().items() if k.startswith("importance.")]
    assert all(bool(torch.isfinite(v).all()) for v in importance)
    assert sum(float(v.sum()) for v in importance) > 0


def test_contracts(classifier, lesson):
    guard = SI(dict(classifier().named_parameters()))
    assert isinstance(guard, Guard)
    with pytest.raises(RunError, match="begin first"):
        guard.consolidate(lesson())
    for bad in ({"damping": 0.0}, {"strength": -1.0}):
        with pytest.raises(ConfigError):
            SIParams(**bad)


def test_explicit_stiffness_diverges_and_proximal_does_not(classifier, lesson):
    """Pitfall: the explicit gradient is unstable once lr times stiffness passes 2."""

    def norm(explicit):
        model = classifier()
        fisher = Fisher(model, seed=0)
        guard = EWC(fisher, EWCParams(strength=1e4, explicit=explicit))
        guard.consolidate(lesson())
        with torch.no_grad():
            for p in model.parameters():
                p.add_(0.01)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(60):
            for p in model.parameters():
                p.grad = torch.zeros_like(p)
            guard.constrain(0.1)
            optimizer.step()
        return max(float(p.detach().abs().max()) for p in model.parameters())

    assert norm(explicit=False) < 5
    assert not norm(explicit=True) < 1e6
