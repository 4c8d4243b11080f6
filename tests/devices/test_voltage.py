"""Amplitudes become step sizes and back, and what nobody published is not guessed."""

import math

import pytest

from clnf.core.errors import ConfigError, DeviceLimitError
from clnf.devices.families import cell
from clnf.devices.voltage import Exponential, Sinh, Threshold, law_of, parsed

LAWS = (
    Sinh(scale_v=0.15, source="test"),
    Exponential(scale_v=0.2, source="test"),
    Threshold(threshold_v=0.6, exponent=3.0, source="test"),
)


@pytest.mark.parametrize("law", LAWS)
def test_an_amplitude_comes_back_from_its_rate(law) -> None:
    rates = [law.rate(volt) for volt in (0.7, 1.0, 1.6)]
    assert rates == sorted(rates)
    assert [law.amplitude_v(rate) for rate in rates] == pytest.approx([0.7, 1.0, 1.6])
    assert law.rate(-1.0) == law.rate(1.0)


def test_laws_are_those_of_their_formulas() -> None:
    sinh, exponential, threshold = LAWS
    assert sinh.rate(1.0) == pytest.approx((math.e ** (1 / 0.15) - math.e ** (-1 / 0.15)) / 2)
    assert exponential.rate(1.2) / exponential.rate(1.0) == pytest.approx(math.e)
    assert threshold.rate(0.6) == threshold.rate(0.3) == 0.0
    assert threshold.rate(1.2) == pytest.approx(1.0)
    # At high fields hopping is exponential; at low ones it is not.
    twin = Exponential(scale_v=0.15, source="test")
    assert sinh.rate(1.6) / sinh.rate(1.5) == pytest.approx(twin.rate(0.1), rel=1e-6)
    assert sinh.rate(0.2) / sinh.rate(0.1) != pytest.approx(twin.rate(0.1), rel=1e-2)


def test_what_was_not_published_is_asked_for() -> None:
    with pytest.raises(DeviceLimitError, match=r"hfo2_array .* was not published; give a law"):
        law_of(cell("hfo2_array"), None)
    with pytest.raises(DeviceLimitError, match="scale_v must be positive"):
        Sinh(scale_v=0.0, source="test")
    with pytest.raises(DeviceLimitError, match="source"):
        Sinh(scale_v=0.1, source=" ")


@pytest.mark.parametrize(
    ("text", "law"),
    [
        ("sinh:0.2", Sinh(scale_v=0.2, source="t")),
        ("exponential:0.1", Exponential(scale_v=0.1, source="t")),
        ("threshold:0.8:2", Threshold(threshold_v=0.8, exponent=2.0, source="t")),
    ],
)
def test_a_law_is_read_from_its_text(text: str, law: object) -> None:
    assert parsed(text, source="t") == law


@pytest.mark.parametrize("text", ["", "sinh", "sinh:x", "sinh:1:2", "threshold:1", "tanh:1"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="write for example sinh:0.2"):
        parsed(text, source="t")
    with pytest.raises(DeviceLimitError, match="must be positive"):
        parsed("sinh:-1", source="t")
