"""DER, ER-ACE, A-GEM and LwF equal their losses written out by hand."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from clnf.continual.classifier import Classifier
from clnf.continual.guards import (
    AGEM,
    DER,
    ERACE,
    AGEMParams,
    DERParams,
    ERACEParams,
    LatentParams,
    LatentRehearsal,
    LwF,
    LwFParams,
)
from clnf.continual.learner import Learner
from clnf.continual.memory import Balanced, Reservoir
from clnf.core.errors import ConfigError, DataError
from clnf.core.protocols import Guard, Listener
from clnf.core.records import Batch

LR = 0.1


class Spied:
    """Remembers what a memory handed out."""

    def __init__(self, memory):
        self.memory, self.drawn = memory, []
        self.asked = memory.draw_outputs, memory.draw
        memory.draw_outputs, memory.draw = self.draw_outputs, self.draw

    def draw_outputs(self, n, rng):
        self.drawn.append(self.asked[0](n, rng))
        return self.drawn[-1]

    def draw(self, n, rng):
        self.drawn.append(self.asked[1](n, rng))
        return self.drawn[-1]


def gradients(model, loss):
    weights = list(model.parameters())
    return torch.autograd.grad(loss, weights, allow_unused=True, retain_graph=True)


def gap(model, before, wanted):
    """Largest distance between the step taken and the step wanted."""
    return max(
        float((p - (b - LR * g)).detach().abs().max())
        for p, b, g in zip(model.parameters(), before.parameters(), wanted, strict=True)
    )


def step(model, guard, batch):
    """One step with a plain optimizer; the model as it was before."""
    before = copy.deepcopy(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=LR)
    Learner(model, optimizer, guards=[guard], seed=0).step(batch)
    return before


@pytest.fixture
def batch(lesson):
    return lesson("now").data.take(torch.arange(8))


@pytest.mark.parametrize("per_output", [True, False])
@pytest.mark.parametrize("beta", [0.0, 0.7])
@pytest.mark.parametrize("keep", ["batch", "lesson"])
def test_der_equals_brute_force(classifier, lesson, batch, beta, per_output, keep):
    model = classifier()
    params = DERParams(samples=6, alpha=0.3, beta=beta, per_output=per_output, keep=keep)
    guard = DER(Reservoir(20, seed=0), model, params)
    assert isinstance(guard, Listener)
    then = classifier(1)
    old = lesson("old").data.take(torch.arange(20))
    guard.memory.add(old, then(old.x))
    spied = Spied(guard.memory)
    before = step(model, guard, batch)
    drawn, z = spied.drawn[0]
    square = (before(drawn.x[:6]) - z[:6]).square()
    far = square.mean() if per_output else square.sum(1).mean()
    loss = functional.cross_entropy(before(batch.x), batch.cond) + 0.3 * far
    if beta:
        loss = loss + beta * functional.cross_entropy(before(drawn.x[6:]), drawn.cond[6:])
    assert torch.allclose(z, then(drawn.x), atol=1e-6)
    assert gap(model, before, gradients(before, loss)) < 1e-6
    # Another alpha, or one draw used twice, is not the same method.
    assert gap(model, before, gradients(before, loss + 0.1 * far)) > 1e-4
    if beta:
        twice = loss + beta * (
            functional.cross_entropy(before(drawn.x[:6]), drawn.cond[:6])
            - functional.cross_entropy(before(drawn.x[6:]), drawn.cond[6:])
        )
        assert gap(model, before, gradients(before, twice)) > 1e-4


def test_der_keeps_what_was_said_when_it_stored(classifier, batch):
    model = classifier()
    guard = DER(Reservoir(50, seed=0), model, DERParams(samples=4))
    said = model(batch.x).detach()
    before = step(model, guard, batch)
    assert len(guard.memory) == 8
    kept, z = guard.memory.draw_outputs(30, torch.Generator().manual_seed(0))
    assert torch.allclose(z, before(kept.x).detach(), atol=1e-6)
    assert not torch.allclose(z, model(kept.x).detach(), atol=1e-3)
    assert said.shape == (8, 3)


def test_der_by_lesson_keeps_what_was_said_at_its_end(classifier, lesson, batch):
    """Pitfall: outputs at insertion and outputs at the end of a task are two methods."""
    model = classifier(norm=True)
    guard = DER(Balanced(40, seed=0), model, DERParams(samples=4, keep="lesson"))
    step(model, guard, batch)
    assert len(guard.memory) == 0
    statistics = model.net[1].running_mean.clone()
    guard.consolidate(lesson())
    assert torch.equal(model.net[1].running_mean, statistics)
    model.eval()
    kept, z = guard.memory.draw_outputs(30, torch.Generator().manual_seed(0))
    assert torch.allclose(z, model(kept.x).detach(), atol=1e-5)


def test_outputs_of_a_smaller_head_are_padded_not_cut(lesson, batch):
    """Pitfall: DER's stored logits when classes grow: pad with zeros, do not truncate."""
    memory = Reservoir(30, seed=0)
    memory.add(batch, torch.ones(8, 2))
    wide = Classifier(nn.Linear(5, 4))
    guard = DER(memory, wide, DERParams(samples=5, beta=0.0, alpha=1.0))
    spied = Spied(memory)
    before = step(wide, guard, batch)
    drawn = spied.drawn[0][0]
    z = torch.tensor([1.0, 1.0, 0.0, 0.0]).expand(5, 4)
    loss = functional.cross_entropy(before(batch.x), batch.cond)
    padded = loss + (before(drawn.x) - z).square().mean()
    cut = loss + (before(drawn.x)[:, :2] - z[:, :2]).square().mean()
    assert gap(wide, before, gradients(before, padded)) < 1e-6
    assert gap(wide, before, gradients(before, cut)) > 1e-3
    # The wider step was stored beside the narrower samples.
    assert memory.draw_outputs(9, torch.Generator())[1].shape == (9, 4)
    with pytest.raises(DataError, match="not shrink"):
        memory.add(batch, torch.ones(8, 3))
    with pytest.raises(DataError, match="all of its samples or with none"):
        memory.add(batch)


