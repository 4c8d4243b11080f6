"""Read noise: every published law by hand, its changeovers, its growth with time, its limits."""

import math
from collections.abc import Callable

import pytest
import torch

from clnf.core.errors import DeviceLimitError
from clnf.devices import samples
from clnf.devices.cell import Cell
from clnf.devices.families import cell
from clnf.devices.materials import material, materials
from clnf.devices.noise import LevelNoise, PiecewiseNoise, PowerNoise, RelativeNoise, piecewise

N = 400_000
MONTH_S = 30 * 86400.0


def clip(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


def hermes(g: float) -> float:
    if g < 0.1591:
        return clip(-0.0078 * math.log(g) + 0.0038, 0.0179, 0.04)
    return 0.0664 * g**3 - 0.1352 * g**2 + 0.0768 * g + 0.0088


def pair(g: float) -> float:
    if g < 0.16:
        return clip(-0.0117 * math.log(g) - 0.0069, 0.015, 0.04)
    return 0.0069 * g**3 - 0.0280 * g**2 + 0.0211 * g + 0.0123


def grown(time_s: float, read_s: float) -> float:
    return math.sqrt(math.log((time_s + read_s) / (2 * read_s)))


# Gmax in S; sigma in S of (G in S, time in s), as printed in the sources.
Law = Callable[[float, float], float]
BY_HAND: dict[str, tuple[float, Law]] = {
    "gst_pcm": (
        25e-6,
        lambda G, t: G * min(0.0088 / (G / 25e-6) ** 0.65, 0.2) * grown(t, 250e-9),
    ),
    "pcm_hermes": (10.35e-6, lambda G, t: G * hermes(G / 10.35e-6) * grown(t, 512e-9)),
    "pcm_hermes_pair": (20.7e-6, lambda G, t: G * pair(G / 20.7e-6) * grown(t, 512e-9)),
    "reram_130nm": (40e-6, lambda G, t: 0.01 * G),
    "cmo_hfox": (100e-6, lambda G, t: 0.0277e-6 * math.log10(G * 1e6) * grown(t, 1e-6)),
    "sonos_40nm": (32e-6, lambda G, t: 0.1258e-6 * (1 - math.exp(-G / 2.154e-6))),
}


def known(name: str) -> Cell:
    row = material(name)
    return cell(row.supply(read_voltage_v=0.1) if name == "sonos_40nm" else row)


def off(measured: float, expected: float, error: float) -> float:
    """Distance in standard errors."""
    return abs(measured - expected) / error


def test_every_material_with_read_noise_is_tested_here() -> None:
    have = {name for name in materials() if "noise" not in cell(name).left_out}
    assert have | {"sonos_40nm"} == set(BY_HAND)


@pytest.mark.parametrize("time_s", [1.0, 3600.0, MONTH_S])
@pytest.mark.parametrize("g", [0.12, 0.157, 0.162, 0.5, 1.0])
@pytest.mark.parametrize("name", BY_HAND)
def test_the_law_is_the_published_one(name: str, g: float, time_s: float) -> None:
    full, law = BY_HAND[name]
    one = known(name)
    level = torch.tensor([g * full])
    sigma = float(one.need(one.noise).sigma(level, level, time_s))
    assert sigma == pytest.approx(law(g * full, time_s), rel=5e-5)
    assert sigma != pytest.approx(law(1.02 * g * full, time_s), rel=5e-5) or name == "sonos_40nm"


@pytest.mark.parametrize("name", BY_HAND)
def test_reads_have_the_published_moments(name: str) -> None:
    full, law = BY_HAND[name]
    one, level = known(name), 0.4 * full
    (reads,) = samples.read(one.need(one.noise), [level], [3600.0], cells=N)[:, 0]
    sigma = law(level, 3600.0)
    assert off(reads.mean(), level, sigma / N**0.5) < 4.5
    assert off(reads.std(), sigma, sigma / (2 * N) ** 0.5) < 4.5
    assert off(reads.std(), 1.015 * sigma, sigma / (2 * N) ** 0.5) > 4.5


def test_noise_that_grows_is_nothing_after_one_read_time() -> None:
    level = torch.tensor([10e-6])
    for name, read_s in (("gst_pcm", 250e-9), ("pcm_hermes", 512e-9), ("cmo_hfox", 1e-6)):
        one = known(name)
        noise = one.need(one.noise)
        assert float(noise.sigma(level, level, read_s)) == pytest.approx(0.0, abs=1e-12)
        assert float(noise.sigma(level, level, 0.0)) == 0.0
        assert float(noise.sigma(level, level, 2 * read_s)) > 0.0


def test_white_noise_does_not_grow() -> None:
    level = torch.tensor([10e-6])
    for name in ("reram_130nm", "sonos_40nm"):
        one = known(name)
        noise = one.need(one.noise)
        assert torch.equal(noise.sigma(level, level, 1e-9), noise.sigma(level, level, MONTH_S))


def test_the_state_counts_as_programmed_and_the_noise_as_it_is_now() -> None:
    """Two of the laws: Q from the programmed level, times what drift left of it."""
    programmed, now = torch.tensor([20e-6]), torch.tensor([10e-6])
    one = known("gst_pcm")
    sigma = float(one.need(one.noise).sigma(programmed, now, 100.0))
    assert sigma == pytest.approx(10e-6 * 0.0088 / 0.8**0.65 * grown(100.0, 250e-9), rel=1e-5)
    ratio = RelativeNoise(fraction=0.01).sigma(programmed, now, 1.0)
    assert float(ratio) == pytest.approx(1e-7)


def test_weak_cells_meet_the_cap_and_the_cut_at_small_g() -> None:
    law = PowerNoise(
        scale=0.0088, exponent=0.65, cap=0.2, read_time_s=250e-9, conductance_max_s=25e-6
    )
    weak = torch.tensor([25e-10, 0.0])
    sigma = law.sigma(weak, weak, 1.0)
    assert float(sigma[0]) == pytest.approx(25e-10 * 0.2 * grown(1.0, 250e-9), rel=1e-5)
    assert float(sigma[1]) == 0.0
    low = PiecewiseNoise(
        log=(-0.0078, 0.0038, 0.0179, 0.04), start=0.1591, above=(0.0088,), read_time_s=512e-9,
        conductance_max_s=10.35e-6,
    )  # fmt: skip
    level = torch.tensor([10.35e-9])
    assert float(low.sigma(level, level, 1.0)) == pytest.approx(
        10.35e-9 * 0.04 * grown(1.0, 512e-9), rel=1e-4
    )


def test_level_noise_is_nothing_at_a_microsiemens_and_below() -> None:
    law = LevelNoise(scale_s=0.0277e-6, read_time_s=1e-6)
    level = torch.tensor([0.0, 0.5e-6, 1e-6, 10e-6])
    sigma = law.sigma(level, level, 1.0)
    assert sigma[:3].tolist() == pytest.approx([0.0, 0.0, 0.0], abs=1e-14)
    assert float(sigma[3]) == pytest.approx(0.0277e-6 * grown(1.0, 1e-6), rel=1e-5)


def test_a_law_in_two_parts_changes_over_where_it_says() -> None:
    g = torch.tensor([0.01, 0.0999, 0.1, 0.5])
    both = piecewise(g, (-1.0, 0.0, 0.5, 3.0), 0.1, (10.0, 1.0))
    expected = [3.0, -math.log(0.0999), 10.1, 10.5]
    assert both.tolist() == pytest.approx(expected, rel=1e-5)
    alone = piecewise(g, (-1.0, 0.0, 0.8, 3.0), 0.1, ())
    assert alone.tolist() == pytest.approx([3.0, -math.log(0.0999), -math.log(0.1), 0.8], rel=1e-5)


def test_reading_changes_no_state() -> None:
    level = torch.tensor([1e-6, 5e-6])
    for name in BY_HAND:
        one = known(name)
        before = level.clone()
        one.need(one.noise).sigma(level, level, 10.0)
        assert torch.equal(level, before)


def test_what_is_unknown_is_named() -> None:
    one = cell("hfo2_1t1r")
    with pytest.raises(DeviceLimitError, match="'read_noise_scale' is known for hfo2_1t1r"):
        one.need(one.noise)
    assert "read_noise_scale" in one.left_out["noise"]
