"""A chip's description refuses what cannot be built; its constants name their source."""

from typing import Any

import pytest

from clnf.chip.spec import ChipSpec, ideal_chip
from clnf.chip.technology import technology
from clnf.core.errors import ConfigError


@pytest.mark.parametrize(
    "fields",
    [{"tile_rows": 0}, {"pairs": 0}, {"dac_bits": 1}, {"adc_bits": 17}, {"range_sigma": 0}],
)
def test_impossible_chips_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="got"):
        ChipSpec(**fields)


def test_the_ideal_chip_has_everything_off() -> None:
    spec = ideal_chip()
    assert (spec.dac_bits, spec.adc_bits, spec.read_noise, spec.spreads) == (0, 0, "off", False)


def test_converter_energy_follows_the_bits() -> None:
    joules = [technology("isaac_32nm", bits).adc_j for bits in (4, 5, 8, 10, 12)]
    assert joules == pytest.approx([0.79e-12, 1.20e-12, 1.67e-12, 2.38e-12, 4 * 2.38e-12])


def test_every_constant_has_a_source() -> None:
    costs = technology("isaac_32nm", 8)
    numbers = {name for name in costs.__dataclass_fields__ if name.endswith(("_j", "_s"))}
    assert costs.sources.keys() == numbers
    assert all(len(text) > 8 for text in costs.sources.values())
    with pytest.raises(ConfigError, match="isaac_32nm"):
        technology("vacuum_tubes", 8)
