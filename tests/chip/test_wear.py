"""Wear is what cells and the ledger say, counted by hand here."""

import math

import pytest
import torch

from clnf.chip.bill import Bill
from clnf.chip.tile import Tile
from clnf.chip.wear import worn
from clnf.devices import material


def test_a_life_goes_by_the_pulses_of_lessons_alone() -> None:
    cells = material("hfo2_array_optimised").supply(endurance_cycles=1e4)
    tile = Tile(cells, 4, 3, seed=1)
    (name, cross), *_ = tile.chip.tiles.items()
    before = cross.wear.clone()
    assert worn(tile.chip.tiles, tile.ledger)[name].life_lessons == math.inf
    bill, setup = Bill(tile.ledger, tile.chip.circuit.costs), int(cross.wear.sum())
    train = torch.zeros(3, 4)
    train[2, 1] = 30
    for lesson in ("one", "two"):
        tile.ledger.lesson = lesson
        bill.pulses(cross, *cross.pulse(train, plane=0))
    found = worn(tile.chip.tiles, tile.ledger)[name]
    own = int((cross.wear - before).sum())
    assert own == 60
    most = int(cross.wear.max())
    assert (found.most, found.endurance) == (most, 1e4)
    assert found.mean == pytest.approx(float(cross.wear.double().mean()))
    plane, column, row = found.worst
    assert int(cross.wear.view(-1, 3, 4)[plane, column, row]) == most
    assert found.life_lessons == pytest.approx((1e4 - most) / (most * own / (setup + own) / 2))
    # The control: pulses outside lessons shorten no life.
    tile.ledger.lesson = "calibration"
    tile.ledger.charge_total("pulse", tile=name, count=10**6, energy_aj=0)
    assert worn(tile.chip.tiles, tile.ledger)[name].life_lessons > 100 * found.life_lessons
