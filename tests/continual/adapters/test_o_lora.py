"""O-LoRA equals its equation, entry by entry, and holds directions apart."""

import pytest
import torch

from clnf.continual.adapters import (
    OLoRA,
    OLoRAParams,
    Stack,
    adapter_parameters,
    attach,
    factors_of,
    settle,
)
from clnf.continual.learner import Learner
from clnf.core.errors import ConfigError, RunError
from clnf.core.protocols import Guard

STRENGTH = 3.0
FORMS = (OLoRAParams(strength=STRENGTH), OLoRAParams(strength=STRENGTH, squared=True))


def entry_by_entry(now, earlier, *, squared):
    """lambda sum_t' sum_jk |A_t' A_t^T|_jk (or its square) in plain loops, double precision."""
    total = 0.0
    for layer, given in now.items():
        new = given.down.flatten(1).double()
        for others in earlier:
            old = others[layer].down.flatten(1).double()
            for j in range(len(old)):
                for k in range(len(new)):
                    dot = sum(float(a * b) for a, b in zip(old[j], new[k], strict=True))
                    total += dot * dot if squared else abs(dot)
    return STRENGTH * total


@pytest.fixture
def stacked(net, stir):
    """Two frozen adapters and a third that learns, all with values."""
    model = net()
    stack = Stack(model, rank=2, scale=0.5)
    for name in ("a", "b", "now"):
        stack.add(name)
    stir(model)
    return model


@pytest.mark.parametrize("params", FORMS, ids=["absolute", "squared"])
def test_value_and_gradient(stacked, lesson, params):
    guard = OLoRA(stacked, params)
    assert isinstance(guard, Guard)
    guard.begin(lesson())
    earlier = [factors_of(stacked, name) for name in ("a", "b")]
    wanted = entry_by_entry(factors_of(stacked, "now"), earlier, squared=params.squared)
    assert guard.energy() == pytest.approx(wanted, rel=1e-6)
    guard.penalty().backward()
    for layer in ("0", "2", "4"):
        new = factors_of(stacked, "now")[layer].down.double().requires_grad_()
        overlap = torch.cat(
            [(others[layer].down.double().flatten(1) @ new.flatten(1).T) for others in earlier]
        )
        (STRENGTH * (overlap.square() if params.squared else overlap.abs()).sum()).backward()
        mine = adapter_parameters(stacked)[f"{layer}.of.now.down.weight"].grad
        torch.testing.assert_close(mine.double(), new.grad, rtol=1e-6, atol=1e-6)
        assert adapter_parameters(stacked)[f"{layer}.of.now.up.weight"].grad is None


@pytest.mark.parametrize("params", FORMS, ids=["absolute", "squared"])
def test_finite_differences(stacked, lesson, params):
    stacked.double()
    guard = OLoRA(stacked, params)
    guard.begin(lesson())
    guard.penalty().backward()
    weight, step = adapter_parameters(stacked)["4.of.now.down.weight"], 1e-6
    flat = weight.detach().view(-1)
    for at in (0, 50, 191):
        values = []
        for way in (step, -2 * step):
            flat[at] += way
            values.append(guard.energy())
        flat[at] += step
        slope = (values[0] - values[1]) / (2 * step)
        assert slope == pytest.approx(float(weight.grad.view(-1)[at]), rel=1e-6, abs=1e-6)


def test_settled_adapters_are_remembered(net, stir, lesson):
    model = net()
    attach(model, rank=2)
    guard = OLoRA(model, FORMS[0])
    earlier = []
    for number in range(3):
        guard.begin(lesson())
        assert (guard.penalty() is None) == (number == 0)
        stir(model, seed=number)
        wanted = entry_by_entry(factors_of(model), earlier, squared=False)
        assert guard.energy() == pytest.approx(wanted, rel=1e-6)
        earlier.append(factors_of(model))
        guard.consolidate(lesson())
        settle(model, seed=number)
    assert guard.state_dict()["before.4"].shape == (6, 96)


def test_an_adapter_that_goes_on_is_refused(net, stir, lesson):
    model = net()
    attach(model, rank=2)
    guard = OLoRA(model)
    guard.begin(lesson())
    guard.consolidate(lesson())  # it learned nothing: it takes no room, and may go on
    guard.begin(lesson())
    stir(model)
    guard.consolidate(lesson())
    with pytest.raises(RunError, match="needs a fresh one"):
        guard.begin(lesson())
    settle(model, seed=1)
    guard.begin(lesson())


def taught(classifier, lesson, strength):
    model = classifier()
    stack = Stack(model, rank=2, seed=1)
    guard = OLoRA(model, OLoRAParams(strength=strength))
    for name in ("first", "second"):
        stack.add(name)
        optimizer = torch.optim.SGD(stack.parameters(), lr=0.1)
        learner = Learner(model, optimizer, guards=[guard], seed=2)
        list(learner.lesson(lesson(name), steps=60, batch_size=10))
        learner.consolidate(lesson(name))
    first, second = (factors_of(model, name) for name in ("first", "second"))
    overlap = sum(float((first[n].down @ second[n].down.T).abs().sum()) for n in first)
    return model, overlap, sum(float(f.up.square().sum()) for f in second.values())


def test_the_second_lesson_looks_elsewhere(classifier, lesson):
    _, free, _ = taught(classifier, lesson, 0.0)
    _, held, learned = taught(classifier, lesson, 0.5)
    assert held < 0.3 * free
    assert learned > 0.01


def test_resume_in_the_middle_of_a_lesson(classifier, lesson, through_disk):
    def build():
        model = classifier()
        attach(model, rank=2)
        optimizer = torch.optim.SGD(adapter_parameters(model).values(), lr=0.2)
        return model, Learner(model, optimizer, guards=[OLoRA(model)], seed=1)

    model, learner = build()
    list(learner.lesson(lesson("a"), steps=6, batch_size=8))
    learner.consolidate(lesson("a"))
    settle(model, seed=1)
    for info in learner.lesson(lesson("b"), steps=8, batch_size=8):
        if info.step == 3:
            saved = through_disk(learner.state_dict())
            weights = {k: v.clone() for k, v in model.state_dict().items()}
    again, other = build()
    again.load_state_dict(weights)
    other.load_state_dict(saved)
    list(other.lesson(lesson("b"), steps=8, batch_size=8, start_step=4))
    mine, theirs = adapter_parameters(model), adapter_parameters(again)
    assert all(torch.equal(value, theirs[name]) for name, value in mine.items())


def test_bad_use_gets_a_sentence(net):
    with pytest.raises(ConfigError, match="O-LoRA holds adapters apart"):
        OLoRA(net())
    with pytest.raises(ConfigError, match="strength >= 0"):
        OLoRAParams(strength=float("nan"))
    model = net()
    attach(model, rank=2)
    with pytest.raises(RunError, match="other adapters: 9"):
        OLoRA(model).load_state_dict({"before.9": torch.zeros(2, 4)})
    with pytest.raises(RunError, match="another shape of 4"):
        OLoRA(model).load_state_dict({"before.4": torch.zeros(2, 4)})
