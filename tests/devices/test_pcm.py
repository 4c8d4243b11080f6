"""Moments of phase-change cells against their closed forms (Nandakumar et al. 2019)."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from clnf.core.errors import DeviceLimitError
from clnf.devices import pcm_kernels
from clnf.devices.pcm import (
    Pcm,
    drift,
    drift_exponent,
    program,
    read_pair,
    read_sigma,
    write_verify,
)
from clnf.devices.pcm_kernels import Written
from clnf.devices.reference import gauss8
from clnf.devices.soft_bounds import hash_key

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


@pytest.mark.parametrize("spreads", [True, False])
def test_write_verify_kernel_and_twin_agree(spreads: bool) -> None:
    wanted = torch.linspace(0, 25e-6, 5_000)
    numbers = LAW.numbers(tolerance_s=2.5e-7, noisy=True, spreads=spreads)
    keys = np.stack([hash_key(3, "program", n, words=4) for n in range(8)])
    drift_key = hash_key(3, "drift")
    done = []
    for compiled in (True, False):
        cells = Written(torch.zeros(5_000), torch.zeros(5_000), torch.zeros(5_000).int())
        if compiled:
            arrays = Written(*(t.numpy() for t in cells))
            result = pcm_kernels.write_verify(
                wanted.numpy(), arrays, numbers.numpy(), keys, drift_key
            )
        else:
            signed = (torch.from_numpy(k.astype(np.int64)) for k in (keys, drift_key))
            result = write_verify(wanted, cells, numbers, *signed)
        assert result[0] == int(cells.wear.sum())
        assert result[1] == int(cells.wear.max())
        done.append(cells)
    # Last-bit differences of powers may flip a verdict at the very edge of the tolerance.
    assert float((done[0].wear != done[1].wear).double().mean()) < 1e-3
    same = done[0].wear == done[1].wear
    assert torch.allclose(done[0].programmed[same], done[1].programmed[same], rtol=1e-5)
    assert torch.allclose(done[0].exponent[same], done[1].exponent[same], rtol=1e-4, atol=1e-6)


def test_verified_cells_lie_within_tolerance_where_reads_are_silent() -> None:
    wanted = torch.full((20_000,), 10e-6)
    cells = Written(torch.zeros(20_000), torch.zeros(20_000), torch.zeros(20_000).int())
    numbers = LAW.numbers(tolerance_s=2.5e-7, noisy=False, spreads=True)
    keys = np.stack([hash_key(3, "program", n, words=4) for n in range(60)])
    arrays = Written(*(t.numpy() for t in cells))
    pcm_kernels.write_verify(wanted.numpy(), arrays, numbers.numpy(), keys, hash_key(3, "drift"))
    assert float((cells.programmed - wanted).abs().max()) <= 2.5e-7 * 1.001
    # Rounds until accepted are geometric with the chance of one draw to fall inside.
    sigma = (0.26348 + 1.9650 * 0.4 - 1.1731 * 0.16) * 1e-6
    chance = math.erf(2.5e-7 / sigma / math.sqrt(2))
    error = (1 - chance) ** 0.5 / chance / 20_000**0.5
    assert abs(float(cells.wear.double().mean()) - 1 / chance) < 4.5 * error


def test_read_pair_equals_drift_and_read_sigma() -> None:
    pair = torch.rand(2, 3_000, generator=torch.Generator().manual_seed(1)) * 25e-6
    nu = drift_exponent(pair, LAW, draws(5)[:6_000].view(2, 3_000))
    weight, variance = torch.empty(3_000), torch.empty(3_000)
    parts = (pair, nu, LAW.now(3_600.0, noisy=True), weight, variance)
    pcm_kernels.read_pair(*(t.numpy() for t in parts))
    now = drift(pair, nu, LAW, 3_600.0)
    sigma = read_sigma(pair, now, LAW, 3_620.0)
    assert torch.allclose(weight, (now[0] - now[1]) / 25e-6, atol=1e-6)
    assert torch.allclose(variance, (sigma / 25e-6).square().sum(0), rtol=1e-4)


@pytest.mark.parametrize(("age_s", "noisy"), [(0.0, True), (0.0, False), (3_600.0, True)])
def test_read_pair_and_its_twin_agree(age_s: float, noisy: bool) -> None:
    """Powers and logarithms may differ in the last bit; without them the weights are equal."""
    pair = torch.rand(2, 3_000, generator=torch.Generator().manual_seed(1)) * 25e-6
    pair[:, ::5] = 0.0
    nu = drift_exponent(pair, LAW, draws(5)[:6_000].view(2, 3_000))
    now, mine = LAW.now(age_s, noisy=noisy), (torch.empty(3_000), torch.empty(3_000))
    theirs = (torch.empty(3_000), torch.empty(3_000))
    pcm_kernels.read_pair(*(t.numpy() for t in (pair, nu, now, *mine)))
    read_pair(pair, nu, now, *theirs)
    assert torch.allclose(mine[0], theirs[0], rtol=0, atol=1e-6 if age_s else 0.0)
    assert torch.allclose(mine[1], theirs[1], rtol=1e-5, atol=0.0)
    assert bool(mine[1].any()) == noisy
    # Control: an hour more of drift would have been seen.
    read_pair(pair, nu, LAW.now(age_s + 3_600.0, noisy=noisy), *theirs)
    assert not torch.allclose(mine[0], theirs[0], rtol=0, atol=1e-6)


def test_impossible_laws_are_refused() -> None:
    fields = {name: getattr(LAW, name) for name in LAW.__dataclass_fields__}
    with pytest.raises(DeviceLimitError, match="must be positive"):
        Pcm(**(fields | {"drift_reference_s": 0.0}))
