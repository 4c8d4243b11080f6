"""Waves that overlap: windows in closed form, half-selected cells, what is refused."""

import numpy as np
import pytest
import torch

from clnf.core.errors import ConfigError, DeviceLimitError
from clnf.devices.cell import Cell
from clnf.devices.families import cell
from clnf.devices.materials import material
from clnf.devices.voltage import Exponential, Sinh, Threshold
from clnf.spiking.memristive import Overlap, Wave, action, bipolar, rectangle, window

LAW = Threshold(threshold_v=1.0, exponent=2.0, source="test")
OWN = {
    "conductance_min_s": 1e-6, "conductance_max_s": 1e-4, "write_voltage_v": 1.5,
    "write_time_s": 1e-7,
}  # fmt: skip


def made(name: str = "ecram_li", **more: float) -> Cell:
    return cell(material(name).supply(**OWN, **more))


def waves(one: Cell, **more: float) -> Overlap:
    return Overlap.simplified(one, LAW, window_s=10e-3, width_s=1e-3, doses=(0.4, 0.2), **more)


def test_waves_are_straight_lines_between_points() -> None:
    at = np.array([-1e-4, 0.5e-3, 1.5e-3, 3e-3])
    assert rectangle(0.3, 1e-3, delay_s=1e-3).at(at).tolist() == [0.0, 0.0, 0.3, 0.0]
    assert bipolar(-1.0, 0.5, 1e-3).at(at).tolist() == [0.0, -1.0, 0.5, 0.0]
    tail = action(1.0, 1e-3, 0.4, 2e-3)
    assert tail.at(at)[1:3] == pytest.approx([0.5, -0.3])
    assert tail.peak_v == 1.0
    assert tail.end_s == pytest.approx(3e-3)


@pytest.mark.parametrize(
    ("times", "volts"), [((0.0,), (1.0,)), ((0.0, -1.0), (1.0, 1.0)), ((0.0, 1.0), (1.0,))]
)
def test_no_wave_of_such_points(times: tuple[float, ...], volts: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match="a wave"):
        Wave(times_s=times, volts_v=volts)


def test_the_window_of_two_rectangles_is_their_overlap() -> None:
    """V is 1.2 V where both are on and 0.6 V, below the threshold, where one is."""
    one = made()
    pair = Overlap(
        pre=rectangle(-0.6, 4e-3), post=rectangle(0.6, 2e-3), law=LAW, speed=1e4,
        pulse=one.need(one.pulse),
    )  # fmt: skip
    lags = torch.tensor([-3e-3, -1e-3, 0.0, 1e-3, 3e-3, 5e-3], dtype=torch.float64)
    shared_s = torch.tensor([0.0, 1e-3, 2e-3, 2e-3, 1e-3, 0.0], dtype=torch.float64)
    found = window(one, pair, lags)
    rate = LAW.rate(1.2) / LAW.rate(1.5) / 1e-7 / 1e4
    torch.testing.assert_close(found.up, shared_s * rate, rtol=1e-9, atol=1e-12)
    assert not found.down.any()
    assert bool(((found.change_s > 0) == (shared_s > 0)).all())
    # Energy of a cell that hardly moves: G times the volts squared of both, by time.
    alone = (4e-3 + 2e-3 - 2 * shared_s) * 0.36 + shared_s * 1.44
    g = one.conductance_s(torch.zeros(1, dtype=torch.float64))
    torch.testing.assert_close(found.energy_j, alone * g / 1e4, rtol=5e-2, atol=0.0)


def test_the_simplified_pair_gives_the_doses_asked_for() -> None:
    one = made()
    found = window(one, waves(one), [5e-3, 15e-3, -5e-3])
    assert found.up.tolist() == pytest.approx([0.4, 0.0, 0.0])
    assert found.down.tolist() == pytest.approx([0.0, 0.2, 0.2])
    faster = window(one, waves(one, speed=10.0), [5e-3, -5e-3])
    assert faster.up[0].item() == pytest.approx(0.4)
    assert faster.energy_j[0] < found.energy_j[0] / 5


