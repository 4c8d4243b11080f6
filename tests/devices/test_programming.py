"""What is left of a target: spreads against the published coefficients, written out by hand."""

import math

import pytest
import torch
from torch import Tensor

from clnf.core.errors import DeviceLimitError
from clnf.devices import samples
from clnf.devices.families import cell
from clnf.devices.materials import material, materials
from clnf.devices.programming import PolynomialError, SaturatingError, polynomial

N = 400_000
# Targets in S -> sigma in S, as the sources print them: uS and g = G / Gmax.
BY_HAND = {
    "gst_pcm": (25e-6, lambda g, G: 0.26348 + 1.9650 * g - 1.1731 * g**2),
    "pcm_hermes": (
        10.35e-6,
        lambda g, G: 0.15781817 + 2.32443916 * g - 2.16310839 * g**2 + 0.68841818 * g**3,
    ),
    "pcm_hermes_pair": (
        20.7e-6,
        lambda g, G: 0.16603222 + 4.71806468 * g - 8.48101252 * g**2 + 4.68961419 * g**3,
    ),
    "hfo2_1t1r": (225e-6, lambda g, G: 4.782 - 0.0091 * G),
    "reram_130nm": (40e-6, lambda g, G: 1.053 + 0.2374 * G - 0.01167 * G**2 + 1.536e-4 * G**3),
    "cmo_hfox": (100e-6, lambda g, G: 0.0112185 + 0.0112903 * G),
    # 19.9 nA (1 - exp(-I / 176 nA)), read at 0.1 V: uS are 1e-7 A.
    "sonos_40nm": (32e-6, lambda g, G: 0.199 * (1 - math.exp(-G / 1.76))),
}


def known(name: str):  # type: ignore[no-untyped-def]
    row = material(name)
    return cell(row.supply(read_voltage_v=0.1) if name == "sonos_40nm" else row)


def off(measured: float, expected: float, error: float) -> float:
    """Distance in standard errors."""
    return abs(measured - expected) / error


def test_every_material_that_is_programmed_is_tested_here() -> None:
    have = {name for name in materials() if "programming" not in cell(name).left_out}
    assert have | {"sonos_40nm"} == set(BY_HAND)


@pytest.mark.parametrize("g", [0.3, 0.6, 1.0])
@pytest.mark.parametrize("name", BY_HAND)
def test_moments_are_the_published_ones(name: str, g: float) -> None:
    full, law = BY_HAND[name]
    target, sigma = g * full, law(g, g * full * 1e6) * 1e-6
    error = known(name).programming
    assert float(error.sigma(torch.tensor(target))) == pytest.approx(sigma, rel=2e-5)
    (cells,) = samples.programmed(error, [target], cells=N, seed=3)
    assert off(cells.mean(), target, sigma / N**0.5) < 4.5
    assert off(cells.std(), sigma, sigma / (2 * N) ** 0.5) < 4.5
    # Control: a mean or a spread 1 % of itself (or of the spread) away would have been seen.
    assert off(cells.mean(), target + 0.02 * sigma, sigma / N**0.5) > 4.5
    assert off(cells.std(), 1.015 * sigma, sigma / (2 * N) ** 0.5) > 4.5


@pytest.mark.parametrize("name", ["gst_pcm", "pcm_hermes", "pcm_hermes_pair", "reram_130nm"])
def test_nothing_is_programmed_below_zero(name: str) -> None:
    error = known(name).programming
    (cells,) = samples.programmed(error, [0.0], cells=N)
    sigma = BY_HAND[name][1](0.0, 0.0) * 1e-6
    assert cells.min() == 0.0
    # A sum of bytes is 0 itself once in a hundred times.
    assert (cells == 0).mean() == pytest.approx(0.5, abs=0.01)
    assert cells.mean() == pytest.approx(sigma / math.sqrt(2 * math.pi), rel=0.01)
    assert sigma > 0


def test_a_spread_is_never_negative() -> None:
    falling = PolynomialError(coefficients_s=(1e-6, -2e-6), unit_s=1e-5)
    assert falling.sigma(torch.tensor([2e-6, 5e-6, 9e-6])).tolist() == pytest.approx(
        [6e-7, 0.0, 0.0], abs=1e-12
    )


def test_a_saturating_spread_has_its_ceiling() -> None:
    law = SaturatingError(height_s=2e-7, scale_s=1.76e-6)
    sigma = law.sigma(torch.tensor([0.0, 1.76e-6, 1e-3]))
    assert sigma.tolist() == pytest.approx([0.0, 2e-7 * (1 - math.exp(-1)), 2e-7], rel=1e-6)


def test_polynomials_ascend_and_leave_their_argument_alone() -> None:
    x = torch.tensor([0.0, 1.0, 2.0])
    assert polynomial((1.0, 2.0, 3.0), x).tolist() == [1.0, 6.0, 17.0]
    assert polynomial((7.0,), x).tolist() == [7.0, 7.0, 7.0]
    assert x.tolist() == [0.0, 1.0, 2.0]


@pytest.mark.parametrize("name", ["hfo2_array", "hfox_generic", "fefet_hzo"])
def test_what_is_unknown_is_named(name: str) -> None:
    one = cell(name)
    with pytest.raises(DeviceLimitError, match=f"'programming_noise_g' is known for {name}"):
        one.need(one.programming)


def test_the_voltage_of_a_read_makes_conductances_of_currents() -> None:
    one = cell("sonos_40nm")
    with pytest.raises(DeviceLimitError, match="read_voltage_v"):
        one.need(one.programming)
    half = cell(material("sonos_40nm").supply(read_voltage_v=0.2)).programming
    level: Tensor = torch.tensor(1e-6)
    expected = 19.9e-9 / 0.2 * (1 - math.exp(-1e-6 * 0.2 / 176e-9))
    assert float(half.sigma(level)) == pytest.approx(expected, rel=1e-5)
