"""How a batch's coincidences move cells, sixteen of them: all of a cell's in one move.

:mod:`clnf.devices.trains` applies vectors one after the other. Here all coincidences of a batch at
one cell are two numbers, n pulses up and m down. Where steps fall linearly, the cell moves by

    w <- w + (1 - (1-a)^n (1-b)^m) (s u + (1 - s) v - w)
    s = n log(1-a) / (n log(1-a) + m log(1-b))

where a and b are the parts of the ways to u and v, where steps vanish, that one pulse covers. This
is the limit of an even mixture of ups and downs; it is exact where all pulses have one direction
or constant steps, and otherwise the mean over all orders to the second order in a and b. Other
laws step through ups and downs in an even mixture. The noise is one draw, exact for one pulse:

    c^2 (n (a (u - w) (1-a)^(n-1))^2 (1-b)^m + m (b (v - w) (1-b)^(m-1))^2 (1-a)^n)

Of other laws it has the sum of the squares of the steps. The clip to the bounds comes once.

Source: as in :mod:`clnf.devices.trains`; for trains without chance see
:mod:`clnf.devices.encoders`.
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from clnf.devices import pulses
from clnf.devices.pulses import step_at
from clnf.devices.sixteen import (
    WIDTH,
    any_of,
    doubles,
    every,
    every_word,
    floats,
    floor,
    greater,
    lesser,
    magnitude,
    nearest,
    root,
    where,
    where_words,
    whole,
)
from clnf.devices.sixteen_maths import gauss8, uniform

__all__ = ["add", "curved", "moved", "shut", "strayed"]

_F = np.float32
_U = np.uint32
_I = np.uintp


@njit(inline="always")
def _gone(a: Any, n: Any) -> Any:
    """1 - (1 - a)^n without cancellation."""
    none, one, two = every_word(_U(0)), every_word(_U(1)), every(_F(2.0))
    g = every(_F(0.0))
    while any_of(n > none):
        g = where((n & one) > none, g + (a - g * a), g)
        a = a * (two - a)
        n = n >> one
    return g


@njit(inline="always")
def _rate(a: Any) -> Any:
    """-log(1 - a), by three terms of its series in a / (2 - a)."""
    z = a / (every(_F(2.0)) - a)
    y = z * z
    return z * (every(_F(2.0)) + y * (every(_F(2.0 / 3.0)) + y * every(_F(0.4))))


@njit(inline="always")
def _less(part: Any, n: Any) -> Any:
    """What is gone after all pulses but one, and after all."""
    none, one = every_word(_U(0)), every_word(_U(1))
    less = _gone(part, where_words(n > none, n - one, none))
    return less, where(n > none, less + (part - less * part), every(_F(0.0)))


@njit(inline="always")
def _linear(w: Any, n: Any, m: Any, cell: Any, slopes: tuple[float, float]) -> Any:
    """Mean moves and their variances over c^2 where steps fall linearly."""
    step_up, step_down, high, low = cell
    one, none = every(_F(1.0)), every_word(_U(0))
    up, down = every(slopes[0]), every(slopes[1])
    to_up, to_down = high / up - w, low / down - w
    up = lesser(step_up * up / greater(magnitude(high), every(_F(1e-30))), one)
    down = lesser(step_down * down / greater(magnitude(low), every(_F(1e-30))), one)
    less_up, g = _less(up, n)
    less_down, h = _less(down, m)
    share = where(n > none, one, every(_F(0.0)))
    ups, downs = floats(n), floats(m)
    if any_of((n > none) & (m > none)):
        raising, lowering = ups * _rate(up), downs * _rate(down)
        share = raising / greater(raising + lowering, every(_F(1e-30)))
    moved = (g + (h - g * h)) * (share * to_up + (one - share) * to_down)
    up, down = up * to_up * (one - less_up), down * to_down * (one - less_down)
    return moved, ups * (up * up) * (one - h) + downs * (down * down) * (one - g)


@njit(inline="always")
def _constant(n: Any, m: Any, cell: Any) -> Any:
    """The same where steps have one size."""
    up, down, ups, downs = cell[0], cell[1], floats(n), floats(m)
    return ups * up - downs * down, ups * (up * up) + downs * (down * down)


@njit(inline="always")
def shut(n: Any, m: Any, share: Any, index: Any, key: NDArray[np.uint32]) -> Any:
    """Keep pulses from fenced cells, in proportion by stochastic rounding."""
    n = whole(floor(floats(n) * share + uniform(index, key[4], key[5])))
    return n, whole(floor(floats(m) * share + uniform(index, key[5], key[4])))


@njit(nogil=True, cache=True)
def curved(
    lines: NDArray[np.float32], counts: NDArray[np.uint32], law: NDArray[np.float32]
) -> None:
    """Mean moves and variances over c^2 of sixteen cells by any other law, one after the other.

    Ups and downs come in an even mixture along the mean path; dead cells stay.

    Args:
        lines: seven times sixteen: steps up and down, bounds, weights; out: moves and variances.
        counts: ups and downs.
        law: see :meth:`clnf.devices.response.Response.law`.
    """
    wide = _I(WIDTH)
    for k in range(wide):
        cell = lines[k], lines[wide + k], lines[_I(2) * wide + k], lines[_I(3) * wide + k]
        start = lines[_I(4) * wide + k]
        at, variance = start, _F(0.0)
        ups, both = np.int64(counts[k]), np.int64(counts[k]) + np.int64(counts[wide + k])
        # The i-th pulse raises where i n / (n + m), rounded, grows by one.
        share = both
        for _ in range(both if cell[0] > _F(0.0) else 0):
            share += 2 * ups
            up = bool(share >= 2 * both)
            share -= 2 * both if up else 0
            step = step_at(at, up, cell, law)
            at = at + step if up else at - step
            at = min(max(at, cell[3]), cell[2])
            variance = variance + step * step
        lines[_I(5) * wide + k], lines[_I(6) * wide + k] = at - start, variance


@njit(inline="always")
def moved(
    w: Any, both: Any, cell: Any, law: NDArray[np.float32], index: Any, key: NDArray[np.uint32]
) -> Any:
    """Where sixteen cells go by linear or constant steps, and what a read then sees."""
    n, m = both
    slopes = law[pulses.SHAPE_UP], law[pulses.SHAPE_DOWN]
    if slopes[0] == _F(0.0) or slopes[1] == _F(0.0):
        way = _constant(n, m, cell)
    else:
        way = _linear(w, n, m, cell, slopes)
    return strayed(w, way, cell, law, index, key)


@njit(inline="always")
def strayed(
    w: Any, way: Any, cell: Any, law: NDArray[np.float32], index: Any, key: NDArray[np.uint32]
) -> Any:
    """Where mean moves and their variances over c^2 lead, and what a read then sees."""
    mean, variance = way
    cycle, write = law[pulses.CYCLE], law[pulses.WRITE_NOISE]
    if cycle > _F(0.0):
        mean = mean + every(cycle) * (root(variance) * gauss8(index, key[0], key[1]))
    w = lesser(greater(w + mean, cell[3]), cell[2])
    shown = w
    if write > _F(0.0):
        shown = w + every(write) * gauss8(index, key[2], key[3])
    return w, shown


@njit(inline="always")
def add(sums: Any, both: Any, seen: Any, law: NDArray[np.float32]) -> Any:
    """Add sixteen cells' pulses, their energy (each way whole attojoules) and the longest sum."""
    pulsed, energy, most = sums
    n, m = both
    base, slope, down = law[pulses.ENERGY], law[pulses.ENERGY_SLOPE], law[pulses.ENERGY_DOWN]
    total = n + m
    pulsed = pulsed + doubles(floats(total))
    if base != _F(0.0) or slope != _F(0.0):
        each = greater(every(base) + every(slope) * (seen + every(_F(1.0))), every(_F(0.0)))
        energy = energy + doubles(floats(n)) * doubles(nearest(each))
        energy = energy + doubles(floats(m)) * doubles(nearest(each * every(down)))
    return pulsed, energy, where_words(total > most, total, most)
