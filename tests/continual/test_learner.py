"""The learner does what a plain loop does, under guards, and goes on exactly after a stop."""

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from clnf.continual.fisher import Fisher, FisherParams
from clnf.continual.guards import EWC, EWCParams, Fence, FenceParams, Rehearsal, RehearsalParams
from clnf.continual.learner import Learner, StepInfo
from clnf.continual.memory import Balanced
from clnf.core.errors import ConfigError, DataError, RunError, ShapeError
from clnf.core.records import Batch, Experience


def sgd(model: nn.Module, lr: float = 0.1, momentum: float = 0.0) -> torch.optim.SGD:
    return torch.optim.SGD(model.parameters(), lr=lr, momentum=momentum)


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    return copy.deepcopy(model.state_dict())


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


class Spy:
    """A guard that writes down what it is asked, and can do one thing."""

    def __init__(self, log: list[str], name: str, penalty: Tensor | None = None) -> None:
        self.log, self.name, self.value = log, name, penalty
        self.rates: list[float] = []
        self.draws: list[float] = []

    def begin(self, experience: Experience) -> None:
        self.log.append(f"{self.name}.begin")

    def mix(self, batch: Batch, rng: torch.Generator) -> Batch:
        self.log.append(f"{self.name}.mix")
        self.draws.append(float(torch.rand(1, generator=rng)))
        return batch

    def penalty(self) -> Tensor | None:
        self.log.append(f"{self.name}.penalty")
        return self.value

    def constrain(self, lr: float) -> None:
        self.log.append(f"{self.name}.constrain")
        self.rates.append(lr)

    def consolidate(self, experience: Experience) -> None:
        self.log.append(f"{self.name}.consolidate")

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


def test_a_lesson_equals_a_plain_loop_on_the_same_batches(classifier, lesson):
    experience = lesson()
    model, plain = classifier(), classifier()
    learner = Learner(model, sgd(model, momentum=0.9), seed=0)
    infos = list(learner.lesson(experience, steps=20, batch_size=8))
    optimizer = sgd(plain, momentum=0.9)
    for info, index in zip(infos, experience.data.asked, strict=True):
        loss = nn.functional.cross_entropy(
            plain(experience.data.x[index]), experience.data.cond[index]
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        assert info.loss == pytest.approx(loss.item(), rel=1e-5)
        norm = torch.cat([p.grad.flatten() for p in plain.parameters()]).norm().item()
        assert info.gradient_norm == pytest.approx(norm, rel=1e-4)
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value, rtol=1e-5, atol=1e-6)
    assert [info.step for info in infos] == list(range(20))
    assert {info.lesson for info in infos} == {"first"}


def test_loss_is_the_weighted_mean(classifier, lesson):
    model = classifier()
    batch = lesson().data.take(torch.arange(4))
    batch = Batch(x=batch.x, cond=batch.cond, weight=torch.tensor([1.0, 0.0, 2.0, 0.5]))
    losses = model.loss(batch, torch.Generator())
    mean = (losses * batch.weight).sum() / 3.5
    wanted = torch.autograd.grad(mean, model.net[0].weight)[0]
    before = model.net[0].weight.detach().clone()
    value = Learner(model, sgd(model), seed=0).step(batch)
    assert value == pytest.approx(mean.item(), rel=1e-6)
    torch.testing.assert_close(model.net[0].weight, before - 0.1 * wanted)


@pytest.mark.parametrize("priority", [0.5, 4.0])
def test_priority_counts_against_other_samples_only(classifier, lesson, priority):
    base = lesson()
    urgent = Experience(name="first", concept="c", data=base.data, priority=priority)
    ends = []
    for experience in (base, urgent):
        model = classifier()
        list(Learner(model, sgd(model), seed=0).lesson(experience, steps=3, batch_size=8))
        ends.append(model.net[0].weight.detach())
    torch.testing.assert_close(*ends)
    seen = []

    class Look(Spy):
        def mix(self, batch: Batch, rng: torch.Generator) -> Batch:
            seen.append(batch.weight)
            return batch

    model = classifier()
    guarded = Learner(model, sgd(model), guards=[Look([], "look")], seed=0)
    next(iter(guarded.lesson(urgent, steps=1, batch_size=4)))
    assert seen[0].tolist() == [priority] * 4


