"""The distance of pictures against a double loop, and its error against many draws."""

import math

import pytest
import torch
from torch import Tensor

from clnf.core.errors import ShapeError
from clnf.core.rng import torch_rng
from clnf.media.kid import kid, kid_blocks


def by_hand(a: Tensor, b: Tensor, *, biased: bool = False) -> float:
    """Pair by pair; the biased one counts each sample beside itself."""

    def k(x: Tensor, y: Tensor) -> float:
        return (sum(float(p) * float(q) for p, q in zip(x, y, strict=True)) / len(x) + 1) ** 3

    def within(s: Tensor) -> float:
        n = len(s)
        pairs = [(i, j) for i in range(n) for j in range(n) if biased or i != j]
        return sum(k(s[i], s[j]) for i, j in pairs) / len(pairs)

    across = sum(k(x, y) for x in a for y in b) / (len(a) * len(b))
    return within(a) + within(b) - 2 * across


def sets(seed: int, n: int = 6, m: int = 9, shift: float = 0.0) -> tuple[Tensor, Tensor]:
    rng = torch_rng(seed, "kid")
    return torch.randn(n, 5, generator=rng) + shift, torch.randn(m, 5, generator=rng)


def test_it_is_the_double_loop_and_not_the_biased_one() -> None:
    a, b = sets(0, shift=0.3)
    assert kid(a, b) == pytest.approx(by_hand(a, b), rel=1e-9)
    assert abs(kid(a, b) - by_hand(a, b, biased=True)) > 0.1


def test_it_is_unbiased_over_draws_of_one_distribution() -> None:
    found = torch.tensor([kid(*sets(n)) for n in range(400)])
    error = float(found.std()) / 400**0.5
    assert abs(float(found.mean())) < 3 * error
    biased = torch.tensor([by_hand(*sets(n, 4, 4), biased=True) for n in range(40)])
    assert float(biased.mean()) > 5 * float(biased.std()) / 40**0.5  # the loop would be caught


def test_the_error_of_blocks_is_the_spread_over_draws() -> None:
    draws = [kid_blocks(*sets(n, 64, 64, shift=0.3)) for n in range(60)]
    spread = float(torch.tensor([one.value for one in draws]).std())
    stated = float(torch.tensor([one.error for one in draws]).mean())
    assert 0.6 < stated / spread < 1.8
    assert stated / spread < 0.6 * math.sqrt(64)  # the spread of blocks themselves is no error


def test_blocks_are_every_so_manyth_row() -> None:
    a, b = sets(3, 8, 12)
    parts = torch.tensor([kid(a[n::4], b[n::4]) for n in range(4)])
    found = kid_blocks(a, b)
    assert found.value == kid(a, b)
    assert found.error == pytest.approx(float(parts.std()) / 2)


def test_few_samples_have_fewer_blocks_or_no_error() -> None:
    a, b = sets(4, 5, 9)
    two = torch.tensor([kid(a[n::2], b[n::2]) for n in range(2)])
    assert kid_blocks(a, b).error == pytest.approx(float(two.std()) / 2**0.5)
    assert math.isnan(kid_blocks(a[:3], b).error)


@pytest.mark.parametrize(("n", "m"), [(1, 4), (4, 1), (0, 4)])
def test_a_set_of_one_is_refused(n: int, m: int) -> None:
    with pytest.raises(ShapeError, match="at least 2 rows"):
        kid(torch.zeros(n, 3), torch.zeros(m, 3))
    with pytest.raises(ShapeError, match="blocks must be"):
        kid_blocks(torch.zeros(4, 3), torch.zeros(4, 3), 0)
