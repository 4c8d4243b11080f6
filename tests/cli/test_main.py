import errno
import subprocess
import sys
from collections.abc import Iterator

import click
import pytest
import typer
from typer.testing import CliRunner

import clnf
from clnf.cli import main
from clnf.cli.show import Stopped
from clnf.core.errors import RunError


def ends(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["clnf", *arguments])
    with pytest.raises(SystemExit) as end:
        main.run()
    return int(end.value.code or 0)


@pytest.mark.parametrize(
    ("raised", "code", "sentence"),
    [
        (RunError("no run in here; make one"), 2, "clnf: no run in here; make one\n"),
        (
            OSError(errno.ENOSPC, "No space left on device", "runs/a"),
            2,
            "clnf: the disk is full (runs/a); free space, then try again\n",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "runs/a"),
            2,
            "clnf: Permission denied (runs/a); check the name and your permissions\n",
        ),
        (KeyboardInterrupt(), 130, "clnf: stopped\n"),
        (Stopped("stopped; go on with this"), 130, "clnf: stopped; go on with this\n"),
    ],
)
def test_what_goes_wrong_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    raised: BaseException,
    code: int,
    sentence: str,
) -> None:
    app = typer.Typer(pretty_exceptions_enable=False)

    @app.command()
    def fail() -> None:
        raise raised

    monkeypatch.setattr(main, "app", app)
    assert ends(monkeypatch) == code
    assert capsys.readouterr() == ("", sentence)


def test_a_fault_of_our_own_keeps_its_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    app = typer.Typer(pretty_exceptions_enable=False)

    @app.command()
    def fail() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(main, "app", app)
    monkeypatch.setattr(sys, "argv", ["clnf"])
    with pytest.raises(ZeroDivisionError):
        main.run()


def test_version_and_unknown_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ends(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"clnf {clnf.__version__}\n"
    assert ends(monkeypatch, "frobnicate") == 2
    assert "No such command" in capsys.readouterr().err


def test_the_program_is_installed() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from clnf.cli.main import run; run()", "data", "get", "nothing"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "--out" in done.stderr


def test_every_help_has_an_example() -> None:
    def helps(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
        yield " ".join(path), CliRunner().invoke(main.app, [*path, "--help"]).stdout
        for name, child in getattr(command, "commands", {}).items():
            yield from helps(child, (*path, name))

    found = dict(helps(typer.main.get_command(main.app)))
    assert len(found) == 26
    assert [path for path, text in found.items() if "Example: clnf " not in text] == []
