"""MAS measures what outputs hang on, sample by sample and without labels."""

import pytest
import torch
from torch import nn

from clnf.continual.classifier import Classifier
from clnf.continual.fisher import Fisher, FisherParams, output_sensitivity
from clnf.continual.guards import MAS, MASParams
from clnf.core.errors import ConfigError
from clnf.core.protocols import Guard
from clnf.core.records import Batch


def by_hand(model, batch, *, of_batch=False, squared=True):
    weights = dict(model.named_parameters())
    sums = {name: torch.zeros_like(p) for name, p in weights.items()}
    pieces = [batch.x] if of_batch else batch.x.split(1)
    for x in pieces:
        said = model(x)
        value = said.square().sum() if squared else said.norm(dim=1).sum()
        for (name, _), g in zip(
            weights.items(), torch.autograd.grad(value, list(weights.values())), strict=True
        ):
            sums[name] += g.abs()
    return {name: value / len(batch) for name, value in sums.items()}


@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_equals_brute_force(classifier, lesson, chunk):
    model = classifier()
    batch = lesson().data.take(torch.arange(20))
    found = output_sensitivity(
        model, batch, dict(model.named_parameters()), torch.Generator(), chunk=chunk
    )
    wanted = by_hand(model, batch)
    for name, value in found.items():
        assert torch.allclose(value, wanted[name], atol=1e-5)


@pytest.mark.parametrize("wrong", [{"of_batch": True}, {"squared": False}])
def test_the_known_mistakes_show(classifier, lesson, wrong):
    """Pitfall: the absolute value of a whole batch's gradient, or of the plain norm's."""
    model = classifier()
    batch = lesson().data.take(torch.arange(20))
    found = output_sensitivity(model, batch, dict(model.named_parameters()), torch.Generator())
    other = by_hand(model, batch, **wrong)
    assert any(not torch.allclose(found[n], other[n], atol=1e-3) for n in found)


def test_closed_form_of_a_linear_map():
    """For f = Wx: Omega(W_ci) = E|2 f_c x_i|."""
    model = Classifier(nn.Linear(4, 3, bias=False))
    x = torch.randn(50, 4)
    found = output_sensitivity(
        model, Batch.of(x, 0), dict(model.named_parameters()), torch.Generator()
    )
    wanted = (2 * model(x)[:, :, None] * x[:, None, :]).abs().mean(0)
    assert torch.allclose(found["net.weight"], wanted, atol=1e-5)


def test_labels_do_not_matter(classifier, lesson):
    model = classifier()
    x = torch.randn(10, 5)
    params = FisherParams(of="outputs", samples=10)
    one = Fisher(model, params=params, seed=0).measure(lesson("a", x, torch.zeros(10).long()))
    two = Fisher(model, params=params, seed=0).measure(lesson("a", x, torch.ones(10).long()))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_pull_is_the_gradient_of_its_penalty_without_a_half(classifier, lesson):
    model, strength = classifier(), 3.0
    measure = Fisher(model, params=FisherParams(of="outputs"), seed=0)
    guard = MAS(measure, MASParams(strength=strength, explicit=True))
    assert isinstance(guard, Guard)
    guard.consolidate(lesson())
    omega = {name: value.clone() for name, value in measure.measure(lesson()).items()}
    anchor = {name: p.detach().clone() for name, p in model.named_parameters()}
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p))
    sum(
        strength * (omega[name] * (p - anchor[name]) ** 2).sum()
        for name, p in model.named_parameters()
    ).backward()
    wanted = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    guard.constrain(0.1)
    for name, p in model.named_parameters():
        assert torch.allclose(p.grad, wanted[name], rtol=1e-4, atol=1e-5)


def test_a_fisher_of_the_loss_is_refused(classifier):
    with pytest.raises(ConfigError, match="outputs"):
        MAS(Fisher(classifier(), seed=0))
    with pytest.raises(ConfigError):
        MASParams(strength=float("nan"))
    with pytest.raises(ConfigError):
        FisherParams(of="inputs")
