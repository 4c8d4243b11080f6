"""SLDA equals its sample-by-sample recursion; GDumb learns from its memory alone."""

import pytest
import torch
from torch import nn

from clnf.continual.baselines.gdumb import GDumb
from clnf.continual.baselines.slda import SLDA
from clnf.continual.classifier import Classifier
from clnf.continual.memory import Balanced
from clnf.core.errors import ConfigError, DataError, RunError, ShapeError
from clnf.core.records import Batch


def recursion(z, cond, *, mean_first=False):
    """Hayes & Kanan's updates, one sample at a time."""
    means, counts = torch.zeros(3, 4).double(), [0, 0, 0]
    sigma = torch.zeros(4, 4).double()
    for n, (row, c) in enumerate(zip(z.double(), cond.tolist(), strict=True)):
        d = row - means[c]
        new = (counts[c] * means[c] + row) / (counts[c] + 1)
        if mean_first:
            d = row - new
        sigma = (n * sigma + n / (n + 1) * torch.outer(d, d)) / (n + 1)
        means[c], counts[c] = new, counts[c] + 1
    return means, sigma


@pytest.fixture
def stream():
    rng = torch.Generator().manual_seed(0)
    cond = torch.randint(3, (90,), generator=rng).sort().values[torch.randperm(90, generator=rng)]
    return torch.randn(90, 4, generator=rng) + 3 * torch.eye(3, 4)[cond], cond


@pytest.mark.parametrize("cut", [1, 7, 90])
def test_slda_equals_its_recursion_for_any_cut(stream, cut):
    z, cond = stream
    slda = SLDA(4, 3, shrinkage=0.01)
    for at in range(0, 90, cut):
        slda.learn(z[at : at + cut], cond[at : at + cut])
    means, sigma = recursion(z, cond)
    inverse = torch.linalg.inv(0.99 * sigma + 0.01 * torch.eye(4).double())
    wanted = z.double() @ inverse @ means.T - 0.5 * ((means @ inverse) * means).sum(1)
    assert torch.allclose(slda(z), wanted, atol=1e-8)
    other = recursion(z, cond, mean_first=True)[1]
    assert not torch.allclose(slda.state_dict()["scatter"] / 90, other, atol=1e-3)
    assert float((slda(z).argmax(1) == cond).double().mean()) > 0.9


def test_slda_resumes_and_shuts_classes_it_never_saw(stream):
    z, cond = stream
    one, two = SLDA(4, 3), SLDA(4, 3)
    one.learn(z[:40][cond[:40] < 2], cond[:40][cond[:40] < 2])
    assert bool((one(z)[:, 2] == -torch.inf).all())
    two.load_state_dict(one.state_dict())
    for slda in (one, two):
        slda.learn(z[40:], cond[40:])
    assert torch.equal(one(z), two(z))


def test_gdumb_learns_from_its_memory_alone(lesson):
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(300, 5, generator=rng)
    cond = x[:, :3].argmax(1)
    order = cond.argsort()  # class after class: the worst order there is

    def make():
        torch.manual_seed(1)
        model = Classifier(nn.Linear(5, 3))
        return model, torch.optim.SGD(model.parameters(), lr=0.5)

    gdumb = GDumb(Balanced(90, seed=0), make, seed=0)
    for at in order.split(10):
        gdumb.learn(Batch.of(x[at], cond[at]))
    model = gdumb.fit(passes=20, batch_size=10)
    assert float((model(x).argmax(1) == cond).float().mean()) > 0.85
    again = GDumb(Balanced(90, seed=0), make, seed=0)
    again.load_state_dict(gdumb.state_dict())
    assert torch.equal(again.fit(passes=20, batch_size=10)(x), model(x))
    # The negative control: a memory that saw the first class only.
    poor = GDumb(Balanced(90, seed=0), make, seed=0)
    poor.learn(Batch.of(x[cond == 0], 0))
    assert float((poor.fit(passes=20, batch_size=10)(x).argmax(1) == cond).float().mean()) < 0.5


def test_bad_use_is_named():
    with pytest.raises(ConfigError):
        SLDA(0, 3)
    with pytest.raises(RunError):
        SLDA(4, 3)(torch.zeros(1, 4))
    with pytest.raises(ShapeError):
        SLDA(4, 3).learn(torch.zeros(2, 5), torch.zeros(2).long())
    with pytest.raises(ShapeError):
        SLDA(4, 3).learn(torch.zeros(2, 4), torch.full((2,), 3))
    empty = GDumb(Balanced(3, seed=0), lambda: pytest.fail("not made"), seed=0)
    with pytest.raises(DataError):
        empty.fit(passes=1, batch_size=1)
    with pytest.raises(ConfigError):
        empty.fit(passes=0, batch_size=1)
