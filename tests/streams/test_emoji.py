"""The emoji scenario: eight categories, whole and apart."""

import pytest
import torch

from clnf.core.errors import ConfigError
from clnf.streams.bundled import emoji32
from clnf.streams.emoji import EMOJI_CATEGORIES, split_emoji
from clnf.streams.sources import to_levels


def prints(source) -> set[bytes]:
    return {x.tobytes() for x in to_levels(source.take(torch.arange(len(source))).x)}


def test_every_picture_but_the_swatches_is_taught_or_tested_and_none_is_both() -> None:
    made = split_emoji()
    count = sum(len(task.experience.data) + len(task.test) for task in made)
    assert count == 1911 - emoji32().categories.count("Component")
    taught = set().union(*(prints(task.experience.data) for task in made))
    asked = set().union(*(prints(task.test) for task in made))
    shared = taught & asked
    # Only pictures that two categories have in common may lie on both sides.
    assert len(shared) <= 1
    assert len(asked) / (len(asked) + len(taught)) == pytest.approx(0.2, abs=0.01)


def test_labels_are_categories_or_places_in_their_task() -> None:
    made, shared = split_emoji(), split_emoji("domain")
    assert (made.outputs, shared.outputs, len(made)) == (8, 2, 4)
    first = made[1].test.take(torch.arange(3))
    assert EMOJI_CATEGORIES[int(first.cond[0])] in ("Animals & Nature", "Food & Drink")
    every = made[2].experience.data
    assert set(every.take(torch.arange(len(every))).cond.tolist()) == {4, 5}
    one = shared[3].experience.data
    assert set(one.take(torch.arange(len(one))).cond.tolist()) == {0, 1}


def test_wrong_settings_are_one_sentence() -> None:
    with pytest.raises(ConfigError, match="0 to 7"):
        split_emoji(groups=((0, 8),))
    with pytest.raises(ConfigError, match="between 0 and 1"):
        split_emoji(share=1.0)
    with pytest.raises(ConfigError, match="belongs to one task"):
        split_emoji(groups=((0, 1), (1, 2)))
