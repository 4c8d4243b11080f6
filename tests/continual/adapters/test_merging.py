"""Merged, a module answers the same without adapters; undone, it is what it was to the bit."""

import pytest
import torch
from torch import nn

from clnf.chip import ChipSpec, host
from clnf.continual.adapters import (
    LowRank,
    Stack,
    Switch,
    adapter_parameters,
    attach,
    attach_switched,
    merge,
    settle,
)
from clnf.core.errors import ConfigError, RunError


def odd() -> nn.Sequential:
    """Every form of convolution that an adapter can have."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, stride=2),
        nn.Conv2d(8, 6, 1),
        nn.Conv2d(6, 4, (3, 2), padding="same", dilation=2, padding_mode="reflect"),
        nn.Flatten(),
        nn.Linear(64, 10),
    ).double()


def names(module: nn.Module) -> set[str]:
    return {n for n, p in module.named_modules() if isinstance(p, LowRank)}


def test_a_merged_module_answers_the_same_without_adapters(images, stir):
    model, x = odd(), images.double()
    attach(model, rank=2, scale=0.7)
    stir(model)
    before = model(x)
    merged = merge(model)
    assert merged.names == ("0", "1", "2", "4")
    assert not names(model)
    assert type(model[4]) is nn.Linear
    torch.testing.assert_close(model(x), before, rtol=1e-12, atol=1e-12)
    assert not torch.allclose(model(x), odd()(x))  # control: something was merged


def test_the_merged_weight_is_the_sum_written_out(stir):
    model = odd()
    attach(model, rank=2, scale=0.7)
    stir(model)
    part = model[2]
    wanted = part.base.weight.detach().clone()
    for o in range(4):
        for k in range(2):
            wanted[o] += 0.7 * part.up.weight[o, k, 0, 0].detach() * part.down.weight[k].detach()
    merge(model)
    torch.testing.assert_close(model[2].weight, wanted, rtol=1e-14, atol=1e-14)


def test_single_precision_is_rounded_once(net, stir):
    model = net()
    attach(model, rank=2)
    stir(model)
    part = model[4]
    exact = part.base.weight.double() + part.up.weight.double() @ part.down.weight.double()
    merge(model)
    assert torch.equal(model[4].weight, exact.float())


def test_undone_it_is_what_it_was_to_the_bit(net, images, stir):
    model = net()
    attach(model, rank=2)
    stir(model)
    parts, before = list(model), model(images)
    state = {k: v.clone() for k, v in model.state_dict().items()}
    merged = merge(model)
    merged.undo()
    assert all(a is b for a, b in zip(parts, model, strict=True))
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert torch.equal(model(images), before)
    with pytest.raises(RunError, match="undone before"):
        merged.undo()


@pytest.mark.parametrize("change", ["data", "layer", "adapter"])
def test_a_layer_changed_since_is_not_undone(net, stir, change):
    model = net()
    attach(model, rank=2)
    stir(model)
    merged = merge(model)
    if change == "data":
        model[4].weight.data[0, 0] += 1e-3
    elif change == "layer":
        model[4] = nn.Linear(96, 10)
    else:
        attach(model, rank=1, only=lambda name, _: name == "4")
    state = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(RunError, match="4 was changed since"):
        merged.undo()
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())


def test_a_stack_merges_as_loud_as_it_is_heard(net, images, stir):
    model = net()
    stack = Stack(model, rank=2, scale=0.5)
    for name in ("a", "b", "unheard"):
        stack.add(name)
    stir(model)
    stack.weigh("a", 2.0)
    stack.weigh("unheard", 0.0)
    before = model(images)
    merged = merge(model)
    torch.testing.assert_close(model(images), before, rtol=1e-5, atol=1e-5)
    merged.undo()
    assert torch.equal(model(images), before)
    stack.weigh("a", 1.0)
    stack.weigh("b", 0.0)
    alone = model(images)
    stack.weigh("a", 7.0)
    merge(model, "a")
    torch.testing.assert_close(model(images), alone, rtol=1e-5, atol=1e-5)


def test_a_switch_merges_one_concept(net, images, stir):
    model, switch = net(), Switch(["hands", "food"])
    attach_switched(model, switch, rank=2)
    stir(model)
    switch.choose(torch.ones(len(images), dtype=torch.int64))
    before = model(images)
    with pytest.raises(ConfigError, match="name one of hands, food"):
        merge(model)
    with pytest.raises(ConfigError, match="no group 'x'"):
        merge(model, "x")
    merge(model, "food")
    torch.testing.assert_close(model(images), before, rtol=1e-5, atol=1e-5)


def test_settled_adapters_start_anew_and_parameters_stay(net, images, stir):
    model = net()
    attach(model, rank=2)
    stir(model)
    before, parameters = model(images), adapter_parameters(model)
    settle(model, seed=1)
    torch.testing.assert_close(model(images), before, rtol=1e-5, atol=1e-5)
    assert names(model) == {"0", "2", "4"}
    now = adapter_parameters(model)
    assert all(now[name] is parameter for name, parameter in parameters.items())
    assert not any(bool(p.any()) for name, p in now.items() if ".up." in name)
    first = now["4.down.weight"].detach().clone()
    settle(model, seed=2)
    assert not torch.equal(first, now["4.down.weight"])
    settle(model, seed=1)
    assert torch.equal(first, now["4.down.weight"])


def test_a_shared_layer_is_merged_once():
    leaf = nn.Linear(4, 4)
    module = nn.ModuleDict({"a": leaf, "b": leaf})
    attach(module, rank=1)
    with torch.no_grad():
        module["a"].up.weight.fill_(1.0)
    x = torch.ones(1, 4)
    before = module["b"](x)
    merged = merge(module)
    assert merged.names == ("a", "b")
    assert module["a"] is module["b"] is leaf
    torch.testing.assert_close(leaf(x), before)
    merged.undo()
    assert torch.equal(module["b"](x), before)


def test_bad_use_changes_nothing(net, stir):
    model = net()
    with pytest.raises(ConfigError, match="no adapters"):
        merge(model)
    attach(model, rank=2)
    with pytest.raises(ConfigError, match="merge in the module holding it"):
        merge(model[4])
    with pytest.raises(ConfigError, match="none called 'x'"):
        merge(model, "x")
    stir(model)
    with torch.no_grad():
        model[4].up.weight.fill_(float("inf"))
    state = {k: v.clone() for k, v in model.state_dict().items()}
    for act in (merge, lambda module: settle(module, seed=0)):
        with pytest.raises(RunError, match="weight of 4"):
            act(model)
        assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    grouped = nn.Sequential(nn.Conv2d(4, 4, 3, groups=2))
    attach(grouped, rank=1)
    with pytest.raises(ConfigError, match="convolution with groups"):
        merge(grouped)
    stacked = net()
    Stack(stacked, rank=1).add("a")
    with pytest.raises(ConfigError, match="stack"):
        settle(stacked, seed=0)


def test_cells_are_merged_as_they_read_and_never_written(net, images):
    """A digital base takes what plastic cells hold; a base of cells is refused."""
    model = net()
    attach(model, rank=2)
    host(
        model,
        assign=lambda name, _: "plastic" if name.endswith((".down", ".up")) else None,
        seed=1,
        spec=ChipSpec(),
    )
    part = model[4]
    wanted = part.base.weight + part.up.weight @ part.down.weight
    merged = merge(model)
    torch.testing.assert_close(model[4].weight, wanted)
    merged.undo()
    assert model[4] is part
    with pytest.raises(ConfigError, match="adapter of 0 lies on a chip"):
        settle(model, seed=0)
    on_cells = net()
    attach(on_cells, rank=2)
    host(on_cells, assign=lambda *_: "plastic", seed=1, spec=ChipSpec())
    with pytest.raises(ConfigError, match="0 lies on a chip; merge before hosting"):
        merge(on_cells)
