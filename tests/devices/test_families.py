"""Every family: a cell for every row, steps by the published laws, spreads by their moments."""

import math
from collections.abc import Callable

import pytest
import torch

from clnf.core.errors import DeviceLimitError
from clnf.devices import pulse_reference, pulses
from clnf.devices.cell import Cell, Unknown
from clnf.devices.dispatch import run
from clnf.devices.draws import hash_key
from clnf.devices.families import cell
from clnf.devices.materials import FAMILIES, Material, material, materials
from clnf.devices.pulses import Cells, PulseJob
from clnf.devices.response import Response, cell_traits

N = 400_000


def soft(step: float) -> tuple[Callable[[float], float], Callable[[float], float]]:
    return lambda w: step * (1 - w), lambda w: step * (1 + w)


def linear(
    step: float, slopes: tuple[float, float], bounds: tuple[float, float]
) -> tuple[Callable[[float], float], Callable[[float], float]]:
    return (
        lambda w: step * (1 - slopes[0] * w / bounds[1]),
        lambda w: step * (1 - slopes[1] * w / bounds[0]),
    )


# Mean steps up and down of a typical cell, as printed in the sources, and its bounds.
STEPS = {
    "hfo2_array": (*soft(0.4622), (-1.0, 1.0)),
    "hfo2_array_optimised": (*soft(0.0949), (-1.0, 1.0)),
    "hfo2_single": (
        lambda w: 0.00135 * max(0, 1 + 1.18445 * math.exp(5 * (-0.5 * w - 0.5))),
        lambda w: 0.00135 * 0.741 * max(0, 1 + 0.081404 * math.exp(-5 * (-0.5 * w - 0.5))),
        (-1.0, 1.0),
    ),
    "gst_pcm_training": (
        lambda w: 0.01 * (1 + 27.235 * math.exp(-2.5 * w)),
        lambda w: 0.01 * (1 + 2.235 * math.exp(2.5 * w)),
        (0.0, 2.0),
    ),
    "ecram_li": (*linear(0.002, (0.1153, 0.5085), (-0.8276, 1.1724)), (-0.8276, 1.1724)),
    "ecram_metal_oxide": (
        *linear(2.8214e-4, (0.4152, 0.7342), (-0.8286, 1.1714)), (-0.8286, 1.1714),
    ),
    "capacitor_3t1c": (*linear(0.005, (0.05, 0.05), (-1.0, 1.0)), (-1.0, 1.0)),
}  # fmt: skip
# Spreads: step, up against down, upper and lower bound, dead cells.
SPREADS = {
    "hfo2_array": (0.7125, 0.01, 0.4295, 0.599, 0.0977),
    "hfo2_array_optimised": (0.7829, 0.01, 0.35, 0.5695, 0.1348),
    "hfo2_single": (0.2, 0.05, 0.3, 0.3, 0.0),
    "gst_pcm_training": (0.2, 0.05, 0.1, 0.0, 0.0),
    "ecram_li": (0.1, 0.01, 0.05, 0.05, 0.0),
    "ecram_metal_oxide": (0.1, 0.01, 0.05, 0.05, 0.0),
    "capacitor_3t1c": (0.1, 0.06, 0.07, 0.07, 0.0),
}
OWN = {
    "step": 0.02, "slope_up": 0.4, "slope_down": 0.6, "conductance_max_s": 1e-5,
    "write_voltage_v": 1.0, "write_time_s": 1e-6, "exponential_gamma": 2.0, "exponential_up": -1.0,
    "exponential_down": -1.0, "exponential_a": -0.5, "exponential_b": -0.5, "read_voltage_v": 0.1,
}  # fmt: skip


def off(measured: float, expected: float, error: float) -> float:
    """Distance in standard errors."""
    return abs(measured - expected) / error


def law_of(one: Cell) -> Response:
    return one.need(one.response)


def test_every_row_with_steps_is_tested_here() -> None:
    have = {name for name in materials() if "response" not in cell(name).left_out}
    assert have == set(STEPS) == set(SPREADS)


