"""Generative distillation: the student is held to what the teacher said on its own way."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from clnf.continual.guards.distil import Distillation, DistillationParams, Walking
from clnf.continual.learner import Learner
from clnf.core.errors import ConfigError, RunError
from clnf.core.protocols import Guard
from clnf.core.records import Batch, Experience
from faults.small_generator import euler_walk


class Spring(nn.Module):
    """A field that pulls to a place of each condition: v = s_c (a_c - x); its sampler is Euler's.

    It learns as flows do: x_t = (1 - t) n + t x, v -> x - n.
    """

    def __init__(self, conditions: int = 4) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.linspace(-1, 1, conditions)[:, None].repeat(1, 2))
        self.pull = nn.Parameter(torch.linspace(0.5, 1.5, conditions))
        self.shared = nn.Parameter(torch.zeros(2))

    def velocity(self, x: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        return self.pull[cond][:, None] * (self.place[cond] + self.shared - x) + 0 * t[:, None]

    def walk(
        self, cond: Tensor, *, noise: Tensor, steps: int, guidance: float
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        return euler_walk(self, cond, noise=noise, steps=steps, guidance=guidance)

    def loss(self, batch: Batch, rng: torch.Generator) -> Tensor:
        noise = torch.randn(batch.x.shape, generator=rng)
        t = torch.rand(len(batch), generator=rng)
        mixed = (1 - t[:, None]) * noise + t[:, None] * batch.x
        return (self.velocity(mixed, t, batch.cond) - (batch.x - noise)).square().mean(1)


class Points:
    """Samples about a place, of one condition."""

    def __init__(self, cond: int, at: float) -> None:
        self.cond, self.at = cond, at

    def __len__(self) -> int:
        return 20

    def take(self, index: Tensor) -> Batch:
        return Batch.of(self.at + 0.1 * torch.sin(index.float())[:, None].repeat(1, 2), self.cond)


def lesson_of(cond: int, at: float = 0.0) -> Experience:
    return Experience(name=f"c{cond}", concept=f"c{cond}", data=Points(cond, at))


def guard_of(model: Spring, **more: float) -> Distillation:
    params = DistillationParams(**({"samples": 5, "walks": 3, "steps": 2} | more))
    return Distillation(model, (2,), params, seed=7, also=(0,))


def test_contracts_and_silence_before_any_lesson() -> None:
    model = Spring()
    guard = guard_of(model)
    assert isinstance(guard, Guard)
    assert isinstance(model, Walking)
    batch = Points(1, 0.0).take(torch.arange(4))
    assert guard.mix(batch, torch.Generator()) is batch
    assert guard.penalty() is None


def test_the_penalty_is_the_distance_on_the_teachers_way() -> None:
    """Written out with Euler's steps for each condition, walk and point, in half precision."""
    model = Spring()
    guard = guard_of(model, strength=0.6, guidance=2.0)
    guard.consolidate(lesson_of(2))
    assert guard.known == [0, 2]
    points = guard.state_dict()
    with torch.no_grad():
        for cond in (0, 2):
            rows = points["point.cond"] == cond
            first, second = points["point.x"][rows].float().view(2, 3, 2)
            v = model.pull[cond] * (model.place[cond] - first)
            assert torch.allclose(points["point.v"][rows].float()[:3], v, atol=2e-3)
            assert torch.allclose(second, first + 2.0 * v / 2, atol=4e-3)
            assert points["point.t"][rows].tolist() == [0.0] * 3 + [0.5] * 3
    with torch.no_grad():  # the student moves on
        model.shared.add_(0.3)
    rng = torch.Generator().manual_seed(5)
    chosen = torch.randint(12, (5,), generator=rng.clone_state())
    guard.mix(Points(1, 0.0).take(torch.arange(4)), rng)
    wanted = 0.0
    for n in chosen.tolist():
        cond = int(points["point.cond"][n])
        said = model.pull[cond] * (model.place[cond] + 0.3 - points["point.x"][n].float())
        wanted += float((said.detach() - points["point.v"][n].float()).square().sum()) / (5 * 2)
    found = guard.penalty()
    assert found is not None
    assert found.item() == pytest.approx(0.6 * wanted, rel=1e-5)
    assert guard.penalty() is None  # a draw counts once


def test_walks_are_taken_anew_or_kept() -> None:
    for renew in (True, False):
        model = Spring()
        guard = guard_of(model, renew=renew)
        guard.consolidate(lesson_of(1))
        first = guard.state_dict()
        with torch.no_grad():
            model.shared.add_(0.5)
        guard.consolidate(lesson_of(2))
        later = guard.state_dict()
        assert guard.known == [0, 1, 2]
        before, after = (s["point.v"][s["point.cond"] == 1] for s in (first, later))
        assert torch.equal(before, after) is not renew
        guard.consolidate(lesson_of(1))  # taught again: another thing to hold now
        again = guard.state_dict()
        assert not torch.equal(again["point.v"][again["point.cond"] == 1], after)


def drift(strength: float) -> float:
    """How far the field of condition 1 moves while condition 2 is taught."""
    model = Spring()
    guard = guard_of(model, strength=strength, samples=16)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    learner = Learner(model, optimizer, guards=[guard], seed=0)
    learner.consolidate(lesson_of(1))
    x = torch.linspace(-1, 1, 10)[:, None].repeat(1, 2)
    ask = x, torch.full((10,), 0.5), torch.ones(10, dtype=torch.int64)
    with torch.no_grad():
        before = model.velocity(*ask)
        list(learner_lesson(learner))
        return float((model.velocity(*ask) - before).square().mean())


def learner_lesson(learner: Learner) -> Iterator[float]:
    with torch.enable_grad():
        for info in learner.lesson(lesson_of(2, at=2.0), steps=60, batch_size=8):
            yield info.loss


def test_it_keeps_the_field_of_what_was_known() -> None:
    free, held = drift(0.0), drift(5.0)
    assert free > 0.05  # without it the shared part goes with the new lesson
    assert held < 0.2 * free


def test_a_state_of_other_samples_is_refused() -> None:
    guard = guard_of(Spring())
    guard.consolidate(lesson_of(1))
    other = Distillation(Spring(), (3,), seed=0)
    with pytest.raises(RunError, match=r"shape \[2\], the model's have \[3\]"):
        other.load_state_dict(guard.state_dict())


@pytest.mark.parametrize(
    "bad", [{"strength": -1.0}, {"guidance": 0.0}, {"samples": 0}, {"walks": 0}, {"steps": 0}]
)
def test_bad_parameters_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(bad))):
        DistillationParams(**bad)  # type: ignore[arg-type]
