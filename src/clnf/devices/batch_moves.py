"""A batch of pulse trains as one operation: coincidences are counted first, then cells move once.

:mod:`clnf.devices.bit_counts` counts and :mod:`clnf.devices.batch_maths` has the law of the moves;
the twin is :func:`clnf.devices.coincidence_reference.pulse_batch`. Cells go sixteen at a time:
where most of a column have pulses, groups of neighbours move; where few have, and always where
steps are not linear, those with pulses are brought together first.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from clnf.devices import pulses
from clnf.devices.batch_maths import add, curved, moved, shut, strayed
from clnf.devices.bit_counts import (
    Masks,
    across,
    count_column,
    count_of,
    counts_of,
    lowest,
    new_counts,
    turn,
)
from clnf.devices.block_passes import neighbours
from clnf.devices.pulses import Cells
from clnf.devices.random_trains import encode_columns, encode_rows
from clnf.devices.sixteen import (
    WIDTH,
    any_of,
    doubles,
    every,
    every_word,
    greater,
    largest,
    load,
    load_words,
    magnitude,
    save,
    save_words,
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
# Cells with pulses in a group from which on its sixteen move in their place.
_DENSE = 6
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

    Shapes: ``index`` int64 [16]; ``counts`` uint32 [48], ups, downs and numbers of cells; ``lines``
    float32 [144].
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


@njit(inline="always")
def _none() -> Any:
    return doubles(every(_F(0.0))), doubles(every(_F(0.0))), every_word(_U(0))


@njit(inline="always")
def _whole(sums: Any) -> Any:
    return sum_of_doubles(sums[0]), sum_of_doubles(sums[1]), largest(sums[2])


@njit(inline="always")
def _group(job: _Job, at: Any, both: Any, sums: Any) -> Any:
    """Move sixteen neighbours, and add up what that took."""
    fence, fenced, first, (hidden, seen, wear), law, table, key = job
    none, (n, m) = every_word(_U(0)), both
    index = load_words(_LANES, _I(0)) + every_word(_U(_U(first) + _U(at)))
    if fenced:
        n, m = shut(n, m, load(fence, at), index, key)
    cell, w, before = neighbours(table, at), load(hidden, at), load(seen, at)
    now, shown = moved(w, (n, m), cell, law, index, key)
    total = n + m
    hit = (total > none) & (magnitude(cell[0]) > every(_F(0.0)))
    save(hidden, at, where(hit, now, w))
    if hidden.ctypes.data != seen.ctypes.data:
        save(seen, at, where(hit, shown, before))
    save_words(wear, at, load_words(wear, at) + total)
    return add(sums, (n, m), before, law)


@njit(inline="always")
def _room() -> _Few:
    return _Few(np.zeros(WIDTH, np.int64), np.zeros(3 * WIDTH, _U), np.zeros(9 * WIDTH, _F))


@njit(nogil=True, cache=True)
def _bring(job: _Job, few: _Few, filled: Any) -> None:
    """Fetch what cells brought together need; the rest of the sixteen has no pulses."""
    lines, table, fence = few.lines, job.table, job.fence.ravel()
    for k in range(_I(filled), _I(WIDTH)):
        few.counts[k], few.counts[_I(WIDTH) + k], few.index[k] = _U(0), _U(0), few.index[0]
    for k in range(_I(WIDTH)):
        at = _I(few.index[k])
        few.counts[_I(2 * WIDTH) + k] = _U(_U(job.first) + _U(at))
        own = at if table.shape[1] > 1 else _I(0)
        for row in range(_I(4)):
            lines[row * _I(WIDTH) + k] = table[row, own]
        lines[_W + k], lines[_SEEN + k] = job.cells.hidden[at], job.cells.seen[at]
        if job.fenced:
            lines[_SHARE + k] = fence[at]


@njit(nogil=True, cache=True, error_model="numpy")
def _together(job: _Job, few: _Few, filled: Any) -> Any:
    """Move cells that were brought together, and take them back."""
    _bring(job, few, filled)
    hidden, seen, wear = job.cells
    lines, law, key = few.lines, job.law, job.key
    n, m = load_words(few.counts, _I(0)), load_words(few.counts, _I(WIDTH))
    index = load_words(few.counts, _I(2 * WIDTH))
    if job.fenced:
        n, m = shut(n, m, load(lines, _SHARE), index, key)
    cell = load(lines, _UP), load(lines, _DOWN), load(lines, _HIGH), load(lines, _LOW)
    w = load(lines, _W)
    if law[pulses.KIND] == pulses.LINEAR:
        now, shown = moved(w, (n, m), cell, law, index, key)
    else:
        save_words(few.counts, _I(0), n)
        save_words(few.counts, _I(WIDTH), m)
        curved(lines, few.counts, law)
        way = load(lines, _WAY), load(lines, _VARIANCE)
        now, shown = strayed(w, way, cell, law, index, key)
    sums = add(_none(), (n, m), load(lines, _SEEN), law)
    save(lines, _W, now)
    save(lines, _SEEN, shown)
    save_words(few.counts, _I(0), n + m)
    for k in range(_I(filled)):
        at = _I(few.index[k])
        total = few.counts[k]
        wear[at] += np.int32(total)
        if total > _U(0) and lines[_UP + k] != _F(0.0):
            hidden[at] = lines[_W + k]
            seen[at] = lines[_SEEN + k]
    return _whole(sums)


@njit(nogil=True, cache=True, error_model="numpy")
def _sweep(job: _Job, masks: Masks, columns: NDArray[np.uint32]) -> tuple[int, int, int]:
    """Count the coincidences of a column after the other, and move its cells."""
    counts, rows, words = new_counts(masks), _I(job.fence.shape[1]), _I(masks.words)
    groups, few, filled, sums = rows // _I(WIDTH), _room(), _I(0), _none()
    linear = job.law[pulses.KIND] == pulses.LINEAR
    pulsed, energy, longest = _whole(sums)
    for c in range(_I(columns.shape[0])):
        touched, busy = count_column(columns, c, masks, counts)
        if touched == _I(0):
            continue
        first = _I(0)
        if linear and touched >= _I(_DENSE) * busy:
            first = groups
            for group in range(groups):
                if counts.any[group] != 0:
                    n = counts_of(counts, 0, group, words)
                    m = counts_of(counts, 1, group, words)
                    sums = _group(job, c * rows + group * _I(WIDTH), (n, m), sums)
        for group in range(first, words):
            bits = _U(counts.any[group])
            while bits != _U(0):
                k = lowest(bits)
                bits = _U(bits & _U(bits - _U(1)))
                few.index[filled] = c * rows + group * _I(WIDTH) + k
                few.counts[filled] = count_of(counts, 0, group, (k, words))
                few.counts[_I(WIDTH) + filled] = count_of(counts, 1, group, (k, words))
                filled += _I(1)
                if filled == _I(WIDTH):
                    more, filled = _together(job, few, filled), _I(0)
                    pulsed, energy = pulsed + more[0], energy + more[1]
                    longest = max(longest, more[2])
    if filled > _I(0):
        more = _together(job, few, filled)
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
    return _sweep(job, turn(trains.rows), across(trains.columns))


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
    return _sweep(job, masks, columns)


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
def _runs(job: _Job, lines: Lines, run: NDArray[np.bool_]) -> Any:
    """Move cells whose rows follow each other, sixteen in their place."""
    sums, none, train = _none(), every(_F(0.0)), lines.train
    for c in range(_I(train.shape[0])):
        k = _I(0)
        while k < _I(train.shape[1]):
            if not run[k]:
                k += _I(1)
                continue
            due = load(train, c * _I(train.shape[1]) + k)
            if any_of(magnitude(due) > none):
                both = whole(greater(due, none)), whole(greater(none - due, none))
                at = c * _I(lines.fence.shape[1]) + _I(lines.lines[k])
                sums = _group(job, at, both, sums)
            k += _I(WIDTH)
    return _whole(sums)


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
    run = runs_of(lines.lines)
    pulsed, energy, longest = _runs(job, lines, run)
    few, filled, train = _room(), 0, lines.train
    for c in range(_I(train.shape[0])):
        k = _I(0)
        while k < _I(train.shape[1]):
            if run[k]:
                k += _I(WIDTH)
                continue
            due = train[c, k]
            if due != _F(0.0):
                few.index[filled] = c * _I(lines.fence.shape[1]) + _I(lines.lines[k])
                few.counts[filled] = _U(max(due, _F(0.0)))
                few.counts[_I(WIDTH) + _I(filled)] = _U(max(-due, _F(0.0)))
                filled += 1
            k += _I(1)
            if filled == WIDTH:
                more, filled = _together(job, few, filled), 0
                pulsed, energy = pulsed + more[0], energy + more[1]
                longest = max(longest, more[2])
    if filled > 0:
        more = _together(job, few, filled)
        pulsed, energy, longest = pulsed + more[0], energy + more[1], max(longest, more[2])
    return pulsed, energy, longest
