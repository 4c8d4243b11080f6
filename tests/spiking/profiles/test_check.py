"""The check: what does not fit, and memories of cores by hand."""

import itertools
import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from clnf.core.errors import ConfigError
from clnf.spiking import (
    IF,
    LI,
    LIF,
    Convolution,
    EventLinear,
    Neurons,
    Readout,
    SpikingConv2d,
    SpikingLinear,
)
from clnf.spiking.chain import Chain
from clnf.spiking.profiles import Constrained, check, profile
from clnf.spiking.profiles.description import read_description
from clnf.spiking.profiles.placing import Memory, memory_of, place
from clnf.spiking.profiles.stages import stages_of

DT_S = 1e-3


def conv(
    inputs: int, outputs: int, kernel: int | tuple[int, int], stride: int = 1
) -> SpikingConv2d:
    how = Convolution(stride=(stride, stride))
    return SpikingConv2d((inputs, outputs), kernel, IF(), dt_s=DT_S, how=how)


def test_a_net_for_each_chip_fits() -> None:
    pictures = Chain(conv(2, 8, 3, 2), conv(8, 16, 3), nn.Flatten(2),
                     SpikingLinear((16 * 14 * 14, 10), IF(), dt_s=DT_S))  # fmt: skip
    found = check(pictures, profile("speck"), (2, 34, 34))
    assert found.fits, found.findings
    assert len(set(found.cores.values())) == 3
    cell = LIF(tau_s=-DT_S / torch.tensor(1 - 1 / 16).log().item())
    sounds = Chain(SpikingLinear((16, 60), cell, dt_s=DT_S, recurrent=True),
                   SpikingLinear((60, 8), cell, dt_s=DT_S))  # fmt: skip
    found = check(sounds, profile("xylo"))
    assert found.fits, found.findings
    assert not found.findings
    plain = Chain(SpikingLinear((40, 30), LIF(reset_v=0.0), dt_s=DT_S), EventLinear(30, 2),
                  Readout(LI(), dt_s=DT_S))  # fmt: skip
    assert check(plain, profile("loihi")).fits
    assert check(plain, profile("memristive:cmo_hfox")).fits


XYLO, SPECK = profile("xylo"), profile("speck")


def rows(*sizes: int, cell: LIF | None = None, ring: bool = False) -> Chain:
    cell = cell or LIF(tau_s=16e-3)
    pairs = list(itertools.pairwise(sizes))
    return Chain(*(SpikingLinear(one, cell, dt_s=DT_S, recurrent=ring) for one in pairs))


TOO_MUCH = [
    (rows(17, 20, 8), XYLO, None, ("inputs", "17", "16")),
    (rows(16, 1001, 8), XYLO, None, ("neurons", "1001", "1000")),
    (rows(16, 20, 9), XYLO, None, ("output neurons", "9", "8")),
    (rows(16, 65, 65, 8), XYLO, None, ("fan-out", "65", "64")),
    (rows(16, 600, 60, 8), XYLO, None, ("synapses between hidden cells", "36000", "32000")),
    (rows(16, 8), XYLO, None, ("layers", "1", "inputs reach hidden cells only")),
    (
        rows(16, 20, 8, ring=True),
        XYLO,
        None,
        ("kind of layer", "recurrent", "not in the last"),
    ),
    (conv(1, 2, 17), SPECK, (1, 20, 20), ("kernel", "17x17", "at most 16x16")),
    (conv(1, 2, (3, 2)), SPECK, (1, 9, 9), ("kernel", "3x2", "square")),
    (conv(1, 1025, 1), SPECK, (1, 2, 2), ("features", "1025", "1024")),
    (conv(1, 2, 3, 3), SPECK, (1, 9, 9), ("stride", "3x3", "1, 2, 4, 8")),
    (
        Chain(nn.AvgPool3d((1, 3, 3)), conv(1, 2, 2)),
        SPECK,
        (1, 9, 9),
        ("pooling", "3x3", "1, 2"),
    ),
    (rows(4, 3), SPECK, None, ("cell", "LIF", "IF")),
    (
        Chain(nn.Linear(4, 3), nn.ReLU()),
        SPECK,
        None,
        ("layer", "class ReLU", "weights"),
    ),
]


@pytest.mark.parametrize(("net", "by", "inputs", "said"), TOO_MUCH, ids=[t[3][0] for t in TOO_MUCH])
def test_each_limit_is_found_with_its_value(net, by, inputs, said) -> None:  # type: ignore[no-untyped-def]
    found = check(net, by, inputs)
    assert not found.fits
    told = [(one.limit, one.value, one.allowed) for one in found.findings if not one.fits]
    assert any(a[0] == said[0] and said[1] in a[1] and said[2] in a[2] for a in told), told
    assert all(one.advice for one in found.findings)


