"""Tiles change places with all that is theirs; a busy group outlives its own cells."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from clnf.chip import Chip, ChipSpec, host
from clnf.chip.crossbar.array import Crossbar
from clnf.chip.levelling_homes import Homes
from clnf.core.errors import ConfigError
from clnf.devices.materials import material

ROWS, COLUMNS, NAMES = 20, 6, ("a", "b", "c", "d")


def hosted(seed: int = 5, cycles: float | None = 20_000.0, **spec: Any) -> Chip:
    torch.manual_seed(0)
    net = nn.ModuleDict({name: nn.Linear(ROWS, COLUMNS, bias=False) for name in NAMES})
    net["other"] = nn.Linear(9, 3, bias=False)
    row = material("hfo2_array_optimised").supply(dead_fraction=0.0)
    row = row if cycles is None else row.supply(endurance_cycles=cycles)
    kind = ChipSpec(plastic=row, pairs=1, relatives=cycles is not None, read_noise="off", **spec)
    return host(net, assign=lambda name, leaf: "plastic", seed=seed, spec=kind)


def tile(chip: Chip, name: str) -> Crossbar:
    return chip.layers[name].tiles[0]


def full(name: str) -> str:
    return f"{name}[0:{ROWS},0:{COLUMNS}]"


def cells(one: Crossbar) -> list[Tensor]:
    return [one.hidden.clone(), one.wear.clone(), *(table.clone() for table in one.tables)]


def same(a: list[Tensor], b: list[Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def teach(chip: Chip, name: str, pulses: int) -> None:
    chip.ledger.lesson = "lesson"
    for sign in (1, -1):
        train = torch.full((COLUMNS, ROWS), float(sign * pulses))
        chip.bill.pulses(tile(chip, name), *tile(chip, name).pulse(train, plane=0))
    chip.layers[name].refresh()


def off(chip: Chip, name: str, weights: Tensor) -> float:
    """Root-mean-square change of a layer's weights over their full scale."""
    apart = (chip.layers[name].weight.detach() - weights).square().mean().sqrt()
    return float(apart / tile(chip, name).scale[0])


def test_what_belongs_to_cells_goes_along_and_weights_are_written_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chip = hosted()
    homes = Homes(chip)
    teach(chip, "a", 300)
    for name in "ab":
        layer, rng = chip.layers[name], torch.Generator().manual_seed(ord(name))
        layer.weight.data = (torch.rand(COLUMNS, ROWS, generator=rng) - 0.5) * tile(
            chip, name
        ).scale[0]
    chip.program_plastic()
    a, b = cells(tile(chip, "a")), cells(tile(chip, "b"))
    weights = {name: chip.layers[name].weight.detach().clone() for name in "abc"}
    with monkeypatch.context() as patch:
        patch.setattr("clnf.chip.levelling_homes.rewrite", lambda *_: 0)
        homes.relocate(full("a"), full("b"))
        assert same(cells(tile(chip, "a")), b)
        assert same(cells(tile(chip, "b")), a)
        assert off(chip, "a", weights["a"]) > 0.3
        homes.relocate(full("a"), full("b"))
    assert same(cells(tile(chip, "a")), a)
    assert homes.home(full("a")) == full("a")
    done = homes.relocate(full("a"), full("b"))
    assert (done.home, done.other) == (full("b"), full("b"))
    assert homes.home(full("b")) == full("a")
    assert done.gained > 250
    assert done.pulses == chip.ledger.total(op="move").count > 0
    # A pulse of these cells moves a weight by a tenth of its range, and so far off it may stay.
    assert max(off(chip, name, weights[name]) for name in "ab") < 0.17
    assert off(chip, "c", weights["c"]) == 0.0
    assert int(tile(chip, "a").wear.sum()) < int(tile(chip, "b").wear.sum())


def test_a_fresh_tile_takes_a_busy_adapter() -> None:
    chip = hosted()
    homes = Homes(chip, spare=1)
    assert len(homes.spares) == 2  # of each shape one
    assert homes.spare_area_m2 > 0
    (name,) = [one for one in homes.spares if one.endswith(f"{ROWS} x {COLUMNS}")]
    teach(chip, "a", 300)
    before = cells(tile(chip, "a"))
    done = homes.relocate(full("a"), name)
    assert (done.home, done.other) == (name, "")
    assert same(cells(homes.spares[name]), before)
    assert float(tile(chip, "a").wear.double().mean()) < 100


