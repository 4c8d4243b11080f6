"""A disk that counts every change below a folder, and at the n-th does what it is told.

    with Disk(folder, at=17, fault="kill"):   # dies before the 17th change
    with Disk(folder, at=17, fault="full"):   # the 17th change and all that grow fail: disk full
    with Disk(folder, keep=True) as disk:     # nothing happens; disk.ops tells all, with the bytes

Changes of Python code are seen by standing in for functions of ``os`` and for ``open``; those of
SQLite by a VFS of our own, a copy of the usual one whose writes, syncs, cuts and removals pass
through here, as in SQLite's own crash tests. A file opened for writing behind the back of both is
an error, raised on leaving. Needs ``/proc`` and a libsqlite3 whose symbols can be found.
"""

import builtins
import errno
import io
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self, final
from unittest import mock

from faults.vfs import Vfs

__all__ = ["Disk", "Op"]

Kind = Literal[
    "create", "write", "cut", "sync", "rename", "link", "unlink", "mkdir", "rmdir", "note"
]
# What a full disk refuses; names and bytes can still be taken away.
_GROWS = ("create", "write", "rename", "link", "mkdir", "sync")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Op(NamedTuple):
    """One change.

    Attributes:
        kind: "sync" is of a file or of a folder; "note" is no change but a remark.
        path: below the folder.
        other: the new name of a rename or link; the text of a note.
        offset: where bytes were written; the new length of a cut.
        data: the bytes.
    """

    kind: Kind
    path: str
    other: str = ""
    offset: int = 0
    data: bytes = b""


@final
@dataclass
class Disk:
    """See the head of this file; one at a time in a process.

    Attributes:
        root: changes elsewhere are nobody's business.
        at: number of the change at which the fault comes, from 1; 0 for never.
        fault: what comes.
        keep: remember all changes in ``ops``.
        lasting: whether the disk stays full; else one change is refused and room is found.
        count: changes so far.
    """

    root: Path
    at: int = 0
    fault: Literal["kill", "full"] = "kill"
    keep: bool = False
    lasting: bool = True
    count: int = 0

    def __post_init__(self) -> None:
        self.root = self.root.resolve()
        self.ops: list[Op] = []
        self.escaped: list[str] = []
        self._ours = 0
        self._patches: list[Any] = []

    def __enter__(self) -> Self:
        for name in _STANDINS:
            real = getattr(os, name)
            self._patches.append(mock.patch.object(os, name, _bound(_STANDINS[name], self, real)))
        for module in (io, builtins):
            self._patches.append(mock.patch.object(module, "open", _bound(_open_file, self, open)))
        for patch in self._patches:
            patch.start()
        _WATCHING.append(self)
        self._vfs = Vfs(self.sqlite)
        return self

    def __exit__(self, *error: object) -> None:
        self._vfs.close()
        _WATCHING.remove(self)
        for patch in reversed(self._patches):
            patch.stop()
        if self.escaped and error[0] is None:
            raise AssertionError(f"written behind our back: {self.escaped}")

    def note(self, text: str) -> None:
        """Remember that something was said at this moment."""
        self.ops.append(Op("note", "", text))

    def change(self, op: Op) -> None:
        """Count a change that is about to be made.

        Raises:
            OSError: the disk is full.
        """
        self.count += 1
        if self.keep:
            self.ops.append(op)
        if not self.at or self.count < self.at:
            return
        if self.fault == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if op.kind in _GROWS and (self.lasting or self.count == self.at):
            raise OSError(errno.ENOSPC, "No space left on device", str(self.root / op.path))

    @contextmanager
    def ours(self) -> Iterator[None]:
        """What is opened inside was seen."""
        self._ours += 1
        try:
            yield
        finally:
            self._ours -= 1

    def below(self, path: Any, folder: int | None = None) -> str | None:
        """A path below the root, or None for one elsewhere."""
        if isinstance(path, int):
            whole = Path(f"/proc/self/fd/{path}").readlink()
        else:
            before = Path.cwd() if folder is None else Path(f"/proc/self/fd/{folder}").readlink()
            whole = before / os.fsdecode(path)
            whole = Path(os.path.realpath(whole.parent)) / whole.name
        return str(whole.relative_to(self.root)) if whole.is_relative_to(self.root) else None

    def sqlite(self, kind: Kind, path: str, offset: int, data: bytes) -> bool:
        """A change by SQLite; False where the disk is full."""
        place = self.below(path)
        if place is None:
            return True
        try:
            self.change(Op(kind, place, "", offset, data))
        except OSError:
            return False
        return True


def _bound(standin: Callable[..., Any], disk: Disk, real: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **options: Any) -> Any:
        return standin(disk, real, *args, **options)

    return call


