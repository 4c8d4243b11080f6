"""Converters find their range once and hold it; tracking ones widen when they clip."""

import pytest
import torch

from clnf.chip.converters import Converter
from clnf.core.errors import ConfigError


def test_the_range_is_the_peak_but_not_more_than_sigma_levels() -> None:
    even = Converter(8, 8.0, tracking=False)
    even.observe(torch.tensor([-2.0, 1.0, 1.0]))
    assert even.range == pytest.approx(2.0)
    spiky = Converter(8, 8.0, tracking=False)
    values = torch.ones(10_000)
    values[0] = 1000.0
    spiky.observe(values)
    assert spiky.range == pytest.approx(8.0 * float(values.square().mean().sqrt()))


def test_codes_cover_the_range_symmetrically() -> None:
    adc = Converter(8, 8.0, tracking=False)
    adc.load_state(2.54)
    gain, step, top = adc.factors(on=True)
    assert (gain * 2.54, step, top) == pytest.approx((127.0, 0.02, 127.0))
    assert adc.factors(on=False) == (1.0, 1.0, 0.0)
    assert Converter(0, 8.0, tracking=False).factors(on=True)[2] == 0.0


def test_only_a_tracking_converter_widens_after_clipping() -> None:
    for tracking in (False, True):
        adc = Converter(8, 8.0, tracking=tracking)
        adc.load_state(1.0)
        adc.track(127)
        assert adc.range == 1.0
        adc.track(190)
        assert adc.range == pytest.approx(190 / 127 if tracking else 1.0)
        adc.track(1000)
        assert adc.range == pytest.approx(2 * 190 / 127 if tracking else 1.0)


def test_calibration_is_wanted_once() -> None:
    adc = Converter(8, 8.0, tracking=False)
    assert adc.wants(calibrating=False)
    adc.observe(torch.ones(3))
    assert not adc.wants(calibrating=False)
    assert adc.wants(calibrating=True)
    with pytest.raises(ConfigError, match="got -1"):
        adc.load_state(-1.0)


def test_what_is_not_finite_sets_no_range() -> None:
    adc = Converter(8, 8.0, tracking=True)
    adc.observe(torch.tensor([torch.inf, torch.nan]))
    assert adc.range == 0.0
    adc.observe(torch.tensor([1.0, -torch.inf, torch.nan]))
    assert adc.range == 1.0
