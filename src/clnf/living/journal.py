"""The journal of a run: what happened, what was measured, what was turned away.

One SQLite file in WAL mode with three tables. Each table is a hash chain: a row's hash is

    h_n = SHA-256(h_(n-1) || canonical JSON of row n),   h_0 = SHA-256(name of the table)

so a row that is changed, removed or moved later breaks the chain. Rows hold no wall-clock time:
the same run, or the same run killed and resumed, writes the same journal, hash for hash.

A commit is safe against ``kill -9`` at once and against power loss from the next
:meth:`Journal.mark` on. A mark goes into the snapshot taken with it; on resume
:meth:`Journal.truncate_after` deletes the rows past the mark, and they are written anew.
"""

import json
import math
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, final

import numpy as np

from clnf.core.errors import RunError
from clnf.core.files import sync_folder
from clnf.living.files import why
from clnf.living.journal_faults import BUSY_S, sentence_of
from clnf.living.journal_rows import (
    Event,
    Measure,
    Quarantined,
    Row,
    canonical,
    first_hash,
    next_hash,
)

__all__ = ["Journal"]

# Of the tables, as SQLite's user_version has it; a number past the last is no version but damage.
_VERSION, _LAST_VERSION = 0, 99
_COLUMNS = {
    "events": ("step", "event", "payload"),
    "measures": ("step", "measure", "probe", "value"),
    "quarantine": ("step", "lesson", "reason", "dtype", "shape", "samples"),
}


def _is_still(path: Path) -> bool:
    """Whether a journal lies where it cannot be written, as a backup does, and nobody writes it.

    A reader, too, makes a log and an index beside the file, and where it cannot, SQLite reads
    nothing. Who writes has both; a log with rows in it must not be passed over.
    """
    log, index = (path.with_name(path.name + ending) for ending in ("-wal", "-shm"))
    idle = not log.exists() or (log.stat().st_size == 0 and not index.exists())
    return idle and not os.access(path.resolve().parent, os.W_OK)


