"""A sample goes through its own group's adapter, and no other group's lesson changes it."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clnf.chip import Chip, ChipSpec, host
from clnf.chip.groups import Groups, answers, compared
from clnf.continual.adapters.switched import Switch, SwitchedLowRank, attach_switched
from clnf.core.errors import ConfigError, ShapeError

NAMES = ("hands", "food")


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 6, 3, padding=1), nn.SiLU(), nn.Flatten(), nn.Linear(96, 3))


def adapted() -> tuple[nn.Sequential, Switch]:
    model, switch = net(), Switch(NAMES)
    assert attach_switched(model, switch, rank=2, seed=1) == ["0", "3"]
    return model, switch


def test_attaching_changes_nothing_and_starts_differ() -> None:
    model, switch = adapted()
    x = torch.randn(5, 2, 4, 4)
    switch.choose(torch.tensor([0, 1, -1, 0, 1]))
    assert torch.equal(model(x), net()(x))
    first = model[0]
    assert isinstance(first, SwitchedLowRank)
    starts = [first.of[name].down.weight for name in NAMES]  # type: ignore[union-attr]
    assert not torch.equal(*starts)  # type: ignore[arg-type]


def test_each_sample_is_what_its_own_group_makes_of_it_alone() -> None:
    model, switch = adapted()
    for _, parameter in model.named_parameters():
        parameter.data.add_(0.1 * torch.randn(parameter.shape))
    x, at = torch.randn(7, 2, 4, 4), torch.tensor([0, 1, 1, -1, 0, 1, -1])
    switch.choose(at)
    together = model(x)
    for number in range(7):
        switch.choose(at[number : number + 1])
        alone = model(x[number : number + 1])
        assert torch.allclose(together[number : number + 1], alone, atol=1e-5)
    switch.choose(1 - at.clamp(min=0))
    assert not torch.allclose(model(x), together, atol=1e-2)


def test_a_condition_can_choose() -> None:
    class Asked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = net()

        def forward(self, x: Tensor, cond: Tensor) -> Tensor:
            out: Tensor = self.inner(x)
            return out

    model, switch = Asked(), Switch(NAMES)
    attach_switched(model, switch, rank=2)
    switch.follow(model, [-1, 1, 0], 1)
    model(torch.zeros(3, 2, 4, 4), torch.tensor([2, 0, 1]))
    assert switch.at is not None
    assert switch.at.tolist() == [0, -1, 1]


def hosted() -> tuple[nn.Sequential, Switch, Chip]:
    model, switch = adapted()
    chip = host(
        model,
        assign=lambda name, leaf: "plastic" if ".of." in name else "core",
        seed=3,
        spec=ChipSpec(pairs=1, tile_rows=64, tile_columns=64),
    )
    chip.program_core()
    return model, switch, chip


@pytest.mark.parametrize("gated", [True, False])
def test_on_a_chip_the_other_group_stays_bit_for_bit(gated: bool) -> None:
    model, switch, chip = hosted()
    x = torch.randn(8, 2, 4, 4, generator=torch.Generator().manual_seed(1))
    y = torch.arange(8) % 3
    optimizer = chip.optimizer(model.parameters(), lr=0.5)

    def ask(number: int) -> Tensor:
        switch.choose(torch.full((8,), number))
        out: Tensor = model(x)
        return out

    questions = {name: lambda n=n: ask(n) for n, name in enumerate(NAMES)}  # type: ignore[misc]
    ask(0)
    ask(1)
    before = answers(chip, questions)
    groups = Groups(chip, model, lambda name: name.split(".")[2] if ".of." in name else None)
    assert groups.names == NAMES
    if gated:
        groups.open("hands")
    for _ in range(6):  # half of each batch rehearses the other group
        optimizer.zero_grad()
        switch.choose(torch.arange(8) % 2)
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    groups.close()
    found = compared(before, answers(chip, questions))
    assert found["hands"].largest > 0.01
    assert found["food"].identical is gated


def test_bad_input_gets_a_sentence() -> None:
    model, switch = adapted()
    for names in ((), ("a", "a"), ("a.b",)):
        with pytest.raises(ConfigError, match="different names"):
            Switch(names)
    with pytest.raises(ConfigError, match="no group 'x'"):
        switch.number("x")
    with pytest.raises(ShapeError, match="from -1 to 1"):
        switch.choose(torch.tensor([2]))
    switch.choose(torch.tensor([0]))
    with pytest.raises(ShapeError, match="set for 1 samples and 2 came"):
        model(torch.zeros(2, 2, 4, 4))
    with pytest.raises(ConfigError, match="rank >= 1"):
        attach_switched(net(), switch, rank=0)
    with pytest.raises(ConfigError, match="chosen"):
        attach_switched(net(), switch, rank=1, only=lambda name, leaf: False)
