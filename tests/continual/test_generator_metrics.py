"""Match and KID of a stream, by hand."""

import math

import numpy as np
import pytest

from clnf.continual.generator_metrics import first_rows, generator_scores, measure_matrix
from clnf.core.errors import DataError

ROWS = [
    {"match": {"faces": 1.0}, "kid": {"faces": 0.1}, "kid_error": {"faces": 0.01}},
    {"match": {"faces": 0.9, "hands": 0.8}, "kid": {"faces": 0.3, "hands": 0.5}},
    {
        "after": "people",
        "match": {"faces": 0.95, "hands": 0.2, "people": 0.7},
        "kid": {"faces": 0.2, "hands": 1.7, "people": 0.4, "own": 0.6},
        "kid_error": {"faces": 0.03, "hands": 0.04, "people": None},
    },
]
CONCEPTS = ("faces", "hands", "people")


def test_the_matrix_has_holes_where_nothing_was_measured() -> None:
    kid = measure_matrix(ROWS, "kid", [*CONCEPTS, "own"])
    assert bool(np.isnan(kid[:2, 2:]).all())
    assert kid[2].tolist() == [0.2, 1.7, 0.4, 0.6]
    assert first_rows(kid) == [0, 1, 2, 2]
    assert first_rows(np.full((3, 1), np.nan)) == [2]


def test_scores_by_hand_and_kid_is_forgotten_where_it_rises() -> None:
    found = generator_scores(ROWS, CONCEPTS)
    assert found.match == pytest.approx((0.95 + 0.2 + 0.7) / 3)
    assert found.match_transfer == pytest.approx((-0.05 - 0.6) / 2)
    assert found.match_forgetting == pytest.approx((0.05 + 0.6) / 2)
    assert found.kid == pytest.approx((0.2 + 1.7 + 0.4) / 3)
    assert found.kid_error == pytest.approx(0.05 / 2)
    assert found.kid_transfer == pytest.approx((0.1 + 1.2) / 2)
    assert found.kid_forgetting == pytest.approx((0.1 + 1.2) / 2)
    # The control: a KID that falls is no forgetting.
    better = generator_scores([ROWS[1], {**ROWS[2], "kid": {"faces": 0.2, "hands": 0.4}}], CONCEPTS)
    assert better.kid_transfer == pytest.approx((-0.1 - 0.1) / 2)
    assert better.kid_forgetting == 0.0


def test_what_was_never_measured_leaves_nan() -> None:
    found = generator_scores([{"kid": {"own": 0.5}}], ["own"])
    assert found.kid == 0.5
    assert math.isnan(found.match)
    assert math.isnan(found.kid_error)
    with pytest.raises(DataError, match="0 rows"):
        generator_scores([], CONCEPTS)
