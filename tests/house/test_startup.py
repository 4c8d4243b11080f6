"""The command line answers without loading torch, and the main names load when first used."""

import subprocess
import sys

import pytest

import clnf

RUN = """
import sys
from clnf.cli.main import run
sys.argv = ["clnf", *sys.argv[1:]]
try:
    run()
finally:
    print("LOADED", *sorted(m for m in sys.modules if "." not in m), file=sys.stderr)
"""
HEAVY = {"torch", "numba", "scipy", "matplotlib", "pandas", "h5py", "nir"}


def loaded(code: str, *arguments: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("LOADED")]
    return set(line.split()[1:])


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["doctor", "--help"],
        ["spike", "nir", "--help"],
        ["data", "get", "--help"],
    ],
)
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    found = loaded(RUN, *arguments)
    assert {"clnf", "typer"} <= found
    assert not found & HEAVY


def test_the_check_sees_torch_where_it_is_loaded() -> None:
    assert "torch" in loaded("import torch\n" + RUN, "--version")


def test_import_clnf_is_light() -> None:
    tail = "import sys\nprint('LOADED', *sys.modules, file=sys.stderr)"
    found = loaded("import clnf\n" + tail)
    assert "clnf" in found
    assert not found & (HEAVY | {"numpy", "rich", "typer", "clnf.core"})


@pytest.mark.parametrize("name", [name for name in clnf.__all__ if name != "__version__"])
def test_every_main_name_is_there(name: str) -> None:
    assert getattr(clnf, name).__name__ == name


def test_the_table_of_main_names_is_complete_and_sorted() -> None:
    assert clnf.__all__ == sorted(clnf.__all__)
    assert set(clnf.__all__) == {*clnf._MAIN_NAMES, "__version__"}
    assert dir(clnf) == clnf.__all__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = clnf.nothing
