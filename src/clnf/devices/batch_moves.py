"""A batch of pulse trains as one operation: coincidences are counted first, then cells move once.

:mod:`clnf.devices.bit_counts` counts and :mod:`clnf.devices.batch_maths` has the law of the moves;
the twin is :func:`clnf.devices.coincidence_reference.pulse_batch`. Cells go sixteen at a time:
groups of neighbours where steps are linear; else those with pulses are brought together first.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from clnf.devices import pulses
from clnf.devices.batch_maths import add, curved, moved, rules_of, shut, strayed
from clnf.devices.bit_counts import (
    Counts,
    Ledge,
    Masks,
    across,
    count_column,
    count_of,
    counts_of,
    ledge_of,
    lowest,
    new_counts,
    turn,
)
from clnf.devices.pulses import Cells
from clnf.devices.random_trains import encode_columns, encode_rows
from clnf.devices.sixteen import (
    WIDTH,
    address,
    any_of,
    doubles,
    every,
    every_word,
    greater,
    largest,
    load,
    load_one,
    load_words,
    magnitude,
    peek_long,
    peek_short,
    peek_word,
    poke_word,
    save,
    save_one,
    save_words,
    soon,
    sum_of_doubles,
    where,
    whole,
)
from clnf.devices.trains import Trains

__all__ = ["Lines", "Products", "pulse_batch", "pulse_lines", "pulse_products", "runs_of"]

_F = np.float32
_U = np.uint32
_I = np.uintp
_LANES = np.arange(WIDTH, dtype=np.uint32)
# Cells with pulses for each group of a column from which on groups move in their place.
_DENSE = 2
# Cells that wait at most, and where their numbers are.
_WAITING = 64
_NUMBER = _I(2 * _WAITING)
# Lines of the room where cells are brought together, the first seven as ``curved`` wants them.
_UP, _DOWN, _HIGH, _LOW, _W, _WAY, _VARIANCE, _SEEN, _SHARE = (
    _I(line * WIDTH) for line in range(9)
)


class Lines(NamedTuple):
    """Pulses of some rows, and what :class:`clnf.devices.trains.Trains` has of the fence.

    Shapes: ``lines`` int64 [K], each at most once; ``train`` float32 [C, K], whole numbers,
    positive ones raise.
    """

    lines: Any
    train: Any
    fence: Any
    fenced: bool
    first: int


class Products(NamedTuple):
    """Vectors whose outer products become random trains, and the same of the fence.

    Shapes: ``rows`` float32 [N, R], ``columns`` float32 [N, C], at most
    :data:`clnf.devices.bit_counts.BATCH` vectors; ``scales`` float32 [2], what makes probabilities
    with signs of both; ``keys`` uint32 [4], two words for each; trains have ``length`` bits.
    """

    rows: Any
    columns: Any
    scales: Any
    keys: Any
    length: int
    fence: Any
    fenced: bool
    first: int


class _Few(NamedTuple):
    """Room for sixteen cells brought together.

    Up to 64 wait, so that what they need has come from memory when they move. Shapes: ``index``
    int64 [64]; ``counts`` uint32 [64 + 64 + 16], ups, downs and numbers of cells; ``lines`` float32
    [144].
    """

    index: Any
    counts: Any
    lines: Any


class _Job(NamedTuple):
    """What every group of cells needs."""

    fence: Any
    fenced: bool
    first: int
    cells: Cells
    law: Any
    table: Any
    key: Any


class _Ground(NamedTuple):
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
def _none() -> Any:
    return doubles(every(_F(0.0))), doubles(every(_F(0.0))), every_word(_U(0))


@njit(inline="always")
def _whole(sums: Any) -> Any:
    return sum_of_doubles(sums[0]), sum_of_doubles(sums[1]), largest(sums[2])


@njit(inline="always")
def _ground(job: _Job) -> _Ground:
    """Addresses and numbers of a job."""
    hidden, seen, wear = job.cells
    shared = hidden.ctypes.data == seen.ctypes.data
    state = address(hidden), address(seen), address(wear)
    alike, rules = job.table.shape[1] == 1, rules_of(job.law, job.key)
    lines = address(job.table), alike, _I(job.table.shape[1])
    return _Ground(address(job.fence), job.fenced, _U(job.first), *state, shared, *lines, rules)


@njit(inline="always")
def _traits(ground: _Ground, at: Any) -> Any:
    """Table of sixteen neighbours."""
    table, line = ground.table, ground.line
    if ground.alike:
        one, two = load_one(table, _I(0)), load_one(table, _I(1))
        return every(one), every(two), every(load_one(table, _I(2))), every(load_one(table, _I(3)))
    one, two = load(table, at), load(table, line + at)
    return one, two, load(table, _I(2) * line + at), load(table, _I(3) * line + at)


@njit(inline="always")
def _group(ground: _Ground, at: Any, both: Any, sums: Any) -> Any:
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
def _room() -> _Few:
    wide = 2 * _WAITING + WIDTH
    return _Few(np.zeros(_WAITING, np.int64), np.zeros(wide, _U), np.zeros(9 * WIDTH, _F))


@njit(inline="always")
def _bring(ground: _Ground, few: _Few, first: Any, filled: Any) -> None:
    """Fetch what sixteen cells need; those not filled have no pulses."""
    lines, index, counts = few.lines, few.index, few.counts
    for k in range(filled, first + _I(WIDTH)):
        counts[k], counts[_I(_WAITING) + k], index[k] = _U(0), _U(0), index[first]
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
def _together(ground: _Ground, law: NDArray[np.float32], few: _Few, filled: Any) -> Any:
    """Move all cells that wait."""
    sums = _none()
    for first in range(_I(0), filled, _I(WIDTH)):
        sums = _some(ground, law, few, (first, filled), sums)
    return _whole(sums)


@njit(inline="always")
def _some(ground: _Ground, law: NDArray[np.float32], few: _Few, span: Any, sums: Any) -> Any:
    """Move sixteen cells that were brought together, and take them back."""
    first, filled = span
    _bring(ground, few, first, filled)
    lines, counts, rules = few.lines, few.counts, ground.rules
    n, m = load_words(counts, first), load_words(counts, _I(_WAITING) + first)
    index = load_words(counts, _NUMBER)
    if ground.fenced:
        n, m = shut(n, m, load(lines, _SHARE), index, rules.key)
    cell = load(lines, _UP), load(lines, _DOWN), load(lines, _HIGH), load(lines, _LOW)
    w = load(lines, _W)
    if law[pulses.KIND] == pulses.LINEAR:
        now, shown = moved(w, (n, m), cell, rules, index)
    else:
        save_words(counts, first, n)
        save_words(counts, _I(_WAITING) + first, m)
        curved(lines, counts, (first, _I(_WAITING) + first), law)
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
def _in_place(ground: _Ground, ledge: Ledge, place: Any, sums: Any) -> Any:
    """Move the groups of a column that have pulses; ``place``: its first cell, and groups."""
    first, groups = place
    for group in range(groups):
        if peek_short(ledge.any, group) != 0:
            both = counts_of(ledge, _I(0), group), counts_of(ledge, _I(1), group)
            sums = _group(ground, first + group * _I(WIDTH), both, sums)
    return sums


@njit(inline="always")
def _expect(ground: _Ground, at: Any) -> None:
    """Have what a cell needs come from memory."""
    soon(ground.hidden, at)
    soon(ground.wear, at)
    if not ground.shared:
        soon(ground.seen, at)
    if not ground.alike:
        for row in range(_I(4)):
            soon(ground.table, row * ground.line + at)


@njit(inline="always")
def _collect(ground: _Ground, ledge: Ledge, few: _Few, filled: Any, place: Any) -> Any:
    """Bring cells of a group together while there is room; gives their number, and bits left.

    ``place``: the group's first cell, its number, and the rows to look at.
    """
    first, group, bits = place
    _expect(ground, first + lowest(bits))
    while bits != _U(0) and filled < _I(_WAITING):
        k = lowest(bits)
        bits = _U(bits & _U(bits - _U(1)))
        few.index[filled] = first + k
        few.counts[filled] = count_of(ledge, _I(0), group, k)
        few.counts[_I(_WAITING) + filled] = count_of(ledge, _I(1), group, k)
        filled += _I(1)
    return filled, bits


@njit(nogil=True, cache=True, error_model="numpy")
def _sweep(
    job: _Job, masks: Masks, columns: NDArray[np.uint32], counts: Counts, few: _Few
) -> tuple[int, int, int]:
    """Count the coincidences of one column after the other, and move its cells.

    Whoever calls keeps the arrays: here there are only addresses of them.
    """
    rows, filled, law = _I(job.fence.shape[1]), _I(0), job.law
    ledge, ground, sums = ledge_of(masks, counts, columns), _ground(job), _none()
    pulsed, energy, longest = _whole(sums)
    linear, cells = law[pulses.KIND] == pulses.LINEAR, _I(columns.shape[0]) * rows
    all_groups = (rows + _I(WIDTH - 1)) // _I(WIDTH)
    for c in range(_I(columns.shape[0])):
        touched, groups = count_column(ledge, c), _I(0)
        if touched == _I(0):
            continue
        if linear and touched >= _I(_DENSE) * all_groups:
            # The last group may reach into the next column, whose cells get no pulses by it.
            beyond = c * rows + all_groups * _I(WIDTH) > cells
            groups = rows // _I(WIDTH) if beyond else all_groups
            sums = _in_place(ground, ledge, (c * rows, groups), sums)
        for group in range(groups, all_groups):
            bits = _U(peek_short(ledge.any, group))
            while bits != _U(0):
                place = c * rows + group * _I(WIDTH), group, bits
                filled, bits = _collect(ground, ledge, few, filled, place)
                if filled == _I(_WAITING):
                    more, filled = _together(ground, law, few, filled), _I(0)
                    pulsed, energy = pulsed + more[0], energy + more[1]
                    longest = max(longest, more[2])
    if filled > _I(0):
        more = _together(ground, law, few, filled)
        pulsed, energy, longest = pulsed + more[0], energy + more[1], max(longest, more[2])
    more = _whole(sums)
    return pulsed + more[0], energy + more[1], max(longest, more[2])


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
        trains: trains of at most :data:`clnf.devices.bit_counts.BATCH` vectors, fence.
        cells: state [C * R], changed in place; without write noise both weights may be one array.
        law: see :meth:`clnf.devices.response.Response.law`.
        table: what :func:`clnf.devices.batch_maths.paces` gave, [4, 1] where all cells are alike.
        draw_key: six words for cycle, write-noise and fence draws.

    Returns:
        Pulses applied, energy in aJ, longest sum of coincidences at one cell.
    """
    fence, fenced, first = trains.fence, trains.fenced, trains.first
    job = _Job(fence, fenced, first, cells, law, table, draw_key)
    masks = turn(trains.rows)
    return _sweep(job, masks, across(trains.columns), new_counts(masks), _room())


