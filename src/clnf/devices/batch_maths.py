"""How a batch's coincidences move cells, sixteen of them: all of a cell's in one move.

:mod:`clnf.devices.trains` applies vectors one after the other. Here all coincidences of a batch at
one cell are two numbers, n pulses up and m down. Where steps fall linearly, the cell moves by

    w <- w + (1 - e^-L) / L (n p (u - w) + m q (v - w)),   L = n p + m q

where u and v are where steps up and down vanish, a and b the parts of the ways there that one
pulse covers, and p = -log(1 - a) and q = -log(1 - b) its paces. This is the limit of an even
mixture of ups and downs; it is exact where all pulses have one direction or constant steps, and
otherwise the mean over all orders to the second order in a and b. Other
laws step through ups and downs in an even mixture. The noise is one draw, exact for one pulse:

    c^2 e^-L (n e^(-n p) ((e^p - 1) (u - w))^2 + m e^(-m q) ((e^q - 1) (v - w))^2)

Of other laws it has the sum of the squares of the steps. The clip to the bounds comes once.

Source: as in :mod:`clnf.devices.trains`; for trains without chance see
:mod:`clnf.devices.encoders`.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from clnf.devices import pulses
from clnf.devices.pulses import step_at
from clnf.devices.sixteen import (
    WIDTH,
    any_of,
    doubles,
    every,
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
from clnf.devices.sixteen_maths import exponential, gauss8, uniform

__all__ = [
    "FAR", "SMALL", "Rules", "add", "curved", "moved", "paces", "rules_of", "shut", "strayed",
]  # fmt: skip

_F = np.float32
_U = np.uint32
_I = np.uintp
_LEAST = 2.0**-24  # of the way is left by one pulse at least
# From where on an exponential is taken, not a series; and where it is cut.
SMALL, FAR = 1.0 / 16.0, 60.0


def paces(table: Tensor, law: Tensor) -> Tensor:
    """What a batch's moves take of cells, [4, M]: paces up and down, upper and lower bound.

    One pulse leaves exp(-pace) of the way to where steps vanish. Where steps are constant, or not
    linear, paces are the steps: there the table itself is given back.

    Args:
        table: what :func:`clnf.devices.pulses.traits` gave, [4, M].
        law: see :meth:`clnf.devices.response.Response.law`.
    """
    slopes = float(law[pulses.SHAPE_UP]), float(law[pulses.SHAPE_DOWN])
    if float(law[pulses.KIND]) != 0.0 or 0.0 in slopes:
        return table
    wide = table.double()
    way = wide[2:].abs().clamp_(min=1e-30)
    part = torch.stack([wide[k] * slopes[k] / way[k] for k in range(2)])
    pace = torch.log1p(part.clamp_(max=1.0 - _LEAST).neg_()).neg_()
    return torch.cat([pace.float(), table[2:]]).contiguous()


@njit(inline="always")
def _lost(x: Any, steep: bool) -> Any:
    """(1 - exp(-x)) / x: a series for small x, which loses no digits.

    ``steep``: whether any x may be large.
    """
    one = every(_F(1.0))
    p = every(_F(1.0 / 24.0)) - x * every(_F(1.0 / 120.0))
    p = every(_F(1.0 / 6.0)) - x * p
    p = every(_F(0.5)) - x * p
    p = one - x * p
    if steep:
        large = magnitude(x) > every(_F(SMALL))
        if any_of(large):
            p = where(large, (one - exponential(every(_F(0.0)) - x)) / x, p)
    return p


@njit(inline="always")
def _linear(w: Any, n: Any, m: Any, cell: Any, ways: tuple[float, float]) -> Any:
    """Mean moves and their variances over c^2 where steps fall linearly."""
    up, down, high, low = cell
    one, most, none = every(_F(1.0)), every(_F(FAR)), every(_F(0.0))
    to_up, to_down = high * every(ways[0]) - w, low * every(ways[1]) - w
    ups, downs = floats(n), floats(m)
    raising, lowering = lesser(ups * up, most), lesser(downs * down, most)
    both = lesser(raising + lowering, most)
    # One question for all five: the largest of what they are asked of.
    largest = greater(magnitude(both), greater(magnitude(up), magnitude(down)))
    steep = any_of(greater(largest, magnitude(raising)) > every(_F(SMALL)))
    moved = _lost(both, steep) * (raising * to_up + lowering * to_down)
    kept_up = one - raising * _lost(raising, steep)
    kept_down = one - lowering * _lost(lowering, steep)
    # a / (1 - a) of the pace of a.
    up, down = up * _lost(none - up, steep) * to_up, down * _lost(none - down, steep) * to_down
    variance = ups * kept_up * (up * up) + downs * kept_down * (down * down)
    return moved, (kept_up * kept_down) * variance


@njit(inline="always")
def _constant(n: Any, m: Any, cell: Any) -> Any:
    """The same where steps have one size."""
    up, down, ups, downs = cell[0], cell[1], floats(n), floats(m)
    return ups * up - downs * down, ups * (up * up) + downs * (down * down)


class Rules(NamedTuple):
    """Numbers of a law, and six words of a key: they stay in registers, where arrays would not.

    Steps are of one size where ``constant``, else they vanish where w is ``up`` times the upper or
    ``down`` times the lower bound. Energy is ``base`` at w = -1, rises by ``slope`` per unit of w,
    and is ``fall`` times that for pulses down.
    """

    constant: bool
    up: Any
    down: Any
    cycle: Any
    write: Any
    base: Any
    slope: Any
    fall: Any
    key: Any


@njit(inline="always")
def rules_of(law: NDArray[np.float32], key: NDArray[np.uint32]) -> Rules:
    """What a kernel takes of a law, see :meth:`clnf.devices.response.Response.law`."""
    up, down = law[pulses.SHAPE_UP], law[pulses.SHAPE_DOWN]
    return Rules(
        up == _F(0.0) or down == _F(0.0),
        _F(1.0) / up if up != _F(0.0) else _F(0.0),
        _F(1.0) / down if down != _F(0.0) else _F(0.0),
        law[pulses.CYCLE],
        law[pulses.WRITE_NOISE],
        law[pulses.ENERGY],
        law[pulses.ENERGY_SLOPE],
        law[pulses.ENERGY_DOWN],
        (key[0], key[1], key[2], key[3], key[4], key[5]),
    )


@njit(inline="always")
def shut(n: Any, m: Any, share: Any, index: Any, key: tuple[int, ...]) -> Any:
    """Keep pulses from fenced cells, in proportion by stochastic rounding."""
    n = whole(floor(floats(n) * share + uniform(index, key[4], key[5])))
    return n, whole(floor(floats(m) * share + uniform(index, key[5], key[4])))


@njit(nogil=True, cache=True)
def curved(
    lines: NDArray[np.float32],
    counts: NDArray[np.uint32],
    places: tuple[Any, Any],
    law: NDArray[np.float32],
) -> None:
    """Mean moves and variances over c^2 of sixteen cells by any other law, one after the other.

    Ups and downs come in an even mixture along the mean path; dead cells stay.

    Args:
        lines: seven times sixteen: steps up and down, bounds, weights; out: moves and variances.
        counts: ups and downs.
        places: where each begins.
        law: see :meth:`clnf.devices.response.Response.law`.
    """
    wide, (up_at, down_at) = _I(WIDTH), places
    for k in range(wide):
        cell = lines[k], lines[wide + k], lines[_I(2) * wide + k], lines[_I(3) * wide + k]
        start = lines[_I(4) * wide + k]
        at, variance = start, _F(0.0)
        ups, both = np.int64(counts[up_at + k]), np.int64(counts[up_at + k])
        both += np.int64(counts[down_at + k])
        # The i-th pulse raises where i n / (n + m), rounded, grows by one.
        share = both
        for _ in range(both if cell[0] > _F(0.0) else 0):
            share += 2 * ups
            up: Any = share >= 2 * both
            share -= 2 * both if up else 0
            step = step_at(at, up, cell, law)
            at = at + step if up else at - step
            at = min(max(at, cell[3]), cell[2])
            variance = variance + step * step
        lines[_I(5) * wide + k], lines[_I(6) * wide + k] = at - start, variance


@njit(inline="always")
def moved(w: Any, both: Any, cell: Any, rules: Rules, index: Any) -> Any:
    """Where sixteen cells go by linear or constant steps, and what a read then sees."""
    n, m = both
    if rules.constant:
        way = _constant(n, m, cell)
    else:
        way = _linear(w, n, m, cell, (rules.up, rules.down))
    return strayed(w, way, cell, rules, index)


@njit(inline="always")
def strayed(w: Any, way: Any, cell: Any, rules: Rules, index: Any) -> Any:
    """Where mean moves and their variances over c^2 lead, and what a read then sees."""
    mean, variance = way
    key = rules.key
    if rules.cycle > _F(0.0):
        draw = gauss8(index, key[0], key[1])
        mean = mean + every(rules.cycle) * (root(variance) * draw)
    w = lesser(greater(w + mean, cell[3]), cell[2])
    shown = w
    if rules.write > _F(0.0):
        shown = w + every(rules.write) * gauss8(index, key[2], key[3])
    return w, shown


@njit(inline="always")
def add(sums: Any, both: Any, seen: Any, rules: Rules) -> Any:
    """Add sixteen cells' pulses, their energy (each way whole attojoules) and the longest sum."""
    pulsed, energy, most = sums
    n, m = both
    total = n + m
    if rules.base != _F(0.0) or rules.slope != _F(0.0):
        each = every(rules.base) + every(rules.slope) * (seen + every(_F(1.0)))
        each = greater(each, every(_F(0.0)))
        if rules.fall == _F(1.0):  # sums of whole numbers, whichever way they are taken
            energy = energy + doubles(floats(total)) * doubles(nearest(each))
        else:
            energy = energy + doubles(floats(n)) * doubles(nearest(each))
            energy = energy + doubles(floats(m)) * doubles(nearest(each * every(rules.fall)))
    return pulsed + total, energy, where_words(total > most, total, most)
