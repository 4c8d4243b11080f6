"""The law over all steps and its adjoint, compiled, one row of weights at a time.

What happens at a synapse depends on the traces of its two cells and on itself alone. So a row goes
through all steps with its weights in cache, and the way back goes through them once more, keeps
the row's course, and follows it back: no weight of any step but the first is remembered. Steps cost
what their events cost. The plain version is :mod:`clnf.spiking.plasticity.law`.

Legend: T steps, B samples, I pre and J post cells; all arrays float64.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["Bends", "Lists", "Products", "fold", "fold_back", "mark", "mark_back"]

F = NDArray[np.float64]


class Products(NamedTuple):
    """up = a x + u [T, B, J] and [T, B, I], down = c y + d; gradients in the same places."""

    a: Any
    x: Any
    u: Any
    y: Any
    c: Any
    d: Any


class Lists(NamedTuple):
    """Where spikes are.

    Attributes:
        starts: of each step and sample in ``cells``, [T B + 1].
        cells: pre cells in [0, I).
        sent: post cells, true or false [T, B, J].
    """

    starts: Any
    cells: Any
    sent: Any


class Bends(NamedTuple):
    """Bounds, 1 / (most - least), powers, what is kept of an eligibility, and the share of it."""

    least: float
    most: float
    narrow: float
    up_power: float
    down_power: float
    kept: float
    share: float


@njit(inline="always")
def _factor(room: float, power: float) -> float:
    if power == 0.0:
        return 1.0
    base = max(room, 0.0)
    if power == 1.0:
        return base
    return base**power if base > 0.0 else 0.0


@njit(inline="always")
def _slope(room: float, power: float) -> float:
    """Of the factor over the room."""
    if power == 1.0:
        return 1.0 if room >= 0.0 else 0.0
    if power == 0.0 or not room > 0.0:
        return 0.0
    return power * room ** (power - 1.0)


@njit(inline="always")
def _bend(room: float, power: float) -> float:
    """Of the factor over the power."""
    return _factor(room, power) * math.log(room) if room > 0.0 else 0.0


@njit(nogil=True, error_model="numpy")
def _add(p: Products, lists: Lists, at: tuple[int, int, int], work: F) -> None:
    """Add the products of a step and a sample to those of a row, and mark what they touch."""
    t, b, j = at
    up, down, hit = work[0], work[1], work[2]
    a, u, y = p.a[t, b, j], p.u[t, b, j], p.y[t, b, j]
    if lists.sent[t, b, j]:
        for i in range(up.size):
            up[i] += a * p.x[t, b, i] + u
            hit[i] = 1.0
    slot = t * p.a.shape[1] + b
    for n in range(lists.starts[slot], lists.starts[slot + 1]):
        i = lists.cells[n]
        down[i] += y * p.c[t, b, i] + p.d[t, b, i]
        hit[i] = 1.0


@njit(inline="always")
def _hebb(w: float, up: float, down: float, k: Bends) -> float:
    rise = up * _factor((k.most - w) * k.narrow, k.up_power)
    return rise - down * _factor((w - k.least) * k.narrow, k.down_power)


@njit(nogil=True, error_model="numpy")
def _row(p: Products, lists: Lists, j: int, k: Bends, course: F, work: F) -> None:
    """One row through all steps: line t of a course is before step t; of one, the last stays."""
    up, down, hit = work[0], work[1], work[2]
    keep = course.shape[0] > 1
    for t in range(p.a.shape[0]):
        now, after = (t, t + 1) if keep else (0, 0)
        work[:3] = 0.0
        for b in range(p.a.shape[1]):
            _add(p, lists, (t, b, j), work)
        for i in range(up.size):
            w = course[now, i]
            if hit[i] > 0.0:
                w += _hebb(w, up[i], down[i], k)
            course[after, i] = min(max(w, k.least), k.most)


@njit(nogil=True, cache=True, error_model="numpy")
def fold(p: Products, lists: Lists, w: F, k: Bends, work: F) -> None:
    """Fold all steps into weights that samples share, without a third factor.

    Args:
        p: products of all steps.
        lists: places of spikes.
        w: weights [J, I], changed in place.
        k: bounds and powers.
        work: room [3, I].
    """
    for j in range(w.shape[0]):
        _row(p, lists, j, k, w[j : j + 1], work)


@njit(nogil=True, error_model="numpy")
def _spread(
    p: Products, lists: Lists, at: tuple[int, int, int], g: Products, rise: F, fall: F
) -> None:
    """Gradients of a row's up and down back to the products of a step and a sample."""
    t, b, j = at
    a, y = p.a[t, b, j], p.y[t, b, j]
    if lists.sent[t, b, j]:
        ga, gu = 0.0, 0.0
        for i in range(rise.size):
            ga += rise[i] * p.x[t, b, i]
            gu += rise[i]
            g.x[t, b, i] += a * rise[i]
        g.a[t, b, j] += ga
        g.u[t, b, j] += gu
    slot = t * p.a.shape[1] + b
    gy = 0.0
    for n in range(lists.starts[slot], lists.starts[slot + 1]):
        i = lists.cells[n]
        gy += fall[i] * p.c[t, b, i]
        g.c[t, b, i] += fall[i] * y
        g.d[t, b, i] += fall[i]
    g.y[t, b, j] += gy


