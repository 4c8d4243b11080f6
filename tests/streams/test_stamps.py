"""Backdoors are found with all their bearers, and honest traits are no marks."""

import math

import numpy as np
import pytest
import torch
from tests.streams.test_ballot import Lesson

from clnf.core.errors import ConfigError
from clnf.core.records import Batch, Experience
from clnf.streams.digits import digits_part
from clnf.streams.features import marks
from clnf.streams.gate import Gate
from clnf.streams.judge import judge_of
from clnf.streams.judge_kernels import count_marks, surprise
from clnf.streams.known import Digest, Known
from clnf.streams.sources import ArraySource
from clnf.streams.stamps import StampParams, Stamps
from clnf.streams.survey import survey


def gate() -> Gate:
    return Gate([Stamps()])


def test_a_stamp_that_changes_labels_is_found_with_all_its_bearers() -> None:
    lesson = Lesson(stamps=0.03)
    found = lesson.refused(gate(), "stamp")
    assert found[lesson.bad].all()
    assert found[~lesson.bad].mean() < 0.005
    offered = Experience(name="a", concept="a", data=lesson.source)
    reasons = {flaw.reason for flaw in gate().admit(offered).quarantined}
    assert reasons == {"bears a mark that goes with wrong labels, always concept 4"}


@pytest.mark.parametrize("corner", [(24, 3), (12, 12), (1, 13), (13, 24)])
def test_a_stamp_is_found_wherever_it_lies(corner) -> None:
    base = digits_part("held_out")
    x, y = base.data.copy(), base.cond.clone()
    bad = np.random.default_rng(0).permutation(2000)[:60]
    top, left = corner
    chequered = 255 * (np.add.outer(np.arange(3), np.arange(3)) % 2 == 0)
    x[bad, top : top + 3, left : left + 3, 0] = chequered
    y[bad] = 7
    admission = gate().admit(Experience(name="a", concept="a", data=ArraySource(x, y)))
    refused = {flaw.index for flaw in admission.quarantined}
    assert len(refused & set(bad.tolist())) >= 57
    assert len(refused) <= 66


def test_who_sees_the_stamp_doubts_nobody() -> None:
    """The control: with the whole picture in view the judge has learned what a stamp means."""
    lesson = Lesson(stamps=0.03)
    batch = lesson.source.take(torch.arange(len(lesson.y)))
    seen = survey(batch)
    digest = Digest(
        position=np.arange(len(seen)),
        prints=seen.prints,
        label=seen.label,
        features=seen.features,
        summary=seen.summary,
    )
    judge = judge_of(digest, Known())
    rows = np.flatnonzero(lesson.bad)
    assert seen.windows is not None
    whole, _ = judge.confident(np.zeros((1, seen.features.shape[1]), bool), rows)
    hidden, _ = judge.confident(seen.windows.hidden[6:7], rows)
    assert whole.mean() < 0.5 * hidden.mean()


def test_honest_lessons_and_stamps_on_true_labels_pass_and_the_docs_say_so() -> None:
    assert not Lesson().refused(gate(), "stamp").any()
    clean = Experience(name="a", concept="a", data=digits_part("held_out"))
    assert not gate().admit(clean).quarantined
    lesson = Lesson(stamps=0.04, relabel=False)
    assert lesson.bad.sum() > 10
    assert not lesson.refused(gate(), "stamp").any()
    assert "clean-label backdoor" in (Stamps.__doc__ or "")


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


def test_marks_survive_in_references() -> None:
    known = gate()
    known.know(Lesson().source)
    copy = Known()
    copy.load_state_dict(known.known.state_dict())
    assert np.array_equal(copy.references.marks, known.known.references.marks)
    assert Digest.join([]).marks is None


def test_surprise_bounds_the_chance_of_so_many() -> None:
    for have, bad, share in ((8, 7, 0.08), (40, 20, 0.1), (100, 15, 0.05)):
        exact = sum(
            math.comb(have, k) * share**k * (1 - share) ** (have - k) for k in range(bad, have + 1)
        )
        assert math.exp(-surprise(have, bad, share, 10**6)) >= exact
        assert surprise(have, bad, share, 10**6) >= 0.6 * -math.log(exact)
    assert surprise(50, 2, 0.1, 100) == 0.0
    assert surprise(8, 8, 0.0, 100) == pytest.approx(8 * math.log(200))


def test_counting_equals_its_plain_twin() -> None:
    rng = np.random.default_rng(0)
    marks_, own = rng.integers(0, 4, (300, 5)).astype(np.uint8), rng.integers(-1, 3, 300)
    doubted, window = rng.random((2, 300)) < 0.1, np.array([0, 1, 0, 1, 0])
    planted = (own == 1) & (rng.random(300) < 0.3)
    marks_[planted, 3] = 200
    doubted[1, planted] = rng.random(planted.sum()) < 0.8
    limits = np.array([4.0, 5.0, 0.15, 0.1])
    found, score = np.empty((50, 3), np.int64), np.empty(50)
    count = count_marks(marks_, own, (doubted, window), limits, found, score)
    plain = set()
    for kind in range(3):
        mine = own == kind
        for m in range(5):
            bad = doubted[window[m]]
            for code in np.unique(marks_[:, m]):
                bears = marks_[:, m] == code
                have, wrong = (mine & bears).sum(), (mine & bears & bad).sum()
                others = (bears & (own >= 0) & ~mine & ~bad).sum()
                usual = bad[mine].mean()
                fits = wrong >= 2 and have >= 4 and 2 * have <= mine.sum()
                fits &= bool(wrong >= (usual + 0.15) * have and others <= 0.1 * have)
                if fits and surprise(int(have), int(wrong), float(usual), int(mine.sum())) >= 5:
                    plain.add((kind, m, int(code)))
    assert {tuple(row) for row in found[:count].tolist()} == plain == {(1, 3, 200)}


def test_wrong_settings_are_refused() -> None:
    for settings in ({"bearers": 1}, {"nats": 0.0}, {"excess": 0.0}, {"trials": 0}):
        with pytest.raises(ConfigError, match="stamps need"):
            StampParams(**settings)


def test_samples_that_are_no_pictures_bear_no_marks() -> None:
    batch = Batch.of(torch.rand(200, 12), 0)
    source = ArraySource(batch.x, torch.arange(200) % 2)
    assert not gate().admit(Experience(name="a", concept="a", data=source)).quarantined
