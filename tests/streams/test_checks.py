"""Each check finds its own flaw, says so, and leaves good samples alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from clnf.core.records import Batch
from clnf.streams.checks import (
    AbstractSampleCheck,
    Duplicates,
    Finite,
    Flat,
    Noise,
    Outliers,
    Range,
    Schema,
)
from clnf.streams.digits import digits_part
from clnf.streams.known import Digest, Known
from clnf.streams.stream import emoji_source
from clnf.streams.survey import survey


def faces(count: int = 20) -> Batch:
    return emoji_source("faces", 0, "all").take(torch.arange(count))


def digest(batch: Batch) -> Digest:
    seen = survey(batch)
    return Digest(
        position=np.arange(len(batch)),
        prints=seen.prints,
        label=seen.label,
        features=seen.features,
        summary=seen.summary,
        pixels=seen.pixels,
        windows=seen.windows,
    )


def noisy(x: torch.Tensor) -> int:
    return len(Noise().find(digest(Batch.of(x, 0)), Known()))


SAMPLE_CHECKS = [Schema((3, 32, 32), 9), Finite(), Range(), Flat()]


@pytest.mark.parametrize("check", SAMPLE_CHECKS)
def test_clean_pictures_pass_every_sample_check(check: AbstractSampleCheck) -> None:
    batch = faces(len(emoji_source("faces", 0, "all")))
    assert check.find(batch) == {}
    sound = check.sound(survey(batch))
    assert sound is not None
    assert sound.all()


@pytest.mark.parametrize("check", SAMPLE_CHECKS)
def test_what_a_survey_calls_sound_no_check_refuses(check: AbstractSampleCheck) -> None:
    batch = faces(20)
    x = batch.x
    x[1, 0, 3, 3], x[2, 1, 0, 0], x[3] = float("nan"), float("-inf"), 0.25
    x[4] *= 127.5
    x[5] *= 1.001
    x[6, 0] = 1.0
    x[7] = torch.tensor([0.5, -0.5, 0.0])[:, None, None]
    weight = torch.ones(20)
    weight[8], weight[9] = float("nan"), -1.0
    cond = torch.zeros(20, dtype=torch.int64)
    cond[10], cond[11] = 9, -1
    spoilt = Batch(x=x, cond=cond, weight=weight)
    sound = check.sound(survey(spoilt))
    assert sound is not None
    assert not sound.all()
    assert not set(np.flatnonzero(sound).tolist()) & set(check.find(spoilt))


def test_schema_refuses_shape_type_concept_and_weight() -> None:
    batch = faces(3)
    wrong = Schema((3, 16, 16)).find(batch)
    assert set(wrong) == {0, 1, 2}
    assert wrong[0] == "shape [3, 32, 32], expected [3, 16, 16]"
    whole = replace(batch, x=batch.x.to(torch.int64))
    assert "floating point" in Schema().find(whole)[0]
    halves = replace(batch, cond=batch.cond.to(torch.int32))
    assert "int64" in Schema().find(halves)[0]
    strange = replace(batch, cond=torch.tensor([0, 9, -1]))
    assert Schema(concepts=9).find(strange) == {1: "unknown concept 9", 2: "unknown concept -1"}
    heavy = replace(batch, weight=torch.tensor([1.0, float("nan"), -1.0]))
    assert set(Schema().find(heavy)) == {1, 2}


def test_finite_counts_the_broken_values() -> None:
    batch = faces(3)
    batch.x[1, 0, 0, :2] = float("nan")
    batch.x[2, 0, 0, 0] = float("-inf")
    found = Finite().find(batch)
    assert found[1] == "2 of 3072 values are NaN or infinite"
    assert set(found) == {1, 2}


def test_range_names_the_values_seen() -> None:
    batch = faces(3)
    batch.x[1] *= 127.5
    batch.x[2] *= 1.0005  # rounding, not a mistake
    found = Range().find(batch)
    assert set(found) == {1}
    assert "allowed are -1 to 1" in found[1]


def test_flat_pictures_are_refused_even_when_coloured() -> None:
    batch = faces(3)
    batch.x[1] = torch.tensor([0.5, -0.5, 0.0])[:, None, None]
    assert set(Flat().find(batch)) == {1}
    assert Flat().find(Batch.of(torch.tensor([[1.0, 2.0], [3.0, 3.0]]), 0)) != {}


def test_noise_of_any_distribution_is_refused_and_textures_are_not() -> None:
    rng = torch.Generator().manual_seed(1)
    shape = (200, 3, 32, 32)
    uniform = torch.rand(shape, generator=rng) * 2 - 1
    normal = torch.randn(shape, generator=rng).mul(0.3).clamp(-1, 1)
    pepper = torch.where(torch.rand((200, 1, 32, 32), generator=rng) < 0.5, 1.0, -1.0)
    for noise in (uniform, normal, pepper.expand(shape)):
        assert noisy(noise) >= 190
    # Smoothed noise has structure of a sort; a texture must be teachable.
    kernel = torch.full((1, 1, 2, 2), 0.25)
    texture = torch.nn.functional.conv2d(pepper, kernel).expand(-1, 3, -1, -1)
    assert noisy(texture) == 0
    assert noisy(torch.randn((5, 40), generator=rng)) == 0


def test_pictures_with_their_pixels_in_another_order_are_no_noise() -> None:
    rng = torch.Generator().manual_seed(1)
    digits = digits_part("held_out").take(torch.arange(0, 2000, 4)).x.flatten(1)
    moved = digits[:, torch.randperm(784, generator=rng)].reshape(-1, 1, 28, 28)
    assert noisy(moved) <= 10
    white = torch.rand((100, 1, 28, 28), generator=rng) * 2 - 1
    found = Noise().find(digest(Batch.of(torch.cat([moved, white]), 0)), Known())
    assert sum(row >= 500 for row in found) >= 80
    # Among pictures in order, a picture out of order is taken for noise.
    assert noisy(torch.cat([digits.reshape(-1, 1, 28, 28), moved[:50]])) >= 40


def test_duplicates_keep_the_first_and_name_it() -> None:
    x = faces(4).x
    batch = Batch.of(torch.cat([x, x[2:3], x[2:3]]), 0)
    found = Duplicates().find(digest(batch), Known())
    assert found == {4: "exact copy of sample 2", 5: "exact copy of sample 2"}


def test_duplicates_remember_what_was_taught_under_which_name() -> None:
    known = Known()
    known.add(digest(faces(4)))
    again = digest(faces(6))
    assert set(Duplicates().find(again, known)) == {0, 1, 2, 3}
    other = replace(again, label=np.full(6, 1))
    reason = Duplicates(("faces", "hearts")).find(other, known)[0]
    assert reason == "taught before as 'faces'"


def test_outliers_are_relative_to_their_lesson() -> None:
    batch = faces(30)
    dark = (batch.x[:1] * 0.1 - 0.9).clamp(-1, 1)
    clocks = emoji_source("clocks", 0, "all").take(torch.arange(24)).x
    among_clocks = digest(Batch.of(torch.cat([clocks, dark]), 0))
    found = Outliers().find(among_clocks, Known())
    assert set(found) == {24}
    assert "unlike the rest of its lesson" in found[24]
    # The same picture among others like it is normal.
    night = digest(Batch.of((batch.x * 0.1 - 0.9).clamp(-1, 1), 0))
    assert Outliers().find(night, Known()) == {}


def test_a_small_lesson_has_no_outliers() -> None:
    clocks = emoji_source("clocks", 0, "all").take(torch.arange(14)).x
    few = digest(Batch.of(torch.cat([clocks, faces(1).x * 0.1 - 0.9]), 0))
    assert Outliers().find(few, Known()) == {}
    assert set(Outliers(least=15).find(few, Known())) == {14}
