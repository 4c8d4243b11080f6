"""Feature-matched replay: a stand-in GAN by hand, and a real one on sprites."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clnf.continual.guards.matched import Drawing, MatchedReplay, MatchedReplayParams
from clnf.continual.learner import Learner
from clnf.core.errors import ConfigError
from clnf.core.protocols import Guard
from clnf.core.records import Batch, Experience
from clnf.media.gan import GanModel, GanParams
from clnf.streams.worlds.sprites import Sprites


class Plain(nn.Module):
    """Draws a_c + b z and sees w x; losses are squares."""

    latent = 2

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor([[0.0, 1.0], [1.0, 2.0], [-1.0, 0.5]]))
        self.b = nn.Parameter(torch.tensor(0.5))
        self.w = nn.Parameter(torch.tensor([1.0, 3.0]))

    def draw(self, z: Tensor, cond: Tensor) -> Tensor:
        return self.a[cond] + self.b * z

    def features(self, x: Tensor) -> Tensor:
        return self.w * x

    def loss(self, batch: Batch, rng: torch.Generator) -> Tensor:
        return (batch.x - self.a[batch.cond]).square().sum(1)


def taught(cond: int) -> Experience:
    return Experience(name="a", concept="a", data=Still(cond))


class Still:
    """Ten zeros of one condition."""

    def __init__(self, cond: int) -> None:
        self.cond = cond

    def __len__(self) -> int:
        return 10

    def take(self, index: Tensor) -> Batch:
        return Batch.of(torch.zeros(len(index), 2), self.cond)


def test_contracts_and_silence_before_any_lesson() -> None:
    model = Plain()
    guard = MatchedReplay(model)
    assert isinstance(guard, Guard)
    assert isinstance(model, Drawing)
    assert isinstance(GanModel(GanParams(side=8, width=4)), Drawing)
    batch = Still(0).take(torch.arange(3))
    assert guard.mix(batch, torch.Generator()) is batch
    assert guard.penalty() is None


def test_old_drawings_join_as_real_and_features_are_held_by_hand() -> None:
    model = Plain()
    guard = MatchedReplay(model, MatchedReplayParams(samples=4, coefficient=0.5, strength=2.0))
    guard.consolidate(taught(2))
    with torch.no_grad():  # both networks move on
        model.a.add_(0.25)
        model.w.mul_(10.0)
    rng = torch.Generator().manual_seed(3)
    same = rng.clone_state()
    torch.randint(1, (4,), generator=same)
    z = torch.randn((4, 2), generator=same)
    mixed = guard.mix(Still(0).take(torch.arange(3)), rng)
    old = torch.tensor([-1.0, 0.5]) + 0.5 * z
    assert torch.allclose(mixed.x[3:], old)
    assert mixed.cond.tolist() == [0, 0, 0, 2, 2, 2, 2]
    assert mixed.weight.tolist() == [1.0] * 3 + [0.5] * 4
    # Drawn a quarter off, seen by the old judge, w = (1, 3): mean of 0.25^2 and 0.75^2, twice.
    found = guard.penalty()
    assert found is not None
    assert found.item() == pytest.approx(2.0 * (0.0625 + 0.5625) / 2, rel=1e-5)
    assert guard.penalty() is None


def test_only_the_drawing_network_feels_the_penalty() -> None:
    model = Plain()
    guard = MatchedReplay(model)
    guard.consolidate(taught(1))
    with torch.no_grad():
        model.a.add_(1.0)
    guard.mix(Still(0).take(torch.arange(3)), torch.Generator().manual_seed(0))
    penalty = guard.penalty()
    assert penalty is not None
    penalty.backward()  # type: ignore[no-untyped-call]
    assert model.w.grad is None
    assert model.a.grad is not None
    assert model.a.grad[1].abs().min() > 0
    assert bool((model.a.grad[[0, 2]] == 0).all())


class SmallSprites:
    """One shape of the procedural world in one colour: the middle, shrunk to 8 x 8."""

    def __init__(self, colour: str, shape: str, cond: int) -> None:
        limits = {"colour": [colour], "shape": [shape], "texture": ["plain"]}
        world = Sprites(96, seed=0, label="shape", limits=limits)
        self.x, self.cond = F.avg_pool2d(world.take(torch.arange(96)).x[:, :, 8:24, 8:24], 2), cond

    def __len__(self) -> int:
        return len(self.x)

    def take(self, index: Tensor) -> Batch:
        return Batch.of(self.x[index], self.cond)


DISCS = Experience(name="discs", concept="discs", data=SmallSprites("red", "disc", 1))
SQUARES = replace(DISCS, name="squares", data=SmallSprites("blue", "square", 2))


def redness(guarded: bool) -> tuple[float, float]:
    """Red over blue in drawings of discs, after their lesson and after that on blue squares."""
    torch.manual_seed(0)
    model = GanModel(GanParams(side=8, width=16, latent=8, concepts=3))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3, betas=(0.0, 0.99))
    guards = [MatchedReplay(model, MatchedReplayParams(samples=8))] if guarded else []
    learner = Learner(model, optimizer, guards=guards, seed=0)
    noise = torch.randn(48, 8, generator=torch.Generator().manual_seed(5))
    found = []
    for lesson in (DISCS, SQUARES):
        list(learner.lesson(lesson, steps=60, batch_size=8))
        learner.consolidate(lesson)
        drawn = next(model.sample(torch.ones(48, dtype=torch.int64), noise=noise))
        found.append(float((drawn[:, 0] - drawn[:, 2]).mean()))
    return found[0], found[1]


def test_a_gan_forgets_its_discs_without_it_and_keeps_them_with_it() -> None:
    first, plain = redness(guarded=False)
    _, held = redness(guarded=True)
    assert first > 0.5
    assert plain < 0.3 * first  # its discs turned blue
    assert held > 0.6 * first


@pytest.mark.parametrize("bad", [{"samples": 0}, {"coefficient": -1.0}, {"strength": -0.1}])
def test_bad_parameters_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="matched replay needs"):
        MatchedReplayParams(**bad)  # type: ignore[arg-type]
