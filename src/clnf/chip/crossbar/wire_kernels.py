"""Compiled passes of the exact wire solver: ladders of one line, and conjugate gradients.

A line of n nodes with a conductance between neighbours, another from its first node to a
terminal, and a leak at each node is a ladder; its matrix is tridiagonal and its Cholesky factor
has two diagonals. With the factors scaled to a unit diagonal, L x = y is x_i = y_i + f_i x_(i-1).

The network is A u - G v = b_u, C v - G u = b_v for the voltages u on word lines and v on bit
lines. With C = (D L^-1)^-1 (D L^-1)^-T for all bit lines, x = the bit voltages in which C is 1:

    (1 - K) x = b,    K = L_c H L_a^T L_a H L_c^T,    H = G / sqrt(pivots of A and C)

where L_a and L_c run along word and bit lines. Conjugate gradients on it take two sweeps a step:
down the rows (update, L_c^T, H, L_a^T L_a, H) and up again (L_c, dot products). Rows are kept in
blocks of sixteen and columns in eights, so that a sweep reads memory in order and either the rows
or the columns of a tile lie side by side in a register. Sums are written in one order: the bits
do not depend on the machine's threads.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from clnf.chip.crossbar.eight import load, mad, mul, save, total, turn

__all__ = ["Network", "currents", "gradients", "network", "voltages"]

Matrix = NDArray[np.float64]
Vector = NDArray[np.float64]
_ROWS, _COLS = 16, 8  # of a tile
_TILE = _ROWS * _COLS
# The predicted length of the next rest is a difference; below this share it is only rounding.
_TRUSTED = 1e-12


class Network(NamedTuple):
    """A crossbar as two sets of ladders; rows are fed at column 0, columns end at row 0.

    Arrays are flat float64, padded with 0 to whole tiles. "By tile" is [block of 16 rows, eight
    columns, row, column], "by block" is [block of 16 rows, column, row].

    Attributes:
        middle: cells over the roots of both pivots, by tile.
        bit_link: factors f along the bit lines, by tile.
        bit_root: 1 / root of the bit lines' pivots, by tile.
        word_link: factors f along the word lines, by block.
        word_root: 1 / root of the word lines' pivots, by block.
        feed: conductance between each row's driver and its first node, [rows].
        ground: conductance between a column's last node and ground.
        rows: number of rows.
        cols: number of columns.
    """

    middle: Any
    bit_link: Any
    bit_root: Any
    word_link: Any
    word_root: Any
    feed: Any
    ground: float
    rows: int
    cols: int


class _Space(NamedTuple):
    """Room for one vector's solution: by tile, along a row, for a tile, a block, a column of it."""

    rest: Any
    step: Any
    image: Any
    found: Any
    carry: Any
    foot: Any
    end: Any
    tile: Any
    block: Any
    edge: Any


