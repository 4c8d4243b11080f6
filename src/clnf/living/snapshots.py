"""Snapshots of a run: all state at one step, whole or not there at all.

    snapshots/00000120/ model.safetensors  chip.safetensors  learner.safetensors  manifest.json

A snapshot is written into a temporary folder, each file is forced to disk, the folder is renamed
and the rename is forced to disk. Whatever interrupts this leaves the snapshots before it intact.
Tensors stand in one safetensors file per part; everything else stands as JSON in the manifest,
beside the SHA-256 of each file, and the manifest carries its own. safetensors by itself loads a
flipped bit silently; here a snapshot that is not whole is never used.

A file that is the same, byte for byte, in an older snapshot is not written again but taken over
from it by a hard link. The newest ones, from which a run is resumed, share no file: damage to one
leaves the other whole. A point of return held besides may share its files with one of them.

A part is a dict of tensors and JSON values, nested as one likes. It comes back exactly: type,
shape and bits of tensors, integers of any size, floats with every bit (any NaN as NaN), tuples
and keys that are not words. Parameters come back as plain tensors on the CPU.
"""

import hashlib
import json
import math
import os
import platform
import shutil
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from clnf.core.errors import RunError
from clnf.core.files import sync_folder, write_durably
from clnf.core.units import quantity
from clnf.living.files import why

__all__ = ["Snapshot", "faults", "load", "load_latest", "peek", "save", "stored"]

FORMAT = 2
MANIFEST = "manifest.json"
# The manifest's first bytes hold the hash of the rest, so that text is checked before parsed.
_HEAD, _MIDDLE, _TAIL = b'{"sha256":"', b'","manifest":', b"}"
_ASIDE = ".old-"
_CHUNK = 1 << 20


@final
@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A snapshot as loaded.

    Attributes:
        step: the run's step it was taken at.
        parts: the state, part by part, as it was saved.
        sha256: hash of the manifest and through it of every file; names the state in provenance.
        versions: clnf, Python and torch at the time of writing, and threads of torch.
        note: where newer snapshots were damaged and passed over, a sentence saying so.
    """

    step: int = quantity("1")
    parts: dict[str, dict[str, Any]]
    sha256: str
    versions: dict[str, str]
    note: str = ""


def save(
    folder: Path,
    step: int,
    parts: Mapping[str, Mapping[str, Any]],
    *,
    keep: int = 2,
    hold: Collection[int] = (),
) -> str:
    """Write a snapshot and remove old ones.

    Snapshots of later steps are removed too: they belong to a future that was given up. The
    journal's mark belongs into one of the parts, taken before this call: a mark forces the
    journal to disk, so no snapshot speaks of rows that a power cut could take away.

    Args:
        folder: the run's ``snapshots`` folder; made when missing.
        step: the run's step, >= 0; a snapshot of the same step is replaced.
        parts: state by part name; see the head of this file.
        keep: how many snapshots stay, >= 1.
        hold: steps of older snapshots that stay besides.

    Returns:
        The SHA-256 that names the snapshot.

    Raises:
        RunError: the disk is full or cannot be written; older snapshots stay as they were.
        TypeError: a value is neither a tensor nor JSON.
    """
    # The first one is made elsewhere, so that where the folder is, a snapshot is in it.
    home = folder if folder.exists() else folder.with_name(f".{folder.name}.new")
    temporary, target = home / f".new-{step:08d}", home / f"{step:08d}"
    try:
        if home != folder:
            shutil.rmtree(home, ignore_errors=True)
            home.mkdir(parents=True)
        _tidy(home)
        temporary.mkdir()
        digest = _write(temporary, step, parts, _Shares(home, step, keep))
        if target.exists():
            target.rename(home / f"{_ASIDE}{step:08d}")
        temporary.rename(target)
        sync_folder(home)
        if home != folder:
            home.rename(folder)
            sync_folder(folder.parent)
    except OSError as error:
        raise RunError(
            f"the snapshot of step {step} could not be written to {folder} ({why(error)}); "
            "the ones before it are intact: free space, then resume"
        ) from error
    finally:
        _tidy(home)
        if home != folder:
            shutil.rmtree(home, ignore_errors=True)
    for path in _leaving(folder, step, keep, hold):
        shutil.rmtree(path, ignore_errors=True)
    return digest


def load_latest(folder: Path) -> Snapshot:
    """Load the newest whole snapshot.

    Args:
        folder: the run's ``snapshots`` folder.

    Returns:
        The snapshot; its note says which newer ones were damaged.

    Raises:
        RunError: there is none, none is whole, or a newer clnf wrote the newest.
    """
    notes: list[str] = []
    for path in _snapshots(folder):
        try:
            found = load(path)
        except RunError as error:
            if _is_newer(path):  # whole, and not to be passed over as if it were damaged
                raise
            notes.append(str(error))
            continue
        if not notes:
            return found
        note = f"{'; '.join(notes)}; went back to the snapshot of step {found.step}"
        return Snapshot(**{**vars(found), "note": note})
    if notes:
        raise RunError(
            f"no snapshot in {folder} is whole ({'; '.join(notes)}); "
            "restore the folder from a copy, or begin a new run"
        )
    raise RunError(f"no snapshot in {folder} yet; let the run go on with `clnf run --resume` first")


def load(path: Path) -> Snapshot:
    """Load one snapshot and check every hash.

    Args:
        path: the snapshot's own folder.

    Raises:
        RunError: a file is missing or damaged.
    """
    digest, manifest = _manifest(path)
    try:
        parts = {name: _read_part(path, name, row) for name, row in manifest["parts"].items()}
    except OSError as error:
        raise RunError(f"snapshot {path.name} is damaged: {_read(error)}") from error
    except SafetensorError as error:
        raise RunError(f"snapshot {path.name} is damaged: {error}") from error
    return Snapshot(
        step=manifest["step"],
        parts=parts,
        sha256=digest,
        versions=manifest["versions"],
    )


def stored(folder: Path) -> list[Path]:
    """Folders of the snapshots there are, newest first, whole or not."""
    return _snapshots(folder)


def peek(path: Path, part: str) -> tuple[str, dict[str, Any]]:
    """What a snapshot says of itself without its tensors, which are left out.

    Args:
        path: the snapshot's own folder.
        part: the part to look at.

    Returns:
        The SHA-256 that names the snapshot, and the JSON values of the part; empty where it has
        no such part. A tensor stands as None.

    Raises:
        RunError: the manifest is missing or damaged.
    """
    digest, manifest = _manifest(path)
    row = manifest["parts"].get(part, {"state": {}})
    found = _rebuild(row["state"], None)
    assert isinstance(found, dict)
    return digest, found


def faults(path: Path) -> list[tuple[str, str]]:
    """Compare every file of a snapshot with its hash; nothing is loaded.

    Args:
        path: the snapshot's own folder.

    Returns:
        Name of each file that is bad, and what is wrong with it.
    """
    try:
        _, manifest = _manifest(path)
    except RunError as error:
        return [(MANIFEST, str(error))]
    found = []
    for name, row in manifest["parts"].items():
        file = path / f"{name}.safetensors"
        try:
            if _hash_of(file) != row["sha256"]:
                found.append((file.name, "does not match its hash"))
        except OSError as error:
            found.append((file.name, f"cannot be read ({error.strerror or error})"))
    return found


def _manifest(path: Path) -> tuple[str, dict[str, Any]]:
    """The hash of a snapshot's manifest, and what stands in it, of the format known here."""
    digest, manifest = _any_manifest(path)
    if manifest["format"] != FORMAT:
        raise RunError(
            f"snapshot {path.name} is of another clnf (format {manifest['format']}; this one knows "
            f"{FORMAT}); go on with the clnf that wrote it"
        )
    return digest, manifest


