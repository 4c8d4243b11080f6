"""A filter bank: which band hears what, and how many events a level gives."""

import math

import pytest
import torch
from torch import Tensor

from clnf.core.errors import ConfigError, DataError, ShapeError
from clnf.spiking.coding import FilterBank

RATE_HZ, DT_S, NAN = 8000, 10e-3, math.nan


def tone(hz: float, samples: int = 4000) -> Tensor:
    return torch.sin(torch.arange(samples) * (2 * math.pi * hz / RATE_HZ))


def test_a_tone_is_loudest_in_its_own_band() -> None:
    bank = FilterBank(bands=8, low_hz=200.0, high_hz=3500.0)
    edges = bank.edges_hz()
    assert edges[0] == pytest.approx(200.0)
    assert edges[-1] == pytest.approx(3500.0)
    for band in range(8):
        hz = math.sqrt(edges[band] * edges[band + 1])
        levels = bank.levels(tone(hz), rate_hz=RATE_HZ, dt_s=DT_S)
        assert levels.shape == (50, 8)
        assert int(levels[20:].mean(0).argmax()) == band


def test_levels_are_decibels_under_the_loudest_and_know_no_volume() -> None:
    bank = FilterBank(bands=2, low_hz=200.0, high_hz=3500.0, floor_db=40.0)
    x = torch.cat([tone(500.0), 0.1 * tone(500.0)])
    levels = bank.levels(x, rate_hz=RATE_HZ, dt_s=DT_S)[:, 0]
    # 20 dB less is half of a floor of 40 dB.
    assert float(levels[20:45].mean() - levels[70:95].mean()) == pytest.approx(0.5, abs=0.01)
    quiet = bank.levels(1e-3 * x, rate_hz=RATE_HZ, dt_s=DT_S)[:, 0]
    torch.testing.assert_close(quiet, levels, rtol=0, atol=1e-5)
    silence = bank.levels(torch.zeros(3, 800), rate_hz=RATE_HZ, dt_s=DT_S)
    assert silence.shape == (10, 3, 2)
    assert not silence.any()


def test_sounds_of_a_batch_do_not_know_each_other() -> None:
    bank, x = FilterBank(bands=4, high_hz=3000.0), torch.stack([tone(300.0), 5 * tone(2000.0)])
    both = bank.levels(x, rate_hz=RATE_HZ, dt_s=DT_S)
    for n in range(2):
        alone = bank.levels(x[n], rate_hz=RATE_HZ, dt_s=DT_S)
        torch.testing.assert_close(both[:, n], alone)


@pytest.mark.parametrize(("hz", "dt_s"), [(100.0, 1e-3), (10.0, 1e-3), (290.0, 1e-3), (70.0, 5e-3)])
def test_no_spike_is_lost_by_rounding(hz: float, dt_s: float) -> None:
    found = FilterBank(highest_hz=hz).events(torch.ones(1000, 1), dt_s=dt_s)
    assert int(found.sum()) == round(1000 * hz * dt_s)
    assert set(found.unique().tolist()) == {0.0, 1.0}


def test_steps_do_not_drift_against_the_sound() -> None:
    """A click is heard in its own step, also where a step is no whole number of samples."""
    bank = FilterBank(bands=1, low_hz=100.0, high_hz=3000.0, smooth_hz=1000.0)
    for rate, dt in ((11_025, 0.5e-3), (44_100, 1e-3), (8000, 1e-3), (8000, 1 / 8000)):
        x = torch.zeros(2 * rate)
        at = 1.9
        x[round(at * rate)] = 1.0
        levels = bank.levels(x, rate_hz=rate, dt_s=dt)
        assert abs(len(levels) - 2.0 / dt) <= 1
        # Filters take about a millisecond; steps of whole samples would be 160 ms off in the first.
        assert 0 <= float(levels[:, 0].argmax()) * dt - at < 2e-3


def test_events_are_as_many_as_levels_say() -> None:
    bank = FilterBank(highest_hz=50.0)
    levels = torch.tensor([0.0, 0.25, 0.5, 1.0]).repeat(80, 1)
    events = bank.events(levels, dt_s=DT_S)
    assert events.sum(0).tolist() == [0.0, 10.0, 20.0, 40.0]
    assert set(events.unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("bad", [NAN, math.inf, -math.inf])
def test_one_broken_sample_is_named(bad: float) -> None:
    bank, x = FilterBank(high_hz=3000.0), torch.stack([tone(300.0), tone(300.0)])
    assert bank.levels(x, rate_hz=RATE_HZ, dt_s=DT_S).any()
    x[1, 7] = bad
    with pytest.raises(DataError, match=rf"sounds are finite, got {bad} at \[1, 7\]"):
        bank.levels(x, rate_hz=RATE_HZ, dt_s=DT_S)
    levels = torch.full((5, 2), 0.5)
    levels[3, 1] = bad
    with pytest.raises(DataError, match=rf"in \[0, 1\], got {bad:g} at \[3, 1\]"):
        bank.events(levels, dt_s=DT_S)


def test_what_cannot_be() -> None:
    bank, x = FilterBank(), tone(300.0)
    with pytest.raises(ConfigError, match="up to 4000"):
        bank.levels(x, rate_hz=RATE_HZ, dt_s=DT_S)
    for dt, words in ((1e-6, "got 0.016"), (0.6 / 16_000, "got 0.6"), (1e-320, "got ")):
        with pytest.raises(ConfigError, match=f"a step has a sample at least, {words}"):
            bank.levels(x, rate_hz=16_000, dt_s=dt)
    with pytest.raises(ShapeError, match="samples at least"):
        bank.levels(x, rate_hz=16_000, dt_s=1e308)
    for dt in (0.0, -1.0, NAN, "a"):
        with pytest.raises(ConfigError, match="dt_s must be"):
            bank.levels(x, rate_hz=16_000, dt_s=dt)  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match="dt_s must be"):
            bank.events(torch.ones(2, 2), dt_s=dt)  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match="160 samples at least"):
        bank.levels(x[:100], rate_hz=16_000, dt_s=DT_S)
    with pytest.raises(ConfigError, match="more than a spike a step"):
        bank.events(torch.ones(2, 2), dt_s=0.1)
    with pytest.raises(ShapeError, match="levels have steps"):
        bank.events(1.0, dt_s=DT_S)
    with pytest.raises(ShapeError, match="levels must be a tensor"):
        bank.events("a", dt_s=DT_S)
    for kind in (torch.Tensor.tolist, torch.Tensor.numpy, torch.Tensor.double):
        assert bank.events(kind(torch.ones(4, 2)), dt_s=DT_S).sum() == 4
    with pytest.raises(ConfigError, match="bands lie from"):
        FilterBank(low_hz=500.0, high_hz=100.0)
    with pytest.raises(ConfigError, match="above 0"):
        FilterBank(floor_db=0.0)
