"""Continual backprop's utility and replacement equal the algorithm written out by hand."""

import pytest
import torch
from torch import nn

from clnf.continual.classifier import Classifier
from clnf.continual.guards import ContinualBackprop, ContinualBackpropParams
from clnf.continual.learner import Learner
from clnf.core.errors import ConfigError, RunError
from clnf.core.protocols import Guard
from clnf.core.records import Batch

ETA = 0.9


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 10), nn.ReLU(), nn.Linear(10, 8), nn.Tanh(), nn.Linear(8, 3))


def guarded(net, optimizer=None, **params):
    return ContinualBackprop(
        [net[0], net[2], net[4]],
        [net[1], net[3]],
        ContinualBackpropParams(decay=ETA, **params),
        optimizer=optimizer,
        seed=0,
    )


def test_utility_equals_brute_force(net):
    guard = guarded(net, rate=0.0)
    utility, mean = torch.zeros(10), torch.zeros(10)
    for _ in range(4):
        x = torch.randn(6, 5)
        net(x)
        guard.constrain(0.1)
        h = torch.relu(net[0](x)).detach()
        for i in range(10):
            worth = h[:, i].abs().mean() * net[2].weight.detach()[:, i].abs().mean()
            utility[i] = ETA * utility[i] + (1 - ETA) * worth
            mean[i] = ETA * mean[i] + (1 - ETA) * h[:, i].mean()
    state = guard.state_dict()
    assert torch.allclose(state["utility.0"], utility, atol=1e-6)
    assert torch.allclose(state["mean.0"], mean, atol=1e-6)
    assert state["age.0"].tolist() == [4.0] * 10
    assert not torch.allclose(state["utility.0"], mean, atol=1e-3)


def test_the_next_layer_does_not_notice_on_average(net):
    """Replacement after one look: the running mean is the batch's own."""
    guard = guarded(net, rate=0.2, maturity=0)
    x = torch.randn(50, 5)
    net(x)
    before = net[2](torch.relu(net[0](x))).mean(0).detach()
    kept = net[2].bias.detach().clone()
    guard.constrain(0.1)
    assert guard.replaced == 3  # two of ten, one of eight
    rows = (guard.state_dict()["age.1"] > 0).nonzero().flatten()
    assert int((net[2].weight[rows] == 0).all(0).sum()) == 2
    after = net[2](torch.relu(net[0](x))).mean(0).detach()
    assert torch.allclose(after[rows], before[rows], atol=1e-5)
    with torch.no_grad():  # the negative control: without the hand-over it would
        net[2].bias.copy_(kept)
    assert not torch.allclose(net[2](torch.relu(net[0](x))).mean(0)[rows], before[rows], atol=1e-3)


def test_the_lowest_utility_goes_and_nothing_of_it_stays(net):
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    guard = guarded(net, optimizer, rate=0.2, maturity=3)
    learner = Learner(Classifier(net), optimizer, guards=[guard], seed=0)
    batch = Batch.of(torch.randn(20, 5), torch.randint(3, (20,)))
    for _ in range(3):
        learner.step(batch)
    assert guard.replaced == 0
    utility = guard.state_dict()["utility.0"]
    bias = net[0].bias.detach().clone()
    learner.step(batch)
    gone = torch.nonzero(guard.state_dict()["age.0"] == 0).flatten()
    assert len(gone) == 2
    assert set(gone.tolist()) <= set(torch.argsort(utility)[:4].tolist())
    assert bool((net[0].bias[gone] == 0).all())
    rows = torch.nonzero(guard.state_dict()["age.1"] > 0).flatten()  # others are new themselves
    assert bool((net[2].weight[rows][:, gone] == 0).all())
    assert bool((optimizer.state[net[0].weight]["exp_avg"][gone] == 0).all())
    assert bool((optimizer.state[net[2].weight]["exp_avg_sq"][:, gone] == 0).all())
    stay = torch.nonzero(guard.state_dict()["age.0"] > 0).flatten()
    assert bool((net[0].bias[stay] != bias[stay]).any())
    assert bool((optimizer.state[net[0].weight]["exp_avg"][stay] != 0).any())


def test_fractions_add_up(net):
    guard = guarded(net, rate=0.025, maturity=0)
    for _ in range(8):
        net(torch.randn(6, 5))
        guard.constrain(0.1)
    # 0.25 and 0.2 units a step over 8 steps.
    assert guard.replaced == 2 + 1


def test_a_pass_that_is_not_finite_tells_nothing(net):
    guard = guarded(net, rate=0.5, maturity=0)
    net(torch.full((4, 5), float("nan")))
    guard.constrain(0.1)
    assert guard.replaced == 0
    assert float(guard.state_dict()["age.0"].sum()) == 0


def test_contracts(net):
    guard = guarded(net)
    assert isinstance(guard, Guard)
    with pytest.raises(ConfigError):
        ContinualBackprop([net[0]], [], seed=0)
    with pytest.raises(ConfigError):
        ContinualBackpropParams(decay=1.0)
    with pytest.raises(RunError):
        guard.load_state_dict({"age.0": torch.zeros(3), "replaced": 0, "owed": []})
