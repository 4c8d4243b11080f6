"""A copy of the journal in every snapshot, and how a damaged journal is put back from it.

A snapshot holds the rows that its mark speaks of, so whoever can go on from a snapshot has the
journal that belongs to it: rows past the mark are done again in any case. Each snapshot adds the
rows since the one before, as one more compressed piece; pieces that are there are not made anew.

The copy is held against the hash of its snapshot, and each of its rows against the chain.
"""

import base64
import json
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, final

import torch

from clnf.core.errors import RunError
from clnf.core.files import sync_folder
from clnf.living.files import why
from clnf.living.journal import Journal
from clnf.living.journal_faults import is_damage
from clnf.living.journal_rows import Row
from clnf.living.snapshots import Snapshot

__all__ = ["JournalCopy", "fault_of", "open_journal"]

PART = "journal"
_BESIDE = ("-wal", "-shm")
_LEVEL = 1  # pictures hardly shrink, and text shrinks well enough


@final
class JournalCopy:
    """What goes into snapshots of the journal, from one to the next.

    Args:
        found: the snapshot that was gone on from; None where a run begins.
    """

    def __init__(self, found: Snapshot | None = None) -> None:
        self._packed, self._upto = b"", dict[str, int]()
        if found is not None and PART in found.parts:
            self._packed = _packed(found)
            self._upto = _rows_of(found.parts["run"]["mark"])

    def state(self, journal: Journal, mark: dict[str, Any]) -> dict[str, Any]:
        """The part of a snapshot that is taken now.

        Args:
            journal: of the run.
            mark: what it gave for this snapshot.
        """
        text = "\n".join(map(_line, journal.rows(self._upto)))
        if text:
            self._packed += zlib.compress(text.encode(), _LEVEL)
        self._upto = _rows_of(mark)
        return {"rows": torch.frombuffer(bytearray(self._packed), dtype=torch.uint8)}


def open_journal(path: Path, found: Snapshot) -> tuple[Journal, str]:
    """Open the journal that belongs to a snapshot, cut back to its mark.

    One that is missing, damaged, changed or another run's is put aside, and what the snapshot
    holds of it takes its place.

    Args:
        path: of the journal.
        found: the snapshot that is gone on from.

    Returns:
        The journal, open for writing, and a sentence where it was put back or changed; else empty.

    Raises:
        RunError: the disk is full, another process has the file, a newer clnf wrote it, or it is
            damaged and the snapshot, of an older clnf, has no copy of it.
    """
    fault = fault_of(path, found)
    if fault and PART in found.parts:
        says = _put_back(path, found, fault)
        return Journal(path), says
    if fault and not _is_held(path, found):
        raise RunError(
            f"{path} is damaged or not of this run ({fault}), and the newest snapshot, of an older "
            "clnf, holds no copy of it; put the file back from a copy of your own"
        )
    journal = Journal(path)
    try:
        journal.truncate_after(found.parts["run"]["mark"])
    except RunError:
        journal.close()
        raise
    # Rows that were changed do not stop the learner, but no report can be made of them.
    return journal, f"{path} was changed: {fault}" if fault else ""


def _is_held(path: Path, found: Snapshot) -> bool:
    """Whether a journal can be read, and has the rows that a snapshot speaks of."""
    with suppress(RunError), Journal(path, read_only=True) as journal:
        return not journal.holds(found.parts["run"]["mark"])
    return False


def fault_of(path: Path, found: Snapshot) -> str:
    """What is wrong with a journal, in half a sentence; empty where nothing is."""
    if path.exists() and not path.is_file():
        return "it is no file"
    try:
        with Journal(path, read_only=True) as journal:
            return journal.holds(found.parts["run"]["mark"]) or next(journal.faults(), "")
    except RunError as error:
        if path.exists() and not is_damage(error):
            raise
        return str(error.__cause__ or "it is missing")


def _put_back(path: Path, found: Snapshot, fault: str) -> str:
    """Write the journal of a snapshot anew; what stood in its place is kept beside it."""
    draft = path.with_name(f".{path.name}.new")
    try:
        _remove(draft)
        with Journal(draft) as journal:
            with journal.together():
                journal.refill(_unpacked(_packed(found)))
            if lack := journal.holds(found.parts["run"]["mark"]):
                raise RunError(f"the copy of {path} in snapshot {found.step} is not whole: {lack}")
            journal.mark()
        aside = _put_aside(path)
        draft.rename(path)
        sync_folder(path.absolute().parent)
    except OSError as error:
        raise RunError(f"{path} could not be put back ({why(error)}); try again") from error
    finally:
        _remove(draft)
    kept = f"; what was there is kept as {aside.name}" if aside else ""
    return f"{path} was no good ({fault}); put back from the copy in snapshot {found.step}{kept}"


def _put_aside(path: Path) -> Path | None:
    """Give a damaged journal another name: the first of NAME.damaged, NAME.damaged-2 ..."""
    if not path.exists():
        _remove(path)
        return None
    number, aside = 1, path.with_name(f"{path.name}.damaged")
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}.damaged-{number}")
    # Its log first: beside another journal it would be taken for that one's.
    for ending in _BESIDE:
        with suppress(FileNotFoundError):
            path.with_name(path.name + ending).rename(aside.with_name(aside.name + ending))
    path.rename(aside)
    return aside


def _remove(path: Path) -> None:
    for ending in ("", *_BESIDE):
        with suppress(FileNotFoundError):
            path.with_name(path.name + ending).unlink()


def _rows_of(mark: dict[str, Any]) -> dict[str, int]:
    return {table: int(at["rows"]) for table, at in mark.items()}


def _packed(found: Snapshot) -> bytes:
    return bytes(found.parts[PART]["rows"].numpy().data)


def _line(row: Row) -> str:
    table, chained, values = row
    plain = [{"b": base64.b64encode(v).decode()} if isinstance(v, bytes) else v for v in values]
    return json.dumps([table, chained, plain], separators=(",", ":"))


def _unpacked(packed: bytes) -> Iterator[Row]:
    """Rows of all pieces, in the order in which they were written."""
    for piece in _pieces(packed):
        for line in piece.decode().split("\n"):
            table, chained, plain = json.loads(line)
            values = (base64.b64decode(v["b"]) if isinstance(v, dict) else v for v in plain)
            yield table, chained, tuple(values)


def _pieces(packed: bytes) -> Iterable[bytes]:
    while packed:
        stream = zlib.decompressobj()
        yield stream.decompress(packed)
        packed = stream.unused_data
