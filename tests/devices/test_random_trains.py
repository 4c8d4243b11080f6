"""Trains made sixteen at a time: the bits of those made one by one."""

import numpy as np
import pytest
import torch

from clnf.devices import coincidence_reference, random_trains
from clnf.devices.dispatch import run
from clnf.devices.draws import hash_key


@pytest.mark.parametrize("shape", [(3, 5), (9, 70), (1, 16), (64, 250)])
@pytest.mark.parametrize("share", [0.0003, 0.02, 1.3])
def test_trains_are_those_of_single_values(shape: tuple[int, int], share: float) -> None:
    torch.manual_seed(1)
    value = torch.rand(shape) * 2 - 1
    value[value.abs() < 0.2], value[0, 0] = 0.0, -0.0
    key = hash_key(3, "x")
    made, asked = (torch.empty(shape, dtype=torch.uint32) for _ in range(2))
    for words, compiled in ((made, True), (asked, False)):
        args = value, share, 31, key, words
        kernel, plain = random_trains.encode_random, coincidence_reference.encode_random
        run(kernel, plain, args, compiled=compiled)
    made, asked = made.numpy(), asked.numpy()
    assert np.array_equal(made, asked)
    random_trains.encode_random(value.numpy(), -share, 31, key, made)
    same = made == asked
    assert not same[value.numpy() != 0].any()
    assert np.array_equal(made & 0x7FFFFFFF, asked & 0x7FFFFFFF)


@pytest.mark.parametrize("count", [1, 15, 16, 49])
def test_the_largest_magnitudes_are_found_anywhere(count: int) -> None:
    for place in range(count):
        value = torch.full((1, count), 0.5)
        value[0, place] = -2.0
        assert random_trains.peaks_of(value.numpy(), value.numpy() * 3) == (2.0, 6.0)
    value[0, -1] = float("nan")
    assert random_trains.peaks_of(value.numpy(), value.numpy())[0] in (0.0, 0.5)
