"""What a disk may hold after the power went, for every moment of what was done to it.

Changes are kept as a file system keeps them: bytes of a file are safe after a sync of the file,
names in a folder after a sync of the folder, and a rename is whole or did not happen. Everything
else may be lost or not, each on its own:

    "kept"    nothing is lost: what kill -9 leaves
    "bare"    all of it is lost
    "names"   names are there, bytes are not: files that are empty, or as they were
    "bytes"   bytes are there, names are not
    a number  each name and each sector of 512 bytes by the toss of a coin of that seed
"""

import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import final

from faults.disk import Op

__all__ = ["Copies", "Power", "Tree"]

SECTOR = 512
Tree = dict[str, bytes | None]  # None is a folder


@final
@dataclass
class _File:
    """Bytes as programs see them, as they are safe, and what was done since."""

    seen: bytearray = field(default_factory=bytearray)
    safe: bytes = b""
    since: list[tuple[int, bytes | None]] = field(default_factory=list)
    _whole: bytes | None = None

    def change(self, offset: int, data: bytes | None) -> None:
        """Write bytes, or cut to a length where there are none."""
        (_cut(self.seen, offset) if data is None else _put(self.seen, offset, data))
        self.since.append((offset, data))
        self._whole = None

    def whole(self) -> bytes:
        if self._whole is None:
            self._whole = bytes(self.seen)
        return self._whole

    def after(self, loss: str | random.Random) -> bytes:
        if loss in ("kept", "bytes") or not self.since:
            return self.whole()
        if not isinstance(loss, random.Random):
            return self.safe
        left = bytearray(self.safe)
        for offset, data in self.since:
            if data is None:
                if loss.random() < 0.5:
                    _cut(left, offset)
                continue
            for start in range(0, len(data), SECTOR):
                if loss.random() < 0.5:
                    _put(left, offset + start, data[start : start + SECTOR])
        return bytes(left)


@final
@dataclass
class _Folder:
    seen: dict[str, "_File | _Folder"] = field(default_factory=dict)
    safe: dict[str, "_File | _Folder"] = field(default_factory=dict)


@final
@dataclass
class _Change:
    """Names taken and given together, as in a rename."""

    steps: list[tuple[_Folder, str, "_File | _Folder | None"]]


@final
class Power:
    """Goes through changes, and says what would be there if the power went now.

    Args:
        ops: as a :class:`faults.disk.Disk` kept them, from an empty folder on.
    """

    def __init__(self, ops: Sequence[Op]) -> None:
        self.ops = ops
        self.at = 0
        self._root = _Folder()
        self._since: list[_Change] = []

    def step(self) -> Op:
        """Make the next change."""
        op = self.ops[self.at]
        self.at += 1
        if op.kind != "note":
            getattr(self, f"_{op.kind}")(op)
        return op

    def tree(self, loss: str | int) -> Tree:
        """What is there after the power went; see the head of this file."""
        toss = random.Random(f"{loss} {self.at}") if isinstance(loss, int) else loss
        folders: dict[int, dict[str, _File | _Folder]] = {}

        def inside(folder: _Folder) -> dict[str, _File | _Folder]:
            return folders.setdefault(
                id(folder), dict(folder.seen if toss == "kept" else folder.safe)
            )

        if toss not in ("kept", "bare", "bytes"):
            for change in self._since:
                if isinstance(toss, random.Random) and toss.random() < 0.5:
                    continue
                for where, name, what in change.steps:
                    if what is None:
                        inside(where).pop(name, None)
                    else:
                        inside(where)[name] = what
        return dict(_walk(self._root, "", inside, toss))

    def _find(self, path: str) -> "_File | _Folder":
        here: _File | _Folder = self._root
        for part in Path(path).parts:
            assert isinstance(here, _Folder)
            here = here.seen[part]
        return here

    def _place(self, path: str) -> tuple[_Folder, str]:
        folder = self._find(str(Path(path).parent))
        assert isinstance(folder, _Folder)
        return folder, Path(path).name

    def _named(self, *steps: tuple[_Folder, str, "_File | _Folder | None"]) -> None:
        for folder, name, what in steps:
            if what is None:
                folder.seen.pop(name)
            else:
                folder.seen[name] = what
        self._since.append(_Change(list(steps)))

    def _create(self, op: Op) -> None:
        self._named((*self._place(op.path), _File()))

    def _mkdir(self, op: Op) -> None:
        self._named((*self._place(op.path), _Folder()))

    def _unlink(self, op: Op) -> None:
        self._named((*self._place(op.path), None))

    _rmdir = _unlink

    def _link(self, op: Op) -> None:
        self._named((*self._place(op.other), self._find(op.path)))

    def _rename(self, op: Op) -> None:
        what = self._find(op.path)
        self._named((*self._place(op.path), None), (*self._place(op.other), what))

    def _write(self, op: Op) -> None:
        file = self._find(op.path)
        assert isinstance(file, _File)
        file.change(op.offset, op.data)

    def _cut(self, op: Op) -> None:
        file = self._find(op.path)
        assert isinstance(file, _File)
        file.change(op.offset, None)

    def _sync(self, op: Op) -> None:
        what = self._find(op.path)
        if isinstance(what, _File):
            what.safe, what.since = what.whole(), []
            return
        what.safe = dict(what.seen)
        left = []
        for change in self._since:
            touched = any(where is what for where, _, _ in change.steps)
            if not touched:
                left.append(change)
                continue
            for where, name, given in change.steps:  # the other folder of a rename as well
                if where is not what and given is None:
                    where.safe.pop(name, None)
                elif where is not what and given is not None:
                    where.safe[name] = given
        self._since = left