@pytest.mark.parametrize("name", materials())
def test_every_row_has_a_cell(name: str) -> None:
    one = cell(name)
    assert one.material is material(name)
    assert cell(material(name)) == one


def pulsed(row: Material, n: int, *, compiled: bool = True, count: int = 500) -> Cells:
    one = cell(row)
    law, low, high = law_of(one), *one.bounds
    table = cell_traits(law, count, 2)
    middle = torch.full((count,), (low + high) / 2)
    state = Cells(middle, middle.clone(), torch.zeros(count, dtype=torch.int32))
    job = PulseJob(torch.full((count,), n, dtype=torch.int16), torch.ones(count), 0)
    args = job, state, one.law(), table, hash_key(0, "test", words=6)
    run(pulses.pulse_cells, pulse_reference.pulse_cells, args, compiled=compiled)
    return state


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_can_be_pulsed_once_its_values_are_supplied(family: str) -> None:
    rows = [material(name) for name in materials() if material(name).family == family]
    for row in rows or [Material(name="mine", title="Mine", family=family, values={})]:
        own = row.supply(**{key: value for key, value in OWN.items() if key not in row.values})
        middle = sum(cell(own).bounds) / 2
        up, down = pulsed(own, 3), pulsed(own, -3)
        assert float(up.hidden.mean()) > middle > float(down.hidden.mean())
        assert int(up.wear.min()) == int(up.wear.max()) == 3
        assert torch.equal(pulsed(own, 3, compiled=False).hidden, up.hidden)
        assert "pulse" not in cell(own).left_out


@pytest.mark.parametrize("share", [0.05, 0.3, 0.5, 0.95])
@pytest.mark.parametrize("name", STEPS)
def test_mean_steps_are_the_published_ones(name: str, share: float) -> None:
    up, down, (low, high) = STEPS[name]
    w = low + share * (high - low)
    law = law_of(cell(name))
    assert (law.bound_min, law.bound_max) == (low, high)
    at = torch.tensor([w], dtype=torch.float64)
    for one_way, by_hand in ((True, up), (False, down)):
        step = float(law.mean_step(at, up=one_way))
        assert step == pytest.approx(by_hand(w), rel=2e-5)
        assert step != pytest.approx(1.01 * by_hand(w), rel=2e-5)


@pytest.mark.parametrize("name", STEPS)
def test_the_kernel_takes_these_steps(name: str) -> None:
    """One pulse at cells without spread, side by side over the range."""
    up, down, (low, high) = STEPS[name]
    row = material(name).supply(
        step_spread=0.0, up_down_spread=0.0, bound_max_spread=0.0, bound_min_spread=0.0,
        cycle_spread=0.0, write_noise=0.0, dead_fraction=0.0,
    )  # fmt: skip
    law = law_of(cell(row))
    start = torch.linspace(low, high, 101)
    for sign, by_hand in ((1, up), (-1, down)):
        state = Cells(start.clone(), start.clone(), torch.zeros(101, dtype=torch.int32))
        job = PulseJob(torch.full((101,), sign, dtype=torch.int16), torch.ones(101), 0)
        args = job, state, law.law(), cell_traits(law, 101, 0), hash_key(0, "test", words=6)
        run(pulses.pulse_cells, pulse_reference.pulse_cells, args)
        for w, after in zip(start.tolist(), state.hidden.tolist(), strict=True):
            wanted = min(max(w + sign * by_hand(w), low), high)
            assert after == pytest.approx(wanted, abs=1e-6 + 1e-4 * by_hand(w))


def centred(name: str, row: int) -> torch.Tensor:
    law = law_of(cell(material(name).supply(dead_fraction=0.0)))
    return cell_traits(law, N, 7)[row].double()