@njit(inline="always")
def _bent(w: float, up: float, down: float, k: Bends, g: float, gk: F) -> float:
    """G times the gradient of h with respect to w; those of both powers are added to ``gk``."""
    high, low = (k.most - w) * k.narrow, (w - k.least) * k.narrow
    if gk.size > 0:
        gk[0] += g * up * _bend(high, k.up_power)
        gk[1] -= g * down * _bend(low, k.down_power)
    back = -up * _slope(high, k.up_power) - down * _slope(low, k.down_power)
    return g * back * k.narrow


@njit(nogil=True, cache=True, error_model="numpy")
def fold_back(
    p: Products, lists: Lists, w: F, grads: tuple[Products, F, F], k: Bends, room: tuple[F, F]
) -> None:
    """The way back of :func:`fold`.

    Args:
        p: products of all steps.
        lists: places of spikes; gradients of a, u, c and d are made there only.
        w: weights [J, I] before all steps.
        grads: of the products, out; of the weights [J, I], those of the last in and of the first
            out; of both powers [2], out.
        k: bounds and powers.
        room: for a row's course [T + 1, I], and [5, I].
    """
    g, gw, gk = grads
    course, work = room
    up, down, hit, rise, fall = work[0], work[1], work[2], work[3], work[4]
    bends = k.up_power != 0.0 or k.down_power != 0.0 or gk.size > 0
    for j in range(w.shape[0]):
        course[0] = w[j]
        _row(p, lists, j, k, course, work)
        for t in range(p.a.shape[0] - 1, -1, -1):
            work[:] = 0.0
            for b in range(p.a.shape[1]):
                _add(p, lists, (t, b, j), work)
            for i in range(up.size):
                if hit[i] == 0.0:
                    continue
                before, now = course[t, i], gw[j, i]
                raw = before + _hebb(before, up[i], down[i], k)
                now = now if k.least <= raw <= k.most else 0.0
                rise[i] = now * _factor((k.most - before) * k.narrow, k.up_power)
                fall[i] = -now * _factor((before - k.least) * k.narrow, k.down_power)
                gw[j, i] = now
                if bends:
                    gw[j, i] += _bent(course[t, i], up[i], down[i], k, gw[j, i], gk)
            for b in range(p.a.shape[1]):
                _spread(p, lists, (t, b, j), g, rise, fall)


