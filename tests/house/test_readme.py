"""Every command in the README works.

Commands stand in ```console blocks behind ``$``. They are run in order, in one empty folder. One
that takes minutes is marked by a comment that begins with ``# minutes``; of it, the program, the
target or each option is looked up instead.
"""

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from clnf.cli.main import app

ROOT = Path(__file__).parents[2]
ELSEWHERE = {"git", "cd", "pip", "python3", "source"}  # set-up outside the project: only looked up


def commands(text: str) -> list[str]:
    """All commands of a text, with the comments behind them."""
    blocks = re.findall(r"```console\n(.*?)```", text, re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]


def run(*command: str, cwd: Path) -> str:
    """Run a program of the environment; return its output, or "" where it fails.

    Commands of clnf run in this process: starting one is loading torch, which takes seconds. That
    the program itself starts is another test's.
    """
    if command[0] == "clnf":
        with contextlib.chdir(cwd):
            result = CliRunner().invoke(app, command[1:])
        return result.output + " " if result.exit_code == 0 else ""
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        command, cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=280
    )
    return done.stdout + " " if done.returncode == 0 else ""


def fault(command: str, cwd: Path) -> str:
    """Run or look up one command; return what is wrong with it, or ""."""
    words = shlex.split(command, comments=True)
    # What takes minutes, or needs a run that is there, is looked up and not run.
    slow = re.search(r"\s# (minutes|once run)\b", command) is not None
    program = words[0]
    if program == "make":
        ok = all(run("make", "-n", target, cwd=ROOT) for target in words[1:])
        return "" if ok else f"{command}: no such target"
    if program == "clnf" and slow:
        return options_fault(words, cwd)
    if program == "clnf":
        words = [str(ROOT / word) if word.startswith("examples/") else word for word in words]
        return "" if run(*words, cwd=cwd) else f"{command}: fails"
    if program == "python" and len(words) > 1 and words[1].startswith("examples/"):
        return "" if (ROOT / words[1]).exists() else f"{command}: no such example"
    if program in ELSEWHERE:
        return "" if shutil.which(program) or program in {"cd", "source", "pip"} else command
    return f"{command}: unknown program"


def options_fault(words: list[str], cwd: Path) -> str:
    """Look up a command of clnf and its options in its own help."""
    path = [word for word in words[1:2] if not word.startswith("-")]
    if path in (["data"], ["chip"], ["spike"]):
        path = words[1:3]
    text = run("clnf", *path, "--help", cwd=cwd)
    missing = [w for w in words if w.startswith("--") and w.partition("=")[0] not in text]
    return "" if text and not missing else f"{' '.join(words)}: unknown {missing or path}"


def faults(text: str, cwd: Path) -> list[str]:
    return [found for command in commands(text) if (found := fault(command, cwd))]


def test_the_program_starts(tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("clnf")
    done = subprocess.run([program, "--version"], cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0


@pytest.mark.timeout(600)
def test_every_command_of_the_readme_works(tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text()
    assert commands(text), "the README shows no command"
    assert faults(text, tmp_path) == []


@pytest.mark.parametrize(
    "line",
    [
        "clnf frobnicate",
        "clnf doctor --frobnicate",
        "clnf doctor --frobnicate  # minutes",
        "clnf frobnicate  # minutes",
        "clnf undo runs/emoji --frobnicate  # once run",
        "clnf spike nir net.nir --frobnicate  # once run",
        "clnf spike check examples/nothing.toml --chip speck",
        "make nothing",
        "python examples/nothing.py",
        "frobnicate now",
    ],
)
def test_a_planted_fault_is_found(line: str, tmp_path: Path) -> None:
    text = f"text\n```console\n$ clnf --version\noutput\n$ {line}\n```\n"
    assert len(commands(text)) == 2
    assert len(faults(text, tmp_path)) == 1


def test_good_commands_pass(tmp_path: Path) -> None:
    lines = [
        "clnf --version",
        "clnf data list --json",
        "clnf doctor --json  # minutes",
        "make test",
    ]
    block = "\n".join(f"$ {line}" for line in lines)
    assert faults(f"```console\n{block}\n```", tmp_path) == []
