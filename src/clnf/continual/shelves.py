"""Where a memory's samples lie: in memory, compressed, or in a database beyond memory."""

import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any, Protocol, final

import numpy as np
import torch
from torch import Tensor

from clnf.core.errors import ConfigError, DataError, RunError

__all__ = ["Compressed", "Database", "Ram", "Shelf", "from_bytes", "to_bytes"]

_CHECKSUM = 8  # bytes
# How a sample's bytes are to be read: levels of the 8-bit grid, or numbers of a type.
_GRID = 0
_TYPES = {1: torch.float32, 2: torch.float64, 3: torch.int64, 4: torch.uint8, 5: torch.bfloat16}


class Shelf(Protocol):
    """Slots of samples, all of one shape."""

    @property
    def shape(self) -> torch.Size | None:
        """Of one sample; None while nothing was put."""
        ...

    def put(self, x: Tensor, at: Tensor) -> None:
        """Samples [K, ...] into slots [K], int64."""
        ...

    def get(self, slots: Tensor) -> Tensor:
        """The samples in slots [K], shape [K, ...]."""
        ...

    def state_dict(self, size: int) -> dict[str, Any]:
        """What the first ``size`` slots hold, as tensors and JSON values."""
        ...

    def load_state_dict(self, state: dict[str, Any], size: int) -> None:
        """Restore what :meth:`state_dict` gave."""
        ...


