"""Tensors at the door: what passes, and the sentence for what does not."""

import math
import warnings

import numpy as np
import pytest
import torch

from clnf.core.errors import ConfigError, DataError, ShapeError
from clnf.core.tensors import dense, finite, not_finite, shares


@pytest.mark.parametrize("value", [[[1, 2]], np.ones((1, 2)), torch.ones(1, 2, dtype=torch.half)])
def test_lists_arrays_and_tensors_pass(value: object) -> None:
    found = dense("weights", value, dtype=torch.float64)
    assert found.shape == (1, 2)
    assert found.dtype == torch.float64


def test_a_tensor_stays_itself_and_keeps_its_gradient() -> None:
    given = torch.ones(2, requires_grad=True)
    assert dense("weights", given) is given
    assert dense("weights", given, dtype=torch.float64).requires_grad


def quantised() -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)


@pytest.mark.parametrize("value", [None, "abc", [[1], [1, 2]], {}, object(), 10**30, b"x"])
def test_what_is_no_tensor_is_refused(value: object) -> None:
    with pytest.raises(ShapeError, match=r"weights must be a tensor of numbers .*, got .*convert"):
        dense("weights", value)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (torch.ones(2).to_sparse(), r"got layout torch.sparse_coo; call .to_dense\(\)"),
        (torch.ones(2, device="meta"), "on the meta device, without values; make it on the cpu"),
        (torch.nn.Parameter(torch.ones(2, device="meta")), "on the meta device"),
        (torch.ones(2, dtype=torch.complex64), "got torch.complex64; convert it to float"),
        (quantised(), "got torch.qint8; convert it to float"),
    ],
)
def test_a_tensor_without_plain_numbers_is_refused(value: torch.Tensor, words: str) -> None:
    with pytest.raises(ShapeError, match=f"weights must be a dense tensor of real .*{words}"):
        dense("weights", value)


def test_the_first_value_that_is_not_finite_is_named_with_its_place() -> None:
    values = torch.ones(2, 3)
    assert not_finite(values) == not_finite(torch.ones(2, dtype=torch.int64)) == ""
    values[1, 2] = -math.inf
    assert not_finite(values) == "-inf at [1, 2]"
    assert not_finite(torch.tensor(math.nan)) == "nan"


def test_one_number_is_finite() -> None:
    assert finite("a loss", torch.tensor(2.0)) == 2.0
    for bad in (math.nan, math.inf):
        with pytest.raises(DataError, match=f"a loss must be finite, got {bad}"):
            finite("a loss", torch.tensor(bad))


def test_masks_hold_shares() -> None:
    assert torch.equal(shares("a mask", [[0, 0.5], [1, 1]], (2, 2))[0], torch.tensor([0.0, 0.5]))
    with pytest.raises(ConfigError, match=r"a mask needs shape \[2, 2\], got shape \[2\]"):
        shares("a mask", torch.ones(2), (2, 2))
    for value, word in ((1.5, "1.5"), (-0.1, "-0.1"), (math.nan, "nan")):
        with pytest.raises(ConfigError, match=rf"in \[0, 1\], got {word} at \[1\]"):
            shares("a mask", [1.0, value], (2,))
