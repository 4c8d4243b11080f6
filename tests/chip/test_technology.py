"""Constants name their source; what is not known is asked for, borrowed or supplied."""

from typing import Any

import pytest
import torch
from torch import nn

from clnf.chip.converters import ConverterKind
from clnf.chip.floorplan import area, charge_leakage
from clnf.chip.hosting import Chip, host
from clnf.chip.spec import ChipSpec
from clnf.chip.technology import Constant, technologies, technology
from clnf.core.errors import ConfigError, DeviceLimitError

USED = (
    "cell_read_j",
    "mvm_s",
    "dac_j",
    "adc_j",
    "shift_add_j",
    "buffer_bit_j",
    "routing_bit_j",
    "add_j",
    "multiply_j",
)


def test_converter_energy_follows_the_bits() -> None:
    joules = [technology("isaac_32nm", bits).adc_j for bits in (4, 5, 8, 10, 12)]
    assert joules == pytest.approx([0.79e-12, 1.20e-12, 1.67e-12, 2.38e-12, 4 * 2.38e-12])
    drives = [technology("isaac_32nm", 8, dac_bits=bits).dac_j for bits in (1, 2, 8, 12)]
    assert drives == pytest.approx([0.417e-12, 0.291e-12, 0.291e-12, 0.291e-12])


@pytest.mark.parametrize("name", technologies())
def test_every_constant_has_a_source_and_its_unit_in_its_name(name: str) -> None:
    costs = technology(name, 4)
    assert costs.sources
    assert all(len(text) > 15 for text in costs.sources.values())
    assert all(key.endswith(("_j", "_s", "_m2", "_per_adc", "_bits")) for key in costs.sources)


def test_the_default_technology_is_whole_but_for_leakage() -> None:
    costs = technology("isaac_32nm", 8)
    assert {key for key in USED if getattr(costs, key) > 0} == set(USED)
    with pytest.raises(DeviceLimitError, match="leakage_w"):
        costs.leakage_w  # noqa: B018


def test_published_totals_are_met() -> None:
    """ISAAC's own numbers: 16 mW for 8 ADCs of 1.2 GS/s; an array of 0.3 mW; areas of both."""
    costs = technology("isaac_32nm", 8)
    assert costs.adc_j * 1.2e9 * 8 == pytest.approx(16e-3, rel=0.01)
    assert costs.cell_read_j * 128 * 128 / costs.mvm_s == pytest.approx(0.3e-3, rel=0.01)
    assert 8 * costs.get("adc_area_m2") == pytest.approx(9600e-12)
    core = technology("hermes_14nm", 8)
    assert core.get("core_mvm_j") / 256**2 == pytest.approx(core.get("core_mac_j"), rel=0.02)
    assert 2 / core.get("core_mac_j") == pytest.approx(10.5e12, rel=0.01)


def test_what_is_unknown_is_named() -> None:
    with pytest.raises(ConfigError, match="isaac_32nm"):
        technology("vacuum_tubes", 8)
    timely = technology("timely_65nm", 8)
    assert timely.adc_j == pytest.approx(0.145e-12)
    with pytest.raises(DeviceLimitError, match="'cell_read_j' is known for timely_65nm"):
        timely.cell_read_j  # noqa: B018
    # No rule leads from 4 bits to 8, nor from a time-to-digital converter of 8 to 9.
    assert technology("forms", 4).adc_j == pytest.approx(0.226e-12)
    for name, bits in (("forms", 8), ("timely_65nm", 9), ("newton", 10)):
        assert "adc_j" not in technology(name, bits)
    assert "adc_area_m2" not in technology("isaac_32nm", 12)
    with pytest.raises(ConfigError, match="no constant is called leakage;"):
        technology("forms", 4, supply={"leakage": Constant(value=1.0, source="me")})
    with pytest.raises(ConfigError, match="with a source"):
        Constant(value=1.0, source=" ")


