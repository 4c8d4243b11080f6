"""Streams offer their lessons in order, with the data and labels they promise."""

import numpy as np
import pytest
import torch

from clnf.core.errors import ConfigError
from clnf.core.records import Experience
from clnf.streams.bundled import CONCEPTS, digits10k, emoji32, split
from clnf.streams.sources import to_levels
from clnf.streams.stream import (
    EMOJI_LESSONS,
    Lesson,
    Stream,
    digits_stream,
    emoji_source,
    emoji_stream,
)


def everything(experience: Experience) -> tuple[np.ndarray, np.ndarray]:
    batch = experience.data.take(torch.arange(len(experience.data)))
    return to_levels(batch.x.nan_to_num(0.0)), batch.cond.numpy()


def test_standard_stream_teaches_four_new_families_and_hides_three_traps() -> None:
    stream = emoji_stream()
    assert stream.names == tuple(lesson.name for lesson in EMOJI_LESSONS)
    assert len(stream) == 6
    assert list(stream.truth) == ["people, partly poisoned"]
    harmful = stream[4]
    images, cond = everything(harmful)
    assert harmful.concept == "faces"
    assert set(cond) == {CONCEPTS.index("faces")}
    assert np.array_equal(images, emoji32().images[split("mammals")])
    for experience in stream:
        assert set(everything(experience)[1]) == {CONCEPTS.index(experience.concept)}
        assert "emoji32" in experience.provenance
    assert "48 bad ones" in stream[2].provenance


def test_faces_again_are_moved_copies_of_every_face() -> None:
    again, _ = everything(emoji_stream()[1])
    faces = emoji32().images[split("faces")]
    known = {image.tobytes() for image in faces}
    assert len(again) == len(faces)
    assert not any(image.tobytes() in known for image in again)
    assert np.abs(again.astype(int) - faces).mean() < 40


def test_stream_is_the_same_for_the_same_seed_and_can_be_entered_anywhere() -> None:
    a, b, c = emoji_stream(seed=1), emoji_stream(seed=1), emoji_stream(seed=2)
    for number in (1, 2):
        assert np.array_equal(everything(a[number])[0], everything(b[number])[0])
        assert not np.array_equal(everything(a[number])[0], everything(c[number])[0])
    assert a.truth == b.truth
    assert np.array_equal(everything(a[0])[0], everything(c[0])[0])


def test_bad_lessons_are_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="unknown concept 'dragons'"):
        emoji_stream([Lesson(name="x", family="hands", concept="dragons")])
    with pytest.raises(ConfigError, match="no emoji family"):
        emoji_stream([Lesson(name="x", family="dragons", concept="hands")])
    with pytest.raises(ConfigError, match="'hands' comes twice"):
        emoji_stream([EMOJI_LESSONS[0]] * 2)


def test_own_experiences_make_a_stream() -> None:
    one = Experience(name="a", concept="hands", data=emoji_source("hands", 5))
    assert list(Stream([one])) == [one]
    assert Stream([one]).truth == {}


def test_digit_stream_splits_digits_and_parts_without_overlap() -> None:
    train, held = digits_stream(), digits_stream(part="held_out")
    assert train.names == (
        "digits 0 1",
        "digits 2 3",
        "digits 4 5",
        "digits 6 7",
        "digits 8 9",
    )
    total = 0
    for number, (a, b) in enumerate(zip(train, held, strict=True)):
        (x, y), (_u, v) = everything(a), everything(b)
        assert x.shape[1:] == (28, 28, 1)
        assert set(y) == set(v) == {2 * number, 2 * number + 1}
        assert len(y) / (len(y) + len(v)) == pytest.approx(0.8, abs=0.002)
        total += len(y) + len(v)
    assert total == 10000
    everyone = digits_stream([range(10)], "all")
    images, labels = everything(everyone[0])
    assert np.array_equal(np.bincount(labels), np.bincount(digits10k().labels))
    assert np.array_equal(images[labels == 3], digits10k().images[digits10k().labels == 3])


def test_digit_streams_check_their_arguments() -> None:
    with pytest.raises(ConfigError, match="0 to 9"):
        digits_stream([(0, 10)])
    with pytest.raises(ConfigError, match="share"):
        digits_stream(share=0.0)
