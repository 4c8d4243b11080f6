"""What is new in a lesson is said, what is more of the same is not, and asking changes nothing."""

import json

import numpy as np
import pytest

from clnf.streams.drift_lessons import LessonWatch
from clnf.streams.known import Digest

NAMES = ["", "faces", "hands", "hearts"]


def digest(seed: int, counts: dict[int, int], shift: float = 0.0) -> Digest:
    """Samples of some labels, whose contrast lies ``shift`` deviations higher than usual."""
    rng = np.random.default_rng(seed)
    label = np.repeat(list(counts), list(counts.values()))
    summary = rng.normal(size=(len(label), 5)) * 0.2
    summary[:, 1] += 0.2 * shift
    return Digest(
        position=np.arange(len(label)),
        prints=rng.integers(-(2**63), 2**63 - 1, len(label)),
        label=label,
        features=np.zeros((len(label), 1), np.float32),
        summary=summary,
    )


def watch() -> LessonWatch:
    made = LessonWatch()
    made.add(digest(0, {1: 120, 2: 120}))
    return made


def test_more_of_the_same_is_no_news() -> None:
    seen = [watch().look(digest(seed, {1: 40, 2: 40})) for seed in range(1, 41)]
    assert sum(map(bool, seen)) <= 1


@pytest.mark.parametrize("seed", range(1, 6))
def test_each_kind_of_news_is_named(seed: int) -> None:
    (new,) = watch().look(digest(seed, {3: 20}))
    assert (new.kind, new.sentence(NAMES)) == ("concept", "hearts was never taught")
    (other,) = watch().look(digest(seed, {1: 40}, shift=2.0))
    assert (other.kind, other.sentence(NAMES)) == ("look", "faces looks other in contrast")
    assert other.sentence() == "label 1 looks other in contrast"
    (shares,) = watch().look(digest(seed, {1: 5, 2: 75}))
    assert (shares.kind, shares.sentence(NAMES)) == (
        "shares",
        "labels come in other shares (1, 2)",
    )


def test_a_lesson_of_one_label_is_no_change_of_shares() -> None:
    assert watch().look(digest(1, {2: 80})) == ()
    assert watch().look(digest(1, {}).select(np.arange(0))) == ()


def test_a_slow_drift_over_lessons_is_seen_in_the_end() -> None:
    slow, still = watch(), watch()
    found = []
    for number in range(1, 11):
        found.append(bool(slow.look(digest(number, {1: 40}, shift=0.25 * number))))
        slow.add(digest(number, {1: 40}, shift=0.25 * number))
        assert not still.look(digest(number, {1: 40}))
        still.add(digest(number, {1: 40}))
    assert not found[0]
    assert any(found)


def test_asking_changes_nothing_and_a_restart_goes_on_alike() -> None:
    first, second = watch(), LessonWatch()
    before = first.state_dict()
    for lesson in (digest(1, {3: 20}), digest(2, {1: 40}, shift=2.0), digest(3, {1: 5, 2: 75})):
        assert first.look(lesson) == first.look(lesson)
    assert first.state_dict() == before
    second.load_state_dict(json.loads(json.dumps(before)))
    for seed in range(4, 8):
        assert first.look(digest(seed, {1: 9, 2: 40})) == second.look(digest(seed, {1: 9, 2: 40}))
        first.add(digest(seed, {1: 9, 2: 40}))
        second.add(digest(seed, {1: 9, 2: 40}))
    assert first.state_dict() == second.state_dict() != before
    # Order is no drift: the samples are taken in the order of their hashes.
    mixed = digest(9, {1: 40}, shift=0.5)
    turned = mixed.select(np.arange(len(mixed))[::-1])
    assert first.look(mixed) == first.look(turned)
