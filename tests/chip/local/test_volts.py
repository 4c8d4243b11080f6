"""Rates become amplitudes a source can give, columns learn at them, half-selected cells count."""

from dataclasses import replace

import pytest
import torch

from clnf.chip import ChipSpec, PulseRule, ideal_chip
from clnf.chip.local import Backpropagation, ColumnVolts, Drive, disturb, exposed
from clnf.core.errors import ConfigError, DeviceLimitError, ShapeError
from clnf.devices.families import cell
from clnf.devices.materials import material
from clnf.devices.voltage import Sinh, Threshold

LAW = Sinh(scale_v=0.2, source="test")
DRIVE = Drive(law=LAW, reference_v=1.5, reference_s=1e-7, low_v=0.9, high_v=1.8)


def test_rates_become_volts_and_limits_hold() -> None:
    low, high = DRIVE.limits()
    assert low < 0.1 < 1 < 4 < high
    for rate in (0.1, 0.5, 1.0, 3.0):
        assert DRIVE.rate(DRIVE.amplitude_v(rate)) == pytest.approx(rate)
    assert DRIVE.amplitude_v(1.0) == pytest.approx(1.5)
    assert DRIVE.amplitude_v(1e6) == 1.8
    assert DRIVE.amplitude_v(0.0) == 0.9
    # Twice the width is twice the step, at the same amplitude.
    assert DRIVE.rate(1.2, 2e-7) == pytest.approx(2 * DRIVE.rate(1.2))
    assert DRIVE.amplitude_v(1.0, 2e-7) < 1.5
    assert DRIVE.energy_factor(3.0, 2e-7) == pytest.approx(8.0)
    falling = DRIVE.schedule_v([1.0, 0.6, 0.2])
    assert falling == sorted(falling, reverse=True)


def test_a_source_of_few_amplitudes_gives_the_nearest_rate() -> None:
    coarse = Drive(law=LAW, reference_v=1.5, reference_s=1e-7, low_v=0.9, high_v=1.8, bits=3)
    all_v = [0.9 + k * 0.9 / 7 for k in range(8)]
    for rate in (0.07, 0.3, 1.0, 2.2, 4.0):
        chosen = coarse.amplitude_v(rate)
        best = min(all_v, key=lambda v: abs(coarse.rate(v) - rate))
        assert chosen == pytest.approx(best)


def test_columns_step_as_far_as_their_volts_say(hosted) -> None:
    rates = [0.1, 0.5, 1.0, 2.0, 1e9]  # the last is beyond the source

    def moved(rates: list[float] | float | None, *, back: bool = False) -> tuple[torch.Tensor, int]:
        cells = material("ecram_li").supply(
            step=1e-3, slope_up=0.0, slope_down=0.0, write_voltage_v=1.5, write_time_s=1e-7,
            conductance_min_s=1e-6, conductance_max_s=1e-4,
        )  # fmt: skip
        net, _ = hosted(spec=replace(ideal_chip(), plastic=cells, pairs=1))
        (tile,) = net[5].tiles
        volts = ColumnVolts(net[5], DRIVE)
        if rates is not None:
            volts.set(rates)
        if back:
            volts.remove()
        before = net[5].weight.detach().clone()
        count, energy_aj, _ = tile.pulse(torch.full(tile.shape, 3), plane=0)
        assert count == 3 * 5 * 9  # as many pulses as ever
        net[5].refresh()
        return net[5].weight.detach() - before, energy_aj

    plain, cost = moved(None)
    own, own_cost = moved(rates)
    factors = torch.tensor([*rates[:-1], DRIVE.limits()[1]])
    assert torch.allclose(own / plain, factors[:, None].expand(5, 9), rtol=2e-3)
    assert own_cost != cost
    all_at_once, dear = moved(2.0)
    assert torch.allclose(all_at_once, 2 * plain, rtol=2e-3)
    assert dear / cost == pytest.approx((DRIVE.amplitude_v(2.0) / 1.5) ** 2, rel=0.01)
    again, same = moved(rates, back=True)  # negative control
    assert torch.equal(again, plain)
    assert same == cost


