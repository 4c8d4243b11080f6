"""Graphs that nobody would draw: reader, linter, mender, judges and network never crash on them.

Each gives an answer or a ``ClnfError`` of one line.
"""

import tempfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clnf.core.errors import ClnfError
from clnf.spiking.exchange import (
    Graph,
    Network,
    Node,
    Reading,
    find_faults,
    identical,
    mended,
    read_nir,
    write_nir,
)
from clnf.spiking.exchange.dialects import DIALECTS, fit, judge
from clnf.spiking.exchange.graph import FIELDS
from clnf.spiking.exchange.network import Values
from clnf.spiking.exchange.shapes import LARGEST

NAMES = ("a", "b", "c.d", "c_d", "in", "out", "if")
SIZES = st.integers(1, 3)
ODD = (0.0, -1.0, 1e-3, 0.5, 1.0, 20.0, 1e30, 1e300, float("inf"), float("nan"))
EVEN = (0.5, 1.0, 0.02, 2.0)
WHOLE = {
    "stride": 1, "dilation": 1, "groups": 1, "padding": 0, "kernel_size": 1, "input_shape": 1,
    "shape": 1, "input_type": 1, "start_dim": -2, "end_dim": -2,
}  # fmt: skip


@st.composite
def arrays(draw: st.DrawFn, name: str, odd: bool) -> Any:
    if odd and draw(st.integers(0, 30)) == 0:
        return draw(st.sampled_from(["same", np.zeros((0,)), np.array(2**40), np.array(True)]))
    if name in WHOLE:
        if name == "padding" and draw(st.integers(0, 3)) == 0:
            return draw(st.sampled_from(["same", "valid"]))
        low = WHOLE[name] - (2 if odd else 0)
        axes = {"shape": (1, 3), "input_type": (1, 3), "groups": (0, 0)}.get(name, (0, 2))
        size = draw(st.integers(*axes))
        if "dim" in name or size == 0:
            return np.asarray(draw(st.integers(low, 3)))
        return np.array(draw(st.lists(st.integers(low, 4), min_size=size, max_size=size)))
    axes = {"weight": (2, 4), "bias": (0, 1)}.get(name, (0, 2))
    shape = tuple(draw(st.lists(SIZES, min_size=axes[0], max_size=axes[1])))
    dtype = draw(st.sampled_from([np.float32, np.float32, np.float64, np.int32]))
    value = draw(st.sampled_from(ODD if odd else EVEN))
    with np.errstate(all="ignore"):
        wide = np.full(shape, value)
        return wide.astype(dtype) if np.isfinite(value) and abs(value) < 1e9 else wide


@st.composite
def nodes(draw: st.DrawFn, odd: bool) -> Node | None:
    kind = draw(st.sampled_from([*FIELDS, "Input", "Output", "LIF", "Affine"]))
    values = {}
    for name in FIELDS[kind]:
        if not name.startswith("?") or draw(st.booleans()):
            values[name.lstrip("?")] = draw(arrays(name.lstrip("?"), odd))
    try:
        return Node.of(kind, values)
    except ClnfError:
        return None


@st.composite
def graphs(draw: st.DrawFn, depth: int = 0, odd: bool = True) -> Graph:
    found: dict[str, Node | Graph] = {}
    for name in draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=6)):
        if depth < 2 and draw(st.integers(0, 8)) == 0:
            found[name] = draw(graphs(depth + 1, odd))
        elif (node := draw(nodes(odd))) is not None:
            found[name] = node
    ends = st.sampled_from([*found, "nowhere"] if odd else [*found] or ["nowhere"])
    edges = draw(st.lists(st.tuples(ends, ends), max_size=8, unique=True))
    return Graph(found, edges)


@st.composite
def sound(draw: st.DrawFn) -> Graph:
    """Nodes of one size, in a row and with edges across and back: most of them run."""
    size = draw(SIZES)
    one = np.full(size, 0.02, np.float32)
    kinds = draw(
        st.lists(
            st.sampled_from(
                [
                    "Linear",
                    "Affine",
                    "Scale",
                    "Delay",
                    "Threshold",
                    "I",
                    "IF",
                    "LI",
                    "LIF",
                    "CubaLI",
                    "CubaLIF",
                ]
            ),
            max_size=5,
        )
    )
    found: dict[str, Node | Graph] = {"in": Node.of("Input", {"shape": [size]})}
    for place, kind in enumerate(kinds):
        values: dict[str, Any] = {name.lstrip("?"): one for name in FIELDS[kind]}
        if "weight" in values:
            values["weight"] = np.full((size, size), 0.5, np.float32)
        found[f"n{place}"] = Node.of(kind, values)
    found["out"] = Node.of("Output", {"shape": [size]})
    names = [*found]
    row = [*pairwise(names)]
    ends = st.sampled_from(names)
    more = draw(st.lists(st.tuples(ends, ends), max_size=4))
    return Graph(found, [*dict.fromkeys([*row, *more])])


def tried(work: Callable[[], object]) -> bool:
    try:
        work()
    except ClnfError as error:
        assert "\n" not in str(error)
        return False
    return True


def run(graph: Graph) -> Values:
    net = Network(graph, Reading(dt_s=1e-3))
    given = {}
    for name, node in graph.nodes.items():
        if isinstance(node, Node) and node.kind == "Input":
            shape = tuple(int(one) for one in node.array("shape").reshape(-1))
            given[name] = torch.ones(2, 1, *shape)
    return net(given)


def everything(graph: Graph) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.nir"
        if tried(lambda: write_nir(path, graph)):
            # What NIR takes for granted, such as v_reset, is written out once.
            whole = read_nir(path)
            assert identical(read_nir(write_nir(path, whole)), whole)
    for fault in find_faults(graph, 1e-3):
        assert "\n" not in fault.sentence
    mended(graph)
    for dialect in DIALECTS:
        judge(graph, dialect, Reading(dt_s=1e-3))
        tried(lambda: fit(graph, dialect, Reading(dt_s=1e-3)))  # noqa: B023
    tried(lambda: run(graph))


SLOW = [HealthCheck.too_slow]
MANY = settings(max_examples=40, deadline=None, suppress_health_check=SLOW, derandomize=True)
FEW = settings(MANY, max_examples=10)


@MANY
@given(graphs())
def test_any_graph_gets_an_answer(graph: Graph) -> None:
    everything(graph)


@FEW
@given(sound())
def test_sound_graphs_run(graph: Graph) -> None:
    everything(graph)
    assert identical(mended(mended(graph)), mended(graph))
    out = run(graph)
    assert isinstance(out, torch.Tensor)
    assert out.shape[:2] == (2, 1)


@pytest.mark.parametrize("shape", [[2**31], [2**16, 2**16], [0], [-3], [1.5], [float("nan")]])
def test_huge_and_odd_shapes_are_refused(shape: list[float]) -> None:
    nodes: dict[str, Node | Graph] = {
        "in": Node.of("Input", {"shape": shape}), "out": Node.of("Output", {"shape": shape})
    }  # fmt: skip
    graph = Graph(nodes, [("in", "out")])
    assert LARGEST < 2**31
    assert any(fault.level == "error" for fault in find_faults(graph))
    with pytest.raises(ClnfError, match="a shape is"):
        run(graph)


def test_a_long_delay_is_refused(all_kinds: dict[str, Graph]) -> None:
    graph = all_kinds["Delay"]
    late = Node.of("Delay", {"delay": [1e9, 0.0, 0.0]})
    with pytest.raises(ClnfError, match="longer"):
        run(Graph({**graph.nodes, "node": late}, graph.edges))
