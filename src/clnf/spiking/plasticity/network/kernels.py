"""A plastic network driven by events, compiled.

The plain version is in :mod:`clnf.spiking.plasticity.network.plain`.

A pre spike touches the weights of its input [cells], a post spike those of its cell [inputs].
Traces of inputs stay as they were at their last spike, and what is left of them since is looked up
when a post spike asks. Cells are gone over in every step for their potentials, so their traces fade
there. Powers of a decay are made by multiplying step by step, as the plain version does: a trace
that begins at 1 is the same to the bit, one that adds up to a rounding.

All arithmetic on weights and traces is float32 in the order of the plain version; potentials and
sums of weights are float64.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from clnf.devices.kernels import word

__all__ = ["Cells", "Live", "Memory", "Rule", "bent", "draw", "gather", "remains", "run"]

_F, _I = np.float32, np.uintp
_ZERO, _ONE = np.float32(0.0), np.float32(1.0)


class Rule(NamedTuple):
    """A law as float32; ``fades`` and ``slow_fades`` are powers of its pre decays."""

    fades: Any
    slow_fades: Any
    post: Any
    post_slow: Any
    up: Any
    up_triplet: Any
    up_alone: Any
    down: Any
    down_triplet: Any
    down_alone: Any
    least: Any
    most: Any
    narrow: Any
    up_power: Any
    down_power: Any
    nearest: bool
    pre_now: bool
    post_now: bool


class Cells(NamedTuple):
    """Both populations, in volts: first excitatory, then inhibitory."""

    decay: Any
    rest: Any
    reset: Any
    threshold: Any
    hold: Any
    theta_decay: float
    jump: float
    gain: float
    excite: float
    inhibit: float
    learn: bool


class Live(NamedTuple):
    """Cells now, changed in place: v, wait and sent [2, J], theta [J], y and y2 [J]."""

    v: Any
    wait: Any
    sent: Any
    theta: Any
    y: Any
    y_slow: Any


class Memory(NamedTuple):
    """Synapses now, changed in place: weights [I, J], traces at the last spikes and its step [I].

    ``before`` lists inputs that spiked in the last step, with their number in ``clock[1]``;
    ``clock[0]`` is the number of steps learnt.
    """

    weight: Any
    x: Any
    x_slow: Any
    last: Any
    before: Any
    clock: Any


@njit(nogil=True, cache=True)
def draw(bars: Any, key0: int, key1: int, starts: Any, cells: Any) -> None:
    """Cells whose draw is below their bar of 2^-24, step by step; ``cells`` has room for all."""
    found = 0
    first = np.uint32(key0)
    for t in range(starts.size - 1):
        key = np.uint32(np.uint32(key1) + np.uint32(t))
        for i in range(bars.size):
            cells[found] = i
            found += np.int64((word(i, first, key) >> np.uint32(8)) < bars[i])
        starts[t + 1] = found


@njit(inline="always")
def remains(fades: Any, steps: int) -> float:
    """What is left after some steps; a table ends where a float32 stops falling, or is long."""
    if steps < fades.size or fades[-1] < _F(1e-37):
        return fades[min(steps, fades.size - 1)]
    found = _ONE
    while steps >= fades.size:
        found *= fades[-1]
        steps -= fades.size - 1
    return found * fades[steps]


@njit(inline="always")
def bent(room: float, power: float) -> float:
    """How a step shrinks with the room that is left to a bound, room^power."""
    if power == 0.0:
        return _ONE
    base = max(room, _ZERO)
    return base if power == 1.0 else _F(base**power)


@njit(inline="always")
def _moved(w: float, up: float, down: float, k: Rule) -> float:
    rise = up * bent((k.most - w) * k.narrow, k.up_power)
    fall = down * bent((w - k.least) * k.narrow, k.down_power)
    return min(max(w + (rise - fall), k.least), k.most)


@njit(inline="always", error_model="numpy")
def gather(weight: Any, spikes: Any, drive: Any) -> None:
    """What spikes of inputs send to each cell, summed in their order."""
    drive[:] = 0.0
    for n in range(spikes.size):
        row = weight[spikes[n]]
        for j in range(_I(row.size)):
            drive[j] += np.float64(row[j])


@njit(inline="always", error_model="numpy")
def _excited(live: Live, cells: Cells, calm: int, drive: Any, fired: Any) -> int:
    """A step of the excitatory cells; how many spike. ``calm`` inhibitory cells spiked before."""
    v, wait, quiet, theta = live.v[0], live.wait[0], live.sent[1], live.theta
    decay, rest, reset, hold = cells.decay[0], cells.rest[0], cells.reset[0], cells.hold[0]
    threshold, silencing, spikes = cells.threshold[0], np.float64(calm), 0
    for j in range(_I(v.size)):
        push = cells.gain * drive[j] - cells.inhibit * (silencing - quiet[j])
        p = (v[j] - rest) * decay + rest
        p = p + push if wait[j] == 0 else p
        lifted = theta[j] * cells.theta_decay
        now = p > threshold + lifted
        v[j] = reset if now else p
        theta[j] = lifted + (cells.jump if now else 0.0)
        wait[j] = hold if now else max(wait[j] - 1, 0)
        fired[j] = 1.0 if now else 0.0
        spikes += 1 if now else 0
    return spikes


@njit(inline="always", error_model="numpy")
def _inhibited(live: Live, cells: Cells, fired: Any) -> int:
    """A step of the inhibitory cells, and what both send on; how many inhibitory ones spike."""
    v, wait, sent, quiet = live.v[1], live.wait[1], live.sent[0], live.sent[1]
    decay, rest, reset, hold = cells.decay[1], cells.rest[1], cells.reset[1], cells.hold[1]
    threshold, spikes = cells.threshold[1], 0
    for j in range(_I(v.size)):
        p = (v[j] - rest) * decay + rest
        p = p + cells.excite * sent[j] if wait[j] == 0 else p
        now = p > threshold
        v[j] = reset if now else p
        wait[j] = hold if now else max(wait[j] - 1, 0)
        sent[j] = fired[j]
        quiet[j] = 1.0 if now else 0.0
        spikes += 1 if now else 0
    return spikes


@njit(inline="always", error_model="numpy")
def _faded(live: Live, k: Rule, fired: Any, seen: Any) -> None:
    """Post traces over a step; ``seen`` [3, J] is y as pre spikes see it, a and u of posts."""
    fast, slow, shown, rise, alone = live.y, live.y_slow, seen[0], seen[1], seen[2]
    kept = _ZERO if k.nearest else _ONE
    for j in range(_I(fired.size)):
        z = _F(fired[j])
        y, y2 = k.post * fast[j], k.post_slow * slow[j]
        left = _ONE - z if kept == _ZERO else _ONE
        after = y * left + z
        fast[j] = after
        slow[j] = y2 * left + z
        shown[j] = after if k.post_now else y
        rise[j] = z * (k.up_triplet * y2 + k.up)
        alone[j] = z * k.up_alone


@njit(inline="always", error_model="numpy")
def _row(row: Any, c: float, d: float, k: Rule, shown: Any, drive: Any) -> None:
    """A pre spike for cells that do not spike, and what its weights send to them."""
    least, most = k.least, k.most
    if k.down_power == 0.0:
        for j in range(_I(row.size)):
            w = row[j] - (shown[j] * c + d)
            w = least if w < least else w
            w = most if w > most else w
            row[j] = w
            drive[j] += np.float64(w)
    else:
        for j in range(_I(row.size)):
            row[j] = _moved(row[j], _ZERO, shown[j] * c + d, k)
            drive[j] += np.float64(row[j])


@njit(inline="always", error_model="numpy")
def _pre(memory: Memory, i: int, sent: Any, k: Rule, seen: Any, room: tuple[Any, Any]) -> None:
    """A pre spike: its row of weights and its traces. ``sent`` are cells that spike."""
    drive, kept = room
    age = memory.clock[0] - memory.last[i]
    x, x2 = memory.x[i] * remains(k.fades, age), memory.x_slow[i] * remains(k.slow_fades, age)
    after = _ONE if k.nearest else x + _ONE
    now = after if k.pre_now else x
    c, d, row = k.down_triplet * x2 + k.down, k.down_alone, memory.weight[i]
    for n in range(sent.size):
        j = sent[n]
        up, down = seen[1, j] * now + seen[2, j], seen[0, j] * c + d
        w = _moved(row[j], up, down, k)
        kept[0, n], kept[1, n] = np.float64(w), drive[j] + np.float64(w)
    _row(row, c, d, k, seen[0], drive)
    for n in range(sent.size):
        row[sent[n]], drive[sent[n]] = _F(kept[0, n]), kept[1, n]
    memory.x[i], memory.x_slow[i] = after, _ONE if k.nearest else x2 + _ONE
    memory.last[i] = memory.clock[0]


@njit(inline="always", error_model="numpy")
def _posts(memory: Memory, sent: Any, k: Rule, seen: Any, x: Any) -> None:
    """Post spikes, for inputs that do not spike: their columns of weights."""
    weight, now, last, least, most = memory.weight, memory.clock[0], memory.last, k.least, k.most
    for i in range(_I(x.size)):
        x[i] = memory.x[i] * remains(k.fades, now - last[i])
    for n in range(sent.size):
        j = _I(sent[n])
        a, u = seen[1, j], seen[2, j]
        if k.up_power == 0.0:
            for i in range(_I(x.size)):
                if last[i] != now:
                    weight[i, j] = min(max(weight[i, j] + (a * x[i] + u), least), most)
        else:
            for i in range(_I(x.size)):
                if last[i] != now:
                    weight[i, j] = _moved(weight[i, j], a * x[i] + u, _ZERO, k)


@njit(nogil=True, cache=True, error_model="numpy")
def run(
    events: tuple[Any, Any],
    live: Live,
    memory: Memory,
    how: tuple[Cells, Rule],
    out: tuple[Any, Any, Any],
    room: tuple[Any, Any, Any, Any, Any],
) -> None:
    """All steps of a network.

    Args:
        events: where steps begin, and which inputs spike.
        live: cells, changed in place.
        memory: synapses, changed in place.
        how: both populations and the rule.
        out: where steps begin [T + 1] among spikes of excitatory cells, and which cells; the number
            of inhibitory spikes [1].
        room: float64 [J] twice and [2, J], float32 [3, J] and [I].
    """
    (starts, inputs), (begins, sends, quiet), (cells, k) = events, out, how
    drive, fired, kept, seen, shown = room
    found, calm = 0, np.int64(live.sent[1].sum())
    gather(memory.weight, memory.before[: memory.clock[1]], drive)
    for t in range(starts.size - 1):
        first, spikes = found, inputs[starts[t] : starts[t + 1]]
        if _excited(live, cells, calm, drive, fired) > 0:
            for j in range(fired.size):
                if fired[j] > 0.0:
                    sends[found] = j
                    found += 1
        begins[t + 1] = found
        calm = _inhibited(live, cells, fired)
        quiet[0] += calm
        if cells.learn:
            _faded(live, k, fired, seen)
            drive[:] = 0.0
            for n in range(spikes.size):
                _pre(memory, spikes[n], sends[first:found], k, seen, (drive, kept))
            if found > first:
                _posts(memory, sends[first:found], k, seen, shown)
            memory.clock[0] += 1
        else:
            gather(memory.weight, spikes, drive)
    last = inputs[starts[starts.size - 2] : starts[starts.size - 1]]
    memory.before[: last.size] = last
    memory.clock[1] = last.size
