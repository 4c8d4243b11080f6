"""Sixteen cells at a time, by which :mod:`clnf.devices.trains` works on whole vectors.

A group of cells is loaded once, moved by one vector after the other while it stays in registers,
and stored once with its wear; nothing in between touches memory but the trains.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from clnf.devices import pulses
from clnf.devices.pulses import Cells, pulse_cell
from clnf.devices.sixteen import (
    WIDTH,
    any_of,
    count_bits,
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
    nearest,
    negative,
    root,
    save,
    save_words,
    sum_of_doubles,
    where,
    where_words,
    whole,
)
from clnf.devices.sixteen_maths import gauss4, gauss8, uniform

__all__ = ["Trains", "sweep"]

_F = np.float32
_U = np.uint32
_I = np.uintp
_STRIDE = _U(0x9E3779B9)
_TRAIN = _U(0x7FFFFFFF)
_LANES = np.arange(WIDTH, dtype=np.uint32)


class Trains(NamedTuple):
    """Trains of rows and columns, the fence, whether it shuts, and the first cell's index.

    Shapes: ``rows`` uint32 [N, R], ``columns`` uint32 [N, C], ``fence`` float32 [C, R]. Bits 0 to
    30 of a word are a train, bit 31 is set where its value is negative.
    """

    rows: Any
    columns: Any
    fence: Any
    fenced: bool
    first: int


# The part of a way that n pulses cover, each a part a of what is left: 1 - (1 - a)^n, doubled and
# joined in parts so that a small a loses no digits. Powers by squaring, written out.
@njit(inline="always")
def _join(a: Any, y: Any, n: Any, bit: int) -> Any:
    return where((n & every_word(_U(bit))) > every_word(_U(0)), y + a * (every(_F(1.0)) - y), y)


@njit(inline="always")
def _times(x: Any, y: Any, n: Any, bit: int) -> Any:
    return where((n & every_word(_U(bit))) > every_word(_U(0)), y * x, y)


@njit(inline="always")
def _few(a: Any, x: Any, n: Any, more: Any) -> Any:
    """1 - (1 - a)^n and x^more for n in 0 ... 3."""
    part = _join(a, every(_F(0.0)), n, 1)
    part = _join(a * (every(_F(2.0)) - a), part, n, 2)
    return part, _times(x * x, _times(x, every(_F(1.0)), more, 1), more, 2)


@njit(inline="always")
def _many(a: Any, x: Any, n: Any, more: Any) -> Any:
    """1 - (1 - a)^n and x^more for n in 0 ... 31."""
    two = every(_F(2.0))
    part, power = _few(a, x, n, more)
    a, x = a * (two - a), x * x
    a, x = a * (two - a), x * x
    part, power = _join(a, part, n, 4), _times(x, power, more, 4)
    a, x = a * (two - a), x * x
    part, power = _join(a, part, n, 8), _times(x, power, more, 8)
    a, x = a * (two - a), x * x
    return _join(a, part, n, 16), _times(x, power, more, 16)


@njit(inline="always")
def _linear(w: Any, n: Any, way: Any, part: Any, cycle: float, draw: Any) -> Any:
    """How far n pulses move, steps falling linearly: what is covered of the way, and its spread.

    Written so that one pulse gives the same bits by each of the three ways.
    """
    one = every(_F(1.0))
    noise = part * every(cycle)
    count = floats(n)
    if not any_of(n > every_word(_U(1))):
        return way * (count * part + noise * (count * draw))
    more = where_words(n > every_word(_U(0)), n - every_word(_U(1)), n)
    keep = one - part
    square = keep * keep + every(_F(0.5)) * (noise * noise)
    if any_of(n > every_word(_U(3))):
        covered, power = _many(part, square, n, more)
    else:
        covered, power = _few(part, square, n, more)
    return way * (covered + noise * (root(count * power) * draw))


@njit(nogil=True, cache=True)
def _curved(
    lines: NDArray[np.float32],
    n: NDArray[np.uint32],
    law: NDArray[np.float32],
    place: tuple[int, int, int],
) -> None:
    """Pulses of any other law of steps, cell by cell; the highest bit of n is set for up.

    Lines are steps up and down, bounds, weights (changed in place) and draws.
    """
    for k in range(WIDTH):
        count = np.int32(_U(n[k] & _TRAIN))
        if count > 0:
            cell = lines[0, k], lines[1, k], lines[2, k], lines[3, k]
            own = _U(place[0] + _U(k)), place[1], place[2]
            signed = count if n[k] > _TRAIN else -count
            lines[4, k] = pulse_cell(lines[4, k], signed, cell, law, lines[5, k], own)


@njit(inline="always")
def _ways(step: Any, slope: float, own: Any, other: Any, inverse: Any) -> Any:
    """Part of the way that one pulse covers, by one division for both directions."""
    return lesser(step * every(slope) * (other * inverse), every(_F(1.0)))


@njit(inline="always")
def _cost(each: Any, down: float, total: Any, rises: Any, column: bool) -> Any:
    """Energy of pulses, each way whole attojoules; ``column``: all of a cell's go one way."""
    up, low = nearest(each), nearest(each * every(down))
    if column:
        return doubles(floats(total)) * doubles(where(rises > every_word(_U(0)), up, low))
    return doubles(floats(rises)) * doubles(up) + doubles(floats(total - rises)) * doubles(low)


