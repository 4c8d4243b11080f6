"""Compiled passes of the exact wire solver: ladders of one line, and conjugate gradients.

A line of n nodes with a conductance between neighbours, another from its first node to a
terminal, and a leak at each node is a ladder; its matrix is tridiagonal. The ladders of one
direction stand side by side as the columns of an array [n, lines], so that every pass along them
works on whole vectors. Sums are written in one order: the bits do not depend on the machine's.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["Ladders", "currents", "gradients", "pivots", "voltages"]

Matrix = NDArray[np.float64]
_BLOCK = 16  # rows and columns that are turned together: both fit the innermost cache


class Ladders(NamedTuple):
    """A crossbar as two sets of ladders, float64; rows are fed at column 0, columns end at row 0.

    Attributes:
        cells: conductances, turned, [cols, rows].
        across: inverse pivots of the word lines, turned, [cols, rows].
        down: inverse pivots of the bit lines, [rows, cols].
        word: conductance of a word line's segment.
        feed: conductance between a row's driver and its first node.
        bit: conductance of a bit line's segment.
        ground: conductance between a column's last node and ground.
    """

    cells: Any
    across: Any
    down: Any
    word: float
    feed: float
    bit: float
    ground: float


class _Space(NamedTuple):
    """Room for one vector's solution."""

    turned: Any
    current: Any
    rest: Any
    lifted: Any
    step: Any
    drawn: Any
    image: Any


@njit(nogil=True, cache=True)
def pivots(leak: Matrix, segment: float, end: float, out: Matrix) -> None:
    """Inverse pivots of ladders; sums of positive conductances only, so nothing cancels.

    Args:
        leak: of each node, [n, lines].
        segment: conductance between neighbours.
        end: conductance from the first node to its terminal.
        out: 1 / pivot, [n, lines].
    """
    n, lines = leak.shape
    seen = np.full(lines, end)  # of the ladder that comes before a node
    for i in range(n):
        last = 0.0 if i + 1 == n else segment
        for line in range(lines):
            inside = leak[i, line] + seen[line]
            out[i, line] = 1.0 / (inside + last)
            seen[line] = segment * inside / (inside + segment)


@njit(nogil=True, cache=True)
def _solve_ladders(inverse: Matrix, segment: float, x: Matrix) -> None:
    """Solve the ladders of one direction in place.

    Args:
        inverse: what :func:`pivots` gave, [n, lines].
        segment: conductance between neighbours.
        x: injected currents; becomes voltages, [n, lines].
    """
    n, lines = x.shape
    for line in range(lines):
        x[0, line] *= inverse[0, line]
    for i in range(1, n):
        for line in range(lines):
            x[i, line] = (x[i, line] + segment * x[i - 1, line]) * inverse[i, line]
    for i in range(n - 2, -1, -1):
        for line in range(lines):
            x[i, line] += segment * inverse[i, line] * x[i + 1, line]


@njit(nogil=True, cache=True)
def _turn(x: Matrix, out: Matrix) -> None:
    rows, cols = x.shape
    for top in range(0, rows, _BLOCK):
        for left in range(0, cols, _BLOCK):
            for i in range(top, min(top + _BLOCK, rows)):
                for j in range(left, min(left + _BLOCK, cols)):
                    out[j, i] = x[i, j]


@njit(nogil=True, cache=True)
def _through_words(net: Ladders, x: Matrix, turned: Matrix, out: Matrix) -> None:
    """From bit-line voltages through the word lines back to currents: out = G A^-1 G x."""
    _turn(x, turned)
    _multiply(turned, net.cells)
    _solve_ladders(net.across, net.word, turned)
    _multiply(turned, net.cells)
    _turn(turned, out)


@njit(nogil=True, cache=True)
def _dot(x: Matrix, y: Matrix, lanes: NDArray[np.float64]) -> float:
    for j in range(len(lanes)):
        lanes[j] = 0.0
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            lanes[j] += x[i, j] * y[i, j]
    total = 0.0
    for lane in lanes:
        total += lane
    return total


# Loops, as assigning whole arrays would take Numba many seconds to compile.
@njit(nogil=True, cache=True)
def _copy(x: Matrix, out: Matrix) -> None:
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            out[i, j] = x[i, j]


@njit(nogil=True, cache=True)
def _add(x: Matrix, factor: float, y: Matrix, out: Matrix) -> None:
    """Add a multiple: out = x + factor y; any two may be the same array."""
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            out[i, j] = x[i, j] + factor * y[i, j]


@njit(nogil=True, cache=True)
def _multiply(x: Matrix, y: Matrix) -> None:
    """Multiply x by y, element by element."""
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            x[i, j] *= y[i, j]


@njit(nogil=True, cache=True)
def _space_for(net: Ladders) -> _Space:
    t, s = np.empty_like(net.cells), net.down.shape
    return _Space(t, np.empty(s), np.empty(s), np.empty(s), np.empty(s), np.empty(s), np.empty(s))