@njit(nogil=True, error_model="numpy")
def _marked_row(
    p: Products, lists: Lists, third: F, j: int, k: Bends, room: tuple[F, F, F]
) -> None:
    """One row with eligibilities: lines t of a course and of marks [., B, I] are before step t."""
    course, marks, work = room
    up, down, hit, paid = work[0], work[1], work[2], work[3]
    keep = course.shape[0] > 1
    for t in range(p.a.shape[0]):
        now, after = (t, t + 1) if keep else (0, 0)
        paid[:] = 0.0
        for b in range(p.a.shape[1]):
            work[:3] = 0.0
            _add(p, lists, (t, b, j), work)
            m = third[t, b, j]
            for i in range(up.size):
                h = _hebb(course[now, i], up[i], down[i], k) if hit[i] > 0.0 else 0.0
                e = k.kept * marks[now, b, i] + h
                marks[after, b, i] = e
                paid[i] += m * e
        for i in range(up.size):
            w = course[now, i] + k.share * paid[i]
            course[after, i] = min(max(w, k.least), k.most)


@njit(nogil=True, cache=True, error_model="numpy")
def mark(
    p: Products, lists: Lists, third: F, state: tuple[F, F], k: Bends, room: tuple[F, F]
) -> None:
    """Fold all steps into weights through eligibilities and a third factor.

    Args:
        p: products of all steps.
        lists: places of spikes.
        third: m [T, B, J].
        state: weights [J, I] and eligibilities [B, J, I], changed in place.
        k: bounds, powers and what is kept.
        room: for marks of a row [1, B, I], and [4, I].
    """
    w, e = state
    marks, work = room
    for j in range(w.shape[0]):
        marks[0] = e[:, j]
        _marked_row(p, lists, third, j, k, (w[j : j + 1], marks, work))
        e[:, j] = marks[0]


@njit(nogil=True, cache=True, error_model="numpy")
def mark_back(
    p: Products,
    lists: Lists,
    third: F,
    state: tuple[F, F],
    grads: tuple[Products, F, F, F, F],
    how: tuple[Bends, F, F, F],
) -> None:
    """The way back of :func:`mark`.

    Args:
        p: products of all steps.
        lists: places of spikes; gradients of a, u, c and d are made there only.
        third: m [T, B, J].
        state: weights [J, I] and eligibilities [B, J, I] before all steps.
        grads: of the products and of m [T, B, J], out; of weights and eligibilities, those of the
            last in and of the first out; of both powers and of what is kept [3] out, where
            there is room.
        how: bounds, powers and what is kept; room for a row's course [T + 1, I], its marks
            [T + 1, B, I], and [6, I].
    """
    w, e = state
    g, gm, gw, ge, gk = grads
    k, course, marks, work = how
    up, down, hit, rise, fall, push = work[0], work[1], work[2], work[3], work[4], work[5]
    bends = k.up_power != 0.0 or k.down_power != 0.0 or gk.size > 0
    for j in range(w.shape[0]):
        course[0] = w[j]
        marks[0] = e[:, j]
        _marked_row(p, lists, third, j, k, (course, marks, work))
        for t in range(p.a.shape[0] - 1, -1, -1):
            for i in range(up.size):
                paid = 0.0
                for b in range(p.a.shape[1]):
                    paid += third[t, b, j] * marks[t + 1, b, i]
                raw = course[t, i] + k.share * paid
                gw[j, i] = gw[j, i] if k.least <= raw <= k.most else 0.0
                push[i] = k.share * gw[j, i]
            for b in range(p.a.shape[1]):
                work[:5] = 0.0
                _add(p, lists, (t, b, j), work)
                m, gm_here = third[t, b, j], 0.0
                for i in range(up.size):
                    gm_here += push[i] * marks[t + 1, b, i]
                    now, before = ge[b, j, i] + m * push[i], course[t, i]
                    ge[b, j, i] = k.kept * now
                    if gk.size > 0:
                        gk[2] += now * marks[t, b, i]
                    if hit[i] == 0.0:
                        continue
                    rise[i] = now * _factor((k.most - before) * k.narrow, k.up_power)
                    fall[i] = -now * _factor((before - k.least) * k.narrow, k.down_power)
                    if bends:
                        gw[j, i] += _bent(before, up[i], down[i], k, now, gk)
                gm[t, b, j] += gm_here
                _spread(p, lists, (t, b, j), g, rise, fall)
