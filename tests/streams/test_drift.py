"""The drift detector: quick to see a change, silent without one, restorable."""

import json

import numpy as np
import pytest

from clnf.core.errors import ConfigError
from clnf.streams.drift import Adwin, AdwinParams


def alarms(values: np.ndarray) -> list[int]:
    detector = Adwin()
    return [i for i, value in enumerate(values.tolist()) if detector.update(value)]


def step(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.normal(0, 1, 2000), rng.normal(1, 1, 2000)])


def test_step_of_one_deviation_is_seen_within_60_values_without_false_alarm() -> None:
    delays = []
    for seed in range(20):
        seen = alarms(step(seed))
        assert [i for i in seen if i < 2000] == []
        delays.append(seen[0] - 2000 + 1)
    assert np.median(delays) <= 48
    assert np.mean(np.array(delays) <= 60) >= 0.9
    # Negative control: without the step nothing is seen.
    assert alarms(np.random.default_rng(0).normal(0, 1, 4000)) == []


def test_window_forgets_the_old_mean() -> None:
    detector = Adwin()
    for value in step(1).tolist():
        detector.update(value)
    assert abs(detector.mean - 1.0) < 0.1
    assert 1900 < detector.width <= 2100


def test_window_statistics_equal_a_plain_window() -> None:
    values = np.random.default_rng(2).normal(3, 2, 1000)
    detector = Adwin()
    for value in values.tolist():
        detector.update(value)
    assert detector.width == 1000
    assert detector.mean == pytest.approx(values.mean(), rel=1e-9)
    state = detector.state_dict()
    assert state["spread"] == pytest.approx(((values - values.mean()) ** 2).sum(), rel=1e-9)
    sums = sum(bucket[0] for row in state["rows"] for bucket in row)
    assert sums == pytest.approx(values.sum(), rel=1e-9)
    sizes = sum(2**r * len(row) for r, row in enumerate(state["rows"]))
    assert sizes == 1000
    assert sum(len(row) for row in state["rows"]) < 50  # memory grows with the logarithm


def test_a_falling_mean_and_a_slow_drift_are_seen_too() -> None:
    rng = np.random.default_rng(3)
    assert alarms(np.concatenate([rng.normal(0, 1, 500), rng.normal(-1, 1, 500)]))
    assert alarms(rng.normal(0, 1, 3000) + np.linspace(0, 3, 3000))


def test_restored_detector_goes_on_as_if_never_stopped() -> None:
    values = step(4).tolist()
    whole, first = Adwin(), Adwin()
    expected = [whole.update(value) for value in values]
    found = [first.update(value) for value in values[:1987]]
    text = json.dumps(first.state_dict())
    second = Adwin()
    second.load_state_dict(json.loads(text))
    found += [second.update(value) for value in values[1987:]]
    assert found == expected
    assert second.state_dict() == whole.state_dict()


def test_wrong_settings_are_refused() -> None:
    for delta, clock in ((0.0, 16), (1.0, 16), (0.1, 0)):
        with pytest.raises(ConfigError):
            AdwinParams(delta=delta, clock=clock)
