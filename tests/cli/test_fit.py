"""The command that fits a cell, through its own small program."""

import json
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from clnf.cli.fit import app
from clnf.core.errors import ClnfError, DataError, ExportError
from clnf.devices import fitting
from clnf.devices.fitting import CellLaw, Schedule, measured, write_csv

CELL = CellLaw(
    law="soft_bounds", conductance_min_s=100e-6, conductance_max_s=300e-6, step_up=0.1,
    step_down=0.1, step_spread=0.2, cycle_spread=0.2, write_noise=0.3, dead_fraction=0.2,
)  # fmt: skip


@pytest.fixture
def traces(tmp_path: Path) -> Path:
    path = tmp_path / "traces.csv"
    write_csv(measured(CELL, Schedule(devices=8, train=30, cycles=2, outliers=0.01), 6), path)
    return path


def test_a_fit_is_shown_saved_and_drawn(traces: Path, tmp_path: Path) -> None:
    out, picture = tmp_path / "cell.toml", tmp_path / "residuals.png"
    words = [str(traces), "--name", "cell", "--out", str(out), "--picture", str(picture)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "soft bounds *" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100
    assert tomllib.loads(out.read_text())["cell"]["law"] == "soft_bounds"
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_program_gets_json(traces: Path, tmp_path: Path) -> None:
    out = tmp_path / "cell.toml"
    done = CliRunner().invoke(app, [str(traces), "--out", str(out), "--json"])
    found = json.loads(done.stdout)
    assert found["law"] == "soft_bounds"
    low, high = (found["parameters"]["step_up"][end] for end in ("low", "high"))
    assert low < 0.1 < high
    assert found["material"] == str(out)


def test_garbage_leaves_nothing_behind(tmp_path: Path) -> None:
    path, out = tmp_path / "x.csv", tmp_path / "cell.toml"
    path.write_text("device,pulse,direction,conductance_us\na,1,up,much\n")
    done = CliRunner().invoke(app, [str(path), "--out", str(out)])
    assert isinstance(done.exception, DataError)
    assert isinstance(done.exception, ClnfError)
    assert "line 2: conductance 'much' is no number" in str(done.exception)
    assert [p.name for p in tmp_path.iterdir()] == ["x.csv"]


def test_what_cannot_be_written_is_said_before_the_work(tmp_path: Path) -> None:
    none = str(tmp_path / "none.csv")
    for words, says in (
        (["--name", "My cell"], "cannot name a material"),
        (["--out", str(tmp_path / "nowhere" / "x.toml")], "no folder"),
        (["--picture", str(tmp_path / "nowhere" / "x.png")], "no folder"),
        (["--picture", str(tmp_path / "x.jpg")], "pictures are PNG files"),
        (["--out", str(tmp_path / "x.txt")], "end the name in .toml"),
        (["--pulse-v", "nan"], "write_voltage_v must be positive and finite, got nan"),
        (["--pulse-s", "-1"], "write_time_s must be positive, got -1.0"),
        (["--pulse-s", "100"], "--pulse-s must be 1e-12 to 10 s, got 100"),
        (["--pulse-v", "1e4"], "--pulse-v must be 0.001 to 100 V, got 10000"),
        (["--rate", "nan"], "rate must be a number, got nan"),
        (["--rate", "2"], "the rate of intervals lies between 0.5 and 1, got 2.0"),
        (["--read-noise", "5"], "read_noise is a share of a reading, 0 to below 1, got 5.0"),
        (["--name", "gst_pcm"], "gst_pcm is a material of the catalogue"),
        ([], "no file at"),
    ):
        done = CliRunner().invoke(app, [none, *words])
        assert isinstance(done.exception, ClnfError)
        assert says in str(done.exception)
    assert list(tmp_path.iterdir()) == []


def test_an_older_material_is_replaced_only_when_named(
    traces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    older = tmp_path / "my_cell.toml"
    older.write_text("kept = true\n")
    done = CliRunner().invoke(app, [str(traces)])
    assert isinstance(done.exception, ExportError)
    assert "my_cell.toml is there already; name it with --out" in str(done.exception)
    assert older.read_text() == "kept = true\n"
    assert CliRunner().invoke(app, [str(traces), "--out", "my_cell.toml"]).exit_code == 0
    assert "my_cell" in tomllib.loads(older.read_text())


def test_a_folder_is_no_missing_file(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, [str(tmp_path)])
    assert isinstance(done.exception, DataError)
    assert "is a folder; give the path of a CSV file in it" in str(done.exception)


def test_a_picture_that_fails_leaves_no_material(
    traces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = fitting.fit(traces)
    monkeypatch.setattr(fitting, "fit", lambda *_, **__: found)
    out, picture = tmp_path / "cell.toml", tmp_path / "residuals.png"
    words = [str(traces), "--out", str(out), "--picture", str(picture)]

    def broken(_: object) -> bytes:
        picture.mkdir()  # somebody was faster
        return b"PNG"

    monkeypatch.setattr(fitting, "residual_picture", broken)
    done = CliRunner().invoke(app, words)
    assert isinstance(done.exception, ExportError)
    assert "residuals.png cannot be written (it is a folder)" in str(done.exception)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["residuals.png", "traces.csv"]
    picture.rmdir()
    monkeypatch.setattr(fitting, "residual_picture", lambda _: b"PNG")  # the control
    assert CliRunner().invoke(app, words).exit_code == 0
    assert picture.read_bytes() == b"PNG"
    assert out.exists()
