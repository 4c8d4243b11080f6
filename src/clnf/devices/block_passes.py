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

__all__ = ["Trains", "neighbours", "sweep"]

_F = np.float32
_U = np.uint32
_I = np.uintp
_STRIDE = _U(0x9E3779B9)
_TRAIN, _RISING = _U(0x7FFFFFFF), _U(0x80000000)
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


class _Span(NamedTuple):
    """Steps and bounds of sixteen cells."""

    step_up: Any
    step_down: Any
    high: Any
    low: Any


class _Way(NamedTuple):
    """Parts of the way that one pulse covers, and the weights where steps vanish."""

    up: Any
    down: Any
    to_up: Any
    to_down: Any


class _Scratch(NamedTuple):
    """For laws that go cell by cell: the law, lines [6, 16] and counts [16]; see `_curved`."""

    law: Any
    lines: Any
    counts: Any


class _Rules(NamedTuple):
    """What a law says of all cells: its steps and noise, slopes and their inverses, the bill.

    Steps are ``linear``, and not constant where ``soft``; energy is ``base`` at w = -1, rises by
    ``slope`` per unit of w, and is ``down`` times that for pulses down, where it ``costs`` at all.
    """

    linear: bool
    soft: bool
    cycle: float
    write: float
    slope_up: float
    slope_down: float
    one_up: float
    one_down: float
    costs: bool
    base: float
    slope: float
    down: float


# The part of a way that n pulses cover, each a part a of what is left: 1 - (1 - a)^n, doubled and
# joined in parts so that a small a loses no digits. Powers by squaring, written out.
@njit(forceinline=True)
def _join(a: Any, y: Any, n: Any, bit: int) -> Any:
    return where((n & every_word(_U(bit))) > every_word(_U(0)), y + a * (every(_F(1.0)) - y), y)


@njit(forceinline=True)
def _times(x: Any, y: Any, n: Any, bit: int) -> Any:
    return where((n & every_word(_U(bit))) > every_word(_U(0)), y * x, y)


@njit(forceinline=True)
def _few(a: Any, x: Any, n: Any, more: Any) -> Any:
    """1 - (1 - a)^n and x^more for n in 0 ... 3."""
    part = _join(a, every(_F(0.0)), n, 1)
    part = _join(a * (every(_F(2.0)) - a), part, n, 2)
    return part, _times(x * x, _times(x, every(_F(1.0)), more, 1), more, 2)


@njit(forceinline=True)
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


@njit(forceinline=True)
def _covered(n: Any, way: Any, part: Any, cycle: float, draw: Any) -> Any:
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


@njit(forceinline=True)
def _moved(w: Any, met: tuple[Any, Any], span: _Span, way: _Way, rules: _Rules, draw: Any) -> Any:
    """Weights after one vector's pulses, ``met``: how many, and whether they raise."""
    n, rising = met
    part = where(rising, way.up, way.down)
    if rules.soft:
        left = where(rising, way.to_up, way.to_down) - w
        moved = _covered(n, left, part, rules.cycle, draw)
    else:
        count = floats(n)
        spread = root(count) if any_of(n > every_word(_U(1))) else count
        moved = part * (count + every(rules.cycle) * (spread * draw))
    return lesser(greater(w + moved, span.low), span.high)


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
def _stepped(
    w: Any, met: tuple[Any, Any], span: _Span, scratch: _Scratch, place: tuple[int, int, int],
    draw: Any,
) -> Any:  # fmt: skip
    """As :func:`_moved` by any other law of steps; ``place`` is the first cell and two keys."""
    law, lines, counts = scratch
    n, rising = met
    save(lines, _I(0), span.step_up)
    save(lines, _I(WIDTH), span.step_down)
    save(lines, _I(2 * WIDTH), span.high)
    save(lines, _I(3 * WIDTH), span.low)
    save(lines, _I(4 * WIDTH), w)
    save(lines, _I(5 * WIDTH), draw)
    save_words(counts, _I(0), n | where_words(rising, every_word(_RISING), every_word(_U(0))))
    _curved(lines, counts, law, place)
    return load(lines, _I(4 * WIDTH))


@njit(nogil=True, cache=True)
def _rules(law: NDArray[np.float32]) -> _Rules:
    linear = law[pulses.KIND] == pulses.LINEAR
    up, down = law[pulses.SHAPE_UP], law[pulses.SHAPE_DOWN]
    base, slope = law[pulses.ENERGY], law[pulses.ENERGY_SLOPE]
    soft = linear and up != _F(0.0) and down != _F(0.0)
    one_up, one_down = (_F(1.0) / up, _F(1.0) / down) if soft else (_F(1.0), _F(1.0))
    costs = base != _F(0.0) or slope != _F(0.0)
    steps = linear, soft, law[pulses.CYCLE], law[pulses.WRITE_NOISE]
    return _Rules(*steps, up, down, one_up, one_down, costs, base, slope, law[pulses.ENERGY_DOWN])


@njit(inline="always")
def _meeting(
    columns: NDArray[np.uint32], c: int, which: NDArray[np.uint32], words: NDArray[np.uint32]
) -> int:
    """Note the vectors that pulse a column, and their trains; returns how many they are."""
    active = _I(0)
    for v in range(_I(columns.shape[0])):
        word = columns[v, c]
        which[active], words[active] = _U(v), word
        active += _I(_U(word & _TRAIN) != _U(0))
    return active