def test_a_schedule_in_volts_is_a_schedule_of_rates(hosted, batch) -> None:
    x, y = batch()
    found = []
    for rate in (0.25, 1.0, 4.0):
        net, chip = hosted()
        ColumnVolts(net[5], DRIVE).set(rate)
        method = Backpropagation(net, chip)
        optimizer = method.optimizer(lr=0.5, rule=PulseRule(mode="stochastic"))
        before = net[5].weight.detach().clone()
        method.teach(x, y)
        error, driven = net[5].capture[0][1], net[5].capture[0][0][0]
        optimizer.step()
        step = (net[5].weight.detach() - before).flatten()
        down = -(error.T @ driven).flatten()
        found.append(float(step @ down / (down @ down)) / 0.5)
    assert found == pytest.approx([0.25, 1.0, 4.0], rel=0.15)


def plain_cells(half_select: float = 0.0) -> ChipSpec:
    """Cells of even steps that are pulsed as the drive above says."""
    cells = material("ecram_li").supply(
        step=1e-3, slope_up=0.0, slope_down=0.0, write_voltage_v=1.5, write_time_s=1e-7,
        conductance_min_s=1e-6, conductance_max_s=1e-4,
    )  # fmt: skip
    return replace(ideal_chip(), plastic=cells, pairs=1, half_select=half_select)


def test_a_wider_pulse_steps_further_costs_more_and_takes_longer(hosted) -> None:
    found = []
    for width_s in (None, 2e-7):
        net, chip = hosted(spec=plain_cells())
        (tile,) = net[5].tiles
        volts = ColumnVolts(net[5], DRIVE)
        # The same amplitude, so that width alone differs.
        volts.set(1.0 if width_s is None else 2.0, width_s=width_s)
        assert volts.volts == pytest.approx([1.5] * 5)
        before, chip.ledger.lesson = tile.hidden[0].clone(), "now"
        chip.bill.pulses(tile, *tile.pulse(torch.full(tile.shape, 3), plane=0))
        spent = chip.ledger.total(lesson="now", op="pulse")
        found.append((float((tile.hidden[0] - before).mean()), spent.energy_j, spent.time_s))
        volts.remove()
        assert tile.cell.pulse.width_s == 1e-7
    short, wide = found
    assert wide == pytest.approx([2 * value for value in short], rel=1e-3)
    with pytest.raises(ConfigError, match="width above 0"):
        volts.set(1.0, width_s=0.0)


def test_what_the_source_could_not_give_is_reported(hosted) -> None:
    net, _ = hosted(spec=plain_cells())
    volts = ColumnVolts(net[5], DRIVE)
    volts.set([0.2, 1.0, 2.0, 4.0, 4.2])
    low, high = DRIVE.limits()
    fine = volts.limits()
    assert (fine.low, fine.high, fine.asked, fine.beyond) == (low, high, 5, 0)
    assert fine.worst == pytest.approx(0.0, abs=1e-9)
    volts.set([0.0, 1.0, 1.0, 1.0, 9.0])
    cut = volts.limits()
    assert (cut.asked, cut.beyond) == (10, 2)
    assert cut.worst == pytest.approx(9.0 - high)
    for bad in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="a rate is at least 0"):
            volts.set(bad)


def test_half_selected_cells_see_half_of_the_volts_their_columns_had(hosted) -> None:
    net, _ = hosted(spec=plain_cells())
    (tile,) = net[5].tiles
    volts = ColumnVolts(net[5], DRIVE)
    tile.pulse(torch.ones(tile.shape))  # 9 a column at the measured pulse
    volts.set([0.1, 0.1, 0.1, 4.0, 4.0])
    train = torch.zeros(tile.shape)
    train[0, 0], train[4, 3] = 6, -2
    tile.pulse(train)
    volts.set(1.0)
    report = volts.limits().disturb[tile.name]
    doses = {1.5: 45, volts.drive.amplitude_v(0.1): 6, volts.drive.amplitude_v(4.0): 2}
    assert report.pulses == sum(doses.values())
    assert report.exposures == report.pulses * (9 + 5 - 2)
    steps = sum(count * LAW.rate(volt / 2) / LAW.rate(1.5) for volt, count in doses.items())
    assert report.step == pytest.approx(steps / report.pulses)
    assert volts.limits("1T1R").disturb[tile.name].drift_bound == 0.0 < report.drift_bound
    # Negative control: had all of them been measured pulses, cells would have moved otherwise.
    flat = exposed(tile, DRIVE, {(1.5, 1e-7): report.pulses})
    assert flat.step != pytest.approx(report.step, rel=0.01)
    with pytest.raises(ConfigError, match="unselected lines"):
        volts.limits("V/4")


