"""``clnf chip map`` at the door: tables, JSON, the picture, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path

from clnf.cli.show import COLUMNS

Clnf = Callable[..., tuple[int, str, str]]


def test_a_run_is_shown_by_groups(clnf: Clnf, made: Path, tmp_path: Path) -> None:
    picture = tmp_path / "chip.png"
    code, out, _ = clnf("chip", "map", made, "--picture", picture)
    assert code == 0
    assert max(map(len, out.splitlines())) <= COLUMNS
    lines = out.splitlines()
    assert any(line.startswith(" middle1 ") for line in lines)
    assert any("places on;" in line for line in lines)
    assert "left out: wires: no technology row has a wire_bit_m_j" in out
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert str(picture) in out


def test_json_is_in_si_and_warmth_follows_the_package(clnf: Clnf, made: Path) -> None:
    peaks = []
    for package in ("10", "60"):
        code, out, err = clnf("chip", "map", made, "--package", package, "--json")
        found = json.loads(out)
        assert (code, err) == (0, "")
        peaks.append(found["hottest_k"])
        assert found["routing"]["energy_j"] < found["routing"]["random_placement_j"]
        assert sum(line["tiles"] for line in found["groups"]) == len(found["tiles"])
    assert peaks[1] > peaks[0] + 0.2 > 318.15


def test_without_a_run_it_is_a_model_that_nobody_taught(clnf: Clnf) -> None:
    code, out, _ = clnf("chip", "map", "--json")
    tiles = json.loads(out)["tiles"]
    assert code == 0
    assert len(tiles) > 200
    assert all(line["spent"] < 0.01 for line in tiles if line["spent"] is not None)


def test_a_strong_pull_costs_routing(clnf: Clnf, made: Path) -> None:
    costs = []
    for pull in ("0", "5"):
        code, out, _ = clnf("chip", "map", made, "--together", pull, "--json")
        assert code == 0
        costs.append(json.loads(out)["routing"]["energy_j"])
    assert costs[1] > 1.05 * costs[0]


def test_what_cannot_be_is_one_sentence(clnf: Clnf, tmp_path: Path) -> None:
    code, _, err = clnf("chip", "map", tmp_path)
    assert code == 2
    assert err.startswith("clnf: no run in")  # and nothing was drawn before
    for words, why in (
        (("--package", "nan"), "--package must be 1e-06 to 1e+06 K/W, got nan"),
        (("--together", "-1"), "--together must be 0 to 1e+06, got -1"),
    ):
        code, _, err = clnf("chip", "map", *words)
        assert (code, err) == (2, f"clnf: {why}; correct it\n")
    code, _, err = clnf("chip", "map", tmp_path, "--picture", tmp_path / "a.jpg")
    assert code == 2
    assert "end the name in .png" in err
