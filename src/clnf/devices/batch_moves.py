"""Moves of cells by a batch's coincidences, sixteen cells at a time.

The law and its source stand in :mod:`clnf.devices.coincidences`; the twin of what is here is
:func:`clnf.devices.coincidence_reference.pulse_batch`. Where most cells of a column have pulses,
groups of sixteen neighbours move; where few have, those are brought together first. Laws of steps
that are not linear go cell by cell.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from clnf.devices import coincidences, pulses
from clnf.devices.bit_counts import (
    Counts,
    count_column,
    count_of,
    counts_of,
    lowest,
    new_counts,
    turn,
)
from clnf.devices.pulses import Cells
from clnf.devices.sixteen import (
    WIDTH,
    any_of,
    doubles,
    every,
    every_word,
    floats,
    floor,
    greater,
    largest,
    lesser,
    load,
    load_words,
    magnitude,
    nearest,
    root,
    save,
    save_words,
    sum_of_doubles,
    where,
    where_words,
    whole,
)
from clnf.devices.sixteen_maths import gauss8, uniform
from clnf.devices.trains import Trains

__all__ = ["pulse_batch"]

_F = np.float32
_U = np.uint32
_I = np.uintp
_LANES = np.arange(WIDTH, dtype=np.uint32)
# Cells with pulses in a group from which on its sixteen move in their place.
_DENSE = 6
# Lines of the room where cells are brought together.
_UP, _DOWN, _HIGH, _LOW, _W, _SEEN, _SHARE = (_I(line * WIDTH) for line in range(7))


class _Few(NamedTuple):
    """Room for sixteen cells brought together.

    Shapes: ``index`` int64 [16]; ``counts`` uint32 [48], ups, downs and numbers of cells; ``lines``
    float32 [112].
    """

    index: Any
    counts: Any
    lines: Any


class _Job(NamedTuple):
    """What every group of cells needs."""

    trains: Trains
    cells: Cells
    law: Any
    table: Any
    key: Any


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
def _shut(n: Any, m: Any, share: Any, index: Any, key: NDArray[np.uint32]) -> Any:
    """Keep pulses from fenced cells, in proportion by stochastic rounding."""
    n = whole(floor(floats(n) * share + uniform(index, key[4], key[5])))
    return n, whole(floor(floats(m) * share + uniform(index, key[5], key[4])))


@njit(inline="always")
def _moved(
    w: Any, both: Any, cell: Any, law: NDArray[np.float32], index: Any, key: NDArray[np.uint32]
) -> Any:
    """Where sixteen cells go, and what a read then sees."""
    n, m = both
    slopes, cycle = (law[pulses.SHAPE_UP], law[pulses.SHAPE_DOWN]), law[pulses.CYCLE]
    write = law[pulses.WRITE_NOISE]
    if slopes[0] == _F(0.0) or slopes[1] == _F(0.0):
        moved, variance = _constant(n, m, cell)
    else:
        moved, variance = _linear(w, n, m, cell, slopes)
    if cycle > _F(0.0):
        moved = moved + every(cycle) * (root(variance) * gauss8(index, key[0], key[1]))
    w = lesser(greater(w + moved, cell[3]), cell[2])
    shown = w
    if write > _F(0.0):
        shown = w + every(write) * gauss8(index, key[2], key[3])
    return w, shown


@njit(inline="always")
def _add(sums: Any, both: Any, seen: Any, law: NDArray[np.float32]) -> Any:
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


@njit(inline="always")
def _none() -> Any:
    return doubles(every(_F(0.0))), doubles(every(_F(0.0))), every_word(_U(0))


@njit(inline="always")
def _whole(sums: Any) -> Any:
    return sum_of_doubles(sums[0]), sum_of_doubles(sums[1]), largest(sums[2])


@njit(inline="always")
def _traits(table: NDArray[np.float32], at: int) -> Any:
    """Steps and bounds of sixteen neighbours."""
    lines = _I(table.shape[1])
    if lines == _I(1):
        return every(table[0, 0]), every(table[1, 0]), every(table[2, 0]), every(table[3, 0])
    two, three = _I(2) * lines + at, _I(3) * lines + at
    return load(table, at), load(table, lines + at), load(table, two), load(table, three)


@njit(nogil=True, cache=True, error_model="numpy")
def _in_place(job: _Job, counts: Counts, column: int, size: tuple[int, int]) -> Any:
    """Move the groups of a column that have pulses; ``size`` is groups and words of a mask."""
    (_, _, fence, fenced, first), (hidden, seen, wear), law, table, key = job
    groups, words = _I(size[0]), _I(size[1])
    shared, sums = hidden.ctypes.data == seen.ctypes.data, _none()
    none, lanes = every_word(_U(0)), load_words(_LANES, _I(0))
    for group in range(groups):
        if counts.any[group] == 0:
            continue
        at = _I(column) * _I(fence.shape[1]) + group * _I(WIDTH)
        index = lanes + every_word(_U(_U(first) + _U(at)))
        n, m = counts_of(counts, 0, group, words), counts_of(counts, 1, group, words)
        if fenced:
            n, m = _shut(n, m, load(fence, at), index, key)
        cell, w, before = _traits(table, at), load(hidden, at), load(seen, at)
        moved, shown = _moved(w, (n, m), cell, law, index, key)
        total = n + m
        hit = (total > none) & (cell[0] > every(_F(0.0)))
        save(hidden, at, where(hit, moved, w))
        if not shared:
            save(seen, at, where(hit, shown, before))
        save_words(wear, at, load_words(wear, at) + total)
        sums = _add(sums, (n, m), before, law)
    return _whole(sums)


@njit(nogil=True, cache=True)
def _bring(job: _Job, few: _Few, filled: int) -> None:
    """Fetch what cells brought together need; the rest of the sixteen has no pulses."""
    lines, table, fence = few.lines, job.table, job.trains.fence.ravel()
    for k in range(_I(filled), _I(WIDTH)):
        few.counts[k], few.counts[_I(WIDTH) + k], few.index[k] = _U(0), _U(0), few.index[0]
    for k in range(_I(WIDTH)):
        at = _I(few.index[k])
        few.counts[_I(2 * WIDTH) + k] = _U(_U(job.trains.first) + _U(at))
        own = at if table.shape[1] > 1 else _I(0)
        for row in range(_I(4)):
            lines[row * _I(WIDTH) + k] = table[row, own]
        lines[_W + k], lines[_SEEN + k] = job.cells.hidden[at], job.cells.seen[at]
        if job.trains.fenced:
            lines[_SHARE + k] = fence[at]


@njit(nogil=True, cache=True, error_model="numpy")
def _together(job: _Job, few: _Few, filled: int) -> Any:
    """Move cells that were brought together, and take them back."""
    _bring(job, few, filled)
    hidden, seen, wear = job.cells
    lines, law, key = few.lines, job.law, job.key
    n, m = load_words(few.counts, _I(0)), load_words(few.counts, _I(WIDTH))
    index = load_words(few.counts, _I(2 * WIDTH))
    if job.trains.fenced:
        n, m = _shut(n, m, load(lines, _SHARE), index, key)
    cell = load(lines, _UP), load(lines, _DOWN), load(lines, _HIGH), load(lines, _LOW)
    moved, shown = _moved(load(lines, _W), (n, m), cell, law, index, key)
    sums = _add(_none(), (n, m), load(lines, _SEEN), law)
    save(lines, _W, moved)
    save(lines, _SEEN, shown)
    save_words(few.counts, _I(0), n + m)
    for k in range(_I(filled)):
        at = _I(few.index[k])
        total = few.counts[k]
        wear[at] += np.int32(total)
        if total > _U(0) and lines[_UP + k] > _F(0.0):
            hidden[at] = lines[_W + k]
            seen[at] = lines[_SEEN + k]
    return _whole(sums)


@njit(nogil=True, cache=True)
def _collect(job: _Job, counts: Counts, few: _Few, filled: int, place: tuple[int, int, int]) -> Any:
    """Bring cells of a column together, and move each sixteen of them.

    ``place`` is the column, the first group to look at, and the words of a mask.
    """
    column, start, words = place
    pulsed, energy, longest = np.int64(0), np.int64(0), np.int32(0)
    for group in range(_I(start), _I(words)):
        bits = _U(counts.any[group])
        if bits == _U(0):
            continue
        at = _I(column) * _I(job.trains.fence.shape[1]) + group * _I(WIDTH)
        while bits != _U(0):
            k = lowest(bits)
            bits = _U(bits & _U(bits - _U(1)))
            few.index[filled] = at + k
            few.counts[filled] = count_of(counts, 0, group, (k, words))
            few.counts[_I(WIDTH) + _I(filled)] = count_of(counts, 1, group, (k, words))
            filled += 1
            if filled == WIDTH:
                more = _together(job, few, filled)
                pulsed, energy = pulsed + more[0], energy + more[1]
                longest, filled = max(longest, more[2]), 0
    return pulsed, energy, longest, filled


@njit(nogil=True, cache=True)
def pulse_batch(
    trains: Trains,
    cells: Cells,
    law: NDArray[np.float32],
    table: NDArray[np.float32],
    draw_key: NDArray[np.uint32],
) -> tuple[int, int, int]:
    """Apply a batch's coincidences to the cells [C, R], all of them in one move of each cell.

    A row and a column of one sign move the weight down, of two signs up. Write noise is drawn
    once; energy uses the conductance seen before.

    Args:
        trains: trains of rows and columns of at most 256 vectors, fence.
        cells: state [C * R], changed in place; without write noise both weights may be one array.
        law: see :meth:`clnf.devices.response.Response.law`.
        table: what :func:`clnf.devices.pulses.traits` gave, [4, 1] where all cells are alike.
        draw_key: six words for cycle, write-noise and fence draws.

    Returns:
        Pulses applied, energy in aJ, longest sum of coincidences at one cell.
    """
    if law[pulses.KIND] != pulses.LINEAR:
        return coincidences.pulse_batch(trains, cells, law, table, draw_key)
    masks = turn(trains.rows)
    counts, groups = new_counts(masks), trains.fence.shape[1] // WIDTH
    few = _Few(np.zeros(WIDTH, np.int64), np.zeros(3 * WIDTH, _U), np.zeros(7 * WIDTH, _F))
    job, filled = _Job(trains, cells, law, table, draw_key), 0
    pulsed, energy, longest = np.int64(0), np.int64(0), np.int32(0)
    for c in range(trains.fence.shape[0]):
        touched, busy = count_column(trains.columns, c, masks, counts)
        if touched == 0:
            continue
        first = 0
        if touched >= _DENSE * busy:
            first = groups
            more = _in_place(job, counts, c, (groups, masks.words))
            pulsed, energy = pulsed + more[0], energy + more[1]
            longest = max(longest, more[2])
        pushed, spent, top, filled = _collect(job, counts, few, filled, (c, first, masks.words))
        pulsed, energy, longest = pulsed + pushed, energy + spent, max(longest, top)
    if filled > 0:
        more = _together(job, few, filled)
        pulsed, energy, longest = pulsed + more[0], energy + more[1], max(longest, more[2])
    return pulsed, energy, longest
