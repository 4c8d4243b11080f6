# mypy: disable-error-code="arg-type, dict-item, assignment, unused-ignore, list-item"
"""What people hand to a chip wrongly: one sentence each, and the chip as it was."""

import math
import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import nn

from clnf.chip import (
    Chip,
    ChipSpec,
    Tile,
    Wires,
    effective_conductance,
    host,
    line_currents,
    netlist,
    read_currents,
)
from clnf.chip.converters import ConverterKind
from clnf.chip.masks import Importance, gradual, protect, random_like, shut
from clnf.core.errors import ClnfError

ONES = torch.ones(6, 4)


def hosted() -> tuple[nn.Module, Chip]:
    net = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    return net, host(net, assign=lambda name, leaf: "plastic", seed=0, spec=ChipSpec(pairs=1))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Tile("gst_pcm", None, 4, seed=1), "rows must be a whole number from 1 to 65536, "
         "got None"),
        (lambda: Tile("gst_pcm", 6, 4.0, seed=1), "cols must be a whole number .*, got 4.0"),
        (lambda: Tile("gst_pcm", Fraction(6), 4, seed=1), "rows .*, got Fraction"),
        (lambda: Tile("gst_pcm", "6", 4, seed=1), "rows .*, got '6'"),
        (lambda: Tile("gst_pcm", True, 4, seed=1), "rows .*, got True"),
        (lambda: Tile("gst_pcm", 10**30, 4, seed=1), "from 1 to 65536, got 1000"),
        (lambda: Tile("gst_pcm", 6, 4, seed=0.5), "seed must be a whole number, got 0.5"),
        (lambda: Tile(None, 6, 4, seed=1), "a material goes by its name or file, got None"),
        (lambda: Tile("gst_pcm", 6, 4, seed=1, spec=3), "spec must be of class ChipSpec, got 3"),
        (lambda: Tile("gst_pcm", 6, 4, seed=1, ledger=3), "ledger must be of class Ledger, got 3"),
    ],
)  # fmt: skip
def test_a_tile_of_nothing_is_refused(make: Callable[[], object], words: str) -> None:
    with pytest.raises(ClnfError, match=words):
        make()


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("wires", 3.0, "wires of ChipSpec must be a Wires or None, got 3.0"),
        ("verify", None, "verify of ChipSpec must be a Verify, got None"),
        ("stored", "x", "stored of ChipSpec must be a Mapping, got 'x'"),
        ("core", 3, "core of ChipSpec must be a text or a Material, got 3"),
        ("tile_rows", "8", "tile_rows of ChipSpec must be a whole number, got '8'"),
        ("pairs", 2.0, "pairs of ChipSpec must be a whole number, got 2.0"),
        ("pairs", 10**9, "at least 1 pair .at most 1024., got .* and 1000000000"),
        ("spreads", 1, "spreads of ChipSpec must be True or False, got 1"),
        ("read_noise", "loud", "must be one of 'separable', 'exact', 'off', got 'loud'"),
        ("plastic_read_noise", math.nan, "plastic_read_noise must be at least 0 .*, got nan"),
        ("half_select", math.nan, "half_select is a share of a step, 0 to 1, got nan"),
        ("supply", ("a",), "supply holds pairs of a name and a Constant, got 'a'"),
    ],
)
def test_a_spec_names_the_field_that_is_wrong(field: str, value: object, words: str) -> None:
    with pytest.raises(ClnfError, match=words):
        ChipSpec(**{field: value})  # type: ignore[arg-type]


def test_converters_and_wires_name_what_is_wrong() -> None:
    with pytest.raises(ClnfError, match="serial_bits of ConverterKind must be a whole number"):
        ConverterKind(serial_bits="1")  # type: ignore[arg-type]
    with pytest.raises(ClnfError, match="word_ohm is a number from 1e-15 to 1e.15, got True"):
        Wires(word_ohm=True, bit_ohm=1.0)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("abc", "weights of this tile must be a tensor of numbers or lists .*, got 'abc'"),
        (None, "got None; convert it"),
        (ONES.T, r"weights of this tile are \[6, 4\], got \[4, 6\]"),
        (ONES.to_sparse(), "torch.sparse_coo; call .to_dense"),
        (ONES.to("meta"), "one on the meta device, without values"),
        (ONES * math.inf, r"weights of this tile must be finite, got inf at \[0, 0\]"),
        (ONES * 1e30, r"reach 1e\+15 at most, as their squares .* got 1e\+30; scale them down"),
    ],
)
@pytest.mark.parametrize("material", ["gst_pcm", "ecram_li"])
def test_weights_that_no_tile_holds_leave_it_as_it_was(
    material: str, value: Any, words: str
) -> None:
    tile = Tile(material, 6, 4, seed=1)
    before = tile.program(ONES * 0.1), tile.weights.clone(), tile.ledger.total()
    with pytest.raises(ClnfError, match=words):
        tile.program(value)
    assert torch.equal(tile.weights, before[1])
    assert tile.ledger.total() == before[2]
    assert math.isfinite(tile.program(ONES * 1e14))  # the control: large, and held


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (True, r"at most 32767, \[6, 4\], got torch.bool \[\]"),
        (math.inf, r"got torch.float32 \[\] up to inf"),
        ("x", "pulses must be a tensor of numbers .*, got 'x'"),
        (ONES > 0, r"got torch.bool \[6, 4\]"),
        (ONES * math.nan, r"got torch.float32 \[6, 4\] up to nan"),
        (torch.ones(0), r"got torch.float32 \[0\]"),
    ],
)
def test_pulses_that_cannot_be_given_are_refused(value: Any, words: str) -> None:
    tile = Tile("ecram_li", 6, 4, seed=1)
    with pytest.raises(ClnfError, match=words):
        tile.pulse(value)
    assert int(tile.wear.sum()) == 0
    assert tile.pulse([[1] * 4] * 6) > 0  # type: ignore[arg-type]


