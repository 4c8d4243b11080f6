import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clnf.core.rng import fold, numpy_rng, torch_rng

places = st.lists(st.text(max_size=4) | st.integers(), max_size=4)


@given(st.integers(), places, places)
def test_fold_is_a_function_of_seed_and_place_only(
    seed: int, one: list[str | int], two: list[str | int]
) -> None:
    a, b = fold(seed, *one), fold(seed, *two)
    assert 0 <= a < 2**63
    assert (a == b) == (one == two)


@pytest.mark.parametrize(
    ("one", "two"), [(("ab",), ("a", "b")), ((1,), ("1",)), (("a", 1), ("a1",)), ((), ("",))]
)
def test_places_that_look_alike_differ(one: tuple[str | int], two: tuple[str | int]) -> None:
    assert fold(0, *one) != fold(0, *two)


def test_the_numbers_are_pinned() -> None:
    """Another machine, and next year's version, must fold the same."""
    assert fold(7, "tile", 0) == 760717320150263086
    assert numpy_rng(7, "a").integers(0, 1000, 3).tolist() == [340, 861, 283]
    drawn = torch.randint(0, 1000, (3,), generator=torch_rng(7, "a"))
    assert drawn.tolist() == [759, 902, 170]


def test_draws_do_not_depend_on_the_order_of_calls() -> None:
    first = torch.randn(5, generator=torch_rng(1, "b"))
    torch.randn(100, generator=torch_rng(1, "a"))
    assert torch.equal(first, torch.randn(5, generator=torch_rng(1, "b")))
    assert not torch.equal(first, torch.randn(5, generator=torch_rng(2, "b")))


def test_neighbouring_places_are_uncorrelated() -> None:
    draws = np.stack([numpy_rng(3, "step", i).standard_normal(400) for i in range(40)])
    off = np.corrcoef(draws)[~np.eye(40, dtype=bool)]
    assert abs(off).max() < 0.25  # 5 standard deviations of 1/sqrt(400)
    assert abs(draws.mean()) < 5 / np.sqrt(draws.size)
