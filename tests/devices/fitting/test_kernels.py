"""The compiled filter equals the plain one, and its derivatives are those of its likelihood."""

import numpy as np
import pytest
from clnf.devices.fitting import reference
from clnf.devices.fitting.kernels import NAMES, filter_traces

LAWS = {0: (0.6, 0.4, 0.0, 0.0), 1: (0.3, 0.5, -0.7, -1.2), 2: (0.3, -0.3, 0.0, 0.0)}


def trace(seed: int = 0):
    rng = np.random.default_rng(seed)
    pulses = np.tile(np.repeat([1, -1], 25), 3).astype(np.int8)
    pulses[0] = 0
    y = 0.9 * np.sin(np.arange(150) / 8) + 0.05 * rng.standard_normal(150)
    y[rng.random(150) < 0.2] = np.nan
    y[0] = -0.8
    return pulses, y


def parameters(law: int):
    par = np.array([0.1, 0.95, -1.05, 0.02, 1.05, -2.5, -2.3, 0, 0, 0, 0, 0.2, 0.004, 0.0009])
    par[7:11] = LAWS[law]
    return par


def compiled(law: int, par, pulses, y, floor: float = -60.0):
    seen, grad, info = np.zeros((3, len(y))), np.zeros((1, 14)), np.zeros((1, 14, 14))
    ends = np.array([len(y)])
    (log,) = filter_traces(law, par[None], pulses, y, ends, 1.5, floor, seen, grad, info)
    return log, grad[0], info[0], seen


@pytest.mark.parametrize("law", LAWS)
def test_the_compiled_filter_equals_the_plain_one(law: int) -> None:
    pulses, y = trace()
    par = parameters(law)
    wanted = reference.filter_trace(law, par, pulses, y, 1.5, -60.0)
    assert compiled(law, par, pulses, y)[0] == pytest.approx(wanted, rel=1e-8)
    par[5] += 0.01
    assert compiled(law, par, pulses, y)[0] != pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("name", NAMES)
def test_the_gradient_is_that_of_the_likelihood(law: int, name: str) -> None:
    pulses, y = trace()
    par, k = parameters(law), NAMES.index(name)
    _, grad, info, _ = compiled(law, par, pulses, y)
    eps = 1e-6 * max(1.0, abs(par[k]))
    low, high = par.copy(), par.copy()
    low[k] -= eps
    high[k] += eps
    slope = (compiled(law, high, pulses, y)[0] - compiled(law, low, pulses, y)[0]) / (2 * eps)
    assert grad[k] == pytest.approx(slope, rel=2e-5, abs=2e-4)
    assert np.array_equal(info, info.T)


def test_outliers_count_once_and_a_jump_is_learned_anew() -> None:
    pulses, y = trace()
    par = parameters(0)
    y[60] = 9.0
    log, _, _, seen = compiled(0, par, pulses, y, -12.0)
    assert seen[2, 60] == 2.0
    assert (seen[2] == 2.0).sum() < 4
    y[100:] += 6.0
    assert 3 <= (compiled(0, par, pulses, y, -12.0)[3][2, 100:] == 2.0).sum() < 40
