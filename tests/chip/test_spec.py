"""A chip's description refuses what cannot be built; its constants name their source."""

from typing import Any

import pytest

from clnf.chip.spec import ChipSpec, ideal_chip
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