def _is_newer(path: Path) -> bool:
    with suppress(RunError):
        return bool(_any_manifest(path)[1]["format"] > FORMAT)
    return False


def _any_manifest(path: Path) -> tuple[str, dict[str, Any]]:
    """The hash of a snapshot's manifest, and what stands in it, of whatever format."""
    try:
        raw = (path / MANIFEST).read_bytes()
    except OSError as error:
        raise RunError(f"snapshot {path.name} is damaged: {_read(error)}") from error
    head, _, text = raw.removesuffix(_TAIL).partition(_MIDDLE)
    digest = hashlib.sha256(text).hexdigest()
    if head != _HEAD + digest.encode() or raw != head + _MIDDLE + text + _TAIL:
        raise RunError(f"snapshot {path.name} is damaged: its manifest does not match its hash")
    manifest: dict[str, Any] = json.loads(text)
    return digest, manifest


def _read(error: OSError) -> str:
    return f"{Path(str(error.filename)).name} cannot be read ({why(error)})"


def _hash_of(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as data:
        while chunk := data.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _leaving(folder: Path, step: int, keep: int, hold: Collection[int]) -> list[Path]:
    """Snapshots that go now that the one of ``step`` is there."""
    later = [path for path in _snapshots(folder) if _step(path) > step]
    before = [path for path in _snapshots(folder) if _step(path) < step]
    return later + [path for path in before[keep - 1 :] if _step(path) not in hold]


@final
class _Shares:
    """Files of older snapshots that a new one may take over: none that the newest rely on."""

    def __init__(self, folder: Path, step: int, keep: int) -> None:
        there = _snapshots(folder)
        before = [path for path in there if _step(path) < step]
        self._apart = before[: keep - 1]
        self._from = [path for path in there if path not in self._apart]

    def take(self, name: str, new: Path, data: bytes) -> bool:
        """Let a file on disk already stand for ``data``; False where there is none to take."""
        apart = [path / name for path in self._apart]
        return any(_take_over(old / name, new, data, apart) for old in self._from)


def _write(
    folder: Path, step: int, parts: Mapping[str, Mapping[str, Any]], shares: "_Shares"
) -> str:
    rows = {}
    for name, part in parts.items():
        tensors: dict[str, Tensor] = {}
        state = _flatten(part, name, tensors)
        blob = save_tensors(_apart(tensors))
        path = folder / f"{name}.safetensors"
        if not shares.take(path.name, path, blob):
            write_durably(path, blob)
        rows[name] = {"sha256": hashlib.sha256(blob).hexdigest(), "state": state}
    text = json.dumps(
        {"format": FORMAT, "step": step, "versions": _versions(), "parts": rows},
        separators=(",", ":"),
        allow_nan=False,
    ).encode()
    digest = hashlib.sha256(text).hexdigest()
    write_durably(folder / MANIFEST, _HEAD + digest.encode() + _MIDDLE + text + _TAIL)
    sync_folder(folder)
    return digest


def _read_part(path: Path, name: str, row: dict[str, Any]) -> dict[str, Any]:
    blob = (path / f"{name}.safetensors").read_bytes()
    if hashlib.sha256(blob).hexdigest() != row["sha256"]:
        raise RunError(f"snapshot {path.name} is damaged: {name} does not match its hash")
    part = _rebuild(row["state"], load_tensors(blob))
    assert isinstance(part, dict)
    return part


def _flatten(value: Any, where: str, tensors: dict[str, Tensor]) -> Any:
    """Turn state into JSON, moving tensors out; what JSON cannot say becomes {"$tag": ...}."""
    if value is None or isinstance(value, (bool, str)) or type(value) is int:
        return value
    if isinstance(value, Tensor):
        while where in tensors:  # "a/b" may be one word or two
            where += "'"
        tensors[where] = value.detach().cpu()
        return {"$tensor": where}
    if type(value) is float:
        return value if math.isfinite(value) else {"$float": repr(value)}
    if isinstance(value, (list, tuple)):
        items = [_flatten(item, f"{where}/{i}", tensors) for i, item in enumerate(value)]
        return {"$tuple": items} if isinstance(value, tuple) else items
    if isinstance(value, Mapping):
        if all(isinstance(key, str) and not key.startswith("$") for key in value):
            return {key: _flatten(item, f"{where}/{key}", tensors) for key, item in value.items()}
        pairs = [
            [_flatten(key, where, tensors), _flatten(item, f"{where}/{i}:{key}", tensors)]
            for i, (key, item) in enumerate(value.items())
        ]
        return {"$items": pairs}
    raise TypeError(
        f"{where} is a {type(value).__name__}; a snapshot keeps tensors and JSON values"
    )


def _rebuild(value: Any, tensors: dict[str, Tensor] | None) -> Any:
    if isinstance(value, list):
        return [_rebuild(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) != 1 or not next(iter(value)).startswith("$"):
        return {key: _rebuild(item, tensors) for key, item in value.items()}
    ((tag, body),) = value.items()
    if tag == "$tensor":
        return None if tensors is None else tensors[body]
    if tag == "$float":
        return float(body)
    if tag == "$tuple":
        return tuple(_rebuild(item, tensors) for item in body)
    return {_rebuild(key, tensors): _rebuild(item, tensors) for key, item in body}


def _apart(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors, each with a memory of its own, as safetensors wants them."""
    seen: set[int] = set()
    out = {}
    for name, tensor in tensors.items():
        memory = tensor.untyped_storage()
        own = tensor.is_contiguous() and memory.nbytes() == tensor.nbytes
        own = own and memory.data_ptr() not in seen
        seen.add(memory.data_ptr())
        out[name] = tensor if own else tensor.clone(memory_format=torch.contiguous_format)
    return out


def _take_over(old: Path, new: Path, data: bytes, apart: list[Path]) -> bool:
    """Let a file that is on disk already stand for ``data``; False where it does not."""
    try:
        there = old.stat()
        if there.st_size != len(data) or any(_same(there, other) for other in apart):
            return False
        with old.open("rb") as file:
            for start in range(0, len(data), _CHUNK):
                if file.read(_CHUNK) != data[start : start + _CHUNK]:
                    return False
        os.link(old, new)
    except OSError:  # no such file, or a file system without links
        return False
    return True


def _same(there: os.stat_result, other: Path) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(there, other.stat())
    return False


def _versions() -> dict[str, str]:
    import clnf

    return {
        "clnf": clnf.__version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "threads": str(torch.get_num_threads()),
    }


def _snapshots(folder: Path) -> list[Path]:
    """Finished snapshots, newest first."""
    found = [path for path in folder.glob("*") if path.name.removeprefix(_ASIDE).isdigit()]
    return sorted(found, key=_step, reverse=True)


def _step(path: Path) -> int:
    return int(path.name.removeprefix(_ASIDE))


def _tidy(folder: Path) -> None:
    """Remove what an interrupted write left behind; put back what it had moved aside."""
    for path in folder.glob(".new-*"):
        shutil.rmtree(path, ignore_errors=True)
    for path in folder.glob(f"{_ASIDE}*"):
        target = folder / f"{_step(path):08d}"
        if target.exists():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.rename(target)