@pytest.mark.parametrize("cycles", [20_000.0, None])
@pytest.mark.parametrize("spares", [0, 2])
def test_homes_are_saved_and_the_same_bits_go_on(cycles: float | None, spares: int) -> None:
    chip = hosted(cycles=cycles, spare_columns=spares)
    homes = Homes(chip, spare=1)
    teach(chip, "a", 200)
    homes.relocate(full("a"), full("b"))
    homes.relocate(full("c"), next(iter(homes.spares)))
    state, own = chip.state_dict(), homes.state_dict()
    again = hosted(cycles=cycles, spare_columns=spares)
    others = Homes(again, spare=1)
    others.load_state_dict(own)
    again.load_state_dict(state)
    for one in (chip, again):
        for name in NAMES:
            teach(one, name, 50)
    for name in NAMES:
        assert same(cells(tile(chip, name)), cells(tile(again, name))), name
    lost = hosted(cycles=cycles, spare_columns=spares)  # without homes: other cells
    lost.load_state_dict(state)
    teach(lost, "a", 50)
    chip_a, lost_a = (tile(one, "a").hidden for one in (chip, lost))
    assert not torch.equal(chip_a, lost_a)


def lives(*, levelled: bool, skew: float, spare: int = 0) -> tuple[int, float]:
    """Lessons until a quarter of one tile's cells is dead, and pulses of moves over lessons'."""
    chip = hosted(cycles=20_000.0)
    homes = Homes(chip, spare=spare)
    for lesson in range(1, 600):
        teach(chip, "a", 400)
        for name in NAMES[1:]:
            teach(chip, name, round(400 / skew))
        if levelled:
            homes.level()
        for one in (tile(chip, name) for name in NAMES):
            one.close_windows()
            dead = torch.stack([table[0] == 0 for table in one.tables]).float().mean()
            if float(dead) >= 0.25:
                spent, moved = (chip.ledger.total(op=op).count for op in ("pulse", "move"))
                return lesson, moved / spent
    raise AssertionError("no end")


def test_a_busy_group_lives_longer_within_the_budget_and_even_ones_gain_nothing() -> None:
    plain, none = lives(levelled=False, skew=20.0)
    gained, extra = lives(levelled=True, skew=20.0)
    assert none == 0.0
    assert gained > 2.4 * plain  # 4 / (1 + 3 / 20) = 3.5 if all wore alike
    assert 0 < extra <= 0.05
    more, _ = lives(levelled=True, skew=20.0, spare=1)
    assert more > 1.1 * gained
    even, _ = lives(levelled=True, skew=1.0)
    assert even <= 1.15 * lives(levelled=False, skew=1.0)[0]


@pytest.mark.parametrize("exchange", [True, False])
def test_other_groups_need_not_be_written(exchange: bool) -> None:
    chip = hosted()
    homes = Homes(chip, spare=1)
    others = {name: chip.layers[name].weight.detach().clone() for name in NAMES[1:]}
    moves = []
    for _ in range(12):
        teach(chip, "a", 400)
        moves += homes.level(exchange=exchange)
    assert {move.tile for move in moves} == {full("a")}
    assert all(not move.other for move in moves) is not exchange
    same_as_ever = [torch.equal(chip.layers[name].weight, was) for name, was in others.items()]
    assert all(same_as_ever) is not exchange


def test_bad_input_gets_a_sentence() -> None:
    chip = hosted()
    homes = Homes(chip)
    with pytest.raises(ConfigError, match="no tile 'x' learns"):
        homes.relocate("x", full("a"))
    with pytest.raises(ConfigError, match="no tile 'x' learns"):
        homes.relocate(full("a"), "x")
    with pytest.raises(ConfigError, match="the same one"):
        homes.relocate(full("a"), full("a"))
    with pytest.raises(ConfigError, match="one shape"):
        homes.relocate(full("a"), "other[0:9,0:3]")
    with pytest.raises(ConfigError, match="budget and swings"):
        homes.level(budget=0.0)
    with pytest.raises(ConfigError, match="at least 0"):
        Homes(chip, spare=-1)
    with pytest.raises(ConfigError, match="other tiles"):
        homes.load_state_dict(Homes(chip, spare=1).state_dict())
    core = hosted()
    for layer in core.layers.values():
        layer.plastic = False
    with pytest.raises(ConfigError, match="layers that learn"):
        Homes(core)
    fast = hosted()
    tile(fast, "a").fast = tile(fast, "b")
    with pytest.raises(ConfigError, match="fast cells"):
        Homes(fast)