def test_borrowed_constants_say_where_they_are_from() -> None:
    mine = Constant(value=2e-3, source="measured on my bench")
    costs = technology("timely_65nm", 8, borrow="isaac_32nm", supply={"leakage_w": mine})
    assert all(getattr(costs, key) > 0 for key in USED)
    assert costs.adc_j == pytest.approx(0.145e-12)
    assert costs.sources["adc_j"].startswith("TIMELY")
    assert costs.sources["shift_add_j"].startswith("borrowed from isaac_32nm: ISAAC")
    assert costs.sources["leakage_w"] == "measured on my bench"


def hosted(**spec: Any) -> tuple[nn.Module, Chip]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(100, 300))
    chip = host(net, assign=lambda *_: "core", seed=1, spec=ChipSpec(**spec))
    return net, chip


def test_a_chip_of_another_technology_charges_its_prices() -> None:
    with pytest.raises(DeviceLimitError, match="mvm_s|cell_read_j"):
        hosted(technology="timely_65nm")
    net, chip = hosted(technology="timely_65nm", borrow="isaac_32nm")
    chip.program_core()
    with torch.no_grad():
        net(torch.randn(4, 100))
    assert chip.ledger.total(op="adc").energy_aj == 4 * 300 * 145_000
    assert chip.ledger.total(op="dac").energy_aj == 4 * 100 * 37_500
    assert chip.ledger.total(op="read").energy_aj == 4 * 100 * 300 * 2 * 1831
    net, chip = hosted(converters=ConverterKind(serial_bits=1))
    chip.program_core()
    net(torch.randn(4, 100))
    assert chip.ledger.total(op="dac").energy_aj == 7 * 4 * 100 * 417_000


def test_area_adds_known_parts_and_names_the_others() -> None:
    _, chip = hosted()
    (tile,) = area(chip).values()
    assert not tile.unknown
    assert tile.parts_m2["adc"] == pytest.approx(3 * 1.2e-9)  # 300 columns, 128 for each
    assert tile.parts_m2["cell"] == pytest.approx(100 * 300 * 2 * 25e-12 / 128**2, rel=1e-3)
    assert tile.known_m2 == pytest.approx(sum(tile.parts_m2.values()))
    supply = (("mvm_s", Constant(value=1e-7, source="mine")),)
    known = {key: Constant(value=1e-15, source="mine") for key in USED if key != "adc_j"}
    _, chip = hosted(technology="timely_65nm", supply=(*known.items(), *supply))
    (tile,) = area(chip).values()
    assert tile.unknown == ("cell", "shift_add", "buffer", "router")
    assert tile.parts_m2 == pytest.approx({"dac": 100 * 2.4e-10, "adc": 300 * 3.1e-10})


def test_leakage_is_charged_once_over_busy_time_or_called_unknown() -> None:
    net, chip = hosted()
    before = chip.ledger.state()
    assert charge_leakage(chip).startswith("leakage unknown")
    assert chip.ledger.state() == before

    mine = Constant(value=1e-3, source="measured on my bench")
    net, chip = hosted(supply=(("leakage_w", mine),))
    chip.program_core()
    chip.ledger.lesson = "first"
    x = torch.randn(4, 100)
    with torch.no_grad():
        net(x)
        charge_leakage(chip)
        # 4 products of 100 ns at 1 mW.
        assert chip.ledger.total(lesson="first", op="leakage").energy_j == pytest.approx(4e-10)
        assert charge_leakage(chip).startswith("leakage charged: 0 J")
        net(x)
    charge_leakage(chip)
    assert chip.ledger.lesson == "first"
    assert chip.ledger.total(lesson="first", op="leakage").energy_j == pytest.approx(8e-10)
    setup = chip.ledger.total(lesson="setup", op="leakage").energy_j
    assert setup == pytest.approx(1e-3 * chip.ledger.total(lesson="setup").time_s)
