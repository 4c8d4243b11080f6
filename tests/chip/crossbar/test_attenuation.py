"""The first-order loss in wires is the slope of the exact one, however a crossbar is fed."""

from typing import Any

import pytest
import torch

from clnf.chip.crossbar.array import Crossbar
from clnf.chip.crossbar.attenuation import aimed
from clnf.chip.crossbar.together import solve_together
from clnf.chip.crossbar.wires import effective_conductance
from clnf.chip.crossbar.wiring import Wires
from clnf.chip.spec import ChipSpec

HIGH = 50e-6
CELLS = torch.rand(2, 7, 12, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
CELLS = CELLS * 40e-6 + 1e-6


def wires(share: float, **sides: Any) -> Wires:
    ohms = {"word_ohm": 3.0, "bit_ohm": 2.0, "source_ohm": 40.0, "sink_ohm": 25.0}
    return Wires(**{name: share * ohm for name, ohm in ohms.items()}, **sides)


def off(written: Wires, solved: Wires) -> float:
    """Largest relative error of the conductances that are left of cells written for wires."""
    cells, factor = aimed(CELLS, written, (0.0, HIGH))
    left = effective_conductance(cells.mT, solved).mT / factor[:, None]
    return float((left / CELLS - 1).abs().max())


@pytest.mark.parametrize("rows_from", ["left", "right"])
@pytest.mark.parametrize("columns_to", ["bottom", "top"])
def test_what_is_left_is_what_was_wanted_to_second_order(rows_from: Any, columns_to: Any) -> None:
    sides = {"rows_from": rows_from, "columns_to": columns_to}
    one, tenth = wires(1.0, **sides), wires(0.1, **sides)
    assert off(tenth, tenth) == pytest.approx(off(one, one) / 100, rel=0.25)
    turned = {"left": "right", "right": "left", "bottom": "top", "top": "bottom"}
    for side, name in sides.items():
        other = wires(0.1, **(sides | {side: turned[name]}))
        assert off(other, tenth) > 20 * off(tenth, tenth)


def test_a_column_beyond_the_window_is_written_smaller_as_a_whole() -> None:
    top = CELLS.clone()
    top[:, 3] = HIGH
    cells, factor = aimed(top, wires(1.0), (0.0, HIGH))
    assert float(cells.max()) == pytest.approx(HIGH)
    assert float(factor[3]) < 1.0
    assert bool((factor[torch.arange(7) != 3] == 1.0).all())
    left = effective_conductance(cells.mT, wires(1.0)).mT / factor[:, None]
    assert torch.allclose(left, top, rtol=0.01)
    high = effective_conductance(top.mT, wires(1.0)).mT
    assert not torch.allclose(high, top, rtol=0.01)


@pytest.mark.parametrize("exact", [True, False])
def test_wires_solved_together_are_those_of_each_tile_alone(exact: bool) -> None:
    def made() -> list[Crossbar]:
        around = Wires(word_ohm=3.0, bit_ohm=2.0)
        make = ChipSpec(wires=around, exact_wires=exact, pairs=2).make(plastic=True)
        sizes = (20, 12), (20, 12), (9, 30), (20, 12)
        tiles = [
            Crossbar(f"t{k}", slice(0, rows), slice(0, columns), 5, make)
            for k, (rows, columns) in enumerate(sizes)
        ]
        for tile in tiles:
            tile.pulse(torch.full(tile.shape, 4.0))
        return tiles

    together, alone = made(), made()
    solve_together(together, 0.0)
    for one, other in zip(together, alone, strict=True):
        solved = one.solved
        assert solved is not None
        assert not one.is_unsolved(0.0)
        assert torch.equal(one.attenuation(0.0), other.attenuation(0.0))
        assert one.solved is solved  # a read takes it, and does not solve anew
        one.pulse(torch.full(one.shape, -4.0))
        assert one.is_unsolved(0.0) is exact
    kept = [tile.attenuation(0.0) for tile in alone]
    assert not torch.equal(kept[0], kept[1])  # tiles of one shape are not one tile