@final
class Journal:
    """The journal in one file; one writer, any number of readers.

    Args:
        path: the file; made when missing, unless read-only.
        read_only: open for reading beside a running writer; needs no lock on the run.

    Raises:
        RunError: the file is missing (read-only), not a journal, locked or on a full disk.

    Any method that touches the file raises RunError where the disk is full, the file damaged or
    locked by another process; what was written before stays intact and readable.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self._heads = {table: first_hash(table) for table in _COLUMNS}
        if read_only and not path.exists():
            raise RunError(
                f"no journal at {path}; where a run has lost it, `clnf verify --repair` puts it "
                "back from the newest snapshot"
            )
        with self._told():
            mode = "rwc" if not read_only else "ro&immutable=1" if _is_still(path) else "ro"
            self._db = sqlite3.connect(
                f"{path.resolve().as_uri()}?mode={mode}",
                uri=True,
                timeout=BUSY_S,
                isolation_level=None,
            )
            try:
                self._check_version()
                if not read_only:
                    self._prepare()
                self._read_heads()
            except BaseException:
                self._db.close()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; a closed journal cannot be used again."""
        self._db.close()

    # Writing

    def append(self, event: str, step: int, payload: dict[str, Any] | None = None) -> int:
        """Add an event.

        Args:
            event: what happened, one word or two.
            step: the run's step, >= 0.
            payload: JSON values; a float that is not finite is kept as null.

        Returns:
            The row number, counting from 1.
        """
        return self._insert("events", (int(step), event, canonical(payload or {})))

    def add_measure(self, step: int, measure: str, probe: str, value: float) -> None:
        """Add a measured value; NaN says that it was tried and is not a number."""
        number = None if math.isnan(value) else float(value) + 0.0  # SQLite keeps no -0.0
        self._insert("measures", (int(step), measure, probe, number))

    def add_quarantine(
        self, step: int, *, lesson: str, reason: str, samples: np.ndarray[Any, Any]
    ) -> int:
        """Keep samples that were turned away, for a person to look at.

        Args:
            step: the run's step, >= 0.
            lesson: name of the experience they came with.
            reason: why they were turned away, one sentence.
            samples: array of any shape with a plain numeric type.

        Returns:
            The row number, counting from 1.
        """
        array = np.ascontiguousarray(samples)
        if array.dtype.hasobject:
            raise RunError("quarantined samples must be a numeric array, got one of objects")
        shape = canonical(list(np.shape(samples)))
        row = (int(step), lesson, reason, array.dtype.str, shape, array.tobytes())
        return self._insert("quarantine", row)

    @contextmanager
    def together(self) -> Iterator[None]:
        """All rows written inside are kept, or none where the body raises."""
        heads = dict(self._heads)
        with self._told():
            self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            with self._told():
                self._db.execute("COMMIT")
        except BaseException:
            self._heads = heads
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    # Resuming

    def mark(self) -> dict[str, Any]:
        """Make every row durable and say where the journal stands, as JSON values."""
        with self._told():
            self._checkpoint()
        return {
            table: {"rows": self._count(table), "hash": self._heads[table]} for table in _COLUMNS
        }

    def truncate_after(self, mark: dict[str, Any]) -> int:
        """Delete all rows past a mark.

        Args:
            mark: what :meth:`mark` gave when the snapshot was taken.

        Returns:
            How many rows were deleted.

        Raises:
            RunError: the journal does not hold the rows the mark speaks of.
        """
        deleted = 0
        with self.together(), self._told():
            if fault := self.holds(mark):
                raise RunError(f"{self.path} does not belong to this snapshot: {fault}")
            for table in _COLUMNS:
                rows, wanted = mark[table]["rows"], mark[table]["hash"]
                cursor = self._db.execute(f"DELETE FROM {table} WHERE row > ?", (rows,))
                deleted += cursor.rowcount
                self._heads[table] = wanted
        return deleted

    def verify(self) -> None:
        """Recompute every hash.

        Raises:
            RunError: a row was changed, removed or moved; names the first such row.
        """
        for fault in self.faults():
            raise RunError(f"{self.path} was changed: {fault}")

    def faults(self) -> Iterator[str]:
        """Every row that is not as it was written, in half a sentence each.

        Raises:
            RunError: the file is damaged so that its rows cannot be read.
        """
        with self._told():
            damage = self._db.execute("PRAGMA quick_check(1)").fetchone()[0]
            if damage != "ok":
                raise sqlite3.DatabaseError(str(damage))
            for table, columns in _COLUMNS.items():
                previous, expected = first_hash(table), 1
                names = ", ".join(columns)
                for row, kept, *values in self._db.execute(
                    f"SELECT row, hash, {names} FROM {table} ORDER BY row"
                ):
                    if row != expected:
                        yield f"row {expected} of its {table} is missing"
                    elif kept != next_hash(previous, values):
                        yield f"row {row} of its {table} does not match its hash"
                    previous, expected = str(kept), row + 1

    def holds(self, mark: dict[str, Any]) -> str:
        """Whether the rows that a mark speaks of are there; half a sentence where they are not."""
        with self._told():
            for table in _COLUMNS:
                if self._hash_at(table, mark[table]["rows"]) != mark[table]["hash"]:
                    return f"row {mark[table]['rows']} of its {table} is missing or different"
        return ""

    def rows(self, after: Mapping[str, int]) -> Iterator[Row]:
        """Every row past those of ``after``, by table, as it stands: what a copy is made of."""
        with self._told():
            for table, columns in _COLUMNS.items():
                for kept, *values in self._db.execute(
                    f"SELECT hash, {', '.join(columns)} FROM {table} WHERE row > ? ORDER BY row",
                    (after.get(table, 0),),
                ):
                    yield table, str(kept), tuple(values)

    def refill(self, rows: Iterable[Row]) -> None:
        """Write rows of a copy at the end.

        Raises:
            RunError: one does not continue the chain.
        """
        for table, kept, values in rows:
            row = self._insert(table, values)
            if self._heads[table] != kept:
                raise RunError(f"row {row} of the {table} in a copy does not match its hash")

    # Reading

    def events(self, event: str | None = None, *, after: int = 0) -> list[Event]:
        """Events in order, all or those of one name, past a row."""
        with self._told():
            rows = self._db.execute(
                "SELECT row, step, event, payload, hash FROM events "
                "WHERE row > ? AND (? IS NULL OR event = ?) ORDER BY row",
                (after, event, event),
            ).fetchall()
        try:
            return [
                Event(row=r, step=s, event=e, payload=json.loads(p), hash=h)
                for r, s, e, p, h in rows
            ]
        except ValueError as error:
            raise RunError(f"{self.path} was changed: an event is no JSON ({error})") from None

    def measures(self, measure: str | None = None) -> list[Measure]:
        """Measured values in order, all or those of one measure."""
        with self._told():
            rows = self._db.execute(
                "SELECT step, measure, probe, value FROM measures "
                "WHERE ? IS NULL OR measure = ? ORDER BY row",
                (measure, measure),
            ).fetchall()
        return [
            Measure(step=s, measure=m, probe=p, value=math.nan if v is None else v)
            for s, m, p, v in rows
        ]

    def quarantine(self) -> Iterator[Quarantined]:
        """Turned-away samples in order, one row in memory at a time."""
        with self._told():
            for row, step, lesson, reason, dtype, shape, blob in self._db.execute(
                "SELECT row, step, lesson, reason, dtype, shape, samples FROM quarantine "
                "ORDER BY row"
            ):
                samples = np.frombuffer(blob, np.dtype(dtype)).reshape(json.loads(shape))
                yield Quarantined(row=row, step=step, lesson=lesson, reason=reason, samples=samples)

    def reasons(self, lesson: str) -> list[str]:
        """Why samples of a lesson were turned away, one sentence for each kind of flaw."""
        with self._told():
            rows = self._db.execute(
                "SELECT reason FROM quarantine WHERE lesson = ? ORDER BY row", (lesson,)
            ).fetchall()
        return [str(reason) for (reason,) in rows]

    # Inside

    def _prepare(self) -> None:
        self._db.execute("PRAGMA page_size=16384")
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        for table, columns in _COLUMNS.items():
            self._db.execute(
                f"CREATE TABLE IF NOT EXISTS {table} "
                f"(row INTEGER PRIMARY KEY, {', '.join(columns)}, hash TEXT NOT NULL)"
            )

    def _check_version(self) -> None:
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if _VERSION < version <= _LAST_VERSION:
            raise RunError(
                f"{self.path} was written by a newer clnf (version {version} of the journal, this "
                f"one knows {_VERSION}); go on with the clnf that wrote it"
            )
        if version != _VERSION:
            raise sqlite3.DatabaseError(f"there is no version {version} of a journal")

    def _checkpoint(self) -> None:
        ((busy, *_),) = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        if busy:  # a reader holds old pages: the log stays, so it is forced to disk itself
            self._force_log()

    def _force_log(self) -> None:
        try:
            for name in (f"{self.path.name}-wal", self.path.name):
                handle = os.open(self.path.with_name(name), os.O_RDONLY)
                try:
                    os.fsync(handle)
                finally:
                    os.close(handle)
            sync_folder(self.path.absolute().parent)
        except OSError as error:
            raise RunError(f"{self.path} could not be forced to disk ({why(error)})") from error

    def _read_heads(self) -> None:
        for table in _COLUMNS:
            self._heads[table] = self._hash_at(table, self._count(table)) or ""

    def _count(self, table: str) -> int:
        (count,) = self._db.execute(f"SELECT coalesce(max(row), 0) FROM {table}").fetchone()
        return int(count)

    def _hash_at(self, table: str, row: int) -> str | None:
        if row == 0:
            return first_hash(table)
        found = self._db.execute(f"SELECT hash FROM {table} WHERE row = ?", (row,)).fetchone()
        return None if found is None else str(found[0])

    def _insert(self, table: str, values: tuple[Any, ...]) -> int:
        new = next_hash(self._heads[table], values)
        places = ", ".join("?" * (len(values) + 1))
        names = ", ".join(_COLUMNS[table])
        with self._told():
            cursor = self._db.execute(
                f"INSERT INTO {table} ({names}, hash) VALUES ({places})", (*values, new)
            )
        self._heads[table] = new
        return int(cursor.lastrowid or 0)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Say in one sentence what went wrong with the file."""
        try:
            yield
        except sqlite3.Error as error:
            raise RunError(sentence_of(self.path, error)) from error
