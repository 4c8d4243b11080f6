"""One call from the ledger to kelvins: the same as its parts, and honest about idleness."""

import pytest

from clnf.chip.heat import Cooling, Housing, chip_temperatures, thermal_network
from clnf.chip.heat.effects import conduction_laws, warm
from clnf.chip.heat.network import ThermalNetwork
from clnf.chip.heat.plan import place
from clnf.chip.heat.power import work
from clnf.chip.hosting import Chip
from clnf.core.errors import ConfigError

COOLING = Cooling(package_k_w=400.0, ambient_k=300.0, rows=32, columns=32)


def test_one_call_is_what_its_parts_give(chip: Chip) -> None:
    done = work(chip.ledger.state(), lesson="draw")
    state = ThermalNetwork(place(chip), COOLING).rest(done, laws=conduction_laws(chip))
    found = chip_temperatures(chip, "draw", Housing(cooling=COOLING))
    assert list(found.tiles_k.values()) == state.mean_k.tolist()
    assert found.hottest_k == state.peak_k == found.peaks_k[found.hottest]
    assert found.slower == 1.0
    assert chip_temperatures(chip, done, Housing(cooling=COOLING)).tiles_k == found.tiles_k
    one = chip_temperatures(chip, "draw", Housing(cooling=COOLING, at_once=1))
    assert one.hottest_k < found.hottest_k


def test_a_limit_says_how_much_slower(chip: Chip) -> None:
    free = chip_temperatures(chip, "draw", Housing(cooling=COOLING))
    limit = 300.0 + (free.hottest_k - 300.0) / 2
    housing = Housing(cooling=COOLING, limit_k=limit)
    network = thermal_network(chip, housing)
    found = chip_temperatures(chip, "draw", housing, network=network)
    assert found.hottest_k == free.hottest_k
    done, laws = work(chip.ledger.state(), lesson="draw"), conduction_laws(chip)
    assert network.rest(done, slower=found.slower, laws=laws).peak_k <= limit
    assert network.rest(done, slower=found.slower * 0.99, laws=laws).peak_k > limit
    loose = Housing(cooling=COOLING, limit_k=free.hottest_k + 1)
    assert chip_temperatures(chip, "draw", loose, network=network).slower == 1.0


def test_an_idle_chip_is_as_warm_as_the_coolant(chip: Chip) -> None:
    found = chip_temperatures(chip, {}, Housing(cooling=COOLING))
    assert set(found.tiles_k.values()) == {300.0}
    assert found.state is None
    assert set(found.tiles_k) == set(chip.tiles)
    with pytest.raises(ConfigError, match="nothing was charged"):
        chip_temperatures(chip, "other")


def test_cells_can_be_read_that_warm(chip: Chip) -> None:
    found = chip_temperatures(chip, "draw", Housing(cooling=COOLING))
    assert warm(chip, found.tiles_k) == {}
    assert {name: tile.temperature_k for name, tile in chip.tiles.items()} == found.tiles_k