@final
class Ram:
    """One tensor in memory.

    Samples that lie on the 8-bit grid x = u/127.5 - 1 are kept as bytes, which loses nothing.
    The first sample off the grid turns the whole store to its own type, also without loss.

    Args:
        capacity: number of slots.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._as_bytes = True
        self._x: Tensor | None = None

    @property
    def shape(self) -> torch.Size | None:
        """Of one sample; None while nothing was put."""
        return None if self._x is None else self._x.shape[1:]

    def put(self, x: Tensor, at: Tensor) -> None:
        """Samples [K, ...] into slots [K], int64."""
        packed = to_bytes(x) if self._as_bytes else None
        if self._x is None:
            dtype = x.dtype if packed is None else torch.uint8
            self._x = torch.zeros((self._capacity, *x.shape[1:]), dtype=dtype)
        elif self._as_bytes and packed is None:
            self._x = from_bytes(self._x)
        self._as_bytes = packed is not None
        self._x[at] = x.to(self._x.dtype) if packed is None else packed

    def get(self, slots: Tensor) -> Tensor:
        """The samples in slots [K], shape [K, ...]."""
        assert self._x is not None
        x = self._x.index_select(0, slots)  # half the time of self._x[slots]
        return from_bytes(x) if self._as_bytes else x

    def state_dict(self, size: int) -> dict[str, Any]:
        """What the first ``size`` slots hold."""
        state: dict[str, Any] = {"as_bytes": self._as_bytes}
        if self._x is not None:
            state["x"] = self._x[:size].clone()
        return state

    def load_state_dict(self, state: dict[str, Any], size: int) -> None:
        """Restore what :meth:`state_dict` gave."""
        self._as_bytes, self._x = state["as_bytes"], None
        if "x" in state:
            x = state["x"]
            self._x = torch.zeros((self._capacity, *x.shape[1:]), dtype=x.dtype)
            self._x[:size] = x


@final
class Compressed:
    """Samples in memory, each deflated by itself; nothing is lost.

    Args:
        level: of zlib, 1 (fast) to 9 (small).
    """

    def __init__(self, *, level: int = 6) -> None:
        self._codec = _Codec(level)
        self._blobs: dict[int, tuple[int, bytes]] = {}

    @property
    def shape(self) -> torch.Size | None:
        """Of one sample; None while nothing was put."""
        return self._codec.shape

    def nbytes(self) -> int:
        """Bytes the samples take."""
        return sum(len(blob) for _, blob in self._blobs.values())

    def put(self, x: Tensor, at: Tensor) -> None:
        """Samples [K, ...] into slots [K], int64."""
        self._blobs.update(zip(at.tolist(), self._codec.encode(x), strict=True))

    def get(self, slots: Tensor) -> Tensor:
        """The samples in slots [K], shape [K, ...]."""
        return self._codec.decode([self._blobs[slot] for slot in slots.tolist()])

    def state_dict(self, size: int) -> dict[str, Any]:
        """The deflated samples end to end, their lengths and codes, and their shape."""
        if self._codec.shape is None:
            return {}
        rows = [self._blobs[slot] for slot in range(size)]
        joined = np.frombuffer(b"".join(blob for _, blob in rows), dtype=np.uint8)
        return {
            "shape": list(self._codec.shape),
            "blobs": torch.from_numpy(joined.copy()),
            "lengths": torch.tensor([len(blob) for _, blob in rows]),
            "codes": torch.tensor([code for code, _ in rows]),
        }

    def load_state_dict(self, state: dict[str, Any], size: int) -> None:
        """Restore what :meth:`state_dict` gave."""
        self._blobs = {}
        self._codec.shape = torch.Size(state["shape"]) if "shape" in state else None
        if not size:
            return
        joined, at = state["blobs"].numpy().tobytes(), 0
        pairs = zip(state["codes"].tolist(), state["lengths"].tolist(), strict=True)
        for slot, (code, length) in enumerate(pairs):
            self._blobs[slot] = (code, joined[at : at + length])
            at += length


@final
class Database:
    """Samples in an SQLite file, for memories larger than memory.

    A row once written is never changed: a slot written again points to a new row, and the state
    is only which row each slot points to. So the file may be ahead of a snapshot, after a kill,
    and the snapshot still finds its rows; rows written after it are overwritten by the same ones.
    Rows that none of the last ``generations`` states pointed to are deleted. Each row carries a
    checksum of itself: one that was damaged is refused, not learned from.

    Args:
        path: of the file; made where it is not there.
        generations: states that must stay loadable, as many as snapshots are kept.
        level: of zlib, 1 to 9.

    Raises:
        RunError: here and in every method, where the disk is full or the file damaged; what was
            stored before is as it was.
    """

    def __init__(self, path: Path, *, generations: int = 2, level: int = 6) -> None:
        if generations < 1:
            raise ConfigError(f"a database keeps at least one generation, got {generations}")
        self._codec = _Codec(level)
        self._path = path
        with self._told():
            self._connection = sqlite3.connect(path, isolation_level=None)
            try:
                self._connection.execute("PRAGMA journal_mode=WAL")
                self._connection.execute("PRAGMA synchronous=FULL")
                self._connection.execute(
                    "CREATE TABLE IF NOT EXISTS samples "
                    "(row INTEGER PRIMARY KEY, code INTEGER, x BLOB)"
                )
            except BaseException:
                self._connection.close()
                raise
        self._rows: dict[int, int] = {}
        self._next = 0
        self._generations = generations
        self._held: list[set[int]] = []

    @property
    def shape(self) -> torch.Size | None:
        """Of one sample; None while nothing was put."""
        return self._codec.shape

    def put(self, x: Tensor, at: Tensor) -> None:
        """Samples [K, ...] into slots [K], int64."""
        slots = at.tolist()
        rows = range(self._next, self._next + len(slots))
        blobs = self._codec.encode(x)
        with self._told(), self._connection:
            self._connection.execute("BEGIN")
            self._connection.executemany(
                "INSERT OR REPLACE INTO samples VALUES (?, ?, ?)",
                [
                    (row, code, _checksum(row, code, blob) + blob)
                    for row, (code, blob) in zip(rows, blobs, strict=True)
                ],
            )
        self._rows.update(zip(slots, rows, strict=True))
        self._next = rows.stop

    def get(self, slots: Tensor) -> Tensor:
        """The samples in slots [K], shape [K, ...]."""
        find = "SELECT code, x FROM samples WHERE row = ?"
        rows = [self._rows[slot] for slot in slots.tolist()]
        with self._told():
            found = [self._connection.execute(find, (row,)).fetchone() for row in rows]
        return self._codec.decode(
            [self._whole(row, one) for row, one in zip(rows, found, strict=True)]
        )

    def _whole(self, row: int, found: tuple[int, bytes] | None) -> tuple[int, bytes]:
        """Code and bytes of a sample, if they are as they were stored."""
        if found is not None and isinstance(found[0], int) and isinstance(found[1], bytes):
            code, blob = found[0], found[1][_CHECKSUM:]
            if found[1][:_CHECKSUM] == _checksum(row, code, blob):
                return code, blob
        raise RunError(
            f"remembered sample {row} in {self._path} is missing or damaged; restore the file from "
            "a copy, or begin a new run"
        )

    def state_dict(self, size: int) -> dict[str, Any]:
        """Which row each slot points to; old rows are deleted."""
        if self._codec.shape is None:
            return {}
        rows = [self._rows[slot] for slot in range(size)]
        self._held = [*self._held, set(rows)][-self._generations :]
        self._forget()
        return {
            "shape": list(self._codec.shape),
            "rows": torch.tensor(rows, dtype=torch.int64),
            "next": self._next,
        }

    def _forget(self) -> None:
        if len(self._held) < self._generations:
            return  # before that many states were given, older ones may be on disk
        held = set().union(*self._held)
        with self._told(), self._connection:
            self._connection.execute("BEGIN")
            there = {row for (row,) in self._connection.execute("SELECT row FROM samples")}
            gone = [(row,) for row in there - held if row < self._next]
            self._connection.executemany("DELETE FROM samples WHERE row = ?", gone)

    def load_state_dict(self, state: dict[str, Any], size: int) -> None:
        """Point to the rows of a state.

        Raises:
            RunError: the file lacks one of them.
        """
        self._codec.shape = torch.Size(state["shape"]) if "shape" in state else None
        rows = state["rows"].tolist() if size else []
        with self._told():
            there = {row for (row,) in self._connection.execute("SELECT row FROM samples")}
        if not there.issuperset(rows):
            raise RunError(
                f"the database lacks {len(set(rows) - there)} of {len(rows)} remembered samples; "
                "it is not the one this state was saved with"
            )
        self._rows = dict(enumerate(rows))
        self._next = state.get("next", 0)
        self._held = []

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Say in one sentence what went wrong with the file."""
        try:
            yield
        except sqlite3.Error as error:
            raise RunError(
                f"remembered samples in {self._path} could not be written or read ({error}); free "
                "space on the disk or restore the file, then resume"
            ) from error