def test_a_plane_and_a_time_that_are_not_there_are_named() -> None:
    spec = ChipSpec(pairs=1, wires=Wires(word_ohm=1.0, bit_ohm=1.0))
    tile = Tile("gst_pcm", 6, 4, seed=1, spec=spec)
    tile.program(ONES)
    for plane in (7, -1, "a", 0.0):
        with pytest.raises(ClnfError, match="plane must be a whole number from 0 to 1, got"):
            tile.netlist(torch.ones(6), plane=plane)  # type: ignore[arg-type]
    assert tile.netlist(torch.ones(6), plane=1).startswith("*")
    for seconds in (-1.0, math.inf):
        with pytest.raises(ClnfError, match="seconds must be at least 0 and finite, got"):
            tile.age(seconds)
    with pytest.raises(ClnfError, match="seconds must be a number, got nan"):
        tile.age(math.nan)
    for kelvin in (0.0, -3.0):
        with pytest.raises(ClnfError, match="a temperature is above 0 K and finite, got"):
            tile.age(1.0, temperature_k=kelvin)
    with pytest.raises(ClnfError, match="a temperature in kelvin must be a number, got 'warm'"):
        tile.set_temperature("warm")  # type: ignore[arg-type]


def test_wires_refuse_tensors_without_values() -> None:
    cells, volts = torch.full((3, 2), 1e-4), torch.ones(3)
    for bad, words in (
        (cells.to_sparse(), "conductances must be a dense tensor .*sparse_coo; call .to_dense"),
        (cells.to("meta"), "conductances must be a dense tensor .* meta device"),
        ("abc", "conductances must be a tensor of numbers .*, got 'abc'"),
    ):
        for call in (lambda g: line_currents(g, volts, 1.0),
                     lambda g: effective_conductance(g, 1.0),
                     lambda g: netlist(g, volts, 1.0)):  # fmt: skip
            with pytest.raises(ClnfError, match=words):
                call(bad)
    volts[1] = math.inf
    with pytest.raises(ClnfError, match=r"voltages must be finite, got inf at \[1\]; mend"):
        line_currents(cells, volts, 1.0)
    cells[2, 1] = math.nan
    with pytest.raises(ClnfError, match=r"at least 0 S, got nan at \[2, 1\]; mend"):
        effective_conductance(cells, 1.0)
    for ohm in (None, "x", True, torch.ones(2)):
        with pytest.raises(ClnfError, match="wire_ohm is a number or Wires, got"):
            effective_conductance(torch.ones(2, 2), ohm)  # type: ignore[arg-type]
    with pytest.raises(ClnfError, match="law must be of class AbstractCellLaw, got 'x'"):
        netlist(torch.ones(3, 2), torch.ones(3), 1.0, "x")  # type: ignore[arg-type]
    with pytest.raises(ClnfError, match="cols must be a whole number from 1 to 1000000, got 1.5"):
        read_currents("@rout0[i] = 1", 1.5)  # type: ignore[arg-type]
    with pytest.raises(ClnfError, match="a current that is no number: .*'x'"):
        read_currents("@rout0[i] = x", 1)


def test_hosting_names_what_is_wrong() -> None:
    net, spec = nn.Sequential(nn.Linear(4, 3)), ChipSpec()
    good: dict[str, Any] = {"assign": lambda name, leaf: "core", "seed": 0, "spec": spec}
    for change, words in (
        ({"seed": None}, "seed must be a whole number, got None"),
        ({"spec": None}, "spec must be of class ChipSpec, got None"),
        ({"assign": "core"}, "assign must be a function of name and leaf, got 'core'"),
        ({"assign": lambda name, leaf: 3}, 'says "core", "plastic" or None, got 3 for 0'),
        ({"ledger": "x"}, "ledger must be of class Ledger, got 'x'"),
    ):
        with pytest.raises(ClnfError, match=words):
            host(net, **{**good, **change})
    with pytest.raises(ClnfError, match="module must be of class Module, got None"):
        host(None, **good)  # type: ignore[arg-type]
    assert isinstance(net[0], nn.Linear)  # nothing was replaced
    assert host(net, **good).layers