@njit(nogil=True, cache=True)
def _bit_voltages(net: Ladders, tolerance: float, most: int, space: _Space, v: Matrix) -> int:
    """Voltages of the bit-line nodes: S v = space.current with S = C - G A^-1 G.

    Conjugate gradients preconditioned by the bit lines' ladders C. The first guess is
    C^-1 current; what is left after it, G A^-1 G v, is formed without a difference, so that low
    wire resistances lose no digits. ``drawn`` is C times ``step``, kept up by its recurrence.
    """
    turned, current, rest, lifted, step, drawn, image = space
    lanes = np.empty(v.shape[1])
    _copy(current, v)
    _solve_ladders(net.down, net.bit, v)
    _through_words(net, v, turned, rest)
    _copy(rest, lifted)
    _solve_ladders(net.down, net.bit, lifted)
    _copy(lifted, step)
    _copy(rest, drawn)
    goal = tolerance * tolerance * _dot(current, v, lanes)
    left = _dot(rest, lifted, lanes)
    for count in range(most):
        if left <= goal:
            return count
        _through_words(net, step, turned, image)
        _add(drawn, -1.0, image, image)
        length = left / _dot(step, image, lanes)
        _add(v, length, step, v)
        _add(rest, -length, image, rest)
        _copy(rest, lifted)
        _solve_ladders(net.down, net.bit, lifted)
        before, left = left, _dot(rest, lifted, lanes)
        _add(lifted, left / before, step, step)
        _add(rest, left / before, drawn, drawn)
    return most if left <= goal else most + 1


@njit(nogil=True, cache=True)
def _drive(net: Ladders, volts: NDArray[np.float64], space: _Space) -> None:
    """Currents into the bit lines at rest, from the row drivers alone."""
    turned = space.turned
    for j in range(turned.shape[0]):
        for i in range(turned.shape[1]):
            turned[j, i] = 0.0 if j else net.feed * volts[i]
    _solve_ladders(net.across, net.word, turned)
    _multiply(turned, net.cells)
    _turn(turned, space.current)


@njit(nogil=True, cache=True)
def currents(net: Ladders, drive: Matrix, tolerance: float, most: int, out: Matrix) -> int:
    """Currents out of the columns for each vector of row voltages.

    Args:
        net: the crossbar.
        drive: volts, [batch, rows].
        tolerance: of the remaining energy against that of the first guess, as a root.
        most: steps after which to give up.
        out: amperes, [batch, cols].

    Returns:
        Most steps taken, ``most + 1`` where the tolerance was not reached.

    Source: Hestenes and Stiefel 1952 with a preconditioner, as in Saad 2003, algorithm 9.1.
    """
    space, v, worst = _space_for(net), np.empty(net.down.shape), 0
    for b in range(len(drive)):
        _drive(net, drive[b], space)
        worst = max(worst, _bit_voltages(net, tolerance, most, space, v))
        for j in range(out.shape[1]):
            out[b, j] = net.ground * v[0, j]
    return worst


@njit(nogil=True, cache=True)
def voltages(
    net: Ladders, volts: NDArray[np.float64], tolerance: float, most: int, word: Matrix, bit: Matrix
) -> int:
    """Voltages of all nodes for one vector of row voltages; otherwise as :func:`currents`.

    Args:
        net: the crossbar.
        volts: [rows].
        tolerance: as in :func:`currents`.
        most: as in :func:`currents`.
        word: of the word-line nodes, [rows, cols].
        bit: of the bit-line nodes, [rows, cols].

    Returns:
        Steps taken.
    """
    space = _space_for(net)
    _drive(net, volts, space)
    steps = _bit_voltages(net, tolerance, most, space, bit)
    _word_voltages(net, bit, net.feed, volts, space.turned, word)
    return steps


@njit(nogil=True, cache=True)
def gradients(
    net: Ladders, drive: Matrix, grad: Matrix, goal: tuple[float, int], cells: Matrix, volts: Matrix
) -> int:
    """Gradients of a function of the columns' currents: a second solve of the same network.

    Args:
        net: the crossbar.
        drive: volts, [batch, rows].
        grad: of the function with respect to the currents, [batch, cols].
        goal: tolerance and most steps, as in :func:`currents`.
        cells: its gradient with respect to the cells is added here, [rows, cols].
        volts: its gradient with respect to ``drive``, [batch, rows].

    Returns:
        Most steps taken, as :func:`currents`.
    """
    space, worst = _space_for(net), 0
    v, w, across = np.empty(net.down.shape), np.empty(net.down.shape), np.empty(net.down.shape)
    for b in range(len(drive)):
        _drive(net, drive[b], space)
        worst = max(worst, _bit_voltages(net, goal[0], goal[1], space, v))
        _word_voltages(net, v, net.feed, drive[b], space.turned, across)
        _add(across, -1.0, v, across)
        for i in range(v.shape[0]):
            for j in range(v.shape[1]):
                space.current[i, j] = 0.0 if i else net.ground * grad[b, j]
        worst = max(worst, _bit_voltages(net, goal[0], goal[1], space, w))
        _word_voltages(net, w, 0.0, drive[b], space.turned, v)
        for i in range(volts.shape[1]):
            volts[b, i] = net.feed * v[i, 0]
        _add(w, -1.0, v, v)
        _multiply(v, across)
        _add(cells, 1.0, v, cells)
    return worst


@njit(nogil=True, cache=True)
def _word_voltages(
    net: Ladders, v: Matrix, feed: float, volts: NDArray[np.float64], turned: Matrix, out: Matrix
) -> None:
    """Word-line nodes from bit-line nodes and drivers: A u = G v + feed volts at column 0."""
    _turn(v, turned)
    _multiply(turned, net.cells)
    for i in range(turned.shape[1]):
        turned[0, i] += feed * volts[i]
    _solve_ladders(net.across, net.word, turned)
    _turn(turned, out)
