"""What is said of five tools, by their formulas alone; ``test_peers`` asks the tools themselves."""

from typing import Any

import numpy as np
import pytest
import torch

from clnf.core.errors import DataError
from clnf.spiking.exchange import Fault, Graph, Network, Node, Reading, find_faults, mended
from clnf.spiking.exchange.dialects import DIALECTS, Dialect, fit, judge
from clnf.spiking.exchange.dialects.step import differences, intended
from clnf.spiking.exchange.linting import unit_gain_s

HOW = Reading(dt_s=1e-3)
BY_NAME = {dialect.name: dialect for dialect in DIALECTS}
ONE = np.ones(3, np.float32)
LIF: dict[str, Any] = {
    "tau": 0.02 * ONE, "r": 3 * ONE, "v_leak": 0 * ONE, "v_threshold": 0.7 * ONE,
    "v_reset": 0 * ONE,
}  # fmt: skip


def around(node: Node, *, ring: bool = False, weights: str = "Linear") -> Graph:
    more = {"bias": ONE} if weights == "Affine" else {}
    nodes = {
        "in": Node.of("Input", {"shape": [3]}),
        "w": Node.of(weights, {"weight": np.eye(3, dtype=np.float32), **more}),
        "cells": node,
        "out": Node.of("Output", {"shape": [3]}),
    }
    edges = [("in", "w"), ("w", "cells"), ("cells", "out")]
    if ring:
        nodes["ring"] = Node.of("Linear", {"weight": np.eye(3, dtype=np.float32)})
        edges += [("cells", "ring"), ("ring", "cells")]
    return Graph(nodes, edges)


def said(graph: Graph, name: str, how: Reading = HOW) -> set[str]:
    return {f"{one.level} {one.what}" for one in judge(graph, BY_NAME[name], how)}


@pytest.mark.parametrize("name", [*BY_NAME])
@pytest.mark.parametrize("kind", ["LIF", "CubaLIF", "IF"])
def test_a_rewritten_population_does_the_step_it_did(name: str, kind: str) -> None:
    """The tool's formulas on the new numbers give the step that the old numbers mean here."""
    slow = {"tau_mem": 0.02 * ONE, "tau_syn": 0.005 * ONE, "r": 2 * ONE, "w_in": 3 * ONE}
    level = {"v_threshold": 0.7 * ONE, "v_reset": 0 * ONE}
    values = {
        "LIF": LIF, "CubaLIF": {**slow, "v_leak": 0 * ONE, **level}, "IF": {"r": 300 * ONE, **level}
    }[kind]  # fmt: skip
    dialect, graph = BY_NAME[name], around(Node.of(kind, values))
    found = fit(graph, dialect, HOW)
    assert not [one for one in found.left if one.level == "refuses"]
    if (name, kind) == ("sinabs", "CubaLIF"):
        assert {one.what for one in found.left} == {"CubaLIF is left out without a word"}
        return
    wanted = intended(graph.nodes["cells"], HOW)  # type: ignore[arg-type]
    node = found.graph.nodes["cells"]
    assert isinstance(node, Node)
    done = dialect.step(node, found.dt_s)
    words = " ".join(differences(wanted, done))
    for number in ("keeps", "threshold lies", "instead of 0."):
        assert number not in words
    wrong = wanted._replace(decay=wanted.decay * 0.99)
    assert "keeps" in " ".join(differences(wrong, done))


def test_silent_changes_of_a_file_in_seconds_are_said() -> None:
    graph = around(Node.of("LIF", {**LIF, "v_reset": -0.5 * ONE}))
    assert "changes a spike sets v to 0, not -0.5" in said(graph, "norse")
    heights = "changes the threshold lies 14 inputs of 1 above rest instead of 4.66667"
    assert heights in said(graph, "norse")
    assert "changes v keeps 0.995 of itself a step instead of 0.951229" in said(graph, "snntorch")
    assert "refuses r of a LIF must be 1 or tau/dt = 20" in said(graph, "spikingjelly")
    assert "refuses its reader asks a LIF for 'tau_mem' and fails" in said(graph, "rockpool")
    assert "changes Linear is left out without a word" in said(graph, "sinabs")
    leaky = around(Node.of("LIF", {**LIF, "v_leak": 0.1 * ONE}))
    assert "refuses v_leak must be 0" in said(leaky, "snntorch")


def test_a_file_that_fits_has_nothing_said() -> None:
    plain = around(Node.of("LIF", {**LIF, "r": ONE}), weights="Affine")
    explicit = Reading(dt_s=1e-3, method="euler")
    assert not said(plain, "norse", explicit)
    assert said(plain, "spikingjelly", explicit) == {"detail v equal to the threshold is a spike"}
    ten = around(Node.of("LIF", {**LIF, "tau": 0.002 * ONE, "r": ONE}))
    assert not said(ten, "snntorch", Reading(dt_s=1e-4, method="euler"))


