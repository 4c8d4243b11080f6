"""Layers left blank: they cost nothing, nothing touches them, and no state holds them."""

from typing import Any

import pytest
import torch
from torch import nn

from clnf.chip import Chip, ChipSpec, host
from clnf.chip.groups import Groups
from clnf.chip.heat.calibrate import answers
from clnf.core.errors import ConfigError
from clnf.devices.materials import material


def made(blank: Any = lambda name: name == "2", **spec: Any) -> tuple[nn.Sequential, Chip]:
    """Three layers: one that stores, one that learns, one that learns and waits."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 4))
    kinds = {"0": "core", "1": "plastic", "2": "plastic"}
    chip = host(
        net, assign=lambda name, leaf: kinds[name], seed=1,  # type: ignore[arg-type,return-value]
        spec=ChipSpec(pairs=1, tile_rows=8, tile_columns=8, **spec), blank=blank,
    )  # fmt: skip
    chip.program_core()
    return net, chip


def cells(chip: Chip, name: str) -> torch.Tensor:
    return torch.cat([tile.hidden.flatten() for tile in chip.layers[name].tiles])


def charged(chip: Chip) -> set[str]:
    return {row[0].partition("[")[0] for row in chip.ledger.state()}


def test_what_waits_is_not_written_until_somebody_asks() -> None:
    net, chip = made()
    wanted = net[2].weight.detach().clone()
    assert charged(chip) == {"0", "1"}
    assert chip.blank == {tile.name for tile in chip.layers["2"].tiles}
    assert not chip.layers["2"].tiles[0].wear.any()
    chip.ledger.lesson = "first"
    chip.program_plastic(["2"])
    assert {row[0].partition("[")[0] for row in chip.ledger.state() if row[1] == "first"} == {"2"}
    assert chip.blank == frozenset()
    off = (net[2].weight.detach() - wanted).square().mean() / wanted.square().mean()
    assert float(off) < 0.3  # the write noise of these cells; blank ones are off by about 1
    with pytest.raises(ConfigError, match="no layer '0' learns on this chip; it has 1, 2"):
        chip.program_plastic(["0"])


def test_written_late_or_at_once_is_the_same() -> None:
    (_, late), (_, once) = made(), made(blank=False)
    late.program_plastic(["2"])
    assert torch.equal(cells(late, "2"), cells(once, "2"))
    assert torch.equal(cells(late, "1"), cells(once, "1"))


def test_nothing_touches_what_waits() -> None:
    values = {"retention_s": 1e7, "retention_temperature_k": 358.0, "retention_activation": 1.6e-19}
    slope = {"conductance_temperature_coefficient": 0.002}
    core, plastic = (
        material(name).supply(**values, **slope) for name in ("gst_pcm", "hfo2_array_optimised")
    )
    _, chip = made(core=core, plastic=plastic)
    before, blank = {name: cells(chip, name) for name in "12"}, chip.blank
    chip.advance(1e7, temperature_k=400.0)
    chip.set_temperature(350.0)
    chip.set_temperature(None)
    chip.recalibrate()
    answers(chip, reads=1)
    assert torch.equal(cells(chip, "2"), before["2"])
    assert not torch.equal(cells(chip, "1"), before["1"])  # the control
    assert chip.blank == blank
    assert charged(chip) == {"0", "1"}


def test_a_state_has_the_names_of_what_waits_and_fits_where_it_waits() -> None:
    net, chip = made()
    state = chip.state_dict()
    assert state["blank"] == ["2"]
    assert not any(key.startswith("2/") for key in state)
    again, other = made(blank=True)
    other.load_state_dict(state)
    assert other.blank == chip.blank
    assert torch.equal(again[1].weight, net[1].weight)
    for one in (chip, other):
        one.program_plastic(["2"])
    assert torch.equal(cells(chip, "2"), cells(other, "2"))
    assert "blank" not in chip.state_dict()
    whole = chip.state_dict()
    other.load_state_dict(whole)
    _, third = made(blank=True)
    third.load_state_dict(whole)
    assert torch.equal(cells(third, "2"), cells(chip, "2"))
    with pytest.raises(ConfigError, match="older than what the cells of 2 hold"):
        chip.load_state_dict(state)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"blank": []}, "the state lacks '2/reads'"),
        ({"blank": ["1", "2"]}, "the state has '1/reads', which this chip has not"),
        ({"blank": ["0"]}, "leaves out '0', which is no layer that learns"),
        ({"blank": ["x"]}, "leaves out 'x', which is no layer that learns"),
        ({"blank": "2"}, "should be names of layers, got '2'"),
    ],
)
def test_a_state_that_lacks_what_was_written_is_refused(change: dict[str, Any], words: str) -> None:
    _, chip = made()
    state = chip.state_dict() | change
    _, other = made(blank=True)
    with pytest.raises(ConfigError, match=words):
        other.load_state_dict(state)
    assert len(other.blank) == 2


def test_a_missing_key_of_a_written_layer_is_refused() -> None:
    _, chip = made()
    state = chip.state_dict()
    key = next(key for key in state if key.startswith("1/") and key.endswith("/wear"))
    del state[key]
    with pytest.raises(ConfigError, match=r"the state lacks '1/1\["):
        made(blank=True)[1].load_state_dict(state)
    with pytest.raises(ConfigError, match="the snapshot lacks the cells of"):
        chip.restore_plastic(state)


def test_a_roll_back_leaves_what_was_written_since() -> None:
    net, chip = made()
    before = chip.state_dict()
    chip.program_plastic(["2"])
    held = cells(chip, "2")
    optimizer = chip.optimizer(net.parameters(), lr=0.1)
    net(torch.randn(4, 6)).square().sum().backward()
    optimizer.step()
    moved = cells(chip, "2")
    assert not torch.equal(moved, held)
    chip.restore_plastic(before)
    assert torch.equal(cells(chip, "2"), moved)
    assert chip.state_dict().keys() > before.keys() - {"blank"}


def test_gates_leave_what_waits_alone() -> None:
    net, chip = made()
    groups = Groups(chip, net, lambda name: name if name in "12" else None)
    groups.open("1")
    assert groups.state_dict()["fences"] == {}
    assert len(chip.blank) == 1
    assert not net[2].weight.requires_grad
    groups.close()
    chip.program_plastic(["2"])
    groups.open("1")
    assert list(groups.state_dict()["fences"]) == [tile.name for tile in chip.layers["2"].tiles]
    groups.close()
