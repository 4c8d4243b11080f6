"""Takes the wanted files out of an archive: plain files, under safe names, within bounds."""

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from clnf.core.errors import DataError

__all__ = ["unpack"]

_PAPERS = ("license", "licence", "copying", "copyright", "provenance", "notice", "readme")
_MOST_FILES = 20_000
_MOST_BYTES = 2_000_000_000


def unpack(archive: Path, folder: Path, keep: tuple[str, ...]) -> list[Path]:
    """Unpack the files with some endings, and those that tell licence and origin.

    Folders of the archive are kept below the first. Links, devices and names that lead out of
    the folder are left out: an archive decides what is in files, not where they go.

    Args:
        archive: ``.tgz``, or ``.deb`` (an ``ar`` archive that holds ``data.tar``).
        folder: where the files go; made when missing.
        keep: endings in small letters, such as ".flac".

    Returns:
        The files written, in the archive's order.

    Raises:
        DataError: no archive that can be read, none of the wanted files in it, or too much.
    """
    written: list[Path] = []
    total = 0
    try:
        with _opened(archive) as tar:
            for member, name in _wanted(tar, keep):
                total += member.size
                if len(written) >= _MOST_FILES or total > _MOST_BYTES:
                    raise DataError(f"{archive} holds more than any known set; it was left")
                source = tar.extractfile(member)
                assert source is not None  # _wanted gives plain files only
                target = folder.joinpath(*name.parts)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(source.read())
                written.append(target)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DataError(
            f"{archive} cannot be unpacked ({error}); remove it and fetch it again"
        ) from None
    if not any(path.suffix.lower() in keep for path in written):
        raise DataError(f"{archive} holds no {' or '.join(keep)} files; is it the right archive?")
    return written


def _wanted(
    tar: tarfile.TarFile, keep: tuple[str, ...]
) -> Iterator[tuple[tarfile.TarInfo, PurePosixPath]]:
    for member in tar:
        path = PurePosixPath(member.name)
        parts = [part for part in path.parts if part not in (".", "/")]
        if not member.isreg() or ".." in parts or path.is_absolute() or "\\" in member.name:
            continue
        paper = path.name.lower().startswith(_PAPERS)
        if parts and (paper or path.suffix.lower() in keep):
            yield member, PurePosixPath(*(parts[1:] or parts))


def _opened(archive: Path) -> tarfile.TarFile:
    with archive.open("rb") as file:
        if file.read(8) != b"!<arch>\n":
            return tarfile.open(archive, "r:*")
        # An ar archive: 60 bytes of header before each file, the size in ten digits at 48.
        while header := file.read(60):
            try:
                size = int(header[48:58])
            except ValueError:
                break
            if header[:16].strip().startswith(b"data.tar"):
                return tarfile.open(fileobj=io.BytesIO(file.read(size)), mode="r:*")
            file.seek(size + size % 2, io.SEEK_CUR)
    raise DataError(f"{archive} is a package without data; remove it and fetch it again")
