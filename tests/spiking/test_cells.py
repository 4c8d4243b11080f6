"""Cells follow their equations: closed forms of intervals, currents and potentials."""

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from clnf.core.errors import ConfigError
from clnf.spiking.cells import IF, LI, LIF, AbstractCell, AdaptiveLIF, CubaLI, CubaLIF
from clnf.spiking.steps import leak_loop, spike_loop, start
from clnf.spiking.surrogates import Triangle


def spikes(cell: AbstractCell, x: Tensor, dt_s: float) -> Tensor:
    k = cell.coefficients(dt_s)
    return spike_loop(x, start(x[0], k), k, Triangle())[0]


def potentials(cell: AbstractCell, x: Tensor, dt_s: float) -> Tensor:
    k = cell.coefficients(dt_s)
    return leak_loop(x, start(x[0], k), k)[0]


def constant(value: float, steps: int) -> Tensor:
    return torch.full((steps, 1, 1), value, dtype=torch.float64)


def times(z: Tensor) -> list[int]:
    return z.flatten().nonzero().flatten().tolist()


@pytest.mark.parametrize(("leak", "reset"), [(0.0, 0.0), (-0.1, -0.3), (0.2, 0.1)])
def test_intervals_of_a_lif_are_those_of_its_equation(leak: float, reset: float) -> None:
    tau, dt, drive = 20e-3, 1e-5, 1.5
    cell = LIF(tau_s=tau, leak_v=leak, reset_v=reset, drive="hold")
    end = leak + drive
    wanted = tau * math.log((end - reset) / (end - 1.0))
    found = times(spikes(cell, constant(drive, round(3.2 * wanted / dt)), dt))
    gaps = [(b - a) * dt for a, b in pairwise(found)]
    assert len(gaps) >= 2
    assert all(abs(gap - wanted) <= dt for gap in gaps)


def test_a_lif_that_cannot_reach_its_threshold_is_silent() -> None:
    assert times(spikes(LIF(drive="hold"), constant(1.0, 2000), 1e-3)) == []
    assert times(spikes(LIF(drive="hold"), constant(1.01, 2000), 1e-3))


def test_intervals_of_an_if_and_a_refractory_time() -> None:
    cell = IF(drive="hold", gain=1.0)
    z = times(spikes(cell, constant(50.0 * (1 + 1e-9), 200), 1e-3))
    assert [b - a for a, b in pairwise(z)] == [20] * (len(z) - 1)
    held = times(
        spikes(IF(drive="hold", refractory_s=5e-3), constant(50.0 * (1 + 1e-9), 200), 1e-3)
    )
    assert [b - a for a, b in pairwise(held[1:])] == [25] * (len(held) - 2)


def test_a_current_and_its_potential_follow_two_exponentials() -> None:
    tau, fast, dt = 20e-3, 5e-3, 1e-4
    kick = torch.zeros(2000, 1, 1, dtype=torch.float64)
    kick[0] = 1.0
    found = potentials(CubaLI(tau_s=tau, synapse_tau_s=fast), kick, dt).flatten()
    t = torch.arange(2000, dtype=torch.float64) * dt
    wanted = fast / (tau - fast) * (torch.exp(-t / tau) - torch.exp(-t / fast))
    torch.testing.assert_close(found, wanted, atol=1e-12, rtol=1e-9)
    peak = tau * fast / (tau - fast) * math.log(tau / fast)
    assert abs(int(found.argmax()) * dt - peak) <= dt


def test_equal_time_constants_are_the_limit_of_close_ones() -> None:
    kick = torch.zeros(200, 1, 1, dtype=torch.float64)
    kick[0] = 1.0
    same = potentials(CubaLI(tau_s=10e-3, synapse_tau_s=10e-3), kick, 1e-3).flatten()
    t = torch.arange(200, dtype=torch.float64) * 1e-3
    torch.testing.assert_close(same, t / 10e-3 * torch.exp(-t / 10e-3))
    close = potentials(CubaLI(tau_s=10e-3, synapse_tau_s=10.0001e-3), kick, 1e-3).flatten()
    torch.testing.assert_close(same, close, atol=1e-5, rtol=1e-4)


def test_a_held_input_settles_where_it_should_and_the_step_does_not_matter() -> None:
    for cell in (
        LI(leak_v=-0.2, drive="hold", gain=2.0),
        CubaLI(leak_v=-0.2, drive="hold", gain=2.0),
    ):
        coarse = potentials(cell, constant(0.3, 400), 1e-3)
        fine = potentials(cell, constant(0.3, 4000), 1e-4)
        torch.testing.assert_close(coarse, fine[9::10], atol=1e-12, rtol=0)
        assert coarse[-1].item() == pytest.approx(-0.2 + 0.6, abs=1e-6)


def test_explicit_steps_come_close_to_exact_ones_as_they_shrink() -> None:
    exact = CubaLI(drive="hold")
    euler = CubaLI(drive="hold", method="euler")
    far, near = (
        float((potentials(exact, x, dt) - potentials(euler, x, dt)).abs().max())
        for dt, x in ((1e-3, constant(1.0, 100)), (1e-4, constant(1.0, 1000)))
    )
    assert 5 < far / near < 15


def test_a_threshold_that_adapts_makes_intervals_longer() -> None:
    x = constant(0.3, 300)
    plain = times(spikes(LIF(), x, 1e-3))
    adapting = times(spikes(AdaptiveLIF(jump_v=0.2), x, 1e-3))
    still = times(spikes(AdaptiveLIF(jump_v=0.0), x, 1e-3))
    assert still == plain
    gaps = [b - a for a, b in pairwise(adapting)]
    assert gaps[0] < gaps[3] <= gaps[-1]


def test_an_integrator_without_a_leak_sums_kicks() -> None:
    x = torch.rand(50, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(potentials(LI(tau_s=float("inf")), x, 1e-3), x.cumsum(0))


def test_parameters_may_differ_from_cell_to_cell() -> None:
    cell = LIF(tau_s=torch.tensor([5e-3, 50e-3]), threshold_v=torch.tensor([0.4, 0.7]))
    k = cell.coefficients(1e-3)
    assert isinstance(k.decay, Tensor)
    torch.testing.assert_close(k.decay, torch.exp(torch.tensor([-0.2, -0.02])))
    z = spikes(cell, torch.full((4, 1, 2), 0.2), 1e-3)
    assert z[:, 0, 0].tolist() == [0, 0, 1, 0]
    assert z[:, 0, 1].tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: LIF(tau_s=0.0), "tau_s must be above 0"),
        (lambda: LIF(tau_s=torch.tensor([1.0, -1.0])), "tau_s must be above 0"),
        (lambda: LIF(drive="push"), "drive"),  # type: ignore[arg-type]
        (lambda: LIF(tau_s="20 ms"), "tau_s of LIF"),  # type: ignore[arg-type]
        (lambda: LIF(refractory_s=-1.0).coefficients(1e-3), "refractory"),
        (lambda: LIF().coefficients(0.0), "dt_s must be above 0"),
        (lambda: IF().coefficients(-1.0), "dt_s must be above 0"),
        (lambda: LIF(tau_s=1e-3, method="euler").coefficients(2e-3), "longer than"),
        (lambda: CubaLIF().coefficients(float("nan")), "dt_s must be a number"),
    ],
)
def test_parameters_that_cannot_be_are_refused(make: object, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make()  # type: ignore[operator]
