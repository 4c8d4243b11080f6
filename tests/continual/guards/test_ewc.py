"""EWC holds old weights by the equation it names, and cannot diverge."""

import copy

import pytest
import torch

from clnf.continual.fisher import Fisher, FisherParams
from clnf.continual.guards.ewc import EWC, EWCParams
from clnf.core.errors import ConfigError, RunError
from clnf.core.protocols import Guard


@pytest.fixture
def held(classifier, lesson):
    """A model one lesson old, its guard, and its anchor; the weights have moved since."""

    def build(strength: float = 100.0, gamma: float = 1.0, names: list[str] | None = None):
        model = classifier()
        fisher = Fisher(model, names, FisherParams(samples=20), seed=0)
        guard = EWC(fisher, EWCParams(strength=strength, gamma=gamma))
        guard.consolidate(lesson())
        anchor = {name: p.detach().clone() for name, p in model.named_parameters()}
        with torch.no_grad():
            for p in model.parameters():
                p.add_(0.1)
        return model, guard, anchor, fisher.measure(lesson())

    return build


def test_it_is_a_guard(held):
    assert isinstance(held()[1], Guard)


def test_nothing_is_held_before_the_first_lesson(classifier):
    model = classifier()
    guard = EWC(Fisher(model, seed=0))
    model.net[0].weight.grad = torch.ones(7, 5)
    guard.constrain(0.1)
    assert torch.equal(model.net[0].weight.grad, torch.ones(7, 5))
    assert guard.energy() == 0.0


def test_a_weight_that_does_not_learn_is_not_pulled(held):
    model, guard, _, _ = held()
    first, second = (model.net[0].weight, model.net[0].bias)
    first.requires_grad_(False)
    guard.constrain(0.1)
    assert first.grad is None
    assert second.grad.abs().sum() > 0


def test_pull_is_the_gradient_of_half_lambda(held):
    """Pitfall: without the factor 1/2 the same lambda pulls twice as hard."""
    model, guard, anchor, _ = held()
    importance = {
        k.removeprefix("importance."): v
        for k, v in guard.state_dict().items()
        if k.startswith("importance.")
    }
    energy = sum(
        100.0 / 2 * (importance[name] * (p - anchor[name]) ** 2).sum()
        for name, p in model.named_parameters()
    )
    energy.backward()
    wanted = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    lr = 0.01
    guard.constrain(lr)
    for name, p in model.named_parameters():
        plain = p.grad * (1 + lr * 100.0 * importance[name])  # before the proximal damping
        torch.testing.assert_close(plain, wanted[name], rtol=1e-4, atol=1e-5)
        assert not torch.allclose(plain, 2 * wanted[name], rtol=0.1)
    assert guard.energy() == pytest.approx(energy.item(), rel=1e-5)


@pytest.mark.parametrize("stiffness", [0.5, 3.0, 1e6])
def test_proximal_step_contracts_where_the_plain_one_diverges(held, stiffness):
    """Penalty alone: theta - theta* shrinks by 1/(1 + lr lambda F) for any stiffness."""
    model, guard, anchor, _ = held()
    importance = guard.state_dict()["importance.net.0.weight"]
    lr = stiffness / (100.0 * float(importance.max()))
    weight = model.net[0].weight
    off = (weight - anchor["net.0.weight"]).detach()
    model.zero_grad()
    guard.constrain(lr)
    torch.optim.SGD(model.parameters(), lr=lr).step()
    factor = 1 / (1 + lr * 100.0 * importance)
    got = (weight - anchor["net.0.weight"]).detach()
    torch.testing.assert_close(got, off * factor, rtol=1e-4, atol=1e-7)
    plain = off * (1 - lr * 100.0 * importance)
    assert bool((plain.abs() > off.abs()).any()) == (stiffness > 2)


def test_proximal_step_with_a_task_gradient(held):
    """theta - lr g' = (theta - lr g + lr A theta*) / (1 + lr A)."""
    model, guard, anchor, _ = held()
    weight, lr = model.net[3].weight, 0.3
    gradient = torch.linspace(-1, 1, weight.numel()).view_as(weight)
    before = weight.detach().clone()
    weight.grad = gradient.clone()
    guard.constrain(lr)
    stiff = lr * 100.0 * guard.state_dict()["importance.net.3.weight"]
    wanted = (before - lr * gradient + stiff * anchor["net.3.weight"]) / (1 + stiff)
    torch.testing.assert_close(before - lr * weight.grad, wanted, rtol=1e-5, atol=1e-6)