@pytest.mark.parametrize("name", SPREADS)
def test_steps_spread_as_a_lognormal_law_that_keeps_its_mean(name: str) -> None:
    spread, bias, *_ = SPREADS[name]
    law = law_of(cell(name))
    up, down = centred(name, 0), centred(name, 1)
    # Both directions share one factor exp(s xi - s^2/2); what differs is 1 + s' xi and 1 - s' xi.
    both = (up / law.step_up + down / law.step_down) / 2
    log = both.log()
    assert off(float(log.std()), spread, spread / (2 * N) ** 0.5) < 4.5
    assert off(float(log.mean()), -(spread**2) / 2, spread / N**0.5) < 4.5
    assert off(float(log.std()), 1.015 * spread, spread / (2 * N) ** 0.5) > 4.5
    apart = (up / law.step_up - down / law.step_down) / (2 * both)
    assert off(float(apart.mean()), 0.0, bias / N**0.5) < 4.5
    assert off(float(apart.std()), bias, bias / (2 * N) ** 0.5) < 4.5
    assert off(float(apart.std()), 1.015 * bias, bias / (2 * N) ** 0.5) > 4.5


@pytest.mark.parametrize("name", SPREADS)
def test_bounds_spread_normally_and_keep_their_sign(name: str) -> None:
    *_, above, below, _ = SPREADS[name]
    law = law_of(cell(name))
    upper, lower = centred(name, 2), centred(name, 3)
    assert float(upper.min()) >= 0
    assert float(lower.max()) <= 0
    # The square of |b (1 + s xi)| does not see the sign: its mean is b^2 (1 + s^2), exactly.
    for values, bound, spread in ((upper, law.bound_max, above), (lower, law.bound_min, below)):
        square = values.square()
        error = float(square.std()) / N**0.5 + 1e-6 * bound**2
        wanted = bound**2 * (1 + spread**2)
        if error == 0:
            assert bound == 0
            continue
        assert off(float(square.mean()), wanted, error) < 4.5
        if spread > 0:
            assert off(float(square.mean()), 1.015 * wanted, error) > 4.5


@pytest.mark.parametrize("name", SPREADS)
def test_dead_cells_are_as_frequent_as_published_and_stuck_anywhere(name: str) -> None:
    share = SPREADS[name][-1]
    table = cell_traits(law_of(cell(name)), N, 7).double()
    dead = table[0] == 0
    error = (share * (1 - share) / N) ** 0.5
    assert abs(float(dead.double().mean()) - share) <= 4.5 * error
    assert torch.equal(dead, table[1] == 0)
    assert torch.equal(table[2, dead], table[3, dead])
    if share:
        assert abs(float(dead.double().mean()) - 1.04 * share) > 4.5 * error
        alive = cell_traits(law_of(cell(material(name).supply(dead_fraction=0.0))), N, 7).double()
        low, high = alive[3, dead], alive[2, dead]
        place = ((table[2, dead] - low) / (high - low))[high - low > 0.05]
        assert off(float(place.mean()), 0.5, (1 / 12 / place.numel()) ** 0.5) < 4.5


@pytest.mark.parametrize("name", ["hfo2_array", "hfo2_single", "ecram_li", "gst_pcm_training"])
def test_one_pulse_spreads_from_cycle_to_cycle_as_published(name: str) -> None:
    cycle = {"hfo2_array": 0.2174, "hfo2_single": 5.0, "ecram_li": 0.3, "gst_pcm_training": 0.6}
    row = material(name).supply(
        step_spread=0.0, up_down_spread=0.0, bound_max_spread=0.0, bound_min_spread=0.0,
        dead_fraction=0.0, write_noise=0.0,
    )  # fmt: skip
    up, _, (low, high) = STEPS[name]
    middle = (low + high) / 2
    moved = pulsed(row, 1, count=N).hidden.double() - middle
    size = up(middle)
    spread = cycle[name] * size
    # Nothing is cut: the bounds are further than five spreads away, or the draw's end is.
    assert size + 4.88 * spread < (high - low) / 2 or name == "hfo2_array"
    assert off(float(moved.mean()), size, spread / N**0.5) < 4.5
    assert off(float(moved.std()), spread, spread / (2 * N) ** 0.5) < 4.5
    assert off(float(moved.std()), 1.015 * spread, spread / (2 * N) ** 0.5) > 4.5