def test_er_ace_equals_brute_force(classifier, lesson):
    model = classifier()
    guard = ERACE(Reservoir(20, seed=0), model, ERACEParams(samples=6))
    x = torch.randn(8, 5, generator=torch.Generator().manual_seed(3))
    now = Batch.of(x, torch.tensor([0, 2] * 4))
    guard.memory.add(lesson("old").data.take(torch.arange(20)))
    guard.load_state_dict({**guard.state_dict(), "seen": [0, 1, 2]})
    spied = Spied(guard.memory)
    before = step(model, guard, now)
    logits = before(now.x).clone()
    free = functional.cross_entropy(logits, now.cond)
    logits[:, 1] = -torch.inf
    masked = functional.cross_entropy(logits, now.cond)
    old = functional.cross_entropy(before(spied.drawn[0].x), spied.drawn[0].cond)
    assert gap(model, before, gradients(before, masked + old)) < 1e-6
    assert gap(model, before, gradients(before, free + old)) > 1e-4


def test_er_ace_shuts_unseen_classes_for_remembered_rows(lesson):
    model = Classifier(nn.Linear(5, 4))
    guard = ERACE(Reservoir(20, seed=0), model, ERACEParams(samples=6, keep="lesson"))
    guard.consolidate(lesson("old"))  # classes 0 to 2
    guard.load_state_dict({**guard.state_dict(), "seen": [0, 1, 2]})
    before = step(model, guard, Batch.of(torch.randn(8, 5), torch.tensor([0, 1] * 4)))
    assert torch.equal(model.net.weight[3], before.net.weight[3])
    assert not torch.equal(model.net.weight[2], before.net.weight[2])


