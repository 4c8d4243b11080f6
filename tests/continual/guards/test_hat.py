"""HAT's gates, masks and compensation equal the paper's equations."""

import pytest
import torch
from torch import nn

from clnf.continual.classifier import Classifier
from clnf.continual.guards import HAT, HATParams
from clnf.continual.learner import Learner
from clnf.core.errors import ConfigError, RunError
from clnf.core.protocols import Guard

STEPS = 40


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 12), nn.ReLU(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 6))


def guarded(net, **changed):
    params = HATParams(lessons=3, steps=STEPS, **changed)
    return HAT([net[0], net[2], net[4]], params, seed=1)


def learn(net, guard, lesson, *names):
    model = Classifier(net)
    weights = [*net.parameters(), *guard.parameters()]
    learner = Learner(model, torch.optim.SGD(weights, lr=0.1), guards=[guard], seed=0)
    for name in names:
        part = 2 * (ord(name) - ord("a"))
        x = torch.randn(40, 5, generator=torch.Generator().manual_seed(part))
        experience = lesson(name, x, part + (x[:, part % 5] > 0).long())
        list(learner.lesson(experience, steps=STEPS * 4, batch_size=16))
        learner.consolidate(experience)
    return learner


def test_an_earlier_lesson_answers_almost_as_before(net, lesson):
    guard = guarded(net)
    x = torch.randn(30, 5)
    learn(net, guard, lesson, "a")
    net.eval()
    with guard.as_of(0):
        before = net(x)[:, :2].detach()
    head = net[4].weight[:2].detach().clone(), net[4].bias[:2].detach().clone()
    learn(net, guard, lesson, "b")
    with torch.no_grad():  # each lesson has its own rows of the head
        net[4].weight[:2], net[4].bias[:2] = head
    net.eval()
    with guard.as_of(0):
        after = net(x)[:, :2].detach()
    with guard.as_of(1):
        other = net(x)[:, :2].detach()
    assert float((after - before).abs().max()) < 1e-2
    assert float((other - before).abs().max()) > 0.1
    assert float(before.abs().max()) > 0.1


def test_gradients_are_masked_by_the_smaller_of_both_gates(net, lesson):
    guard = guarded(net)
    guard.begin(lesson())
    for name in ("taken.0", "taken.1"):
        state = guard.state_dict()
        state[name] = torch.rand_like(state[name])
        guard.load_state_dict(state)
    taken = [guard.state_dict()[f"taken.{i}"] for i in (0, 1)]
    for p in net.parameters():
        p.grad = torch.ones_like(p)
    guard.constrain(0.1)
    assert torch.allclose(net[0].weight.grad, (1 - taken[0])[:, None].expand(12, 5))
    both = torch.stack([torch.stack([1 - torch.minimum(i, j) for j in taken[0]]) for i in taken[1]])
    assert torch.allclose(net[2].weight.grad, both)
    assert torch.allclose(net[2].bias.grad, 1 - taken[1])
    assert bool((net[4].weight.grad == 1).all())
    assert not torch.allclose(net[2].weight.grad, (1 - taken[1])[:, None].expand(8, 12))


def test_compensation_gives_the_gradient_of_a_gate_with_slope_one(net, lesson):
    """q' = s_max (cosh(s e) + 1) / (s (cosh e + 1)) q: the anneal drops out of sigma'."""
    guard = guarded(net, steepness=20.0)
    guard.begin(lesson())
    slope = 1 / 20.0
    e = guard.parameters()[0]
    gate = torch.sigmoid(slope * e[0])
    gate.sum().backward()
    guard.constrain(0.1)
    flat = torch.sigmoid(e[0].detach())
    assert torch.allclose(e.grad[0], 20.0 * flat * (1 - flat), atol=1e-5)


def test_the_slope_is_annealed_and_the_penalty_counts_free_units_only(net, lesson):
    guard = guarded(net, sparsity=0.5)
    assert guard.penalty() is None
    guard.begin(lesson())
    state = guard.state_dict()
    state["taken.0"] = torch.cat([torch.ones(6), torch.zeros(6)])
    state["step"] = STEPS - 1
    guard.load_state_dict(state)
    gates = [torch.sigmoid(400.0 * e[0].detach()) for e in guard.parameters()]
    free = gates[0][6:].sum() + gates[1].sum()
    assert float(guard.penalty().detach()) == pytest.approx(0.5 * float(free) / 14, rel=1e-5)
    state["step"] = STEPS  # the next epoch begins flat
    guard.load_state_dict(state)
    flat = sum(torch.sigmoid(e[0].detach() / 400.0).sum() for e in guard.parameters())
    flat -= torch.sigmoid(guard.parameters()[0][0].detach() / 400.0)[:6].sum()
    assert float(guard.penalty().detach()) == pytest.approx(0.5 * float(flat) / 14, rel=1e-5)