def test_an_optimizer_of_nothing_is_refused() -> None:
    net, chip = hosted()
    frozen = [p.detach() for p in net.parameters()]
    for params, words in (
        ([], "an optimizer needs a parameter that requires a gradient, got none"),
        (frozen, "an optimizer needs a parameter that requires a gradient, got none"),
        (None, "params are a list, got None"),
        (net, "a parameter must be of class Tensor, got AnalogLinear"),
        (ONES, "params are a list, got tensor"),
        ([3], "a parameter must be of class Tensor, got 3"),
    ):
        with pytest.raises(ClnfError, match=words):
            chip.optimizer(params, lr=0.1)  # type: ignore[arg-type]
    with pytest.raises(ClnfError, match="lr must be a number, got nan"):
        chip.optimizer(net.parameters(), lr=math.nan)
    with pytest.raises(ClnfError, match="rule must be of class PulseRule, got 'fast'"):
        chip.optimizer(net.parameters(), lr=0.1, rule="fast")  # type: ignore[arg-type]
    assert chip.optimizer(net.parameters(), lr=0.1).param_groups


def test_a_state_that_is_none_changes_nothing() -> None:
    _, chip = hosted()
    state, tiles = chip.state_dict(), chip.tiles
    wear = [tile.wear.clone() for tile in tiles.values()]
    for key, value, words in (
        ("clock_s", "x", "clock_s of the state must be a number, got 'x'"),
        ("clock_s", -1.0, "clock_s of the state must be at least 0 and finite, got -1.0"),
        ("ledger", [[1, 2]], r"rows of a ledger are .*, got \[\[1, 2\]\]"),
        ("lesson", 3, "lesson of the state must be a text, got 3"),
        ("temperature_k", {"a": -1.0}, "a temperature is above 0 K and finite, got -1.0"),
    ):
        with pytest.raises(ClnfError, match=words):
            chip.load_state_dict({**state, key: value})
        assert chip.state_dict()["ledger"] == state["ledger"]
        assert chip.clock_s == state["clock_s"]
    for snapshot, words in (({}, "the snapshot lacks the cells of"), (None, "got None")):
        with pytest.raises(ClnfError, match=words):
            chip.restore_plastic(snapshot)  # type: ignore[arg-type]
    for tile, before in zip(tiles.values(), wear, strict=True):
        assert torch.equal(tile.wear, before)
    with pytest.raises(ClnfError, match="on must be True or False, got 'yes'"):
        chip.noise("yes")  # type: ignore[arg-type]
    with pytest.raises(ClnfError, match="kind must be global, column or learned, got 'x'"):
        chip.recalibrate("x")  # type: ignore[arg-type]


def test_masks_may_be_lists_and_say_what_is_wrong() -> None:
    _, chip = hosted()
    name = next(iter(chip.tiles))
    shape = chip.tiles[name].shape
    rows = torch.ones(shape).tolist()
    assert protect(chip, {name: rows}).shut == 0.0
    rows[0][1] = 1.5
    for masks, words in (
        (
            {name: rows},
            rf"a mask for {re.escape(name)} needs values in \[0, 1\], got 1.5 at \[0, 1\]",
        ),
        ({name: [1, 1]}, rf"a mask for {re.escape(name)} needs shape .* got shape \[2\]"),
        ({name: "x"}, f"a mask for {re.escape(name)} must be a tensor of numbers"),
        ({"none": rows}, "no tile 'none' learns on this chip; it has "),
        ([rows], "masks must be of class dict"),
    ):
        with pytest.raises(ClnfError, match=words):
            protect(chip, masks)  # type: ignore[arg-type]
        assert bool((chip.tiles[name].fence == 1).all())
    with pytest.raises(ClnfError, match="bits must be a whole number from 1 to 16, got 0.5"):
        protect(chip, {}, bits=0.5)  # type: ignore[arg-type]
    with pytest.raises(ClnfError, match="no plastic layer 'x' on this chip; it has 0, 1"):
        chip.set_fence("x", torch.ones(2, 3))
    with pytest.raises(ClnfError, match=r"a fence for 1 needs shape \[2, 3\], got shape \[3\]"):
        chip.set_fence("1", torch.ones(3))
    for make in (shut, gradual):
        with pytest.raises(ClnfError, match=r"importance of t is not finite, nan at \[0\]"):
            make({"t": torch.tensor([math.nan])}, 0.5)
        with pytest.raises(ClnfError, match="share must be a number, got 'x'"):
            make({"t": torch.ones(2)}, "x")  # type: ignore[arg-type]
    with pytest.raises(ClnfError, match="seed must be a whole number, got 0.5"):
        random_like({"t": torch.ones(2)}, 0.5)  # type: ignore[arg-type]
    with pytest.raises(ClnfError, match="chip must be of class Chip, got 3"):
        Importance(3)  # type: ignore[arg-type]
