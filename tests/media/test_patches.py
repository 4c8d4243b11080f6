"""Dictionaries of patches: what they refuse."""

import pytest
import torch

from clnf.core.errors import DataError
from clnf.core.rng import torch_rng
from clnf.media.patches import dictionary


@pytest.mark.parametrize(
    ("x", "sentence"),
    [
        (torch.ones(2, 3, 8, 8), "only 0 of .* are not flat, 4 are needed"),
        (torch.zeros(2, 3, 4, 8), "no patch of 6x6 pixels fits into pictures of shape"),
        (torch.zeros(0, 3, 8, 8), "no patch of 6x6 pixels fits"),
    ],
)
def test_pictures_without_enough_patches_are_refused(x: torch.Tensor, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        dictionary(x, 6, 4, torch_rng(0, "p"))


def test_a_dictionary_has_the_size_asked_for() -> None:
    x = torch.randn(2, 3, 8, 8, generator=torch_rng(0, "x"))
    filters, offset = dictionary(x, 6, 4, torch_rng(0, "p"))
    assert (filters.shape, offset.shape) == ((4, 3, 6, 6), (4,))
    assert bool(filters.isfinite().all())
