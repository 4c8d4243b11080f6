"""Fetches one file: resumes where it stopped, and believes nothing but the checksum."""

import base64
import binascii
import hashlib
import http.client
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from clnf.core.errors import ConfigError, DataError

__all__ = ["checksum_fits", "download"]

_CHUNK = 1 << 16
_TIMEOUT_S = 30.0
_ALGORITHMS = ("sha256", "sha512")


def download(
    url: str,
    target: Path,
    *,
    integrity: str,
    max_bytes: int,
    progress: Callable[[int], None] | None = None,
) -> Path:
    """Fetch a file, or go on fetching it.

    What came so far lies in ``TARGET.part``. A later call goes on from there if the server can,
    and from the start if it cannot. Only a whole file whose checksum fits takes the target's
    name; a target that is there already and fits is not fetched again.

    Args:
        url: http, https or file.
        target: where the file goes; its folder is made.
        integrity: as in :class:`~clnf.streams.fetch.sets.Fetchable`.
        max_bytes: more than this is not taken.
        progress: called with the bytes there are.

    Raises:
        DataError: no connection, an answer that is no file, too many bytes, or a checksum that
            does not fit; what was fetched wrongly is removed.
    """
    if target.exists() and checksum_fits(target, integrity):
        return target
    part = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _fetch(url, part, max_bytes, progress or (lambda done: None))
    except urllib.error.HTTPError as error:
        raise DataError(f"{url} answered {error.code} {error.reason}; try another mirror") from None
    except (OSError, http.client.HTTPException) as error:
        said = error.reason if isinstance(error, urllib.error.URLError) else error
        said = said.strerror or said if isinstance(said, OSError) else said
        raise DataError(
            f"{url} could not be fetched ({said}); what came is kept, so try again when there is "
            "a network, or use the bundled sets and the worlds made by rule, which need none"
        ) from None
    if not checksum_fits(part, integrity):
        size = part.stat().st_size
        part.unlink()
        raise DataError(
            f"the {size} bytes from {url} are not the published file (its checksum is "
            f"{integrity[:24]}...); they were removed: try again, or another mirror"
        )
    part.replace(target)
    return target


def checksum_fits(path: Path, integrity: str) -> bool:
    """Whether a file has a checksum.

    Raises:
        ConfigError: the checksum is written in a way that is not known.
    """
    algorithm, wanted = _parsed(integrity)
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).digest() == wanted


def _parsed(integrity: str) -> tuple[str, bytes]:
    for mark, read in (("-", base64.b64decode), (":", binascii.unhexlify)):
        algorithm, found, value = integrity.partition(mark)
        if found and algorithm in _ALGORITHMS:
            try:
                return algorithm, read(value)
            except binascii.Error:
                break
    raise ConfigError(f"a checksum is written sha512-BASE64 or sha256:HEX, got {integrity[:40]!r}")


def _fetch(url: str, part: Path, max_bytes: int, progress: Callable[[int], None]) -> None:
    done = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url)
    if request.type not in ("http", "https", "file"):
        raise DataError(f"data is fetched by http, https or file, got {url}")
    if done:
        request.add_header("Range", f"bytes={done}-")
    try:
        answer = urllib.request.urlopen(request, timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not done:
            raise
        return  # Nothing lies beyond what is here: it is whole, or the checksum will tell.
    with answer:
        # Whoever does not say 206 sends all of it again; a file has no status.
        resumed = done > 0 and answer.status == 206
        done = done if resumed else 0
        with part.open("ab" if resumed else "wb") as file:
            while chunk := answer.read(_CHUNK):
                done += len(chunk)
                if done > max_bytes:
                    raise DataError(
                        f"{url} sends more than the {max_bytes / 1e6:.0f} MB that the set has; "
                        "it was left"
                    )
                file.write(chunk)
                progress(done)
        expected = answer.headers.get("Content-Length")
    if expected is not None and part.stat().st_size < int(expected):
        raise ConnectionError(f"the connection ended after {done} bytes")