def test_er_ace_knows_the_classes_of_a_memory_filled_before(lesson):
    """Caccia et al. 2022: remembered rows compete among all old classes and those of the batch."""
    model = Classifier(nn.Linear(5, 6))
    guard = ERACE(Reservoir(20, seed=0), model, ERACEParams(samples=30, keep="lesson"))
    x = torch.randn(20, 5, generator=torch.Generator().manual_seed(3))
    guard.memory.add(Batch.of(x, torch.tensor([0, 1] * 10)))
    spied = Spied(guard.memory)
    now = Batch.of(x[:8] + 1, torch.tensor([2, 3] * 4))
    before = step(model, guard, now)
    old = spied.drawn[0]
    new = functional.cross_entropy(before(now.x)[:, 2:4], now.cond - 2)
    kept = functional.cross_entropy(before(old.x)[:, :4], old.cond)
    assert gap(model, before, gradients(before, new + kept)) < 1e-6
    wide = functional.cross_entropy(before(old.x), old.cond)
    assert gap(model, before, gradients(before, new + wide)) > 1e-4
    assert guard.state_dict()["seen"] == [0, 1, 2, 3]


def test_agem_leaves_running_statistics_to_the_steps(classifier, lesson, batch):
    model = classifier(norm=True)
    weights = dict(model.named_parameters())
    guard = AGEM(Reservoir(20, seed=0), model, weights, AGEMParams(samples=6))
    guard.memory.add(lesson("old").data.take(torch.arange(20)))
    before = step(model, guard, batch)
    plain = copy.deepcopy(before)
    plain.train()(batch.x)
    for name, value in plain.net[1].named_buffers():
        assert torch.equal(value, model.net[1].get_buffer(name)), name
        assert not torch.equal(value, before.net[1].get_buffer(name)), name


@pytest.mark.parametrize("conflict", [True, False])
def test_agem_equals_brute_force(classifier, lesson, batch, conflict):
    model = classifier()
    guard = AGEM(
        Reservoir(20, seed=0), model, dict(model.named_parameters()), AGEMParams(samples=60)
    )
    # The same samples under other labels ask for the contrary; under their own, for the same.
    cond = (batch.cond + 1) % 3 if conflict else batch.cond
    guard.memory.add(Batch(x=batch.x, cond=cond, weight=batch.weight))
    spied = Spied(guard.memory)
    before = step(model, guard, batch)
    old = spied.drawn[0]
    g = gradients(before, functional.cross_entropy(before(batch.x), batch.cond))
    r = gradients(before, functional.cross_entropy(before(old.x), old.cond))
    flat_g, flat_r = (torch.cat([v.flatten() for v in values]).double() for values in (g, r))
    along = float(flat_g @ flat_r)
    assert (along < 0) == conflict
    share = min(0.0, along) / float(flat_r @ flat_r)
    wanted = [a - share * b for a, b in zip(g, r, strict=True)]
    assert gap(model, before, wanted) < 1e-6
    projected = flat_g - share * flat_r
    if conflict:
        assert abs(float(projected @ flat_r)) < 1e-6
        assert float(projected.norm()) <= float(flat_g.norm())
        assert gap(model, before, g) > 1e-4


def test_lwf_equals_brute_force(classifier, lesson, batch):
    model = classifier()
    guard = LwF(model, LwFParams(strength=0.8, temperature=2.0))
    first = Batch.of(torch.randn(6, 5), torch.tensor([0, 1] * 3))
    step(model, guard, first)
    guard.consolidate(lesson())
    teacher = copy.deepcopy(model)
    step(model, guard, batch)  # the model leaves the teacher
    before = step(model, guard, batch)
    then = (teacher(batch.x)[:, :2] / 2).softmax(1).detach()
    now = before(batch.x)
    soft = -(then * (now[:, :2] / 2).log_softmax(1)).sum(1).mean() * 4 * 0.8
    loss = functional.cross_entropy(now, batch.cond)
    assert gap(model, before, gradients(before, loss + soft)) < 1e-6
    # Over all classes, new ones included, it is another loss; without it, too.
    then = (teacher(batch.x) / 2).softmax(1).detach()
    wide = -(then * (now / 2).log_softmax(1)).sum(1).mean() * 4 * 0.8
    assert gap(model, before, gradients(before, loss + wide)) > 1e-4
    assert gap(model, before, gradients(before, loss)) > 1e-4


