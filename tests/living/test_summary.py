"""Figures of an arm follow from its rows, its bill and what guards held."""

from dataclasses import replace
from typing import Any

import pytest

from clnf.living.report import _changes, _facts, _measures
from clnf.living.summary import ArmSummary, LessonLine


def row(after: str, **match: float) -> dict[str, Any]:
    return {"after": after, "match": match, "kid": dict.fromkeys(match, 0.0)}


def line(name: str, concept: str) -> LessonLine:
    return LessonLine(name=name, concept=concept, action="commit", reason="core held")


ARM = ArmSummary(
    core=("faces", "flags"),
    lessons=(line("a", "hands"), line("b", "shapes"), line("c", "faces")),
    rows=(
        row("start", faces=1.0, flags=0.9),
        row("a", faces=0.9, flags=1.0, hands=0.8),
        row("b", faces=0.8, flags=1.0, hands=0.6, shapes=0.5),
        row("b rolled back", faces=0.9, flags=1.0, hands=0.7),
        row("c", faces=0.8, flags=0.9, hands=0.6),
    ),
    wear={},
    energy_by_op_j={},
    finished=True,
    undone=(),
    spent_j=4.0,
    writes=1000,
    memory_bytes={"Rehearsal": 80, "EWC": 20},
)


def test_measures_are_those_of_what_stands_at_the_end() -> None:
    matrix, learned, names = ARM.matrix()
    assert (names, learned, matrix.shape) == (["faces", "flags", "hands"], [0, 0, 1], (5, 3))
    found = ARM.measures()
    assert found["average"] == pytest.approx((0.8 + 0.9 + 0.6) / 3)
    assert found["backward_transfer"] == pytest.approx((-0.2 + 0.0 - 0.2) / 3)
    assert found["forgetting"] == pytest.approx((0.2 + 0.1 + 0.2) / 3)
    kept = (0.8 + 1.0 + 0.75) / 3
    assert found["retention"] == pytest.approx(kept)
    assert found["retention_per_joule"] == pytest.approx(kept / 4.0)
    assert found["retention_per_write"] == pytest.approx(kept / 1000)
    assert found["retention_per_byte"] == pytest.approx(kept / 100)
    # What nobody measured is not there.
    assert found["intransigence"] is found["stability_gap"] is None
    assert replace(ARM, memory_bytes={}).measures()["retention_per_byte"] is None
    assert replace(ARM, rows=()).measures() == {}


def test_intransigence_is_held_against_the_arm_that_nothing_holds_back() -> None:
    plain = replace(
        ARM, rows=(row("start", faces=1.0), row("a", faces=0.2, hands=0.95), row("b", hands=0.0))
    )
    assert ARM.measures(plain)["intransigence"] == pytest.approx(0.95 - 0.8)
    assert ARM.measures(ARM)["intransigence"] == 0.0
    assert ARM.measures(replace(plain, rows=()))["intransigence"] is None


def test_the_stability_gap_is_of_what_stood_before_each_lesson() -> None:
    inside = (
        {"lesson": "a", "done": 5, "match": {"faces": 0.7, "flags": 0.9}},
        {"lesson": "a", "done": 10, "match": {"faces": 0.8, "flags": 0.95}},
        {"lesson": "c", "done": 5, "match": {"faces": 0.9, "flags": 0.6, "hands": 0.7}},
    )
    # Before c stands what was there after b was rolled back.
    gaps = (0.3, 0.0, 0.0, 0.4, 0.0)
    arm = replace(ARM, during=inside)
    assert arm.measures()["stability_gap"] == pytest.approx(sum(gaps) / 5)


def test_the_report_tells_measures_and_changes_in_words() -> None:
    told = {words: (mine, other) for words, mine, other, _ in _measures(ARM, None)}
    assert told["average match"] == ("76.7 %", "\N{EN DASH}")
    assert told["backward transfer"] == ("-13.3 points", "\N{EN DASH}")
    assert told["retention per million writes"][0] == "850"
    assert "stability gap" not in told
    answers = (
        {"lesson": "a", "reason": "weights read 5.0% off", "response": "recalibrate",
         "off_before": 0.05, "off_after": 0.01, "energy_aj": 2 * 10**12},
        {"lesson": "b", "reason": "b was never taught", "response": "consolidate",
         "held": ["faces"], "energy_aj": 10**12},
        {"lesson": "c", "reason": "after 'b' was kept", "response": "rollback", "undone": "b",
         "pulses": 1234, "energy_aj": 10**9},
        {"lesson": "c", "reason": "nothing helps", "response": "nothing"},
        {"lesson": "d", "reason": "d was never taught", "response": "consolidate", "held": [],
         "energy_aj": 0},
    )  # fmt: skip
    lines = _changes(replace(ARM, drift=answers))
    assert lines[0][2:] == ("recalibrate: products 5.0 % off before, 1.0 % after", "2 µJ")
    assert lines[1][2] == "consolidate: importance measured anew for faces"
    assert lines[2][2] == "rollback: b was undone by 1,234 pulses"
    assert lines[3] == ("c", "nothing helps", "nothing", "")
    assert lines[4][2] == "consolidate: nothing to hold"
    assert _changes(ARM) == []


def test_the_boxes_compare_only_what_was_learned_and_count_in_good_english() -> None:
    boxes = {words: figure for figure, words in _facts(ARM, ARM)}
    assert boxes["of the same by plain fine-tuning is drawn right at the end"] == "60 %"
    assert boxes["lessons kept"] == "3"
    nothing = replace(
        ARM,
        lessons=(replace(ARM.lessons[0], action="rollback"),),
        rows=(row("start", faces=1.0, flags=1.0), row("a rolled back", faces=1.0, flags=1.0)),
    )
    boxes = {words: figure for figure, words in _facts(nothing, ARM)}
    assert not any("drawn right" in words for words in boxes)
    assert (boxes["lesson undone"], boxes["lessons kept"]) == ("1", "0")
