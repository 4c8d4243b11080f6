"""The compiled detectors give the alarms and the state of the plain one, to the bit."""

import json

import numpy as np
import pytest

from clnf.core.errors import DataError, ShapeError
from clnf.streams.drift import Adwin, AdwinParams
from clnf.streams.drift_bank import AdwinBank

NAMES = ("steady", "step", "ramp")


def values(seed: int, count: int = 3000) -> np.ndarray:
    rng = np.random.default_rng(seed)
    table = rng.normal(0, 1, (count, 3))
    table[count // 2 :, 1] += 1.0
    table[:, 2] += np.linspace(0, 3, count)
    return table


@pytest.mark.parametrize("params", [AdwinParams(), AdwinParams(delta=0.2, clock=1, buckets=2)])
@pytest.mark.parametrize("seed", range(4))
def test_alarms_and_states_equal_the_plain_detector(seed, params) -> None:
    table = values(seed)
    bank = AdwinBank(NAMES, params)
    found = bank.feed(table)
    for column, name in enumerate(NAMES):
        plain = Adwin(params)
        assert found[:, column].tolist() == [plain.update(v) for v in table[:, column].tolist()]
        assert bank.state_dict()[name] == plain.state_dict()
        assert bank.means()[name] == plain.mean
    assert found[:, 1].any()
    assert found[:, 2].any()


def test_one_by_one_many_at_once_and_after_a_restart() -> None:
    table = values(1)
    whole, parts = AdwinBank(NAMES), AdwinBank(NAMES)
    want = whole.feed(table)
    first = parts.feed(table[:1700])
    again = AdwinBank(NAMES)
    again.load_state_dict(json.loads(json.dumps(parts.state_dict())))
    apart = parts.copy()
    rest = [bank.feed(table[1700:]) for bank in (parts, again, apart)]
    for one in rest:
        assert np.array_equal(np.concatenate([first, one]), want)
    assert parts.state_dict() == again.state_dict() == apart.state_dict() == whole.state_dict()


def test_a_copy_goes_its_own_way() -> None:
    bank = AdwinBank(NAMES)
    bank.feed(values(0)[:100])
    before = bank.state_dict()
    bank.copy().feed(values(1))
    assert bank.state_dict() == before


def test_a_state_loaded_over_a_longer_one_leaves_nothing_behind() -> None:
    used, fresh = AdwinBank(NAMES), AdwinBank(NAMES)
    used.feed(values(3))
    used.load_state_dict(AdwinBank(NAMES).state_dict())
    assert np.array_equal(used.feed(values(2)), fresh.feed(values(2)))
    assert used.state_dict() == fresh.state_dict()


def test_what_would_blind_it_is_refused() -> None:
    with pytest.raises(ShapeError, match="3 quantities"):
        AdwinBank(NAMES).feed(np.zeros((4, 2)))
    with pytest.raises(DataError, match="NaN"):
        AdwinBank(NAMES).feed(np.full((4, 3), np.nan))
