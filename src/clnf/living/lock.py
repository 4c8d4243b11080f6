"""One writer per run.

The lock is the kernel's (``flock``): it goes when its process goes, however that ends, so a
run whose writer was killed can be opened again at once. The file beside it only says who holds
the lock, for the sentence shown to the second writer. Reading a run needs no lock. Works where
``flock`` does: Linux and macOS.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Self, final

from clnf.core.errors import RunError

__all__ = ["RunLock", "reading"]


@final
class RunLock:
    """Hold a run folder for writing; use it in a ``with`` statement.

    Args:
        folder: the run folder, which must exist.

    Attributes:
        note: where the last writer ended without closing the run, a sentence saying so.

    Raises:
        RunError: on entering, at once, where another process holds the run, or where the
            folder is missing or cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "lock"
        self.note = ""
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Self:
        import fcntl

        try:
            file = self.path.open("a+b", buffering=0)
        except OSError as error:
            raise RunError(
                f"run {self.path.parent} cannot be written ({error.strerror}); "
                "check its name and your permissions"
            ) from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if not _ends_soon(file):
                raise _in_use(self.path.parent, file) from None
        if last := _owner(file):
            self.note = f"{_who(last)} ended without closing run {self.path.parent}; taken over"
        _write(file, json.dumps({"pid": os.getpid(), "boot": _boot_id()}))
        self._file = file
        return self

    def fileno(self) -> int:
        """Descriptor of the lock: a process that inherits it holds the run as well."""
        assert self._file is not None
        return self._file.fileno()

    def __exit__(self, *error: object) -> None:
        if self._file is not None:
            _write(self._file, "")
            self._file.close()
            self._file = None


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """Keep writers away while a whole run is read; readers do not disturb each other.

    A folder where nobody ever wrote, or that cannot be written, is read as it is.

    Raises:
        RunError: a process is writing the run; names it.
    """
    import fcntl

    try:
        file = (folder / "lock").open("rb", buffering=0)
    except OSError:
        yield
        return
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        raise _in_use(folder, file) from None
    try:
        yield
    finally:
        file.close()


def _in_use(folder: Path, file: IO[bytes]) -> RunError:
    owner = _owner(file)
    file.close()
    what = f"written by {_who(owner)}" if owner else "written or checked by another process"
    return RunError(f"run {folder} is being {what}; wait for it to end, or stop it")


def _ends_soon(file: IO[bytes]) -> bool:
    """Wait a little for the helpers of a writer that was killed: they end by themselves."""
    import fcntl

    for _ in range(50):
        owner = _owner(file)  # each time: somebody alive may have taken over meanwhile
        if owner.get("boot") != _boot_id() or _alive(owner.get("pid")):
            return False
        time.sleep(0.1)
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    return False


def _alive(pid: object) -> bool:
    return not isinstance(pid, int) or Path(f"/proc/{pid}").exists() or sys.platform == "darwin"


def _owner(file: IO[bytes]) -> dict[str, Any]:
    file.seek(0)
    try:
        found = json.loads(file.read() or b"{}")
    except ValueError:
        return {"pid": "of unknown number"}
    return found if isinstance(found, dict) else {}


def _who(owner: dict[str, Any]) -> str:
    before = "" if owner.get("boot") == _boot_id() else " of an earlier start of the machine"
    return f"process {owner.get('pid')}{before}"


def _write(file: IO[bytes], text: str) -> None:
    # A full disk must not keep a run from being opened: the text is only for people.
    with suppress(OSError):
        os.ftruncate(file.fileno(), 0)
        os.pwrite(file.fileno(), text.encode(), 0)


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
