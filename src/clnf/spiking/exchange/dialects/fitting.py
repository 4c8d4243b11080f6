"""A graph in the dialect of one tool: other numbers, and the same spikes where the tool can.

What each population does in a step is worked out here (:mod:`clnf.spiking.exchange.dialects.step`),
and the tool's own formulas are turned around: time constants whose decay it is, thresholds in units
of what an input adds. Weights stay, but where cells of a population differ in what an input adds
and the tool has them alike: then rows of weights are scaled. Subgraphs are dissolved, rings written
as the tool reads them. The file that comes out is for that tool and one step; it no longer says
what the network is in seconds and volts.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from clnf.core.errors import DataError
from clnf.spiking.exchange.dialects.dialect import Dialect, Finding
from clnf.spiking.exchange.dialects.judging import judge
from clnf.spiking.exchange.dialects.step import Step, intended
from clnf.spiking.exchange.extras import with_extras
from clnf.spiking.exchange.flat import Flat, flattened, into
from clnf.spiking.exchange.graph import CELLS, Array, Edge, Graph, Node
from clnf.spiking.exchange.mending import float32_of, mended
from clnf.spiking.exchange.order import groups_of
from clnf.spiking.exchange.reading import Reading
from clnf.spiking.exchange.shapes import shapes_of

__all__ = ["Fitted", "fit"]

Shape = tuple[int, ...]


class Fitted(NamedTuple):
    """A graph for a tool.

    Attributes:
        graph: to be written.
        left: what the tool still refuses or changes; empty where it does the same.
        dt_s: seconds of a step that the tool must be told, or has.
    """

    graph: Graph
    left: list[Finding]
    dt_s: float


@np.errstate(all="ignore")  # files hold any numbers
def fit(graph: Graph, dialect: Dialect, how: Reading) -> Fitted:
    """Write a graph in the dialect of a tool.

    Args:
        graph: with shapes that fit each other.
        dialect: of the tool.
        how: what the file is read as; with the tool's step, where it has one, a step of the tool is
            still one of ``how.dt_s``.

    Raises:
        DataError: edges that lead nowhere, or no nodes.
    """
    flat = flattened(mended(graph))
    if flat.faults or not flat.nodes:
        raise DataError(
            f"this graph cannot be rewritten: {flat.faults[0].sentence}"
            if flat.faults
            else "a graph without nodes cannot be rewritten"
        )
    flat = _plain(flat)
    shapes = shapes_of(flat).into
    dt_s = dialect.dt_s or how.dt_s
    nodes: dict[str, Node] = {}
    wanted: dict[str, Step] = {}
    folded: dict[str, Node] = {}
    for name, node in flat.nodes.items():
        nodes[name] = node
        if node.kind in CELLS and name in shapes:
            try:
                step = intended(node, how)
                nodes[name], step, scaled = _fitted(
                    name, flat, (step, shapes[name]), (dialect, dt_s)
                )
            except DataError:
                continue
            wanted[name] = step
            folded |= scaled
    nodes |= folded
    if "Linear" not in dialect.takes:
        nodes = {name: _with_bias(node) for name, node in nodes.items()}
    found, names = _ordered(nodes, flat.edges, dialect)
    wanted = {names[name]: step for name, step in wanted.items()}
    metadata = {key: value for key, value in graph.metadata.items() if key != "clnf.reading"}
    found = with_extras(replace(found, metadata=metadata), {"": _told(dialect, how)})
    return Fitted(found, judge(found, dialect, how, wanted), dt_s)


def _fitted(
    name: str, flat: Flat, of: tuple[Step, Shape], to: tuple[Dialect, float]
) -> tuple[Node, Step, dict[str, Node]]:
    """Cells for a tool and what they do then; weights before them, where these had to be scaled."""
    (step, shape), (dialect, dt_s), node = of, to, flat.nodes[name]
    try:
        return _node(node, dialect.fit(step, dt_s), shape), step, {}
    except DataError:
        # What an input adds may be told by the weights instead, and be the same for all cells.
        share = np.broadcast_to(step.gain, shape)
        level = 1.0
        if step.threshold is not None:
            height = np.broadcast_to(step.threshold - step.rest, shape)
            share, level = share / height, float(height.flat[0])
        scaled = _scaled(name, flat, share * level)
        gain = np.ones(shape) if step.threshold is None else height / level
        new = step._replace(gain=gain)
        return _node(node, dialect.fit(new, dt_s), shape), new, scaled


def _scaled(name: str, flat: Flat, share: Array) -> dict[str, Node]:
    """Weights that lead to a population alone, with each row times what its cell makes of it."""
    found = {}
    if not np.isfinite(share).all() or not share.all():
        raise DataError("weights cannot tell what inputs add here")
    for before in into(flat.edges).get(name, []):
        node, ways = flat.nodes[before], [b for a, b in flat.edges if a == before]
        if node.kind not in ("Linear", "Affine", "Conv2d") or ways != [name]:
            raise DataError("what leads to these cells has no weights that could be scaled")
        weight = node.array("weight")
        if share.ndim != (3 if node.kind == "Conv2d" else weight.ndim - 1):
            raise DataError("weights before these cells have other axes")
        rows = share if node.kind != "Conv2d" else share[:, 0, 0]
        if node.kind == "Conv2d" and not (share == share[:, :1, :1]).all():
            raise DataError("cells of one channel differ, and share their weights")
        columns = rows.reshape(*rows.shape, *(1 for _ in range(weight.ndim - rows.ndim)))
        values = {**node.values, "weight": float32_of(weight * columns)}
        if "bias" in values:
            values["bias"] = float32_of(np.broadcast_to(node.array("bias"), rows.shape) * rows)
        found[before] = replace(node, values=values)
    return found


def _with_bias(node: Node) -> Node:
    if node.kind != "Linear" or node.array("weight").ndim < 2:
        return node
    weight = node.array("weight")
    bias = np.zeros((*weight.shape[:-2], weight.shape[-2]), weight.dtype)
    return replace(node, kind="Affine", values={**node.values, "bias": bias})


def _told(dialect: Dialect, how: Reading) -> dict[str, Any]:
    return {"for": {"tool": dialect.name, "dt_s": how.dt_s, "drive": how.drive}}


def _plain(flat: Flat) -> Flat:
    """Without the ports of subgraphs, and with names that torch takes."""
    inner = [
        name
        for name, node in flat.nodes.items()
        if node.kind in ("Input", "Output") and name not in (*flat.inputs, *flat.outputs)
    ]
    edges = [*flat.edges]
    for port in inner:
        before = [a for a, b in edges if b == port]
        after = [b for a, b in edges if a == port]
        edges = [edge for edge in edges if port not in edge]
        edges += [(a, b) for a in before for b in after if port not in (a, b)]
    names: dict[str, str] = {}
    for name in flat.nodes:
        new = name.replace("/", "_").replace(".", "_")
        while new in names.values():
            new += "_"
        names[name] = new
    return Flat(
        {names[name]: node for name, node in flat.nodes.items() if name not in inner},
        [*dict.fromkeys((names[a], names[b]) for a, b in edges)],
        [names[name] for name in flat.inputs],
        [names[name] for name in flat.outputs],
        [],
    )


def _node(node: Node, cells: Any, shape: Shape) -> Node:
    values = {}
    for key, value in cells.values.items():
        array = np.asarray(value, np.float64)
        if not np.isfinite(array).all():
            raise DataError(f"{key} would not be finite")
        values[key] = float32_of(np.broadcast_to(array, shape)).copy()
    return Node.of(cells.kind, values, node.metadata)


def _ordered(
    nodes: Mapping[str, Node], edges: list[Edge], dialect: Dialect
) -> tuple[Graph, dict[str, str]]:
    """The graph with its rings as the tool reads them, and where each node went."""
    edges = sorted(edges, key=lambda edge: nodes[edge[1]].kind == "Output")
    names = {name: name for name in nodes}
    groups = groups_of([*nodes], edges, lambda name: False)
    rings = [group.names for group in groups if group.ring]
    if dialect.ring_as != "subgraph" or not rings:
        return Graph(dict(nodes), edges), names
    # Subgraphs must come after what leads to them, and files give names in their order.
    found: dict[str, Node | Graph] = {}
    outer: dict[str, str] = {}
    width = len(str(len(groups)))
    for place, group in enumerate(groups):
        head = f"n{place:0{width}d}_"
        cells = [name for name in group.names if nodes[name].kind in ("LIF", "CubaLIF")]
        matrices = [name for name in group.names if nodes[name].kind in ("Linear", "Affine")]
        if group.ring and len(group.names) == 2 and len(cells) == len(matrices) == 1:
            new = f"{head}{cells[0]}"
            found[new] = _ring(nodes, cells[0], matrices[0])
            outer |= {cells[0]: new, matrices[0]: new}
            names |= {cells[0]: f"{new}/cells", matrices[0]: f"{new}/ring"}
        else:
            for name in group.names:
                found[f"{head}{name}"] = nodes[name]
                outer[name] = names[name] = f"{head}{name}"
    joined = [(outer[a], outer[b]) for a, b in edges]
    kept = [(a, b) for a, b in joined if a != b or not isinstance(found[a], Graph)]
    return Graph(found, [*dict.fromkeys(kept)]), names


def _ring(nodes: Mapping[str, Node], cells: str, matrix: str) -> Graph:
    port = {"shape": [*nodes[cells].array("v_threshold").shape]}
    inner = {
        "cells": nodes[cells],
        "input": Node.of("Input", port),
        "output": Node.of("Output", port),
        "ring": nodes[matrix],
    }
    ways = [("input", "cells"), ("cells", "ring"), ("ring", "cells"), ("cells", "output")]
    return Graph(inner, ways)
