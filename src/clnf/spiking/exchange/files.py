"""NIR files: read without trust, written whole or not at all.

A file is HDF5: ``version``, and a group ``node`` that holds a graph, groups within groups. What a
file says of its own sizes is held against what lies in it before anything is allocated: deflate
packs a thousand to one at most.
"""

import io
from pathlib import Path
from typing import Any

from clnf.core.errors import DataError
from clnf.core.files import check_file, write_files
from clnf.core.inputs import shown
from clnf.spiking.exchange.graph import Graph

__all__ = ["read_nir", "write_nir"]

_DEEPEST = 64  # groups in groups
_MOST = 200_000  # groups and arrays of a file
_PACKED = 1100  # numbers' bytes by a byte that lies in a file, at most
_SMALL = 2**20  # bytes that may be had for nothing
# What h5py raises over damaged files.
_FAULTS = (OSError, KeyError, RuntimeError, ValueError, TypeError, AttributeError, MemoryError)


def read_nir(path: Path | str) -> Graph:
    """Read a file of any NIR from 0.2 on.

    Nothing is inferred and nothing added, so that what was read can be written again to the bit.
    Edges that stand there twice are taken once, and ``notes`` say so; ``find_faults`` says more.

    Args:
        path: of the file.

    Raises:
        DataError: no such file, no HDF5, cut or damaged, or no graph of NIR in it.
    """
    if not isinstance(path, (str, Path)) or "\0" in str(path):
        raise DataError(f"a file is named by its path, got {shown(path)}; give its name")
    if not Path(path).is_file():
        raise DataError(f"no file {str(path)!r}; give the name of a NIR file")
    import h5py

    left = [_MOST]
    try:
        with h5py.File(path, "r") as file:
            if "node" not in file or not isinstance(file["node"], h5py.Group):
                raise DataError(f"{path} is HDF5, but holds no NIR graph; it has no group 'node'")
            version = _plain(file["version"][()]) if "version" in file else ""
            values = _values(file["node"], h5py, left)
    except _FAULTS as error:
        why = " ".join(str(error).split())[:120]
        raise DataError(f"{path} is no NIR file, or a damaged one ({why}); write it anew") from None
    if values.get("type") not in ("NIRGraph", b"NIRGraph"):
        # A single node is legal, if rare: a graph of one.
        values = {"type": "NIRGraph", "nodes": {"node": values}, "edges": []}
    return Graph.of_dict(values, str(version))


def _values(group: Any, h5py: Any, left: list[int], depth: int = 0) -> dict[str, Any]:
    if depth > _DEEPEST:
        raise DataError(f"groups lie more than {_DEEPEST} deep; a file cannot be read that does so")
    found: dict[str, Any] = {}
    for name in group:
        left[0] -= 1
        if left[0] < 0:
            raise DataError(f"more than {_MOST} groups and arrays; such a file is not read")
        # Links may lead to other files.
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise DataError(f"{group.name}/{name} is a link; a NIR file holds its own values")
        item = group[name]
        if isinstance(item, h5py.Group):
            found[name] = _values(item, h5py, left, depth + 1)
        elif isinstance(item, h5py.Dataset):
            _check_size(item)
            found[name] = _plain(item[()])
    return found


def _check_size(item: Any) -> None:
    size, lies = item.size, item.id.get_storage_size()
    if size is None:
        raise DataError(f"{item.name} holds nothing; write the file anew")
    if size * item.dtype.itemsize > _SMALL + _PACKED * lies:
        raise DataError(
            f"{item.name} claims {size} numbers, and {lies} bytes lie in the file; it is cut or "
            "damaged"
        )


def _plain(value: Any) -> Any:
    return value.decode("utf8", "replace") if isinstance(value, bytes) else value


def write_nir(path: Path | str, graph: Graph) -> Path:
    """Write a graph as a file of the installed NIR, whole or not at all.

    Args:
        path: of the file; one that is there is replaced.
        graph: as it is, see ``mended`` for what other tools ask for.

    Returns:
        The path.

    Raises:
        DataError: names or values that a file cannot hold.
        ExportError: the file cannot be written.
    """
    import nir

    path = check_file(path)
    _check_names(graph, "")
    made, file = graph.to_nir(), io.BytesIO()
    try:
        nir.write(file, made)
    except (*_FAULTS, AssertionError) as error:
        why = " ".join(str(error).split())[:120]
        raise DataError(f"this graph cannot be put into a file ({why}); correct it") from None
    write_files([(path, file.getvalue())])
    return path


def _check_names(graph: Graph, path: str) -> None:
    for name, node in graph.nodes.items():
        if not name or name == "." or "/" in name or "\0" in name:
            raise DataError(
                f"a node in a file needs a name without '/', got {path + name!r}; rename it"
            )
        if isinstance(node, Graph):
            _check_names(node, f"{path}{name}/")
