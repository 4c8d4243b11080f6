"""Graphs of NIR as records of arrays: what a file holds, to the bit, and nothing worked out.

NIR (Neuromorphic Intermediate Representation) is a graph of nodes in continuous time, seconds and
arbitrary units of potential. Edges are identities; what arrives at a node by several is added up.

    Affine     y = W x + b                     I        dv/dt = r x
    Linear     y = W x                         IF       I, and spikes
    Scale      y = s x                         LI       tau dv/dt = (v_leak - v) + r x
    Threshold  y = 1 if x > threshold else 0   LIF      LI, and spikes
    Delay      y(t) = x(t - delay)             CubaLI   tau_syn di/dt = -i + w_in x, LI of i
    Conv1d, Conv2d, SumPool2d, AvgPool2d,      CubaLIF  CubaLI, and spikes
    Flatten, Input, Output, NIRGraph

A cell spikes where v > v_threshold, strictly, and v becomes v_reset.

Source: Pedersen et al., Nature Communications 2024; the reference implementation, nir 1.0.8.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Union, final

import numpy as np
from numpy.typing import NDArray

from clnf.core.errors import DataError
from clnf.core.inputs import shown

__all__ = ["CELLS", "FIELDS", "SPIKING", "Array", "Graph", "Node", "identical"]

Array = NDArray[Any]
Value = Array | str
Edge = tuple[str, str]

_POOL = ("kernel_size", "stride", "padding")
_CONV = ("input_shape", "weight", "stride", "padding", "dilation", "groups", "bias")
# What each kind holds; with ? what a file may lack.
FIELDS: Mapping[str, tuple[str, ...]] = {
    "Affine": ("weight", "bias"),
    "Linear": ("weight",),
    "Scale": ("scale",),
    "Conv1d": ("?input_shape", *_CONV[1:]),
    "Conv2d": ("?input_shape", *_CONV[1:]),
    "SumPool2d": _POOL,
    "AvgPool2d": _POOL,
    "Flatten": ("?input_type", "?start_dim", "?end_dim"),
    "Delay": ("delay",),
    "Threshold": ("threshold",),
    "I": ("r",),
    "IF": ("r", "v_threshold", "?v_reset"),
    "LI": ("tau", "r", "v_leak"),
    "LIF": ("tau", "r", "v_leak", "v_threshold", "?v_reset"),
    "CubaLI": ("tau_syn", "tau_mem", "r", "v_leak", "?w_in"),
    "CubaLIF": ("tau_syn", "tau_mem", "r", "v_leak", "v_threshold", "?v_reset", "?w_in"),
    "Input": ("shape",),
    "Output": ("shape",),
}
CELLS = ("I", "IF", "LI", "LIF", "CubaLI", "CubaLIF")
SPIKING = ("IF", "LIF", "CubaLIF")
# What the package raises over numbers that it does not foresee.
_FAULTS = (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError)
_WORDS = {("Conv1d", "padding"), ("Conv2d", "padding")}


@final
@dataclass(frozen=True, eq=False)
class Node:
    """One node.

    Attributes:
        kind: its name in NIR, such as ``"LIF"``.
        values: its fields by their names in NIR; numbers are arrays, one number has no axes. A
            field that a file may lack is not there where it lacked.
        metadata: what else was written beside it, by name.
    """

    kind: str
    values: Mapping[str, Value]
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @staticmethod
    def of(
        kind: str, values: Mapping[str, Any], metadata: Mapping[str, Any] | None = None
    ) -> "Node":
        """A node from arrays, lists or numbers.

        Raises:
            DataError: an unknown kind, a field that lacks, is unknown or holds no numbers.

        >>> Node.of("Delay", {"delay": [0.001, 0.002]}).kind
        'Delay'
        """
        unknown = set(values) - {name.lstrip("?") for name in FIELDS.get(kind, ())}
        if unknown and kind in FIELDS:
            raise DataError(f"{kind} has no field {min(unknown)!r}; leave it out")
        return _node({"type": kind, **values, "metadata": metadata or {}}, kind, [])

    def array(self, name: str) -> Array:
        """A field; where the file lacks it, what NIR takes it for.

        Raises:
            DataError: it is no field of numbers of this node.
        """
        if name not in self.values:
            if name == "v_reset" and "v_threshold" in self.values:
                return np.zeros_like(self.array("v_threshold"))
            if name == "w_in" and "v_leak" in self.values:
                return np.ones_like(self.array("v_leak"))
            if name in ("start_dim", "end_dim"):
                return np.asarray(1 if name == "start_dim" else -1)
        found = self.values.get(name)
        if found is None or isinstance(found, str):
            raise DataError(f"{self.kind} has no numbers in {name!r}, got {shown(found)}")
        return found


@final
@dataclass(frozen=True, eq=False)
class Graph:
    """Nodes and what leads from one to another.

    Attributes:
        nodes: by name; a graph among them is a subgraph.
        edges: from and to, each once.
        metadata: what else was written beside it, by name.
        version: of NIR that wrote it; empty where it was made here.
        notes: sentences on what was put right while it was read.
    """

    nodes: Mapping[str, Union[Node, "Graph"]]
    edges: Sequence[Edge]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    version: str = ""
    notes: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """Its name in NIR."""
        return "NIRGraph"

    @staticmethod
    def of_dict(values: object, version: str = "") -> "Graph":
        """A graph from the nested dictionaries that ``nir`` makes of one, and that files hold.

        Raises:
            DataError: it is no graph, or a node in it is not whole.
        """
        notes: list[str] = []
        found = _graph(values, "", notes)
        return Graph(found.nodes, found.edges, found.metadata, version, tuple(notes))

    @staticmethod
    def of_nir(graph: Any) -> "Graph":
        """From an object of the package ``nir``.

        Raises:
            DataError: it is none, or not whole.
        """
        import nir

        if not isinstance(graph, nir.NIRGraph):
            raise DataError(f"a graph must be a nir.NIRGraph, got {shown(graph)}; give one")
        try:
            values = graph.to_dict()
        except (TypeError, ValueError, AttributeError, KeyError) as error:
            raise DataError(f"nir cannot say what is in this graph ({error}); mend it") from None
        return Graph.of_dict(values)

    @np.errstate(all="ignore")  # files hold any numbers
    def to_nir(self) -> Any:
        """As an object of the package ``nir``, without a check of its types.

        Raises:
            DataError: ``nir`` refuses a node.
        """
        import nir

        nodes = {}
        for name, node in self.nodes.items():
            if isinstance(node, Graph):
                nodes[name] = node.to_nir()
                continue
            try:
                nodes[name] = _to_nir(nir, node)
            except _FAULTS as error:
                raise DataError(f"NIR refuses node {name!r} ({error}); correct it") from None
        edges, metadata = [*self.edges], dict(self.metadata)
        return nir.NIRGraph(nodes=nodes, edges=edges, metadata=metadata, type_check=False)

    def walk(self, path: str = "") -> Iterator[tuple[str, Node]]:
        """All nodes with their names, those of subgraphs as ``graph/node``."""
        for name, node in self.nodes.items():
            if isinstance(node, Graph):
                yield from node.walk(f"{path}{name}/")
            else:
                yield f"{path}{name}", node


def identical(first: Node | Graph, second: Node | Graph) -> bool:
    """Whether two graphs or nodes hold the same, to the bit; the order of nodes does not count.

    >>> node = Node.of("Scale", {"scale": [1.0, 2.0]})
    >>> identical(node, Node.of("Scale", {"scale": [1.0, 2.5]}))
    False
    """
    if isinstance(first, Graph) or isinstance(second, Graph):
        if not (isinstance(first, Graph) and isinstance(second, Graph)):
            return False
        return (
            first.nodes.keys() == second.nodes.keys()
            and [*map(tuple, first.edges)] == [*map(tuple, second.edges)]
            and _alike(first.metadata, second.metadata)
            and all(identical(node, second.nodes[name]) for name, node in first.nodes.items())
        )
    same = first.kind == second.kind and _alike(first.values, second.values)
    return same and _alike(first.metadata, second.metadata)


def _alike(one: Any, other: Any) -> bool:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_alike(one[key], other[key]) for key in one)
    if isinstance(one, str) or isinstance(other, str):
        return isinstance(other, str) and isinstance(one, str) and one == other
    a, b = np.asarray(one), np.asarray(other)
    if a.dtype.hasobject or b.dtype.hasobject:
        return a.shape == b.shape and bool(np.all(a == b))
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def _graph(values: object, path: str, notes: list[str]) -> Graph:
    where = path.rstrip("/") or "the graph"
    if not isinstance(values, Mapping) or not isinstance(values.get("nodes"), Mapping):
        raise DataError(f"{where} has no nodes; it is no NIR graph")
    nodes: dict[str, Node | Graph] = {}
    for name, one in values["nodes"].items():
        kind = _kind(one, f"{path}{name}")
        if kind == "NIRGraph":
            nodes[str(name)] = _graph(one, f"{path}{name}/", notes)
        else:
            nodes[str(name)] = _node(one, f"{path}{name}", notes)
    edges = _edges(values.get("edges", []), where, notes)
    return Graph(nodes, edges, _metadata(values, where))


def _kind(values: object, where: str) -> str:
    kind = values.get("type") if isinstance(values, Mapping) else None
    kind = _text(kind)
    if kind != "NIRGraph" and kind not in FIELDS:
        raise DataError(
            f"node {where!r} is of type {shown(kind)}, which NIR 1.0 does not have; it has "
            f"{', '.join(FIELDS)}"
        )
    return kind


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("utf8", "replace")
    return value if isinstance(value, str) else shown(value)


def _edges(values: Any, where: str, notes: list[str]) -> list[Edge]:
    try:
        pairs = [(_text(a), _text(b)) for a, b in values]
    except (TypeError, ValueError):
        raise DataError(f"edges of {where} are pairs of names, got {shown(values)}") from None
    found = list(dict.fromkeys(pairs))
    for a, b in found:
        if (times := pairs.count((a, b)) if len(found) < len(pairs) else 1) > 1:
            notes.append(f"edge {a} -> {b} stood there {times} times; it is taken once")
    return found


def _metadata(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    found = values.get("metadata", {})
    if not isinstance(found, Mapping):
        raise DataError(f"metadata of {where} are named values, got {shown(found)}; correct them")
    return {str(key): value for key, value in found.items()}


def _node(values: Mapping[str, Any], where: str, notes: list[str]) -> Node:
    kind = _kind(values, where)
    found: dict[str, Value] = {}
    for name in FIELDS[kind]:
        value = values.get(name.lstrip("?"))
        if value is not None:
            found[name.lstrip("?")] = _value(value, where, (kind, name.lstrip("?")))
        elif not name.startswith("?"):
            raise DataError(f"{kind} {where!r} lacks {name}; write it anew")
    own = {name.lstrip("?") for name in FIELDS[kind]} | {"type", "metadata"}
    more = sorted(values.keys() - own)
    notes += [f"{kind} {where!r} has no field {one!r} in NIR 1.0; it is left out" for one in more]
    return Node(kind, found, _metadata(values, where))


def _value(value: Any, where: str, field_of: tuple[str, str]) -> Value:
    kind, name = field_of
    if isinstance(value, bytes):
        value = value.decode("utf8", "replace")
    if isinstance(value, str):
        if field_of in _WORDS:
            return value
        raise DataError(f"{name} of {kind} {where!r} must be numbers, got {shown(value)}")
    try:
        found = np.asarray(value)
    except (TypeError, ValueError):
        found = np.asarray(None)
    if found.dtype.kind not in "fiub" or found.dtype.itemsize > 8:
        raise DataError(f"{name} of {kind} {where!r} must be real numbers, got {shown(value)}")
    return found


def _to_nir(nir: Any, node: Node) -> Any:
    # The package takes bare numbers where h5py would not compress them.
    values: dict[str, Any] = {
        name: value if isinstance(value, str) or value.ndim else value[()]
        for name, value in node.values.items()
    }
    if node.kind in ("Input", "Output"):
        port = node.kind.lower()
        made = getattr(nir, node.kind)({port: np.atleast_1d(values.pop("shape"))})
    elif node.kind == "Flatten":
        dims = {key: int(node.array(key)) for key in ("start_dim", "end_dim")}
        made = nir.Flatten({"input": values.pop("input_type", None)}, **dims)
        values = {}
    else:
        if node.kind.startswith("Conv"):
            values.setdefault("input_shape", None)
        made = getattr(nir, node.kind)(**values)
    for name, value in values.items():
        if name != "w_in" or np.ndim(value):  # the package makes new arrays of some
            setattr(made, name, value)
    made.metadata = dict(node.metadata)
    return made
