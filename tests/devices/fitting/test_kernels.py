"""The compiled filter equals the plain one, and its derivatives are those of its likelihood."""

import numpy as np
import pytest
from numpy.typing import NDArray

from clnf.devices.fitting import CellLaw, Schedule, measured, reference
from clnf.devices.fitting.kernels import CUT, Found, Trains, filter_traces
from clnf.devices.fitting.steps import NAMES

Array = NDArray[np.float64]
LAWS = {0: (0.6, 0.4, 0.0, 0.0), 1: (0.3, 0.5, -0.7, -1.2), 2: (0.3, -0.3, 0.0, 0.0)}
EMPTY = np.zeros(0)


def trace() -> tuple[NDArray[np.int8], Array]:
    rng = np.random.default_rng(0)
    pulses = np.tile(np.repeat([1, -1], 25), 3).astype(np.int8)
    pulses[0] = 0
    y = 0.9 * np.sin(np.arange(150) / 8) + 0.05 * rng.standard_normal(150)
    y[rng.random(150) < 0.2] = np.nan
    y[0] = -0.8
    return pulses, y


def parameters(law: int) -> Array:
    par = np.array([0.1, 0.95, -1.05, 0.02, 1.05, -2.5, -2.3, 0, 0, 0, 0, 0.2, 0.004, 0.0009])
    par[7:11] = LAWS[law]
    return par


def compiled(
    law: int,
    par: Array,
    trains: tuple[NDArray[np.int8], Array],
    floor: float = -60.0,
    bins: int = 0,
) -> tuple[float, Array, Array, Array]:
    pulses, y = trains
    low = high = EMPTY
    if bins:
        levels = np.linspace(-1, 1, bins)
        edges = np.concatenate([[-np.inf], (levels[1:] + levels[:-1]) / 2, [np.inf]])
        at = np.searchsorted(edges[1:-1], np.where(np.isfinite(y), y, 0.0))
        y, low, high = np.where(np.isfinite(y), levels[at], np.nan), edges[at], edges[at + 1]
    found = Found(np.zeros((3, len(y))), np.zeros((1, 14)), np.zeros((1, 14, 14)))
    job = Trains(pulses, y, low, high, np.array([len(y)]), 1.5, floor)
    (log,) = filter_traces(law, par[None], job, found)
    return float(log), found.grads[0], found.infos[0], found.seen


@pytest.mark.parametrize("law", LAWS)
def test_the_compiled_filter_equals_the_plain_one(law: int) -> None:
    pulses, y = trace()
    par = parameters(law)
    wanted = reference.filter_trace(law, par, pulses, y, (1.5, -60.0))
    assert compiled(law, par, (pulses, y))[0] == pytest.approx(wanted, rel=1e-8)
    par[5] += 0.01
    assert compiled(law, par, (pulses, y))[0] != pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bins", [0, 9])
def test_the_gradient_is_that_of_the_likelihood(law: int, name: str, bins: int) -> None:
    par, k = parameters(law), NAMES.index(name)
    _, grad, info, _ = compiled(law, par, trace(), bins=bins)
    eps = 1e-6 * max(1.0, abs(par[k]))
    low, high = par.copy(), par.copy()
    low[k] -= eps
    high[k] += eps
    up, down = (compiled(law, p, trace(), bins=bins)[0] for p in (high, low))
    assert grad[k] == pytest.approx((up - down) / (2 * eps), rel=2e-4, abs=2e-3)
    assert np.allclose(info, info.T, rtol=1e-9)


def steady() -> tuple[NDArray[np.int8], Array, Array]:
    """A trace of the linear law, and the parameters that made it."""
    cell = CellLaw(
        law="soft_bounds", conductance_min_s=100e-6, conductance_max_s=300e-6, step_up=0.1,
        step_down=0.1, cycle_spread=0.2, write_noise=0.5,
    )  # fmt: skip
    traces = measured(cell, Schedule(devices=1, train=30, cycles=3), 1)
    par = np.array([0, 1, -1, 0, 1, np.log(0.1), np.log(0.1), 1, 1, 0, 0, 0.04, 0.0025, 1e-9])
    return traces.pulses, (traces.conductance_s - 200e-6) / 100e-6, par


def test_an_outlier_counts_once_and_a_jump_is_learned_anew() -> None:
    pulses, y, par = steady()
    y[60] = 9.0
    seen = compiled(0, par, (pulses, y), -12.0)[3]
    assert np.flatnonzero(seen[2] == CUT).tolist() == [60]
    y[100:] += 3.0
    odd = np.flatnonzero(compiled(0, par, (pulses, y), -12.0)[3][2] == CUT)
    assert {60, 100, 101, 102, 103} <= set(odd.tolist())


def test_a_first_reading_that_is_wrong_is_the_outlier() -> None:
    pulses, y, par = steady()
    y[0] = 7.0
    odd = np.flatnonzero(compiled(0, par, (pulses, y), -12.0)[3][2] == CUT)
    assert odd.tolist() == [0]
