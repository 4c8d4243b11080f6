"""SQLite's way to the disk, with a listener in it.

A copy of the usual VFS is made the default. What it opens gets a copy of the usual table of
methods, in which writing, cutting, syncing and closing pass through here first. The layouts are
those of version 3 of both structures, which SQLite keeps stable:
https://www.sqlite.org/c3ref/vfs.html, https://www.sqlite.org/c3ref/io_methods.html
"""

import _sqlite3
import ctypes
from collections.abc import Callable
from ctypes import POINTER, Structure, c_char_p, c_int, c_int64, c_void_p
from pathlib import Path
from typing import Any, final

__all__ = ["Vfs", "available"]

FULL, CANTOPEN = 13, 14
SYNC, TRUNCATE, DELETE = 10 | 4 << 8, 10 | 6 << 8, 10 | 10 << 8
CREATE = 0x4
# A journal that is new is followed, at its first sync, by a sync of its folder (os_unix.c).
JOURNALS = 0x800 | 0x4000 | 0x80000

# Names are addresses: SQLite keeps them, so they must go on as they came.
_Open = ctypes.CFUNCTYPE(c_int, c_void_p, c_void_p, c_void_p, c_int, POINTER(c_int))
_Delete = ctypes.CFUNCTYPE(c_int, c_void_p, c_char_p, c_int)
_Close = ctypes.CFUNCTYPE(c_int, c_void_p)
_Write = ctypes.CFUNCTYPE(c_int, c_void_p, c_void_p, c_int, c_int64)
_Truncate = ctypes.CFUNCTYPE(c_int, c_void_p, c_int64)
_Sync = ctypes.CFUNCTYPE(c_int, c_void_p, c_int)


class _Methods(Structure):
    _fields_ = (
        ("iVersion", c_int), ("xClose", c_void_p), ("xRead", c_void_p), ("xWrite", c_void_p),
        ("xTruncate", c_void_p), ("xSync", c_void_p), ("rest", c_void_p * 13),
    )  # fmt: skip


class _VfsTable(Structure):
    _fields_ = (
        ("iVersion", c_int), ("szOsFile", c_int), ("mxPathname", c_int), ("pNext", c_void_p),
        ("zName", c_char_p), ("pAppData", c_void_p), ("xOpen", c_void_p), ("xDelete", c_void_p),
        ("rest", c_void_p * 14),
    )  # fmt: skip


# What SQLite may still point to stays for the life of the process.
_KEPT: list[Any] = []


def _library() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL(_sqlite3.__file__)
        library.sqlite3_vfs_find.restype = POINTER(_VfsTable)
    except (AttributeError, OSError):
        return None
    return library


def available() -> bool:
    """Whether SQLite's functions can be found in this Python."""
    return _library() is not None and Path("/proc/self/fd").exists()


@final
class Vfs:
    """While open, every change SQLite makes is told first.

    Args:
        tell: called with (kind, path, offset, bytes) before a change; False makes it fail as on a
            full disk.
    """

    def __init__(self, tell: Callable[[Any, str, int, bytes], bool]) -> None:
        library = _library()
        assert library is not None
        self._library, self._tell = library, tell
        self._usual = library.sqlite3_vfs_find(None)
        self._files: dict[int, tuple[str, list[bool], _Methods]] = {}
        self._tables: dict[int, _Methods] = {}
        table = _VfsTable()
        ctypes.memmove(ctypes.byref(table), self._usual, ctypes.sizeof(table))
        table.zName, table.pNext = b"faulty", None
        self._open_real = _Open(table.xOpen)
        self._delete_real = _Delete(table.xDelete)
        calls = [_Open(self._open), _Delete(self._delete), _Close(self._close), _Write(self._write),
                 _Truncate(self._truncate), _Sync(self._sync)]  # fmt: skip
        table.xOpen, table.xDelete = (ctypes.cast(call, c_void_p) for call in calls[:2])
        self._calls, self._table = calls, table
        _KEPT.append(self)
        assert library.sqlite3_vfs_register(ctypes.byref(table), 1) == 0

    def close(self) -> None:
        """Make the usual way the default again."""
        self._library.sqlite3_vfs_unregister(ctypes.byref(self._table))
        self._library.sqlite3_vfs_register(self._usual, 1)

    def _open(self, vfs: Any, address: int | None, file: int, flags: int, out: Any) -> int:
        name = "" if address is None else ctypes.string_at(address).decode()
        new = bool(name) and bool(flags & CREATE) and not Path(name).exists()
        methods = ctypes.cast(file, POINTER(c_void_p))
        if new and not self._tell("create", name, 0, b""):
            methods[0] = None
            return CANTOPEN
        code = int(self._open_real(vfs, address, file, flags, out))
        if code == 0 and name and methods[0]:
            usual = int(methods[0])
            table = self._tables.get(usual) or self._listening(usual)
            plain = _Methods.from_address(usual)
            self._files[file] = (name, [new and bool(flags & JOURNALS)], plain)
            methods[0] = ctypes.addressof(table)
        return code

    def _listening(self, usual: int) -> _Methods:
        table = _Methods()
        ctypes.memmove(ctypes.byref(table), usual, ctypes.sizeof(table))
        for field, call in zip(
            ("xClose", "xWrite", "xTruncate", "xSync"), self._calls[2:], strict=True
        ):
            setattr(table, field, ctypes.cast(call, c_void_p))
        self._tables[usual] = table
        return table

    def _delete(self, vfs: Any, name: bytes, sync: int) -> int:
        there = Path(name.decode()).exists()
        if there and not self._tell("unlink", name.decode(), 0, b""):
            return DELETE
        code = int(self._delete_real(vfs, name, 0))
        if there and sync:
            self._tell("sync", str(Path(name.decode()).parent), 0, b"")
        return code

    def _close(self, file: int) -> int:
        _, _, plain = self._files.pop(file)
        return int(_Close(plain.xClose)(file))

    def _write(self, file: int, data: int, size: int, offset: int) -> int:
        name, _, plain = self._files[file]
        write = _Write(plain.xWrite)
        if self._tell("write", name, offset, ctypes.string_at(data, size)):
            return int(write(file, data, size, offset))
        write(file, data, size // 2, offset)
        return FULL

    def _truncate(self, file: int, size: int) -> int:
        name, _, plain = self._files[file]
        if not self._tell("cut", name, size, b""):
            return TRUNCATE
        return int(_Truncate(plain.xTruncate)(file, size))

    def _sync(self, file: int, flags: int) -> int:
        name, new, _ = self._files[file]
        if not self._tell("sync", name, 0, b""):
            return SYNC
        if new[0]:
            new[0] = False
            if not self._tell("sync", str(Path(name).parent), 0, b""):
                return SYNC
        return 0
