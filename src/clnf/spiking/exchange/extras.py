"""What NIR has no place for, in the metadata of a node: bit depths, devices, plasticity, resets.

Each is one text of JSON under a name that begins with ``clnf.``, so that files stay flat and valid,
and other tools carry or drop it without a look.

    clnf.reading     of a graph: dt_s, drive, method it was made with
    clnf.cell        of a population: {"reset": "subtract", "refractory_s": 0.002}
    clnf.bits        {"weight": 8, "state": 16}
    clnf.device      {"material": "hfo2_array"}
    clnf.plasticity  {"rule": "pair_stdp", ...}
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from clnf.core.errors import ConfigError
from clnf.core.inputs import shown
from clnf.spiking.exchange.graph import Graph, Node

__all__ = ["ours", "with_extras"]

_HEAD = "clnf."


def ours(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """What we wrote into metadata, by name without its head; damaged values are left out.

    >>> ours({"clnf.bits": '{"weight": 8}', "author": "someone"})
    {'bits': {'weight': 8}}
    """
    found: dict[str, Any] = {}
    for key, value in metadata.items():
        if isinstance(key, str) and key.startswith(_HEAD) and isinstance(value, str):
            try:
                found[key.removeprefix(_HEAD)] = json.loads(value)
            except (ValueError, RecursionError):
                continue
    return found


def with_extras(graph: Graph, extras: Mapping[str, Mapping[str, Any]]) -> Graph:
    """A graph with values of ours at its nodes.

    Args:
        graph: to add to.
        extras: by name of a node, ``sub/node`` in a subgraph and ``""`` for the graph itself, what
            to keep there: JSON values by name.

    Raises:
        ConfigError: no such node, or a value that is none of JSON.

    >>> graph = Graph({"a": Node.of("Scale", {"scale": [1.0]})}, [])
    >>> ours(with_extras(graph, {"a": {"bits": {"weight": 8}}}).nodes["a"].metadata)
    {'bits': {'weight': 8}}
    """
    for path, values in extras.items():
        graph = _added(graph, path.split("/") if path else [], _texts(values))
    return graph


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    try:
        return {
            f"{_HEAD}{key}": json.dumps(value, allow_nan=False) for key, value in values.items()
        }
    except (TypeError, ValueError):
        raise ConfigError(f"extras are JSON values, got {shown(values)}; correct them") from None


def _added(graph: Graph, path: list[str], texts: dict[str, str]) -> Graph:
    if not path:
        return replace(graph, metadata={**graph.metadata, **texts})
    node = graph.nodes.get(path[0])
    if node is None or (isinstance(node, Node) and len(path) > 1):
        raise ConfigError(f"the graph has no node {'/'.join(path)!r}; name one of its nodes")
    if isinstance(node, Graph):
        node = _added(node, path[1:], texts)
    else:
        node = replace(node, metadata={**node.metadata, **texts})
    return replace(graph, nodes={**graph.nodes, path[0]: node})