@njit(inline="always")
def neighbours(table: NDArray[np.float32], at: int) -> tuple[Any, Any, Any, Any]:
    """Steps up and down and bounds of the sixteen cells from ``at`` on; all alike in [4, 1]."""
    lines = _I(table.shape[1])
    if lines == _I(1):
        return every(table[0, 0]), every(table[1, 0]), every(table[2, 0]), every(table[3, 0])
    two, three = _I(2) * lines + at, _I(3) * lines + at
    return load(table, at), load(table, lines + at), load(table, two), load(table, three)


@njit(inline="always")
def _span(table: NDArray[np.float32], at: int) -> _Span:
    up, down, high, low = neighbours(table, at)
    return _Span(up, down, high, low)


@njit(forceinline=True)
def _way(span: _Span, rules: _Rules) -> _Way:
    """Where steps vanish, and the part of the way there that one pulse covers.

    One division serves both directions. Where steps are constant, parts are the steps themselves.
    """
    zero, one, least = every(_F(0.0)), every(_F(1.0)), every(_F(1e-15))
    if not rules.soft:
        return _Way(span.step_up, zero - span.step_down, span.high, span.low)
    high, low = greater(span.high, least), greater(zero - span.low, least)
    inverse = one / (high * low)
    up = lesser(span.step_up * every(rules.slope_up) * (low * inverse), one)
    down = lesser(span.step_down * every(rules.slope_down) * (high * inverse), one)
    return _Way(up, down, span.high * every(rules.one_up), span.low * every(rules.one_down))


@njit(forceinline=True)
def _coincide(row: Any, column: int) -> tuple[Any, Any]:
    """Bits set in both trains, and whether these pulses raise."""
    both = row & every_word(_U(column & _TRAIN))
    return count_bits(both), negative(row ^ every_word(column))


@njit(forceinline=True)
def _let(n: Any, share: Any, draw: Any) -> Any:
    """What a fence lets through of n pulses: all where open, else in proportion."""
    part = whole(floor(floats(n) * share + draw))
    return where_words(share < every(_F(1.0)), part, n)


@njit(forceinline=True)
def _written(w: Any, rules: _Rules, draw: Any) -> Any:
    """What is seen of a weight: itself and one draw of write noise."""
    return w + every(rules.write) * draw if rules.write != _F(0.0) else w


@njit(forceinline=True)
def _cost(rules: _Rules, seen: Any, total: Any, rises: Any, column: bool) -> Any:
    """Energy of pulses, each way whole attojoules; ``column``: all of a cell's go one way."""
    each = every(rules.base) + every(rules.slope) * (seen + every(_F(1.0)))
    each = greater(each, every(_F(0.0)))
    up, low = nearest(each), nearest(each * every(rules.down))
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
) -> tuple[int, int, int]:
    """Pulse groups of sixteen cells of each column, by all vectors that meet it in turn.

    Args:
        trains: trains of rows and columns, fence.
        cells: state; without write noise both weights may be one array.
        law: see :meth:`clnf.devices.response.Response.law`.
        table: of cells [4, M], or [4, 1] where all are alike.
        draw_key: six words.

    Returns:
        Pulses, energy in aJ (exact to a sixteenth of 2^53), largest sum of pulses at one cell.
    """
    rows, columns, fence, fenced, first = trains
    hidden, seen, worn = cells
    separate, rules = hidden.ctypes.data != seen.ctypes.data, _rules(law)
    stride, wide, count = _I(fence.shape[1]), _I(rows.shape[1]), _I(rows.shape[0])
    groups = stride // _I(WIDTH)
    key0, key1, key4, key5 = draw_key[0], draw_key[1], draw_key[4], draw_key[5]
    zero, none, lanes = every(_F(0.0)), every_word(_U(0)), load_words(_LANES, _I(0))
    scratch = _Scratch(law, np.empty((6, WIDTH), _F), np.empty(WIDTH, _U))
    which, words = np.empty(count, _U), np.empty(count, _U)
    pulsed, energy, most = doubles(zero), doubles(zero), none
    for c in range(_I(columns.shape[1])):
        active = _meeting(columns, c, which, words)
        for group in range(groups if active > _I(0) else _I(0)):
            right = group * _I(WIDTH)
            at = c * stride + right
            own = _U(_U(first) + _U(at))
            cell, span, w = lanes + every_word(own), _span(table, at), load(hidden, at)
            way, alive = _way(span, rules), span.step_up > zero
            total, rises = none, none
            for k in range(active):
                row, shift = load_words(rows, _I(which[k]) * wide + right), _U(which[k] * _STRIDE)
                n, rising = _coincide(row, words[k])
                if fenced:
                    n = _let(n, load(fence, at), uniform(cell, _U(key4 ^ shift), key5))
                total, rises = total + n, rises + where_words(rising, n, none)
                hit, draw = (n > none) & alive, gauss4(cell, _U(key0 ^ shift), key1)
                if rules.linear:
                    w = where(hit, _moved(w, (n, rising), span, way, rules, draw), w)
                elif any_of(hit):
                    met, place = (where_words(hit, n, none), rising), (own, _U(key0 ^ shift), key1)
                    w = _stepped(w, met, span, scratch, place, draw)
            if not any_of(total > none):
                continue
            pulsed, most = pulsed + doubles(floats(total)), where_words(total > most, total, most)
            if rules.costs:
                energy = energy + _cost(rules, load(seen, at), total, rises, active == _I(1))
            save_words(worn, at, load_words(worn, at) + total)
            save(hidden, at, w)
            if separate:
                shown = _written(w, rules, gauss8(cell, draw_key[2], draw_key[3]))
                save(seen, at, where((total > none) & alive, shown, load(seen, at)))
    return sum_of_doubles(pulsed), sum_of_doubles(energy), largest(most)
