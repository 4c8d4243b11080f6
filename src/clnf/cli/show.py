"""What commands print: tables that fit 100 columns, JSON for programs, bars with time left.

Results go to the standard output, progress to the standard error, so a pipe carries results only.
"""

import json
import sys
from collections.abc import Callable, Sequence
from textwrap import fill
from types import TracebackType
from typing import Any, Self, final

from clnf.core.errors import ClnfError

__all__ = ["COLUMNS", "Bars", "Stopped", "emit", "say", "show_table"]

COLUMNS = 100


class Stopped(ClnfError):
    """A person pressed Ctrl-C; says how to go on."""


def emit(value: Any, as_json: bool, show: Callable[[], None]) -> None:
    """Print a result for a program or for a person.

    Args:
        value: JSON values.
        as_json: print ``value`` as JSON and nothing else.
        show: prints the same for people.
    """
    if as_json:
        print(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))
    else:
        show()


def say(sentence: str) -> None:
    """Print a sentence as a paragraph of 100 columns at most."""
    print(fill(sentence, COLUMNS, break_on_hyphens=False, break_long_words=False))


def show_table(heads: Sequence[str], rows: Sequence[Sequence[Any]], *, title: str = "") -> None:
    """Print a table; long cells wrap, and no line is longer than 100 columns.

    Args:
        heads: one word or two over each column.
        rows: cells, shown as text; numbers stand to the right.
        title: a sentence above the table.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(width=min(COLUMNS, Console().width) if sys.stdout.isatty() else COLUMNS)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for place, head in enumerate(heads):
        numbers = bool(rows) and all(isinstance(row[place], (int, float)) for row in rows)
        table.add_column(head, justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    if title:
        console.print(title, markup=False, highlight=False)
    console.print(table, markup=False, highlight=False)


@final
class Bars:
    """Progress bars with the time left, one per label, on the standard error.

    Where that is no terminal, a line is printed when a label begins and when it is done.

    Args:
        quiet: show nothing at all.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        from rich import progress
        from rich.console import Console

        console = Console(stderr=True, quiet=quiet)
        self._plain = not console.is_terminal
        self._bars = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.TaskProgressColumn(),
            progress.TextColumn("time left"),
            progress.TimeRemainingColumn(),
            console=console,
            disable=self._plain,
            speed_estimate_period=120,
        )
        self._tasks: dict[str, Any] = {}
        self._texts: dict[str, str] = {}

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def at(self, label: str, done: int, total: int) -> None:
        """Say how far a piece of work has come.

        Args:
            label: names the piece; a new label gets a new bar.
            done: steps done, from 0 to ``total``.
            total: steps in all, >= 1.
        """
        if label not in self._tasks:
            self._tasks[label] = self._bars.add_task(label, total=total)
            if self._plain and done < total:
                self.say(f"{label}: {total} steps")
        self._bars.update(self._tasks[label], completed=done, total=total)
        if self._plain and done >= total:
            self.say(f"{label}: done")

    def whole(self, label: str, share: float, text: str) -> None:
        """Say how far a long piece of work with many parts has come: one bar for all of it.

        Args:
            label: names the piece.
            share: part done, 0 to 1.
            text: what is being done now.
        """
        if label not in self._tasks:
            self._tasks[label] = self._bars.add_task(label, total=1000)
        self._bars.update(
            self._tasks[label], completed=round(1000 * share), description=f"{label}: {text}"
        )
        if self._plain and self._texts.get(label) != text:
            self.say(f"{label}: {text} ({share:.0%} done)")
        self._texts[label] = text

    def say(self, sentence: str) -> None:
        """Print a line above the bars."""
        self._bars.console.print(sentence, markup=False, highlight=False, soft_wrap=True)
