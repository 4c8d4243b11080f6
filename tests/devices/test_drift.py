"""Drift: traits, means and spreads at all ages against hand-written laws, and their limits."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from clnf.core.errors import DeviceLimitError
from clnf.devices import samples
from clnf.devices.draws import hash_normals
from clnf.devices.drift import LeakDrift, LogDrift, PowerDrift, RelaxationDrift
from clnf.devices.families import cell
from clnf.devices.materials import material, materials

N = 400_000
AGES = (1.0, 3600.0, 86400.0, 30 * 86400.0)


def clip(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


def off(measured: float, expected: float, error: float) -> float:
    """Distance in standard errors."""
    return abs(measured - expected) / error


def gst(g: float) -> tuple[float, float]:
    return (
        clip(-0.0155 * math.log(g) + 0.0244, 0.049, 0.1),
        clip(-0.0125 * math.log(g) - 0.0059, 0.008, 0.045),
    )


def hermes_mean(g: float) -> float:
    if g < 0.0945:
        return clip(-0.0387 * math.log(g) - 0.0182, 0.072, 0.13)
    return -0.0436 * g**2 - 0.0126 * g + 0.0736


def hermes(g: float) -> tuple[float, float]:
    if g < 0.3039:
        return hermes_mean(g), clip(-0.0120 * math.log(g) - 0.0023, 0.0124, 0.04)
    return hermes_mean(g), -0.0165 * g**2 + 0.0116 * g + 0.0104


def pair(g: float) -> tuple[float, float]:
    if g < 0.3055:
        return hermes_mean(g), clip(-0.0117 * math.log(g) - 0.0057, 0.0091, 0.04)
    return hermes_mean(g), -0.0118 * g**2 + 0.0093 * g + 0.0073


# Gmax, t0, mean and spread of nu.
POWER: dict[str, tuple[float, float, Callable[[float], tuple[float, float]]]] = {
    "gst_pcm": (25e-6, 20.0, gst),
    "pcm_hermes": (10.35e-6, 200.0, hermes),
    "pcm_hermes_pair": (20.7e-6, 300.0, pair),
}


def test_every_material_that_drifts_is_tested_here() -> None:
    have = {name for name in materials() if "drift" not in cell(name).left_out}
    assert have == {*POWER, "cmo_hfox", "reram_130nm"}


@pytest.mark.parametrize("g", [0.02, 0.094, 0.096, 0.3, 0.31, 0.9])
@pytest.mark.parametrize("name", POWER)
def test_exponents_follow_the_law(name: str, g: float) -> None:
    full, _, law = POWER[name]
    one = cell(name)
    drift = one.need(one.drift)
    draw = hash_normals(3, ("test",), (N,))
    nu = drift.trait(torch.full((N,), g * full), draw).double().numpy()
    mean, sigma = law(g)
    # |mean + sigma xi| is folded at 0.
    folded = sigma * math.sqrt(2 / math.pi) * math.exp(
        -((mean / sigma) ** 2) / 2
    ) + mean * math.erf(mean / sigma / math.sqrt(2))
    spread = math.sqrt(mean**2 + sigma**2 - folded**2)
    assert off(nu.mean(), folded, spread / N**0.5) < 4.5
    assert off(nu.std(), spread, spread / (2 * N) ** 0.5) < 4.5
    assert nu.min() >= 0.0
    # Control: a mean or a spread a little larger would have been seen.
    assert off(nu.mean(), 1.015 * folded, spread / N**0.5) > 4.5
    assert off(nu.std(), 1.02 * spread, spread / (2 * N) ** 0.5) > 4.5


@pytest.mark.parametrize("age_s", AGES)
@pytest.mark.parametrize("name", POWER)
def test_conductances_drift_by_a_power_of_time(name: str, age_s: float) -> None:
    full, start_s, law = POWER[name]
    one, g = cell(name), 0.5
    cells = samples.drifted(one.need(one.drift), [g * full], [age_s], cells=N)[0, 0]
    mean, sigma = law(g)
    log = math.log((age_s + start_s) / start_s)
    # The law of exp(-nu L) for a normal nu, which is never negative in practice at this g.
    expected = g * full * math.exp(-mean * log + (sigma * log) ** 2 / 2)
    spread = expected * math.sqrt(math.expm1((sigma * log) ** 2))
    assert mean / sigma > 4
    assert off(cells.mean(), expected, spread / N**0.5) < 4.5
    assert cells.std() == pytest.approx(spread, rel=0.01)
    if age_s > 1.0:
        assert off(cells.mean(), g * full * math.exp(-1.02 * mean * log), spread / N**0.5) > 4.5


def test_drift_starts_at_the_programmed_value() -> None:
    start = torch.rand(1000, generator=torch.Generator().manual_seed(1)) * 25e-6
    for name in POWER:
        one = cell(name)
        drift = one.need(one.drift)
        trait = drift.trait(start, hash_normals(1, ("test",), (1000,)))
        assert torch.equal(drift.at(start, trait, torch.tensor(0.0)), start)
        later = drift.at(start, trait, torch.tensor(86400.0))
        assert bool((later <= start).all())
        assert drift.since_s == POWER[name][1]


def test_ages_may_differ_from_cell_to_cell() -> None:
    start, trait = torch.full((3,), 1e-5), torch.full((3,), 0.05)
    law = cell("gst_pcm").drift
    ages = torch.tensor([0.0, 100.0, 86400.0])
    each = [float(law.at(start[:1], trait[:1], age)) for age in ages]
    assert law.at(start, trait, ages).tolist() == pytest.approx(each, rel=1e-6)
    assert each[2] == pytest.approx(1e-5 * ((86400 + 20) / 20) ** -0.05, rel=1e-5)


@pytest.mark.parametrize("age_s", AGES)
def test_cmo_hfox_relaxes_with_the_logarithm_of_time(age_s: float) -> None:
    one = cell("cmo_hfox")
    cells = samples.drifted(one.need(one.drift), [50e-6], [age_s], cells=N)[0, 0]
    mean = 50e-6 - 0.0890e-6 * math.log(age_s)
    spread = 0.04201e-6 * math.log(age_s) + 0.4118e-6
    # Conductances are float32: 50 uS have steps of 3.6e-12.
    assert abs(cells.mean() - mean) < 4.5 * spread / N**0.5 + 4e-12
    assert off(cells.std(), spread, spread / (2 * N) ** 0.5) < 4.5
    assert off(cells.std(), 1.015 * spread, spread / (2 * N) ** 0.5) > 4.5
    if age_s > 1.0:
        assert off(cells.mean(), mean - 0.02 * 0.089e-6 * math.log(age_s), spread / N**0.5) > 4.5


def test_nothing_moves_before_one_second_and_nothing_goes_below_zero() -> None:
    law = LogDrift(mean_s=-0.089e-6, spread_s=(0.04201e-6, 0.4118e-6))
    start, trait = torch.tensor([1e-7, 5e-5]), torch.tensor([-3.0, 3.0])
    for age in (0.0, 0.5, 0.999):
        assert torch.equal(law.at(start, trait, torch.tensor(age)), start)
    later = law.at(start, trait, torch.tensor(86400.0))
    assert float(later[0]) == 0.0
    assert float(later[1]) > 5e-5
    assert torch.equal(law.at(start, trait, torch.tensor([0.5, 86400.0]))[:1], start[:1])


def neurram(g: float, age: str) -> float:
    a = {
        "1s": (0.348, 16.030, -43.853, 45.393, -16.815),
        "1d": (0.701, 22.086, -50.773, 47.095, -16.458),
        "2d": (0.782, 20.274, -43.507, 37.062, -11.934),
    }[age]
    return sum(c * g**k for k, c in enumerate(a)) * 1e-6


@pytest.mark.parametrize(("age_s", "name"), [(86400.0, "1d"), (2 * 86400.0, "2d"), (1e9, "2d")])
@pytest.mark.parametrize("g", [0.25, 0.5, 0.75])
def test_neurram_has_its_published_spread_at_its_ages(g: float, age_s: float, name: str) -> None:
    one = cell("reram_130nm")
    cells = samples.drifted(one.need(one.drift), [g * 40e-6], [age_s], cells=N)[0, 0]
    own = math.sqrt(neurram(g, name) ** 2 - neurram(g, "1s") ** 2)
    assert off(cells.mean(), g * 40e-6, own / N**0.5) < 4.5
    assert off(cells.std(), own, own / (2 * N) ** 0.5) < 4.5
    assert off(cells.std(), 1.015 * own, own / (2 * N) ** 0.5) > 4.5


def test_variance_goes_linearly_in_the_logarithm_between_ages() -> None:
    law = cell("reram_130nm").drift
    g, trait = torch.tensor([20e-6]), torch.tensor([1.0])
    assert torch.equal(law.at(g, trait, torch.tensor(0.0)), g)
    assert torch.equal(law.at(g, trait, torch.tensor(1.0)), g)
    day = neurram(0.5, "1d") ** 2 - neurram(0.5, "1s") ** 2
    halfway = float(law.at(g, trait, torch.tensor(math.sqrt(86400.0)))) - 20e-6
    assert halfway**2 == pytest.approx(day / 2, rel=1e-3)
    assert isinstance(law, RelaxationDrift)
    assert float(law.at(torch.zeros(1), -trait, torch.tensor(86400.0))) == 0.0


def test_a_charge_leaks_to_its_rest() -> None:
    law = LeakDrift(lifetime_s=100.0, spread=0.3, rest_s=5e-6)
    start = torch.tensor([1e-5, 5e-6, 0.0])
    unit = law.trait(start, torch.zeros(3))
    assert torch.equal(law.at(start, unit, torch.tensor(0.0)), start)
    once = law.at(start, unit, torch.tensor(100.0))
    fall = 5e-6 * math.exp(-1)
    assert once.tolist() == pytest.approx([5e-6 + fall, 5e-6, 5e-6 - fall], rel=1e-5)
    assert law.at(start, unit, torch.tensor(1e6)).tolist() == pytest.approx([5e-6] * 3)
    draws = hash_normals(1, ("test",), (N,))
    tau = law.trait(torch.zeros(N), draws).double().numpy()
    assert off(tau.mean(), 1.0, 0.3 / N**0.5) < 4.5
    assert off(tau.std(), 0.3, 0.3 / (2 * N) ** 0.5) < 4.5
    assert off(tau.std(), 0.3 * 1.015, 0.3 / (2 * N) ** 0.5) > 4.5
    assert tau.min() == np.float32(0.1)


def test_the_capacitor_leaks_once_a_batch_has_a_length() -> None:
    row = material("capacitor_3t1c").supply(conductance_max_s=1e-5, conductance_min_s=1e-6)
    one = cell(row)
    with pytest.raises(DeviceLimitError, match="batch_s"):
        one.need(one.drift)
    drift = cell(row.supply(batch_s=0.01)).drift
    assert (drift.lifetime_s, drift.spread) == (1e4, 0.3)
    assert drift.rest_s == pytest.approx(5.5e-6)


@pytest.mark.parametrize("name", ["hfo2_1t1r", "ecram_li", "fefet_hzo", "sonos_40nm"])
def test_materials_without_a_law_say_so(name: str) -> None:
    one = cell(name)
    with pytest.raises(DeviceLimitError, match=f"no law of drift was published for {name}"):
        one.need(one.drift)


def test_a_law_without_spread_is_a_line() -> None:
    law = PowerDrift(
        mean=(0.0, 0.06, 0.06, 0.06), spread=(0.0, 0.0, 0.0, 0.0), reference_s=1.0,
        conductance_max_s=1e-5,
    )  # fmt: skip
    trait = law.trait(torch.full((5,), 5e-6), torch.linspace(-3, 3, 5))
    assert trait.tolist() == pytest.approx([0.06] * 5)
