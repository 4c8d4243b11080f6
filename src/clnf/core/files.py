"""Files on disk: refused before the work, written whole or not at all, and still there after.

A name is safe against power loss once its folder was forced to disk (:func:`sync_folder`), the
bytes behind it once the file was (:func:`write_durably`). Renaming a file whose bytes are safe is
what replaces an older one without a moment in which neither is whole.
"""

import errno
import io
import os
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
        ExportError: no path, another ending, a folder of that name, or no folder to write in.
    """
    if not isinstance(path, (str, Path)) or "\0" in str(path):
        raise ExportError(f"a file is named by its path, got {shown(path)}; give its name")
    path = Path(path)
    if ending and path.suffix.lower() != ending:
        kind = "pictures are PNG files" if ending == ".png" else f"the file must end in {ending}"
        raise ExportError(f"{kind}, got {str(path)!r}; end the name in {ending}")
    folder, fault = path.absolute().parent, ""
    if path.is_dir():
        fault = "it is a folder"
    elif not folder.is_dir():
        fault = f"no folder {path.parent}"
    elif not os.access(folder, os.W_OK | os.X_OK):
        fault = f"{path.parent} may not be written to"
    if fault:
        raise ExportError(f"{path} cannot be written ({fault}); give a file in a folder of yours")
    return path


def png_of(figure: Any) -> bytes:
    """A matplotlib figure as PNG. Equal figures give equal bytes: no version is noted in them."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", metadata={"Software": None})
    return drawn.getvalue()


def write_files(files: Sequence[tuple[Path, bytes]]) -> None:
    """Write files so that either all of them are there afterwards or everything is as before.

    Each goes into a draft beside it; when all drafts are whole they take their names.

    Args:
        files: path and content of each.

    Raises:
        ExportError: a file cannot be written, or two have one name.
    """
    drafts = [(path.with_name(f".{path.name}.{os.getpid()}.part"), path) for path, _ in files]
    if len({path.absolute() for path, _ in files}) < len(files):
        raise ExportError(f"{files[0][0]} is named for two results; give each a file of its own")
    at = files[0][0] if files else Path()
    try:
        for (draft, path), (_, content) in zip(drafts, files, strict=True):
            at = check_file(path)
            write_durably(draft, content)
        for draft, at in drafts:
            draft.replace(at)
        for folder in dict.fromkeys(path.absolute().parent for _, path in drafts):
            sync_folder(folder)
    except OSError as error:
        why = "the disk is full" if error.errno == errno.ENOSPC else error.strerror
        raise ExportError(
            f"{at} cannot be written ({why}); give a file in a folder of yours"
        ) from None
    finally:
        for draft, _ in drafts:
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
