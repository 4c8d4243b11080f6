"""``clnf spike nir``: what is in a NIR file, who can take it, and the file for a tool."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from clnf.spiking.exchange import Graph, Node, find_faults, ours, read_nir, write_nir

Said = tuple[int, str, str]
ONE = np.ones(3, np.float32)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    lif = {"tau": 0.02 * ONE, "r": 3 * ONE, "v_leak": 0 * ONE, "v_threshold": 0.7}
    nodes = {
        "w": Node.of("Linear", {"weight": np.eye(3, dtype=np.float32)}),
        "cells": Node.of("LIF", lif),
        "ring": Node.of("Linear", {"weight": np.eye(3, dtype=np.float32) / 4}),
    }
    edges = [("w", "cells"), ("cells", "ring"), ("ring", "cells"), ("cells", "on")]
    # NIR itself does not take parameters of two shapes.
    whole = {**lif, "v_threshold": 0.7 * ONE}
    nodes["cells"] = Node.of("LIF", whole)
    nodes["on"] = Node.of("Linear", {"weight": np.eye(3, dtype=np.float32)})
    return write_nir(tmp_path / "a.nir", Graph(nodes, edges))


def test_a_file_is_shown(file: Path, clnf: Callable[..., Said]) -> None:
    code, out, _ = clnf("spike", "nir", file)
    assert code == 1
    assert max(map(len, out.splitlines())) <= 100
    assert "mended()" not in out
    for told in (
        "4 nodes",
        "there is no Output node",
        "snnTorch 1.0.0",
        "SpikingJelly 2.0.0",
        "ring",
    ):
        assert told in out


def test_json_says_the_same(file: Path, clnf: Callable[..., Said]) -> None:
    code, out, _ = clnf("spike", "nir", file, "--json", "--dt-s", "1e-4")
    found = json.loads(out)
    assert code == 1
    assert found["read_as"] == {"dt_s": 1e-4, "drive": "hold"}
    assert {one["tool"] for one in found["tools"]} == {
        "snntorch", "norse", "sinabs", "rockpool", "spikingjelly"
    }  # fmt: skip
    assert {one["kind"] for one in found["nodes"]} == {"LIF", "Linear"}


def test_a_mended_file_and_one_for_a_tool(file: Path, clnf: Callable[..., Said]) -> None:
    code, out, _ = clnf("spike", "nir", file, "--write", file.parent / "mended.nir")
    assert code == 0
    mended = read_nir(file.parent / "mended.nir")
    assert {"Input", "Output"} <= {node.kind for _, node in mended.walk()}
    assert not [one for one in find_faults(mended) if one.level != "note"]
    source, target = file.parent / "mended.nir", file.parent / "norse.nir"
    words = ("--for", "norse", "--dt-s", "1e-3", "--write", target)
    code, out, _ = clnf("spike", "nir", source, *words)
    assert code == 0
    assert "Norse 1.1.0 takes the file as it is: changes it" in out
    assert "Norse 1.1.0 takes it rewritten: yes" in out
    assert ours(read_nir(target).metadata)["for"] == {
        "tool": "norse", "dt_s": 1e-3, "drive": "hold"
    }  # fmt: skip
    code, out, _ = clnf("spike", "nir", target)
    assert "it was written for norse and steps of 0.001 s" in out


def test_bad_files_are_one_sentence_and_nothing_is_written(
    file: Path, clnf: Callable[..., Said]
) -> None:
    out_file = file.parent / "out.nir"
    whole = read_nir(file)
    ring = {name: node for name, node in whole.nodes.items() if name != "on"}
    edges = [edge for edge in whole.edges if "on" not in edge]
    endless = write_nir(file.parent / "endless.nir", Graph(ring, edges))
    (file.parent / "text").write_text("hello")
    (file.parent / "cut.nir").write_bytes(file.read_bytes()[:3000])
    for words, told in [
        ((file.parent / "none.nir",), "no file"),
        ((file.parent / "text",), "no NIR file"),
        ((file.parent / "cut.nir",), "no NIR file"),
        ((file, "--dt-s", "0"), "--dt-s must be"),
        ((endless, "--for", "rockpool"), "which would refuse it"),
    ]:
        code, out, err = clnf("spike", "nir", *words, "--write", out_file)
        assert (code, out) == (2, ""), words
        assert told in err
        assert err.count("\n") == 1
        assert not out_file.exists()
    assert not [one for one in file.parent.iterdir() if one.name.endswith(".part")]
    code, _, err = clnf("spike", "nir", file, "--write", file.parent / "no" / "b.nir")
    assert code == 2
    assert "cannot be written" in err


def test_errors_end_with_1_and_are_not_written(file: Path, clnf: Callable[..., Said]) -> None:
    """A mended file ends with 0; one that keeps its errors is not written."""
    port = {"shape": [3]}
    lif = {"tau": [0, 0.1], "r": [1, 1], "v_leak": [0, 0], "v_threshold": [1, 1]}
    nodes = {"i": Node.of("Input", port), "a": Node.of("LIF", lif)}
    broken, target = file.parent / "broken.nir", file.parent / "out.nir"
    for graph in (Graph(nodes, [("i", "a"), ("a", "zz")]), Graph({}, [])):
        write_nir(broken, graph)
        assert clnf("spike", "nir", broken)[0] == 1
        code, out, _ = clnf("spike", "nir", broken, "--write", target)
        assert (code, "not written" in out, target.exists()) == (1, True, False)
        code, out, _ = clnf("spike", "nir", broken, "--write", target, "--json")
        assert (code, json.loads(out)["written"], target.exists()) == (1, None, False)
    assert clnf("spike", "nir", file)[0] == 1  # it has no Input and no Output
    code, out, _ = clnf("spike", "nir", file, "--write", target)
    assert (code, f"written: {target}" in out) == (0, True)
    assert clnf("spike", "nir", target)[0] == 0
