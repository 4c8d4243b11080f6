"""Eight numbers side by side: the bits of a loop over them one by one."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from clnf.chip.crossbar.eight import WIDTH, load, mad, mul, save, total, turn

Vector = NDArray[np.float64]


@njit
def side_by_side(a: Vector, b: Vector, c: Vector, out: Vector) -> float:
    left = load(a, 3)
    save(out, 0, mul(left, load(b, 0)))
    save(out, WIDTH, mad(left, load(b, 0), load(c, 1)))
    save(out, 2 * WIDTH, mad(left, 0.1, load(c, 1)))
    return total(left)


@njit
def turned(a: Vector, step: int, out: Vector, at: int, out_step: int) -> None:
    turn(a, step, out, at, out_step)


def test_products_and_sums_are_rounded_one_by_one() -> None:
    a, b, c = np.random.default_rng(1).standard_normal((3, 16))
    out = np.zeros(24)
    found = side_by_side(a, b, c, out)
    left, right = a[3:11], c[1:9]
    assert np.array_equal(out[:8], left * b[:8])
    assert np.array_equal(out[8:16], left + b[:8] * right)
    assert np.array_equal(out[16:], left + 0.1 * right)
    one_by_one = 0.0
    for value in left.tolist():
        one_by_one += value
    assert found == one_by_one
    # Where the product's own rounding is all that is left, a sum rounded once would show it.
    a[3:11], c[1:9] = -(0.1 * right), right
    side_by_side(a, b, c, out)
    assert not out[16:].any()
    assert (np.longdouble(a[3:11]) + np.longdouble(0.1) * np.longdouble(right)).any()


def test_a_square_is_turned() -> None:
    a, out = np.arange(200.0), np.zeros(200)
    turned(a, 16, out, 5, 9)
    square = np.stack([a[16 * k : 16 * k + 8] for k in range(8)])
    found = np.stack([out[5 + 9 * k : 13 + 9 * k] for k in range(8)])
    assert np.array_equal(found, square.T)
    assert not np.array_equal(found, square)
