"""Steps of the cells of the plastic network, sixteen at once.

Most cells are neither refractory nor spared by their own inhibitory cell. All are moved alike, and
the few others once more by themselves. Inhibitory cells decay by themselves between excitatory
spikes; those steps are made up for when the next spike comes, in registers.
"""

import numpy as np
from numba import njit

from clnf.devices.sixteen import (
    peek_count,
    peek_double,
    peek_long,
    poke_count,
    poke_double,
    poke_long,
    poke_word,
)
from clnf.spiking.lanes import beyond, every_double, load_doubles, lowest, marked, save_doubles
from clnf.spiking.plasticity.network.places import At, Counts, Numbers, Population

__all__ = ["excited", "inhibited", "rested"]

_I = np.uintp
_0, _1, _15, _16, _32, _48, _64 = (_I(n) for n in (0, 1, 15, 16, 32, 48, 64))


@njit(inline="always", error_model="numpy")
def rested(at: At, steps: int, one: Population) -> None:
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
def _alike(at: At, silence: float, k: Numbers) -> int:
    """A step of the excitatory cells as if none was among the few; whether any spikes."""
    decay, rest, threshold = (
        every_double(k.exc.decay),
        every_double(k.exc.rest),
        every_double(k.exc.threshold),
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
def _alone(at: At, counts: Counts, listed: int, k: Numbers) -> None:
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
def excited(at: At, counts: Counts, sends: int, found: int, k: Numbers) -> tuple[int, int]:
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
def inhibited(at: At, counts: Counts, t: int, k: Numbers) -> int:
    """A step of the inhibitory cells where something arrives; how many spike."""
    silent = 0
    rested(at, counts.behind + 1, k.inh)
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
