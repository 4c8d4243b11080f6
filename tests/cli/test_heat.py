"""``clnf chip heat`` at the door: tables, JSON, the picture, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from clnf.cli import warm_pictures
from clnf.cli.show import COLUMNS

Clnf = Callable[..., tuple[int, str, str]]


def test_a_sweep_prints_tables_and_draws(clnf: Clnf, tmp_path: Path) -> None:
    picture = tmp_path / "heat.png"
    code, out, _ = clnf(
        "chip", "heat", "--pitch", "28", "--pitch", "80", "--package", "40", "--slope", "0.002",
        "--limit-c", "50", "--seconds", "100", "--picture", picture,
    )  # fmt: skip
    assert code == 0
    assert max(map(len, out.splitlines())) <= COLUMNS
    assert len([line for line in out.splitlines() if line.startswith((" 28 ", " 80 "))]) == 12
    assert len([line for line in out.splitlines() if line.split()[2:3] == ["*"]]) == 2
    assert "drift stays as it is" in out
    assert "thermal noise stays as it is: no source says read_voltage_v" in out
    assert "below 50 °C by slower" in out
    assert "below 50 °C by fewer, from cold" in out
    assert "in time: after" in out
    assert f"picture: {picture}" in out
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_json_is_in_si_and_heat_follows_the_package(clnf: Clnf) -> None:
    peaks = []
    for package in ("20", "40"):
        code, out, err = clnf(
            "chip", "heat", "--tiles", "8", "--package", package, "--ambient-c", "25", "--json"
        )
        found = json.loads(out)
        assert (code, err) == (0, "")
        (point,) = found["points"]
        peaks.append(point["hottest_k"] - 298.15)
        power = point["energy_j"] / point["time_s"]
        assert 0 < point["mean_k"] - 298.15 < point["hottest_k"] - 298.15
        assert point["mean_k"] - 298.15 > float(package) * power
        assert not found["throttling"]
        course = found["in_time"]["no limit"]
        assert course["hottest_k"] == sorted(course["hottest_k"])
        assert course["hottest_k"][-1] == pytest.approx(point["hottest_k"], abs=0.05)
        assert 0 < course["stored_j"] < course["given_j"]
        assert not found["lessons"]
        assert all("conductance" in tile["unaffected"] for tile in found["tiles"])
    assert peaks[1] > peaks[0] + 0.5


def test_a_run_is_looked_at_with_its_own_chip(
    clnf: Clnf, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warm_pictures, "_PICTURES", 1)
    code, out, _ = clnf("chip", "heat", made, "--tiles", "1", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["points"][0]["tiles_at_once"] == 1
    assert any(tile["endurance"] for tile in found["tiles"])
    lessons = found["lessons"]
    assert lessons
    assert all(lesson["hottest_k"] > 318.15 for lesson in lessons)
    ends = [lesson["end_s"] for lesson in lessons]
    assert ends == sorted(ends)
    code, _, err = clnf("chip", "heat", made, "--slope", "0.1")
    assert code == 2
    assert "leave out --slope" in err


def test_pictures_are_drawn_in_warmth_and_calibrated_there(clnf: Clnf) -> None:
    code, out, _ = clnf(
        "chip", "heat", "--tiles", "32", "--package", "400", "--slope", "0.002", "--read-v", "0.2",
        "--draw", "--json",
    )  # fmt: skip
    found = json.loads(out)
    assert code == 0
    assert all(tile["johnson"] > 0 for tile in found["tiles"])
    cold, other, warm, calibrated = found["pictures"]
    assert cold["off_cold"] == 0.0 < other["off_cold"]
    assert warm["off_cold"] > calibrated["off_cold"] > 0
    assert warm["products_off"] > 3 * calibrated["products_off"]
    assert calibrated["cost_j"] > 0 == warm["cost_j"]
    assert 0 <= calibrated["match"] <= 1


def test_what_cannot_be_is_one_sentence(clnf: Clnf) -> None:
    wrong = {
        ("--package", "0"): "--package must be 1e-06 to 1e+06 K/W, got 0",
        ("--seconds", "0"): "--seconds must be 1e-09 to 1e+09 s, got 0",
        ("--seconds", "nan"): "--seconds must be",
        ("--pitch", "44e-9"): "--pitch must be 1 to 100000 nm, got 4.4e-08",
        ("--ambient-c", "-300"): "--ambient-c must be -273 to 1000 °C, got -300",
        ("--limit-c", "20"): "--limit-c must be above the air's 45 °C, got 20",
        ("--limit-c", "nan"): "--limit-c must be above",
        ("--slope", "nan"): "conductance_temperature_coefficient must be finite, got nan",
        ("--read-v", "0"): "read_voltage_v must be positive, got 0",
        ("nosuch",): "no run in nosuch",
    }
    for words, sentence in wrong.items():
        code, _, err = clnf("chip", "heat", *words)
        assert code == 2
        assert err.startswith(f"clnf: {sentence}"), words  # and nothing was drawn before


def test_work_that_nothing_stands_is_not_called_a_runaway(clnf: Clnf) -> None:
    code, _, err = clnf("chip", "heat", "--tiles", "8", "--package", "1e6")
    assert code == 2
    assert "hotter than 10,000 K, which nothing stands" in err
    assert "runs away" not in err