@njit(nogil=True, cache=True)
def pulse_products(
    products: Products,
    cells: Cells,
    law: NDArray[np.float32],
    table: NDArray[np.float32],
    draw_key: NDArray[np.uint32],
) -> tuple[int, int, int]:
    """Draw random trains of a batch and apply their coincidences, as :func:`pulse_batch` does.

    Trains are those of :func:`clnf.devices.random_trains.encode_random`; of rows only the bits
    that a column has are drawn. The rest is as there.
    """
    fence, fenced, first = products.fence, products.fenced, products.first
    job = _Job(fence, fenced, first, cells, law, table, draw_key)
    scales, keys, length = products.scales, products.keys, products.length
    columns, wanted = encode_columns(products.columns, scales[1], length, keys[2:])
    masks = encode_rows(products.rows, scales[0], keys[:2], wanted)
    return _sweep(job, masks, columns, new_counts(masks), _room())


@njit(nogil=True, cache=True)
def runs_of(lines: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether from a row on sixteen follow each other, [K]."""
    found = np.zeros(lines.shape[0], np.bool_)
    for k in range(lines.shape[0] - WIDTH + 1):
        found[k] = True
        for more in range(1, WIDTH):
            found[k] &= lines[k + more] == lines[k] + more
    return found


@njit(nogil=True, cache=True, error_model="numpy")
def _runs(job: _Job, lines: Lines, run: NDArray[np.bool_], few: _Few) -> Any:
    """Move cells of rows, sixteen in their place where those follow each other."""
    sums, none, train, ground = _none(), every(_F(0.0)), lines.train, _ground(job)
    pulsed, energy, longest = _whole(sums)
    filled, count, rows = _I(0), _I(train.shape[1]), _I(lines.fence.shape[1])
    dues, places = address(train), address(lines.lines)
    for c in range(_I(train.shape[0])):
        k = _I(0)
        while k < count:
            if run[k]:
                due = load(dues, c * count + k)
                if any_of(magnitude(due) > none):
                    both = whole(greater(due, none)), whole(greater(none - due, none))
                    sums = _group(ground, c * rows + peek_long(places, k), both, sums)
                k += _I(WIDTH)
                continue
            one = load_one(dues, c * count + k)
            if one != _F(0.0):
                few.index[filled] = c * rows + peek_long(places, k)
                few.counts[filled] = _U(max(one, _F(0.0)))
                few.counts[_I(_WAITING) + filled] = _U(max(-one, _F(0.0)))
                filled += _I(1)
            k += _I(1)
            if filled == _I(_WAITING):
                more, filled = _together(ground, job.law, few, filled), _I(0)
                pulsed, energy = pulsed + more[0], energy + more[1]
                longest = max(longest, more[2])
    if filled > _I(0):
        more = _together(ground, job.law, few, filled)
        pulsed, energy, longest = pulsed + more[0], energy + more[1], max(longest, more[2])
    more = _whole(sums)
    return pulsed + more[0], energy + more[1], max(longest, more[2])


@njit(nogil=True, cache=True)
def pulse_lines(
    lines: Lines,
    cells: Cells,
    law: NDArray[np.float32],
    table: NDArray[np.float32],
    draw_key: NDArray[np.uint32],
) -> tuple[int, int, int]:
    """Pulse cells of some rows, for laws of linear steps; the rest is as in :func:`pulse_batch`."""
    job = _Job(lines.fence, lines.fenced, lines.first, cells, law, table, draw_key)
    return _runs(job, lines, runs_of(lines.lines), _room())