def test_write_noise_is_seen_and_not_kept() -> None:
    row = material("hfo2_array_optimised").supply(dead_fraction=0.0)
    state = pulsed(row, 1, count=N)
    noise = (state.seen - state.hidden).double()
    sigma = 1.4113 * 0.0949
    assert off(float(noise.mean()), 0.0, sigma / N**0.5) < 4.5
    assert off(float(noise.std()), sigma, sigma / (2 * N) ** 0.5) < 4.5
    assert off(float(noise.std()), 1.015 * sigma, sigma / (2 * N) ** 0.5) > 4.5


@pytest.mark.parametrize(("bias", "up", "down"), [(0.25, 1.0, 0.75), (-0.25, 0.75, 1.0)])
def test_a_bias_weakens_one_direction_and_the_write_noise_stays(
    bias: float, up: float, down: float
) -> None:
    row = material("hfo2_single").supply(up_down_bias=bias)
    law = law_of(cell(row))
    assert (law.step_up, law.step_down) == pytest.approx((0.00135 * up, 0.00135 * down))
    assert float(law.law()[pulses.WRITE_NOISE]) == pytest.approx(75 * 0.00135, rel=1e-6)
    assert "steps must be positive" in cell(row.supply(up_down_bias=1.0)).left_out["response"]


def fitted(**values: float) -> Response:
    row = Material(name="mine", title="Mine", family="fitted", values={}).supply(**values)
    return law_of(cell(row))


def test_a_fitted_row_takes_the_law_it_was_fitted_with() -> None:
    steps = {"step_up": 0.03, "step_down": 0.01}
    power = fitted(power_up=2.0, power_down=3.0, **steps)
    w = torch.tensor([0.5], dtype=torch.float64)
    assert power.kind == "power"
    assert float(power.mean_step(w, up=True)) == pytest.approx(0.03 * 0.25**2, rel=1e-5)
    assert float(power.mean_step(w, up=False)) == pytest.approx(0.01 * 0.75**3, rel=1e-5)
    curved = fitted(
        exponential_up=-1.0, exponential_down=-0.5, exponential_a=-0.5, exponential_b=-0.5,
        exponential_gamma_up=2.0, exponential_gamma_down=3.0, **steps,
    )  # fmt: skip
    z = 2 * -0.5 * 0.5 / 2 - 0.5
    assert curved.kind == "exponential"
    assert float(curved.mean_step(w, up=True)) == pytest.approx(
        0.03 * (1 + math.exp(2 * z)), rel=1e-5
    )
    assert float(curved.mean_step(w, up=False)) == pytest.approx(
        0.01 * (1 + 0.5 * math.exp(-3 * z)), rel=1e-5
    )
    straight = fitted(slope_up=0.2, slope_down=0.8, **steps)
    assert straight.kind == "linear"
    assert float(straight.mean_step(w, up=True)) == pytest.approx(0.03 * 0.9, rel=1e-5)
    assert float(straight.mean_step(w, up=False)) == pytest.approx(0.01 * 1.4, rel=1e-5)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({}, "slope_up"),
        ({"slope_up": 0.1}, "slope_down"),
        ({"slope_up": 0.1, "slope_down": 0.1}, "'step'"),
        ({"power_up": 2.0}, "power_down"),
        ({"exponential_up": 1.0}, "exponential_gamma"),
        ({"slope_up": 0.1, "slope_down": 0.1, "step_up": 0.1}, "step_down"),
    ],
)
def test_a_fitted_row_names_what_it_lacks(values: dict[str, float], named: str) -> None:
    with pytest.raises(DeviceLimitError, match=named):
        fitted(**values)


def test_phase_change_cells_are_programmed_from_zero_up() -> None:
    """Their on/off ratio is no lower end of the window: reset cells count as 0."""
    assert material("gst_pcm").get("on_off").number == 100.0
    assert cell("gst_pcm").need(cell("gst_pcm").window).low_s == 0.0


def test_unknown_is_told_from_known_by_its_type() -> None:
    assert isinstance(cell("gst_pcm").response, Unknown)
    assert isinstance(cell("hfo2_array").response, Response)