def test_a_stride_is_looked_at_on_both_axes() -> None:
    """One legal axis is not enough, though the check of another tool takes that."""
    for stride in ((3, 2), (2, 3)):
        net = SpikingConv2d((1, 2), 3, IF(), dt_s=DT_S, how=Convolution(stride=stride))
        assert not check(net, SPECK, (1, 9, 9)).fits


def test_one_less_fits() -> None:
    """Negative control: each limit itself is allowed."""
    assert check(rows(16, 64, 64, 8), XYLO).fits
    assert check(conv(1, 1024, (8, 8), 8), SPECK, (1, 16, 16)).fits
    assert check(conv(1, 128, 16), SPECK, (1, 16, 16)).fits


def test_pruned_weights_do_not_count() -> None:
    net = rows(16, 70, 70, 8)
    assert not check(net, XYLO).fits
    net[1].weight.data[64:] = 0.0
    assert check(net, XYLO).fits


def test_memories_by_hand() -> None:
    last = EventLinear(10 * 16 * 16, 5, bias=True)
    net = Chain(conv(2, 10, 3, 2), nn.Flatten(2), last, Neurons(IF(), dt_s=DT_S))
    stages = stages_of(net, (2, 34, 34))
    # 2 channels, 9 taps take 16, 10 features take 16; pictures of 16x16 for each of 10.
    assert memory_of(stages[0]) == Memory(2 * 16 * 16, 10 * 256, 0)
    # A kernel as large as the picture: 256 taps, 5 features take 8.
    assert memory_of(stages[1]) == Memory(10 * 256 * 8, 5, 5)


def test_a_chip_is_full() -> None:
    nine = Chain(*(conv(1, 1, 1) for _ in range(9)))
    assert check(nine, SPECK, (1, 8, 8)).fits
    found = check(Chain(*nine, conv(1, 1, 1)), SPECK, (1, 8, 8))
    assert [one.allowed for one in found.findings] == ["no core is left"]
    # 8 channels of 64x64 cells need 32768 words, and 2 are left with as many beside their kernels.
    large = check(Chain(conv(16, 64, 8)), SPECK, (16, 71, 71))
    assert [one.allowed for one in large.findings] == ["no core holds all"]


def test_as_many_layers_as_possible_find_a_core() -> None:
    """Against all orders tried one by one."""
    draw = random.Random(4)
    for _ in range(30):
        cores = [Memory(draw.randint(1, 4), draw.randint(1, 4), 9) for _ in range(4)]
        needs = [Memory(draw.randint(1, 4), draw.randint(1, 4), 0) for _ in range(4)]
        best = max(
            sum(cores[core].holds(need) for core, need in zip(order, needs, strict=True))
            for order in itertools.permutations(range(4))
        )
        found = place(needs, cores)
        used = [core for core in found if core is not None]
        assert len(used) == len(set(used)) == best
        assert all(cores[c].holds(n) for c, n in zip(found, needs, strict=True) if c is not None)


def test_notes_do_not_stand_against_it() -> None:
    net = rows(4, 3, cell=LIF(reset_v=0.0))
    net[0].weight.data *= 1e-3
    found = check(net, profile("loihi"))
    assert found.fits
    assert [one.limit for one in found.findings] == ["weights"]
    wide = rows(2000, 3, cell=LIF(reset_v=0.0, threshold_v=0.01))
    assert [one.limit for one in check(wide, profile("loihi")).findings] == ["sum of a step"]
    two = Chain(SpikingLinear((4, 3), LIF(reset_v=0.0), dt_s=1e-3),
                SpikingLinear((3, 2), LIF(reset_v=0.0), dt_s=2e-3))  # fmt: skip
    assert [one.limit for one in check(two, profile("loihi")).findings] == ["steps"]
    off = check(rows(16, 8, 8, cell=LIF(tau_s=11e-3)), XYLO)
    assert off.fits
    assert {one.limit for one in off.findings} == {"decay"}
    memory = replace(profile("loihi"), weight_memory_bits=90)
    assert not check(rows(4, 3, cell=LIF(reset_v=0.0)), memory).fits


NET = """
inputs = [2, 10, 10]
[[layers]]
kind = "conv"
channels = 4
kernel = 3
cell = { kind = "IF", threshold_v = 0.5 }
[[layers]]
kind = "pool"
size = 2
[[layers]]
kind = "flatten"
[[layers]]
kind = "linear"
neurons = 6
recurrent = true
cell = { kind = "LIF", tau_s = 10e-3 }
[[layers]]
kind = "linear"
neurons = 3
cell = { kind = "LI" }
"""


def test_a_net_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "net.toml"
    path.write_text(NET)
    net, shape = read_description(path)
    assert shape == (2, 10, 10)
    assert net(torch.ones(3, 2, *shape)).shape == (3, 2, 3)
    kinds = [(one.kind, one.cells, one.pool, one.ring is None) for one in stages_of(net, shape)]
    assert kinds == [("convolution", 256, (1, 1), True), ("linear", 6, (2, 2), False),
                     ("linear", 3, (1, 1), True)]  # fmt: skip


