"""A fit finds the law and the numbers that made the traces, inside its own intervals."""

import dataclasses
import runpy
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clnf.core.errors import ConfigError, DataError, ExportError
from clnf.core.rng import numpy_rng
from clnf.devices.fitting import CellLaw, Fit, Schedule, fit, fit_traces, measured, write_csv
from clnf.devices.fitting.levels import find_levels
from clnf.devices.fitting.living import census
from clnf.devices.fitting.traces import Traces

BENCH = runpy.run_path(str(Path(__file__).parents[3] / "benchmarks" / "fit_recovery.py"))
WINDOW: dict[str, Any] = {"conductance_min_s": 200e-6, "conductance_max_s": 400e-6}
LINEAR = CellLaw(
    law="linear", step_up=0.05, step_down=0.06, step_spread=0.2, bound_max_spread=0.1,
    bound_min_spread=0.1, cycle_spread=0.3, write_noise=0.5, **WINDOW,
    shape={"slope_up": 0.4, "slope_down": 0.6},
)  # fmt: skip
FAULTY = Schedule(devices=16, train=60, cycles=2, missing=0.05, outliers=0.01)


@pytest.fixture(scope="module")
def linear() -> Fit:
    return fit_traces(measured(LINEAR, FAULTY, 3), "linear", seed=3)


@pytest.fixture(scope="module")
def presets() -> list[tuple[CellLaw, Fit]]:
    """Fits of two published cells, two seeds each."""
    return [
        (cell, fit_traces(measured(cell, schedule, seed), name, seed=seed))
        for name in ("hfo2_array", "capacitor_3t1c")
        for cell, schedule in [BENCH["PRESETS"][name]]
        for seed in (0, 1)
    ]


def test_published_cells_are_recovered_at_the_stated_rate(
    presets: list[tuple[CellLaw, Fit]],
) -> None:
    right = [(cell, found) for cell, found in presets if found.law == cell.law]
    assert len(right) >= 3
    good = [v for cell, found in right for v in BENCH["inside"](found, cell).values()]
    assert len(good) > 30
    # At 95 % the chance of less than 85 % of some 45 numbers is below 1 %.
    assert np.mean(good) >= 0.85
    # Negative control: intervals a quarter as wide hold far too few.
    narrow = [v for cell, found in right for v in BENCH["inside"](found, cell, 0.25).values()]
    assert np.mean(narrow) < 0.7


def test_the_law_is_found_with_gaps_and_outliers(linear: Fit) -> None:
    assert linear.law == "linear"
    truth = BENCH["truth"](LINEAR)
    missed = [k for k, one in linear.parameters.items() if k in truth and not one.holds(truth[k])]
    assert len(missed) <= 2, missed
    chosen = [score for score in linear.scores if score.chosen]
    assert [score.law for score in chosen] == ["linear"]
    assert linear.scores[0].behind == 0.0


def test_another_law_is_not_called_linear() -> None:
    soft = dataclasses.replace(LINEAR, law="soft_bounds", shape={})
    assert fit_traces(measured(soft, FAULTY, 3), seed=3).law == "soft_bounds"
    bent = dataclasses.replace(
        LINEAR, law="power", step_up=0.2, step_down=0.2, shape={"power_up": 2.0, "power_down": 2.0}
    )
    found = fit_traces(measured(bent, FAULTY, 3), seed=3)
    assert found.law == "power"
    assert found.parameters["power_up"].holds(2.0)


def test_outliers_are_found_and_nearly_nothing_else(linear: Fit) -> None:
    traces = measured(LINEAR, FAULTY, 3)
    clean = measured(LINEAR, dataclasses.replace(FAULTY, outliers=0.0), 3)
    begin = dict(zip(traces.names, [0, *traces.ends.tolist()[:-1]], strict=True))
    found = {begin[one.device] + one.pulse - 1 for one in linear.outliers}
    away = np.abs(traces.conductance_s - clean.conductance_s)
    planted = set(np.flatnonzero(away > 40e-6).tolist())
    assert len(planted) > 15
    assert len(found & planted) >= 0.8 * len(planted)
    wrong = found - set(np.flatnonzero(away > 0).tolist())
    assert len(wrong) <= 2


def test_a_fit_is_the_same_each_time(linear: Fit) -> None:
    again = fit_traces(measured(LINEAR, FAULTY, 3), "linear", seed=3)
    assert again.parameters == linear.parameters
    assert again.scores == linear.scores


def test_dead_cells_are_counted_and_tell_the_read_noise() -> None:
    cell = dataclasses.replace(LINEAR, dead_fraction=0.3, read_noise_scale=0.01)
    found = fit_traces(measured(cell, FAULTY, 5), seed=5)
    assert 2 <= len(found.dead) <= 9
    assert found.parameters["dead_fraction"].holds(0.3)
    assert found.parameters["read_noise_scale"].value == pytest.approx(0.01, rel=0.1)


def test_one_device_is_enough_and_says_what_it_cannot_tell() -> None:
    cell = dataclasses.replace(LINEAR, step_spread=0.0, bound_max_spread=0.0, bound_min_spread=0.0)
    found = fit_traces(measured(cell, Schedule(devices=1, train=60, cycles=4), 2), seed=2)
    assert found.law == "linear"
    assert "step_spread" not in found.parameters
    assert "one living device" in found.warnings[0]
    assert found.parameters["slope_down"].holds(0.6)


