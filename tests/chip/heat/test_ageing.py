"""Retention, drift and lives cell by cell, and thermal noise: laws against their equations."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from clnf.chip.heat import Cooling, thermal_network
from clnf.chip.heat.ageing import (
    OXIDE_ACTIVATION_J,
    Activations,
    age,
    drift_pace,
    endurance_at,
    pace,
    shorten_lives,
)
from clnf.chip.heat.effects import cell_temperatures, feel, report, warm, warm_cells
from clnf.chip.heat.johnson import johnson, johnson_share
from clnf.chip.heat.power import work
from clnf.chip.hosting import Chip, host
from clnf.chip.spec import ChipSpec
from clnf.core.errors import ConfigError, DeviceLimitError, ShapeError
from clnf.devices.families import cell
from clnf.devices.materials import material

EV_J = 1.602176634e-19


def graded(chip: Chip) -> dict[str, np.ndarray]:
    """A temperature of its own for each cell."""
    rng, found = np.random.default_rng(4), {}
    for name, tile in chip.tiles.items():
        columns, rows = tile.shape
        found[name] = 310.0 + 60.0 * rng.random((rows, columns * tile.planes))
    return found


def test_paces_are_the_published_ratios() -> None:
    """Lifetimes at 85 against 27 and 125 against 85 degrees Celsius, for 1.0, 1.2 and 1.5 eV."""
    for energy, low, high in ((1.0, 1.9e-3, 3.9e-2), (1.2, 5.5e-4, 2.0e-2), (1.5, 8.3e-5, 7.6e-3)):
        assert float(1 / pace(energy * EV_J, 358.15, 300.15)) == pytest.approx(low, rel=0.02)
        assert float(1 / pace(energy * EV_J, 398.15, 358.15)) == pytest.approx(high, rel=0.02)
    assert pace(EV_J, 300.0, 300.0) == 1.0
    assert pytest.approx(1.5 * EV_J) == OXIDE_ACTIVATION_J


def test_each_cell_loses_its_state_at_its_own_temperature(chip: Chip) -> None:
    places, seconds = graded(chip), 3e8
    before = {name: tile.hidden.clone() for name, tile in chip.tiles.items()}
    assert age(chip, seconds, places) == {}
    for name, tile in chip.tiles.items():
        law, low = tile.cell.need(tile.cell.retention), tile.cell.bounds[0]
        columns, rows = tile.shape
        for plane, column, row in ((0, 0, 0), (1, columns - 1, 3), (tile.planes - 1, 2, rows - 1)):
            kelvin = places[name][row, column * tile.planes + plane]
            index = plane, column * rows + row
            wanted = low + (before[name][index] - low) * law.kept(seconds, kelvin)
            assert float(tile.hidden[index]) == pytest.approx(float(wanted), abs=2e-6)
    assert chip.clock_s == seconds


def test_one_temperature_for_a_tile_is_that_of_all_its_cells(net: nn.Module, chip: Chip) -> None:
    state = chip.state_dict()
    age(chip, 3e8, dict.fromkeys(chip.tiles, 350.0))
    alike = [layer.weight.clone() for layer in chip.layers.values()]
    chip.load_state_dict(state)
    age(chip, 3e8, {name: np.full_like(k, 350.0) for name, k in graded(chip).items()})
    for layer, wanted in zip(chip.layers.values(), alike, strict=True):
        assert torch.allclose(layer.weight, wanted, atol=1e-6)
    chip.load_state_dict(state)
    age(chip, 3e8, dict.fromkeys(chip.tiles, 330.0))
    assert not torch.allclose(next(iter(chip.layers.values())).weight, alike[0], atol=1e-3)


def test_warm_seconds_are_long_ones_for_drift(chip: Chip) -> None:
    """With an activation energy, a second in warmth is as many seconds as its pace says."""
    energy = Activations(drift_j=0.6 * EV_J)
    name, tile = next(iter(chip.tiles.items()))
    law = tile.cell.need(tile.cell.drift)
    programmed = tile.cell.conductance_s(tile.seen).clone()
    trait = tile.trait.clone()
    kelvins = dict.fromkeys(chip.tiles, 360.0)
    bare = material("gst_pcm")  # without retention at a temperature, drift alone is left
    faster, why = drift_pace(cell(bare), 360.0, energy)
    assert why is None
    assert float(faster) == pytest.approx(math.exp(0.6 * EV_J / 1.380649e-23 * (1 / 300 - 1 / 360)))
    tile.cell = cell(bare)
    before = tile.hidden.clone()
    stay = age(chip, 100.0, kelvins, activations=energy)
    assert name in stay
    assert torch.equal(tile.hidden, before)
    told = law.at(programmed, trait, torch.tensor(100.0 * float(faster)))
    assert torch.allclose(tile.conductance_s(100.0).view(told.shape), told, rtol=1e-4)
    # Without one it drifts as measured: a hundred seconds are a hundred seconds.
    assert not torch.allclose(law.at(programmed, trait, torch.tensor(100.0)), told, rtol=1e-2)


def test_drift_of_phase_change_stays_and_others_say_what_they_lack() -> None:
    faster, why = drift_pace(cell("gst_pcm"), np.array([310.0, 360.0]), None)
    assert faster.tolist() == [1.0, 1.0]
    assert why is not None
    assert "125 K" in why
    assert "Activations.drift_j" in str(drift_pace(cell("cmo_hfox"), 360.0, None)[1])
    assert "not known to drift" in str(drift_pace(cell("hfo2_1t1r"), 360.0, None)[1])
    for wrong in ({"drift_j": 0.0}, {"endurance_j": math.inf}, {"reference_k": 0.0}):
        with pytest.raises(ConfigError):
            Activations(**wrong)


def learner(seed: int = 3) -> Chip:
    """Cells that learn and die young."""
    cells = material("ecram_li").supply(
        conductance_min_s=1e-6, conductance_max_s=1e-4, endurance_cycles=400.0,
        conductance_temperature_coefficient=0.001,
    )  # fmt: skip
    spec = ChipSpec(plastic=cells, tile_rows=16, tile_columns=16)
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(16, 16))
    return host(net, assign=lambda name, leaf: "plastic", seed=seed, spec=spec)


def test_cells_die_sooner_in_warmth() -> None:
    energy, windows = Activations(endurance_j=0.5 * EV_J), []
    for kelvin, given in ((360.0, energy), (300.0, energy), (360.0, None)):
        chip = learner()
        (tile,) = chip.tiles.values()
        stay = shorten_lives(chip, {tile.name: kelvin}, given)
        assert bool(stay) == (given is None)
        for _ in range(20):
            tile.pulse(torch.full(tile.shape, 10))
        tile.close_windows()
        top, bottom = tile.tables[0][2], tile.tables[0][3]
        windows.append(float((top - bottom).mean()))
        found, _ = endurance_at(tile.make.cell, kelvin, given)
        assert found is not None
        assert tile.cell.need(tile.cell.endurance).cycles == pytest.approx(found.cycles)
    warm_one, cool, as_measured = windows
    assert warm_one < 0.7 * cool
    assert cool == pytest.approx(as_measured, rel=1e-2)


def test_a_report_tells_pace_and_lives_where_energies_are_supplied(chip: Chip) -> None:
    network = thermal_network(chip)
    state = network.rest(work(chip.ledger.state(), lesson="draw"))
    energy = Activations(drift_j=0.6 * EV_J, endurance_j=0.5 * EV_J)
    for row, plain in zip(
        report(chip, state, activations=energy), report(chip, state), strict=True
    ):
        assert row.drift == pytest.approx(float(pace(0.6 * EV_J, row.hottest_k, 300.0)))
        assert row.endurance == pytest.approx(1e9 / float(pace(0.5 * EV_J, row.hottest_k, 300.0)))
        assert row.unaffected == {}
        assert plain.drift is None
        assert plain.endurance == 1e9


def test_thermal_noise_adds_to_every_read(net: nn.Module) -> None:
    """Variances of products grow by 4 k T G / (2 t V^2) of all cells a column reads."""
    kelvin, volts = 400.0, 0.004  # so little that thermal noise is seen beside the cells' own
    row = material("gst_pcm").supply(
        conductance_temperature_coefficient=0.002, read_voltage_v=volts
    )
    spec = ChipSpec(core=row, tile_rows=48, tile_columns=32)
    chip = host(net, assign=lambda name, leaf: "core", seed=3, spec=spec)
    chip.program_core()
    warm(chip, dict.fromkeys(chip.tiles, kelvin))
    per_s = 4 * 1.380649e-23 * kelvin / (2 * chip.circuit.costs.mvm_s * volts**2)
    for tile in chip.tiles.values():
        noisy, thermal = tile.view(0.0)[1], tile.cell
        tile.cell = tile.make.cell
        plain = tile.view(0.0)[1]
        tile.cell = thermal
        window = tile.cell.need(tile.cell.window)
        to_weight = 2 * tile.make.mapping.coefficient * tile.scale[:, None] / window.span_s
        told = per_s * tile.conductance_s(0.0).sum(0) * to_weight**2
        assert torch.allclose(noisy - plain, told, rtol=1e-2)
        assert float(told.mean()) > 0.1 * float(plain.mean())
    warm(chip, None)
    for tile in chip.tiles.values():
        cold = tile.view(0.0)[1]
        tile.cell = tile.make.cell
        assert tile.view(0.0)[1].equal(cold)


def test_noise_of_a_temperature_comes_back_with_it(chip: Chip) -> None:
    warm(chip, dict.fromkeys(chip.tiles, 400.0))
    spread = {name: tile.view(0.0)[1] for name, tile in chip.tiles.items()}
    state = chip.state_dict()
    for tile in chip.tiles.values():
        tile.cell = tile.make.cell  # as a chip that was made anew
    chip.load_state_dict(state)
    assert not all(tile.view(0.0)[1].equal(spread[name]) for name, tile in chip.tiles.items())
    assert feel(chip) == {}
    assert all(tile.view(0.0)[1].equal(spread[name]) for name, tile in chip.tiles.items())


def test_thermal_noise_needs_a_read(chip: Chip) -> None:
    one = cell(material("gst_pcm"))
    with pytest.raises(DeviceLimitError, match="read_voltage_v"):
        johnson(one, 300.0, 1e-7)
    known = cell(material("gst_pcm").supply(read_voltage_v=0.2))
    with pytest.raises(DeviceLimitError, match="above 0 K"):
        johnson_share(known, 0.0, 1e-7)
    assert feel(chip) == {}  # nothing is warm, nothing lacks


def test_cells_of_a_state_can_be_aged(chip: Chip) -> None:
    network = thermal_network(chip)
    warm_state = network.rest(work(chip.ledger.state(), lesson="draw"))
    places = cell_temperatures(chip, network, warm_state)
    assert warm_cells(chip, network, warm_state) == {}
    assert age(chip, 10.0, places) == {}
    name = next(iter(places))
    with pytest.raises(ShapeError, match="cells"):
        age(chip, 1.0, {name: places[name][:-1]})
    with pytest.raises(ConfigError, match="runs forward"):
        age(chip, -1.0, places)
    assert Cooling().ambient_k < places[name].min()
