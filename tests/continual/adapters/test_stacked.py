"""Adapters of a stack add up, one learns, and what is frozen stays to the bit."""

import copy

import pytest
import torch
from torch import nn

from clnf.chip import ChipSpec, host
from clnf.continual.adapters import Stack, adapter_parameters, attach, factors_of, merge
from clnf.core.errors import ConfigError, RunError


def test_the_answer_is_the_base_plus_the_weighted_sum(net, images, stir):
    model, plain = net(), net()
    stack = Stack(model, rank=2, scale=0.5, only=lambda name, _: name == "4")
    stack.add("a")
    stack.add("b")
    assert torch.equal(model(images), plain(images))
    stir(model)
    stack.weigh("a", 2.0)
    stack.weigh("b", -1.0)
    x = plain[:4](images)
    a, b = (factors_of(model, name)["4"] for name in ("a", "b"))
    expected = plain(images)
    expected = expected + 0.5 * 2.0 * (x @ a.down.T @ a.up.T) - 0.5 * (x @ b.down.T @ b.up.T)
    torch.testing.assert_close(model(images), expected)
    stack.weigh("a", 0.0)
    assert not torch.allclose(model(images), expected)


def test_one_alone_answers_as_a_plain_adapter(net, images, stir):
    stacked, single = net(), net()
    stack = Stack(stacked, rank=2)
    stack.add("a")
    attach(single, rank=2)
    stir(stacked)
    stir(single)
    assert torch.equal(stacked(images), single(images))


def test_only_the_one_that_learns_moves(net, images):
    model = net()
    stack = Stack(model, rank=2, seed=3)
    for name in ("a", "b"):
        stack.add(name)
        before = {n: p.detach().clone() for n, p in model.named_parameters()}
        optimizer = torch.optim.SGD(stack.parameters(), lr=0.1)
        for _ in range(2):
            optimizer.zero_grad()
            model(images).square().mean().backward()
            optimizer.step()
        moved = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
        assert moved == {n for n in adapter_parameters(model) if f".of.{name}." in n}
    assert {n for n, p in model.named_parameters() if p.requires_grad} == moved
    stack.learn("a")
    assert all(p.requires_grad for p in stack.parameters("a"))
    assert not any(p.requires_grad for p in stack.parameters("b"))


def test_starts_differ_by_name_and_repeat_by_seed(net):
    starts = []
    for seed in (0, 0, 1):
        model = net()
        stack = Stack(model, rank=2, seed=seed)
        stack.add("a")
        stack.add("b")
        starts.append([factors_of(model, name)["4"].down for name in ("a", "b")])
    assert torch.equal(starts[0][0], starts[1][0])
    assert not torch.equal(starts[0][0], starts[0][1])
    assert not torch.equal(starts[0][0], starts[2][0])


def test_what_was_learned_elsewhere_joins_frozen(net, images, stir):
    teacher, model = net(), net()
    attach(teacher, rank=3, scale=2.0)
    stir(teacher)
    stack = Stack(model, rank=2)
    stack.add("given", factors_of(teacher))
    assert stack.learning is None
    assert torch.equal(model(images), teacher(images))
    stack.add("own")
    assert torch.equal(model(images), teacher(images))
    assert not any(p.requires_grad for p in stack.parameters("given"))
    stack.drop("given")
    assert torch.equal(model(images), net()(images))
    assert stack.names == ("own",)


def test_factors_of_some_layers_only(net, images, stir):
    teacher, model = net(), net()
    attach(teacher, rank=3, only=lambda name, _: name == "4")
    stir(teacher)
    stack = Stack(model, rank=2)
    stack.add("given", factors_of(teacher))
    torch.testing.assert_close(model(images), teacher(images))


def test_state_travels_with_the_modules(net, images, stir, through_disk):
    first, second = net(), net()
    stacks = [Stack(module, rank=2) for module in (first, second)]
    for stack in stacks:
        stack.add("a")
        stack.add("b")
    stir(first)
    stacks[0].weigh("a", 1 / 3)
    stacks[0].learn("a")
    second.load_state_dict(first.state_dict())
    stacks[1].load_state_dict(through_disk(stacks[0].state_dict()))
    assert torch.equal(first(images), second(images))
    assert stacks[1].learning == "a"
    stacks[1].add("c")
    with pytest.raises(RunError, match="saved with a, b, it has a, b, c"):
        stacks[1].load_state_dict(stacks[0].state_dict())


def test_a_copy_of_the_model_keeps_its_own_weights(net, images, stir):
    model = net()
    stack = Stack(model, rank=2)
    stack.add("a")
    stir(model)
    twin = copy.deepcopy(model)
    before = model(images)
    stack.weigh("a", 0.0)
    assert torch.equal(twin(images), before)
    assert not torch.equal(model(images), before)


def test_a_shared_leaf_has_one_stack():
    leaf = nn.Linear(4, 4)
    module = nn.ModuleDict({"a": leaf, "b": leaf})
    stack = Stack(module, rank=1)
    stack.add("x")
    assert module["a"] is module["b"]
    assert stack.layers == ("a",)
    assert len(stack.parameters()) == 2


def test_on_a_chip_the_frozen_ones_get_no_pulse(net, images):
    model = net()
    stack = Stack(model, rank=2)
    for name in ("a", "b"):
        stack.add(name)
    chip = host(
        model,
        assign=lambda name, _: "plastic" if ".of." in name else "core",
        seed=3,
        spec=ChipSpec(pairs=1, tile_rows=64, tile_columns=64),
    )
    chip.program_core()
    optimizer = chip.optimizer(model.parameters(), lr=0.5)
    for name, other in (("a", "b"), ("b", "a")):
        stack.learn(name)
        worn = {tile: cells.wear.clone() for tile, cells in chip.tiles.items()}
        optimizer.zero_grad()
        model(images).square().mean().backward()
        optimizer.step()
        pulsed = {t for t, cells in chip.tiles.items() if not torch.equal(cells.wear, worn[t])}
        assert pulsed
        assert all(f".of.{name}." in tile for tile in pulsed)
        assert not any(f".of.{other}." in tile for tile in pulsed)
    with pytest.raises(ConfigError, match="lies on a chip"):
        stack.add("c")


def test_bad_use_gets_a_sentence(net, stir):
    model = net()
    stack = Stack(model, rank=2)
    with pytest.raises(ConfigError, match="no adapter ''; there are none"):
        stack.parameters()
    stack.add("a")
    for name in ("", "a", "b.c"):
        with pytest.raises(ConfigError, match="a name of its own"):
            stack.add(name)
    with pytest.raises(ConfigError, match="no adapter 'x'"):
        stack.learn("x")
    with pytest.raises(ConfigError, match="finite"):
        stack.weigh("a", float("nan"))
    with pytest.raises(ConfigError, match="rank >= 1"):
        Stack(net(), rank=0)
    with pytest.raises(ConfigError, match="chosen"):
        Stack(net(), rank=1, only=lambda *_: False)
    other = nn.Sequential(nn.Linear(4, 4))
    attach(other, rank=2)
    with pytest.raises(ConfigError, match="shape"):
        stack.add("b", {"4": factors_of(other)["0"]})
    with pytest.raises(ConfigError, match="where the stack has no layer"):
        stack.add("b", factors_of(other) | {"9": factors_of(other)["0"]})
    merged = merge(model)
    with pytest.raises(ConfigError, match="0 was merged or replaced"):
        stack.add("b")
    merged.undo()
    stack.add("b")
    assert stack.names == ("a", "b")
