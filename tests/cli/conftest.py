"""A finished run small enough for tests of the doors, and a way to knock at them."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from clnf.cli import main
from clnf.living.recipe import load_recipe
from clnf.living.run import Run

TINY = """
name = "tiny"
seed = 3
compare = false
snapshot_steps = 2
[learn]
steps = 2
batch = 4
[probe]
samples = 2
steps = 1
tolerance = 1.0
mean_tolerance = 1.0
kid_tolerance = 1e6
[chip]
pairs = 1
tile_rows = 512
tile_columns = 512
plastic_tile_rows = 512
wire_ohm = 0.0
[guards]
fisher_samples = 1
rehearsed = 2
rehearsed_core = 2
memory_per_family = 2
"""
Said = tuple[int, str, str]


@pytest.fixture
def clnf(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Said]:
    """Run the program in this process: exit code, standard output, standard error."""

    def run(*arguments: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["clnf", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main.run()
        out, err = capsys.readouterr()
        return int(end.value.code or 0), out, err

    return run


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A recipe of seconds, without lessons."""
    file = tmp_path / "tiny.toml"
    file.write_text(TINY)
    return file


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that nobody writes to."""
    root = tmp_path_factory.mktemp("runs")
    (root / "tiny.toml").write_text(TINY)
    run = Run.create(root / "made", load_recipe(root / "tiny.toml"))
    with run.writing(), run.arm() as arm:
        for _ in arm.run():
            pass
    return run.folder
