"""Every example runs to its end as a program of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))


def run(script: Path, cwd: Path) -> "subprocess.CompletedProcess[str]":
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "error", str(script)]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("script", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs(script: Path, tmp_path: Path) -> None:
    done = run(script, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_an_example_that_warns_or_fails_is_found(tmp_path: Path) -> None:
    script = tmp_path / "planted.py"
    script.write_text("import warnings\nprint('x')\nwarnings.warn('old', DeprecationWarning)\n")
    assert run(script, tmp_path).returncode != 0
