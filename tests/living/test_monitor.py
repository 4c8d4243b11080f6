"""Verdicts follow from measurements."""

import math

import pytest

from clnf.core.records import Quality
from clnf.living.monitor import KeepKnowledge, MonitorParams

ORIGIN = Quality({"match": {"faces": 0.9, "flags": 1.0}})
MONITOR = KeepKnowledge(
    core=("faces", "flags"),
    origin=ORIGIN,
    params=MonitorParams(tolerance=0.2, mean_tolerance=0.1, learned_tolerance=0.4),
)


def after(**match: float) -> Quality:
    return Quality({"match": match})


def test_a_lesson_that_hurts_nothing_is_committed() -> None:
    verdict = MONITOR.judge(ORIGIN, after(faces=0.85, flags=1.0, hands=0.5))
    assert verdict.action == "commit"
    assert "faces" in verdict.reason


@pytest.mark.parametrize(
    ("match", "word"),
    [
        ({"faces": 0.6, "flags": 1.0}, "faces"),
        ({"faces": 0.78, "flags": 0.88}, "mean"),
        ({"faces": math.nan, "flags": 1.0}, "faces"),
    ],
)
def test_a_core_loss_is_rolled_back_and_named(match: dict[str, float], word: str) -> None:
    verdict = MONITOR.judge(ORIGIN, after(**match))
    assert verdict.action == "rollback"
    assert word in verdict.reason


def test_small_losses_cannot_add_up_as_the_core_is_held_against_its_first_measurement() -> None:
    once = after(faces=0.82, flags=0.95)
    assert MONITOR.judge(ORIGIN, once).action == "commit"
    twice = after(faces=0.74, flags=0.9)
    assert MONITOR.judge(once, twice).action == "rollback"


def test_a_concept_learned_earlier_is_held_against_the_lesson_before() -> None:
    before = after(faces=0.9, flags=1.0, hands=0.8)
    assert MONITOR.judge(before, after(faces=0.9, flags=1.0, hands=0.5)).action == "commit"
    verdict = MONITOR.judge(before, after(faces=0.9, flags=1.0, hands=0.3))
    assert verdict.action == "rollback"
    assert "hands" in verdict.reason


def test_what_a_commit_allowed_to_be_lost_is_named() -> None:
    before = after(faces=0.9, flags=1.0, hands=0.8, people=0.6)
    verdict = MONITOR.judge(before, after(faces=0.9, flags=1.0, hands=0.5, people=0.6))
    assert verdict.reason == (
        "core held; later lessons within tolerance (largest fall: hands, 30% of at most 40%)"
    )
    assert MONITOR.judge(ORIGIN, ORIGIN).reason == "core held"


def test_a_concept_that_still_matches_but_looks_strange_is_rolled_back() -> None:
    origin = Quality({"match": {"faces": 1.0, "flags": 1.0}, "kid": {"faces": 0.02, "flags": 0.0}})
    monitor = KeepKnowledge(core=("faces", "flags"), origin=origin)
    near = Quality({"match": {"faces": 1.0, "flags": 1.0}, "kid": {"faces": 0.2, "flags": 0.1}})
    assert monitor.judge(origin, near).action == "commit"
    far = Quality({"match": {"faces": 0.9, "flags": 1.0}, "kid": {"faces": 0.8, "flags": 0.1}})
    verdict = monitor.judge(origin, far)
    assert verdict.action == "rollback"
    assert "KID" in verdict.reason
