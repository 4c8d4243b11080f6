"""The label check doubts what the neighbourhood contradicts, and lets the novel pass."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from clnf.core.errors import ConfigError
from clnf.core.records import Batch
from clnf.streams.bundled import digits10k
from clnf.streams.features import describe, fingerprint, summarise
from clnf.streams.judge_kernels import nearest
from clnf.streams.known import Digest, Known
from clnf.streams.neighbours import LabelParams, Labels, NearDuplicates
from clnf.streams.sources import ArraySource, ShiftSource
from clnf.streams.stream import emoji_source
from clnf.streams.worlds.sprites import Sprites


def cloud(count: int, centre: float, label: int, seed: int = 0) -> Digest:
    """Points around a centre in a plane of whole numbers."""
    rng = np.random.default_rng(seed)
    features = np.rint(rng.normal(centre, 10.0, (count, 2))).astype(np.float32)
    return Digest(
        position=np.arange(count),
        prints=rng.integers(0, 2**62, count),
        label=np.full(count, label),
        features=features,
        summary=np.zeros((count, 5)),
    )


def digest(batch: Batch) -> Digest:
    return Digest(
        position=np.arange(len(batch)),
        prints=fingerprint(batch.x),
        label=batch.cond.numpy(),
        features=describe(batch.x),
        summary=summarise(batch.x),
    )


def test_a_sample_among_another_label_is_doubted() -> None:
    known = Known()
    known.add(cloud(60, 0.0, 0))
    liars = cloud(3, 0.0, 1, seed=2)
    liars.features[:] = [(0, 0), (10, 10), (-10, -10)]
    found = Labels(("left", "right")).find(Digest.join([cloud(40, 200.0, 1, seed=1), liars]), known)
    assert set(found) == {40, 41, 42}
    assert found[40] == "taught as 'right', but lies among 'left' (5 of 5 neighbours)"


def test_a_new_kind_far_from_everything_passes() -> None:
    known = Known()
    known.add(cloud(60, 0.0, 0))
    assert Labels().find(cloud(40, 200.0, 1, seed=1), known) == {}
    # So does something new under an old name: consistent lies are for probes to catch.
    known.add(cloud(60, -200.0, 1, seed=3))
    assert Labels().find(cloud(40, 200.0, 1, seed=1), known) == {}


def test_one_lonely_sample_of_a_new_label_cannot_be_judged() -> None:
    known = Known()
    known.add(cloud(60, 0.0, 0))
    assert Labels().find(cloud(1, 0.0, 1, seed=2), known) == {}
    # With its kind on record it can.
    known.add(cloud(60, 200.0, 1, seed=4))
    assert set(Labels().find(cloud(1, 0.0, 1, seed=2), known)) == {0}


def test_liars_lose_their_vote_once_found() -> None:
    known = Known()
    known.add(digest(emoji_source("clocks", 3).take(torch.arange(19))))
    clocks = ShiftSource(emoji_source("clocks", 6))
    liars = clocks.take(torch.tensor([11, 25 + 7, 50 + 13]))  # three clocks, each moved by a pixel
    people = emoji_source("people", 6).take(torch.arange(112))
    lesson = digest(Batch.cat([people, liars]))
    one = Labels(params=LabelParams(rounds=1)).find(lesson, known)
    three = Labels(params=LabelParams(rounds=3)).find(lesson, known)
    assert set(one) < set(three)
    assert set(three) == {112, 113, 114}


def test_without_references_the_lesson_judges_itself() -> None:
    digits = digits10k()
    rng = np.random.default_rng(0)
    index = rng.permutation(10000)[:1500]
    labels = digits.labels[index].copy()
    wrong = rng.permutation(1500)[:60]
    labels[wrong] = (labels[wrong] + rng.integers(1, 10, 60)) % 10
    batch = ArraySource(digits.images[index], labels).take(torch.arange(1500))
    found = set(Labels().find(digest(batch), Known()))
    caught = len(found & set(wrong.tolist()))
    assert caught >= 30  # half of them, at
    assert len(found - set(wrong.tolist())) <= 0.01 * 1440  # less than one good digit in a hundred


def test_result_does_not_depend_on_block_size_or_order(monkeypatch: pytest.MonkeyPatch) -> None:
    known = Known()
    known.add(digest(emoji_source("flags", 2).take(torch.arange(200))))
    people = emoji_source("people", 6).take(torch.arange(100))
    flags = emoji_source("flags", 6, "held_out").take(torch.arange(20))
    lesson = digest(Batch.cat([people, flags]))
    expected = Labels().find(lesson, known)
    assert len(expected) >= 10
    monkeypatch.setattr("clnf.streams.witnesses._BLOCK", 7)
    assert Labels().find(lesson, known) == expected
    order = np.random.default_rng(0).permutation(len(lesson))
    shuffled = Labels().find(lesson.select(order), known)
    assert {int(order[row]) for row in shuffled} == set(expected)


def test_near_duplicates_keep_the_first_of_each_group() -> None:
    x = emoji_source("faces", 0).take(torch.arange(5)).x
    batch = Batch.of(torch.cat([x, (x[1:2] * 0.99), x[1:2]]), 0)
    found = NearDuplicates().find(digest(batch), Known())
    assert set(found) == {5, 6}
    assert found[5] == "almost the same as sample 1"
    known = Known()
    known.add(digest(batch.select(torch.arange(2))))
    found = NearDuplicates().find(digest(Batch.of(x * 0.99, 0)), known)
    assert {i: r for i, r in found.items() if i < 2} == dict.fromkeys(
        (0, 1), "almost the same as a reference"
    )
    assert NearDuplicates().find(Digest.join([]), known) == {}


def test_no_near_duplicate_is_overlooked_by_sorting() -> None:
    """The plain twin: all pairs compared."""
    rng = np.random.default_rng(0)
    features = rng.integers(0, 30, (400, 3)).astype(np.float32)
    lesson = Digest(
        position=np.arange(400),
        prints=rng.integers(0, 2**62, 400),
        label=np.zeros(400, np.int64),
        features=features,
        summary=np.zeros((400, 5)),
    )
    squares = ((features[:, None] - features[None]) ** 2).sum(2)
    squares[np.triu_indices(400)] = np.inf
    plain = {
        row: f"almost the same as sample {squares[row].argmin()}"
        for row in np.flatnonzero(squares.min(1) <= 3 * 1.5**2).tolist()
    }
    assert len(plain) > 50
    assert NearDuplicates(1.5).find(lesson, Known()) == plain


def test_where_like_samples_bear_unlike_labels_nobody_is_doubted() -> None:
    sprites = Sprites(300, seed=0, label="shape")
    lesson = digest(sprites.take(torch.arange(300)))
    assert Labels().find(lesson, Known()) == {}
    # The control: without that question many would be.
    assert len(Labels(params=LabelParams(telling=0.0)).find(lesson, Known())) > 20


def test_in_a_long_lesson_only_the_doubted_are_looked_at_and_found_as_before() -> None:
    digits = digits10k()
    rng = np.random.default_rng(1)
    index = rng.permutation(10000)[:1500]
    labels = digits.labels[index].copy()
    wrong = rng.permutation(1500)[:15]
    labels[wrong] = (labels[wrong] + rng.integers(1, 10, 15)) % 10
    lesson = digest(ArraySource(digits.images[index], labels).take(torch.arange(1500)))
    quick = set(Labels().find(lesson, Known()))
    lesson = replace(lesson, shared={})
    whole = set(Labels(params=LabelParams(many=10**6)).find(lesson, Known()))
    assert quick <= whole
    assert quick & set(wrong.tolist()) == whole & set(wrong.tolist())


def test_the_kernel_finds_the_nearest_in_order() -> None:
    rng = np.random.default_rng(0)
    squares = rng.integers(0, 20, (30, 50)).astype(np.float32)
    squares[3] = np.inf
    found = np.empty((30, 7), np.int64)
    nearest(squares, found)
    assert np.array_equal(found, np.argsort(squares, axis=1, kind="stable")[:, :7])


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ConfigError):
        LabelParams(neighbours=1)
    with pytest.raises(ConfigError):
        LabelParams(twin_margin=0.5)