def test_half_selected_cells_move_as_the_volts_say(hosted) -> None:
    def other_cell(rate: float) -> float:
        net, _ = hosted(spec=plain_cells(DRIVE.half_select))
        (tile,) = net[5].tiles
        volts = ColumnVolts(net[5], DRIVE)
        volts.set(rate)
        train, before = torch.zeros(tile.shape), tile.hidden[0].clone()
        train[0, 0] = 20
        tile.pulse(train, plane=0)
        moved = float((tile.hidden[0] - before).view(tile.shape)[0, 1].abs())
        volts.remove()
        assert tile.make.half_select == DRIVE.half_select
        return moved

    half = {rate: LAW.rate(DRIVE.amplitude_v(rate) / 2) for rate in (0.2, 1.0, 3.0)}
    one = other_cell(1.0)
    assert one > 0
    for rate in (0.2, 3.0):
        assert other_cell(rate) / one == pytest.approx(half[rate] / half[1.0], rel=0.01)
        # Negative control: not by the share that the whole step has.
        assert half[rate] / half[1.0] != pytest.approx(rate, rel=0.1)


def test_a_stored_layer_and_a_wrong_number_of_rates_are_refused(hosted) -> None:
    net, _ = hosted()
    with pytest.raises(ShapeError, match="5 columns"):
        ColumnVolts(net[5], DRIVE).set([1.0])
    net[5].plastic = False
    with pytest.raises(ConfigError, match="stores"):
        ColumnVolts(net[5], DRIVE)


def test_half_selected_cells_are_counted_by_the_formula(hosted) -> None:
    net, chip = hosted()
    (tile,) = net[5].tiles
    chip.ledger.lesson = "now"
    train = torch.zeros(tile.shape)
    train[0, 0], train[2, 3] = 4, -3
    chip.bill.pulses(tile, *tile.pulse(train))
    two = disturb(tile, DRIVE, chip.ledger, lesson="now")
    assert two.pulses == 7
    assert two.exposures == 7 * (9 + 5 - 2)
    assert two.step == pytest.approx(LAW.rate(0.75) / LAW.rate(1.5))
    three = disturb(tile, DRIVE, chip.ledger, scheme="V/3", lesson="now")
    assert three.exposures == 7 * (9 * 5 - 1)
    assert three.step < two.step
    assert disturb(tile, DRIVE, chip.ledger, scheme="1T1R").drift_bound == 0.0
    # Below a threshold nothing is disturbed; without one something always is.
    sharp = Threshold(threshold_v=0.8, exponent=2.0, source="test")
    drive = Drive(law=sharp, reference_v=1.5, reference_s=1e-7, low_v=0.9, high_v=1.8)
    assert disturb(tile, drive, chip.ledger).drift_bound == 0.0 < two.drift_bound


def test_a_chip_whose_half_selected_cells_move_by_this_law(hosted) -> None:
    assert DRIVE.half_select == pytest.approx(LAW.rate(0.75) / LAW.rate(1.5))

    def other_cell(share: float) -> float:
        net, _ = hosted(spec=replace(ideal_chip(), pairs=1, half_select=share))
        (tile,) = net[5].tiles
        train, before = torch.zeros(tile.shape), tile.hidden[0].clone()
        train[0, 0] = 20
        tile.pulse(train, plane=0)
        return float((tile.hidden[0] - before).view(tile.shape)[0, 1].abs())

    assert other_cell(DRIVE.half_select) > 0.0 == other_cell(0.0)


def test_what_is_unknown_or_out_of_range_is_said() -> None:
    row = material("hfo2_array").supply(write_voltage_v=1.5, write_time_s=1e-7)
    known = Drive.of(cell(row), LAW, low_v=1.0, high_v=2.0)
    assert known.reference_v == 1.5
    with pytest.raises(DeviceLimitError, match="write_voltage_v"):
        Drive.of(cell("hfo2_array"), LAW, low_v=1.0, high_v=2.0)
    with pytest.raises(DeviceLimitError, match="not published; give a law"):
        Drive.of(cell(row), None, low_v=1.0, high_v=2.0)
    with pytest.raises(ConfigError, match="low_v < high_v"):
        Drive.of(cell(row), LAW, low_v=2.0, high_v=1.0)
    with pytest.raises(DeviceLimitError, match="no cell is so steep"):
        Sinh(scale_v=1e-3, source="t").rate(1.5)
    with pytest.raises(ConfigError, match="moves nothing"):
        Drive.of(cell(row), Threshold(threshold_v=2.0, exponent=1.0, source="t"), low_v=1, high_v=3)