@njit(nogil=True, cache=True)
def _at(i: int, j: int, cols: int) -> int:
    """Place of a crossing by tile."""
    eights = (cols + _COLS - 1) // _COLS
    return ((i // _ROWS) * eights + j // _COLS) * _TILE + (i % _ROWS) * _COLS + j % _COLS


@njit(nogil=True, cache=True)
def _beside(i: int, j: int, cols: int) -> int:
    """Place of a crossing by block."""
    padded = (cols + _COLS - 1) // _COLS * _COLS
    return ((i // _ROWS) * padded + j) * _ROWS + i % _ROWS


@njit(nogil=True, cache=True)
def network(cells: Matrix, word: float, feed: Vector, bit: float, ground: float) -> Network:
    """Factor both sets of ladders; by sums of positive conductances, so nothing cancels.

    Args:
        cells: conductances, [rows, cols].
        word: conductance of a word line's segment.
        feed: conductance between each row's driver and its first node, [rows]; 0 floats.
        bit: conductance of a bit line's segment.
        ground: conductance between a column's last node and ground.

    Returns:
        What the other functions take.
    """
    rows, cols = cells.shape
    size = (rows + _ROWS - 1) // _ROWS * ((cols + _COLS - 1) // _COLS) * _TILE
    middle, bit_link, bit_root = np.zeros(size), np.zeros(size), np.zeros(size)
    word_link, word_root = np.zeros(size), np.zeros(size)
    # Of the ladder before a node, the conductance; and 1 / root of the last pivot.
    below, last_down = np.full(cols, ground), np.zeros(cols)
    for i in range(rows):
        before, last = feed[i], 0.0
        for j in range(cols):
            inside = cells[i, j] + before
            across = 1.0 / np.sqrt(inside + (word if j + 1 < cols else 0.0))
            before = word * inside / (inside + word)
            at = _beside(i, j, cols)
            word_root[at], word_link[at] = across, word * last * across
            last = across
            inside = cells[i, j] + below[j]
            down = 1.0 / np.sqrt(inside + (bit if i + 1 < rows else 0.0))
            below[j] = bit * inside / (inside + bit)
            at = _at(i, j, cols)
            bit_root[at], bit_link[at] = down, bit * last_down[j] * down
            last_down[j] = down
            middle[at] = cells[i, j] * across * down
    return Network(middle, bit_link, bit_root, word_link, word_root, feed, ground, rows, cols)


@njit(nogil=True, cache=True)
def _space_for(net: Network) -> _Space:
    size, wide = len(net.middle), (net.cols + _COLS - 1) // _COLS * _COLS
    rest, step, image, found = np.zeros(size), np.zeros(size), np.zeros(size), np.zeros(size)
    carry, foot, end = np.zeros(wide), np.zeros(wide), np.zeros(wide)
    return _Space(
        rest, step, image, found, carry, foot, end,
        np.zeros(_TILE), np.zeros(wide * _ROWS), np.zeros(_ROWS),
    )  # fmt: skip


@njit(nogil=True, cache=True)
def _fill(x: Vector, value: float) -> None:
    for k in range(len(x)):
        x[k] = value


@njit(nogil=True, cache=True)
def _to_block(tile: Vector, c: int, block: Vector) -> None:
    turn(tile, _COLS, block, c * _TILE, _ROWS)
    turn(tile[_TILE // 2 :], _COLS, block, c * _TILE + _COLS, _ROWS)


@njit(nogil=True, cache=True)
def _to_tile(block: Vector, c: int, tile: Vector) -> None:
    turn(block[c * _TILE :], _ROWS, tile, 0, _COLS)
    turn(block[c * _TILE + _COLS :], _ROWS, tile, _TILE // 2, _COLS)


@njit(nogil=True, cache=True)
def _away(net: Network, b: int, c: int, block: Vector, edge: Vector) -> None:
    """First half of a solution of word lines, L_a, for eight columns; ``edge`` goes from left."""
    left, right = load(edge, 0), load(edge, _COLS)
    start = b * len(block)
    for m in range(c * _TILE, (c + 1) * _TILE, _ROWS):
        left = mad(load(block, m), load(net.word_link, start + m), left)
        right = mad(load(block, m + _COLS), load(net.word_link, start + m + _COLS), right)
        save(block, m, left)
        save(block, m + _COLS, right)
    save(edge, 0, left)
    save(edge, _COLS, right)


@njit(nogil=True, cache=True)
def _back(net: Network, b: int, c: int, block: Vector, edge: Vector) -> None:
    """Second half, L_a^T, for eight columns; ``edge`` goes from right."""
    left, right = load(edge, 0), load(edge, _COLS)
    start = b * len(block)
    for m in range((c + 1) * _TILE - _ROWS, c * _TILE - _ROWS, -_ROWS):
        left, right = mad(load(block, m), left, 1.0), mad(load(block, m + _COLS), right, 1.0)
        save(block, m, left)
        save(block, m + _COLS, right)
        left = mul(load(net.word_link, start + m), left)
        right = mul(load(net.word_link, start + m + _COLS), right)
    save(edge, 0, left)
    save(edge, _COLS, right)


@njit(nogil=True, cache=True)
def _enter_words(net: Network, b: int, space: _Space) -> None:
    """First half of the word lines of a block of rows, in place."""
    _fill(space.edge, 0.0)
    for c in range(len(space.block) // _TILE):
        _away(net, b, c, space.block, space.edge)


@njit(nogil=True, cache=True)
def _leave_words(net: Network, b: int, space: _Space) -> None:
    """Second half of the word lines, and currents into the bit lines: image = H L_a^T block."""
    tile, block, edge = space.tile, space.block, space.edge
    _fill(edge, 0.0)
    for c in range(len(block) // _TILE - 1, -1, -1):
        _back(net, b, c, block, edge)
        _to_tile(block, c, tile)
        start = b * len(block) + c * _TILE
        for m in range(0, _TILE, _COLS):
            save(space.image, start + m, mul(load(tile, m), load(net.middle, start + m)))


@njit(nogil=True, cache=True)
def _down(net: Network, alpha: float, beta: float, space: _Space) -> float:
    """Take the step before, and send a new one half the way.

    rest -= alpha image; step = rest + beta step; foot = row 0 of L_c^T step;
    image = H L_a^T L_a H L_c^T step.

    Returns:
        The square of the rest.
    """
    rest, step, image, _, carry, foot, _, tile, block, edge = space
    size = len(block)
    square = mul(load(carry, 0), 0.0)
    _fill(carry, 0.0)
    for b in range(len(rest) // size - 1, -1, -1):
        _fill(edge, 0.0)
        for c in range(len(carry) // _COLS):
            start = b * size + c * _TILE
            onward = load(carry, c * _COLS)
            volt = onward
            for k in range(_TILE - _COLS, -1, -_COLS):
                m = start + k
                x = mad(load(rest, m), -alpha, load(image, m))
                save(rest, m, x)
                square = mad(square, x, x)
                x = mad(x, beta, load(step, m))
                save(step, m, x)
                volt = mad(x, onward, 1.0)
                onward = mul(load(net.bit_link, m), volt)
                save(tile, k, mul(volt, load(net.middle, m)))
            save(carry, c * _COLS, onward)
            save(foot, c * _COLS, volt)
            _to_block(tile, c, block)
            _away(net, b, c, block, edge)
        _leave_words(net, b, space)
    return float(total(square))


@njit(nogil=True, cache=True)
def _up(net: Network, own: float, space: _Space) -> tuple[float, float]:
    """Send the step the other half of its way: image = own step - L_c image.

    Returns:
        Step times image, and the square of the image.
    """
    _, step, image, _, carry, _, _, _, block, _ = space
    size = len(block)
    both, square = mul(load(carry, 0), 0.0), mul(load(carry, 0), 0.0)
    _fill(carry, 0.0)
    for b in range(len(step) // size):
        for c in range(len(carry) // _COLS):
            last = load(carry, c * _COLS)
            start = b * size + c * _TILE
            for m in range(start, start + _TILE, _COLS):
                last = mad(load(image, m), load(net.bit_link, m), last)
                given = load(step, m)
                x = mad(mul(given, own), last, -1.0)
                save(image, m, x)
                both, square = mad(both, given, x), mad(square, x, x)
            save(carry, c * _COLS, last)
    return float(total(both)), float(total(square))


@njit(nogil=True, cache=True)
def _add(x: Vector, factor: float, y: Vector) -> None:
    for m in range(0, len(x), _COLS):
        save(x, m, mad(load(x, m), factor, load(y, m)))


@njit(nogil=True, cache=True)
def _solve(net: Network, goal: tuple[float, int], whole: bool, space: _Space) -> int:
    """Solve (1 - K) x = L_c image; leave row 0 of L_c^T x in ``end``, and x in ``found``.

    The first guess is b itself; what is left after it, K b, is formed without a difference, so
    that low wire resistances lose no digits. The share of the old step in the new one comes from
    a predicted square of the rest, known a sweep earlier than the square itself (Meurant 1987).

    Returns:
        Steps taken, more than allowed where the tolerance was not reached.
    """
    rest, step, _, found, _, foot, end, _, _, _ = space
    _up(net, 0.0, space)
    _fill(rest, 0.0)
    limit = goal[0] * goal[0] * _down(net, 1.0, 0.0, space)
    for j in range(len(end)):
        end[j] = foot[j]
    if whole:
        _fill(found, 0.0)
        _add(found, 1.0, step)
    _up(net, 0.0, space)
    _fill(rest, 0.0)
    alpha, beta = 1.0, 0.0
    for count in range(goal[1] + 1):
        square = _down(net, alpha, beta, space)
        if square <= limit:
            return count
        both, image = _up(net, 1.0, space)
        alpha = square / both
        for j in range(len(end)):
            end[j] += alpha * foot[j]
        if whole:
            _add(found, alpha, step)
        predicted = alpha * alpha * image - square
        if _TRUSTED * square < predicted <= limit:
            return count + 1
        beta = max(predicted, 0.0) / square
    return goal[1] + 1


@njit(nogil=True, cache=True)
def _drive(net: Network, volts: Vector, space: _Space) -> None:
    """Currents into the bit lines at rest from the row drivers alone, over the pivots' roots."""
    block = space.block
    size = len(block)
    for b in range(len(space.image) // size):
        _fill(block, 0.0)
        for k in range(min(_ROWS, net.rows - b * _ROWS)):
            block[k] = net.feed[b * _ROWS + k] * volts[b * _ROWS + k] * net.word_root[b * size + k]
        _enter_words(net, b, space)
        _leave_words(net, b, space)


@njit(nogil=True, cache=True)
def currents(net: Network, drive: Matrix, goal: tuple[float, int], out: Matrix) -> int:
    """Currents out of the columns for each vector of row voltages.

    Args:
        net: the crossbar.
        drive: volts, [batch, rows].
        goal: the root of the remaining energy against that of the first guess, and the steps
            after which to give up.
        out: amperes, [batch, cols].

    Returns:
        Most steps taken, more than allowed where the tolerance was not reached.

    Source: Hestenes and Stiefel 1952 with a preconditioner, as in Saad 2003, section 9.2.
    """
    space, worst = _space_for(net), 0
    for b in range(len(drive)):
        _drive(net, drive[b], space)
        worst = max(worst, _solve(net, goal, False, space))
        for j in range(net.cols):
            out[b, j] = net.ground * net.bit_root[_at(0, j, net.cols)] * space.end[j]
    return worst


@njit(nogil=True, cache=True)
def _inject(net: Network, volts: Vector, ends: Vector, amps: Matrix, space: _Space) -> None:
    """Currents into the bit lines at rest from drivers, column ends and cells, over the roots."""
    block, image = space.block, space.image
    for b in range(len(image) // len(block)):
        _fill(block, 0.0)
        for i in range(b * _ROWS, min((b + 1) * _ROWS, net.rows)):
            for j in range(net.cols):
                at = _beside(i, j, net.cols)
                into = (net.feed[i] * volts[i] if j == 0 else 0.0) - amps[i, j]
                block[at - b * len(block)] = into * net.word_root[at]
        _enter_words(net, b, space)
        _leave_words(net, b, space)
    for i in range(net.rows):
        for j in range(net.cols):
            at = _at(i, j, net.cols)
            image[at] += (amps[i, j] + (0.0 if i else ends[j])) * net.bit_root[at]


@njit(nogil=True, cache=True)
def _read_out(
    net: Network, volts: Vector, amps: Matrix, space: _Space, word: Matrix, bit: Matrix
) -> None:
    """Voltages of all nodes from what :func:`_solve` found."""
    found, tile, block = space.found, space.tile, space.block
    wide = len(space.carry)
    _fill(space.carry, 0.0)
    for i in range(net.rows - 1, -1, -1):
        for j in range(net.cols):
            at = _at(i, j, net.cols)
            found[at] += space.carry[j]
            space.carry[j] = net.bit_link[at] * found[at]
            bit[i, j] = net.bit_root[at] * found[at]
    for b in range(len(found) // len(block)):
        start = b * len(block)
        for c in range(wide // _COLS):
            for m in range(_TILE):
                tile[m] = found[start + c * _TILE + m] * net.middle[start + c * _TILE + m]
            _to_block(tile, c, block)
        for i in range(b * _ROWS, min((b + 1) * _ROWS, net.rows)):
            for j in range(net.cols):
                at = _beside(i, j, net.cols)
                into = (net.feed[i] * volts[i] if j == 0 else 0.0) - amps[i, j]
                block[at - start] += into * net.word_root[at]
        _enter_words(net, b, space)
        _fill(space.edge, 0.0)
        for c in range(wide // _COLS - 1, -1, -1):
            _back(net, b, c, block, space.edge)
        for i in range(b * _ROWS, min((b + 1) * _ROWS, net.rows)):
            for j in range(net.cols):
                at = _beside(i, j, net.cols)
                word[i, j] = net.word_root[at] * block[at - start]


@njit(nogil=True, cache=True)
def voltages(
    net: Network,
    given: tuple[Vector, Vector, Matrix],
    goal: tuple[float, int],
    word: Matrix,
    bit: Matrix,
) -> int:
    """Voltages of all nodes for one vector of sources.

    Args:
        net: the crossbar.
        given: volts of the row drivers, [rows]; amperes into the last node of each column,
            [cols]; and amperes drawn from each word-line node and given to the bit-line node
            across, beside what the cell's conductance carries, [rows, cols].
        goal: as in :func:`currents`.
        word: of the word-line nodes, [rows, cols].
        bit: of the bit-line nodes, [rows, cols].

    Returns:
        Steps taken.
    """
    space = _space_for(net)
    _inject(net, given[0], given[1], given[2], space)
    steps = _solve(net, goal, True, space)
    _read_out(net, given[0], given[2], space, word, bit)
    return steps


@njit(nogil=True, cache=True)
def gradients(
    net: Network, drive: Matrix, grad: Matrix, goal: tuple[float, int], cells: Matrix, volts: Matrix
) -> int:
    """Gradients of a function of the columns' currents: a second solve of the same network.

    Args:
        net: the crossbar.
        drive: volts, [batch, rows].
        grad: of the function with respect to the currents, [batch, cols].
        goal: as in :func:`currents`.
        cells: its gradient with respect to the cells is added here, [rows, cols].
        volts: its gradient with respect to ``drive``, [batch, rows].

    Returns:
        Most steps taken, as :func:`currents`.
    """
    shape, worst = (net.rows, net.cols), 0
    u, v, up, vp = np.empty(shape), np.empty(shape), np.empty(shape), np.empty(shape)
    none, still, open_ends = np.zeros(shape), np.zeros(net.rows), np.zeros(net.cols)
    for b in range(len(drive)):
        worst = max(worst, voltages(net, (drive[b], open_ends, none), goal, u, v))
        ends = net.ground * grad[b]
        worst = max(worst, voltages(net, (still, ends, none), goal, up, vp))
        for i in range(net.rows):
            volts[b, i] = net.feed[i] * up[i, 0]
            for j in range(net.cols):
                cells[i, j] -= (up[i, j] - vp[i, j]) * (u[i, j] - v[i, j])
    return worst
