import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from clnf.cli import doctor
from clnf.cli.main import app
from clnf.core.errors import DataError


def test_everything_is_looked_at_and_good() -> None:
    done = CliRunner().invoke(app, ["doctor", "--json"])
    found = {row["what"]: row for row in json.loads(done.stdout)}
    assert [row for row in found.values() if not row["good"]] == []
    assert done.exit_code == 0
    assert "torch" in found["packages"]["says"]
    assert "compiled and kept on disk" in found["kernels"]["says"]
    assert {"python", "processor", "disk", "emoji32", "digits10k", "judge weights"} <= set(found)


def test_people_get_a_table_that_fits() -> None:
    done = CliRunner().invoke(app, ["doctor"])
    assert "packages" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100


def test_a_bad_finding_ends_with_1_and_the_rest_is_still_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def damaged() -> None:
        raise DataError("the bundled set emoji32 is damaged; reinstall clnf")

    monkeypatch.setattr("clnf.streams.bundled.emoji32", damaged)
    monkeypatch.setattr(doctor, "FREE_GB", 1e9)
    done = CliRunner().invoke(app, ["doctor", "--json"])
    assert done.exit_code == 1
    bad = {row["what"]: row["says"] for row in json.loads(done.stdout) if not row["good"]}
    assert bad["emoji32"] == "the bundled set emoji32 is damaged; reinstall clnf"
    assert "GB free" in bad["disk"]
    assert "python" not in bad
