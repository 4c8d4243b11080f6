"""The catalogue says where each value comes from, and says so when it has none."""

import pytest

from clnf.core.errors import ConfigError, DeviceLimitError
from clnf.devices.materials import lookup, material, materials


def test_every_value_names_unit_and_source() -> None:
    for name in materials():
        row = material(name)
        assert row.title
        for value in row.values.values():
            assert value.unit
            assert len(value.source) > 8
            assert value.material == name


def test_published_values_are_what_the_papers_say() -> None:
    assert material("hfo2_array_optimised").get("step").number == 0.0949
    assert material("hfo2_array").get("cycle_spread").number == 0.2174
    assert material("gst_pcm").get("programming_noise_s").coefficients == pytest.approx(
        (0.26348e-6, 1.9650e-6, -1.1731e-6)
    )


@pytest.mark.parametrize("name", ["hfo2_array", "hfo2_array_optimised", "hfo2_single"])
def test_a_gap_stays_a_gap(name: str) -> None:
    with pytest.raises(DeviceLimitError, match="'endurance_cycles'"):
        material(name).get("endurance_cycles")


def test_a_borrowed_value_says_from_whom() -> None:
    assert lookup("endurance_cycles", "hfo2_array", "hfox_generic").material == "hfox_generic"
    assert lookup("endurance_cycles", "gst_pcm", "hfox_generic").material == "gst_pcm"


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ConfigError, match="known: gst_pcm"):
        material("unobtainium")
    with pytest.raises(DeviceLimitError, match="coefficients"):
        _ = material("gst_pcm").get("programming_noise_s").number
