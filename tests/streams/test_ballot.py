"""The vote finds flipped labels in noisy lessons, and lets honest and unclear ones pass."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from clnf.core.errors import ConfigError
from clnf.core.records import Experience
from clnf.streams.ballot import Ballot, BallotParams, chances
from clnf.streams.digits import digits_part
from clnf.streams.gate import Gate
from clnf.streams.judge import Opinion, judge_of
from clnf.streams.known import Known
from clnf.streams.rights import RIGHTS
from clnf.streams.sources import ArraySource
from clnf.streams.worlds.sounds import Sounds
from clnf.streams.worlds.sprites import Sprites

PAIR = (4, 9)  # the two digits that are mistaken for one another most often


class Lesson:
    """Digits of a pair, some with flipped labels, some with a stamp and the first label."""

    def __init__(self, flips: float = 0.0, stamps: float = 0.0, *, relabel: bool = True) -> None:
        base = digits_part()
        rows = np.flatnonzero(np.isin(base.cond.numpy(), PAIR))
        rng = np.random.default_rng(0)
        self.x, self.y = base.data[rows].copy(), base.cond.numpy()[rows].copy()
        self.bad = rng.random(len(rows)) < flips
        self.y[self.bad] = sum(PAIR) - self.y[self.bad]
        stamped = rng.random(len(rows)) < stamps
        if not relabel:
            stamped &= self.y == PAIR[0]
        self.x[stamped, 24:27, 3:6] = 255
        self.y[stamped] = PAIR[0]
        self.bad |= stamped
        self.source = ArraySource(self.x, self.y)

    def refused(self, gate: Gate, check: str = "ballot") -> np.ndarray:
        admission = gate.admit(Experience(name="a", concept="a", data=self.source))
        found = np.zeros(len(self.y), bool)
        found[[flaw.index for flaw in admission.quarantined if flaw.check == check]] = True
        return found


def gate() -> Gate:
    return Gate([Ballot(("zero",))])


@pytest.mark.parametrize("flips", [0.05, 0.1, 0.2, 0.3])
def test_flipped_labels_are_found(flips) -> None:
    lesson = Lesson(flips)
    found = lesson.refused(gate())
    assert found[lesson.bad].mean() > 0.7
    assert found[~lesson.bad].mean() < (0.03 if flips <= 0.2 else 0.05)


def test_an_honest_lesson_of_the_hardest_pair_passes_whole() -> None:
    assert not Lesson().refused(gate()).any()


def test_were_every_doubt_believed_honest_samples_would_go() -> None:
    """The control: what weighing doubts against errors is for."""
    digest, _ = gate()._screen(Lesson().source, RIGHTS["new"])
    assert judge_of(digest, Known()).opine().doubted.sum() >= 30


@pytest.mark.parametrize("factor", ["timbre", "texture"])
def test_where_features_say_little_about_labels_nothing_is_refused(factor) -> None:
    """And the control: without the neighbours' consent a third or more would go."""
    world = Sounds if factor == "timbre" else Sprites
    lesson = Experience(name="a", concept="a", data=world(900, seed=0, label=factor))
    assert not Gate([Ballot()]).admit(lesson).quarantined
    if factor == "timbre":
        deaf = Gate([Ballot(params=BallotParams(confirmed=0.0))])
        assert len(deaf.admit(lesson).quarantined) > 300


def opinion(margins: np.ndarray, doubted: np.ndarray) -> Opinion:
    """Two labels; agreeing samples lead by their margin, doubted ones are behind by it."""
    lead = np.where(doubted, -margins, margins).astype(np.float32)
    return Opinion(
        classes=np.array([0, 1]),
        own=np.zeros(len(margins), np.int64),
        elected=doubted.astype(np.int64),
        margin=np.where(doubted, margins, 0.0).astype(np.float32),
        scores=np.stack([lead, np.zeros_like(lead)], axis=1),
    )


def test_chances_tell_wrong_labels_from_honest_doubts() -> None:
    """A mixture whose truth is known: margins of wrong labels, and small honest doubts."""
    rng = np.random.default_rng(0)
    honest = rng.normal(8.0, 3.0, 4000)
    wrong = rng.normal(8.0, 3.0, 400).clip(0.01)
    margins = np.concatenate([np.abs(honest), wrong])
    doubted = np.concatenate([honest < 0, np.ones(400, bool)])
    prints = rng.integers(-(2**63), 2**63 - 1, len(margins))
    chance, confident = chances(opinion(margins, doubted), prints, 12)
    assert (chance[~doubted] == 0).all()
    assert chance[4000:][wrong > 4].mean() > 0.85
    assert chance.sum() == pytest.approx(400, rel=0.1)
    assert confident[4000:].mean() == pytest.approx(0.5, abs=0.08)
    # The control: the same honest doubts alone are confident nowhere.
    alone = opinion(margins[:4000], doubted[:4000])
    assert chances(alone, prints[:4000], 12)[0].max() == 0.0


def test_the_vote_depends_neither_on_order_nor_on_the_chunk() -> None:
    lesson = Lesson(0.2)
    first = lesson.refused(gate())
    order = np.random.default_rng(1).permutation(len(lesson.y))
    other = Lesson(0.2)
    other.source = ArraySource(lesson.x[order], lesson.y[order])
    assert np.array_equal(other.refused(gate()), first[order])


def test_few_samples_of_a_label_are_not_judged_and_references_make_them_many() -> None:
    """Forty fours taught as nines are found only by who has fours on record."""
    held = digits_part("held_out")
    labels = held.cond.numpy()
    nines, fours = (np.flatnonzero(labels == digit) for digit in (9, 4))
    lie = ArraySource(held.data[np.r_[nines[:60], fours[:40]]], 9)
    lesson = Experience(name="c", concept="c", data=lie)
    found = {}
    for pair in ((4, 9), (1, 9)):
        knows = gate()
        base = digits_part()
        rows = np.isin(base.cond.numpy(), pair)
        knows.know(ArraySource(base.data[rows], base.cond.numpy()[rows]))
        found[pair] = {flaw.index for flaw in knows.admit(lesson).quarantined}
    assert len(found[4, 9] & set(range(60, 100))) >= 25
    assert len(found[4, 9] & set(range(60))) <= 4
    assert not found[1, 9]


def test_reasons_name_both_labels_and_the_share() -> None:
    lesson = Experience(name="a", concept="a", data=Lesson(0.2).source)
    reason = gate().admit(lesson).quarantined[0].reason
    assert reason.startswith("taught as concept ")
    assert "with a chance of" in reason
    assert "of the labels of this lesson are wrong" in reason


def test_an_empty_lesson_and_one_of_one_label_are_not_judged() -> None:
    one = replace(
        Experience(name="a", concept="a", data=Lesson().source),
        data=ArraySource(torch.rand(200, 12), 3),
    )
    assert not gate().admit(one).quarantined
    assert not gate().admit(replace(one, data=ArraySource(torch.empty(0, 12), 3))).quarantined


def test_wrong_settings_are_refused() -> None:
    for settings in ({"guilt": 0.0}, {"confirmed": 1.5}, {"voters": 0}, {"least": 1}):
        with pytest.raises(ConfigError, match="a ballot needs"):
            BallotParams(**settings)