class _Codec:
    """Samples to deflated bytes and back."""

    def __init__(self, level: int) -> None:
        if not 1 <= level <= 9:
            raise ConfigError(f"zlib compresses at level 1 to 9, got {level}")
        self._level = level
        self.shape: torch.Size | None = None

    def encode(self, x: Tensor) -> list[tuple[int, bytes]]:
        """A code and bytes for each sample."""
        self.shape = x.shape[1:]
        packed = to_bytes(x)
        if packed is not None:
            code, x = _GRID, packed
        else:
            codes = {dtype: code for code, dtype in _TYPES.items()}
            if x.dtype not in codes:
                raise DataError(f"samples of type {x.dtype} cannot be compressed")
            code = codes[x.dtype]
        flat = x.contiguous().flatten(1).view(torch.uint8).numpy()
        return [(code, zlib.compress(row.tobytes(), self._level)) for row in flat]

    def decode(self, rows: list[tuple[int, bytes]]) -> Tensor:
        """Samples [K, ...]; levels become numbers again."""
        assert self.shape is not None
        samples = []
        for code, blob in rows:
            raw = torch.from_numpy(np.frombuffer(zlib.decompress(blob), dtype=np.uint8).copy())
            x = raw if code == _GRID else raw.view(_TYPES[code])
            x = x.view(self.shape)
            samples.append(from_bytes(x) if code == _GRID else x)
        return torch.stack(samples)


def _checksum(row: int, code: int, blob: bytes) -> bytes:
    return blake2b(b"%d %d " % (row, code) + blob, digest_size=_CHECKSUM).digest()


def to_bytes(x: Tensor) -> Tensor | None:
    """The samples as bytes, or None where one is off the grid."""
    if x.dtype != torch.float32 or x.numel() == 0:
        return None
    levels = ((x + 1) * 127.5).round_()
    low, high = torch.aminmax(levels)
    if float(low) < 0 or float(high) > 255:
        return None
    packed = levels.to(torch.uint8)
    return packed if bool((from_bytes(packed) - x).abs().max() <= 1e-6) else None


def from_bytes(x: Tensor) -> Tensor:
    """Levels 0 to 255 as numbers, x = u/127.5 - 1, float32."""
    return torch.div(x, 127.5).sub_(1).float()
