"""Files on disk: refused before the work, written whole or not at all, and still there after.

A name is safe against power loss once its folder was forced to disk (:func:`sync_folder`), the
bytes behind it once the file was (:func:`write_durably`). Renaming a file whose bytes are safe is
what replaces an older one without a moment in which neither is whole. A link stays one: what it
names is replaced. What is no plain file, or may not be written to, is not replaced by one.
"""

import errno
import io
import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from clnf.core.errors import ExportError
from clnf.core.inputs import shown

__all__ = ["check_file", "make_folder", "png_of", "sync_folder", "write_durably", "write_files"]


def check_file(path: Path | str, ending: str = "") -> Path:
    """A file that can be written later, as far as can be known now.

    Args:
        path: of the file; one that is there may be replaced.
        ending: such as ``".png"``, which the name must have; empty for any.

    Raises:
        ExportError: no path, another ending, no folder to write in, or a folder, a device, a pipe
            or a read-only file of that name.
    """
    if not isinstance(path, (str, Path)) or "\0" in str(path):
        raise ExportError(f"a file is named by its path, got {shown(path)}; give its name")
    path = Path(path)
    if ending and path.suffix.lower() != ending:
        kind = "pictures are PNG files" if ending == ".png" else f"the file must end in {ending}"
        raise ExportError(f"{kind}, got {str(path)!r}; end the name in {ending}")
    fault = _fault(_target(path))
    if fault:
        raise ExportError(f"{path} cannot be written ({fault}); give a file in a folder of yours")
    return path


def _target(path: Path) -> Path:
    """The file itself, where a path is a link to it; else the path in its user's words."""
    linked = os.path.islink(path)  # noqa: PTH114 - pathlib's raises where one may not look
    return Path(os.path.realpath(path)) if linked else path


def _mode(target: Path) -> int | None:
    """Mode of what is there; None for nothing."""
    try:
        return os.lstat(target).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None


def _fault(target: Path) -> str:
    """Why a file cannot be written or replaced; empty where it can."""
    folder = target.parent
    if not os.path.isdir(folder):  # noqa: PTH112 - pathlib's raises where one may not look
        return f"no folder {folder}"
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"{folder} may not be written to"
    try:
        mode = _mode(target)
    except OSError as error:
        return str(error.strerror)
    if mode is None:
        return ""
    if stat.S_ISDIR(mode):
        return "it is a folder"
    if stat.S_ISLNK(mode):
        return "its links lead nowhere"
    if not stat.S_ISREG(mode):
        return "it is no plain file but a pipe, a device or the like"
    # The superuser may write to any file; one that nobody may write to was made so on purpose.
    if not (mode & 0o222 and os.access(target, os.W_OK)):
        return "it may not be written to"
    return ""


def png_of(figure: Any) -> bytes:
    """A matplotlib figure as PNG. Equal figures give equal bytes: no version is noted in them."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", metadata={"Software": None})
    return drawn.getvalue()


def write_files(files: Sequence[tuple[Path, bytes]]) -> None:
    """Write files so that either all of them are there afterwards or everything is as before.

    Each goes into a draft beside it; when all drafts are whole they take their names. A file that
    is replaced keeps its mode.

    Args:
        files: path and content of each.

    Raises:
        ExportError: a file cannot be written, or two have one name.
    """
    targets = [_target(path) for path, _ in files]
    drafts = [one.with_name(f".{one.name}.{os.getpid()}.part") for one in targets]
    if len(set(targets)) < len(files):
        raise ExportError(f"{files[0][0]} is named for two results; give each a file of its own")
    at = files[0][0] if files else Path()
    try:
        for draft, target, (path, content) in zip(drafts, targets, files, strict=True):
            at = check_file(path)
            write_durably(draft, content)
            mode = _mode(target)
            if mode is not None:
                draft.chmod(stat.S_IMODE(mode))
        for draft, at in zip(drafts, targets, strict=True):
            draft.replace(at)
        for folder in dict.fromkeys(target.parent for target in targets):
            sync_folder(folder)
    except OSError as error:
        why = "the disk is full" if error.errno == errno.ENOSPC else error.strerror
        raise ExportError(
            f"{at} cannot be written ({why}); give a file in a folder of yours"
        ) from None
    finally:
        for draft in drafts:
            with suppress(OSError):
                draft.unlink()


def write_durably(path: Path, content: bytes) -> None:
    """Write a file and force its bytes to disk; its name is safe after :func:`sync_folder`.

    Raises:
        OSError: it cannot be written; what is there then is not whole.
    """
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Force the names in a folder to disk: what was made, renamed and removed in it.

    Raises:
        OSError: it cannot be done.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it that are missing, and force their names to disk.

    Raises:
        OSError: one cannot be made.
    """
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for one in reversed(missing):
        sync_folder(one.parent)
