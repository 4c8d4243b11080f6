"""The vote finds flipped labels and backdoors, and lets honest lessons pass."""

import numpy as np
import pytest
import torch

from clnf.core.errors import ConfigError
from clnf.core.records import Experience
from clnf.streams.ballot import Ballot, BallotParams
from clnf.streams.digits import digits_part
from clnf.streams.features import marks
from clnf.streams.gate import Gate
from clnf.streams.known import Digest, Known
from clnf.streams.rights import RIGHTS
from clnf.streams.sources import ArraySource

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

    def refused(self, gate: Gate) -> np.ndarray:
        admission = gate.admit(Experience(name="a", concept="a", data=self.source))
        found = np.zeros(len(self.y), bool)
        found[[flaw.index for flaw in admission.quarantined if flaw.check == "ballot"]] = True
        return found


def gate() -> Gate:
    return Gate([Ballot(("zero",))])


@pytest.mark.parametrize("flips", [0.05, 0.1, 0.2, 0.3])
def test_flipped_labels_are_found(flips) -> None:
    lesson = Lesson(flips)
    found = lesson.refused(gate())
    assert found[lesson.bad].mean() > (0.82 if flips <= 0.2 else 0.7)
    assert found[~lesson.bad].mean() < 0.03


def test_an_honest_lesson_of_the_hardest_pair_passes_whole() -> None:
    assert not Lesson().refused(gate()).any()


def test_without_the_bar_for_noise_honest_samples_would_go() -> None:
    """The control: what the bar is for."""
    eager = Gate([Ballot(params=BallotParams(noisy=0.0, crowd=1))])
    assert Lesson().refused(eager).sum() >= 10


def test_a_stamp_that_changes_labels_is_found_with_all_its_bearers() -> None:
    lesson = Lesson(stamps=0.02)
    found = lesson.refused(gate())
    assert found[lesson.bad].all()
    assert found[~lesson.bad].mean() < 0.005
    reasons = {
        flaw.reason
        for flaw in gate().admit(Experience(name="a", concept="a", data=lesson.source)).quarantined
    }
    assert reasons == {"bears a mark that goes with wrong labels, always concept 4"}


def test_bearers_do_not_vouch_for_one_another() -> None:
    """The control: with the first vote alone, half of them would have to be doubted."""
    lesson = Lesson(stamps=0.02)
    gate_ = gate()
    digest, _ = gate_._screen(lesson.source, RIGHTS["new"])
    elected, _ = Ballot()._elect(digest, Known())
    assert (elected >= 0)[lesson.bad].mean() < 0.5


def test_a_stamp_on_true_labels_is_not_seen_and_the_docs_say_so() -> None:
    lesson = Lesson(stamps=0.04, relabel=False)
    assert lesson.bad.sum() > 10
    assert not lesson.refused(gate()).any()
    assert "clean-label backdoor" in (Ballot.__doc__ or "")


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


def test_marks_are_block_contents() -> None:
    x = torch.full((2, 1, 28, 28), -1.0)
    x[1, 0, 24:27, 3:6] = 1.0
    codes = marks(x)
    assert codes is not None
    assert codes.shape == (2, 196)
    changed = np.flatnonzero(codes[0] != codes[1])
    # 3x3 pixels hold one whole block of 2x2 (row 12, column 2) and touch three others.
    assert set(changed) == {12 * 14 + 1, 12 * 14 + 2, 13 * 14 + 1, 13 * 14 + 2}
    assert codes[1, 12 * 14 + 2] == 255
    assert marks(torch.zeros(2, 5)) is None
    wide = marks(torch.zeros(1, 3, 64, 48))
    assert wide is not None
    assert wide.shape == (1, 16 * 12)


def test_marks_survive_in_references(tmp_path) -> None:
    known = gate()
    known.know(Lesson().source)
    copy = Known()
    copy.load_state_dict(known.known.state_dict())
    assert np.array_equal(copy.references.marks, known.known.references.marks)
    assert Digest.join([]).marks is None


def test_wrong_settings_are_refused() -> None:
    for settings in ({"voters": 2}, {"lead": 16}, {"noisy": 1.0}, {"bearers": 1}):
        with pytest.raises(ConfigError, match="a ballot needs"):
            BallotParams(**settings)