def test_another_rate_is_followed(held):
    model, guard, anchor, _ = held()
    for lr in (0.1, 0.4, 0.1):
        model.zero_grad()
        guard.constrain(lr)
        importance = guard.state_dict()["importance.net.0.weight"]
        off = (model.net[0].weight - anchor["net.0.weight"]).detach()
        wanted = 100.0 * importance * off / (1 + lr * 100.0 * importance)
        torch.testing.assert_close(model.net[0].weight.grad, wanted, rtol=1e-5, atol=1e-6)


def test_importance_fades_by_gamma_and_there_is_one_anchor(held, lesson):
    """F~ <- gamma F~ + F; the penalty uses gamma F~; the state does not grow with lessons."""
    model, guard, _, _ = held(gamma=0.5)
    first = guard.state_dict()["importance.net.0.weight"].clone()
    size = len(guard.state_dict())
    guard.consolidate(lesson("second"))
    state = guard.state_dict()
    assert len(state) == size
    assert torch.equal(state["anchor.net.0.weight"], model.net[0].weight)
    second = Fisher(model, None, FisherParams(samples=20), seed=0).measure(lesson("second"))
    torch.testing.assert_close(
        state["importance.net.0.weight"], 0.5 * first + second["net.0.weight"]
    )
    with torch.no_grad():
        model.net[0].weight.add_(1.0)
    model.zero_grad()
    guard.constrain(0.01)
    stiff = 100.0 * 0.5 * state["importance.net.0.weight"]
    torch.testing.assert_close(
        model.net[0].weight.grad, stiff / (1 + 0.01 * stiff), rtol=1e-4, atol=1e-5
    )


def test_measures_are_not_changed_by_later_lessons(held, lesson):
    """The Fisher hands out shared tensors; adding into them would spoil other guards."""
    _, guard, _, measured = held()
    before = copy.deepcopy(measured)
    guard.consolidate(lesson("second"))
    guard.consolidate(lesson("third"))
    for name, value in measured.items():
        assert torch.equal(value, before[name])


def test_only_named_parameters_are_held(held):
    model, guard, _, _ = held(names=["net.3.weight"])
    model.zero_grad()
    guard.constrain(0.1)
    assert model.net[0].weight.grad is None
    assert bool((model.net[3].weight.grad != 0).any())


def test_state_travels(held, classifier, through_disk):
    _, guard, _, _ = held()
    other_model = classifier()
    other = EWC(Fisher(other_model, seed=0), EWCParams(strength=100.0))
    other.load_state_dict(through_disk(guard.state_dict()))
    for key, value in guard.state_dict().items():
        assert torch.equal(torch.as_tensor(other.state_dict()[key]), torch.as_tensor(value))
    wrong = EWC(Fisher(other_model, ["net.0.weight"], seed=0))
    with pytest.raises(RunError, match="other parameters"):
        wrong.load_state_dict(guard.state_dict())
    empty = EWC(Fisher(other_model, seed=0))
    other.load_state_dict(empty.state_dict())
    assert other.state_dict() == {"held": False}


@pytest.mark.parametrize("bad", [{"strength": -1.0}, {"strength": float("inf")}, {"gamma": 1.5}])
def test_bad_parameters_are_refused(bad):
    with pytest.raises(ConfigError):
        EWCParams(**bad)


@pytest.mark.parametrize("lr", [1e-5, 1e-2, 1.0])
def test_rounding_moves_no_weight_by_more_than_its_last_bits(held, lr):
    """The pull is formed from theta/lr; what that loses must vanish once times lr."""
    model, guard, _, _ = held()
    guard.load_state_dict(
        {**guard.state_dict(), **{f"anchor.{n}": p.detach() for n, p in model.named_parameters()}}
    )
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    model.zero_grad()
    guard.constrain(lr)
    torch.optim.SGD(model.parameters(), lr=lr).step()
    for name, p in model.named_parameters():
        torch.testing.assert_close(p.detach(), before[name], rtol=3e-7, atol=0)


def test_a_rate_of_zero_asks_for_nothing(held):
    model, guard, _, _ = held()
    model.zero_grad()
    guard.constrain(0.0)
    assert all(p.grad is None for p in model.parameters())
