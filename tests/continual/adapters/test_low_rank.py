"""Adapters change nothing until they learn, and only they learn."""

import pytest
import torch
from torch import nn

from clnf.continual.adapters import (
    LowRank,
    adapter_parameters,
    adapter_state,
    attach,
    load_adapter_state,
    scaling,
)
from clnf.core.errors import ConfigError, RunError


@pytest.fixture
def net():
    def build() -> nn.Sequential:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return nn.Sequential(
                nn.Conv2d(3, 8, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(8, 6, 1, bias=False),
                nn.Conv2d(6, 4, 3, stride=2, padding=2, dilation=2, padding_mode="reflect"),
                nn.Flatten(),
                nn.Linear(64, 10),
            )

    return build


@pytest.fixture
def images():
    return torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def stir(module: nn.Module) -> None:
    """Give every ``up`` a value, as learning would."""
    with torch.no_grad():
        for i, parameter in enumerate(adapter_parameters(module).values()):
            parameter.add_(0.1 * (i + 1))


def test_attaching_changes_no_output(net, images):
    plain, adapted = net(), net()
    assert attach(adapted, rank=2, scale=3.0) == ["0", "2", "3", "5"]
    assert torch.equal(adapted(images), plain(images))
    stir(adapted)  # control
    assert not torch.allclose(adapted(images), plain(images))


@pytest.mark.parametrize("index", [0, 2, 3])
def test_output_is_base_plus_scaled_change(net, index):
    adapted = net()
    attach(adapted, rank=2, scale=0.5)
    stir(adapted)
    layer = adapted[index]
    x = torch.randn(2, layer.base.in_channels, 8, 8)
    torch.testing.assert_close(layer(x), layer.base(x) + 0.5 * layer.up(layer.down(x)))


def test_parts_are_ordinary_leaves_of_the_stated_form(net):
    adapted = net()
    attach(adapted, rank=2)
    layer = adapted[3]
    assert type(layer.down) is nn.Conv2d
    assert (layer.down.kernel_size, layer.down.stride, layer.down.padding) == (
        (3, 3),
        (2, 2),
        (2, 2),
    )
    assert layer.up.kernel_size == (1, 1)
    assert (layer.down.weight.shape[0], layer.up.weight.shape[1]) == (2, 2)
    assert type(adapted[5].up) is nn.Linear
    assert not bool(layer.up.weight.any())
    assert bool(layer.down.weight.any())


def test_only_adapters_learn(net, images):
    adapted = net()
    attach(adapted, rank=2)
    stir(adapted)
    names = set(adapter_parameters(adapted))
    assert {name for name, p in adapted.named_parameters() if p.requires_grad} == names
    adapted(images).square().mean().backward()
    for name, parameter in adapted.named_parameters():
        assert (parameter.grad is not None) == (name in names)


def test_only_takes_name_and_leaf(net):
    adapted = net()
    names = attach(adapted, rank=1, only=lambda name, leaf: name != "0" and leaf.bias is not None)
    assert names == ["3", "5"]
    assert all(p.requires_grad for p in adapted[0].parameters())


def test_existing_adapters_are_left_alone(net):
    adapted = net()
    attach(adapted, rank=1, only=lambda name, _: name == "0")
    assert attach(adapted, rank=1) == ["2", "3", "5"]
    with pytest.raises(ConfigError, match="no linear or convolution"):
        attach(adapted, rank=1)


def test_a_shared_leaf_keeps_one_adapter():
    leaf = nn.Linear(4, 4)
    module = nn.ModuleDict({"a": leaf, "b": leaf})
    assert attach(module, rank=1) == ["a", "b"]
    assert module["a"] is module["b"]
    assert isinstance(module["a"], LowRank)


def test_start_depends_on_the_seed_and_not_on_the_global_generator(net):
    states = []
    for noise, seed in ((1, 0), (2, 0), (1, 5)):
        adapted = net()
        torch.manual_seed(noise)
        before = torch.get_rng_state()
        attach(adapted, rank=2, seed=seed)
        assert torch.equal(before, torch.get_rng_state())
        states.append(adapter_state(adapted))
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not torch.equal(states[0]["0.down.weight"], states[2]["0.down.weight"])


def test_state_travels(net, images, through_disk):
    first, second = net(), net()
    for adapted in (first, second):
        attach(adapted, rank=2)
    stir(first)
    state = through_disk(adapter_state(first))
    assert set(state) == {f"{i}.{side}.weight" for i in "0235" for side in ("down", "up")}
    load_adapter_state(second, state)
    assert torch.equal(first(images), second(images))
    state["0.down.weight"].zero_()  # a copy, not the weight itself
    assert torch.equal(first(images), second(images))


def test_a_state_that_does_not_fit_writes_nothing(net):
    adapted, wider, fewer = net(), net(), net()
    attach(adapted, rank=2)
    attach(wider, rank=3)
    attach(fewer, rank=2, only=lambda name, _: name == "0")
    before = adapter_state(adapted)
    for state in (adapter_state(wider), adapter_state(fewer)):
        with pytest.raises(RunError):
            load_adapter_state(adapted, state)
    assert all(torch.equal(before[n], v) for n, v in adapter_state(adapted).items())


def test_stabilised_scales_keep_the_answers_size_as_the_rank_grows():
    """rsLoRA, theorem 3.2: with factors of one size the change is of one size at any rank."""
    rng, sizes = torch.Generator().manual_seed(0), {}
    for stabilised in (True, False):
        for rank in (4, 256):
            up, down = (torch.randn(200, rank, generator=rng) for _ in range(2))
            change = scaling(1.0, rank, stabilised=stabilised) * up @ down.T
            sizes[stabilised, rank] = float(change.std())
    assert sizes[True, 256] == pytest.approx(sizes[True, 4], rel=0.1)
    assert sizes[False, 256] == pytest.approx(sizes[False, 4] / 8, rel=0.1)  # the plain scale
    with pytest.raises(ConfigError, match="rank >= 1"):
        scaling(1.0, 0)


def test_type_of_the_base_is_kept():
    module = nn.Sequential(nn.Linear(4, 4).double())
    attach(module, rank=1)
    assert module(torch.zeros(1, 4, dtype=torch.float64)).dtype == torch.float64


def test_bad_use_is_named():
    with pytest.raises(ConfigError, match="rank"):
        attach(nn.Sequential(nn.Linear(2, 2)), rank=0)
    for rank, scale in ((1.5, 1.0), (True, 1.0), (1, float("nan")), (1, "2")):
        with pytest.raises(ConfigError, match="finite scale"):
            attach(nn.Sequential(nn.Linear(2, 2)), rank=rank, scale=scale)
    with pytest.raises(ConfigError, match="module holding it"):
        attach(nn.Linear(2, 2), rank=1)