def test_a_way_to_step_that_differs_is_said() -> None:
    """Explicit steps of a plain LIF keep 0.95 of it where exact ones keep 0.9512: spikes move."""
    plain = around(Node.of("LIF", {**LIF, "r": ONE}), weights="Affine")
    what = "changes each step is taken explicitly, and the file is read with steps taken exactly"
    assert said(plain, "norse") == {what}
    x = 8.0 * (torch.rand(400, 3, 3, generator=torch.Generator().manual_seed(0)) < 0.3)
    graph = Graph(
        {**plain.nodes, "w": Node.of("Linear", {"weight": np.eye(3, dtype=np.float32)})},
        plain.edges,
    )
    exact, explicit = (
        Network(graph, Reading(dt_s=1e-3, method=one))(x) for one in ("exact", "euler")
    )
    assert not torch.equal(exact, explicit)


def test_delays_are_looked_at_one_by_one() -> None:
    """The bad one is named, not the largest."""

    def late(*delay: float) -> Graph:
        port = {"shape": [2]}
        nodes = {"in": Node.of("Input", port), "late": Node.of("Delay", {"delay": delay})}
        nodes["out"] = Node.of("Output", port)
        return Graph(nodes, [("in", "late"), ("late", "out")])

    def told(*delay: float) -> list[str]:
        return [f"{one.level} {one.what}" for one in faults(late(*delay), 1e-3)]

    assert told(-1.0, 0.002) == ["error delay is -1 s"]
    assert told(1e9, 0.002)[0].startswith("warning delay is 1e+09 s; it may be meant in steps")
    assert told(1e-5, 0.002) == ["warning delay is 1e-05 s, which is no step of 0.001 s"]
    assert told(0.0, 0.002) == []
    for delay, word in [((-1.0, 0.002), "got -1 s"), ((np.nan, 0.002), "got nan s"),
                        ((1e9, 0.0), "a delay of 1e\\+09 s is 1e\\+12 steps")]:  # fmt: skip
        with pytest.raises(DataError, match=word):
            Network(late(*delay), Reading(dt_s=1e-3))


@pytest.mark.parametrize("name", [*BY_NAME])
def test_rings(name: str) -> None:
    graph = around(Node.of("LIF", LIF), ring=True)
    left = {one.what for one in fit(graph, BY_NAME[name], HOW).left}
    lost = any("ring" in what for what in left)
    assert lost == (name == "sinabs")
    if name != "spikingjelly":
        assert any("ring" in what for what in said(graph, name))


def test_cells_that_differ_tell_it_by_their_weights() -> None:
    """snnTorch has one threshold for a population; rows of weights make up for it."""
    graph = around(Node.of("LIF", {**LIF, "v_threshold": np.float32([0.5, 1, 2])}))
    found = fit(graph, BY_NAME["snntorch"], HOW)
    assert not found.left
    weights = found.graph.nodes["w"]
    assert isinstance(weights, Node)
    rows = np.diag(weights.array("weight"))
    assert np.allclose(rows * [0.5, 1, 2], rows[0] * 0.5, rtol=1e-5)
    bare = Graph(
        {name: node for name, node in graph.nodes.items() if name != "w"},
        [("in", "cells"), ("cells", "out")],
    )
    assert [one.level for one in fit(bare, BY_NAME["snntorch"], HOW).left] == ["refuses"]


@pytest.mark.parametrize("dialect", DIALECTS, ids=[*BY_NAME])
def test_every_kind_is_judged(dialect: Dialect, each: Graph) -> None:
    kind = each.nodes["node"].kind
    levels = {one.level for one in judge(each, dialect, HOW) if one.where == "node"}
    if kind not in dialect.takes and kind not in dialect.cells:
        assert levels == ({"changes"} if dialect.drops and kind != "Conv1d" else {"refuses"}) or (
            dialect.drops and kind == "Conv1d" and levels <= {"changes", "refuses"}
        )


def faults(graph: Graph, dt_s: float | None = None) -> list[Fault]:
    return find_faults(graph, dt_s)


def test_the_linter_names_what_others_trip_over() -> None:
    bare = Node.of("LIF", {"tau": 0.02, "r": ONE, "v_leak": 0, "v_threshold": 1})
    graph = Graph(
        {"in": Node.of("Input", {"shape": [3]}), "a.b": bare, "a_b": bare}, [("in", "a.b")]
    )
    words = " ".join(fault.sentence for fault in faults(graph, 0.05))
    for told in (
        "v_reset lacks", "one number each", "another node's as well", "shorter than a step",
        "no Output node", "it leads nowhere", "nothing leads to it",
    ):  # fmt: skip
        assert told in words, told
    assert faults(graph)[0].level == "error"


def test_mending_leaves_nothing_to_say(each: Graph) -> None:
    graph = Graph({"node": each.nodes["node"]}, [])
    node = graph.nodes["node"]
    assert isinstance(node, Node)
    found = mended(mended(graph))
    if node.kind in ("SumPool2d", "AvgPool2d"):
        assert any(fault.level == "error" for fault in faults(found))
        return
    assert [one.kind for one in found.nodes.values()].count("Input") == 1
    assert not [one for one in faults(found) if one.level != "note"]
    assert [one for one in faults(graph) if one.level != "note"]


def test_a_step_is_read_from_its_gain() -> None:
    node = Node.of("LIF", {**LIF, "r": 20 * ONE})
    assert unit_gain_s(node) == 1e-3
    assert unit_gain_s(Node.of("LIF", LIF)) is None
    with pytest.raises(DataError, match="without nodes"):
        fit(Graph({}, []), BY_NAME["norse"], HOW)
