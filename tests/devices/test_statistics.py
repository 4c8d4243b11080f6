"""Cells of every material lie inside the bands of what was published, and wrong ones outside."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from clnf.core.errors import DeviceLimitError
from clnf.devices import published, pulse_reference, pulses, samples
from clnf.devices.dispatch import run
from clnf.devices.draws import hash_key
from clnf.devices.families import cell
from clnf.devices.materials import Material, material, materials
from clnf.devices.pulses import Cells, PulseJob
from clnf.devices.response import cell_traits
from clnf.devices.statistics import Statistics, statistics, targets

SUPPLIED: dict[str, dict[str, float]] = {
    "sonos_40nm": {"read_voltage_v": 0.1},
    "capacitor_3t1c": {"conductance_max_s": 1e-5, "conductance_min_s": 1e-6, "batch_s": 0.01},
}
PULSED = [name for name in materials() if "response" not in cell(name).left_out]
LAWS = {
    "response": {"pulses", "symmetric point"},
    "programming": {"programming"},
    "drift": {"drift"},
    "noise": {"read noise"},
    "endurance": {"life"},
}


def whole(name: str) -> Material:
    """A row with what nobody published but its laws need."""
    return material(name).supply(**SUPPLIED.get(name, {}))


@pytest.mark.parametrize("name", materials())
def test_every_material_is_inside_its_bands(name: str) -> None:
    found = statistics(whole(name), cells=600)
    assert not found.outside, found.outside
    judged = {check.law for check in found.checks}
    missing = set(found.left_out)
    if "window" in missing:
        missing |= {"programming", "drift", "noise"}
    assert judged == set().union(*(laws for part, laws in LAWS.items() if part not in missing))


def test_what_is_judged() -> None:
    found = statistics("gst_pcm", cells=200)
    ages = {check.at.partition(" after ")[2] for check in found.checks if check.law == "drift"}
    assert ages == {"1 s", "1 h", "1 day", "1 month"}
    assert {check.unit for check in found.checks} == {"S", "1"}
    pulsed = statistics("hfo2_array", cells=200)
    assert [check.at for check in pulsed.checks[:5]] == [
        "1 pulse up", "10 pulses up", "100 pulses up", "300 pulses up", "1000 pulses up",
    ]  # fmt: skip
    assert set(pulsed.left_out) >= {"drift", "noise", "programming", "window"}
    assert "read_noise_scale" in pulsed.left_out["noise"]


def planted(name: str, key: str, change: Callable[[float], float], place: int = 0) -> Statistics:
    """Cells with one coefficient changed, judged by what was published."""
    row = whole(name)
    values = list(row.get(key).coefficients)
    values[place] = change(values[place])
    wrong = row.supply(**{key: tuple(values) if len(values) > 1 else values[0]})
    return statistics(row, cells=4000, built=cell(wrong))


@pytest.mark.parametrize(
    ("name", "key", "place", "factor", "law"),
    [
        ("gst_pcm", "programming_noise_s", 1, 1.2, "programming"),
        ("hfo2_1t1r", "programming_noise_g", 0, 0.9, "programming"),
        ("sonos_40nm", "programming_noise_saturating", 0, 1.1, "programming"),
        ("gst_pcm", "drift_mean", 2, 1.05, "drift"),
        ("gst_pcm", "drift_reference_s", 0, 1.1, "drift"),
        ("pcm_hermes", "drift_spread_polynomial", 0, 1.3, "drift"),
        ("cmo_hfox", "drift_log_mean_s", 0, 1.1, "drift"),
        ("cmo_hfox", "drift_log_spread_s", 1, 1.2, "drift"),
        ("reram_130nm", "relaxation_spread_2d_s", 1, 1.1, "drift"),
        ("capacitor_3t1c", "state_lifetime_batches", 0, 1.1, "drift"),
        ("gst_pcm", "read_noise_scale", 0, 1.1, "read noise"),
        ("pcm_hermes", "read_noise_polynomial", 1, 1.2, "read noise"),
        ("cmo_hfox", "read_noise_log10", 0, 1.1, "read noise"),
        ("hfo2_array", "step", 0, 1.3, "pulses"),
        ("hfo2_array", "bound_max_spread", 0, 1.4, "pulses"),
        ("hfo2_array", "write_noise", 0, 1.5, "pulses"),
        ("hfo2_array_optimised", "dead_fraction", 0, 0.5, "pulses"),
        ("gst_pcm_training", "exponential_up", 0, 1.1, "pulses"),
        ("hfo2_single", "exponential_gamma", 0, 1.05, "symmetric point"),
        ("ecram_li", "slope_down", 0, 1.05, "pulses"),
        ("capacitor_3t1c", "step", 0, 1.02, "pulses"),
        ("taox_cmos", "endurance_cycles", 0, 1.1, "life"),
    ],
)
def test_a_wrong_coefficient_lands_outside(
    name: str, key: str, place: int, factor: float, law: str
) -> None:
    found = planted(name, key, lambda value: value * factor, place)
    assert law in {check.law for check in found.outside}


@pytest.mark.parametrize(
    "law",
    [
        {"power_up": 1.5, "power_down": 2.5},
        {"exponential_up": -1.0, "exponential_down": -0.5, "exponential_a": -0.5,
         "exponential_b": -0.5, "exponential_gamma_up": 2.0, "exponential_gamma_down": 3.0},
        {"slope_up": 0.2, "slope_down": 0.8},
    ],
)  # fmt: skip
def test_fitted_cells_are_judged_by_their_own_law(law: dict[str, float]) -> None:
    spreads = {"step_spread": 0.2, "cycle_spread": 0.5, "bound_max_spread": 0.1}
    bare = Material(name="mine", title="Mine", family="fitted", values={})
    row = bare.supply(step_up=0.03, step_down=0.02, write_noise=0.5, **spreads, **law)
    found = statistics(row, cells=2000, pulses=200)
    assert len(found.checks) == 9
    assert not found.outside, found.outside
    faster = cell(row.supply(step_up=0.033))
    assert statistics(row, cells=2000, pulses=200, built=faster).outside


def test_the_symmetric_point_is_where_steps_are_alike() -> None:
    (check,) = (c for c in statistics("ecram_li", cells=100).checks if c.law == "symmetric point")
    assert check.published.mean == pytest.approx(0.0, abs=1e-9)
    assert check.simulated.mean == pytest.approx(0.0, abs=1e-3)
    biased = material("ecram_li").supply(up_down_bias=0.1)
    at = published.crossing(biased)
    assert abs(at) > 0.05
    slopes = [biased.get(f"slope_{way}").number for way in ("up", "down")]
    bounds = biased.get("weight_range").coefficients
    up = 1 - slopes[0] * at / bounds[1]
    down = 0.9 * (1 - slopes[1] * at / bounds[0])
    assert up == pytest.approx(down, rel=1e-9)


def test_targets_lie_in_the_window() -> None:
    assert targets(cell("hfo2_1t1r")) == pytest.approx((56.25e-6, 112.5e-6, 168.75e-6, 225e-6))
    with pytest.raises(DeviceLimitError, match="conductance_max_s"):
        targets(cell("hfo2_array"))


def test_other_seeds_are_other_cells_with_the_same_law() -> None:
    a, b = (statistics("cmo_hfox", cells=600, seed=seed) for seed in (0, 1))
    assert a.checks[0].simulated != b.checks[0].simulated
    assert a.checks[0].published == b.checks[0].published
    assert not b.outside


def trained(name: str, n: int, cells: int) -> list[np.ndarray]:
    """Weights after three trains of ``n`` pulses up and three down, each train one call."""
    law = cell(name).need(cell(name).response)
    table = cell_traits(law, cells, 0)
    state = Cells(table[3].clone(), table[3].clone(), torch.zeros(cells, dtype=torch.int32))
    seen = []
    for turn in range(6):
        job = PulseJob(
            torch.full((cells,), n if turn < 3 else -n, dtype=torch.int16), torch.ones(cells), 0
        )
        args = job, state, law.law(), table, hash_key(0, "test", turn, words=6)
        run(pulses.pulse_cells, pulse_reference.pulse_cells, args)
        if turn in (0, 2, 3, 5):
            seen.append(state.seen.double().numpy())
    return seen


def apart(mine: np.ndarray, theirs: np.ndarray) -> float:
    """Distance of mean and spread in standard errors, 2 % of the spread being free."""
    free, count = 0.02 * theirs.std(), len(mine)
    error = theirs.std() * (2 / count) ** 0.5
    fourth = ((theirs - theirs.mean()) ** 4).mean()
    wide = ((fourth / theirs.var() - theirs.var()) / (2 * count)) ** 0.5
    of_mean = max(abs(mine.mean() - theirs.mean()) - free, 0.0) / error
    return max(of_mean, max(abs(mine.std() - theirs.std()) - free, 0.0) / wide)


@pytest.mark.parametrize("n", [2, 10, 31])
@pytest.mark.parametrize("name", PULSED)
def test_a_train_of_pulses_is_as_so_many_single_ones(name: str, n: int) -> None:
    mine = trained(name, n, 8000)
    theirs = published.pulsed(material(name), (n, 3 * n), cells=8000).reshape(4, -1)
    for ours, known in zip(mine, theirs, strict=True):
        assert apart(ours, known) < 4.5


@pytest.mark.parametrize(
    ("name", "n"),
    [("hfo2_array", 2), ("hfo2_array_optimised", 10), ("hfo2_single", 31), ("ecram_li", 10),
     ("gst_pcm_training", 10), ("ecram_metal_oxide", 31), ("capacitor_3t1c", 10)],
)  # fmt: skip
def test_half_again_as_many_pulses_would_be_seen(name: str, n: int) -> None:
    more = published.pulsed(material(name), (n + n // 2,), cells=8000)[0, 0]
    assert apart(trained(name, n, 8000)[0], more) > 4.5


def bits(threads: int) -> list[bytes]:
    """All samples of two materials, more cells than torch keeps on one thread."""
    torch.set_num_threads(threads)
    one, many, goals = cell("gst_pcm"), 70_001, (5e-6, 2.5e-5)
    stored = [
        samples.programmed(one.need(one.programming), goals, cells=many),
        samples.drifted(one.need(one.drift), goals, (1.0, 3600.0), cells=many),
        samples.read(one.need(one.noise), goals, (1.0, 3600.0), cells=many),
    ]
    for name in ("hfo2_array", "hfo2_single"):
        law = cell(name)
        stored.append(samples.pulsed(law.need(law.response), (1, 20), cells=many))
    return [values.tobytes() for values in stored]


def test_one_and_two_threads_give_the_same_bits() -> None:
    assert bits(1) == bits(2)
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found.append([statistics(name, cells=300, pulses=100) for name in materials()])
    assert repr(found[0]) == repr(found[1])  # nan is not equal to itself


def test_bits_would_tell() -> None:
    torch.set_num_threads(1)
    law = cell("hfo2_array")
    a, b = (samples.pulsed(law.need(law.response), (5,), cells=50, seed=s) for s in (0, 1))
    assert a.tobytes() != b.tobytes()


def test_a_course_of_pulses_is_one_path() -> None:
    law = cell("hfo2_array")
    few = samples.pulsed(law.need(law.response), (5, 20), cells=200)
    more = samples.pulsed(law.need(law.response), (1, 5, 7, 20), cells=200)
    assert np.array_equal(few[0, 0], more[0, 1])
    assert np.array_equal(few[:, 1], more[:, 3])
