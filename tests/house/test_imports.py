"""The import law holds, and a fault planted in a toy tree of the same rooms is found."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("chip", "cli", "continual", "core", "devices", "living", "media", "spiking", "streams")


def lint(folder: Path) -> str:
    """Check a folder's package against its contracts; return what was broken."""
    code = "import sys; sys.path.insert(0, sys.argv[1]); from importlinter.cli import lint_imports"
    run = "; sys.exit(lint_imports(no_cache=True))"
    path = folder / "src" if (folder / "src").exists() else folder
    done = subprocess.run(
        [sys.executable, "-c", code + run, str(path)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Contracts" in done.stdout, done.stdout + done.stderr
    return "" if done.returncode == 0 else done.stdout


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    """The same rooms with one empty module each, under the same contracts."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for room in ROOMS:
        (tmp_path / "clnf" / room).mkdir(parents=True)
        (tmp_path / "clnf" / room / "__init__.py").touch()
        (tmp_path / "clnf" / room / "a.py").touch()
        (tmp_path / "clnf" / room / "b.py").touch()
    (tmp_path / "clnf/__init__.py").touch()
    return tmp_path


def test_the_project_keeps_the_import_law() -> None:
    assert lint(ROOT) == ""


def test_the_toy_tree_is_clean(toy: Path) -> None:
    (toy / "clnf/cli/a.py").write_text("import rich\nimport clnf.living.a\n")
    (toy / "clnf/living/a.py").write_text("import clnf.continual.a\nimport clnf.chip.a\n")
    assert lint(toy) == ""


@pytest.mark.parametrize(
    ("room", "line", "sentence"),
    [
        ("continual", "import clnf.media.a", "clnf.continual is not allowed to import clnf.media"),
        ("core", "import clnf.devices.a", "clnf.core is not allowed to import clnf.devices"),
        ("chip", "import clnf.living.a", "clnf.chip is not allowed to import clnf.living"),
        ("devices", "from clnf.streams import a", "clnf.devices is not allowed to import"),
        ("media", "import rich.progress", "clnf.media is not allowed to import rich"),
        ("spiking", "import clnf.chip.a", "clnf.spiking is not allowed to import clnf.chip"),
        ("living", "import typer", "clnf.living is not allowed to import typer"),
        ("chip", "import torchvision", "clnf is not allowed to import torchvision"),
    ],
)
def test_a_planted_import_is_found(toy: Path, room: str, line: str, sentence: str) -> None:
    (toy / "clnf" / room / "a.py").write_text(line + "\n")
    assert sentence in lint(toy)


def test_a_planted_cycle_is_found(toy: Path) -> None:
    (toy / "clnf/core/a.py").write_text("import clnf.core.b\n")
    (toy / "clnf/core/b.py").write_text("def f():\n    import clnf.core.a\n")
    assert "No cycles anywhere BROKEN" in lint(toy)


def test_a_room_without_a_place_is_found(toy: Path) -> None:
    (toy / "clnf/basement").mkdir()
    (toy / "clnf/basement/__init__.py").touch()
    assert "clnf.basement" in lint(toy)


def test_every_room_is_known_to_the_contracts() -> None:
    """A new room must be added to the contracts that name rooms one by one."""
    found = {path.parent.name for path in (ROOT / "src/clnf").glob("*/__init__.py")}
    text = (ROOT / "pyproject.toml").read_text()
    missing = [room for room in found - {"cli", "studio"} if f'"clnf.{room}"' not in text]
    assert not missing
