"""One compiled look equals the plain functions, on every shape and on what is not finite."""

import numpy as np
import pytest
import torch

from clnf.core.records import Batch
from clnf.streams.bundled import emoji32
from clnf.streams.byte_kernels import hash_words, interleave, quantise
from clnf.streams.digits import digits_part, split_digits
from clnf.streams.features import (
    describe,
    fingerprint,
    marks,
    plain_hash,
    summarise,
    to_bytes,
    windows_of,
    words_of,
)
from clnf.streams.sources import ArraySource, JoinSource, ShiftSource, SubsetSource, levels_of
from clnf.streams.survey import Survey, survey, survey_levels


def noise(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize(
    "shape",
    [
        (70, 1, 28, 28), (3, 3, 32, 32), (65, 3, 37, 50), (2, 1, 100, 64), (5, 1, 8, 9),
        (9, 12), (4, 1, 600), (3, 1, 6, 6), (2, 1, 8, 8, 8), (3, 5, 16, 16),
    ],
)  # fmt: skip
def test_a_survey_equals_the_plain_functions(shape) -> None:
    x = noise(*shape)
    seen = survey(Batch.of(x, 3))
    assert np.array_equal(seen.prints, fingerprint(x))
    assert np.array_equal(seen.features, describe(x))
    assert np.array_equal(seen.summary, summarise(x))
    plain = marks(x)
    assert (seen.marks is None) == (plain is None)
    assert plain is None or np.array_equal(seen.marks, plain)
    assert np.array_equal(seen.low, x.flatten(1).amin(1).numpy())
    assert np.array_equal(seen.high, x.flatten(1).amax(1).numpy())
    assert seen.finite.all()
    assert seen.label.tolist() == [3] * len(x)
    assert len(seen.select(np.array([1, 0]))) == 2


def equal(a: Survey, b: Survey) -> bool:
    for name in ("label", "weight", "prints", "features", "summary", "marks", "finite"):
        if not np.array_equal(getattr(a, name), getattr(b, name)):
            return False
    return bool(np.allclose(a.low, b.low, atol=1e-6) and np.allclose(a.high, b.high, atol=1e-6))


def test_bytes_are_surveyed_as_what_they_stand_for() -> None:
    digits, emoji = digits_part("held_out"), ArraySource(emoji32().images[:90], 7)
    index = torch.tensor([5, 1, 1, 80, 3])
    part = SubsetSource(digits, torch.arange(1000, 1100))
    joined = JoinSource([emoji, SubsetSource(emoji, index)])
    sources = [digits, emoji, part, joined, split_digits("domain")[1].test]
    for source in sources:
        stored = levels_of(source, index)
        assert stored is not None
        assert equal(survey_levels(stored), survey(source.take(index)))


def test_what_is_not_kept_as_bytes_is_not_taken_for_it() -> None:
    index = torch.arange(3)
    for source in (
        ArraySource(noise(5, 1, 28, 28), 0),
        ShiftSource(digits_part("held_out")),
        ArraySource(np.zeros((5, 28, 28, 4), np.uint8), 0),
        JoinSource([digits_part("held_out"), ArraySource(noise(5, 1, 28, 28), 0)]),
    ):
        assert levels_of(source, torch.tensor([2000, 1]) if len(source) == 2005 else index) is None
    assert levels_of(digits_part(), torch.empty(0, dtype=torch.int64)) is None


def test_what_is_not_finite_is_seen_and_harms_no_other_sample() -> None:
    x = noise(6, 1, 28, 28)
    clean = survey(Batch.of(x, 0))
    x[1, 0, 0, 0], x[2, 0, 5, 5], x[4] = float("nan"), float("inf"), -float("nan")
    seen = survey(Batch.of(x, 0))
    assert seen.finite.tolist() == [True, False, False, True, False, True]
    for row in (0, 3, 5):
        assert np.array_equal(seen.features[row], clean.features[row])
        assert seen.prints[row] == clean.prints[row]


def test_hashes_are_xxh64() -> None:
    """Of whole words, against values of the package xxhash 4.1.0."""
    reference = {8: 9820687458478070669, 32: 14696824831085589172, 40: 17715543491017654761}
    for size, value in reference.items():
        words = words_of(np.arange(size, dtype=np.uint8)[None])
        found = np.empty(1, np.int64)
        hash_words(words, found)
        assert int(found[0]) % 2**64 == value == int(plain_hash(words)[0]) % 2**64
    for size in (8, 24, 32, 64, 784):
        words = words_of(np.random.default_rng(size).integers(0, 256, (9, size), np.uint8))
        found = np.empty(9, np.int64)
        hash_words(words, found)
        assert np.array_equal(found, plain_hash(words))
        flipped = words ^ np.uint64(1) << np.uint64(17)
        other = np.empty(9, np.int64)
        hash_words(flipped, other)
        # Half of the bits change with one.
        changed = [bin(int(a) ^ int(b)).count("1") for a, b in zip(found, other, strict=True)]
        assert 20 < np.mean(changed) < 44


def test_rounding_and_turning_equal_their_plain_twins() -> None:
    x = torch.cat([noise(3, 1, 9, 9), torch.linspace(-1.5, 1.5, 81).reshape(1, 1, 9, 9)])
    x[0, 0, 0, :3] = (torch.tensor([0.5, 1.5, 2.5]) / 127.5) - 1.0
    levels = np.empty((4, 81), np.uint8)
    quantise(x.numpy().reshape(4, -1), levels)
    assert np.array_equal(levels, to_bytes(x).reshape(4, -1))
    rows = np.random.default_rng(0).integers(0, 256, (24, 40), np.uint8)
    turned = np.empty((40, 24), np.uint8)
    interleave(rows.view(np.uint64), turned.view(np.uint64))
    assert np.array_equal(turned, rows.T)


def test_every_mark_lies_inside_the_window_it_is_judged_without() -> None:
    for height, width in ((28, 28), (64, 48)):
        windows = windows_of(1, height, width)
        assert len(set(windows.hidden.sum(1))) == 1
        side = max(2, -(-max(height, width) // 20))
        across = width // side
        for mark in range(0, len(windows.of_mark), 7):
            x = torch.full((1, 1, height, width), -1.0)
            top, left = divmod(mark, across)
            x[0, 0, top * side : (top + 1) * side, left * side : (left + 1) * side] = 1.0
            touched = describe(x)[0] != describe(torch.full_like(x, -1.0))[0]
            assert windows.hidden[windows.of_mark[mark]][touched].all()
