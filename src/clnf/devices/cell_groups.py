"""Sixteen cells that move: neighbours in their place, or those with pulses brought together.

The law of the moves is in :mod:`clnf.devices.batch_maths`.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from clnf.devices import pulses
from clnf.devices.batch_maths import add, curved, moved, rules_of, shut, strayed
from clnf.devices.pulses import Cells
from clnf.devices.sixteen import (
    WIDTH,
    address,
    doubles,
    every,
    every_word,
    floats,
    largest,
    load,
    load_one,
    load_words,
    magnitude,
    peek_word,
    poke_word,
    save,
    save_one,
    save_words,
    soon,
    sum_of_doubles,
    where,
)

__all__ = [
    "WAITING", "Few", "Ground", "Job", "expect", "few_room", "ground_of", "move_few", "move_group",
    "none_yet", "whole_sums",
]  # fmt: skip

_F = np.float32
_U = np.uint32
_I = np.uintp
_LANES = np.arange(WIDTH, dtype=np.uint32)
# Cells that wait at most, and where their numbers are.
WAITING = 64
_NUMBER = _I(2 * WAITING)
# Lines of the room where cells are brought together, the first seven as ``curved`` wants them.
_UP, _DOWN, _HIGH, _LOW, _W, _WAY, _VARIANCE, _SEEN, _SHARE = (
    _I(line * WIDTH) for line in range(9)
)


class Few(NamedTuple):
    """Room for sixteen cells brought together.

    Up to 64 wait, so that what they need has come from memory when they move. Shapes: ``index``
    int64 [64]; ``counts`` uint32 [64 + 64 + 16], ups, downs and numbers of cells; ``lines`` float32
    [144].
    """

    index: Any
    counts: Any
    lines: Any


class Job(NamedTuple):
    """What every group of cells needs."""

    fence: Any
    fenced: bool
    first: int
    cells: Cells
    law: Any
    table: Any
    key: Any


class Ground(NamedTuple):
    """The same as numbers and addresses, for inner loops."""

    fence: Any
    fenced: bool
    first: Any
    hidden: Any
    seen: Any
    wear: Any
    shared: bool
    table: Any
    alike: bool
    line: Any
    rules: Any


@njit(inline="always")
def none_yet() -> Any:
    """Sums before any cell has moved: pulses, energy, longest."""
    return every_word(_U(0)), doubles(every(_F(0.0))), every_word(_U(0))


@njit(inline="always")
def whole_sums(sums: Any) -> Any:
    """Sums of sixteen lanes as whole numbers: pulses, aJ, pulses of one cell."""
    low, high = sums[0] & every_word(_U(0xFFFF)), sums[0] >> every_word(_U(16))
    # Halves of words become floats, and they without loss.
    pulsed = sum_of_doubles(doubles(floats(high))) * 65536 + sum_of_doubles(doubles(floats(low)))
    return pulsed, sum_of_doubles(sums[1]), largest(sums[2])


@njit(inline="always")
def ground_of(job: Job) -> Ground:
    """Addresses and numbers of a job."""
    hidden, seen, wear = job.cells
    shared = hidden.ctypes.data == seen.ctypes.data
    state = address(hidden), address(seen), address(wear)
    alike, rules = job.table.shape[1] == 1, rules_of(job.law, job.key)
    lines = address(job.table), alike, _I(job.table.shape[1])
    return Ground(address(job.fence), job.fenced, _U(job.first), *state, shared, *lines, rules)


@njit(inline="always")
def _traits(ground: Ground, at: Any) -> Any:
    """Table of sixteen neighbours."""
    table, line = ground.table, ground.line
    if ground.alike:
        one, two = load_one(table, _I(0)), load_one(table, _I(1))
        return every(one), every(two), every(load_one(table, _I(2))), every(load_one(table, _I(3)))
    one, two = load(table, at), load(table, line + at)
    return one, two, load(table, _I(2) * line + at), load(table, _I(3) * line + at)


@njit(inline="always")
def move_group(ground: Ground, at: Any, both: Any, sums: Any) -> Any:
    """Move sixteen neighbours, and add up what that took."""
    none, (n, m) = every_word(_U(0)), both
    index = load_words(_LANES, _I(0)) + every_word(_U(ground.first + _U(at)))
    if ground.fenced:
        n, m = shut(n, m, load(ground.fence, at), index, ground.rules.key)
    cell, w, before = _traits(ground, at), load(ground.hidden, at), load(ground.seen, at)
    now, shown = moved(w, (n, m), cell, ground.rules, index)
    total = n + m
    hit = (total > none) & (magnitude(cell[0]) > every(_F(0.0)))
    save(ground.hidden, at, where(hit, now, w))
    if not ground.shared:
        save(ground.seen, at, where(hit, shown, before))
    save_words(ground.wear, at, load_words(ground.wear, at) + total)
    return add(sums, (n, m), before, ground.rules)


@njit(inline="always")
def few_room() -> Few:
    """Room for cells that wait."""
    wide = 2 * WAITING + WIDTH
    return Few(np.zeros(WAITING, np.int64), np.zeros(wide, _U), np.zeros(9 * WIDTH, _F))


@njit(inline="always")
def _bring(ground: Ground, few: Few, first: Any, filled: Any) -> None:
    """Fetch what sixteen cells need; those not filled have no pulses."""
    lines, index, counts = few.lines, few.index, few.counts
    for k in range(filled, first + _I(WIDTH)):
        counts[k], counts[_I(WAITING) + k], index[k] = _U(0), _U(0), index[first]
    for k in range(_I(WIDTH)):
        at = _I(index[first + k])
        counts[_NUMBER + k] = _U(ground.first + _U(at))
        own = _I(0) if ground.alike else at
        for row in range(_I(4)):
            lines[row * _I(WIDTH) + k] = load_one(ground.table, row * ground.line + own)
        lines[_W + k], lines[_SEEN + k] = load_one(ground.hidden, at), load_one(ground.seen, at)
        if ground.fenced:
            lines[_SHARE + k] = load_one(ground.fence, at)


@njit(nogil=True, cache=True, error_model="numpy")
def move_few(ground: Ground, law: NDArray[np.float32], few: Few, filled: Any) -> Any:
    """Move all cells that wait."""
    sums = none_yet()
    for first in range(_I(0), filled, _I(WIDTH)):
        sums = _some(ground, law, few, (first, filled), sums)
    return whole_sums(sums)


@njit(inline="always")
def _some(ground: Ground, law: NDArray[np.float32], few: Few, span: Any, sums: Any) -> Any:
    """Move sixteen cells that were brought together, and take them back."""
    first, filled = span
    _bring(ground, few, first, filled)
    lines, counts, rules = few.lines, few.counts, ground.rules
    n, m = load_words(counts, first), load_words(counts, _I(WAITING) + first)
    index = load_words(counts, _NUMBER)
    if ground.fenced:
        n, m = shut(n, m, load(lines, _SHARE), index, rules.key)
    cell = load(lines, _UP), load(lines, _DOWN), load(lines, _HIGH), load(lines, _LOW)
    w = load(lines, _W)
    if law[pulses.KIND] == pulses.LINEAR:
        now, shown = moved(w, (n, m), cell, rules, index)
    else:
        save_words(counts, first, n)
        save_words(counts, _I(WAITING) + first, m)
        curved(lines, counts, (first, _I(WAITING) + first), law)
        now, shown = strayed(w, (load(lines, _WAY), load(lines, _VARIANCE)), cell, rules, index)
    sums = add(sums, (n, m), load(lines, _SEEN), rules)
    save(lines, _W, now)
    save(lines, _SEEN, shown)
    save_words(counts, _NUMBER, n + m)
    for k in range(min(_I(WIDTH), filled - first)):
        at, total = _I(few.index[first + k]), counts[_NUMBER + k]
        poke_word(ground.wear, at, _U(peek_word(ground.wear, at) + total))
        if total > _U(0) and lines[_UP + k] != _F(0.0):
            save_one(ground.hidden, at, lines[_W + k])
            save_one(ground.seen, at, lines[_SEEN + k])
    return sums


@njit(inline="always")
def expect(ground: Ground, at: Any) -> None:
    """Have what a cell needs come from memory."""
    soon(ground.hidden, at)
    soon(ground.wear, at)
    if not ground.shared:
        soon(ground.seen, at)
    if not ground.alike:
        for row in range(_I(4)):
            soon(ground.table, row * ground.line + at)