def sixteen() -> Traces:
    cell = dataclasses.replace(
        LINEAR, bound_max_spread=0.0, bound_min_spread=0.0, write_noise=0.0, states=16,
        read_noise_scale=0.002,
    )  # fmt: skip
    return measured(cell, dataclasses.replace(FAULTY, devices=12), 1)


def test_a_device_with_16_levels_is_recognised() -> None:
    found = fit_traces(sixteen(), seed=1)
    assert found.levels is not None
    assert np.allclose(found.levels.conductance_s, np.linspace(200e-6, 400e-6, 16), rtol=0.002)
    assert found.parameters["states"].value == 16
    assert found.law == "linear"
    assert found.parameters["slope_up"].value == pytest.approx(0.4, abs=0.08)
    assert found.parameters["step_down"].value == pytest.approx(0.06, rel=0.25)
    assert found.parameters["read_noise_scale"].value == pytest.approx(0.002, rel=0.1)


def test_smooth_readings_have_no_levels(linear: Fit) -> None:
    assert linear.levels is None
    rng = numpy_rng(0, "smooth")
    assert find_levels(rng.uniform(1e-4, 2e-4, 900), 0) is None
    assert find_levels(1e-4 + 1e-5 * rng.standard_normal(900) ** 2, 0) is None


def noise(swap: bool) -> Traces:
    """Readings that do not follow their pulses, or follow them the wrong way."""
    traces = measured(LINEAR, FAULTY, 1)
    if swap:
        return dataclasses.replace(traces, pulses=-traces.pulses)
    g = 300e-6 * (1 + 0.1 * numpy_rng(0, "garbage").standard_normal(len(traces.pulses)))
    return dataclasses.replace(traces, conductance_s=g)


def wandering(share: float, seed: int, *, devices: int, cycles: int) -> Traces:
    """Readings of which a share of the movement is a walk without regard to the pulses."""
    schedule = Schedule(devices=devices, train=60, cycles=cycles)
    traces = measured(LINEAR, schedule, seed)
    rng, g = numpy_rng(seed, "walk"), traces.conductance_s.copy()
    for _, part in traces.parts():
        walk = 300e-6 + 10e-6 * np.cumsum(rng.standard_normal(part.stop - part.start))
        g[part] = np.abs((1 - share) * g[part] + share * walk)
    return dataclasses.replace(traces, conductance_s=g)


@pytest.mark.parametrize("seed", range(6))
def test_readings_that_wander_by_themselves_are_refused(seed: int) -> None:
    # Few long trains: devices seem to move, along and against; many: trains are not alike.
    with pytest.raises(DataError, match="as readings that wander by themselves would"):
        census(wandering(1.0, seed, devices=40, cycles=1))
    with pytest.raises(DataError):
        census(wandering(1.0, seed, devices=16, cycles=4))
    # Negative control: cells that follow their pulses and wander a little are kept.
    assert len(census(wandering(0.1, seed, devices=16, cycles=4)).living) >= 14


def test_noise_and_swapped_directions_are_refused() -> None:
    with pytest.raises(DataError, match="none of 16 devices moves with its pulses"):
        fit_traces(noise(swap=False))
    with pytest.raises(DataError, match="swap up and down"):
        fit_traces(noise(swap=True))
    with pytest.raises(ConfigError, match=r"rate of intervals lies between 0.5 and 1, got 1.5"):
        fit_traces(measured(LINEAR, FAULTY, 1), rate=1.5)
    with pytest.raises(ConfigError, match=r"read_noise is a share of a reading.*got -1"):
        fit_traces(measured(LINEAR, FAULTY, 1), read_noise=-1.0)


def test_the_material_holds_every_number_with_source_and_interval(
    tmp_path: Path, linear: Fit
) -> None:
    path = tmp_path / "cell.toml"
    linear.save(path, "my_cell", write_voltage_v=1.2)
    row = tomllib.loads(path.read_text())["my_cell"]
    assert (row["family"], row["law"]) == ("fitted", "linear")
    for key, one in linear.parameters.items():
        assert row[key]["value"] == one.value
        assert row[key]["interval"] == [one.low, one.high]
        assert "16 devices" in row[key]["source"]
    assert row["write_voltage_v"]["value"] == 1.2
    assert row["conductance_min_s"]["unit"] == "S"
    with pytest.raises(ConfigError, match="cannot name a material"):
        linear.material("My cell")
    with pytest.raises(ExportError, match="cannot be written"):
        linear.save(tmp_path / "nowhere" / "cell.toml", "my_cell")
    assert [p.name for p in tmp_path.iterdir()] == ["cell.toml"]


def test_a_file_gives_what_its_traces_give(tmp_path: Path) -> None:
    write_csv(measured(LINEAR, dataclasses.replace(FAULTY, devices=6), 4), tmp_path / "t.csv")
    found = fit(tmp_path / "t.csv", seed=4)
    assert found.file == "t.csv"
    assert found.sha256[:16] in found.source
    assert "6 living devices" in found.warnings[0]
