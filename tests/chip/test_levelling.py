"""Columns change places with all that is theirs; levelling lengthens life within its budget."""

import pytest
import torch
from torch import Tensor, nn

from clnf.chip import Chip, ChipSpec, host
from clnf.chip.crossbar.array import Crossbar
from clnf.chip.crossbar.outer import How
from clnf.chip.levelling import level, replace_dead
from clnf.core.errors import ConfigError
from clnf.devices.materials import Material, material

ROWS, COLUMNS = 24, 20


def row(cycles: float = 20_000.0, **values: float) -> Material:
    return material("hfo2_array_optimised").supply(
        endurance_cycles=cycles, dead_fraction=0.0, **values
    )


def chip(spare: int = 4, kind: Material | None = None) -> tuple[Chip, Crossbar]:
    torch.manual_seed(0)
    net = nn.ModuleDict({"a": nn.Linear(ROWS, COLUMNS, bias=False)})
    spec = ChipSpec(plastic=kind or row(), pairs=1, spare_columns=spare)
    one = host(net, assign=lambda name, leaf: "plastic", seed=5, spec=spec)
    return one, one.layers["a"].tiles[0]


def teach(one: Chip, tile: Crossbar, pulses: int = 400) -> None:
    """A lesson that writes two columns ten times as much as the others."""
    one.ledger.lesson = "lesson"
    train = torch.full((COLUMNS, ROWS), float(pulses) / 10)
    train[:2] = pulses
    for sign in (1, -1):
        one.bill.pulses(tile, *tile.pulse(sign * train, plane=0))
    one.layers["a"].refresh()


def whole(tile: Crossbar, line: int) -> list[Tensor]:
    """All that belongs to the cells of a line."""
    spares = tile.spares
    assert spares is not None
    parts = [tile.hidden, tile.wear, *tile.tables]
    return [part.view(-1, COLUMNS, ROWS)[:, line].clone() for part in parts]


def same(a: list[Tensor], b: list[Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_exchanged_columns_take_all_that_is_theirs_along() -> None:
    one, tile = chip()
    teach(one, tile)
    tile.close_windows()
    spares = tile.spares
    assert spares is not None
    first, second = whole(tile, 0), whole(tile, 7)
    spares.exchange(tile, 0, 7)
    assert same(whole(tile, 7), first)
    assert same(whole(tile, 0), second)
    tile.close_windows()
    assert same(whole(tile, 7), first)
    assert same(whole(tile, 0), second)
    spares.exchange(tile, 0, 7)
    assert same(whole(tile, 0), first)
    assert spares.moved == []


def test_a_spare_comes_fresh_and_the_worn_column_waits_as_it_was() -> None:
    one, tile = chip()
    teach(one, tile)
    tile.close_windows()
    spares = tile.spares
    assert spares is not None
    worn, others = whole(tile, 0), whole(tile, 1)
    spares.bring(tile, 0, 2)
    tile.close_windows()
    fresh = whole(tile, 0)
    assert int(fresh[1].max()) == 0
    assert not torch.equal(fresh[2], worn[2])
    assert same(whole(tile, 1), others)
    assert spares.bench.tolist() == [COLUMNS, COLUMNS + 1, 0, COLUMNS + 3]
    spares.bring(tile, 0, 2)
    tile.close_windows()
    assert same(whole(tile, 0), worn)


def test_weights_stay_what_they_were_when_columns_move() -> None:
    one, tile = chip()
    teach(one, tile)
    before = one.layers["a"].weight.detach().clone()
    moves = level(one, budget=10.0)
    assert {move.line for move in moves} == {0, 1}
    error = (one.layers["a"].weight.detach() - before).square().mean().sqrt()
    # Writes of these cells stray by 1.4 steps, and some cannot reach what others held.
    assert float(error) < 0.1 * float(tile.scale[0])
    assert float((one.layers["a"].weight.detach() - before)[2:].abs().max()) == 0
    assert sum(move.pulses for move in moves) == one.ledger.total(op="move").count > 0


def test_moves_and_spares_are_saved_with_the_chip() -> None:
    one, tile = chip()
    teach(one, tile)
    level(one, budget=10.0)
    state = one.state_dict()
    other, copy = chip()
    other.load_state_dict(state)
    assert same([*whole(copy, 0), *whole(copy, 9)], [*whole(tile, 0), *whole(tile, 9)])
    for a, b in ((one, tile), (other, copy)):
        teach(a, b)
        level(a, budget=10.0)
    assert torch.equal(tile.hidden, copy.hidden)
    assert tile.spares is not None
    assert copy.spares is not None
    assert torch.equal(tile.spares.place, copy.spares.place)


def lessons_until_lost(*, levelled: bool) -> tuple[int, float]:
    """Until a line has lost a quarter of its cells; and pulses of moves over those of lessons."""
    one, tile = chip(kind=row(10_000.0))
    lesson, lost = 0, 0.0
    while lost < 0.25:
        lesson += 1
        teach(one, tile)
        if levelled:
            level(one, budget=0.05)
        tile.close_windows()
        dead = torch.stack([table[0] == 0 for table in tile.tables])
        lost = float(dead.view(-1, COLUMNS, ROWS).float().mean((0, 2)).max())
    moved, taught = (one.ledger.total(op=op).count for op in ("move", "pulse"))
    return lesson, moved / taught


def test_levelling_lengthens_life_and_keeps_its_budget() -> None:
    plain, _ = lessons_until_lost(levelled=False)
    long, share = lessons_until_lost(levelled=True)
    assert long > 3.0 * plain
    assert 0 < share < 0.05


def test_even_wear_is_left_alone() -> None:
    one, tile = chip()
    one.ledger.lesson = "lesson"
    for _ in range(4):
        one.bill.pulses(tile, *tile.pulse(torch.full((COLUMNS, ROWS), 300.0)))
    tile.spares.kept["wear"] += 1200  # type: ignore[union-attr]
    assert level(one, budget=10.0) == []


def test_dead_columns_are_replaced_while_there_are_spares() -> None:
    one, tile = chip(2)
    for _ in range(120):
        teach(one, tile, 600)
    moves = replace_dead(one)
    assert {move.line for move in moves} == {0, 1}
    assert all(move.other == -1 for move in moves)
    assert replace_dead(one) == []
    alive = torch.stack([table[0] > 0 for table in tile.tables]).view(-1, COLUMNS, ROWS)
    assert float(alive[:, :2].float().mean()) > 0.95


def test_bad_input_gets_a_sentence() -> None:
    one, _ = chip()
    for wrong in ({"budget": 0.0}, {"swings": 0.0}):
        with pytest.raises(ConfigError, match="got"):
            level(one, **wrong)
    with pytest.raises(ConfigError, match="0 to 4096"):
        ChipSpec(spare_columns=-1)
    assert level(chip(0)[0]) == []


def test_pulses_of_a_batch_know_the_cells_that_came() -> None:
    """What a kernel works out of steps and bounds beforehand must not outlive an exchange."""
    both = []
    for warm in (True, False):
        _one, tile = chip()
        rng = torch.Generator().manual_seed(1)
        x, d = torch.randn(8, ROWS, generator=rng), torch.randn(8, COLUMNS, generator=rng)
        if warm:
            tile.pulse_outer(x, d, 1e-9, how=How(together=True))
        else:
            tile.operations += 1
        assert tile.spares is not None
        tile.spares.exchange(tile, 0, 7)
        tile.spares.bring(tile, 3, 1)
        for _ in range(4):
            tile.pulse_outer(x, d, 0.5, how=How(together=True))
        both.append(tile.hidden.clone())
    assert torch.equal(*both)
