"""C-LoRA equals its equation, entry by entry, and holds what earlier lessons changed."""

import copy

import pytest
import torch

from clnf.continual.adapters import (
    CLoRA,
    CLoRAParams,
    OLoRA,
    Stack,
    Switch,
    adapter_parameters,
    attach,
    attach_switched,
    factors_of,
    settle,
)
from clnf.continual.learner import Learner
from clnf.core.errors import ConfigError, RunError
from clnf.core.protocols import Guard

STRENGTH = 3.0


def entry_by_entry(factors, earlier, start=None):
    """lambda sum (S_ij D_ij)^2 in plain loops, double precision, over all layers."""
    total = 0.0
    for layer, now in factors.items():
        up, down = now.up.flatten(1).double(), now.down.flatten(1).double()
        for i in range(len(up)):
            for j in range(down.shape[1]):
                d = now.scale * sum(float(up[i, k] * down[k, j]) for k in range(now.rank))
                d -= 0.0 if start is None else float(start[layer][i, j])
                total += (float(earlier[layer][i, j]) * d) ** 2
    return STRENGTH * total


def product(factors):
    return {
        name: f.scale * f.up.flatten(1).double() @ f.down.flatten(1).double()
        for name, f in factors.items()
    }


def gradients(model, guard):
    weights = {n: p for n, p in adapter_parameters(model).items() if p.requires_grad}
    for weight in weights.values():
        weight.grad = None
    guard.penalty().backward()
    return {n: w.grad.double() for n, w in weights.items()}


def by_autograd(model, earlier, names, start=None):
    """The gradient of the same number, worked out by torch in double precision."""
    weights = {
        n: p.detach().double().requires_grad_() for n, p in adapter_parameters(model).items()
    }
    total = torch.zeros((), dtype=torch.float64)
    for layer, part in names.items():
        up, down = weights[f"{part}.up.weight"], weights[f"{part}.down.weight"]
        d = 0.5 * up.flatten(1) @ down.flatten(1)
        d = d if start is None else d - start[layer]
        total = total + (earlier[layer].abs() * d).square().sum()
    (STRENGTH * total).backward()
    return {n: w.grad for n, w in weights.items() if w.grad is not None}


def close(mine, wanted):
    assert mine.keys() == wanted.keys()
    for name, value in mine.items():
        torch.testing.assert_close(value, wanted[name], rtol=1e-6, atol=1e-6)


@pytest.fixture
def stacked(net, stir):
    """Two frozen adapters and a third that learns, all with values."""
    model = net()
    stack = Stack(model, rank=2, scale=0.5)
    for name in ("a", "b", "now"):
        stack.add(name)
    stir(model)
    return model


def test_value_and_gradient_of_a_stack(stacked, lesson):
    model = stacked
    guard = CLoRA(model, CLoRAParams(strength=STRENGTH))
    assert isinstance(guard, Guard)
    start = product(factors_of(model, "now"))
    guard.begin(lesson())  # the one that learns has learned something already: D counts from here
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.mul_(1.7)
    a, b = (product(factors_of(model, name)) for name in ("a", "b"))
    earlier = {layer: a[layer] + b[layer] + start[layer] for layer in a}
    assert guard.energy() == pytest.approx(
        entry_by_entry(factors_of(model, "now"), earlier, start), rel=1e-6
    )
    names = {layer: f"{layer}.of.now" for layer in a}
    close(gradients(model, guard), by_autograd(model, earlier, names, start))


def test_a_fresh_adapter_after_settling_is_the_papers_sum(net, stir, lesson):
    model = net()
    attach(model, rank=2, scale=0.5)
    guard = CLoRA(model, CLoRAParams(strength=STRENGTH))
    earlier = {}
    for number in range(2):
        guard.begin(lesson())
        assert (guard.penalty() is None) == (number == 0)
        stir(model, seed=number)
        done = product(factors_of(model))
        earlier = {n: value + earlier.get(n, 0.0) for n, value in done.items()}
        guard.consolidate(lesson())
        settle(model, seed=number)
    guard.begin(lesson())
    assert guard.energy() == 0.0  # nothing learned yet
    stir(model, seed=9)
    assert guard.energy() == pytest.approx(entry_by_entry(factors_of(model), earlier), rel=1e-6)
    names = {layer: layer for layer in earlier}
    close(gradients(model, guard), by_autograd(model, earlier, names))