OPTIMIZERS = {
    "momentum": lambda w: torch.optim.SGD(w, lr=0.05, momentum=0.9),
    "nesterov": lambda w: torch.optim.SGD(w, lr=0.05, momentum=0.9, nesterov=True),
    "adam": lambda w: torch.optim.Adam(w, lr=0.01, amsgrad=True),
}


class Told(nn.Module):
    """A classifier whose lesson has two rows of the head for itself, from ``at`` on."""

    def __init__(self, net):
        super().__init__()
        self.net, self.at = net, 0

    def loss(self, batch, rng):
        logits = self.net(batch.x)[:, self.at : self.at + 2]
        return nn.functional.cross_entropy(logits, batch.cond, reduction="none")


def two_told_lessons(net, lesson, kind, *, given):
    """What the first of two lessons left, the second's rows of the head last, and that now."""

    model = Told(net)
    params = HATParams(lessons=2, steps=STEPS, sparsity=0.0)
    layers = [net[0], net[2], net[4]]
    if given:
        optimizer = OPTIMIZERS[kind](net.parameters())
        guard = HAT(layers, params, seed=1, optimizer=optimizer)
    else:
        guard = HAT(layers, params, seed=1)
        optimizer = OPTIMIZERS[kind]([*net.parameters(), *guard.parameters()])
    learner = Learner(model, optimizer, guards=[guard], seed=0)
    found, shut = [], {}
    for model.at, name in ((0, "a"), (2, "b")):
        x = torch.randn(40, 5, generator=torch.Generator().manual_seed(model.at))
        experience = lesson(name, x, (x[:, model.at] > 0).long())
        list(learner.lesson(experience, steps=STEPS * 3, batch_size=16))
        learner.consolidate(experience)
        shut = shut or guard.masks
        here = [net[0].weight[shut[0] == 0], net[2].weight[shut[1] == 0]]
        here += [net[4].weight[:2], net[4].bias[:2], *(e[0] for e in guard.parameters())]
        here.append(net[4].weight[2:4])
        found.append([part.detach().clone() for part in here])
    return found


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_what_is_shut_stays_to_the_bit_under_moments(net, lesson, kind):
    first, second = two_told_lessons(net, lesson, kind, given=True)
    assert min(len(part) for part in first[:2]) > 0
    assert all(torch.equal(a, b) for a, b in zip(first[:-1], second[:-1], strict=True))
    assert not torch.equal(first[-1], second[-1])


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_moments_would_move_what_is_shut(net, lesson, kind):
    """The negative control: an optimizer the guard does not know of."""
    first, second = two_told_lessons(net, lesson, kind, given=False)
    for a, b in zip(first, second, strict=True):
        assert not torch.equal(a, b)


def test_embeddings_join_the_optimizer_without_weight_decay(net):
    named = torch.optim.AdamW(net.named_parameters(), lr=0.02, weight_decay=0.1)
    plain = torch.optim.SGD([{"params": net.parameters(), "lr": 0.3}], momentum=0.9)
    for optimizer, rate in ((named, 0.02), (plain, 0.3)):
        guard = HAT([net[0], net[2], net[4]], seed=1, optimizer=optimizer)
        group = optimizer.param_groups[-1]
        assert all(a is b for a, b in zip(group["params"], guard.parameters(), strict=True))
        assert group["lr"] == rate
        assert group["weight_decay"] == 0


def test_contracts(net, lesson):
    guard = guarded(net)
    assert isinstance(guard, Guard)
    with pytest.raises(RunError):
        guard.consolidate(lesson())
    for _ in range(3):
        guard.begin(lesson())
    with pytest.raises(ConfigError, match="3 lessons"):
        guard.begin(lesson())
    with pytest.raises(ConfigError), guard.as_of(5):
        pass
    with pytest.raises(ConfigError):
        HAT([net[0]], seed=0)
    with pytest.raises(ConfigError):
        HATParams(steepness=1.0)
    with pytest.raises(ConfigError):
        HATParams(reach=0.0)