@njit(nogil=True, cache=True)
def sweep(
    trains: Trains,
    cells: Cells,
    law: NDArray[np.float32],
    table: NDArray[np.float32],
    draw_key: NDArray[np.uint32],
    extent: tuple[int, int, int],
) -> tuple[int, int, int]:
    """Pulse groups of sixteen cells of each column, by all vectors that meet it in turn.

    Args:
        trains: trains of rows and columns, fence.
        cells: state; without write noise both weights may be one array.
        law: see :meth:`clnf.devices.response.Response.law`.
        table: of cells [4, M], or [4, 1] where all are alike.
        draw_key: six words.
        extent: first column and the one after the last, and groups a column.

    Returns:
        Pulses, energy in aJ (exact to a sixteenth of 2^53), largest sum of pulses at one cell.
    """
    rows, columns, fence, fenced, first = trains
    hidden, seen, worn = cells
    start_column, end_column, groups = extent
    shared = hidden.ctypes.data == seen.ctypes.data
    many, lines = table.shape[1] > 1, _I(table.shape[1])
    stride, wide, count = _I(fence.shape[1]), _I(rows.shape[1]), _I(rows.shape[0])
    base, slope, down = law[pulses.ENERGY], law[pulses.ENERGY_SLOPE], law[pulses.ENERGY_DOWN]
    costs = base != _F(0.0) or slope != _F(0.0)
    write, cycle = law[pulses.WRITE_NOISE], law[pulses.CYCLE]
    linear = law[pulses.KIND] == pulses.LINEAR
    slope_up, slope_down = law[pulses.SHAPE_UP], law[pulses.SHAPE_DOWN]
    constant = linear and (slope_up == _F(0.0) or slope_down == _F(0.0))
    soft = linear and not constant
    one_up, one_down = (_F(1.0) / slope_up, _F(1.0) / slope_down) if soft else (_F(1.0), _F(1.0))
    key0, key1, key2, key3 = draw_key[0], draw_key[1], draw_key[2], draw_key[3]
    key4, key5 = draw_key[4], draw_key[5]
    zero, one, none = every(_F(0.0)), every(_F(1.0)), every_word(_U(0))
    least = every(_F(1e-15))
    lanes = load_words(_LANES, _I(0))
    buffers, wanted = np.empty((6, WIDTH), _F), np.empty(WIDTH, _U)
    which, words = np.empty(count, _U), np.empty(count, _U)
    pulsed, energy, most = doubles(zero), doubles(zero), none
    for c in range(_I(start_column), _I(end_column)):
        active = _I(0)
        for v in range(count):
            word = columns[v, c]
            which[active], words[active] = _U(v), word
            active += _I(_U(word & _TRAIN) != _U(0))
        if active == _I(0):
            continue
        for group in range(_I(groups)):
            right = group * _I(WIDTH)
            at = c * stride + right
            cell = lanes + every_word(_U(_U(first) + _U(at)))
            if many:
                step_up, step_down = load(table, at), load(table, lines + at)
                high, low = load(table, _I(2) * lines + at), load(table, _I(3) * lines + at)
            else:
                step_up, step_down = every(table[0, 0]), every(table[1, 0])
                high, low = every(table[2, 0]), every(table[3, 0])
            w = load(hidden, at)
            up, below, to_up, to_down = step_up, zero - step_down, high, low
            if soft:
                size_up, size_down = greater(high, least), greater(zero - low, least)
                inverse = one / (size_up * size_down)
                up = _ways(step_up, slope_up, size_up, size_down, inverse)
                below = _ways(step_down, slope_down, size_down, size_up, inverse)
                to_up, to_down = high * every(one_up), low * every(one_down)
            alive = step_up > zero
            total, rises = none, none
            for k in range(active):
                v, column = which[k], words[k]
                row = load_words(rows, _I(v) * wide + right)
                n = count_bits(row & every_word(_U(column & _TRAIN)))
                rising = negative(row ^ every_word(column))
                shift = _U(_U(v) * _STRIDE)
                if fenced:
                    share = load(fence, at)
                    drawn = uniform(cell, _U(key4 ^ shift), key5)
                    let = whole(floor(floats(n) * share + drawn))
                    n = where_words(share < one, let, n)
                draw = gauss4(cell, _U(key0 ^ shift), key1)
                hit = (n > none) & alive
                total = total + n
                rises = rises + where_words(rising, n, none)
                if constant:
                    f = floats(n)
                    spread = root(f) if any_of(n > every_word(_U(1))) else f
                    moved = where(rising, up, below) * (f + every(cycle) * (spread * draw))
                    w = where(hit, lesser(greater(w + moved, low), high), w)
                elif linear:
                    way = where(rising, to_up, to_down) - w
                    moved = _linear(w, n, way, where(rising, up, below), cycle, draw)
                    w = where(hit, lesser(greater(w + moved, low), high), w)
                elif any_of(hit):
                    save(buffers, _I(0), step_up)
                    save(buffers, _I(WIDTH), step_down)
                    save(buffers, _I(2 * WIDTH), high)
                    save(buffers, _I(3 * WIDTH), low)
                    save(buffers, _I(4 * WIDTH), w)
                    save(buffers, _I(5 * WIDTH), draw)
                    sign = where_words(rising, every_word(_U(0x80000000)), none)
                    save_words(wanted, _I(0), where_words(hit, n | sign, none))
                    place = _U(_U(first) + _U(at)), _U(key0 ^ shift), key1
                    _curved(buffers, wanted, law, place)
                    w = load(buffers, _I(4 * WIDTH))
            if not any_of(total > none):
                continue
            pulsed = pulsed + doubles(floats(total))
            most = where_words(total > most, total, most)
            before = load(seen, at)
            if costs:
                each = greater(every(base) + every(slope) * (before + one), zero)
                energy = energy + _cost(each, down, total, rises, active == _I(1))
            save_words(worn, at, load_words(worn, at) + total)
            save(hidden, at, w)
            if not shared:
                shown = w
                if write != _F(0.0):
                    shown = w + every(write) * gauss8(cell, key2, key3)
                save(seen, at, where((total > none) & alive, shown, before))
    return sum_of_doubles(pulsed), sum_of_doubles(energy), largest(most)
