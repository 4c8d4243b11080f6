"""Joules of the ledger on the map: none lost, each where its tile lies."""

import numpy as np
import pytest

from clnf.chip.floorplan import area
from clnf.chip.heat.plan import covered, place
from clnf.chip.heat.power import Work, span_s, work
from clnf.chip.hosting import Chip
from clnf.core.errors import ConfigError


def test_every_joule_of_a_lesson_is_some_tiles(chip: Chip) -> None:
    done = work(chip.ledger.state(), lesson="draw")
    total = chip.ledger.total(lesson="draw")
    assert set(done) == set(chip.tiles)
    assert sum(one.cells_j + one.logic_j for one in done.values()) == pytest.approx(total.energy_j)
    assert sum(one.busy_s for one in done.values()) == pytest.approx(total.time_s)
    read = chip.ledger.total(lesson="draw", op="read").energy_j
    assert sum(one.cells_j for one in done.values()) == pytest.approx(read)
    assert 0 < read < total.energy_j


def test_a_span_is_what_came_since(chip: Chip) -> None:
    before = chip.ledger.state()
    chip.ledger.charge("read", tile="0[0:48,0:32]", count=3, energy_j=1e-12, time_s=1e-7)
    done = work(chip.ledger.state(), before)
    assert done["0[0:48,0:32]"] == Work(cells_j=3e-12, logic_j=0.0, busy_s=3e-7)
    assert all(one == Work() for name, one in done.items() if name != "0[0:48,0:32]")


def test_tiles_at_once_shorten_the_time_down_to_the_longest_tile() -> None:
    done = {"a": Work(busy_s=4.0), "b": Work(busy_s=1.0), "c": Work(busy_s=1.0)}
    assert [span_s(done, n) for n in (1, 2, 3, 50)] == [6.0, 4.0, 4.0, 4.0]
    with pytest.raises(ConfigError, match="at least one tile"):
        span_s(done, 0)
    with pytest.raises(ConfigError, match="no tile was busy"):
        span_s({}, 1)


def test_tiles_do_not_overlap_and_have_their_areas(chip: Chip) -> None:
    plan, areas = place(chip), area(chip)
    assert set(plan.names) == set(chip.tiles)
    for n, one in enumerate(plan.sites):
        assert one.side_m**2 == pytest.approx(areas[one.name].known_m2)
        assert one.left_m + one.side_m <= plan.width_m * (1 + 1e-12)
        assert one.low_m + one.side_m <= plan.depth_m * (1 + 1e-12)
        for other in plan.sites[:n]:
            apart_x = abs(one.left_m + one.side_m / 2 - other.left_m - other.side_m / 2)
            apart_y = abs(one.low_m + one.side_m / 2 - other.low_m - other.side_m / 2)
            assert max(apart_x, apart_y) >= (one.side_m + other.side_m) / 2 * (1 - 1e-9)
    assert sum(s.side_m**2 for s in plan.sites) > 0.5 * plan.width_m * plan.depth_m


def test_a_wider_pitch_takes_more_room(chip: Chip) -> None:
    small, large = place(chip, pitch_m=28e-9), place(chip, pitch_m=1e-6)
    first, again = small.sites[0], large.sites[large.names.index(small.names[0])]
    cells = first.lines * first.columns
    assert again.side_m**2 - first.side_m**2 == pytest.approx(cells * (1e-12 - 784e-18))
    with pytest.raises(ConfigError, match="pitch of cells"):
        place(chip, pitch_m=-1.0)


def test_shares_are_whole_and_lie_where_the_tile_lies(chip: Chip) -> None:
    plan = place(chip)
    rows, columns = plan.shares(20, 30)
    assert rows.sum(1) == pytest.approx(1.0)
    assert columns.sum(1) == pytest.approx(1.0)
    middle = (np.arange(30) + 0.5) * plan.width_m / 30
    for site, share in zip(plan.sites, columns, strict=True):
        assert share @ middle == pytest.approx(site.left_m + site.side_m / 2, rel=0.1)
    assert covered(np.array([1.0]), np.array([2.0]), 4.0, 2).tolist() == [[1.0, 0.0]]
