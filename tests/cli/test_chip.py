import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clnf.cli import chip
from clnf.cli.catalogue import PREFIXES, human, show_materials
from clnf.cli.show import COLUMNS
from clnf.core.errors import ConfigError
from clnf.devices.materials import material, materials
from clnf.devices.select import Need, select

Clnf = Callable[..., tuple[int, str, str]]


def test_all_materials_fit_one_line_each(clnf: Clnf) -> None:
    code, out, _ = clnf("chip", "materials")
    lines = out.splitlines()
    assert code == 0
    assert max(map(len, lines)) <= COLUMNS
    for name in materials():
        (line,) = [line for line in lines if line.split()[:1] == [name]]
        row = material(name)
        assert line.split()[1] == row.family
        assert line.split()[-2:] == [str(len(row.values)), str(len(row.missing))]
    assert re.search(r"hfo2_array_optimised .* 21\* +0.783 +0.416 ", out)
    assert re.search(r"fefet_hzo .* 5e6 +10 y, 85°C ", out)


def test_a_narrow_terminal_gets_fewer_columns_and_whole_names(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    show_materials([material(name) for name in materials()])
    out = re.sub(r"\x1b\[\d*m", "", capsys.readouterr().out)  # the heads are bold
    assert max(map(len, out.splitlines())) <= 80
    first = [line.split()[0] for line in out.splitlines()[1 : 1 + len(materials())]]
    assert first == list(materials())


@pytest.mark.parametrize("name", materials())
def test_one_material_is_shown_whole(clnf: Clnf, name: str) -> None:
    code, out, _ = clnf("chip", "materials", name)
    assert code == 0
    assert max(map(len, out.splitlines())) <= COLUMNS
    row = material(name)
    words = " ".join(out.split())
    for key in (*row.values, *row.missing):
        assert re.search(rf"^ {key} ", out, re.MULTILINE), key
    for source in {value.source for value in row.values.values()}:
        assert source in words
    assert all(fact.text in words for fact in row.facts)


def test_json_holds_everything_in_si(clnf: Clnf) -> None:
    _, out, _ = clnf("chip", "materials", "--json")
    rows = {row["name"]: row for row in json.loads(out)}
    assert list(rows) == list(materials())
    value = rows["gst_pcm"]["values"]["conductance_max_s"]
    assert (value["value"], value["unit"]) == (25e-6, "S")
    _, out, _ = clnf("chip", "materials", "gst_pcm", "--json")
    assert json.loads(out) == rows["gst_pcm"]


def test_an_unknown_material_is_one_sentence(clnf: Clnf) -> None:
    code, out, err = clnf("chip", "materials", "unobtainium")
    assert (code, out) == (2, "")
    assert err.startswith(
        "clnf: no material 'unobtainium'; give a file NAME.toml or one of gst_pcm"
    )


def test_selection_in_human_units_is_that_of_the_library(clnf: Clnf) -> None:
    code, out, _ = clnf(
        "chip", "select", "--states", 32, "--on-off", 10, "--lessons-per-day", 100, "--years", 5,
        "--pulses-per-lesson", 7, "--retention-years", 10, "--temperature-c", 85,
        "--write-energy-pj", 100, "--write-time-ns", 2000, "--write-voltage-v", 3.3, "--json",
    )  # fmt: skip
    assert code == 0
    found = json.loads(out)
    best = select(
        Need(
            states=32, on_off=10, lessons_per_day=100, years=5, pulses_per_lesson=7,
            retention_s=10 * 365.25 * 86400, temperature_k=358.15, write_energy_j=100e-12,
            write_time_s=2000e-9, write_voltage_v=3.3,
        )
    )  # fmt: skip
    assert [row["material"] for row in found] == [one.material.name for one in best]
    assert [row["score"] for row in found] == pytest.approx([one.score for one in best])
    first = {one["criterion"]: one for one in found[0]["judgements"]}
    assert first["write energy"]["asked"] == pytest.approx(1e-10)
    assert first["retention"]["unit"] == "s"
    assert set(first) == {
        "states", "on/off", "endurance", "retention", "write energy", "write time", "write voltage",
    }  # fmt: skip


def test_selection_for_people_fits_and_says_why(clnf: Clnf) -> None:
    code, out, _ = clnf("chip", "select", "--states", 32, "--retention-years", 10,
                        "--temperature-c", 85, "--top", 3)  # fmt: skip
    assert code == 0
    assert max(map(len, out.splitlines())) <= COLUMNS
    assert "Asked: states 32, retention 10 years at 85 °C" in out
    assert "23 more follow" in out
    assert re.search(r"^ 1 +\w+ +meets states", out, re.MULTILINE)
    _, all_of_them, _ = clnf("chip", "select", "--states", 32, "--top", 0)
    assert all(name in all_of_them for name in materials())
    assert "more follow" not in all_of_them


def test_a_supplied_value_changes_the_verdict(clnf: Clnf) -> None:
    need = ("chip", "select", "--lessons-per-day", 1, "--years", 1, "--json")

    def verdict(*more: str) -> str:
        rows = {row["material"]: row for row in json.loads(clnf(*need, *more)[1])}
        return str(rows["hfo2_array"]["judgements"][0]["verdict"])

    assert verdict() == "unknown"
    assert verdict("--supply", "hfo2_array.endurance_cycles=1e6") == "meets"
    assert verdict("--supply", "hfo2_array.endurance_cycles=10") == "fails"


def test_values_are_supplied_by_name_one_after_the_other() -> None:
    words = ["gst_pcm.write_voltage_v=2", "gst_pcm.programming_noise_s=1e-6,2e-6"]
    rows = {row.name: row for row in chip.supplied(words)}
    assert list(rows) == list(materials())
    assert rows["gst_pcm"].get("write_voltage_v").number == 2
    assert rows["gst_pcm"].get("programming_noise_s").coefficients == (1e-6, 2e-6)
    assert rows["hfo2_array"] == material("hfo2_array")


@pytest.mark.parametrize(
    ("word", "fault"),
    [
        ("gst_pcm.write_voltage_v", "is not NAME.KEY=VALUE"),
        ("gst_pcm.write_voltage_v=high", "is not NAME.KEY=VALUE"),
        ("gst_pcm=3", "no catalogue key ''"),
        ("gst.write_voltage_v=3", "no material 'gst'"),
        ("gst_pcm.write_volts=3", "did you mean .*write_voltage_v"),
    ],
)
def test_a_wrong_supply_is_refused(word: str, fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        chip.supplied([word])


def test_nothing_asked_is_one_sentence(clnf: Clnf) -> None:
    code, _, err = clnf("chip", "select")
    assert code == 2
    assert err.startswith("clnf: nothing is asked for")


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (25e-6, "S", "25 µS"), (999.96e-9, "S", "0.99996 µS"), (3.08e-9, "S", "3.08 nS"),
        (300e-6, "s", "300 µs"), (3e3, "s", "3000 s"), (1e6, "s", "11.5741 days"),
        (10 * 365.25 * 86400.0, "s", "10 years"), (358.15, "K", "85 °C"), (-2.8, "V", "-2.8 V"),
        (0.5, "V", "0.5 V"), (63.9e-12, "J", "63.9 pJ"), (1e9, "1", "1e9"), (0.0, "S", "0 S"),
        (1e-20, "J", "1e-5 fJ"), ((1e-6, -2e-9), "S", "[1, -0.002] µS"),
    ],
)  # fmt: skip
def test_values_are_written_as_people_do(
    value: float | tuple[float, ...], unit: str, text: str
) -> None:
    assert human(value, unit) == text


