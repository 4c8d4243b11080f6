"""Tiles that learn go to fresh ones where a recipe keeps some, and a restart finds them there."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from clnf.chip.hosting import Chip, host
from clnf.chip.spec import ChipSpec
from clnf.devices.materials import material
from clnf.living.levelling import Levelling
from clnf.living.recipe import LevellingPart, Recipe

BUSY = "busy[0:20,0:6]"


def hosted() -> Chip:
    torch.manual_seed(0)
    net = nn.ModuleDict({name: nn.Linear(20, 6, bias=False) for name in ("busy", "idle")})
    row = material("hfo2_array_optimised").supply(dead_fraction=0.0, endurance_cycles=20_000.0)
    spec = ChipSpec(plastic=row, pairs=1, read_noise="off", wires=None)
    return host(net, assign=lambda name, leaf: "plastic", seed=5, spec=spec)


def teach(chip: Chip, lesson: str) -> None:
    chip.ledger.lesson = lesson
    layer = chip.layers["busy"]
    (tile,) = layer.tiles
    for sign in (1, -1) * 40:
        chip.bill.pulses(tile, *tile.pulse(torch.full(tile.shape, float(sign * 20)), plane=0))
    layer.refresh()


def taught(**values: Any) -> tuple[Levelling, Chip]:
    chip = hosted()
    levelling = Levelling(chip, LevellingPart(every=1, budget=1.0, life=True, **values))
    levelling.prepared()
    teach(chip, "first")
    return levelling, chip


def test_a_busy_tile_moves_to_a_fresh_one_and_no_other_does() -> None:
    levelling, chip = taught(tiles=1)
    worn = int(chip.tiles[BUSY].wear.max())
    weights = chip.layers["busy"].weight.detach().clone()
    idle = chip.layers["idle"].tiles[0].wear.clone()
    found = levelling.move()
    (move,) = found["homes"]
    assert (move["tile"], move["home"], move["other"]) == (BUSY, "spare 0 of 20 x 6", "")
    assert found["pulses"] == move["pulses"] == chip.ledger.total(op="move").count > 0
    assert int(chip.tiles[BUSY].wear.max()) < worn
    scale = float(chip.tiles[BUSY].scale[0])
    off = chip.layers["busy"].weight.detach() - weights
    assert float(off.square().mean().sqrt()) < 0.2 * scale  # a fresh cell may not reach as far
    assert torch.equal(chip.layers["idle"].tiles[0].wear, idle)
    # Its life counts from what the fresh cells wore, not from what the old ones did.
    teach(chip, "second")
    life = levelling.life()
    assert life["tile"] == BUSY
    assert life["lessons"] > 0


@pytest.mark.parametrize("values", [{}, {"exchange": True}])
def test_without_fresh_tiles_none_moves_or_two_change_places(values: dict[str, Any]) -> None:
    levelling, chip = taught(**values)
    found = levelling.move()
    assert found["moves"] == []
    if not values:
        assert (found["pulses"], "homes" in found, chip.ledger.total(op="move").count) == (
            0,
            False,
            0,
        )
        return
    (move,) = found["homes"]
    assert (move["tile"], move["other"]) == (BUSY, "idle[0:20,0:6]")


def test_a_restart_finds_tiles_where_they_live() -> None:
    levelling, chip = taught(tiles=1)
    levelling.move()
    state, cells = copy.deepcopy(levelling.state_dict()), copy.deepcopy(chip.state_dict())
    fresh = hosted()
    again = Levelling(fresh, levelling.part)
    again.load_homes(state)
    fresh.load_state_dict(cells)
    again.load_state_dict(state)
    assert again.homes is not None
    assert again.homes.home(BUSY) == "spare 0 of 20 x 6"
    for one in (chip, fresh):
        teach(one, "second")
    assert torch.equal(chip.tiles[BUSY].hidden, fresh.tiles[BUSY].hidden)
    assert levelling.life() == again.life()
    # Whose cells those are matters: loaded the other way round, pulses do something else.
    wrong = hosted()
    Levelling(wrong, levelling.part)
    wrong.load_state_dict(cells)
    teach(wrong, "second")
    assert not torch.equal(chip.tiles[BUSY].hidden, wrong.tiles[BUSY].hidden)


def test_tiles_that_never_move_are_refused() -> None:
    with pytest.raises(ValueError, match=r"set levelling.every"):
        Recipe(name="x").changed("levelling", tiles=1)
    assert Recipe(name="x").changed("levelling", tiles=1, every=2).levelling.tiles == 1
