"""Whether a tool takes a graph, and what it makes of it that the file does not say."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from clnf.core.errors import DataError
from clnf.spiking.exchange.dialects.dialect import Dialect, Finding
from clnf.spiking.exchange.dialects.step import EQUAL, Step, differences, intended
from clnf.spiking.exchange.flat import Flat, flattened
from clnf.spiking.exchange.graph import Graph, Node
from clnf.spiking.exchange.order import groups_of
from clnf.spiking.exchange.reading import Reading
from clnf.spiking.exchange.shapes import shape_said

__all__ = ["judge", "plain_ring"]

# What nir's check of types raises over graphs that it does not foresee.
_FAULTS = (
    ArithmeticError, AssertionError, AttributeError, LookupError, NotImplementedError, TypeError,
    ValueError,
)  # fmt: skip


@np.errstate(all="ignore")  # files hold any numbers
def judge(
    graph: Graph, dialect: Dialect, how: Reading, wanted: Mapping[str, Step] | None = None
) -> list[Finding]:
    """All that a tool refuses or changes.

    Args:
        graph: as it would be read.
        dialect: of the tool.
        how: what the file is read as here. A population that the tool steps explicitly and ``how``
            exactly, or the other way round, and that agrees else, has that one finding.
        wanted: steps of populations by name, where the file's own numbers are no longer theirs.
    """
    flat = flattened(graph)
    found = [*_of_graph(graph, flat, dialect)]
    ways = [Reading(dt_s=how.dt_s, drive=how.drive, method=one) for one in ("exact", "euler")]
    for name, node in flat.nodes.items():
        if node.kind in dialect.cells:
            steps = _steps(node, ways)
            if wanted and name in wanted:
                steps = {str(how.method): wanted[name]}
            found += _of_cells(name, node, dialect, (steps, how))
        elif node.kind not in ("Input", "Output"):
            found += _of_other(name, node, dialect)
    order = {"refuses": 0, "changes": 1, "detail": 2}
    return sorted(dict.fromkeys(found), key=lambda one: order[one.level])


def _steps(node: Node, ways: list[Reading]) -> dict[str, Step]:
    found = dict[str, Step]()
    for how in ways:
        try:
            found[how.method] = intended(node, how)
        except DataError:
            continue
    return found


def _of_cells(
    name: str, node: Node, dialect: Dialect, of: tuple[dict[str, Step], Reading]
) -> Iterator[Finding]:
    steps, how = of
    try:
        shape_said(node)
        done = dialect.step(node, dialect.dt_s or how.dt_s)
    except DataError as error:
        yield Finding("refuses", name, str(error))
        return
    if not steps:
        yield Finding("changes", name, "its numbers make no cell here, so nothing can be compared")
        return
    told = {method: differences(one, done) for method, one in steps.items()}
    best = min(told, key=lambda method: (len(told[method]), method != how.method))
    if best != how.method:
        words = {"exact": "exactly", "euler": "explicitly"}
        what = f"each step is taken {words[best]}, and the file is read with steps taken "
        yield Finding("changes", name, f"{what}{words[how.method]}")
    for what in told[best]:
        yield Finding("detail" if what == EQUAL else "changes", name, what)


def _of_other(name: str, node: Node, dialect: Dialect) -> Iterator[Finding]:
    kind = node.kind
    if kind not in dialect.takes:
        if kind in dialect.whys:
            yield Finding("refuses", name, dialect.whys[kind])
        elif dialect.drops:
            yield Finding("changes", name, f"{kind} is left out without a word")
        else:
            yield Finding("refuses", name, f"it has no {kind}")
        return
    if kind == "SumPool2d" and np.any(node.array("padding")):
        yield Finding("changes", name, "the padding of a SumPool2d is left out")
    if kind == "Flatten" and dialect.flat_samples:
        what = "Flatten counts samples as the first axis, and joins other ones"
        yield Finding("changes", name, what)
    if kind == "Conv1d" and dialect.name == "snntorch" and np.any(node.array("groups") != 1):
        yield Finding("changes", name, "groups of a Conv1d are lost")


def _of_graph(graph: Graph, flat: Flat, dialect: Dialect) -> Iterator[Finding]:
    for kind, ports in (("Input", flat.inputs), ("Output", flat.outputs)):
        if len(ports) != 1:
            yield Finding("refuses", "", f"it takes one {kind} node, and there are {len(ports)}")
    for fault in flat.faults:
        yield Finding("refuses", fault.where, fault.what)
    if dt_note := _checked(graph):
        yield Finding("refuses", "", f"nir.read refuses the file: {dt_note}")
    yield from _rings(graph, flat, dialect)
    if dialect.name == "rockpool":
        for name, node in graph.nodes.items():
            if isinstance(node, Graph) and not plain_ring(node, ("CubaLIF",)):
                what = "a subgraph that is not a CubaLIF in a ring with one matrix"
                yield Finding("refuses", name, what)


def _checked(graph: Graph) -> str:
    """What nir's own check of types says; empty for nothing."""
    for name, node in graph.walk():
        if node.kind.startswith("Conv") and "input_shape" not in node.values:
            return f"{name} lacks input_shape"
    try:
        made = graph.to_nir()
        for node in made.nodes.values():
            if type(node).__name__ == "NIRGraph":
                node.infer_types()
                node.check_types()
        made.infer_types()
        made.check_types()
    except (*_FAULTS, DataError) as error:
        return " ".join(str(error).split())[:160] or type(error).__name__
    return ""


def plain_ring(graph: Graph, cells: tuple[str, ...] = ("LIF", "CubaLIF")) -> bool:
    """Whether a graph is cells in a ring with one matrix, between one Input and one Output."""
    kinds: dict[str, str] = {}
    for name, node in graph.nodes.items():
        kinds.setdefault(node.kind, name)
    inner = next((kinds[one] for one in cells if one in kinds), "")
    ring = kinds.get("Linear", kinds.get("Affine", ""))
    if len(graph.nodes) != 4 or not inner or not ring or not {"Input", "Output"} <= kinds.keys():
        return False
    wanted = {(kinds["Input"], inner), (inner, ring), (ring, inner), (inner, kinds["Output"])}
    return {*map(tuple, graph.edges)} == wanted


def _rings(graph: Graph, flat: Flat, dialect: Dialect) -> Iterator[Finding]:
    groups = groups_of([*flat.nodes], flat.edges, lambda name: False)
    rings = [group.names for group in groups if group.ring]
    if not rings or not dialect.ring:
        return
    if dialect.ring_as == "subgraph":
        cells: Any = ("CubaLIF",) if dialect.name == "rockpool" else ("LIF", "CubaLIF")
        wrapped = {
            f"{name}/{inner}"
            for name, node in graph.nodes.items()
            if isinstance(node, Graph) and plain_ring(node, cells)
            for inner in node.nodes
        }
        rings = [names for names in rings if not set(names) <= wrapped]
    elif dialect.ring_as == "edges" and _outputs_last(graph):
        return
    for names in rings:
        yield Finding("changes", names[0], dialect.ring)


def _outputs_last(graph: Graph) -> bool:
    """Whether edges to Output stand behind all others, in subgraphs too."""
    last = [graph.nodes[b].kind == "Output" for _, b in graph.edges if b in graph.nodes]
    inner = [one for one in graph.nodes.values() if isinstance(one, Graph)]
    return last == sorted(last) and all(map(_outputs_last, inner))
