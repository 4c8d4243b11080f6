"""A lesson for one group leaves the answers of all others the same, bit for bit."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clnf.chip import Chip, ChipSpec, PulseRule, host
from clnf.chip.groups import Change, Groups, answers, compared
from clnf.core.errors import ConfigError, RunError

NAMES = ("geometry", "lighting", "audio")
X = torch.randn(16, 24, generator=torch.Generator().manual_seed(1))
Y = torch.randint(0, 5, (16,), generator=torch.Generator().manual_seed(2))


class Model(nn.Module):
    """A stored trunk and one head for each group."""

    def __init__(self, *, one_head: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.trunk = nn.Linear(24, 20)
        self.heads = nn.ModuleDict({name: nn.Linear(20, 5) for name in NAMES})
        self.one_head = one_head

    def forward(self, x: Tensor, name: str) -> Tensor:
        head = NAMES[0] if self.one_head else name
        out: Tensor = self.heads[head](torch.relu(self.trunk(x)))
        return out


def hosted(*, one_head: bool = False, **spec: Any) -> tuple[Model, Chip]:
    model = Model(one_head=one_head)
    model.trunk.requires_grad_(False)
    chip = host(
        model,
        assign=lambda name, leaf: "core" if name == "trunk" else "plastic",
        seed=3,
        spec=ChipSpec(pairs=1, tile_rows=16, tile_columns=16, **spec),
    )
    chip.program_core()
    return model, chip


def of(name: str) -> str | None:
    return name.removeprefix("heads.") if name.startswith("heads.") else None


def questions(model: Model) -> dict[str, Callable[[], Tensor]]:
    return {name: lambda name=name: model(X, name) for name in NAMES}  # type: ignore[misc]


def teach(model: Model, optimizer: torch.optim.Optimizer, name: str, steps: int = 4) -> None:
    """A lesson that also rehearses the other groups, with louder inputs than ever before."""
    for _ in range(steps):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(X, name), Y)
        for other in NAMES:
            loss = loss + F.cross_entropy(model(3.0 * X, other), Y)
        loss.backward()
        optimizer.step()


def changes(
    mode: str, *, gated: bool, one_head: bool = False, **spec: Any
) -> tuple[dict[str, Change], Model, Chip]:
    model, chip = hosted(one_head=one_head, **spec)
    rule = PulseRule(mode=mode)  # type: ignore[arg-type]
    optimizer = chip.optimizer(model.parameters(), lr=0.5, rule=rule)
    model(X, NAMES[0])  # the core's converters take their ranges
    before = answers(chip, questions(model))
    if gated:
        with Groups(chip, model, of).lesson(NAMES[0]):
            teach(model, optimizer, NAMES[0])
    else:
        teach(model, optimizer, NAMES[0])
    return compared(before, answers(chip, questions(model))), model, chip


@pytest.mark.parametrize("mode", ["mixed", "stochastic", "tiki_taka_2"])
def test_answers_of_other_groups_are_the_same_bit_for_bit(mode: str) -> None:
    found, _, _ = changes(mode, gated=True)
    assert found[NAMES[0]].changed > 0.9 * found[NAMES[0]].outputs
    for name in NAMES[1:]:
        assert found[name].outputs == 80
        assert (found[name].changed, found[name].largest) == (0, 0.0)


@pytest.mark.parametrize("mode", ["mixed", "stochastic", "tiki_taka_2"])
def test_without_gates_or_with_one_head_they_change(mode: str) -> None:
    for found, _, _ in (
        changes(mode, gated=False),
        changes(mode, gated=True, one_head=True),
    ):
        assert all(not found[name].identical for name in NAMES)
        assert all(found[name].largest > 0.01 for name in NAMES)


def test_neighbours_pulses_reach_past_a_gate_only_within_their_own_tile() -> None:
    found, _, _ = changes("mixed", gated=True, half_select=0.05)
    assert all(found[name].identical for name in NAMES[1:])


def test_measuring_leaves_the_chip_as_it_was() -> None:
    model, chip = hosted()
    model(X, NAMES[0])
    state = chip.state_dict()
    first, second = (answers(chip, questions(model)) for _ in range(2))
    assert all(change.identical for change in compared(first, second).values())
    for key, value in chip.state_dict().items():
        if key != "ledger":
            assert (
                torch.equal(value, state[key])
                if isinstance(value, Tensor)
                else (value == state[key])
            ), key
    noisy = model(X, NAMES[0]), model(X, NAMES[0])
    assert not torch.equal(*noisy)  # by itself every read draws anew


def test_a_group_opens_again_as_it_was() -> None:
    model, chip = hosted()
    groups = Groups(chip, model, of)
    assert groups.names == NAMES
    tile = chip.layers["heads.audio"].tiles[0]
    mask = (torch.rand(tile.shape, generator=torch.Generator().manual_seed(4)) > 0.5).float()
    tile.set_fence(mask)
    groups.open("lighting")
    assert not tile.fence.any()
    assert not chip.layers["heads.audio"].weight.requires_grad
    assert not model.heads["audio"].bias.requires_grad  # type: ignore[union-attr]
    assert chip.layers["heads.lighting"].weight.requires_grad
    assert not any(converter.tracking for converter in chip.layers["heads.audio"].adcs)
    groups.close()
    assert torch.equal(tile.fence.view(tile.shape), mask)
    assert all(p.requires_grad for p in model.heads.parameters())
    assert not any(p.requires_grad for p in model.trunk.parameters())
    assert all(converter.tracking for converter in chip.layers["heads.audio"].adcs)


def test_an_open_group_is_saved_and_goes_on() -> None:
    model, chip = hosted()
    groups = Groups(chip, model, of)
    mask = torch.zeros(5, 20)
    mask[0] = 1.0
    chip.set_fence("heads.audio", mask)
    groups.open("geometry")
    state, own = chip.state_dict(), groups.state_dict()
    other_model, other = hosted()
    again = Groups(other, other_model, of)
    other.load_state_dict(state)
    again.load_state_dict(own)
    assert again.opened == "geometry"
    assert not other_model.heads["audio"].weight.requires_grad  # type: ignore[union-attr]
    again.close()
    fences = torch.cat(
        [tile.fence.view(tile.shape) for tile in other.layers["heads.audio"].tiles], 1
    )
    assert torch.equal(fences, mask)


def test_bad_input_gets_a_sentence() -> None:
    model, chip = hosted()
    groups = Groups(chip, model, of)
    with pytest.raises(ConfigError, match="no group 'smell' learns; there are geometry"):
        groups.open("smell")
    groups.open("audio")
    with pytest.raises(RunError, match="close it before"):
        groups.open("geometry")
    with pytest.raises(ConfigError, match="no layer that learns"):
        Groups(chip, model, lambda name: None)
    with pytest.raises(ConfigError, match="no parameter is called nothing"):
        Groups(chip, model, of, free=("nothing",))
    with pytest.raises(ConfigError, match="same questions"):
        compared({"a": X}, {"b": X})
