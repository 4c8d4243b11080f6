"""A graph without subgraphs: their nodes beside the others, as ``graph/node``.

What leads to a subgraph leads to its Input, and what leads on comes from its Output. NIR's edges
name no ports, so a subgraph has one of each.
"""

from collections.abc import Sequence
from typing import NamedTuple

from clnf.spiking.exchange.faults import Fault
from clnf.spiking.exchange.graph import Edge, Graph, Node

__all__ = ["Flat", "flattened", "into"]


class Flat(NamedTuple):
    """Nodes of all levels.

    Attributes:
        nodes: by path; Input and Output of subgraphs pass on what comes.
        edges: between them.
        inputs: Input nodes of the whole.
        outputs: Output nodes of the whole.
        faults: edges that lead nowhere.
    """

    nodes: dict[str, Node]
    edges: list[Edge]
    inputs: list[str]
    outputs: list[str]
    faults: list[Fault]


def flattened(graph: Graph) -> Flat:
    """All nodes beside each other.

    >>> port = {"shape": [2]}
    >>> inner = Graph({"a": Node.of("Input", port), "b": Node.of("Output", port)}, [("a", "b")])
    >>> outer = Graph({"x": Node.of("Input", port), "part": inner}, [("x", "part")])
    >>> flattened(outer).edges
    [('part/a', 'part/b'), ('x', 'part/a')]
    """
    nodes: dict[str, Node] = {}
    edges: list[Edge] = []
    faults: list[Fault] = []
    _add(graph, "", (nodes, edges, faults))
    tops = [name for name, node in graph.nodes.items() if isinstance(node, Node)]
    ports = [[name for name in tops if nodes[name].kind == kind] for kind in ("Input", "Output")]
    return Flat(nodes, edges, ports[0], ports[1], faults)


def _add(graph: Graph, path: str, to: tuple[dict[str, Node], list[Edge], list[Fault]]) -> None:
    nodes, edges, faults = to
    for name, node in graph.nodes.items():
        if isinstance(node, Graph):
            _add(node, f"{path}{name}/", to)
        else:
            nodes[f"{path}{name}"] = node
    for edge in graph.edges:
        ends = []
        for name, kind in zip(edge, ("Output", "Input"), strict=True):
            found, fault = _end(graph, path, (name, kind))
            ends.append(found)
            faults.extend([] if fault is None else [fault])
        if all(ends):
            edges.append((ends[0], ends[1]))


def _end(graph: Graph, path: str, of: tuple[str, str]) -> tuple[str, Fault | None]:
    """Where an edge ends, or why it ends nowhere."""
    name, kind = of
    node = graph.nodes.get(name)
    if isinstance(node, Node):
        return f"{path}{name}", None
    if node is None:
        what = f"an edge names {name!r}, and there is no such node"
        return "", Fault("error", path.rstrip("/"), what, "correct the edge")
    ports = [
        inner
        for inner, one in node.nodes.items()
        if isinstance(one, Node) and one.kind == kind
    ]  # fmt: skip
    if len(ports) == 1:
        return f"{path}{name}/{ports[0]}", None
    what = f"the subgraph has {len(ports)} {kind} nodes, and edges name no ports"
    return "", Fault("error", f"{path}{name}", what, "give it one")


def into(edges: Sequence[Edge]) -> dict[str, list[str]]:
    """Whence each node is reached."""
    found: dict[str, list[str]] = {}
    for a, b in edges:
        found.setdefault(b, []).append(a)
    return found
