"""The decisions of tools/bootstrap.py, without installing anything."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import bootstrap

ROOT = Path(__file__).parents[2]


class FakePip:
    """Stands in for pip; succeeds only for calls that contain a word."""

    def __init__(self, works: str) -> None:
        self.works = works
        self.calls: list[tuple[str, ...]] = []

    def __call__(self, *arguments: str, quiet: bool = False) -> bool:
        self.calls.append(arguments)
        return self.works in arguments


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(bootstrap, "torch_is_there", lambda pin: False)
    monkeypatch.setattr(bootstrap, "has_nvidia_gpu", lambda: False)
    monkeypatch.setattr(sys, "platform", "linux")
    return monkeypatch


def test_a_torch_that_is_there_is_left_alone(fresh: pytest.MonkeyPatch) -> None:
    pip = FakePip("")
    fresh.setattr(bootstrap, "torch_is_there", lambda pin: True)
    fresh.setattr(bootstrap, "pip", pip)
    bootstrap.settle_torch()
    assert pip.calls == []


@pytest.mark.parametrize(
    ("works", "gpu", "system", "asked"),
    [
        ("--no-index", False, "linux", 1),
        (bootstrap.CPU_INDEX, False, "linux", 2),
        ("nothing", False, "linux", 2),
        ("nothing", True, "linux", 1),
        ("nothing", False, "darwin", 1),
    ],
)
def test_local_wheel_then_cpu_index_then_the_default(
    fresh: pytest.MonkeyPatch, works: str, gpu: bool, system: str, asked: int
) -> None:
    pip = FakePip(works)
    fresh.setattr(bootstrap, "pip", pip)
    fresh.setattr(bootstrap, "has_nvidia_gpu", lambda: gpu)
    fresh.setattr(sys, "platform", system)
    bootstrap.settle_torch()
    assert len(pip.calls) == asked
    assert "--no-index" in pip.calls[0]
    assert all("torch==2.13.0" in call for call in pip.calls)
    assert all("--no-deps" in call for call in pip.calls)


def test_another_python_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 1))
    places = {"python3.11": "/a/python3.11", "python3.12": "/b/python3.12"}
    monkeypatch.setattr(bootstrap.shutil, "which", places.get)
    # A name on PATH need not run: python3.11 here is a shim without a Python behind it.
    monkeypatch.setattr(bootstrap, "version_of", lambda c: "3.12" if "3.12" in c else "")
    assert bootstrap.find_python() == "/b/python3.12"


def test_without_a_fitting_python_one_sentence_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 14, 0))
    monkeypatch.setattr(bootstrap.shutil, "which", lambda name: None)
    with pytest.raises(
        SystemExit, match=r"needs Python 3\.11, 3\.12 or 3\.13 and found only 3\.14"
    ):
        bootstrap.find_python()


def test_versions_are_asked_of_the_interpreter() -> None:
    mine = ".".join(map(str, sys.version_info[:2]))
    assert bootstrap.version_of(sys.executable) == mine
    assert bootstrap.version_of("/no/such/python") == ""
    assert bootstrap.version_of("/bin/false") == ""


def make(*arguments: str) -> str:
    # Not as a child of the make that runs this suite: that one hands down its own options.
    env = {key: value for key, value in os.environ.items() if "MAKE" not in key}
    done = subprocess.run(
        ["make", *arguments], cwd=ROOT, env=env, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_make_prints_its_targets_and_each_has_a_recipe() -> None:
    targets = [line.split()[1] for line in make().splitlines()]
    assert {"run", "test", "lint", "types", "bench", "docs", "check"} <= set(targets)
    for target in targets:
        make("-n", target)
