"""``clnf spike check`` from outside."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from clnf.spiking import LIF, EventConv2d, Neurons, SpikingLinear
from clnf.spiking.chain import Chain
from clnf.spiking.exchange import graph_of, write_nir

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
    assert "It does not fit: 1 of the limits" in out
    assert max(map(len, out.splitlines())) <= 100


def test_json_for_programs(clnf: Any, model: Path) -> None:
    code, out, _ = clnf("spike", "check", model, "--chip", "loihi", "--json")
    found = json.loads(out)
    assert (code, found["fits"], found["chip"]) == (1, False, "loihi")
    assert {one["limit"] for one in found["findings"] if not one["fits"]} == {"reset"}
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
    assert "does not say how long a step is" in err
    assert clnf("spike", "check", path, "--chip", "loihi", "--dt-ms", "1")[0] == 0
