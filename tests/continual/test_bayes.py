"""MESU's update equals its two equations, and has the fixed point they say."""

import pytest
import torch
from torch import nn

from clnf.continual.bayes import MESU, BayesianClassifier, BayesianLinear
from clnf.continual.learner import Learner
from clnf.core.errors import ConfigError

N, PRIOR = 50.0, 0.2


def by_hand(mu, sigma, g, s, *, mean_first=False, prior_mu=0.0):
    """Both equations entry by entry, from the values of before."""
    means, sigmas = [], []
    rows = zip(*(v.double().flatten().tolist() for v in (mu, sigma, g, s)), strict=True)
    for m, d, gm, gd in rows:
        new = m - d**2 * gm + d**2 / (N * PRIOR**2) * (prior_mu - m)
        if mean_first:  # sigma from the mean's new variance: a wrong order
            d = d - d**2 / 2 * gd
        width = d - d**2 / 2 * gd + d / (2 * N * PRIOR**2) * (PRIOR**2 - d**2)
        means.append(new)
        sigmas.append(width)
    return torch.tensor(means).reshape(mu.shape), torch.tensor(sigmas).reshape(mu.shape)


@pytest.mark.parametrize("prior_mu", [0.0, 0.3])
def test_equals_brute_force(prior_mu):
    torch.manual_seed(0)
    mu, sigma = nn.Parameter(torch.randn(4, 3)), nn.Parameter(torch.rand(4, 3) * 0.2 + 0.05)
    optimizer = MESU([(mu, sigma)], memory=N, prior_sigma=PRIOR, prior_mu=prior_mu)
    for _ in range(5):
        mu.grad, sigma.grad = torch.randn(4, 3), torch.randn(4, 3)
        before = mu.detach().clone(), sigma.detach().clone(), mu.grad, sigma.grad
        optimizer.step()
        wanted = by_hand(*before, prior_mu=prior_mu)
        assert torch.allclose(mu, wanted[0].float(), atol=1e-6)
        assert torch.allclose(sigma, wanted[1].float(), atol=1e-6)
        wrong = by_hand(*before, prior_mu=prior_mu, mean_first=True)
        assert not torch.allclose(sigma, wrong[1].float(), atol=1e-5)


def test_gradients_are_those_of_the_sampled_weights(lesson):
    torch.manual_seed(0)
    model = BayesianClassifier(nn.Sequential(BayesianLinear(5, 3, sigma=0.1)), draws=4)
    batch = lesson().data.take(torch.arange(10))
    rng = torch.Generator().manual_seed(3)
    model.loss(batch, rng).mean().backward()
    layer = model.net[0]
    rng = torch.Generator().manual_seed(3)
    mean_grad, width_grad = torch.zeros(3, 5), torch.zeros(3, 5)
    for _ in range(4):
        eps = torch.randn(3, 5, generator=rng)
        shift = torch.randn(3, generator=rng)
        w = (layer.mu["weight"] + layer.sigma["weight"] * eps).detach().requires_grad_(True)
        b = (layer.mu["bias"] + layer.sigma["bias"] * shift).detach()
        loss = nn.functional.cross_entropy(batch.x @ w.T + b, batch.cond)
        (g,) = torch.autograd.grad(loss, w)
        mean_grad += g / 4
        width_grad += g * eps / 4
    assert torch.allclose(layer.mu["weight"].grad, mean_grad, atol=1e-6)
    assert torch.allclose(layer.sigma["weight"].grad, width_grad, atol=1e-6)
    assert not torch.allclose(width_grad, mean_grad, atol=1e-3)


def test_without_data_the_prior_comes_back_at_the_named_pace():
    mu, sigma = nn.Parameter(torch.tensor([1.0])), nn.Parameter(torch.tensor([PRIOR * 1.001]))
    optimizer = MESU([(mu, sigma)], memory=N, prior_sigma=PRIOR)
    mu.grad, sigma.grad = torch.zeros(1), torch.zeros(1)
    away = float(sigma.detach()) - PRIOR
    optimizer.step()
    pace = 1 - (PRIOR * 1.001) ** 2 / (N * PRIOR**2)
    assert float(mu.detach()) == pytest.approx(pace, rel=1e-5)
    assert (float(sigma.detach()) - PRIOR) / away == pytest.approx(1 - 1 / N, abs=2e-3)
    for _ in range(1000):
        mu.grad, sigma.grad = torch.zeros(1), torch.zeros(1)
        optimizer.step()
    assert float(mu.detach()) == pytest.approx(0, abs=1e-6)
    assert float(sigma.detach()) == pytest.approx(PRIOR, rel=1e-4)


def test_a_long_memory_ends_by_not_learning(lesson):
    """Pitfall: catastrophic remembering, N without end."""

    def width(memory):
        torch.manual_seed(0)
        model = BayesianClassifier(nn.Sequential(BayesianLinear(5, 3, sigma=0.1)))
        optimizer = MESU(model.pairs(), memory=memory, prior_sigma=0.1)
        learner = Learner(model, optimizer, seed=0)
        batch = lesson().data.take(torch.arange(40))
        for _ in range(1500):
            learner.step(batch)
        return float(model.net[0].sigma["weight"].detach().mean())

    assert width(1e12) < 0.8 * width(20.0)


def test_it_learns_and_answers_with_its_means(lesson):
    torch.manual_seed(0)
    net = nn.Sequential(
        BayesianLinear(5, 16, sigma=0.1), nn.ReLU(), BayesianLinear(16, 3, sigma=0.1)
    )
    model = BayesianClassifier(net, draws=2)
    x = torch.randn(60, 5)
    experience = lesson("a", x, x[:, :3].argmax(1))
    optimizer = MESU(model.pairs(), memory=1e4, prior_sigma=0.3)
    learner = Learner(model, optimizer, seed=0)
    losses = [info.loss for info in learner.lesson(experience, steps=900, batch_size=20)]
    assert sum(losses[-50:]) < 0.8 * sum(losses[:50])
    model.eval()
    assert torch.equal(model(x), model(x))
    assert float((model(x).argmax(1) == experience.data.cond).float().mean()) > 0.6


def test_bad_parameters_are_refused():
    pair = (nn.Parameter(torch.zeros(1)), nn.Parameter(torch.ones(1)))
    for bad in ({"memory": 0.0, "prior_sigma": 0.1}, {"memory": 1.0, "prior_sigma": 0.0}):
        with pytest.raises(ConfigError):
            MESU([pair], **bad)
    with pytest.raises(ConfigError):
        BayesianLinear(2, 2, sigma=0.0)
    with pytest.raises(ConfigError):
        BayesianClassifier(nn.Identity(), draws=0)
