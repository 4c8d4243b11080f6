"""Split, permuted and rotated digits: which pictures, moved how."""

import numpy as np
import pytest
import torch

from clnf.core.errors import ConfigError
from clnf.streams.digits import (
    TurningSource,
    digits_part,
    permuted_digits,
    rotated_digits,
    split_digits,
)
from clnf.streams.sources import ArraySource, to_levels

FIRST = torch.arange(64)


def prints(source) -> set[bytes]:
    levels = to_levels(source.take(torch.arange(len(source))).x)
    return {row.tobytes() for row in levels}


def test_parts_hold_8000_and_2000_pictures_and_share_none() -> None:
    taught, asked = digits_part("train"), digits_part("held_out")
    assert (len(taught), len(asked)) == (8000, 2000)
    assert len(prints(taught)) == 8000
    assert not prints(taught) & prints(asked)
    assert np.bincount(asked.cond.numpy()).min() > 150


def test_split_digits_by_protocol() -> None:
    split = split_digits()
    assert split.stream.names[2] == "digits 4 5"
    assert (len(split), split.outputs) == (5, 10)
    assert sum(len(task.test) for task in split) == 2000
    even = split_digits("domain")
    assert even.outputs == 2
    whole, own = split[3].test.take(FIRST), even[3].test.take(FIRST)
    assert torch.equal(whole.cond % 2, own.cond)
    assert torch.equal(whole.x, own.x)
    with pytest.raises(ConfigError, match="0 to 9"):
        split_digits(groups=((0, 11),))


def test_a_permutation_moves_pixels_and_loses_none() -> None:
    made = permuted_digits(3, seed=1)
    plain, moved, other = (task.experience.data.take(FIRST).x for task in made)
    assert torch.equal(plain, digits_part().take(FIRST).x)
    assert torch.equal(plain.flatten(1).sort(1).values, moved.flatten(1).sort(1).values)
    assert not torch.equal(plain, moved)
    assert not torch.equal(moved, other)
    assert torch.equal(moved, permuted_digits(2, seed=1)[1].experience.data.take(FIRST).x)
    assert not torch.equal(moved, permuted_digits(2, seed=2)[1].experience.data.take(FIRST).x)
    # The test pictures are moved in the same way as those taught.
    where = moved[0].flatten()
    order = torch.randperm(784)
    assert not torch.equal(plain[0].flatten()[order], where)
    seen, asked = made[1].test.take(FIRST).x, digits_part("held_out").take(FIRST).x
    constant = (plain.flatten(1) == -1).all(0)
    assert int((moved.flatten(1) == -1).all(0).sum()) == int(constant.sum())
    assert torch.equal(seen.flatten(1).sort(1).values, asked.flatten(1).sort(1).values)
    assert (seen.flatten(1)[:, (moved.flatten(1) == -1).all(0)] == -1).float().mean() > 0.98


def test_quarter_turns_are_exact_and_others_come_close_to_a_reference() -> None:
    made = rotated_digits((0.0, 90.0, 30.0))
    plain, quarter, third = (task.experience.data.take(FIRST).x for task in made)
    assert torch.equal(plain, digits_part().take(FIRST).x)
    assert torch.equal(quarter, plain.rot90(1, (2, 3)))
    from scipy.ndimage import rotate

    ours = third[:, 0].numpy()
    both = {
        angle: rotate(plain[:, 0].numpy(), angle, axes=(1, 2), reshape=False, order=1, cval=-1.0)
        for angle in (30.0, -30.0)
    }
    assert np.abs(ours - both[30.0]).max() < 0.01
    assert np.abs(ours - both[-30.0]).max() > 0.5
    # On the grid of bytes, so memories keep a byte a pixel.
    levels = (third + 1) * 127.5
    assert torch.allclose(levels, levels.round(), atol=1e-3)


def test_turning_pictures_turn_by_their_number() -> None:
    base = digits_part()
    turning = TurningSource(base, rate_deg=30.0)
    x = turning.take(FIRST).x
    assert torch.equal(x[0], base.take(FIRST).x[0])
    assert torch.equal(x[3], base.take(FIRST).x[3].rot90(1, (1, 2)))
    assert torch.equal(x[1], rotated_digits((30.0,))[0].experience.data.take(FIRST).x[1])
    assert torch.equal(turning.take(torch.tensor([7, 1])).x[1], x[1])


def test_colour_pictures_turn_channel_by_channel() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 9, 9, 3), np.uint8)
    turned = TurningSource(ArraySource(images, 0), rate_deg=90.0).take(torch.arange(3)).x
    for i in range(3):
        assert np.array_equal(to_levels(turned)[i], np.rot90(images[i], i))
