"""Files that are whole or not there at all."""

import errno
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from clnf.core.files import make_folder, sync_folder, write_durably

__all__ = ["why", "write_whole"]

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def why(error: OSError) -> str:
    """What the system said, in words for people."""
    return "the disk is full" if error.errno in _FULL else f"{error.strerror or error}"


def write_whole(files: Iterable[tuple[Path, bytes]], *, durable: bool = True) -> list[Path]:
    """Write files so that either all of them are there afterwards or everything is as before.

    Each goes into a draft beside it; when all drafts are whole they take their names. Missing
    folders are made. Only a crash between two renames can separate them.

    Args:
        files: path and content of each.
        durable: force each and its name to disk; what can be made again may leave that to the
            system.

    Returns:
        The paths, in order.

    Raises:
        OSError: a file cannot be written; names it.
    """
    drafts: list[tuple[Path, Path]] = []
    try:
        for path, content in files:
            draft = path.with_name(f".{path.name}.new")
            drafts.append((draft, path))
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, "a folder has that name", str(path))
            try:
                _write(draft, content, durable)
            except OSError as error:
                raise OSError(error.errno, error.strerror, str(path)) from error
        for draft, path in drafts:
            draft.replace(path)
        if durable:
            for folder in dict.fromkeys(path.absolute().parent for _, path in drafts):
                sync_folder(folder)
    finally:
        for draft, _ in drafts:
            # What cannot be removed was never there: its name is too long, or its folder missing.
            with suppress(OSError):
                draft.unlink()
    return [path for _, path in drafts]


def _write(draft: Path, content: bytes, durable: bool) -> None:
    if durable:
        make_folder(draft.parent)
        write_durably(draft, content)
    else:
        draft.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(content)