def test_one_adapter_that_goes_on_is_held_by_what_it_changed_before(net, stir, lesson):
    model = net()
    attach(model, rank=2, scale=0.5)
    guard = CLoRA(model, CLoRAParams(strength=STRENGTH))
    guard.begin(lesson())
    stir(model, seed=0)
    first = product(factors_of(model))
    guard.consolidate(lesson())
    guard.begin(lesson())
    assert guard.energy() < 1e-15  # nothing but rounding
    stir(model, seed=1)
    second = product(factors_of(model))
    assert guard.energy() == pytest.approx(
        entry_by_entry(factors_of(model), first, first), rel=1e-6
    )
    guard.consolidate(lesson())
    guard.begin(lesson())  # first + (second - first)
    stir(model, seed=2)
    assert guard.energy() == pytest.approx(
        entry_by_entry(factors_of(model), second, second), rel=1e-6
    )


def test_finite_differences(stacked, lesson):
    model = stacked
    guard = CLoRA(model, CLoRAParams(strength=STRENGTH))
    model.double()
    guard.begin(lesson())
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.mul_(1.3)
    mine = gradients(model, guard)
    for name in ("0.of.now.down.weight", "4.of.now.up.weight"):
        weight, step = adapter_parameters(model)[name], 1e-5
        flat = weight.detach().view(-1)
        for at in (0, 7, flat.numel() - 1):
            values = []
            for way in (step, -2 * step):
                flat[at] += way
                values.append(guard.energy())
            flat[at] += step
            slope = (values[0] - values[1]) / (2 * step)
            assert slope == pytest.approx(float(mine[name].view(-1)[at]), rel=1e-6, abs=1e-6)


def taught(classifier, lesson, strength):
    """Two lessons with fresh adapters; the model, and how much both changed the same entries."""
    model = classifier()
    stack = Stack(model, rank=2, seed=1)
    stack.add("first")
    stack.add("second")
    optimizer = torch.optim.SGD([*stack.parameters("first"), *stack.parameters("second")], lr=0.3)
    guard = CLoRA(model, CLoRAParams(strength=strength))
    learner = Learner(model, optimizer, guards=[guard], seed=2)
    changes = []
    for name in ("first", "second"):
        stack.learn(name)
        list(learner.lesson(lesson(name), steps=30, batch_size=10))
        learner.consolidate(lesson(name))
        changes.append(product(factors_of(model, name)))
    overlap = sum(float((changes[0][n] * changes[1][n]).square().sum()) for n in changes[0])
    size = sum(float(changes[1][n].square().sum()) for n in changes[1])
    return learner, overlap, size


def test_the_second_lesson_keeps_off_what_the_first_changed(classifier, lesson):
    _, free, _ = taught(classifier, lesson, 0.0)
    _, held, size = taught(classifier, lesson, 100.0)
    assert 0 < held < 0.2 * free
    assert size > 0.01  # it learned all the same


def test_the_loss_counts_the_penalty(classifier, lesson, stir):
    found = {}
    for strength in (0.0, 50.0):
        model = classifier()
        stack = Stack(model, rank=2)
        for name in ("a", "b"):
            stack.add(name)
        stir(model, only=".a.")
        guard = CLoRA(model, CLoRAParams(strength=strength))
        guard.begin(lesson())
        stir(model, only=".b.")
        optimizer = torch.optim.SGD(stack.parameters(), lr=0.1)
        learner = Learner(model, optimizer, guards=[guard], seed=0)
        penalty = guard.energy()
        found[strength] = learner.step(lesson("x").data.take(torch.arange(8))), penalty
    assert found[0.0][1] == 0.0 < found[50.0][1]
    assert found[50.0][0] == pytest.approx(found[0.0][0] + found[50.0][1], rel=1e-5)


