"""Factors leave a module and come into another one unchanged."""

import pytest
import torch
from torch import nn

from clnf.continual.adapters import (
    Factors,
    LowRank,
    Stack,
    Switch,
    attach,
    attach_factors,
    attach_switched,
    factors_of,
)
from clnf.core.errors import ConfigError


def test_factors_travel_to_the_bit(net, images, stir):
    first, second = net(), net()
    attach(first, rank=2, scale=0.3)
    stir(first)
    assert attach_factors(second, factors_of(first)) == ["0", "2", "4"]
    assert torch.equal(first(images), second(images))
    assert isinstance(second[4], LowRank)
    assert not second[4].base.weight.requires_grad
    factors_of(first)["4"].up.zero_()  # a copy
    assert torch.equal(first(images), second(images))


def test_each_layer_may_have_its_own_rank(net, images):
    model = net()
    given = {
        "0": Factors(torch.ones(1, 3, 3, 3), torch.ones(8, 1, 1, 1), 1.0),
        "4": Factors(torch.ones(5, 96), torch.ones(10, 5), 2.0),
    }
    attach_factors(model, given)
    assert [factors_of(model)[name].rank for name in ("0", "4")] == [1, 5]
    assert not torch.allclose(model(images), net()(images))


def test_one_of_several_is_named(net, stir):
    model = net()
    attach_switched(model, Switch(["hands", "food"]), rank=2)
    stir(model)
    with pytest.raises(ConfigError, match="'hands', 'food'; which one is not said"):
        factors_of(model)
    with pytest.raises(ConfigError, match="none is 'x'"):
        factors_of(model, "x")
    hands, food = (factors_of(model, name) for name in ("hands", "food"))
    assert not torch.equal(hands["4"].up, food["4"].up)
    alone = net()
    stack = Stack(alone, rank=2)
    stack.add("only")
    assert set(factors_of(alone)) == {"0", "2", "4"}


def test_what_does_not_fit_is_named_and_nothing_attached(net):
    model, good = net(), Factors(torch.ones(1, 96), torch.ones(10, 1), 1.0)
    cases = {
        "no plain linear or convolution leaf named 9": {"4": good, "9": good},
        r"down of 0 has shape \[1, 96\], the layer needs \[1, 3, 3, 3\]": {
            "4": good,
            "0": Factors(torch.ones(1, 96), torch.ones(8, 1, 1, 1), 1.0),
        },
        r"up of 4 has nan at \[2, 0\]": {
            "4": Factors(good.down, good.up.clone().index_fill_(0, torch.tensor(2), torch.nan), 1.0)
        },
    }
    for sentence, given in cases.items():
        with pytest.raises(ConfigError, match=sentence):
            attach_factors(model, given)
        assert not any(isinstance(part, LowRank) for part in model)
        assert all(p.requires_grad for p in model.parameters())
    with pytest.raises(ConfigError, match="no adapters"):
        factors_of(nn.Sequential(nn.Linear(2, 2)))