WRONG = [
    (NET.replace("channels = 4", "chanels = 4"), "unknown key 'chanels'"),
    (NET.replace('kind = "conv"', 'kind = "convolve"'), "kind 'convolve'"),
    (NET.replace("threshold_v", "treshold_v"), "kind IF have no parameter 'treshold_v'"),
    (NET.replace('"LI"', '"GRU"'), "the cell of layer 4"),
    (NET.replace("inputs = [2, 10, 10]", "inputs = 3"), "inputs of"),
    (NET.replace("inputs = [2, 10, 10]", "inputs = [2, 10]"), "needs pictures"),
    (NET.replace('[[layers]]\nkind = "flatten"\n', ""), "put a layer of kind flatten before"),
    (NET.replace("neurons = 3", "neurons = 0"), "neurons must be a whole number of at least 1"),
    (NET.replace("recurrent = true", "recurrent = 1"), "recurrent is true or false"),
    ("inputs = [3]\nsteps = 4\n", "unknown key 'steps'"),
    ("inputs = [3]\n", "no .*layers"),
]


@pytest.mark.parametrize(("text", "said"), WRONG, ids=[one[1][:24] for one in WRONG])
def test_a_description_with_a_fault_is_a_sentence(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "net.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said):
        read_description(path)


def test_shapes_that_nobody_told() -> None:
    with pytest.raises(ConfigError, match="does not tell what goes in"):
        check(conv(1, 2, 3), SPECK)
    with pytest.raises(ConfigError, match="shape of one sample"):
        check(conv(1, 2, 3), SPECK, (0, 3))
    with pytest.raises(ConfigError, match="without layers"):
        check(Chain(), SPECK)


@pytest.mark.parametrize(
    ("tau_s", "chip", "notes"),
    [
        (10.0, "loihi",
         [("1.000 a step, lasts 1e+04 steps", "1.000 a step, lasts for ever, by 12 bits")]),
        (1.0, "loihi", []),
        (3.0, "loihi",
         [("1.000 a step, lasts 3001 steps", "1.000 a step, lasts 4096 steps, by 12 bits")]),
        (16e-3, "loihi", []),
        (16e-3, "xylo", []),
        (20e-3, "xylo",
         [("0.951 a step, lasts 20.5 steps", "0.938 a step, lasts 16 steps, by a shift")]),
        (1e-4, "loihi", []),
    ],
)  # fmt: skip
def test_decays_are_compared_by_how_long_states_last(
    tau_s: float, chip: str, notes: list[tuple[str, str]]
) -> None:
    """A difference of decays is next to nothing where a state lasts long."""
    reset = 0.0 if chip == "loihi" else None
    cell = LIF(tau_s=tau_s, reset_v=reset)
    net = Chain(SpikingLinear((5, 4), cell, dt_s=DT_S), SpikingLinear((4, 3), cell, dt_s=DT_S))
    found = check(net, profile(chip))
    assert found.fits
    assert {one.limit for one in found.findings} <= {"decay"}
    assert [(one.value, one.allowed) for one in found.findings] == 2 * notes


@pytest.mark.parametrize("level", [-1.0, 0.0, float("nan"), float("inf")])
def test_no_chip_takes_a_threshold_that_is_none(level: float) -> None:
    try:
        net = SpikingLinear((5, 4), LIF(reset_v=0.0, threshold_v=level), dt_s=DT_S)
    except ConfigError:
        return  # refused before
    assert [one.limit for one in check(net, profile("loihi")).findings] == ["threshold"]
    with pytest.raises(ConfigError, match="a threshold of"):
        Constrained(net, profile("loihi"))


def test_descriptions_agree_with_nets_of_their_sizes(tmp_path: Path) -> None:
    """Weights without values count as weights other than 0 do."""
    path = tmp_path / "net.toml"
    path.write_text(
        "inputs = [2, 9, 8]\n[[layers]]\nkind = 'conv'\nchannels = 3\nkernel = 3\nstride = 2\n"
        "cell = { kind = 'IF' }\n[[layers]]\nkind = 'conv'\nchannels = 5\nkernel = 2\n"
        "cell = { kind = 'IF' }\n[[layers]]\nkind = 'flatten'\n[[layers]]\nkind = 'linear'\n"
        "neurons = 7\nrecurrent = true\ncell = { kind = 'IF' }\n"
    )
    net, shape = read_description(path)
    same = Chain(
        conv(2, 3, 3, 2), conv(3, 5, 2), nn.Flatten(2),
        SpikingLinear((5 * 3 * 2, 7), IF(), dt_s=DT_S, recurrent=True),
    )  # fmt: skip
    by = profile("loihi")
    assert check(net, by, shape).uses == check(same, by, shape).uses
    same[0].weight.data[0] = 0.0
    assert check(net, by, shape).uses != check(same, by, shape).uses
