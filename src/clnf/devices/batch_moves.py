"""A batch of pulse trains as one operation: coincidences are counted first, then cells move once.

:mod:`clnf.devices.bit_counts` counts and :mod:`clnf.devices.batch_maths` has the law of the moves;
the twin is :func:`clnf.devices.coincidence_reference.pulse_batch`. Cells go sixteen at a time:
groups of neighbours where steps are linear; else those with pulses are brought together first.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from clnf.devices import pulses
from clnf.devices.bit_counts import (
    Counts,
    Ledge,
    count_column,
    count_of,
    counts_of,
    ledge_of,
    new_counts,
)
from clnf.devices.cell_groups import (
    WAITING,
    Few,
    Ground,
    Job,
    expect,
    few_room,
    ground_of,
    move_few,
    move_group,
    none_yet,
    whole_sums,
)
from clnf.devices.pulses import Cells
from clnf.devices.random_trains import encode_columns, encode_rows, peaks_of
from clnf.devices.sixteen import (
    WIDTH,
    address,
    any_of,
    every,
    greater,
    load,
    load_one,
    magnitude,
    peek_long,
    peek_short,
    whole,
)
from clnf.devices.train_masks import Masks, across, lowest, turn
from clnf.devices.trains import Trains

__all__ = [
    "Lines", "Products", "Vectors", "pulse_batch", "pulse_lines", "pulse_products",
    "pulse_vectors", "runs_of",
]  # fmt: skip

_F = np.float32
_U = np.uint32
_I = np.uintp
# Cells with pulses for each group of a column from which on groups move in their place.
_DENSE = 2


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


class Vectors(NamedTuple):
    """Vectors as they come: what :class:`Products` has, scales worked out of a rate.

    ``rate`` is the pulses of a bit of both trains that a product of 1 asks for; rows take their
    share of it, columns theirs with ``sign``, so that both saturate alike.
    """

    rows: Any
    columns: Any
    rate: float
    sign: float
    length: int
    fence: Any
    fenced: bool
    first: int


@njit(inline="always")
def _in_place(ground: Ground, ledge: Ledge, place: Any, sums: Any) -> Any:
    """Move the groups of a column that have pulses; ``place``: its first cell, and groups."""
    first, groups = place
    for group in range(groups):
        if peek_short(ledge.any, group) != 0:
            both = counts_of(ledge, _I(0), group), counts_of(ledge, _I(1), group)
            sums = move_group(ground, first + group * _I(WIDTH), both, sums)
    return sums


@njit(inline="always")
def _collect(ground: Ground, ledge: Ledge, few: Few, filled: Any, place: Any) -> Any:
    """Bring cells of a group together while there is room; gives their number, and bits left.

    ``place``: the group's first cell, its number, and the rows to look at.
    """
    first, group, bits = place
    expect(ground, first + lowest(bits))
    while bits != _U(0) and filled < _I(WAITING):
        k = lowest(bits)
        bits = _U(bits & _U(bits - _U(1)))
        few.index[filled] = first + k
        few.counts[filled] = count_of(ledge, _I(0), group, k)
        few.counts[_I(WAITING) + filled] = count_of(ledge, _I(1), group, k)
        filled += _I(1)
    return filled, bits


@njit(nogil=True, cache=True, error_model="numpy")
def _sweep(
    job: Job, masks: Masks, columns: NDArray[np.uint32], counts: Counts, few: Few
) -> tuple[int, int, int]:
    """Count the coincidences of one column after the other, and move its cells.

    Whoever calls keeps the arrays: here there are only addresses of them.
    """
    rows, filled, law = _I(job.fence.shape[1]), _I(0), job.law
    ledge, ground, sums = ledge_of(masks, counts, columns), ground_of(job), none_yet()
    pulsed, energy, longest = whole_sums(sums)
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
                if filled == _I(WAITING):
                    more, filled = move_few(ground, law, few, filled), _I(0)
                    pulsed, energy = pulsed + more[0], energy + more[1]
                    longest = max(longest, more[2])
    if filled > _I(0):
        more = move_few(ground, law, few, filled)
        pulsed, energy, longest = pulsed + more[0], energy + more[1], max(longest, more[2])
    more = whole_sums(sums)
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
    job = Job(fence, fenced, first, cells, law, table, draw_key)
    masks = turn(trains.rows)
    return _sweep(job, masks, across(trains.columns), new_counts(masks), few_room())


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
    job = Job(fence, fenced, first, cells, law, table, draw_key)
    scales, keys, length = products.scales, products.keys, products.length
    columns, wanted = encode_columns(products.columns, scales[1], length, keys[2:])
    masks = encode_rows(products.rows, scales[0], keys[:2], wanted)
    return _sweep(job, masks, columns, new_counts(masks), few_room())


@njit(nogil=True, cache=True)
def pulse_vectors(
    vectors: Vectors,
    cells: Cells,
    law: NDArray[np.float32],
    table: NDArray[np.float32],
    keys: NDArray[np.uint32],
) -> tuple[int, int, int]:
    """As :func:`pulse_products`, but scales come of the largest magnitudes, found here.

    Args:
        vectors: at most :data:`clnf.devices.bit_counts.BATCH` of them, and the fence.
        cells: as there.
        law: as there.
        table: as there.
        keys: six words for draws, then four for trains.

    Returns:
        As there; all -1, and nothing has happened, where all rows or all columns are 0.
    """
    rows, columns = vectors.rows, vectors.columns
    one, other = peaks_of(rows, columns)
    peak_x, peak_d = np.float64(one), np.float64(other)
    if peak_x == 0.0 or peak_d == 0.0:
        return -1, -1, -1
    scales = np.empty(2, _F)
    scales[0] = math.sqrt(vectors.rate * peak_d / peak_x)
    scales[1] = vectors.sign * math.sqrt(vectors.rate * peak_x / peak_d)
    fence = vectors.fence, vectors.fenced, vectors.first
    products = Products(rows, columns, scales, keys[6:], vectors.length, *fence)
    return pulse_products(products, cells, law, table, keys)


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
def _runs(job: Job, lines: Lines, run: NDArray[np.bool_], few: Few) -> Any:
    """Move cells of rows, sixteen in their place where those follow each other."""
    sums, none, train, ground = none_yet(), every(_F(0.0)), lines.train, ground_of(job)
    pulsed, energy, longest = whole_sums(sums)
    filled, count, rows = _I(0), _I(train.shape[1]), _I(lines.fence.shape[1])
    dues, places = address(train), address(lines.lines)
    for c in range(_I(train.shape[0])):
        k = _I(0)
        while k < count:
            if run[k]:
                due = load(dues, c * count + k)
                if any_of(magnitude(due) > none):
                    both = whole(greater(due, none)), whole(greater(none - due, none))
                    sums = move_group(ground, c * rows + peek_long(places, k), both, sums)
                k += _I(WIDTH)
                continue
            one = load_one(dues, c * count + k)
            if one != _F(0.0):
                few.index[filled] = c * rows + peek_long(places, k)
                few.counts[filled] = _U(max(one, _F(0.0)))
                few.counts[_I(WAITING) + filled] = _U(max(-one, _F(0.0)))
                filled += _I(1)
            k += _I(1)
            if filled == _I(WAITING):
                more, filled = move_few(ground, job.law, few, filled), _I(0)
                pulsed, energy = pulsed + more[0], energy + more[1]
                longest = max(longest, more[2])
    if filled > _I(0):
        more = move_few(ground, job.law, few, filled)
        pulsed, energy, longest = pulsed + more[0], energy + more[1], max(longest, more[2])
    more = whole_sums(sums)
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
    job = Job(lines.fence, lines.fenced, lines.first, cells, law, table, draw_key)
    return _runs(job, lines, runs_of(lines.lines), few_room())