def _walk(folder: _Folder, above: str, inside, toss) -> Iterator[tuple[str, bytes | None]]:  # type: ignore[no-untyped-def]
    for name, what in inside(folder).items():
        path = f"{above}{name}"
        if isinstance(what, _Folder):
            yield path, None
            yield from _walk(what, f"{path}/", inside, toss)
        else:
            yield path, what.after(toss)


def _put(into: bytearray, offset: int, data: bytes) -> None:
    if len(into) < offset:
        into.extend(bytes(offset - len(into)))
    into[offset : offset + len(data)] = data


def _cut(into: bytearray, size: int) -> None:
    del into[size:]
    into.extend(bytes(size - len(into)))


@final
class Copies:
    """Writes trees into folders. Equal files are linked, but for those written in place.

    Args:
        kept: a folder for contents.
    """

    def __init__(self, kept: Path) -> None:
        self._kept = kept
        self._names: dict[bytes, str] = {}

    def name(self, tree: Tree) -> str:
        """A hash of a tree: equal trees need not be looked at twice."""
        whole = blake2b(digest_size=16)
        for path, data in sorted(tree.items()):
            whole.update(f"{path}\0{'' if data is None else self._name(data)}\0".encode())
        return whole.hexdigest()

    def put(self, tree: Tree, folder: Path) -> None:
        """Make a folder hold a tree and nothing else; it may hold another one already."""
        folder.mkdir(exist_ok=True)
        there = {str(path.relative_to(folder)): path for path in folder.rglob("*")}
        for name, path in sorted(there.items(), reverse=True):
            if (
                name in tree
                and (tree[name] is None) is path.is_dir()
                and self._is(path, tree[name])
            ):
                continue
            (path.rmdir if path.is_dir() else path.unlink)()
        for name, data in sorted(tree.items()):
            path = folder / name
            if path.exists():
                continue
            if data is None:
                path.mkdir(exist_ok=True)
            elif _in_place(name):
                path.write_bytes(data)
            else:
                os.link(self._kept_file(data), path)

    def _is(self, path: Path, data: bytes | None) -> bool:
        """Whether a path is there already as it should be."""
        if data is None:
            return True
        return not _in_place(path.name) and path.samefile(self._kept_file(data))

    def _kept_file(self, data: bytes) -> Path:
        one = self._kept / self._name(data)
        if not one.exists():
            one.write_bytes(data)
        return one

    def _name(self, data: bytes) -> str:
        if data not in self._names:
            self._names[data] = blake2b(data, digest_size=16).hexdigest()
        return self._names[data]


def _in_place(name: str) -> bool:
    """Whether a file is changed where it is, so that it must have bytes of its own."""
    return ".db" in name or name.endswith("lock")