def test_prefixes_fall() -> None:
    assert [factor for factor, _ in PREFIXES] == sorted((f for f, _ in PREFIXES), reverse=True)


def test_a_picture_of_a_material(clnf: Clnf, tmp_path: Path) -> None:
    path = tmp_path / "cells.png"
    code, out, err = clnf("chip", "materials", "gst_pcm", "--picture", path)
    assert code == 0
    assert "drawing gst_pcm" in err
    assert str(path) in err
    assert "drift_mean" in out
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert picture.width == 800
        assert np.asarray(picture.convert("L")).std() > 10  # something is drawn


def test_progress_of_a_picture_leaves_json_whole(clnf: Clnf, tmp_path: Path) -> None:
    done = clnf("chip", "materials", "hzo_synapse", "--picture", tmp_path / "a.png", "--json")
    assert json.loads(done[1])["name"] == "hzo_synapse"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--picture", "a.png"], "name one before --picture"),
        (["gst_pcm", "--picture", "a.jpg"], "end the name in .png"),
        (["gst_pcm", "--picture", "nowhere/a.png"], "no folder nowhere); give a file"),
        (["gst", "--picture", "a.png"], "no material 'gst'"),
    ],
)
def test_a_picture_that_cannot_be_is_one_sentence(
    clnf: Clnf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = clnf("chip", "materials", *arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1  # and no word of drawing
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [["materials"], ["select", "--states", "3"], ["--help"]])
def test_the_catalogue_needs_no_torch(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom clnf.cli.main import run\n"
        f"sys.argv = ['clnf', 'chip', *{arguments!r}]\n"
        "try:\n    run()\nfinally:\n    print({'torch', 'numba'} & set(sys.modules), "
        "file=sys.stderr)"
    )
    for planted, seen in (("", "set()"), ("import torch\n", "torch")):
        done = subprocess.run(
            [sys.executable, "-c", planted + code], capture_output=True, text=True, check=True
        )
        assert seen in done.stderr


def test_noise_is_found_shown_and_drawn(clnf: Clnf, tmp_path: Path) -> None:
    picture = tmp_path / "noise.png"
    wish = ("chip", "noise", "pcm_hermes", "--contrast", 0.25, "--contrast", 0.8)
    code, out, _ = clnf(*wish, "--trials", 600, "--picture", picture, "--json")
    below, above = json.loads(out)
    assert code == 0
    assert (below["helps"], above["helps"]) == (True, False)
    assert below["agrees"]
    assert below["worst_gap_to_theory"] < 0.08
    with Image.open(picture) as drawn:
        assert drawn.size[0] > 400
    code, out, _ = clnf(*wish[:5], "--trials", 600)
    assert (code, max(map(len, out.splitlines())) <= COLUMNS) == (0, True)
    assert re.search(r"0\.25 +yes ", out)


def test_noise_refuses_in_a_sentence(clnf: Clnf, tmp_path: Path) -> None:
    for wrong, why in (
        (("--looks", 12), "--looks must be a power of two, got 12; take 16"),
        (("--contrast", -1), "--contrast must be 0 to 100 steps, got -1"),
        (("--contrast", "nan"), "--contrast must be 0 to 100 steps, got nan"),
        (("--bits", 1), "--bits must be a whole number from 2 to 16, got 1"),
        (("--looks", 2**20), "--looks must be a whole number from 1 to 256"),
        (("--supply", "gst_pcm.read_noise_scale=0"), "but the cells are those of pcm_hermes"),
        (("--trials", 0), "--trials must be a whole number of at least 20, got 0"),
        (("--trials", 50, "--picture", tmp_path / "a.jpg"), "end the name in .png"),
        (("--trials", 50, "--picture", tmp_path / "none" / "a.png"), "no folder"),
    ):
        code, out, err = clnf("chip", "noise", "pcm_hermes", *wrong)
        assert (code, out, why in err) == (2, "", True), err
        assert err.count("\n") == 1, err  # refused before anything is said of the work
    code, _, err = clnf("chip", "noise", "hfo2_array")
    assert (code, err.count("\n")) == (2, 1)
    assert "--supply hfo2_array.conductance_max_s=VALUE" in err
    assert list(tmp_path.iterdir()) == []


def test_temperatures_are_refused_in_the_unit_they_were_given_in(clnf: Clnf) -> None:
    wish = ("chip", "select", "--states", 3, "--retention-years", 1, "--temperature-c")
    for wrong in ("-300", "nan", "inf"):
        code, _, err = clnf(*wish, wrong)
        assert (code, err) == (2, f"clnf: --temperature-c must be above -273.15 °C, got {wrong}; "
                                  "correct it\n")  # fmt: skip
    assert clnf(*wish, "-273")[0] == 0  # the control: cold, and a temperature


def test_wishes_beyond_numbers_are_one_sentence_and_never_broken_json(clnf: Clnf) -> None:
    for words, said in (
        (("--states", "1e308"), "states must be 1e-60 to 1e+60, got 1e+308"),
        (("--lessons-per-day", "1e200", "--years", "1e200"), "must be 1e-60 to 1e+60"),
        (("--states", 3, "--supply", "gst_pcm.conductance_min_s=1"), "must be below conductance_m"),
    ):
        code, out, err = clnf("chip", "select", *words, "--json")
        assert (code, out, said in err) == (2, "", True), err
    rows = chip.supplied(["gst_pcm.conductance_min_s=1", "gst_pcm.conductance_max_s=2"])
    assert next(r for r in rows if r.name == "gst_pcm").get("conductance_min_s").number == 1