def _open(
    disk: Disk, real: Any, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None
) -> int:
    place = disk.below(path, dir_fd) if flags & _WRITING else None
    if place is None:
        return int(real(path, flags, mode, dir_fd=dir_fd))
    there = (disk.root / place).exists()
    if flags & os.O_CREAT and not there:
        disk.change(Op("create", place))
    elif flags & os.O_TRUNC and there:
        disk.change(Op("cut", place))
    with disk.ours():
        return int(real(path, flags, mode, dir_fd=dir_fd))


class _File(io.FileIO):
    """A file whose bytes go through ``os.write``, which is watched."""

    def write(self, data: Any) -> int:
        return os.write(self.fileno(), data)

    def truncate(self, size: int | None = None) -> int:
        size = self.tell() if size is None else size
        os.ftruncate(self.fileno(), size)
        return size


def _open_file(
    disk: Disk, real: Any, file: Any, mode: str = "r", *args: Any, **options: Any
) -> Any:
    if isinstance(file, int) or not set(mode) & set("wax+") or disk.below(file) is None:
        return real(file, mode, *args, **options)
    buffering = args[0] if args else options.pop("buffering", -1)
    plain = mode.replace("b", "").replace("t", "")
    with disk.ours():
        raw = _File(file, plain, opener=lambda path, flags: os.open(path, flags, 0o666))
    if buffering == 0:
        return raw
    kind = io.BufferedRandom if "+" in mode else io.BufferedWriter
    buffered = kind(raw)
    return buffered if "b" in mode else io.TextIOWrapper(buffered, options.get("encoding"))


def _write(disk: Disk, real: Any, handle: int, data: Any) -> int:
    place = disk.below(handle)
    if place is None or place.startswith("/"):
        return int(real(handle, data))
    offset = os.lseek(handle, 0, os.SEEK_CUR)
    return _put(disk, place, offset, bytes(data), lambda piece: real(handle, piece))


def _pwrite(disk: Disk, real: Any, handle: int, data: Any, offset: int) -> int:
    place = disk.below(handle)
    if place is None:
        return int(real(handle, data, offset))
    return _put(disk, place, offset, bytes(data), lambda piece: real(handle, piece, offset))


def _put(disk: Disk, place: str, offset: int, data: bytes, write: Callable[[bytes], int]) -> int:
    try:
        disk.change(Op("write", place, "", offset, data))
    except OSError:
        if not disk.lasting or disk.count > disk.at:
            raise
        return write(data[: len(data) // 2])  # what still fits; the rest is refused next time
    done = write(data)
    assert done == len(data)
    return done


def _cut(disk: Disk, real: Any, handle: Any, size: int) -> None:
    place = disk.below(handle)
    if place is not None:
        disk.change(Op("cut", place, "", size))
    real(handle, size)


def _sync(disk: Disk, real: Any, handle: int) -> None:
    place = disk.below(handle)
    if place is None:
        real(handle)
    else:
        disk.change(Op("sync", place))  # what a sync is good for, only a power cut shows


def _rename(disk: Disk, real: Any, old: Any, new: Any, **options: Any) -> None:
    pair = disk.below(old), disk.below(new)
    if pair[0] is not None and pair[1] is not None:
        disk.change(Op("rename", pair[0], pair[1]))
    real(old, new, **options)


def _link(disk: Disk, real: Any, old: Any, new: Any, **options: Any) -> None:
    pair = disk.below(old), disk.below(new)
    if pair[0] is not None and pair[1] is not None:
        disk.change(Op("link", pair[0], pair[1]))
    real(old, new, **options)


def _can(path: Path, kind: Kind) -> bool:
    """Whether there is a change to count: what cannot be done is the caller's to hear of."""
    if kind == "mkdir":
        return path.parent.is_dir() and not path.exists()
    if kind == "rmdir":
        return path.is_dir() and not any(path.iterdir())
    return os.path.lexists(path)


def _named(kind: Kind) -> Callable[..., None]:
    def call(disk: Disk, real: Any, path: Any, *args: Any, **options: Any) -> None:
        place = disk.below(path, options.get("dir_fd"))
        if place is not None and _can(disk.root / place, kind):
            disk.change(Op(kind, place))
        real(path, *args, **options)

    return call


_STANDINS: dict[str, Callable[..., Any]] = {
    "open": _open,
    "write": _write,
    "pwrite": _pwrite,
    "ftruncate": _cut,
    "truncate": _cut,
    "fsync": _sync,
    "fdatasync": _sync,
    "rename": _rename,
    "replace": _rename,
    "link": _link,
    "unlink": _named("unlink"),
    "remove": _named("unlink"),
    "mkdir": _named("mkdir"),
    "rmdir": _named("rmdir"),
}
_WATCHING: list[Disk] = []


def _audit(event: str, args: tuple[Any, ...]) -> None:
    """Catch files that are opened for writing past the stand-ins."""
    if event != "open" or not _WATCHING:
        return
    path, _, flags = args
    disk = _WATCHING[-1]
    if disk._ours or isinstance(path, int) or not flags & _WRITING:
        return
    place = disk.below(path)
    if place is not None:
        disk.escaped.append(place)


sys.addaudithook(_audit)
