"""What temperature does to cells, what it leaves alone, and what calibration brings back."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from clnf.chip.crossbar.wiring import Wires
from clnf.chip.heat.ageing import age
from clnf.chip.heat.calibrate import LESSON, answers, calibrate
from clnf.chip.heat.effects import drawn, report, warm, warm_cells
from clnf.chip.heat.johnson import johnson_share
from clnf.chip.heat.network import Cooling, ThermalNetwork
from clnf.chip.heat.plan import place
from clnf.chip.heat.power import work
from clnf.chip.hosting import Chip, host
from clnf.chip.spec import ChipSpec
from clnf.core.errors import ConfigError
from clnf.devices.families import cell
from clnf.devices.materials import material


def unlike(chip: Chip) -> dict[str, float]:
    """Another temperature for each tile."""
    return {name: 310.0 + 15.0 * n for n, name in enumerate(chip.tiles)}


def test_each_tile_is_read_at_its_own_temperature(chip: Chip) -> None:
    cold = {name: tile.view(0.0)[0] for name, tile in chip.tiles.items()}
    places = unlike(chip)
    assert warm(chip, places) == {}
    for name, tile in chip.tiles.items():
        ratio = tile.view(0.0)[0].norm() / cold[name].norm()
        assert float(ratio) == pytest.approx(1 + 0.002 * (places[name] - 300.0), rel=1e-5)
    warm(chip, None)
    assert all(torch.equal(tile.view(0.0)[0], cold[n]) for n, tile in chip.tiles.items())


def test_tiles_of_unknown_temperature_stay_and_are_named(net: nn.Module) -> None:
    spec = ChipSpec(tile_rows=48, tile_columns=32)
    chip = host(net, assign=lambda name, leaf: "core", seed=3, spec=spec)
    chip.program_core()
    before = [tile.view(0.0)[0] for tile in chip.tiles.values()]
    stay = warm(chip, unlike(chip))
    assert set(stay) == set(chip.tiles)
    assert all("conductance_temperature_coefficient" in why for why in stay.values())
    after = [tile.view(0.0)[0] for tile in chip.tiles.values()]
    assert all(map(torch.equal, before, after))
    assert set(age(chip, 10.0, unlike(chip))) == set(chip.tiles)


def test_warm_tiles_lose_more_by_the_law_of_their_material(chip: Chip) -> None:
    places = unlike(chip)
    tiles = list(chip.tiles.values())
    low = [tile.cell.bounds[0] for tile in tiles]
    before = [tile.hidden.clone() for tile in tiles]
    assert age(chip, 1e6, places) == {}
    assert chip.clock_s == 1e6
    for tile, was, floor in zip(tiles, before, low, strict=True):
        law = tile.cell.need(tile.cell.retention)
        kept = law.kept(1e6, places[tile.name])
        assert (tile.hidden - floor).norm() / (was - floor).norm() == pytest.approx(kept, rel=1e-4)
    first, last = (tiles[n].cell.need(tiles[n].cell.retention) for n in (0, -1))
    assert last.kept(1e6, places[tiles[-1].name]) < first.kept(1e6, places[tiles[0].name])


def test_a_report_says_what_is_known_and_names_the_rest(chip: Chip) -> None:
    network = ThermalNetwork(place(chip), Cooling(package_k_w=400.0, rows=16, columns=16))
    state = network.rest(work(chip.ledger.state(), lesson="draw"))
    rows = report(chip, state)
    assert [row.tile for row in rows] == list(state.names)
    for row, mean, most in zip(rows, state.mean_k, state.hottest_k, strict=True):
        assert row.conductance == pytest.approx(1 + 0.002 * (mean - 300.0))
        law = cell(chip.tiles[row.tile].cell.material).retention
        assert law.kept(row.retention_s, float(most)) == pytest.approx(1 - law.loss)  # type: ignore[union-attr]
        assert row.endurance == 1e9
        assert set(row.unaffected) == {"drift", "endurance"}
    bare = host(nn.Sequential(nn.Linear(8, 8)), assign=lambda *_: "core", seed=1, spec=ChipSpec())
    bare.program_core()
    bare.layers["0"](torch.ones(3, 8))
    small = ThermalNetwork(place(bare), Cooling(rows=8, columns=8))
    (row,) = report(bare, small.rest(work(bare.ledger.state())))
    assert (row.conductance, row.retention_s, row.johnson) == (None, None, None)
    assert {"conductance", "retention", "johnson"} < set(row.unaffected)


def test_thermal_noise_is_that_of_a_resistor() -> None:
    one = cell(material("gst_pcm").supply(read_voltage_v=0.2))
    window = one.need(one.window)
    g, bandwidth = (window.low_s + window.high_s) / 2, 1 / (2 * 100e-9)
    current = np.sqrt(4 * 1.380649e-23 * 350.0 * g * bandwidth)
    assert johnson_share(one, 350.0, 100e-9) == pytest.approx(current / (g * 0.2), rel=1e-6)
    assert johnson_share(one, 175.0, 100e-9) == pytest.approx(
        johnson_share(one, 350.0, 100e-9) / 2**0.5
    )


@pytest.fixture
def learning(net: nn.Module) -> Chip:
    """A chip of cells that learn, whose compensation knows no answers at programming."""
    cells = material("ecram_li").supply(
        conductance_min_s=1e-6, conductance_max_s=1e-4, conductance_temperature_coefficient=0.004
    )
    spec = ChipSpec(plastic=cells, tile_rows=48, tile_columns=32)
    return host(net, assign=lambda name, leaf: "plastic", seed=3, spec=spec)


def test_calibration_brings_products_back_and_is_charged(learning: Chip) -> None:
    wanted = answers(learning, reads=16)
    places = unlike(learning)
    warm(learning, places)
    before = learning.ledger.total()
    found = calibrate(learning, wanted, reads=16)
    assert found.off_before > 0.04
    assert found.off_after < 0.15 * found.off_before
    after = learning.ledger.total()
    assert found.cost.energy_aj == after.energy_aj - before.energy_aj > 0
    assert found.cost.time_ps == after.time_ps - before.time_ps > 0
    assert learning.ledger.lesson != LESSON
    # At a temperature nobody calibrated for it is off again.
    warm(learning, {name: t + 40.0 for name, t in places.items()})
    assert calibrate(learning, {}, reads=1).off_before == 0.0
    warm(learning, None)
    again = calibrate(learning, wanted, reads=1)
    assert again.off_before > 0.04
    assert again.cost.energy_aj * 16 == found.cost.energy_aj


def test_more_reads_leave_less_noise(chip: Chip) -> None:
    exact = {
        name: tile.view(0.0)[0] @ tile.normals("signs", vectors=32).sign().T
        for name, tile in chip.tiles.items()
    }
    spread = []
    for reads in (1, 16):
        found = answers(chip, reads=reads)
        off = torch.cat([(found[name] - exact[name]).flatten() for name in exact])
        spread.append(float(off.std()))
    assert spread[0] / spread[1] == pytest.approx(4.0, rel=0.15)
    with pytest.raises(ConfigError, match="at least one read"):
        answers(chip, reads=0)


def test_converters_take_new_ranges_from_inputs(chip: Chip, net: nn.Module) -> None:
    wanted = answers(chip)
    warm(chip, dict.fromkeys(chip.tiles, 400.0))
    ranges = [layer.adcs[0].range for layer in chip.layers.values()]
    reads = chip.ledger.total(lesson=LESSON, op="read").count
    calibrate(chip, wanted, inputs=lambda: net(0.5 * torch.randn(20, 96)))
    assert all(layer.adcs[0].range > 0 for layer in chip.layers.values())
    assert [layer.adcs[0].range for layer in chip.layers.values()] != ranges
    assert not chip.circuit.calibrating
    assert chip.ledger.total(lesson=LESSON, op="read").count > reads
    with pytest.raises(ConfigError, match="no tiles"):
        calibrate(chip, {"other": torch.zeros(1)})


def test_a_snapshot_keeps_each_tiles_temperature(chip: Chip) -> None:
    places = unlike(chip)
    warm(chip, places)
    seen = [layer.weight.clone() for layer in chip.layers.values()]
    state = chip.state_dict()
    assert json.loads(json.dumps(state["temperature_k"])) == places
    warm(chip, None)
    assert not torch.equal(next(iter(chip.layers.values())).weight, seen[0])
    chip.load_state_dict(state)
    assert {name: tile.temperature_k for name, tile in chip.tiles.items()} == places
    assert all(map(torch.equal, [layer.weight for layer in chip.layers.values()], seen))


@pytest.mark.parametrize("plastic", [False, True])
def test_every_cell_is_read_at_its_own_temperature(
    request: pytest.FixtureRequest, net: nn.Module, plastic: bool
) -> None:
    one: Chip = request.getfixturevalue("learning" if plastic else "chip")
    slope = 0.004 if plastic else 0.002
    if plastic:
        net(torch.randn(50, 96))
    network = ThermalNetwork(place(one, pitch_m=80e-9), Cooling(package_k_w=400.0))
    state = network.rest(work(one.ledger.state()))
    cold = {name: tile.view(0.0)[0].clone() for name, tile in one.tiles.items()}
    within = {n: network.cells(state, n, drawn(t, 0.0)) for n, t in one.tiles.items()}
    assert warm_cells(one, network, state) == {}
    for name, tile in one.tiles.items():
        columns, rows = tile.shape
        each = within[name].reshape(rows, columns, tile.planes).mean(2).T
        grown = torch.from_numpy(1 + slope * (each - 300.0)).float()
        assert torch.allclose(tile.view(0.0)[0], cold[name] * grown, rtol=1e-4, atol=1e-7)
        assert np.ptp(each) > 1e-4
        assert tile.temperature_k == pytest.approx(each.mean())
        assert tile.conductance_s(0.0).shape == (tile.planes, columns, rows)
    seen = [layer.weight.clone() for layer in one.layers.values()]
    state_dict = one.state_dict()
    warm(one, {name: float(cells.mean()) for name, cells in within.items()})
    assert not all(map(torch.equal, [layer.weight for layer in one.layers.values()], seen))
    one.load_state_dict(state_dict)
    assert all(map(torch.equal, [layer.weight for layer in one.layers.values()], seen))
    warm(one, None)
    assert all(torch.equal(tile.view(0.0)[0], cold[name]) for name, tile in one.tiles.items())


def test_wires_are_solved_around_cells_as_warm_as_they_are(net: nn.Module) -> None:
    spec = ChipSpec(
        core=material("gst_pcm").supply(conductance_temperature_coefficient=0.002),
        tile_rows=48, tile_columns=32, wires=Wires(word_ohm=5.0, bit_ohm=5.0),
    )  # fmt: skip
    chip = host(net, assign=lambda name, leaf: "core", seed=3, spec=spec)
    chip.program_core()
    tile = next(iter(chip.tiles.values()))
    level = torch.full(tile.shape, 350.0)
    tile.set_temperature(350.0)
    alike = tile.view(0.0)[0]
    tile.set_temperature(350.0, level)
    assert torch.allclose(tile.view(0.0)[0], alike, rtol=1e-5)
    level[:, :24] += 30.0
    tile.set_temperature(350.0, level)
    grown = tile.view(0.0)[0] / alike
    # More current in the warm half lowers what reaches the others: less than without wires.
    assert 1.0 < float(grown[:, :24].nanmedian()) < 1 + 0.06 / 1.1
    assert float(grown[:, 24:].nanmedian()) < 1.0
