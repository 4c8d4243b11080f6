"""NIR files: what goes in comes out to the bit, and what is no file gets a sentence."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import pytest

from clnf.core.errors import ClnfError, ConfigError, DataError, ExportError
from clnf.spiking.exchange import (
    Graph,
    Node,
    identical,
    mended,
    ours,
    read_nir,
    with_extras,
    write_nir,
)
from clnf.spiking.exchange.graph import FIELDS


def content(path: Path) -> dict[str, object]:
    """All values of a file as they lie there."""
    found: dict[str, object] = {}

    def keep(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and name != "version":
            value = item[()]
            plain = value if isinstance(value, bytes) else np.asarray(value).tobytes()
            text = item.dtype.kind == "O"
            found[name] = (item.dtype.str, item.shape, str(value) if text else plain)

    with h5py.File(path) as file:
        file.visititems(keep)
    return found


def test_every_kind_comes_back_to_the_bit(each: Graph, tmp_path: Path) -> None:
    first = write_nir(tmp_path / "first.nir", each)
    again = read_nir(first)
    assert identical(again, each)
    assert not again.notes
    assert content(write_nir(tmp_path / "second.nir", again)) == content(first)


def test_a_changed_bit_is_seen(each: Graph, tmp_path: Path) -> None:
    again = read_nir(write_nir(tmp_path / "a.nir", each))
    node = again.nodes["node"]
    assert isinstance(node, Node)
    name, value = next(
        (key, one) for key, one in node.values.items() if not isinstance(one, str) and one.size
    )
    raw = np.array(value, copy=True)
    raw.reshape(-1).view(np.uint8)[0] ^= 1
    changed = replace(node, values={**node.values, name: raw})
    assert not identical(replace(again, nodes={**again.nodes, "node": changed}), each)


def test_what_nir_writes_is_read_and_the_other_way_round(each: Graph, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs.nir"
    nir.write(theirs, each.to_nir())
    assert identical(read_nir(theirs), each)
    mine = write_nir(tmp_path / "mine.nir", read_nir(theirs))
    assert content(mine) == content(theirs)
    found = nir.read(mine)
    assert type(found.nodes["node"]).__name__ == each.nodes["node"].kind
    assert identical(Graph.of_nir(nir.read(mine, type_check=False)), each)


def test_subgraphs_and_rings_and_extras_are_kept(each: Graph, tmp_path: Path) -> None:
    outer = Graph(
        {"input": each.nodes["input"], "part": each, "output": each.nodes["output"]},
        [("input", "part"), ("part", "output")],
    )
    outer = with_extras(outer, {"part/node": {"bits": {"weight": 8}}, "": {"device": "pcm"}})
    found = read_nir(write_nir(tmp_path / "a.nir", outer))
    assert identical(found, outer)
    assert ours(found.metadata) == {"device": "pcm"}
    part = found.nodes["part"]
    assert isinstance(part, Graph)
    assert ours(part.nodes["node"].metadata)["bits"] == {"weight": 8}


def raw(path: Path, nodes: dict[str, dict[str, object]], edges: list[tuple[str, str]]) -> Path:
    """A file as older tools wrote it."""
    with h5py.File(path, "w") as file:
        file["version"] = "0.2"
        group = file.create_group("node")
        group["type"] = "NIRGraph"
        group["edges"] = edges
        for name, values in nodes.items():
            node = group.create_group(f"nodes/{name}")
            for key, value in values.items():
                node[key] = value
    return path


OLD = {
    "in": {"type": "Input", "shape": [2]},
    "lif": {"type": "LIF", "tau": 0.02, "r": 1.0, "v_leak": 0.0, "v_threshold": 1.0},
    "flat": {"type": "Flatten", "start_dim": 0, "end_dim": -1},
    "out": {"type": "Output", "shape": [2]},
}


def test_an_old_file_with_edges_twice_and_more_fields_is_read(tmp_path: Path) -> None:
    twice = [("in", "lif"), ("in", "lif"), ("lif", "flat"), ("flat", "out")]
    nodes = {**OLD, "in": {**OLD["in"], "colour": 3}}
    found = read_nir(raw(tmp_path / "old.nir", nodes, twice))
    assert found.version == "0.2"
    assert list(found.edges) == [("in", "lif"), ("lif", "flat"), ("flat", "out")]
    assert found.notes == (
        "Input 'in' has no field 'colour' in NIR 1.0; it is left out",
        "edge in -> lif stood there 2 times; it is taken once",
    )
    lif = found.nodes["lif"]
    assert isinstance(lif, Node)
    assert "v_reset" not in lif.values
    assert lif.array("v_reset") == 0


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("lif", {"type": "Neuron"}, "of type 'Neuron'"),
        ("lif", {"tau": "long"}, "tau of LIF 'lif' must be numbers"),
        ("lif", {"tau": 1j}, "tau of LIF 'lif' must be real numbers"),
        ("lif", {"tau": None}, "lacks tau"),
        ("in", {"shape": None}, "lacks shape"),
    ],
)
def test_a_node_that_is_not_whole_gets_a_sentence(
    name: str, change: dict[str, object], told: str, tmp_path: Path
) -> None:
    values = {key: one for key, one in {**OLD[name], **change}.items() if one is not None}
    with pytest.raises(DataError, match=told):
        read_nir(raw(tmp_path / "a.nir", {**OLD, name: values}, [("in", "lif")]))


def test_sizes_that_are_not_there_are_not_allocated(tmp_path: Path) -> None:
    path = raw(tmp_path / "a.nir", OLD, [("in", "lif")])
    with h5py.File(path, "a") as file:
        del file["node/nodes/lif/tau"]
        file.create_dataset(
            "node/nodes/lif/tau", shape=(10**6, 10**7), chunks=(999, 999), dtype="f4"
        )
    with pytest.raises(DataError, match="claims 10000000000000 numbers, and 0 bytes lie"):
        read_nir(path)


def test_links_are_not_followed(tmp_path: Path) -> None:
    path = raw(tmp_path / "a.nir", OLD, [("in", "lif")])
    with h5py.File(path, "a") as file:
        file["node/nodes/self"] = h5py.SoftLink("/node")
    with pytest.raises(DataError, match="is a link"):
        read_nir(path)


def test_what_is_no_file_gets_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")
    (tmp_path / "empty").write_bytes(b"")
    with h5py.File(tmp_path / "other", "w") as file:
        file["data"] = [1, 2]
    for name, told in [
        ("text", "no NIR file"),
        ("empty", "no NIR file"),
        ("other", "holds no NIR graph"),
        ("none", "no file"),
        ("", "no file"),
    ]:
        with pytest.raises(DataError, match=told):
            read_nir(tmp_path / name)
    with pytest.raises(DataError, match="by its path"):
        read_nir(3)  # type: ignore[arg-type]


def test_cut_files_and_flipped_bytes_never_crash(
    all_kinds: dict[str, Graph], tmp_path: Path
) -> None:
    """Either a graph or a sentence."""
    rng = np.random.default_rng(0)
    file = io.BytesIO()
    nir.write(file, all_kinds["CubaLIF"].to_nir())
    whole, path = file.getvalue(), tmp_path / "a.nir"
    refused = 0
    for turn in range(120):
        damaged = bytearray(whole)
        if turn % 3 == 0:
            damaged = damaged[: rng.integers(len(whole))]
        else:
            for place in rng.integers(len(whole), size=1 + turn % 7 * 20):
                damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            read_nir(path)
        except ClnfError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 30


def test_a_convolution_of_unknown_shape_is_kept(
    all_kinds: dict[str, Graph], tmp_path: Path
) -> None:
    graph = all_kinds["Conv2d"]
    node = graph.nodes["node"]
    assert isinstance(node, Node)
    values = {key: one for key, one in node.values.items() if key != "input_shape"}
    bare = replace(graph, nodes={**graph.nodes, "node": replace(node, values=values)})
    assert identical(read_nir(write_nir(tmp_path / "a.nir", bare)), bare)
    assert identical(read_nir(write_nir(tmp_path / "a.nir", mended(bare))), mended(graph))


def test_nothing_half_written(all_kinds: dict[str, Graph], tmp_path: Path) -> None:
    graph = all_kinds["LIF"]
    bad = Graph({"a/b": graph.nodes["node"]}, [])
    with pytest.raises(DataError, match="without '/'"):
        write_nir(tmp_path / "a.nir", bad)
    with pytest.raises(ExportError):
        write_nir(tmp_path / "no" / "a.nir", graph)
    ragged = Node("LIF", {**graph.nodes["node"].values, "r": np.ones(5)})  # type: ignore[union-attr]
    with pytest.raises(DataError, match="NIR refuses node 'a'"):
        write_nir(tmp_path / "a.nir", Graph({"a": ragged}, []))
    assert not [*tmp_path.iterdir()]


def test_the_fields_are_those_of_the_package() -> None:
    for kind, names in FIELDS.items():
        theirs = {one for one in getattr(nir, kind).__dataclass_fields__ if one != "metadata"}
        mine = {one.lstrip("?") for one in names}
        if kind in ("Input", "Output"):
            mine, theirs = {"shape"}, {"shape"}
        assert mine == theirs - {"output_type"} - ({"input_type"} if kind != "Flatten" else set())


def test_what_writing_adds_is_said_and_no_more(all_kinds: dict[str, Graph], tmp_path: Path) -> None:
    """Old files lack fields that the installed NIR fills in; each value that was there is kept."""
    adds = {"LIF": {"v_reset"}, "IF": {"v_reset"}, "CubaLIF": {"v_reset", "w_in"},
            "CubaLI": {"w_in"}, "Flatten": {"start_dim", "end_dim"}}  # fmt: skip
    seen = set()
    for graph in all_kinds.values():
        node = graph.nodes.get("node")
        if not isinstance(node, Node) or node.kind not in adds:
            continue
        lacks = {key: one for key, one in node.values.items() if key not in adds[node.kind]}
        old = replace(graph, nodes={**graph.nodes, "node": replace(node, values=lacks)})
        again = read_nir(write_nir(tmp_path / "a.nir", old)).nodes["node"]
        assert isinstance(again, Node)
        assert set(again.values) - set(lacks) == adds[node.kind]
        kept = replace(again, values={key: again.values[key] for key in lacks})
        assert identical(kept, replace(node, values=lacks))
        seen.add(node.kind)
    assert seen == set(adds)


def test_subgraphs_are_written_as_deep_as_they_are_read(tmp_path: Path) -> None:
    port = {"shape": [2]}
    ends = {"i": Node.of("Input", port), "o": Node.of("Output", port)}
    graph, deepest = Graph(ends, [("i", "o")]), -1
    for depth in range(70):
        try:
            path = write_nir(tmp_path / "deep.nir", graph)
        except DataError as error:
            assert "64 deep" in str(error)
            break
        assert identical(read_nir(path), graph)
        graph, deepest = Graph({**ends, "s": graph}, [("i", "s"), ("s", "o")]), depth
    assert deepest == 31


@pytest.mark.parametrize("graph", [None, "a", {}])
def test_what_is_no_graph_is_not_written(tmp_path: Path, graph: Any) -> None:
    with pytest.raises(ConfigError, match="graph must be of class Graph.*give read_nir"):
        write_nir(tmp_path / "x.nir", graph)
    assert list(tmp_path.iterdir()) == []