class Heads(nn.Module):
    """Logits of which only some classes are open."""

    def __init__(self):
        super().__init__()
        self.rows, self.open = nn.Linear(5, 6), [0, 1]

    def forward(self, x):
        shut = torch.ones(6, dtype=torch.bool)
        shut[self.open] = False
        return self.rows(x).masked_fill(shut, -torch.inf)


@pytest.mark.parametrize("both", [[2, 3], [2]])
def test_lwf_leaves_shut_heads_out(lesson, batch, both):
    net = Heads()
    model = Classifier(net)
    guard = LwF(model, LwFParams(strength=0.8, temperature=2.0))
    for net.open, labels in (([0, 1], [0, 1]), ([2, 3], [2, 3])):
        step(model, guard, Batch.of(torch.randn(6, 5), torch.tensor(labels * 3)))
        guard.consolidate(lesson())
    teacher = copy.deepcopy(net.rows)
    net.open = [*both, 4, 5]
    now = Batch.of(batch.x, batch.cond % 2 + 4)
    step(model, guard, now)  # the model leaves the teacher
    before = step(model, guard, now)
    then = (teacher(now.x)[:, both] / 2).softmax(1).detach()
    said = (before.net.rows(now.x)[:, both] / 2).log_softmax(1)
    loss = functional.cross_entropy(before(now.x), now.cond)
    wanted = loss - (then * said).sum(1).mean() * 4 * 0.8
    assert gap(model, before, gradients(before, wanted)) < 1e-6
    # With no old class open there is nothing to be told.
    net.open = [4, 5]
    before = step(model, guard, now)
    alone = functional.cross_entropy(before(now.x), now.cond)
    assert gap(model, before, gradients(before, alone)) < 1e-6
    assert gap(model, before, gradients(before, 2 * alone)) > 1e-4


def test_latents_equal_brute_force(classifier, lesson, batch):
    model = classifier()
    guard = LatentRehearsal(
        Reservoir(20, seed=0), model, model.net[2], model.net[3], LatentParams(coefficient=0.6)
    )
    old = lesson("old").data.take(torch.arange(20))
    then = classifier(1).net[:3](old.x).detach()
    guard.memory.add(Batch(x=then, cond=old.cond, weight=old.weight))
    spied = Spied(guard.memory)
    before = step(model, guard, batch)
    drawn = spied.drawn[0]
    loss = functional.cross_entropy(before(batch.x), batch.cond)
    again = functional.cross_entropy(before.net[3](drawn.x), drawn.cond)
    assert gap(model, before, gradients(before, loss + 0.6 * again)) < 1e-6
    assert gap(model, before, gradients(before, loss)) > 1e-4
    fresh = LatentRehearsal(Reservoir(50, seed=0), model, model.net[2], model.net[3])
    before = step(model, fresh, batch)
    assert torch.allclose(fresh.memory.all().x, before.net[:3](batch.x).detach(), atol=1e-6)


def test_a_listener_needs_a_model_that_answers(classifier):
    class Closed(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.zeros(1))

        def loss(self, batch, rng):
            return self.w.expand(len(batch))

    model = Closed()
    optimizer = torch.optim.SGD(model.parameters(), lr=LR)
    with pytest.raises(ConfigError, match="outputs"):
        Learner(model, optimizer, guards=[LwF(classifier())], seed=0)


def test_contracts_and_bad_parameters(classifier):
    model = classifier()
    weights = dict(model.named_parameters())
    assert isinstance(AGEM(Reservoir(2, seed=0), model, weights), Guard)
    assert isinstance(ERACE(Reservoir(2, seed=0), model), Listener)
    assert isinstance(LwF(model), Listener)
    for make in (
        lambda: DERParams(alpha=-1.0),
        lambda: DERParams(keep="never"),
        lambda: ERACEParams(samples=0),
        lambda: AGEMParams(samples=0),
        lambda: LwFParams(temperature=0.0),
    ):
        with pytest.raises(ConfigError):
            make()
