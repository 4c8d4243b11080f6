"""Heat reaches reads always, and time, drift, states and lives where a recipe asks for it."""

from typing import Any

import pytest
import torch
from torch import nn

from clnf.chip.hosting import Chip, host
from clnf.chip.spec import ChipSpec
from clnf.core.errors import ConfigError
from clnf.devices.materials import material
from clnf.living.recipe import HeatPart, Recipe
from clnf.living.warmth import Warmth, supplied

DAY_S = 86400.0
ALL: dict[str, Any] = {"drift_ev": 0.6, "wear_ev": 0.5}
RETENTION: dict[str, Any] = {"retention_hours": 1e4, "retention_k": 358.15, "retention_ev": 1.5}


def part(**values: Any) -> HeatPart:
    return HeatPart(on=True, package_k_w=40.0, **values)


def warmed(heat: HeatPart) -> tuple[Warmth, Chip]:
    """A small chip with stored cells and such that learn, which has worked in a lesson."""
    values = supplied(heat)
    spec = ChipSpec(
        core=material("gst_pcm").supply(**values),
        plastic=material("hfo2_array_optimised").supply(**values, endurance_cycles=1e4),
        wires=None,
    )
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(32, 32), nn.Linear(32, 32))
    chip = host(
        net, assign=lambda name, leaf: "core" if name == "0" else "plastic", seed=1, spec=spec
    )
    chip.program_core()
    chip.ledger.lesson = "work"
    with torch.no_grad():
        net(torch.randn(256, 32))
    for tile in chip.tiles.values():
        if tile.pulsed:
            tile.pulse(torch.full(tile.shape, 20))
    return Warmth(chip, heat), chip


def states(chip: Chip) -> list[torch.Tensor]:
    return [tile.hidden.clone() for tile in chip.tiles.values()]


def test_without_ageing_time_and_cells_stay_as_they_are() -> None:
    warmth, chip = warmed(part(limit_k=318.2))
    before, rows = states(chip), chip.ledger.total()
    facts = warmth.after("work")
    assert facts["slow_down_s"] > 0
    assert chip.clock_s == 0.0
    assert chip.ledger.total() == rows
    assert all(torch.equal(a, b) for a, b in zip(before, states(chip), strict=True))
    assert "aged_s" not in facts


def test_a_lesson_takes_its_time_and_waiting_is_in_the_bill() -> None:
    warmth, chip = warmed(part(limit_k=318.2, ageing=True))
    before = chip.ledger.total()
    facts = warmth.after("work")
    waited = chip.ledger.total(op="wait", tile="the whole chip")
    assert chip.clock_s == pytest.approx(facts["aged_s"])
    assert waited.time_s == pytest.approx(facts["slow_down_s"], abs=1e-12)
    assert chip.ledger.total().energy_aj == before.energy_aj
    # Nothing is known of how these cells lose states at a temperature; the verdict says so.
    assert facts["tiles_that_lose_nothing"] == len(chip.tiles)
    assert "retention" in facts["why_nothing_is_lost"]


def test_states_are_lost_by_the_temperature_they_lie_at() -> None:
    lost = []
    for ambient_k in (300.0, 358.15, 400.0):
        warmth, chip = warmed(part(ageing=True, ambient_k=ambient_k, **RETENTION))
        before = states(chip)
        low = [tile.cell.bounds[0] for tile in chip.tiles.values()]
        warmth.rest(10 * DAY_S)
        assert chip.clock_s == 10 * DAY_S
        kept = [
            float((now - a).double().sum() / (was - a).double().sum())
            for now, was, a in zip(states(chip), before, low, strict=True)
        ]
        lost.append(1.0 - min(kept))
    assert lost[1] == pytest.approx(1 - 0.9 ** (240 / 1e4), rel=0.01)  # as supplied
    assert lost[0] < 0.01 * lost[1]
    assert lost[2] > 50 * lost[1]


def test_warm_cells_drift_and_die_sooner_where_energies_are_supplied() -> None:
    found = []
    for values in ({}, ALL):
        warmth, chip = warmed(part(ageing=True, ambient_k=370.0, **values))
        stored, learning = chip.tiles.values()
        fresh = float(stored.view(0.0)[0].abs().sum())
        warmth.after("work")
        warmth.rest(DAY_S)
        left = float(stored.view(chip.clock_s)[0].abs().sum()) / fresh
        found.append((left, learning.cell.need(learning.cell.endurance).cycles))
    assert found[1][0] < found[0][0]
    assert found[1][1] < 0.1 * found[0][1] == pytest.approx(1e3)


def test_a_calibration_in_warmth_ends_with_it() -> None:
    warmth, chip = warmed(part(ageing=True, slope=0.002, calibrate=4))
    cold = {name: tile.compensation.clone() for name, tile in chip.tiles.items()}
    warmth.after("work")
    assert any(not torch.equal(chip.tiles[name].compensation, was) for name, was in cold.items())
    again = Warmth(chip, warmth.part)
    again.load_state_dict(warmth.state_dict())
    again.rest(DAY_S)
    assert all(torch.equal(chip.tiles[name].compensation, was) for name, was in cold.items())
    assert {tile.temperature_k for tile in chip.tiles.values()} == {318.15}
    assert again.state_dict() == {}


def test_lives_survive_a_restart() -> None:
    warmth, chip = warmed(part(ageing=True, ambient_k=370.0, **ALL))
    warmth.after("work")
    _, fresh = warmed(part(ageing=True, ambient_k=370.0, **ALL))
    again = Warmth(fresh, warmth.part)
    again.load_state_dict(warmth.state_dict())
    lives = [[t.cell.endurance for t in one.tiles.values()] for one in (chip, fresh)]
    assert lives[0] == lives[1]


@pytest.mark.parametrize("values", [{"drift_ev": 0.6}, {"retention_k": 358.0}])
def test_what_only_ageing_needs_is_refused_without_it(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"set heat.ageing to true"):
        try:
            Recipe(name="x").changed("heat", on=True, **values)
        except ValueError as error:
            raise ConfigError(str(error)) from None
