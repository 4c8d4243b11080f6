"""Codes keep what they say they keep, and levels outside are refused."""

import pytest
import torch

from clnf.core.errors import ConfigError, DataError
from clnf.spiking.coding import Latency, Phase, Population, Rate

X = torch.tensor([0.0, 0.1, 0.37, 0.5, 0.8, 1.0])


def test_rates_come_back_and_do_not_depend_on_the_order_of_draws() -> None:
    code = Rate(highest_hz=400.0)
    z = code.encode(X, steps=4000, dt_s=1e-3, seed=3)
    assert z.shape == (4000, 6)
    # Five standard deviations of a share of 4000 draws.
    bound = 5 * (0.4 * 0.6 / 4000) ** 0.5 / 0.4
    assert float((code.decode(z, dt_s=1e-3) - X).abs().max()) < bound
    code.encode(X, steps=10, dt_s=1e-3, seed=4)
    assert torch.equal(z, code.encode(X, steps=4000, dt_s=1e-3, seed=3))
    assert not torch.equal(z, code.encode(X, steps=4000, dt_s=1e-3, seed=3, place=("b",)))


def test_intervals_of_a_rate_spread_as_a_poisson_process_does() -> None:
    z = Rate(highest_hz=50.0).encode([1.0], steps=40000, dt_s=1e-3, seed=1).flatten()
    gaps = z.nonzero().flatten().diff().float()
    assert abs(float(gaps.std() / gaps.mean()) - 1) < 0.1


@pytest.mark.parametrize("code", [Latency(last_s=99e-3), Latency(law="log", last_s=0.2)])
def test_latencies_come_back(code: Latency) -> None:
    x = torch.tensor([0.15, 0.37, 0.5, 0.8, 1.0])
    z = code.encode(x, steps=2001, dt_s=1e-4)
    assert z.sum(0).tolist() == [1.0] * 5
    assert bool((z.argmax(0).diff() < 0).all())
    torch.testing.assert_close(code.decode(z, dt_s=1e-4), x, atol=1e-2, rtol=0)


def test_the_law_log_is_a_membrane_s_time_to_its_threshold() -> None:
    code = Latency(law="log", tau_s=20e-3, floor=0.2, last_s=1.0)
    t = float(code.times_s([0.6])[0])
    assert 0.6 * (1 - torch.tensor(-t / 20e-3).exp()) == pytest.approx(0.2, rel=1e-5)
    assert torch.isinf(code.times_s([0.2, 0.1])).all()
    none = code.encode([0.1], steps=50, dt_s=1e-3)
    assert not none.any()
    assert code.decode(none, dt_s=1e-3).item() == 0


def test_phases_are_bits() -> None:
    code = Phase(bits=8)
    z = code.encode(X, steps=16)
    assert float((code.decode(z) - X).abs().max()) <= 2**-8
    assert torch.equal(z[:8], z[8:])
    exact = torch.arange(256) / 256
    assert torch.equal(code.decode(code.encode(exact, steps=8)), exact)
    with pytest.raises(ConfigError, match="cycle of 8"):
        code.decode(z[:7])


def test_populations_know_where_a_number_is() -> None:
    code = Population(cells=8, low=-1.0, high=2.0)
    x = torch.linspace(-1, 2, 13)
    assert code.encode(x).shape == (13, 8)
    assert float(code.encode(code.centres()).diagonal().min()) == 1.0
    torch.testing.assert_close(code.decode(code.encode(x)), x, atol=3 / 255, rtol=0)
    spikes = Rate(highest_hz=500.0).encode(code.encode(x), steps=2000, dt_s=1e-3, seed=2)
    assert float((code.decode(spikes.mean(0)) - x).abs().max()) < 0.1


@pytest.mark.parametrize(
    ("make", "kind", "words"),
    [
        (lambda: Rate(highest_hz=0.0), ConfigError, "above 0 Hz"),
        (lambda: Rate().encode([1.0], steps=3, dt_s=0.1, seed=0), ConfigError, "one"),
        (lambda: Rate().encode([1.5], steps=3, dt_s=1e-3, seed=0), DataError, "1.5 at"),
        (lambda: Phase().encode([float("nan")], steps=3), DataError, "nan at"),
        (lambda: Latency(first_s=1.0, last_s=0.5), ConfigError, "first < last"),
        (lambda: Latency(floor=1.0), ConfigError, "floor"),
        (lambda: Phase(bits=0), ConfigError, "bits"),
        (lambda: Population(cells=1), ConfigError, "cells"),
        (lambda: Population(low=1.0), ConfigError, "low to high"),
        (lambda: Phase().encode([0.5], steps=0), ConfigError, "steps"),
    ],
)
def test_what_cannot_be_coded_is_refused(make: object, kind: type, words: str) -> None:
    with pytest.raises(kind, match=words):
        make()  # type: ignore[operator]
