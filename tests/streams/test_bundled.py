"""The bundled sets are whole, read-only, and split without leaks."""

import numpy as np
import pytest

from clnf.core.errors import ConfigError, DataError
from clnf.streams import bundled
from clnf.streams.bundled import (
    CONCEPTS,
    CORE_FAMILIES,
    NEW_FAMILIES,
    digits10k,
    emoji32,
    family,
    family_names,
    split,
)

COUNTS = {
    "faces": 108,
    "hearts": 23,
    "flags": 259,
    "clocks": 24,
    "fruit": 29,
    "hands": 33,
    "people": 140,
    "buttons": 46,
    "shapes": 24,
    "mammals": 66,
}


def test_emoji_set_has_one_row_of_everything_per_picture() -> None:
    pictures = emoji32()
    assert pictures.images.shape == (1911, 32, 32, 3)
    assert pictures.images.dtype == np.uint8
    lengths = {len(pictures.names), len(pictures.categories), len(pictures.codepoints)}
    assert lengths == {1911} == {len(pictures.subcategories)}
    assert len(set(pictures.codepoints)) == 1911
    grinning = pictures.images[pictures.codepoints.index("1F600")].astype(int)
    assert grinning[0, 0].tolist() == [255, 255, 255]
    red, green, blue = grinning[10, 16]
    assert red > 200
    assert green > 150
    assert blue < 120


def test_digit_set_is_complete_and_labels_match_a_simple_classifier() -> None:
    digits = digits10k()
    assert digits.images.shape == (10000, 28, 28, 1)
    assert set(np.bincount(digits.labels) > 800) == {True}
    means = np.stack([digits.images[digits.labels == d].mean(0).ravel() for d in range(10)])
    flat = digits.images.reshape(10000, -1).astype(float)
    nearest = ((means**2).sum(1) - 2 * flat @ means.T).argmin(1)
    assert (nearest == digits.labels).mean() > 0.75
    shuffled = np.random.default_rng(0).permutation(digits.labels)
    assert (nearest == shuffled).mean() < 0.2


def test_sets_cannot_be_changed_by_a_caller() -> None:
    for array in (emoji32().images, digits10k().images, digits10k().labels):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_a_damaged_set_is_told_from_a_whole_one() -> None:
    images = emoji32().images
    bundled._checked("emoji32", images, emoji32().sha256)
    damaged = images.copy()
    damaged[7, 7, 7, 1] ^= 1
    with pytest.raises(DataError, match="damaged"):
        bundled._checked("emoji32", damaged, emoji32().sha256)


def test_families_have_their_known_sizes_and_do_not_overlap() -> None:
    assert {name: len(family(name)) for name in COUNTS} == COUNTS
    assert CONCEPTS == CORE_FAMILIES + NEW_FAMILIES
    names = emoji32().names
    for name, stranger in (("faces", "skull"), ("hearts", "love letter"), ("fruit", "chestnut")):
        assert stranger in names
        assert stranger not in {names[i] for i in family(name)}
    together = np.concatenate([family(name) for name in family_names()])
    assert len(np.unique(together)) == len(together)


def test_a_subcategory_is_a_family_and_an_unknown_name_is_an_error() -> None:
    assert len(family("face-smiling")) == 14
    with pytest.raises(ConfigError, match="no emoji family 'dragons'"):
        family("dragons")
    with pytest.raises(ConfigError, match="share"):
        split("faces", share=1.0)


@pytest.mark.parametrize("name", family_names())
def test_split_is_a_partition_of_the_right_size(name: str) -> None:
    train, held = split(name), split(name, "held_out")
    assert np.array_equal(np.sort(np.concatenate([train, held])), family(name))
    assert abs(len(train) / len(family(name)) - 0.8) < 0.05
    assert np.array_equal(split(name, "all"), family(name))


def test_no_picture_of_the_training_part_is_held_out() -> None:
    images = emoji32().images

    def prints(index: np.ndarray) -> set[bytes]:
        return {images[i].tobytes() for i in index}

    for name in family_names():
        assert not prints(split(name)) & prints(split(name, "held_out"))
    # Negative control: flags hold equal pictures, so splitting by position leaks.
    flags = family("flags")
    assert prints(flags[::2]) & prints(flags[1::2])


def test_split_depends_on_the_seed_alone() -> None:
    assert np.array_equal(split("faces"), split("faces"))
    assert not np.array_equal(split("faces"), split("faces", seed=1))
