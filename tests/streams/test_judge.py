"""The judge equals a plain discriminant, judges nobody by himself, and is exact."""

import numpy as np
import pytest
import torch

from clnf.core.errors import ConfigError
from clnf.streams.digits import digits_part
from clnf.streams.judge import Judge, judge_of
from clnf.streams.judge_kernels import first_of_each, mean_distance
from clnf.streams.known import Digest, Known
from clnf.streams.survey import survey


def digest(count: int = 900, flips: float = 0.0) -> Digest:
    base = digits_part()
    index = torch.from_numpy(np.random.default_rng(0).permutation(8000)[:count])
    seen = survey(base.take(index))
    label = seen.label.copy()
    rng = np.random.default_rng(1)
    bad = rng.random(count) < flips
    label[bad] = (label[bad] + rng.integers(1, 10, bad.sum())) % 10
    return Digest(
        position=np.arange(count),
        prints=seen.prints,
        label=label,
        features=seen.features,
        summary=seen.summary,
    )


def plain(x: np.ndarray, y: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Log odds by the textbook, in double precision."""
    kinds = np.unique(y)
    mean = np.stack([x[y == one].mean(0) for one in kinds])
    gap = x - mean[np.searchsorted(kinds, y)]
    inside = gap.T @ gap / len(x)
    inside += np.eye(len(inside)) * (0.05 * np.trace(inside) / len(inside) + 1e-12)
    weights = np.linalg.solve(inside, mean.T)
    return asked @ weights - 0.5 * (mean.T * weights).sum(0)


def test_the_judge_equals_the_textbook_and_each_half_judges_the_other() -> None:
    lesson = digest()
    opinion = Judge(lesson, Known(), least=20, most=2048).opine()
    x, half = lesson.features.astype(float), lesson.prints & 1
    for mine in (0, 1):
        exact = plain(x[half == mine], lesson.label[half == mine], x[half != mine])
        found = opinion.scores[half != mine]
        exact -= exact.mean(1, keepdims=True)
        found = found - found.mean(1, keepdims=True)
        assert np.abs(found - exact).max() < 0.05
        assert (found.argmax(1) == exact.argmax(1)).mean() > 0.99
    assert opinion.accuracy > 0.8


def test_references_testify_for_both_halves() -> None:
    lesson = digest()
    known = Known()
    known.add(lesson.select(np.arange(450)))
    rest = lesson.select(np.arange(450, 900))
    x, half = rest.features.astype(float), rest.prints & 1
    opinion = Judge(rest, known, least=20, most=2048).opine()
    old = known.references
    both = np.concatenate([old.features, x[half == 0]]).astype(float)
    exact = plain(both, np.concatenate([old.label, rest.label[half == 0]]), x[half == 1])
    assert (opinion.scores[half == 1].argmax(1) == exact.argmax(1)).mean() > 0.995


def test_opinions_do_not_depend_on_threads_or_order() -> None:
    lesson = digest(flips=0.2)
    first = Judge(lesson, Known(), least=20, most=2048).opine()
    torch.set_num_threads(2 if torch.get_num_threads() == 1 else 1)
    again = Judge(lesson, Known(), least=20, most=2048).opine()
    assert np.array_equal(first.scores, again.scores)
    order = np.random.default_rng(3).permutation(len(lesson))
    other = Judge(lesson.select(order), Known(), least=20, most=2048).opine()
    assert np.array_equal(other.scores, first.scores[order])


def test_a_wrong_label_does_not_explain_itself() -> None:
    lesson = digest(flips=0.1)
    truth = digest().label
    bad = lesson.label != truth
    judge = Judge(lesson, Known(), least=20, most=2048)
    assert judge.opine().doubted[bad].mean() > 0.9
    # The control: who is judged by himself agrees with himself far more often.
    own = plain(lesson.features.astype(float), lesson.label, lesson.features.astype(float))
    assert (own.argmax(1) != lesson.label)[bad].mean() < judge.opine().doubted[bad].mean()


def test_labels_with_few_witnesses_are_neither_judged_nor_elected() -> None:
    lesson = digest()
    kept = (lesson.label != 3) | (np.cumsum(lesson.label == 3) <= 5)
    few = lesson.select(kept)
    judge = Judge(few, Known(), least=20, most=2048)
    assert 3 not in judge.classes
    assert (judge.own[few.label == 3] == -1).all()
    assert not judge.opine().doubted[few.label == 3].any()
    one = lesson.select(lesson.label == 1)
    alone = Judge(one, Known(), least=20, most=2048)
    assert not alone.able
    with pytest.raises(ConfigError, match="two labels"):
        alone.opine()


def test_margins_of_wrong_labels_are_foreseen() -> None:
    clean, spoilt = digest(2000), digest(2000, flips=0.2)
    bad = spoilt.label != clean.label
    opinion = Judge(spoilt, Known(), least=20, most=2048).opine()
    foreseen = np.median(opinion.margins_if_wrong(spoilt.prints))
    true = np.median(opinion.margin[bad & opinion.doubted])
    assert foreseen == pytest.approx(true, rel=0.15)


def test_a_judge_is_shared_until_something_was_refused() -> None:
    lesson = digest()
    first = judge_of(lesson, Known())
    assert judge_of(lesson.select(np.arange(900)), Known()) is first
    assert judge_of(lesson.select(np.arange(899)), Known()) is not first


def test_kernels_equal_their_plain_twins() -> None:
    rng = np.random.default_rng(0)
    prints = rng.integers(-50, 50, 200) * 7919
    first = np.empty(200, np.int64)
    first_of_each(prints, first)
    assert first.tolist() == [prints.tolist().index(one) for one in prints.tolist()]
    features = rng.integers(0, 256, (20, 9)).astype(np.float32)
    rows, centre, found = np.array([3, 3, 7]), features[0], np.empty(3)
    mean_distance(features, rows, centre, found)
    assert np.allclose(found, np.abs(features[rows] - centre).mean(1))
