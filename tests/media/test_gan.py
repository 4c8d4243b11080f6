"""A GAN's two games in one loss: each network's gradient is that of its own game."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from clnf.continual.learner import Learner
from clnf.core.errors import ConfigError, ShapeError
from clnf.core.protocols import Learnable
from clnf.core.records import Batch, Experience
from clnf.core.rng import torch_rng
from clnf.media.gan import GanModel, GanParams
from clnf.streams.worlds.sprites import Sprites

SMALL = GanParams(side=8, width=8, latent=4, concepts=3, gamma=0.7)


def model_of(params: GanParams = SMALL) -> GanModel:
    torch.manual_seed(0)
    model = GanModel(params)
    torch.nn.init.normal_(model.discriminator.concept.weight, std=0.1)
    return model


def batch_of(size: int = 3) -> Batch:
    x = torch.randn(size, 3, 8, 8, generator=torch_rng(1, "x")).clamp(-1, 1)
    return Batch.of(x, torch.arange(size) % 3)


def softplus(value: Tensor) -> Tensor:
    return torch.log1p(value.exp())


def games(model: GanModel, batch: Batch) -> tuple[Tensor, Tensor]:
    """Both games written out, sample by sample: the judge's and the drawer's."""
    z = torch.randn(len(batch), 4, generator=torch_rng(2, "z"))
    judge, drawer = [], []
    for n in range(len(batch)):
        x, c = batch.x[n : n + 1].clone().requires_grad_(), batch.cond[n : n + 1]
        drawn = model.generator(z[n : n + 1], c)
        real = model.discriminator(x, c)
        (slope,) = torch.autograd.grad(real.sum(), x, create_graph=True)
        fake = model.discriminator(drawn.detach(), c)
        judge.append(softplus(-real) + softplus(fake) + 0.5 * 0.7 * slope.square().sum())
        drawer.append(softplus(-model.discriminator(drawn, c)))
    return torch.cat(judge), torch.cat(drawer)


def test_the_loss_is_both_games_and_each_network_gets_the_gradient_of_its_own() -> None:
    model, batch = model_of(), batch_of()
    loss = model.loss(batch, torch_rng(2, "z"))
    judge, drawer = games(model, batch)
    assert torch.allclose(loss, judge + drawer, atol=1e-5)
    loss.sum().backward()  # type: ignore[no-untyped-call]
    judges, drawers = list(model.discriminator.parameters()), list(model.generator.parameters())
    for parameters, own in ((judges, judge), (drawers, drawer)):
        for p, wanted in zip(parameters, torch.autograd.grad(own.sum(), parameters), strict=True):
            assert p.grad is not None
            assert torch.allclose(p.grad, wanted, atol=1e-5)
    # Were the two not kept apart, the judge would also get the drawer's gradient.
    both = torch.autograd.grad(sum(map(torch.sum, games(model, batch))), judges[0])
    assert judges[0].grad is not None
    assert not torch.allclose(judges[0].grad, both[0], atol=1e-3)


def test_its_value_is_the_same_where_nothing_is_learned_and_depends_on_no_neighbour() -> None:
    model, batch = model_of(), batch_of()
    loss = model.loss(batch, torch_rng(2, "z"))
    with torch.no_grad():
        still = model.loss(batch, torch_rng(2, "z"))
        one = model.loss(batch.select(torch.tensor([0])), torch_rng(2, "z"))
    assert torch.equal(still, loss)
    assert not still.requires_grad
    assert one[0].item() == pytest.approx(loss[0].item(), rel=1e-5)
    assert isinstance(model, Learnable)


def test_a_sample_is_drawn_once_and_where_its_noise_was(far: torch.device) -> None:
    noise, cond = torch.randn(2, 4), torch.tensor([1, 2])
    model = model_of()
    (drawn,) = model.sample(cond, noise=noise, steps=3, guidance=2.0)
    assert torch.equal(drawn, model.generator(noise, cond))
    assert float(drawn.abs().max()) <= 1
    model.to(far)
    (there,) = model.sample(cond, noise=noise)
    assert there.device == noise.device
    assert model.loss(batch_of(), torch_rng(2, "z")).device == model.device


@pytest.mark.parametrize("bad", [{"side": 4}, {"side": 24}, {"width": 0}, {"gamma": -1.0}])
def test_impossible_sizes_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(bad))):
        GanParams(**bad)  # type: ignore[arg-type]


def test_latent_numbers_of_another_shape_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"\[2, 4\], got shape \[2, 5\]"):
        model_of().draw(torch.zeros(2, 5), torch.tensor([0, 1]))


class SmallSprites:
    """Red discs of the procedural world: the middle, shrunk to 8 x 8."""

    def __init__(self) -> None:
        limits = {"colour": ["red"], "shape": ["disc"], "texture": ["plain"]}
        world = Sprites(96, seed=0, label="shape", limits=limits)
        self.x = F.avg_pool2d(world.take(torch.arange(96)).x[:, :, 8:24, 8:24], 2)

    def __len__(self) -> int:
        return len(self.x)

    def take(self, index: Tensor) -> Batch:
        return Batch.of(self.x[index], 1)


def test_it_learns_sprites() -> None:
    data = SmallSprites()
    model = model_of(GanParams(side=8, width=16, latent=8, concepts=2))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3, betas=(0.0, 0.99))
    learner = Learner(model, optimizer, seed=0)
    noise = torch.randn(48, 8, generator=torch_rng(3, "z"))

    def red_over_blue() -> float:
        drawn = next(model.sample(torch.ones(48, dtype=torch.int64), noise=noise))
        return float((drawn[:, 0] - drawn[:, 2]).mean())

    wanted = float((data.x[:, 0] - data.x[:, 2]).mean())
    assert abs(red_over_blue()) < 0.2 * wanted
    lesson = Experience(name="discs", concept="discs", data=data)
    assert not any(info.refused for info in learner.lesson(lesson, steps=60, batch_size=8))
    assert red_over_blue() > 0.5 * wanted
