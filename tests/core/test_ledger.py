import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clnf.core.ledger import Cost, Ledger

rows = st.lists(
    st.tuples(
        st.sampled_from(["t0", "t1", "t2"]),
        st.sampled_from(["hands", "people"]),
        st.sampled_from(["read", "pulse", "convert"]),
        st.integers(0, 10**9),
        st.floats(0, 1e-6),
        st.floats(0, 1e-3),
    ),
    max_size=30,
)


def fill(entries: list[tuple[str, str, str, int, float, float]]) -> Ledger:
    ledger = Ledger()
    for tile, lesson, op, count, energy_j, time_s in entries:
        ledger.lesson = lesson
        ledger.charge(op, tile=tile, count=count, energy_j=energy_j, time_s=time_s)
    return ledger


@given(rows)
def test_sums_agree_exactly_along_every_axis(
    entries: list[tuple[str, str, str, int, float, float]],
) -> None:
    ledger = fill(entries)
    total = ledger.total()
    for axis in ("tile", "lesson", "op"):
        parts = ledger.by(axis)
        assert sum(parts.values(), Cost()) == total
        for name, part in parts.items():
            assert ledger.total(**{axis: name}) == part


@given(rows, st.integers())
def test_the_order_of_charges_does_not_matter(
    entries: list[tuple[str, str, str, int, float, float]], seed: int
) -> None:
    mixed = list(entries)
    random.Random(seed).shuffle(mixed)
    assert fill(mixed).total() == fill(entries).total()


def test_costs_are_whole_attojoules_and_picoseconds() -> None:
    ledger = Ledger()
    ledger.charge("pulse", tile="t0", count=3, energy_j=2e-12, time_s=1e-7)
    total = ledger.total()
    assert (total.count, total.energy_aj, total.time_ps) == (3, 6_000_000, 300_000)
    assert total.energy_j == 6e-12
    assert total.time_s == 3e-7
    assert ledger.by("lesson") == {"setup": total}


def test_state_round_trips_through_json() -> None:
    ledger = fill([("t0", "hands", "read", 2**70, 1e-12, 0.0), ("t1", "hands", "read", 1, 0, 0)])
    other = Ledger()
    other.load_state(json.loads(json.dumps(ledger.state())))
    assert other.state() == ledger.state()
    other.charge("read", tile="t0", count=1)
    assert other.total() != ledger.total()


def test_an_unknown_axis_is_an_error() -> None:
    ledger = fill([("t0", "hands", "read", 1, 0.0, 0.0)])
    with pytest.raises(ValueError, match="not in tuple"):
        ledger.total(colour="red")
