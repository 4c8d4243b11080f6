"""What went wrong with a journal's file, in one sentence, and whether the file is to blame."""

import sqlite3
from pathlib import Path

from clnf.core.errors import RunError

__all__ = ["BUSY_S", "is_damage", "sentence_of"]

BUSY_S = 5.0
# What SQLite says where the file itself is not to blame.
_AROUND = (
    "SQLITE_AUTH", "SQLITE_BUSY", "SQLITE_CANTOPEN", "SQLITE_FULL", "SQLITE_IOERR", "SQLITE_LOCKED",
    "SQLITE_NOMEM", "SQLITE_PERM", "SQLITE_PROTOCOL", "SQLITE_READONLY",
)  # fmt: skip


def is_damage(error: RunError) -> bool:
    """Whether an error of a journal says that the file itself is no good."""
    cause = error.__cause__
    outside = str(getattr(cause, "sqlite_errorname", "")).startswith(_AROUND)
    return isinstance(cause, sqlite3.Error) and not outside


def sentence_of(path: Path, error: sqlite3.Error) -> str:
    """An error of SQLite for people."""
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith("SQLITE_FULL") or name.startswith("SQLITE_IOERR"):
        return f"the disk is full or failing: {path} could not be written; free space, then resume"
    if name.startswith("SQLITE_BUSY"):
        return f"{path} has been locked by another process for {BUSY_S:.0f} s; try again later"
    if name.startswith("SQLITE_CANTOPEN"):
        return f"{path} could not be used: {error}; is its folder writable, and the disk not full?"
    if name.startswith(_AROUND):
        return f"{path} could not be used: {error}"
    what = "empty" if "no such table" in str(error) else "damaged"
    return (
        f"{path} is {what} or not a journal ({error}); resuming the run, or `clnf verify "
        "--repair`, puts it back from the copy in its newest snapshot"
    )
