"""The program ``clnf``: all commands under one roof, every deliberate error one sentence.

Ends with 0 when all went well, 2 for an error clnf raises on purpose or a disk that refuses, and
130 for Ctrl-C. Anything else is a fault of clnf and shows its trace.
"""

import errno
import sys
from typing import Annotated, NoReturn

import typer

import clnf
from clnf.cli import chip, data, doctor, living, spike, train
from clnf.cli.show import Stopped
from clnf.core.errors import ClnfError

__all__ = ["app", "run"]

ERROR, STOPPED = 2, 130

app = typer.Typer(
    name="clnf",
    help="Living models: generators that keep learning on simulated nano-hardware.",
    epilog="Example: clnf run --quick",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(living.app)
app.add_typer(train.app)
app.add_typer(doctor.app)
app.add_typer(data.app, name="data")
app.add_typer(chip.app, name="chip")
app.add_typer(spike.app, name="spike")


def _version(wanted: bool) -> None:
    if wanted:
        print(f"clnf {clnf.__version__}")
        raise typer.Exit


@app.callback()
def clnf_(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Living models: generators that keep learning on simulated nano-hardware."""


def run() -> None:
    """Run the program with the arguments of the process; the entry point of ``clnf``."""
    try:
        app()
    except Stopped as error:
        _end(str(error), STOPPED)
    except ClnfError as error:
        _end(str(error), ERROR)
    except OSError as error:
        _end(_refusal(error), ERROR)
    except (KeyboardInterrupt, SystemExit) as end:
        if isinstance(end, SystemExit) and end.code != STOPPED:
            raise
        _end("stopped", STOPPED)


def _refusal(error: OSError) -> str:
    where = f" ({error.filename})" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full{where}; free space, then try again"
    return f"{error.strerror or error}{where}; check the name and your permissions"


def _end(sentence: str, code: int) -> NoReturn:
    print(f"clnf: {sentence}", file=sys.stderr)
    raise SystemExit(code) from None
