"""A graph as others expect it, with nothing changed that it means.

Parameters become arrays of float32 in the shape of their population, ``v_reset`` and ``w_in`` are
written, shapes of convolutions and of what is flattened are said, and nodes that nothing leads to,
or that lead nowhere, get an Input or an Output.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from clnf.spiking.exchange.flat import flattened
from clnf.spiking.exchange.graph import CELLS, SPIKING, Array, Graph, Node
from clnf.spiking.exchange.shapes import shapes_of

__all__ = ["float32_of", "mended"]

Shape = tuple[int, ...]


def float32_of(array: Array) -> Array:
    """Numbers as float32; what float32 cannot hold stays as it is."""
    with np.errstate(over="ignore"):
        found = array.astype(np.float32)
    return found if np.isfinite(found).all() else array


@np.errstate(all="ignore")  # files hold any numbers
def mended(graph: Graph) -> Graph:
    """The graph as every reader can take it.

    Args:
        graph: with shapes that fit each other.

    >>> bare = Graph({"lif": Node.of("LIF", {"tau": [0.02], "r": 1.0, "v_leak": 0.0,
    ...                                      "v_threshold": 1.0})}, [])
    >>> [*mended(bare).nodes], mended(bare).nodes["lif"].values["v_reset"]
    (['lif', 'input_lif', 'output_lif'], array([0.], dtype=float32))
    """
    shapes = shapes_of(flattened(graph))
    found = _mended(graph, "", shapes.into)
    nodes, edges = dict(found.nodes), [*found.edges]
    reached, lead = {b for _, b in edges}, {a for a, _ in edges}
    for name, node in found.nodes.items():
        if isinstance(node, Graph):
            continue
        if name not in reached and node.kind != "Input" and name in shapes.into:
            new = _free(f"input_{name}", nodes)
            nodes[new] = Node.of("Input", {"shape": shapes.into[name]})
            edges.append((new, name))
        if name not in lead and node.kind != "Output" and name in shapes.out:
            new = _free(f"output_{name}", nodes)
            nodes[new] = Node.of("Output", {"shape": shapes.out[name]})
            edges.append((name, new))
    return replace(found, nodes=nodes, edges=edges, notes=())


def _free(name: str, nodes: Mapping[str, Any]) -> str:
    while name in nodes:
        name += "_"
    return name


def _mended(graph: Graph, path: str, shapes: Mapping[str, Shape]) -> Graph:
    nodes: dict[str, Node | Graph] = {}
    for name, node in graph.nodes.items():
        if isinstance(node, Graph):
            nodes[name] = _mended(node, f"{path}{name}/", shapes)
        else:
            nodes[name] = _node(node, shapes.get(f"{path}{name}"))
    return replace(graph, nodes=nodes)


def _node(node: Node, shape: Shape | None) -> Node:
    values = dict(node.values)
    if node.kind in SPIKING:
        values["v_reset"] = node.array("v_reset")
    if node.kind.startswith("Cuba"):
        values["w_in"] = node.array("w_in")
    if node.kind in (*CELLS, "Scale", "Threshold", "Delay") and shape is not None:
        for name, value in values.items():
            array = np.asarray(value)
            if np.ndim(array) <= len(shape) and _spreads(array.shape, shape):
                values[name] = np.broadcast_to(array, shape).copy()
    if (
        node.kind in ("Conv1d", "Conv2d")
        and shape is not None
        and len(shape) == int(node.kind[4]) + 1
    ):
        one = node.kind == "Conv1d"
        values.setdefault("input_shape", np.asarray(shape[1] if one else shape[1:]))
    if node.kind == "Flatten" and shape is not None:
        values.setdefault("input_type", np.asarray(shape))
    for name in ("start_dim", "end_dim") if node.kind == "Flatten" else ():
        values[name] = node.array(name)
    if "weight" in values or "r" in values or node.kind in ("Scale", "Threshold", "Delay"):
        whole = ("stride", "padding", "dilation", "groups", "input_shape")
        for name, value in values.items():
            if not isinstance(value, str) and name not in whole:
                values[name] = float32_of(value)
    return replace(node, values=values)


def _spreads(has: Shape, shape: Shape) -> bool:
    try:
        return np.broadcast_shapes(has, shape) == shape
    except ValueError:
        return False
