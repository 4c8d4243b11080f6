"""Conductance at another temperature: a straight line with a supplied slope, or an error."""

import pytest

from clnf.core.errors import ConfigError, DeviceLimitError
from clnf.devices.families import cell
from clnf.devices.materials import material, materials
from clnf.devices.temperature import ROOM_K, LinearTemperature


@pytest.mark.parametrize("per_k", [0.003, -0.001, 0.0])
def test_conductance_is_a_straight_line_through_room_temperature(per_k: float) -> None:
    law = LinearTemperature(per_k=per_k)
    assert law.factor(ROOM_K) == 1.0
    assert law.factor(360.0) == pytest.approx(1 + 60 * per_k)
    # The sign holds below as well: colder is not warmer.
    assert law.factor(240.0) == pytest.approx(1 - 60 * per_k)


@pytest.mark.parametrize("kelvin", [0.0, -3.0, float("nan"), float("inf")])
def test_what_is_no_temperature_is_refused(kelvin: float) -> None:
    with pytest.raises(DeviceLimitError, match="above 0 K"):
        LinearTemperature(per_k=0.001).factor(kelvin)


def test_a_line_that_would_end_in_nothing_is_refused() -> None:
    with pytest.raises(DeviceLimitError, match="leaves no conductance at 500 K"):
        LinearTemperature(per_k=-0.006).factor(500.0)


def test_no_source_gives_a_slope_and_a_supplied_one_is_used() -> None:
    key = "conductance_temperature_coefficient"
    assert all(key not in material(name).values for name in materials())
    with pytest.raises(DeviceLimitError, match=key):
        one = cell("gst_pcm")
        one.need(one.temperature)
    one = cell(material("gst_pcm").supply(**{key: 0.002}))
    assert one.need(one.temperature).factor(310.0) == pytest.approx(1.02)


def test_a_coefficient_and_a_temperature_are_numbers() -> None:
    for wrong in (float("nan"), float("inf")):
        with pytest.raises(DeviceLimitError, match=f"per_k must be finite, got {wrong}"):
            LinearTemperature(per_k=wrong)
    with pytest.raises(ConfigError, match="a temperature in kelvin must be a number, got 'warm'"):
        LinearTemperature(per_k=0.0).factor("warm")  # type: ignore[arg-type]
