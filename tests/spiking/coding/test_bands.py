"""A filter bank: which band hears what, and how many events a level gives."""

import math

import pytest
import torch
from torch import Tensor

from clnf.core.errors import ConfigError, ShapeError
from clnf.spiking.coding import FilterBank

RATE_HZ, DT_S = 8000, 10e-3


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


def test_events_are_as_many_as_levels_say() -> None:
    bank = FilterBank(highest_hz=50.0)
    levels = torch.tensor([0.0, 0.25, 0.5, 1.0]).repeat(80, 1)
    events = bank.events(levels, dt_s=DT_S)
    assert events.sum(0).tolist() == [0.0, 10.0, 20.0, 40.0]
    assert set(events.unique().tolist()) == {0.0, 1.0}


def test_what_cannot_be() -> None:
    bank, x = FilterBank(), tone(300.0)
    with pytest.raises(ConfigError, match="up to 4000"):
        bank.levels(x, rate_hz=RATE_HZ, dt_s=DT_S)
    with pytest.raises(ConfigError, match="a step has a sample"):
        bank.levels(x, rate_hz=16_000, dt_s=1e-6)
    with pytest.raises(ShapeError, match="160 samples at least"):
        bank.levels(x[:100], rate_hz=16_000, dt_s=DT_S)
    with pytest.raises(ConfigError, match="more than a spike a step"):
        bank.events(torch.ones(2, 2), dt_s=0.1)
    with pytest.raises(ConfigError, match="bands lie from"):
        FilterBank(low_hz=500.0, high_hz=100.0)
    with pytest.raises(ConfigError, match="above 0"):
        FilterBank(floor_db=0.0)