@pytest.mark.parametrize(("size", "batch_size"), [(40, 8), (40, 7), (5, 8), (1, 3), (100, 3)])
def test_each_sample_is_used_once_before_any_twice(classifier, lesson, size, batch_size):
    experience = lesson(size=size)
    model = classifier()
    list(Learner(model, sgd(model), seed=0).lesson(experience, steps=90, batch_size=batch_size))
    assert {len(index) for index in experience.data.asked} == {batch_size}
    row = torch.cat(experience.data.asked)
    whole = row[: len(row) // size * size].view(-1, size)
    assert torch.equal(whole.sort(dim=1).values, torch.arange(size).expand_as(whole))
    if size >= 40:
        assert not torch.equal(whole[0], whole[1])


def test_draws_depend_on_seed_and_lesson_only(classifier, lesson):
    def asked(seed: int, name: str) -> Tensor:
        experience = Experience(name=name, concept="c", data=lesson().data)
        experience.data.asked.clear()
        model = classifier()
        list(Learner(model, sgd(model), seed=seed).lesson(experience, steps=5, batch_size=8))
        return torch.cat(experience.data.asked)

    assert torch.equal(asked(0, "a"), asked(0, "a"))
    assert not torch.equal(asked(0, "a"), asked(1, "a"))
    assert not torch.equal(asked(0, "a"), asked(0, "b"))


def test_guards_are_asked_in_order(classifier, lesson):
    log: list[str] = []
    model = classifier()
    guards = [Spy(log, "a"), Spy(log, "b")]
    optimizer = torch.optim.SGD(
        [
            {"params": model.net[0].parameters(), "lr": 0.1},
            {"params": model.net[3].parameters(), "lr": 0.3},
        ]
    )
    learner = Learner(model, optimizer, guards=guards, seed=0)
    list(learner.lesson(lesson(), steps=2, batch_size=4))
    learner.consolidate(lesson())
    moments = ["mix", "penalty", "constrain"]
    step = [f"{g}.{moment}" for moment in moments for g in "ab"]
    assert log == ["a.begin", "b.begin", *step, *step, "a.consolidate", "b.consolidate"]
    assert guards[0].rates == [0.3, 0.3]  # the largest rate keeps a proximal step stable
    assert len({*guards[0].draws, *guards[1].draws}) == 4  # each has its own randomness


def test_penalties_are_added(classifier, lesson):
    model, plain = classifier(), classifier()
    batch = lesson().data.take(torch.arange(6))
    weight = model.net[0].weight

    class Decay(Spy):
        def penalty(self) -> Tensor:
            return weight.square().sum()

    value = Learner(model, sgd(model), guards=[Decay([], "d")], seed=0).step(batch)
    loss = plain.loss(batch, torch.Generator()).mean() + plain.net[0].weight.square().sum()
    optimizer = sgd(plain)
    loss.backward()
    optimizer.step()
    assert value == pytest.approx(loss.item(), rel=1e-6)
    torch.testing.assert_close(weight, plain.net[0].weight)


class Hurt(nn.Module):
    """Finite in, finite loss, but a gradient that is not: sqrt at zero."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(5))
        self.other = nn.Parameter(torch.ones(5))

    def loss(self, batch: Batch, rng: torch.Generator) -> Tensor:
        return ((self.scale * batch.x).abs().sqrt() + (self.other * batch.x) ** 2).sum(1)


def test_a_loss_that_is_not_finite_is_never_written(classifier, lesson):
    model = classifier(norm=True)
    optimizer = sgd(model, momentum=0.9)
    learner = Learner(model, optimizer, seed=0)
    good, bad = lesson().data.take(torch.arange(8)), lesson().data.take(torch.arange(8))
    learner.step(good)
    bad.x[3, 2] = torch.nan
    weights, moments = weights_of(model), copy.deepcopy(optimizer.state_dict()["state"])
    assert math.isnan(learner.step(bad))
    assert same(weights, model.state_dict())  # BatchNorm statistics are part of it
    for key, values in optimizer.state_dict()["state"].items():
        assert torch.equal(values["momentum_buffer"], moments[key]["momentum_buffer"])
    assert learner.refused_steps == 1
    assert learner.refusals == [learner.refusals[0]]
    assert (learner.refusals[0].step, learner.refusals[0].refused) == (1, "the loss is nan")
    assert math.isfinite(learner.step(good))
    assert not same(weights, model.state_dict())
    plain = classifier(norm=True)  # control: a plain step is spoilt
    plain.loss(bad, torch.Generator()).mean().backward()
    sgd(plain).step()
    assert not bool(torch.isfinite(plain.net[0].weight).all())


def test_a_gradient_that_is_not_finite_is_never_written():
    model = Hurt()
    batch = Batch.of(torch.ones(2, 5), 0)
    loss = model.loss(batch, torch.Generator()).mean()
    assert bool(torch.isfinite(loss))
    learner = Learner(model, sgd(model), seed=0)
    before = weights_of(model)
    value = learner.step(batch)
    assert value == pytest.approx(loss.item())
    assert same(before, model.state_dict())
    assert "gradient norm" in learner.refusals[0].refused
    loss.backward()  # control
    assert not bool(torch.isfinite(model.scale.grad).all())


def test_a_guard_that_spoils_a_gradient_is_caught(classifier, lesson):
    model = classifier()

    class Spoil(Spy):
        def constrain(self, lr: float) -> None:
            model.net[3].bias.grad.fill_(torch.inf)

    learner = Learner(model, sgd(model), guards=[Spoil([], "s")], seed=0)
    before = weights_of(model)
    (info,) = learner.lesson(lesson(), steps=1, batch_size=4)
    assert info.refused
    assert same(before, model.state_dict())


def test_a_batch_without_weight_is_refused(classifier):
    learner = Learner(model := classifier(), sgd(model), seed=0)
    learner.step(Batch.of(torch.zeros(3, 5), 0, weight=0.0))
    assert learner.refused_steps == 1


def test_refusals_kept_are_bounded_and_counted(classifier):
    learner = Learner(model := classifier(), sgd(model), seed=0)
    for _ in range(130):
        learner.step(Batch.of(torch.full((1, 5), torch.nan), 0))
    assert (learner.refused_steps, len(learner.refusals)) == (130, 100)
    assert learner.refusals[-1].step == 129


def test_clipping_bounds_the_step(classifier, lesson):
    batch = lesson().data.take(torch.arange(8))
    moved = {}
    for clip in (None, 1e-2, 1e3):
        model = classifier()
        before = torch.cat([p.detach().flatten() for p in model.parameters()])
        Learner(model, sgd(model, lr=1.0), seed=0, clip_norm=clip).step(batch)
        after = torch.cat([p.detach().flatten() for p in model.parameters()])
        moved[clip] = float((after - before).norm())
    assert moved[1e-2] == pytest.approx(1e-2, rel=1e-4)
    assert moved[None] == moved[1e3] > 0.1


def test_mode_is_put_right_after_an_evaluation_inside_a_lesson(classifier, lesson):
    """Pitfall: measuring during a lesson must be possible and change nothing."""
    ends = []
    for look in (False, True):
        model = classifier(norm=True)
        for _ in Learner(model, sgd(model), seed=0).lesson(lesson(), steps=6, batch_size=8):
            if look:
                model.eval()
                model(torch.ones(2, 5))
        ends.append(weights_of(model))
    assert same(*ends)


class Rig:
    """A guarded learner that can be built twice alike."""

    def __init__(self, classifier: Any, *, adam: bool, guarded: bool = True) -> None:
        self.model = classifier(norm=True)
        weights = self.model.parameters()
        self.optimizer: torch.optim.Optimizer = (
            torch.optim.Adam(weights, lr=0.02)
            if adam
            else torch.optim.SGD(weights, lr=0.1, momentum=0.9)
        )
        fisher = Fisher(self.model, params=FisherParams(samples=16), seed=1)
        keep = RehearsalParams(samples=4, coefficient=0.5, keep="batch")
        guards = [
            Rehearsal(Balanced(12, seed=2), keep),
            EWC(fisher, EWCParams(strength=10.0)),
            Fence(fisher, FenceParams(fraction=0.2), optimizer=self.optimizer),
        ]
        self.learner = Learner(
            self.model, self.optimizer, guards=guards if guarded else [], seed=3, clip_norm=1.0
        )


@pytest.mark.parametrize("adam", [False, True])
def test_resume_is_bit_identical_at_any_step(classifier, lesson, through_disk, adam):
    """Pitfall: buffer, counters, importance, anchor, masks, optimizer and data cursor."""
    whole = Rig(classifier, adam=adam)
    list(whole.learner.lesson(lesson("a"), steps=7, batch_size=8))
    whole.learner.consolidate(lesson("a"))
    saved, infos = {}, []
    for info in whole.learner.lesson(lesson("b"), steps=70, batch_size=8):
        infos.append(info)
        if info.step in (0, 30, 63, 68):
            state = through_disk(whole.learner.state_dict())
            saved[info.step] = (weights_of(whole.model), copy.deepcopy(state))
    whole.learner.consolidate(lesson("b"))
    end, end_state = weights_of(whole.model), whole.learner.state_dict()
    for step, (weights, state) in saved.items():
        torch.manual_seed(step)  # the global generator must not matter
        again = Rig(classifier, adam=adam)
        again.model.load_state_dict(weights)
        again.learner.load_state_dict(state)
        rest = again.learner.lesson(lesson("b"), steps=70, batch_size=8, start_step=step + 1)
        assert list(rest) == infos[step + 1 :]
        again.learner.consolidate(lesson("b"))
        assert same(end, again.model.state_dict())
        for key, value in again.learner.state_dict().items():
            assert (
                torch.equal(value, end_state[key])
                if isinstance(value, Tensor)
                else (value == end_state[key])
            ), key


@pytest.mark.parametrize("part", ["optimizer", "guard.0", "guard.1", "guard.2"])
def test_resume_without_any_one_part_differs(classifier, lesson, part):
    """Control for the test above: every part of the state matters."""
    whole = Rig(classifier, adam=False)
    list(whole.learner.lesson(lesson("a"), steps=7, batch_size=8))
    whole.learner.consolidate(lesson("a"))
    taught = whole.learner.lesson(lesson("b"), steps=12, batch_size=8)
    for _ in range(5):
        next(taught)
    weights, state = weights_of(whole.model), copy.deepcopy(whole.learner.state_dict())
    list(taught)
    again = Rig(classifier, adam=False)
    fresh = again.learner.state_dict()
    again.model.load_state_dict(weights)
    state = {k: v for k, v in state.items() if not k.startswith(part)}
    state |= {k: v for k, v in fresh.items() if k.startswith(part)}
    again.learner.load_state_dict(state)
    list(again.learner.lesson(lesson("b"), steps=12, batch_size=8, start_step=5))
    assert not same(weights_of(whole.model), again.model.state_dict())


def test_a_lesson_can_be_cancelled(classifier, lesson):
    model = classifier()
    learner = Learner(model, sgd(model), seed=0)
    for info in learner.lesson(lesson(), steps=100, batch_size=8):
        if info.step == 4:
            break
    assert (learner.state_dict()["lesson"], learner.state_dict()["step"]) == ("first", 5)


class Noise(nn.Module):
    """Fits noise drawn in the loss."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(5))

    def loss(self, batch: Batch, rng: torch.Generator) -> Tensor:
        return (self.mean - torch.randn(batch.x.shape, generator=rng)).square().mean(1)


def test_noise_in_the_loss_is_keyed_by_seed_lesson_and_step(lesson):
    def losses(seed: int, name: str, start: int = 0) -> list[float]:
        learner = Learner(model := Noise(), sgd(model, lr=0.0), seed=seed)
        taught = learner.lesson(lesson(name), steps=6, batch_size=4, start_step=start)
        return [info.loss for info in taught]

    whole = losses(0, "a")
    assert len(set(whole)) == 6
    assert losses(0, "a", start=3) == whole[3:]
    assert not set(losses(1, "a")) & set(whole)
    assert not set(losses(0, "b")) & set(whole)


def test_state_of_another_learner_is_refused(classifier, lesson):
    state = Rig(classifier, adam=False).learner.state_dict()
    with pytest.raises(RunError, match="guards"):
        Rig(classifier, adam=False, guarded=False).learner.load_state_dict(state)
    with pytest.raises(RunError, match="seed 4"):
        Rig(classifier, adam=False).learner.load_state_dict({**state, "seed": 4})


def test_refusals_travel(classifier, through_disk):
    learner = Learner(model := classifier(), sgd(model), seed=0)
    learner.step(Batch.of(torch.full((1, 5), torch.nan), 0))
    other = Learner(other_model := classifier(), sgd(other_model), seed=0)
    other.load_state_dict(through_disk(learner.state_dict()))
    assert isinstance(other.refusals[0], StepInfo)
    assert (other.refused_steps, other.refusals[0].refused) == (1, "the loss is nan")


def test_bad_use_is_named(classifier, lesson):
    model = classifier()
    with pytest.raises(ConfigError, match="Classifier"):
        Learner(model.net, sgd(model), seed=0)
    with pytest.raises(ConfigError, match="clip_norm"):
        Learner(model, sgd(model), seed=0, clip_norm=0.0)
    learner = Learner(model, sgd(model), seed=0)
    with pytest.raises(ConfigError, match="batch_size"):
        learner.lesson(lesson(), steps=3, batch_size=0)
    with pytest.raises(ConfigError, match="start_step=4"):
        learner.lesson(lesson(), steps=3, batch_size=1, start_step=4)
    with pytest.raises(DataError, match="no samples"):
        learner.lesson(lesson(x=torch.zeros(0, 5)), steps=3, batch_size=1)

    class Mean(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.ones(1))

        def loss(self, batch: Batch, rng: torch.Generator) -> Tensor:
            return (self.w * batch.x).mean()

    with pytest.raises(ShapeError, match="do not average"):
        Learner(mean := Mean(), sgd(mean), seed=0).step(Batch.of(torch.ones(3, 5), 0))
