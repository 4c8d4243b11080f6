"""Moments of phase-change cells against their closed forms (Nandakumar et al. 2019)."""

import math

import pytest
import torch
from torch import Tensor

from clnf.core.errors import DeviceLimitError
from clnf.devices.pcm import Pcm, drift, drift_exponent, program, read_sigma
from clnf.devices.reference import gauss8

LAW = Pcm.of("gst_pcm")
N = 200_000


def draws(lane: int) -> Tensor:
    return gauss8(torch.arange(N), 77, lane)


def off(measured: float, expected: float, error: float) -> float:
    """Distance in standard errors."""
    return abs(measured - expected) / error


@pytest.mark.parametrize("g", [0.25, 0.5, 1.0])
def test_programming_noise_has_the_published_spread(g: float) -> None:
    target = torch.full((N,), g * LAW.conductance_max_s)
    written = program(target, LAW, draws(1)).double()
    sigma = (0.26348 + 1.9650 * g - 1.1731 * g * g) * 1e-6
    assert off(float(written.mean()), float(target[0]), sigma / N**0.5) < 4.5
    assert off(float(written.std()), sigma, sigma / (2 * N) ** 0.5) < 4.5
    # Control: a spread one percent larger would have been seen.
    assert off(float(written.std()), 1.01 * sigma, sigma / (2 * N) ** 0.5) > 4.5


def test_conductance_never_goes_below_zero() -> None:
    written = program(torch.zeros(N), LAW, draws(2))
    assert float(written.min()) == 0.0
    assert float((written == 0).double().mean()) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("g", [0.02, 0.3, 0.9])
def test_drift_exponents_follow_the_law(g: float) -> None:
    nu = drift_exponent(torch.full((N,), g * LAW.conductance_max_s), LAW, draws(3)).double()
    mean = min(max(-0.0155 * math.log(g) + 0.0244, 0.049), 0.1)
    sigma = min(max(-0.0125 * math.log(g) - 0.0059, 0.008), 0.045)
    folded = sigma * math.sqrt(2 / math.pi) * math.exp(
        -((mean / sigma) ** 2) / 2
    ) + mean * math.erf(mean / sigma / math.sqrt(2))
    assert off(float(nu.mean()), folded, sigma / N**0.5) < 4.5
    assert float(nu.min()) >= 0.0


def test_drift_is_a_power_law_that_starts_at_the_programmed_value() -> None:
    start, nu = torch.tensor([1e-5]), torch.tensor([0.05])
    assert torch.equal(drift(start, nu, LAW, 0.0), start)
    day = float(drift(start, nu, LAW, 86_400.0))
    assert day == pytest.approx(1e-5 * ((86_400 + 20) / 20) ** -0.05, rel=1e-5)


def test_read_noise_grows_with_the_logarithm_of_time() -> None:
    g = torch.tensor([0.5 * LAW.conductance_max_s])
    sigma = float(read_sigma(g, g, LAW, 20.0))
    q = 0.0088 / 0.5**0.65
    expected = float(g) * q * math.sqrt(math.log((20 + 250e-9) / 500e-9))
    assert sigma == pytest.approx(expected, rel=1e-5)
    assert float(read_sigma(g, g, LAW, 250e-9)) == pytest.approx(0.0, abs=1e-9)
    weak = torch.tensor([1e-4 * LAW.conductance_max_s])
    cap = float(weak) * 0.2 * math.sqrt(math.log((20 + 250e-9) / 500e-9))
    assert float(read_sigma(weak, weak, LAW, 20.0)) == pytest.approx(cap, rel=1e-5)


def test_impossible_laws_are_refused() -> None:
    fields = {name: getattr(LAW, name) for name in LAW.__dataclass_fields__}
    with pytest.raises(DeviceLimitError, match="must be positive"):
        Pcm(**(fields | {"drift_reference_s": 0.0}))
