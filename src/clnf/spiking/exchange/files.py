"""NIR files: read without trust, written whole or not at all.

A file is HDF5: ``version``, and a group ``node`` that holds a graph, groups within groups. What a
file says of its own sizes is held against what lies in it before anything is allocated: deflate
packs a thousand to one at most.
"""

import io
from pathlib import Path
from typing import Any, final

import numpy as np

from clnf.core.errors import DataError
from clnf.core.files import check_file, write_files
from clnf.core.inputs import instance, shown
from clnf.spiking.exchange.graph import Graph
from clnf.spiking.exchange.heaps import Texts

__all__ = ["read_nir", "write_nir"]

_DEEPEST = 64  # groups in groups
_TOO_DEEP = f"groups lie more than {_DEEPEST} deep, and each subgraph takes two; join some"
_MOST = 200_000  # groups and arrays of a file
_PACKED = 1100  # numbers' bytes by a byte that lies in a file, at most
_WIDEST = 4096  # bytes of one value
_SMALL = 2**20  # bytes that may be had for nothing
# What h5py raises over damaged files.
_FAULTS = (OSError, KeyError, RuntimeError, ValueError, TypeError, AttributeError, MemoryError)


def read_nir(path: Path | str) -> Graph:
    """Read a file of any NIR from 0.2 on.

    Nothing is inferred and nothing added: every array and text is as it stands in the file.
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

    try:
        with Texts(Path(path)) as texts, h5py.File(path, "r") as file:
            if "node" not in file or not isinstance(file["node"], h5py.Group):
                raise DataError("it holds no NIR graph; it has no group 'node'")
            reader = _Reader(h5py, texts)
            version = reader.value(file["version"]) if "version" in file else ""
            values = reader.values(file["node"])
    except (*_FAULTS, DataError) as error:
        why = " ".join(str(error).split())[:160]
        raise DataError(f"{path} is no NIR file, or a damaged one ({why}); write it anew") from None
    if values.get("type") not in ("NIRGraph", b"NIRGraph"):
        # A single node is legal, if rare: a graph of one.
        values = {"type": "NIRGraph", "nodes": {"node": values}, "edges": []}
    return Graph.of_dict(values, str(version))


@final
class _Reader:
    """What lies in groups, as nested dictionaries; nothing is believed before it is checked."""

    def __init__(self, h5py: Any, texts: Texts) -> None:
        self._h5py, self._texts, self._left = h5py, texts, _MOST

    def values(self, group: Any, depth: int = 0) -> dict[str, Any]:
        """All values of a group and of groups in it."""
        if depth > _DEEPEST:
            raise DataError(_TOO_DEEP)
        found: dict[str, Any] = {}
        for name in group:
            self._left -= 1
            if self._left < 0:
                raise DataError(f"there are more than {_MOST} groups and arrays in it")
            # Links may lead to other files.
            if not isinstance(group.get(name, getlink=True), self._h5py.HardLink):
                raise DataError(f"{group.name}/{name} is a link, and no value")
            item = group[name]
            inner = isinstance(item, self._h5py.Group)
            found[name] = self.values(item, depth + 1) if inner else self.value(item)
        return found

    def value(self, item: Any) -> Any:
        """One value: a text, texts, or an array of numbers."""
        if not isinstance(item, self._h5py.Dataset) or item.size is None:
            raise DataError(f"{item.name} holds nothing")
        told, size = self._h5py.check_string_dtype(item.dtype), item.size
        if told is not None and told.length is None and item.chunks is not None:
            # Packed texts, which only metadata may hold; these only the library can unpack.
            return item.asstr()[()]
        if told is not None and told.length is None:
            texts = self._texts.at(item.id.get_offset() if size else 0, size)
            return texts[0] if item.shape == () else np.array(texts, object).reshape(item.shape)
        lies = item.id.get_storage_size()
        if size * item.dtype.itemsize > _SMALL + _PACKED * lies:
            raise DataError(f"{item.name} claims {size} numbers, and {lies} bytes lie in the file")
        if item.dtype.kind not in "fiubSc" or item.dtype.itemsize > _WIDEST:
            raise DataError(f"{item.name} holds {item.dtype}, and no numbers")
        found = item[()]
        return found.decode("utf8", "replace") if isinstance(found, bytes) else found


def write_nir(path: Path | str, graph: Graph) -> Path:
    """Write a graph as a file of the installed NIR, whole or not at all.

    Every value of the graph is kept to the bit. The installed NIR adds what old files may lack:
    its version, ``v_reset`` of 0, ``w_in`` of 1, and the axes of a Flatten.

    Args:
        path: of the file; one that is there is replaced.
        graph: as it is, see ``mended`` for what other tools ask for.

    Returns:
        The path.

    Raises:
        ConfigError: it is no graph.
        DataError: names or values that a file cannot hold, or graphs deeper than can be read.
        ExportError: the file cannot be written.
    """
    import nir

    path = check_file(path)
    instance("graph", graph, Graph, "give read_nir(path) or graph_of(net)")
    _check_names(graph, "")
    made, file = _Said(graph.to_nir().to_dict()), io.BytesIO()
    _check_depth(made.values, 0)
    try:
        nir.write(file, made)
    except (*_FAULTS, AssertionError) as error:
        why = " ".join(str(error).split())[:120]
        raise DataError(f"this graph cannot be put into a file ({why}); correct it") from None
    write_files([(path, file.getvalue())])
    return path


class _Said:
    """What the package asks of a graph it writes; what is None is left out, as files have none."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values

    def to_dict(self) -> dict[str, Any]:
        """All values that are there."""
        return _there(self.values)


def _there(values: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _there(value) if isinstance(value, dict) else value
        for key, value in values.items()
        if value is not None
    }


def _check_depth(values: dict[str, Any], depth: int) -> None:
    if depth > _DEEPEST:
        raise DataError(_TOO_DEEP)
    for value in values.values():
        if isinstance(value, dict) and value:
            _check_depth(value, depth + 1)


def _check_names(graph: Graph, path: str, depth: int = 0) -> None:
    if depth > _DEEPEST:  # a group holds the graph, another one its nodes
        raise DataError(_TOO_DEEP)
    for name, node in graph.nodes.items():
        if not name or name == "." or "/" in name or "\0" in name:
            raise DataError(
                f"a node in a file needs a name without '/', got {path + name!r}; rename it"
            )
        if isinstance(node, Graph):
            _check_names(node, f"{path}{name}/", depth + 2)
