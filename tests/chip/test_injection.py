"""Noise in training equals its formula, and is gone where it should be."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from clnf.chip.injection import Injection, inject
from clnf.core.errors import ConfigError
from clnf.devices.draws import hash_normals

NONE = {"weight": 0.0, "read": 0.0, "bits": 0, "clip": 0.0}


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(27, 4))


def linear(inputs: int, outputs: int) -> tuple[nn.Sequential, nn.Linear]:
    """One layer, and itself inside a module."""
    torch.manual_seed(0)
    leaf = nn.Linear(inputs, outputs)
    return nn.Sequential(leaf), leaf


def only(**amounts: float) -> Injection:
    return Injection(**{**NONE, **amounts})  # type: ignore[arg-type]


X = torch.rand(2, 1, 5, 5, generator=torch.Generator().manual_seed(1))


def test_weight_noise_is_that_of_noisy_weights_and_so_are_its_gradients() -> None:
    (one, leaf), x = linear(6, 3), torch.rand(5, 6, requires_grad=True)
    with inject(one, only(weight=0.1), seed=7):
        out = one(x)
    weight, bias = leaf.weight, leaf.bias
    noise = 0.1 * weight.detach().abs().max() * hash_normals(7, ("0", "weight", 1), (3, 6))
    brute = F.linear(x, weight + noise.detach(), bias)
    assert torch.allclose(out, brute, atol=1e-6)
    for wanted in (x, weight, bias):
        own, plain = (torch.autograd.grad(y.square().sum(), wanted, retain_graph=True)[0]
                      for y in (out, brute))  # fmt: skip
        assert torch.allclose(own, plain, atol=1e-5)


def test_read_noise_goes_with_the_root_of_the_power_driven() -> None:
    (one, leaf), x = linear(6, 3), torch.rand(20_000, 6)
    with inject(one, only(read=0.02), seed=1):
        strayed = (one(x) - F.linear(x, leaf.weight, leaf.bias)).detach()
    asked = 0.02 * float(leaf.weight.detach().abs().max()) * x.square().sum(1).sqrt()
    assert float((strayed / asked[:, None]).std()) == pytest.approx(1.0, rel=0.02)


def test_converters_round_to_their_codes_and_let_gradients_pass() -> None:
    (one, leaf), x = linear(6, 3), torch.rand(4, 6, requires_grad=True)
    with inject(one, only(bits=3), seed=1):
        out = one(x)
    assert len(torch.unique(out)) <= 7
    assert torch.allclose(torch.autograd.grad(out.sum(), x)[0], leaf.weight.sum(0).expand(4, 6))


def test_evaluation_and_removal_leave_the_module_alone() -> None:
    model = net()
    plain = model(X)
    with inject(model, seed=1) as noise:
        assert not torch.equal(model(X), plain)
        model.eval()
        clipped = model(X)
        assert noise.step == 1
    model.train()
    assert torch.equal(model(X), clipped)
    same = net()
    with inject(same, only(weight=0.1), seed=1):
        pass
    assert torch.equal(same(X), plain)


def test_draws_are_those_of_their_pass() -> None:
    model = net()
    with inject(model, only(weight=0.1), seed=1) as noise:
        first, second = model(X), model(X)
        noise.step = 0
        assert torch.equal(model(X), first)
        assert not torch.equal(first, second)


def test_weights_are_clipped_in_place() -> None:
    one, leaf = linear(50, 50)
    leaf.weight.data.normal_(generator=torch.Generator().manual_seed(1))
    most = 1.5 * float(leaf.weight.detach().square().mean().sqrt())
    with inject(one, only(clip=1.5), seed=1):
        one(torch.ones(1, 50))
    assert float(leaf.weight.detach().abs().max()) == pytest.approx(most)


def test_bad_input_gets_a_sentence() -> None:
    for amounts in ({"weight": -0.1}, {"bits": 1}, {"read": float("nan")}):
        with pytest.raises(ConfigError, match="got"):
            only(**amounts)
    with pytest.raises(ConfigError, match="no linear layer"):
        inject(nn.ReLU(), seed=1)
