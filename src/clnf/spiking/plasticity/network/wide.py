"""The plastic network for rules of pairs whose steps have one size, sixteen cells at once.

The twin for every rule is in :mod:`clnf.spiking.plasticity.network.kernels`; both give the same
bits. What is saved here:

- Most cells are neither refractory nor spared by their own inhibitory cell. All are moved alike,
  and the few others once more by themselves.
- Inhibitory cells decay by themselves between excitatory spikes; those steps are made up for when
  the next spike comes, in registers.
- A step's rows of weights go together, so that the sums that drive cells stay in registers.
- Memory is known by addresses alone: an array has its references counted wherever it is handed on,
  which for so small steps takes longer than the work.

Legend: I inputs, J cells; S is J filled up to a multiple of 64.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from clnf.devices.sixteen import (
    address,
    doubles,
    every,
    greater,
    lesser,
    load,
    load_one,
    peek_count,
    peek_double,
    peek_long,
    peek_word,
    poke_count,
    poke_double,
    poke_long,
    poke_word,
    save,
    save_one,
    soon,
)
from clnf.spiking.lanes import beyond, every_double, load_doubles, lowest, marked, save_doubles
from clnf.spiking.plasticity.network.kernels import Cells, Live, Memory, Rule, bent, gather

__all__ = ["run_wide", "scratch"]

_F, _I = np.float32, np.uintp
_0, _1, _8, _15, _16, _32, _48, _64 = (_I(n) for n in (0, 1, 8, 15, 16, 32, 48, 64))
_NONE, _ONE = np.float32(0.0), np.float32(1.0)


class _Population(NamedTuple):
    decay: float
    rest: float
    reset: float
    threshold: float
    hold: int


class _Numbers(NamedTuple):
    """What is no memory: both populations, how they push, and the rule."""

    exc: _Population
    inh: _Population
    theta_decay: float
    jump: float
    gain: float
    excite: float
    inhibit: float
    post: float
    up: float
    up_alone: float
    down: float
    down_alone: float
    least: float
    most: float
    narrow: float
    up_power: float
    nearest: bool
    pre_now: bool
    post_now: bool


class _At(NamedTuple):
    """Addresses, and two sizes.

    Float64: ``v`` and ``calm`` potentials of both populations, ``theta``, ``drive`` [S], ``old``
    potentials of the few, ``taken`` from weights of cells that spike [2 J]. Whole numbers: ``few``
    cells that are moved by themselves [2 J], ``sent`` and ``silent`` of the last step, ``ready``
    the first step in which an inhibitory cell takes pushes again, ``marks`` of cells that spike
    [J], ``wait`` of excitatory cells [J]. Float32: ``fast`` and ``fall`` [S] traces and what they
    take from weights, ``tail`` [32], ``now`` [I] traces of inputs in a step.
    """

    inputs: int
    cells: int
    v: int
    calm: int
    theta: int
    drive: int
    old: int
    taken: int
    few: int
    sent: int
    silent: int
    ready: int
    marks: int
    wait: int
    fast: int
    fall: int
    tail: int
    now: int
    weight: int
    x: int
    x_slow: int
    last: int
    fades: int
    longest: int


class _Span(NamedTuple):
    """Input spikes of a step, and those of the next: where they begin, and how many they are."""

    events: int
    first: int
    count: int
    after: int


class _Counts(NamedTuple):
    """How many are held, sent and silent, and by how many steps inhibitory cells lag."""

    held: int
    sent: int
    silent: int
    behind: int


def scratch(inputs: int, cells: int) -> tuple[Any, Any, Any]:
    """Memory that a run needs: float64, whole numbers, float32."""
    full = -(-cells // 64) * 64
    return (
        np.empty(8 + 4 * full + 4 * cells),
        np.empty(6 * cells, np.int64),
        np.empty(16 + 2 * full + 32 + inputs, np.float32),
    )


@njit(inline="always", error_model="numpy")
def _rested(at: _At, steps: int, one: _Population) -> None:
    """Steps of the inhibitory cells in which nothing arrives."""
    decay, rest = every_double(one.decay), every_double(one.rest)
    for n in range(_0, at.cells, _64):
        a, b = load_doubles(at.calm, n), load_doubles(at.calm, n + _16)
        c, d = load_doubles(at.calm, n + _32), load_doubles(at.calm, n + _48)
        for _ in range(steps):
            a, b = (a - rest) * decay + rest, (b - rest) * decay + rest
            c, d = (c - rest) * decay + rest, (d - rest) * decay + rest
        save_doubles(at.calm, n, a)
        save_doubles(at.calm, n + _16, b)
        save_doubles(at.calm, n + _32, c)
        save_doubles(at.calm, n + _48, d)


@njit(inline="always", error_model="numpy")
def _alike(at: _At, silence: float, k: _Numbers) -> int:
    """A step of the excitatory cells as if none was among the few; whether any spikes."""
    decay, rest, threshold = (
        every_double(k.exc.decay), every_double(k.exc.rest), every_double(k.exc.threshold)
    )
    fading, gain, less = every_double(k.theta_decay), every_double(k.gain), every_double(silence)
    found = _0
    for n in range(_0, at.cells, _16):
        push = gain * load_doubles(at.drive, n) - less
        p = ((load_doubles(at.v, n) - rest) * decay + rest) + push
        lifted = load_doubles(at.theta, n) * fading
        save_doubles(at.v, n, p)
        save_doubles(at.theta, n, lifted)
        spikes = marked(beyond(p, threshold + lifted))
        poke_long(at.marks, n // _16, spikes)
        found |= spikes
    return found


@njit(inline="always", error_model="numpy")
def _alone(at: _At, counts: _Counts, listed: int, k: _Numbers) -> None:
    """The same step for the few."""
    for n in range(listed):
        j = peek_long(at.few, n)
        p = (peek_double(at.old, n) - k.exc.rest) * k.exc.decay + k.exc.rest
        if n >= counts.held:
            push = k.gain * peek_double(at.drive, j)
            p = p + (push - k.inhibit * np.float64(counts.silent - 1))
        poke_double(at.v, j, p)
        bit = _1 << j % _16
        marks = peek_long(at.marks, j // _16) & ~bit
        marks |= bit if p > k.exc.threshold + peek_double(at.theta, j) else _0
        poke_long(at.marks, j // _16, marks)


@njit(inline="always", error_model="numpy")
def _excited(at: _At, counts: _Counts, sends: int, found: int, k: _Numbers) -> tuple[int, int]:
    """A step of the excitatory cells: where ``sends`` ends now, and how many cells are held."""
    listed, held = counts.held, 0
    for n in range(counts.silent):
        j = peek_long(at.silent, _I(n))
        if peek_count(at.wait, j) == 0:
            poke_long(at.few, _I(listed), j)
            listed += 1
    for n in range(_I(listed)):
        poke_double(at.old, n, peek_double(at.v, peek_long(at.few, n)))
    spikes = _alike(at, k.inhibit * np.float64(counts.silent), k)
    if listed == 0 and spikes == _0:
        return found, held
    _alone(at, counts, _I(listed), k)
    for n in range(_I(counts.held)):
        j = peek_long(at.few, n)
        left = peek_count(at.wait, j) - 1
        poke_count(at.wait, j, left)
        if left > 0 and peek_long(at.marks, j // _16) >> j % _16 & _1 == _0:
            poke_long(at.few, _I(held), j)
            held += 1
    for block in range((at.cells + _15) // _16):
        marks = peek_long(at.marks, block)
        while marks != _0:
            j = block * _16 + lowest(marks)
            marks &= marks - _1
            poke_double(at.v, j, k.exc.reset)
            poke_double(at.theta, j, peek_double(at.theta, j) + k.jump)
            poke_count(at.wait, j, k.exc.hold)
            poke_long(at.few, _I(held), j)
            held += 1 if k.exc.hold > 0 else 0
            poke_word(sends, _I(found), np.uint32(j))
            found += 1
    return found, held


@njit(inline="always", error_model="numpy")
def _inhibited(at: _At, counts: _Counts, t: int, k: _Numbers) -> int:
    """A step of the inhibitory cells where something arrives; how many spike."""
    silent = 0
    _rested(at, counts.behind + 1, k.inh)
    for n in range(_I(counts.sent)):
        j = peek_long(at.sent, n)
        if t >= peek_count(at.ready, j):
            p = peek_double(at.calm, j) + k.excite
            now = p > k.inh.threshold
            poke_double(at.calm, j, k.inh.reset if now else p)
            if now:
                poke_count(at.ready, j, t + 1 + k.inh.hold)
                poke_long(at.silent, _I(silent), j)
                silent += 1
    return silent


@njit(inline="always")
def _row(at: _At, span: _Span, event: int) -> int:
    return _I(peek_word(span.events, event)) * at.cells


@njit(inline="always", error_model="numpy")
def _columns(at: _At, n: int, span: _Span, take: Any, ends: tuple[Any, Any]) -> None:
    """Sixteen columns of the rows of a step, and what these send to the cells."""
    sums = every_double(0.0)
    for event in range(span.first + span.count, span.after):
        soon(at.weight, _row(at, span, event) + n)
    for event in range(span.first, span.first + span.count):
        here = _row(at, span, event) + n
        w = lesser(greater(load(at.weight, here) - take, ends[0]), ends[1])
        save(at.weight, here, w)
        sums = sums + doubles(w)
    save_doubles(at.drive, n, sums)


@njit(inline="always", error_model="numpy")
def _fallen(at: _At, span: _Span, sent: int, k: _Numbers) -> None:
    """Post traces over a step, and pre spikes for all cells that do not spike."""
    post, down, alone = every(k.post), every(k.down), every(k.down_alone)
    ends = every(k.least), every(k.most)
    if sent > 0:
        for n in range(_0, at.cells, _16):
            y = post * load(at.fast, n)
            save(at.fast, n, y)
            save(at.fall, n, y * down + alone)
        _spiked(at, sent, k)
    take = alone
    for n in range(_0, at.cells, _16):
        if sent > 0:
            take = load(at.fall, n)
        else:
            y = post * load(at.fast, n)
            save(at.fast, n, y)
            take = y * down + alone
        if n + _16 <= at.cells:
            _columns(at, n, span, take, ends)
    if at.cells % _16 != _0:
        # The last sixteen once more: those that are done lose nothing, and add up to the same.
        save(at.tail, _16, take)
        _columns(at, at.cells - _16, span, load(at.tail, at.cells % _16), ends)


@njit(inline="always", error_model="numpy")
def _spiked(at: _At, sent: int, k: _Numbers) -> None:
    """Traces of cells that spike. What a pre spike takes from them is set aside."""
    for n in range(_I(sent)):
        j = peek_long(at.sent, n)
        before = load_one(at.fast, j)
        after = _ONE if k.nearest else before + _ONE
        save_one(at.fast, j, after)
        shown = after if k.post_now else before
        poke_double(at.taken, n, np.float64(shown * k.down + k.down_alone))
        save_one(at.fall, j, _NONE)


@njit(inline="always", error_model="numpy")
def _raised(at: _At, here: int, up: float, down: float, k: _Numbers) -> float:
    """A weight that a post spike moves."""
    w = load_one(at.weight, here)
    rise = up * bent((k.most - w) * k.narrow, k.up_power)
    w = min(max(w + (rise - down), k.least), k.most)
    save_one(at.weight, here, w)
    return w


@njit(inline="always", error_model="numpy")
def _trace(at: _At, i: int, now: int) -> float:
    """Of an input."""
    age = min(now - peek_count(at.last, i), at.longest)
    return load_one(at.x, i) * load_one(at.fades, _I(age))


@njit(inline="always", error_model="numpy")
def _risen(at: _At, span: _Span, sent: int, now: int, k: _Numbers) -> None:
    """Traces of inputs that spike, and their synapses to cells that spike too."""
    for n in range(_I(sent)):
        poke_double(at.drive, peek_long(at.sent, n), 0.0)
    for event in range(span.first, span.first + span.count):
        i = _I(peek_word(span.events, event))
        here = i * at.cells
        x = _trace(at, i, now)
        after = _ONE if k.nearest else x + _ONE
        up = k.up * (after if k.pre_now else x) + k.up_alone
        for n in range(_I(sent)):
            j = peek_long(at.sent, n)
            w = _raised(at, here + j, up, _F(peek_double(at.taken, n)), k)
            poke_double(at.drive, j, peek_double(at.drive, j) + np.float64(w))
        save_one(at.x, i, after)
        save_one(at.x_slow, i, _ONE)
        poke_count(at.last, i, now)


@njit(inline="always", error_model="numpy")
def _posts(at: _At, sent: int, now: int, k: _Numbers) -> None:
    """Post spikes, for inputs that do not spike: their columns of weights."""
    for i in range(at.inputs):
        save_one(at.now, i, k.up * _trace(at, i, now) + k.up_alone)
    for n in range(_I(sent)):
        here = peek_long(at.sent, n)
        for i in range(at.inputs):
            if peek_count(at.last, i) != now:
                _raised(at, here, load_one(at.now, i), _NONE, k)
            here += at.cells


@njit(inline="always", error_model="numpy")
def _places(live: Live, memory: Memory, k: Rule, room: tuple[Any, Any, Any]) -> _At:
    inputs, cells = _I(memory.weight.shape[0]), _I(memory.weight.shape[1])
    full = (cells + _I(63)) // _64 * _64
    # A vector that lies across two lines of the cache takes twice as long.
    v, few = (address(room[0]) + _I(63)) // _64 * _64, address(room[1])
    fast = (address(room[2]) + _I(63)) // _64 * _64
    rows, narrow = _8 * full, _8 * cells
    sent = few + _I(2) * narrow
    return _At(
        inputs=inputs, cells=cells,
        v=v, calm=v + rows, theta=v + _I(2) * rows, drive=v + _I(3) * rows,
        old=v + _I(4) * rows, taken=v + _I(4) * rows + _I(2) * narrow,
        few=few, sent=sent, silent=sent + narrow, ready=sent + _I(2) * narrow,
        marks=sent + _I(3) * narrow, wait=address(live.wait),
        fast=fast, fall=fast + rows // _I(2), tail=fast + rows, now=fast + rows + _I(128),
        weight=address(memory.weight),
        x=address(memory.x), x_slow=address(memory.x_slow), last=address(memory.last),
        fades=address(k.fades), longest=k.fades.size - 1,
    )  # fmt: skip


@njit(inline="always", error_model="numpy")
def _numbers(cells: Cells, k: Rule) -> _Numbers:
    decay, rest, reset = cells.decay, cells.rest, cells.reset
    threshold, hold = cells.threshold, cells.hold
    return _Numbers(
        exc=_Population(decay[0], rest[0], reset[0], threshold[0], hold[0]),
        inh=_Population(decay[1], rest[1], reset[1], threshold[1], hold[1]),
        theta_decay=cells.theta_decay, jump=cells.jump, gain=cells.gain, excite=cells.excite,
        inhibit=cells.inhibit, post=k.post, up=k.up, up_alone=k.up_alone, down=k.down,
        down_alone=k.down_alone, least=k.least, most=k.most, narrow=k.narrow,
        up_power=k.up_power, nearest=k.nearest, pre_now=k.pre_now, post_now=k.post_now,
    )  # fmt: skip


@njit(inline="always", error_model="numpy")
def _begun(at: _At, live: Live, cells: Cells) -> _Counts:
    """Copies of the state in rows filled up; cells that fill up never spike."""
    held, sent, silent = 0, 0, 0
    for j in range(_I((at.fall - at.fast) // _I(4))):
        here = j < at.cells
        poke_double(at.v, j, live.v[0, j] if here else -np.inf)
        poke_double(at.calm, j, live.v[1, j] if here else cells.rest[1])
        poke_double(at.theta, j, live.theta[j] if here else 0.0)
        save_one(at.fast, j, live.y[j] if here else _NONE)
    for n in range(_16):
        save_one(at.tail, n, _NONE)
    for j in range(at.cells):
        poke_count(at.ready, j, live.wait[1, j])
        poke_long(at.few, _I(held), j)
        held += 1 if live.wait[0, j] > 0 else 0
        poke_long(at.sent, _I(sent), j)
        sent += 1 if live.sent[0, j] > 0.0 else 0
        poke_long(at.silent, _I(silent), j)
        silent += 1 if live.sent[1, j] > 0.0 else 0
    return _Counts(held, sent, silent, 0)


@njit(inline="always", error_model="numpy")
def _ended(at: _At, live: Live, counts: _Counts, steps: int, learn: bool) -> None:
    """The state from its copies."""
    for j in range(at.cells):
        live.v[0, j], live.v[1, j] = peek_double(at.v, j), peek_double(at.calm, j)
        live.theta[j] = peek_double(at.theta, j)
        live.wait[1, j] = max(peek_count(at.ready, j) - steps, 0)
        if learn:
            live.y[j], live.y_slow[j] = load_one(at.fast, j), _NONE
    live.sent[:] = 0.0
    for n in range(counts.sent):
        j = peek_long(at.sent, _I(n))
        live.sent[0, j] = 1.0
        if learn:
            live.y_slow[j] = _ONE
    for n in range(counts.silent):
        live.sent[1, peek_long(at.silent, _I(n))] = 1.0


@njit(nogil=True, cache=True, error_model="numpy")
def run_wide(
    events: tuple[Any, Any],
    live: Live,
    memory: Memory,
    how: tuple[Cells, Rule],
    out: tuple[Any, Any, Any],
    room: tuple[Any, Any, Any],
) -> bool:
    """All steps of a network; False if nothing was done.

    That is where an inhibitory cell is over its threshold to begin with: it would spike by itself.

    Args:
        events: as for :func:`clnf.spiking.plasticity.network.kernels.run`.
        live: cells, changed in place.
        memory: synapses, changed in place.
        how: both populations and the rule.
        out: as for the other kernel.
        room: from :func:`scratch`.
    """
    (starts, inputs), (begins, sends, quiet), (cells, rule) = events, out, how
    if live.v[1].max() > cells.threshold[1]:
        return False
    at, k = _places(live, memory, rule, room), _numbers(cells, rule)
    counts, spikes, sent_at = _begun(at, live, cells), address(inputs), address(sends)
    found, calm, now = 0, 0, memory.clock[0]
    drive = room[0][(at.drive - address(room[0])) // _8 :]
    gather(memory.weight, memory.before[: memory.clock[1]], drive)
    for t in range(starts.size - 1):
        first, count = found, starts[t + 1] - starts[t]
        found, held = _excited(at, counts, sent_at, first, k)
        begins[t + 1] = found
        silent, behind = 0, counts.behind + 1
        if counts.sent > 0:
            silent, behind = _inhibited(at, counts, t, k), 0
        calm += silent
        counts = _Counts(held, found - first, silent, behind)
        for n in range(_I(counts.sent)):
            poke_long(at.sent, n, _I(peek_word(sent_at, _I(first) + n)))
        if cells.learn:
            after = starts[min(t + 2, starts.size - 1)]
            span = _Span(spikes, _I(starts[t]), _I(count), _I(after))
            _fallen(at, span, counts.sent, k)
            _risen(at, span, counts.sent, now, k)
            if counts.sent > 0:
                _posts(at, counts.sent, now, k)
            now += 1
        else:
            gather(memory.weight, inputs[starts[t] : starts[t + 1]], drive)
    _rested(at, counts.behind, k.inh)
    _ended(at, live, counts, starts.size - 1, cells.learn)
    quiet[0] += calm
    last = inputs[starts[starts.size - 2] : starts[starts.size - 1]]
    memory.before[: last.size] = last
    memory.clock[0], memory.clock[1] = now, last.size
    return True
