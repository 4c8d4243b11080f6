"""The source keeps the rules of the house, and each rule finds a fault planted for it."""

from collections.abc import Callable
from pathlib import Path

import pytest

import house

GOOD = '''"""A module."""

import re
from typing import NamedTuple, final

import torch

__all__ = ["AbstractNet", "Net", "State", "step"]

LIMIT = 3


class State(NamedTuple):
    """A state."""

    x: int


class AbstractNet(torch.nn.Module):
    """A net, abstract."""

    def size(self) -> int:
        """Size."""
        raise NotImplementedError


@final
class Net(AbstractNet):
    """A net."""

    def __init__(self, a: int, b: int, c: int, d: int, e: int, f: int) -> None:
        super().__init__()

    def forward(self, x: int) -> int:
        """Pass."""
        return self.eval() and x

    def size(self) -> int:
        return 3


def step(a: int, **options: int) -> int:
    """Step."""
    return re.compile(str(a)).groups + sum(options.values())


def _hidden():
    pass
'''
BODY = "    x = 1\n"
COMMAND = '@app.command()\ndef go(a, b, c, d, e, f, g):\n    """Go."""\n'
FAULTS: list[tuple[Callable[[house.Trees], object], str, str]] = [
    (house.sizes, "x = 1\n" * 301, "301 code lines"),
    (house.sizes, "def f():\n" + BODY * 50, "f has 51 code lines, over 50"),
    (house.sizes, COMMAND + BODY * 16, "go has 16 code lines, over 15"),
    (house.sizes, "def f(a, b, c, d, e, f, *, g): ...", "f has 7 parameters"),
    (house.docstrings, "x = 1", "the module has no docstring"),
    (house.docstrings, '"""M."""\ndef f(): ...', "f has no docstring"),
    (house.docstrings, '"""M."""\nclass A: ...', "A has no docstring"),
    (house.docstrings, '"""M."""\nclass A:\n    """A."""\n    def g(self): ...', "A.g has no"),
    (
        house.docstrings,
        "class A:\n    def g(self): ...\nclass B(A):\n    def g(self): ...",
        "B.g has",
    ),
    (house.references, '"""See :mod:`.kernels`."""', "reference to .kernels"),
    (house.exports, "def f(): ...", "no __all__"),
    (house.exports, "__all__ = []\nclass A: ...", "A is public but not in __all__"),
    (house.exports, "__all__ = ['g']", "__all__ names g, which is not there"),
    (house.classes, "class A: ...", "A is neither final nor abstract"),
    (house.classes, "@final\nclass A: ...\n@final\nclass B(A): ...", "A is final and has"),
    (house.classes, "class A(Exception): ...\nclass B(A): ...\nclass C(B): ...", "C is 3 classes"),
    (house.habits, "hasattr(1, 'x')", "hasattr"),
    (house.habits, "from __future__ import annotations", "hides annotations"),
    (house.habits, "def f(**k):\n    return g(**k)", "f forwards **k"),
    (house.unsafe, "import pickle", "imports pickle"),
    (house.unsafe, "from pickle import loads", "imports pickle"),
    (house.unsafe, "import torch\ntorch.load('x')", "uses torch.load"),
    (house.unsafe, "from torch import load", "imports torch.load"),
    (house.unsafe, "import yaml\nyaml.load('x')", "uses yaml.load"),
    (house.unsafe, "eval('1')", "calls eval"),
    (house.unsafe, "exec('1')", "calls exec"),
    (house.unsafe, "np.load('x', allow_pickle=True)", "passes allow_pickle"),
    (house.main_guards, "print(1)", "no main guard"),
]


def broken(rule: Callable[[house.Trees], object], root: Path) -> str:
    return "\n".join(map(str, rule(house.trees(root))))  # type: ignore[call-overload]


def test_the_project_keeps_the_rules() -> None:
    found = house.offenders()
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize(("rule", "source", "sentence"), FAULTS)
def test_a_planted_fault_is_found(
    rule: Callable[[house.Trees], object], source: str, sentence: str, tmp_path: Path
) -> None:
    (tmp_path / "planted.py").write_text(source)
    assert sentence in broken(rule, tmp_path)


@pytest.mark.parametrize("rule", [*house.RULES, house.unsafe])
def test_a_good_module_passes(rule: Callable[[house.Trees], object], tmp_path: Path) -> None:
    (tmp_path / "good.py").write_text(GOOD)
    assert broken(rule, tmp_path) == ""


def test_a_catch_all_module_is_found(tmp_path: Path) -> None:
    (tmp_path / "utils.py").write_text("")
    assert "say what it holds" in broken(house.habits, tmp_path)


def test_comments_blanks_and_docstrings_are_not_code(tmp_path: Path) -> None:
    path = tmp_path / "m.py"
    path.write_text('"""Doc\n\nstring."""\n\n# comment\nx = [\n    1,\n]\ntext = """a\nb"""\n')
    assert house.code_lines(path, house.trees(tmp_path)[path]) == {6, 7, 8, 9, 10}
