"""Steps of the synapses of the plastic network, sixteen at once, for pairs and steps of one size.

Rows of weights whose inputs spike go together, so that the sums that drive the cells stay in
registers, and those of the next step are fetched meanwhile.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from clnf.devices.sixteen import (
    doubles,
    every,
    greater,
    lesser,
    load,
    load_one,
    peek_count,
    peek_double,
    peek_long,
    peek_word,
    poke_count,
    poke_double,
    save,
    save_one,
    soon,
)
from clnf.spiking.lanes import every_double, save_doubles
from clnf.spiking.plasticity.network.kernels import bent
from clnf.spiking.plasticity.network.places import At, Numbers

__all__ = ["Span", "fallen", "posts", "risen"]

_F = np.float32
_I = np.uintp
_0, _16 = (_I(n) for n in (0, 16))
_NONE = np.float32(0.0)
_ONE = np.float32(1.0)


class Span(NamedTuple):
    """Input spikes of a step, and those of the next: where they begin, and how many they are."""

    events: int
    first: int
    count: int
    after: int


@njit(inline="always")
def _row(at: At, span: Span, event: int) -> int:
    return _I(peek_word(span.events, event)) * at.cells


@njit(inline="always", error_model="numpy")
def _columns(at: At, n: int, span: Span, take: Any, ends: tuple[Any, Any]) -> None:
    """Sixteen columns of the rows of a step, and what these send to the cells."""
    sums = every_double(0.0)
    for event in range(span.first + span.count, span.after):
        soon(at.weight, _row(at, span, event) + n)
    for event in range(span.first, span.first + span.count):
        here = _row(at, span, event) + n
        w = lesser(greater(load(at.weight, here) - take, ends[0]), ends[1])
        save(at.weight, here, w)
        sums = sums + doubles(w)
    save_doubles(at.drive, n, sums)


@njit(inline="always", error_model="numpy")
def _spiked(at: At, sent: int, k: Numbers) -> None:
    """Traces of cells that spike. What a pre spike takes from them is set aside."""
    for n in range(_I(sent)):
        j = peek_long(at.sent, n)
        before = load_one(at.fast, j)
        after = _ONE if k.nearest else before + _ONE
        save_one(at.fast, j, after)
        shown = after if k.post_now else before
        poke_double(at.taken, n, np.float64(shown * k.down + k.down_alone))
        save_one(at.fall, j, _NONE)


@njit(inline="always", error_model="numpy")
def fallen(at: At, span: Span, sent: int, k: Numbers) -> None:
    """Post traces over a step, and pre spikes for all cells that do not spike."""
    post, down, alone = every(k.post), every(k.down), every(k.down_alone)
    ends = every(k.least), every(k.most)
    if sent > 0:
        for n in range(_0, at.cells, _16):
            y = post * load(at.fast, n)
            save(at.fast, n, y)
            save(at.fall, n, y * down + alone)
        _spiked(at, sent, k)
    take = alone
    for n in range(_0, at.cells, _16):
        if sent > 0:
            take = load(at.fall, n)
        else:
            y = post * load(at.fast, n)
            save(at.fast, n, y)
            take = y * down + alone
        if n + _16 <= at.cells:
            _columns(at, n, span, take, ends)
    if at.cells % _16 != _0:
        # The last sixteen once more: those that are done lose nothing, and add up to the same.
        save(at.tail, _16, take)
        _columns(at, at.cells - _16, span, load(at.tail, at.cells % _16), ends)


@njit(inline="always", error_model="numpy")
def _raised(at: At, here: int, up: float, down: float, k: Numbers) -> float:
    """A weight that a post spike moves."""
    w = load_one(at.weight, here)
    rise = up * bent((k.most - w) * k.narrow, k.up_power)
    w = min(max(w + (rise - down), k.least), k.most)
    save_one(at.weight, here, w)
    return w


@njit(inline="always", error_model="numpy")
def _trace(at: At, i: int, now: int) -> float:
    """Of an input."""
    age = min(now - peek_count(at.last, i), at.longest)
    return load_one(at.x, i) * load_one(at.fades, _I(age))


@njit(inline="always", error_model="numpy")
def risen(at: At, span: Span, sent: int, now: int, k: Numbers) -> None:
    """Traces of inputs that spike, and their synapses to cells that spike too."""
    for n in range(_I(sent)):
        poke_double(at.drive, peek_long(at.sent, n), 0.0)
    for event in range(span.first, span.first + span.count):
        i = _I(peek_word(span.events, event))
        here = i * at.cells
        x = _trace(at, i, now)
        after = _ONE if k.nearest else x + _ONE
        up = k.up * (after if k.pre_now else x) + k.up_alone
        for n in range(_I(sent)):
            j = peek_long(at.sent, n)
            w = _raised(at, here + j, up, _F(peek_double(at.taken, n)), k)
            poke_double(at.drive, j, peek_double(at.drive, j) + np.float64(w))
        save_one(at.x, i, after)
        save_one(at.x_slow, i, _ONE)
        poke_count(at.last, i, now)


@njit(inline="always", error_model="numpy")
def posts(at: At, sent: int, now: int, k: Numbers) -> None:
    """Post spikes, for inputs that do not spike: their columns of weights."""
    for i in range(at.inputs):
        save_one(at.now, i, k.up * _trace(at, i, now) + k.up_alone)
    for n in range(_I(sent)):
        here = peek_long(at.sent, n)
        for i in range(at.inputs):
            if peek_count(at.last, i) != now:
                _raised(at, here, load_one(at.now, i), _NONE, k)
            here += at.cells