def test_actions_give_the_window_of_zamarreno_ramos() -> None:
    """Alike before and behind: up where the one before is first, less so with time; and back."""
    one, shape = made(), action(0.9, 1e-3, 0.4, 10e-3)
    pair = Overlap(pre=shape, post=shape, law=LAW, pulse=one.need(one.pulse), speed=1e3)
    change = window(one, pair, [-8e-3, -4e-3, -2e-3, 2e-3, 4e-3, 8e-3]).change_s.tolist()
    assert change[3] > change[4] > change[5] >= 0.0
    assert change[2] < change[1] < change[0] <= 0.0
    # The control: without tails nothing overlaps.
    bare = Overlap(pre=rectangle(0.9, 1e-3), post=rectangle(0.9, 1e-3), law=LAW,
                   pulse=one.need(one.pulse), speed=1e3)  # fmt: skip
    assert not window(one, bare, [-4e-3, 4e-3]).change_s.any()


def test_half_selected_cells_move_by_a_law_without_a_threshold() -> None:
    one, steep = made(), Sinh(scale_v=0.1, source="test")
    for law, moves in ((LAW, False), (steep, True)):
        pair = Overlap.simplified(
            one, law, window_s=10e-3, width_s=1e-3, doses=(0.4, 0.3), speed=1e3
        )
        tables = pair.tables(1e-3)
        alone = tables.up[:-1, -1]  # rows alone: their rectangle
        assert bool(alone.sum() > 0) is moves
        assert alone.sum() < 0.1
        assert bool((tables.heat[:-1, -1] > 0).all())
        assert tables.heat[-1, -1] == 0
        assert tables.up[-1, -1] == 0
    law = Exponential(scale_v=0.1, source="test")
    pair = Overlap(pre=rectangle(-0.1, 1e-3), post=rectangle(0.1, 1e-3), law=law,
                   pulse=one.need(one.pulse))  # fmt: skip
    assert pair.tables(1e-3).up[-1, -1] == 0  # no voltage is no step, by any law


def test_tables_hold_what_the_window_holds() -> None:
    one = made()
    pair = waves(one)
    tables, late = pair.tables(1e-3), 4
    up = sum(tables.up[late + q, q] for q in range(2))
    down = sum(tables.down[late + q, q] for q in range(2))
    found = window(one, pair, [late * 1e-3])
    assert up == pytest.approx(found.up.item(), rel=1e-6)
    assert down == pytest.approx(found.down.item(), abs=1e-9)
    assert tables.writes.sum(0)[:-1].sum() == 10 + 1  # up with ten phases of a row, down with rest


def test_gated_rows_give_off_nothing_while_they_wait() -> None:
    one = made()
    pair = waves(one)
    held = Overlap(pre=pair.pre, post=pair.post, law=LAW, pulse=pair.pulse, gated=True)
    assert not held.tables(1e-3).heat[:, -1].any()
    both = [window(one, each, [5e-3, -5e-3]) for each in (pair, held)]
    assert torch.equal(both[0].up, both[1].up)
    assert bool((both[1].energy_j < both[0].energy_j).all())


def test_what_makes_no_sense_is_refused() -> None:
    one = made()
    with pytest.raises(DeviceLimitError, match="would write"):
        Overlap.simplified(one, LAW, window_s=0.1, width_s=1e-3, doses=(60.0, 30.0), speed=1e3)
    with pytest.raises(DeviceLimitError, match="was not published"):
        Overlap.simplified(one, None, window_s=10e-3, width_s=1e-3)
    weak = Threshold(threshold_v=2.0, exponent=1.0, source="test")
    with pytest.raises(DeviceLimitError, match="move nothing"):
        Overlap.simplified(one, weak, window_s=10e-3, width_s=1e-3)
    with pytest.raises(ConfigError, match="take longer steps"):
        waves(one).tables(1e-7)
    with pytest.raises(DeviceLimitError, match="measured pulses, at most"):
        Overlap(pre=rectangle(-1.0, 1e-2), post=rectangle(1.0, 1e-2), law=LAW,
                pulse=one.need(one.pulse)).tables(1e-2)  # fmt: skip
