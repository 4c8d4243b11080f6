"""``clnf spike check`` from outside."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

from clnf.spiking import LIF, EventConv2d, Neurons, SpikingLinear
from clnf.spiking.chain import Chain
from clnf.spiking.exchange import Graph, Node, graph_of, read_row, write_nir

NET = """
inputs = [2, 34, 34]
[[layers]]
kind = "conv"
channels = 8
kernel = 3
stride = 2
cell = { kind = "IF" }
[[layers]]
kind = "flatten"
[[layers]]
kind = "linear"
neurons = 10
cell = { kind = "IF" }
"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "net.toml"
    path.write_text(NET)
    return path


def test_a_net_that_fits(clnf: Any, model: Path) -> None:
    code, out, _ = clnf("spike", "check", model, "--chip", "speck")
    assert code == 0
    assert "It fits." in out
    assert "Cores:" in out
    assert max(map(len, out.splitlines())) <= 100


def test_the_example_fits_one_chip_and_not_another(clnf: Any) -> None:
    path = Path(__file__).parents[2] / "examples" / "spiking_net.toml"
    assert clnf("spike", "check", path, "--chip", "speck")[0] == 0
    code, out, _ = clnf("spike", "check", path, "--chip", "xylo")
    assert code == 1
    # What the page of the chips shows of it.
    page = (Path(__file__).parents[2] / "docs" / "spiking_chips.md").read_text()
    shown = page.partition("Does not fit:\n")[2].partition(" ...")[0]
    assert [" ".join(line.split()) for line in shown.splitlines()[1:]] == [
        " ".join(line.split()) for line in out.splitlines()[5:8]
    ]


def test_a_net_that_does_not(clnf: Any, model: Path) -> None:
    model.write_text(NET.replace("stride = 2", "stride = 3"))
    code, out, _ = clnf("spike", "check", model, "--chip", "speck")
    assert code == 1
    assert "stride" in out
    assert "It does not fit: 1 of the limits is broken." in out
    assert "The model names no dt_s; taken are steps of 0.001 s." in out
    assert max(map(len, out.splitlines())) <= 100


def test_json_for_programs(clnf: Any, model: Path) -> None:
    code, out, _ = clnf("spike", "check", model, "--chip", "loihi", "--json")
    found = json.loads(out)
    assert (code, found["fits"], found["chip"]) == (1, False, "loihi")
    assert {one["limit"] for one in found["findings"] if not one["fits"]} == {"reset"}
    assert found["assumed_dt_s"] == 1e-3
    assert found["uses"][1] == {"resource": "neurons", "used": 2058, "most": 131072}