@pytest.mark.parametrize("kind", ["stack", "settled", "going on"])
def test_resume_in_the_middle_of_a_lesson(classifier, lesson, through_disk, kind):
    def build():
        model = classifier()
        if kind == "stack":
            stack = Stack(model, rank=2)
            for name in ("a", "b"):
                stack.add(name)
            stack.learn("a")
            weights = [*stack.parameters("a"), *stack.parameters("b")]
        else:
            stack = None
            attach(model, rank=2)
            weights = list(adapter_parameters(model).values())
        optimizer = torch.optim.SGD(weights, lr=0.2)
        guard = CLoRA(model, CLoRAParams(strength=20.0))
        return model, stack, Learner(model, optimizer, guards=[guard], seed=1)

    model, stack, learner = build()
    list(learner.lesson(lesson("a"), steps=6, batch_size=8))
    learner.consolidate(lesson("a"))
    if kind == "settled":
        settle(model, seed=1)
    elif stack is not None:
        stack.learn("b")
    for info in learner.lesson(lesson("b"), steps=8, batch_size=8):
        if info.step == 3:
            saved = through_disk(learner.state_dict())
            weights = {k: v.clone() for k, v in model.state_dict().items()}
    learner.consolidate(lesson("b"))
    again, other_stack, other = build()
    again.load_state_dict(weights)
    if other_stack is not None:
        other_stack.learn("b")
    other.load_state_dict(saved)
    list(other.lesson(lesson("b"), steps=8, batch_size=8, start_step=4))
    other.consolidate(lesson("b"))
    mine, theirs = adapter_parameters(model), adapter_parameters(again)
    assert all(torch.equal(value, theirs[name]) for name, value in mine.items())
    states = [entry.guards[0].state_dict() for entry in (learner, other)]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())
    assert bool(states[0]) == (kind != "stack")


@pytest.mark.parametrize("guard", [CLoRA, OLoRA])
def test_off_the_cpu(stacked, stir, lesson, far, guard):
    wanted = guard(stacked)
    stir(stacked, only=".now.")
    model = copy.deepcopy(stacked)
    near = guard(model)
    near.begin(lesson())
    stir(model, seed=2, only=".now.")
    stacked.to(far)
    wanted.begin(lesson())
    with torch.no_grad():
        mine = adapter_parameters(model)
        for name, parameter in adapter_parameters(stacked).items():
            parameter.copy_(mine[name])
    assert wanted.energy() == pytest.approx(near.energy(), rel=1e-5)
    state = wanted.state_dict()
    wanted.load_state_dict({key: value.cpu() for key, value in state.items()})
    assert wanted.energy() == pytest.approx(near.energy(), rel=1e-5)


def test_an_adapter_that_learned_nothing_holds_nothing(net, lesson):
    model = net()
    attach(model, rank=2)
    guard = CLoRA(model)
    guard.begin(lesson())
    guard.consolidate(lesson())
    assert guard.state_dict() == {}
    assert guard.penalty() is None
    assert guard.energy() == 0.0


def test_bad_use_gets_a_sentence(net, stir, lesson):
    with pytest.raises(ConfigError, match="attach some first"):
        CLoRA(net())
    switched = net()
    attach_switched(switched, Switch(["a"]), rank=1)
    with pytest.raises(ConfigError, match="switched ones never meet"):
        CLoRA(switched)
    for strength in (-1.0, float("inf"), float("nan")):
        with pytest.raises(ConfigError, match="strength >= 0"):
            CLoRAParams(strength=strength)
    model, smaller = net(), net()
    attach(model, rank=2)
    attach(smaller, rank=2, only=lambda name, _: name == "4")
    guard, other = CLoRA(model), CLoRA(smaller)
    guard.begin(lesson())
    stir(model)
    guard.consolidate(lesson())
    with pytest.raises(RunError, match="other adapters: 0"):
        other.load_state_dict(guard.state_dict())
    torn = {"before.4": torch.zeros(10, 2), "before_right.4": torch.zeros(3, 96)}
    for state in ({"before.4": torch.zeros(3, 3)}, {"before.4": torch.zeros(10, 2)}, torn):
        with pytest.raises(RunError, match="another shape of 4"):
            other.load_state_dict(state)
