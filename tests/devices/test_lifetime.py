"""Retention by Arrhenius' law, lives by Weibull's, and windows that close until a cell is dead."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from clnf.core.errors import ConfigError, DeviceLimitError
from clnf.devices.draws import hash_key
from clnf.devices.families import cell
from clnf.devices.lifetime import Endurance, Retention
from clnf.devices.materials import material, materials
from clnf.devices.response import Response, cell_traits

N = 200_000
K = 1.380649e-23
YEAR_S = 365.25 * 86400.0
CYCLES = {
    "gst_pcm": 1e9, "hfox_generic": 1e6, "taox_cmos": 1e11, "ecram_wo3": 1e7, "fefet_hzo": 5e6,
    "hzo_wox": 1e10, "mos2_wafer": 2500.0, "mos2_few_layer": 180.0,
}  # fmt: skip
KEPT_S = {
    "gst_pcm": 10 * YEAR_S, "fefet_hzo": 10 * YEAR_S, "hzo_wox": 10 * YEAR_S,
    "mos2_wafer": 1e6, "mos2_few_layer": 3e3,
}  # fmt: skip


def test_every_material_with_a_life_is_tested_here() -> None:
    rows = {name: cell(name).left_out for name in materials()}
    assert {name for name, lacking in rows.items() if "endurance" not in lacking} == set(CYCLES)
    assert {name for name, lacking in rows.items() if "retention" not in lacking} == set(KEPT_S)


@pytest.mark.parametrize("name", KEPT_S)
def test_a_tenth_of_a_state_is_gone_at_the_published_time(name: str) -> None:
    one = cell(name)
    retention = one.need(one.retention)
    assert retention.kept(0.0) == 1.0
    assert retention.kept(KEPT_S[name]) == pytest.approx(0.9, rel=1e-9)
    assert retention.kept(2 * KEPT_S[name]) == pytest.approx(0.81, rel=1e-9)
    assert retention.kept(1.01 * KEPT_S[name]) != pytest.approx(0.9, rel=1e-9)


@pytest.mark.parametrize("kelvin", [300.0, 358.15, 400.0])
def test_another_temperature_goes_by_arrhenius(kelvin: float) -> None:
    energy_j = 1.1 * 1.602176634e-19
    law = Retention(retention_s=10 * YEAR_S, temperature_k=358.15, activation_j=energy_j)
    time_s = 10 * YEAR_S * math.exp(energy_j / K * (1 / kelvin - 1 / 358.15))
    assert law.kept(time_s, kelvin) == pytest.approx(0.9, rel=1e-12)
    age_s = 3e7
    assert law.kept(age_s, kelvin) == pytest.approx(0.9 ** (age_s / time_s), rel=1e-12)
    # Control: an activation energy 1 % larger would have been seen, but at the same temperature.
    other = Retention(retention_s=10 * YEAR_S, temperature_k=358.15, activation_j=1.01 * energy_j)
    same = kelvin == 358.15
    lost = [1 - one.kept(age_s, kelvin) for one in (law, other)]
    assert (lost[1] == pytest.approx(lost[0], rel=1e-3)) == same


def test_hot_cells_forget_sooner_and_very_cold_ones_not_at_all() -> None:
    law = Retention(retention_s=1e6, temperature_k=300.0, activation_j=1.6e-19)
    hot, warm, cold = (law.kept(1e5, kelvin) for kelvin in (400.0, 300.0, 200.0))
    assert hot < warm < cold
    assert law.kept(1e5, 1.0) == 1.0  # the exponent is capped, not an overflow


def test_what_a_temperature_needs_is_named() -> None:
    free = cell("gst_pcm").retention
    assert isinstance(free, Retention)
    with pytest.raises(DeviceLimitError, match="at 358.15 K needs retention_temperature_k"):
        free.kept(1.0, 358.15)
    hzo = cell("fefet_hzo").retention
    assert isinstance(hzo, Retention)
    assert hzo.kept(1.0, 358.15) == hzo.kept(1.0)
    with pytest.raises(DeviceLimitError, match="at 300 K needs retention_activation"):
        hzo.kept(1.0, 300.0)
    own = cell(material("fefet_hzo").supply(retention_activation=1.6e-19)).retention
    assert isinstance(own, Retention)
    assert own.kept(10 * YEAR_S, 300.0) > 0.9


@pytest.mark.parametrize("name", CYCLES)
def test_the_median_of_lives_is_the_published_figure(name: str) -> None:
    one = cell(name)
    law = one.need(one.endurance)
    lives = law.life(N, hash_key(4, "life")).double().numpy()
    # Standard error of a median is 1 / (2 f sqrt(N)); a Weibull law of shape 2 has the density
    # ln(2) / N_cycles at its median.
    error = CYCLES[name] / (2 * math.log(2) * N**0.5)
    assert abs(np.median(lives) - CYCLES[name]) < 4.5 * error
    assert abs(np.median(lives) - 1.02 * CYCLES[name]) > 4.5 * error


@pytest.mark.parametrize("shape", [1.0, 2.0, 5.0])
def test_lives_are_weibull(shape: float) -> None:
    law = Endurance(cycles=1e6, shape=shape)
    lives = law.life(N, hash_key(4, "life")).double().numpy()
    scale = 1e6 / math.log(2) ** (1 / shape)
    assert kstest(lives, "weibull_min", args=(shape, 0.0, scale)).pvalue > 1e-4
    wrong = kstest(lives, "weibull_min", args=(1.03 * shape, 0.0, scale)).pvalue
    assert wrong < 1e-4


def test_a_cell_has_one_life_and_no_cell_is_dead_before_its_first_write() -> None:
    law, key = Endurance(cycles=1e6), hash_key(4, "life")
    whole = law.life(1000, key)
    assert torch.equal(law.life(400, key, first=600), whole[600:])
    assert not torch.equal(law.life(1000, hash_key(5, "life")), whole)
    brief = Endurance(cycles=1e-3).life(N, key)
    assert float(brief.min()) == 1.0
    response = Response(step_up=0.1, step_down=0.1)
    table = cell_traits(response, 3, 0)
    fresh = law.wear(table, torch.zeros(3, dtype=torch.int32), brief[:3], torch.zeros(3))
    assert torch.equal(fresh, table)


def test_windows_close_by_the_square_of_what_is_spent_and_then_cells_are_dead() -> None:
    law = Endurance(cycles=1e6, closing=0.5)
    table = torch.tensor([[0.1] * 5, [0.2] * 5, [1.0] * 5, [-0.6] * 5])
    before = table.clone()
    spent = torch.tensor([0, 250, 500, 999, 1000], dtype=torch.int32)
    life, weight = torch.full((5,), 1000.0), torch.tensor([0.0, 0.3, -0.2, 0.1, 0.7])
    now = law.wear(table, spent, life, weight)
    assert torch.equal(table, before)
    for i, share in enumerate((0.0, 0.25, 0.5, 0.999)):
        half = 0.8 * (1 - 0.5 * share**2)
        assert now[:, i].tolist() == pytest.approx([0.1, 0.2, 0.2 + half, 0.2 - half], rel=1e-5)
    assert now[:, 4].tolist() == pytest.approx([0.0, 0.0, 0.7, 0.7])
    twice = Endurance(cycles=1e6, closing=1.0).wear(table, spent, life, weight)
    assert float(twice[2, 2] - twice[3, 2]) == pytest.approx(1.6 * 0.75, rel=1e-5)
    never = Endurance(cycles=1e6, closing=0.0).wear(table, spent, life, weight)
    assert torch.equal(never[:, :4], table[:, :4])


@pytest.mark.parametrize("change", [{"cycles": 0.0}, {"shape": 0.0}, {"closing": 1.1}])
def test_impossible_lives_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(DeviceLimitError, match="closing in"):
        Endurance(**({"cycles": 1e6} | change))


def test_what_is_no_life_no_age_and_no_temperature_is_refused() -> None:
    with pytest.raises(ConfigError, match="cycles of Endurance must be a number, got 'x'"):
        Endurance(cycles="x")  # type: ignore[arg-type]
    for wrong in (0.0, -1.0, math.nan):
        with pytest.raises(DeviceLimitError, match=f"a time above 0 .*, got {wrong} s and 0.1"):
            Retention(retention_s=wrong)
    known = Retention(retention_s=1.0, temperature_k=300.0, activation_j=1e-19)
    with pytest.raises(DeviceLimitError, match="an age is at least 0 s, got -1.0"):
        known.kept(-1.0)
    with pytest.raises(ConfigError, match="age_s must be a number, got nan"):
        known.kept(math.nan)
    for kelvin in (0.0, -4.0, math.inf):
        with pytest.raises(DeviceLimitError, match="a temperature is above 0 K and finite, got"):
            known.kept(1.0, kelvin)
    assert 0 < known.kept(1.0, 310.0) < 0.9 == pytest.approx(known.kept(1.0))