def test_a_profile_of_ones_own(clnf: Any, model: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text(
        "title = 'mine'\nweight_bits = { value = 4, source = 'wafer' }\n"
        "neurons = { value = 100, source = 'wafer' }\n"
    )
    code, out, _ = clnf("spike", "check", model, "--chip", mine)
    assert code == 1
    assert "neurons" in out
    unsaid = out.partition("Not checked, since not known: ")[2]
    assert all(key in unsaid for key in ("fan_in", "weight_memory_bits", "kernel_max"))
    assert " neurons," not in unsaid


def test_a_file_of_layers_without_inputs_or_steps(clnf: Any, model: Path) -> None:
    model.write_text(NET.replace("inputs = [2, 34, 34]", "dt_s = 2e-3"))
    code, _, err = clnf("spike", "check", model, "--chip", "speck")
    assert code == 2
    assert "does not say how large a sample is; give --inputs, such as --inputs 2,34,34" in err
    code, out, _ = clnf("spike", "check", model, "--chip", "speck", "--inputs", "2,34,34", "--json")
    assert (code, json.loads(out)["assumed_dt_s"]) == (0, None)


WRONG = [
    (["net.toml", "--chip", "loihi3"], "no chip is called 'loihi3'"),
    (["none.toml", "--chip", "loihi"], "none.toml"),
    (["net.onnx", "--chip", "loihi"], "a model is a .nir file or a .toml file"),
    (["net.toml", "--chip", "loihi", "--inputs", "2,x"], "--inputs are sizes such as 40"),
    (["net.toml", "--chip", "loihi", "--inputs", "3,34,34"], "channels"),
]


@pytest.mark.parametrize(("words", "said"), WRONG, ids=[one[1][:20] for one in WRONG])
def test_bad_input_is_one_sentence(clnf: Any, model: Path, words: list[str], said: str) -> None:
    given = [str(model.parent / words[0]), *words[1:]]
    code, out, err = clnf("spike", "check", *given)
    assert (code, out) == (2, "")
    assert said in err
    assert len(err.strip().splitlines()) == 1


def test_a_nir_file_is_held_against_a_chip(clnf: Any, tmp_path: Path) -> None:
    cell = LIF(tau_s=20e-3, reset_v=0.0)
    net = Chain(
        EventConv2d((1, 3), 3, seed=1), Neurons(cell, dt_s=1e-3), nn.Flatten(2),
        SpikingLinear((3 * 36, 5), cell, dt_s=1e-3, recurrent=True, seed=2),
    )  # fmt: skip
    path, graph = tmp_path / "net.nir", graph_of(net, (1, 8, 8))
    write_nir(path, graph)
    code, out, _ = clnf("spike", "check", path, "--chip", "loihi", "--json")
    found = json.loads(out)
    assert (code, found["fits"]) == (0, True), found["findings"]
    code, out, _ = clnf("spike", "check", path, "--chip", "speck", "--json")
    assert code == 1  # the control: Speck has no rings
    assert not json.loads(out)["fits"]
    write_nir(path, replace(graph, metadata={}))
    code, _, err = clnf("spike", "check", path, "--chip", "loihi")
    assert code == 2
    assert "does not say how long a step is; give --dt-s, such as --dt-s 1e-3" in err
    assert "Reading" not in err
    assert clnf("spike", "check", path, "--chip", "loihi", "--dt-s", "1e-3")[0] == 0
    code, _, err = clnf("spike", "check", path, "--chip", "loihi", "--dt-s", "0")
    assert (code, "--dt-s must be" in err) == (2, True)


def test_what_a_value_stands_for_can_be_said(clnf: Any, tmp_path: Path) -> None:
    one = np.ones(2, np.float32)
    cell = Node.of("LIF", {"tau": 0.02 * one, "r": one, "v_leak": 0 * one, "v_threshold": one})
    nodes = {"in": Node.of("Input", {"shape": [2]}), "cell": cell}
    nodes["w"] = Node.of("Linear", {"weight": np.eye(2, dtype=np.float32)})
    nodes["out"] = Node.of("Output", {"shape": [2]})
    ways = [("in", "w"), ("w", "cell"), ("cell", "out")]
    path = write_nir(tmp_path / "a.nir", Graph(nodes, ways))
    words = ("spike", "check", path, "--chip", "speck", "--dt-s", "1e-3", "--drive", "dirac")
    assert clnf(*words)[0] == 1
    # An event of area 1 is 50 V for such a cell, and what lasts for a step counts r.
    for drive, gain in (("hold", 1.0), ("dirac", 50.0), (None, 1.0)):
        found = read_row(path, 1e-3, drive)[0][0].cell.gain
        assert abs(found - gain) < 1e-5 * gain
    broken = Graph({**nodes, "cell": nodes["w"]}, [("w", "cell")])
    path = write_nir(tmp_path / "b.nir", broken)
    _, _, err = clnf("spike", "check", path, "--chip", "loihi", "--dt-s", "1e-3")
    assert "mended()" not in err


BIG = """
inputs = [400000]
[[layers]]
kind = "linear"
neurons = 300000
recurrent = true
cell = {{ kind = "LIF", reset_v = 0.0{more} }}
"""


def test_sizes_cost_no_weights(clnf: Any, model: Path) -> None:
    """A net of 210 thousand million weights, which no memory holds, is looked at all the same."""
    model.write_text(BIG.format(more=""))
    code, out, _ = clnf("spike", "check", model, "--chip", "loihi", "--json")
    assert code == 1
    uses = {one["resource"]: one["used"] for one in json.loads(out)["uses"]}
    assert uses["weights, bits"] == 8 * 300000 * 700000
    assert (uses["fan-in"], uses["fan-out"]) == (700000, 300000)
    model.write_text(BIG.format(more="").replace("400000", "4" + "0" * 20))
    code, _, err = clnf("spike", "check", model, "--chip", "loihi")
    assert (code, "correct the sizes" in err) == (2, True)


def test_a_picture_leaves_its_cells_by_every_window(clnf: Any, model: Path) -> None:
    """3 by 3 windows two apart cover a cell up to four times, for each of 4 features."""
    layer = (
        '[[layers]]\nkind = "conv"\nchannels = 4\nkernel = 3\nstride = 2\ncell = { kind = "IF" }\n'
    )
    model.write_text(NET.partition('[[layers]]\nkind = "flatten"')[0] + layer)
    _, out, _ = clnf("spike", "check", model, "--chip", "speck", "--json")
    uses = {one["resource"]: one["used"] for one in json.loads(out)["uses"]}
    assert uses["fan-out"] == 4 * 4


@pytest.mark.parametrize(
    ("more", "fits"), [("threshold_v = -1.0", False), ("threshold_v = 0.5", True)],
)  # fmt: skip
def test_a_threshold_lies_above_0(clnf: Any, model: Path, more: str, fits: bool) -> None:
    model.write_text(BIG.format(more=f", {more}").replace("00000", "0"))
    code, out, _ = clnf("spike", "check", model, "--chip", "loihi", "--json")
    found = json.loads(out)["findings"]
    assert (code, [one["limit"] for one in found]) == ((0, []) if fits else (1, ["threshold"]))


def test_a_threshold_is_a_number(clnf: Any, model: Path) -> None:
    model.write_text(BIG.format(more=", threshold_v = nan").replace("00000", "0"))
    code, out, err = clnf("spike", "check", model, "--chip", "loihi", "--json")
    assert (code, out, "nan" in err) == (2, "", True)


def test_no_model_and_no_chip_are_named_as_such(clnf: Any, model: Path) -> None:
    for words, told in [
        ((model.parent / "none.toml", "--chip", "xylo"), "no file"),
        ((model, "--chip", "none.toml"), "no profile of a chip"),
        ((model, "--chip", "memristive:gst_pcm"), "write a profile of your own"),
    ]:
        code, _, err = clnf("spike", "check", *words)
        assert (code, told in err) == (2, True), err
        assert "recipe" not in err
        assert "--supply" not in err
    code, _, err = clnf("spike", "check", model, "--chip", "speck", "--dt-s", "1e-3")
    assert (code, "for .nir files" in err) == (2, True)
