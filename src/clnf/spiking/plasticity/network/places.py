"""Memory of a run of the plastic network, known by addresses, and its state in rows filled up.

An array has its references counted wherever it is handed on, which for steps as small as these
takes longer than the work.

Legend: I inputs, J cells; S is J filled up to a multiple of 64.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from clnf.devices.sixteen import (
    address,
    load_one,
    peek_count,
    peek_double,
    peek_long,
    poke_count,
    poke_double,
    poke_long,
    save_one,
)
from clnf.spiking.plasticity.network.kernels import Cells, Live, Memory, Rule

__all__ = [
    "At",
    "Counts",
    "Numbers",
    "Population",
    "begun",
    "ended",
    "numbers",
    "places",
    "scratch",
]

_F = np.float32
_I = np.uintp
_8, _16, _64 = (_I(n) for n in (8, 16, 64))
_NONE = np.float32(0.0)
_ONE = np.float32(1.0)


class Population(NamedTuple):
    """Coefficients of one kind of cells."""

    decay: float
    rest: float
    reset: float
    threshold: float
    hold: int


class Numbers(NamedTuple):
    """What is no memory: both populations, how they push, and the rule."""

    exc: Population
    inh: Population
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


class At(NamedTuple):
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


class Counts(NamedTuple):
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
def places(live: Live, memory: Memory, k: Rule, room: tuple[Any, Any, Any]) -> At:
    """Where everything is."""
    inputs, cells = _I(memory.weight.shape[0]), _I(memory.weight.shape[1])
    full = (cells + _I(63)) // _64 * _64
    # A vector that lies across two lines of the cache takes twice as long.
    v, few = (address(room[0]) + _I(63)) // _64 * _64, address(room[1])
    fast = (address(room[2]) + _I(63)) // _64 * _64
    rows, narrow = _8 * full, _8 * cells
    sent = few + _I(2) * narrow
    return At(
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
def numbers(cells: Cells, k: Rule) -> Numbers:
    """Numbers of both populations and the rule."""
    decay, rest, reset = cells.decay, cells.rest, cells.reset
    threshold, hold = cells.threshold, cells.hold
    return Numbers(
        exc=Population(decay[0], rest[0], reset[0], threshold[0], hold[0]),
        inh=Population(decay[1], rest[1], reset[1], threshold[1], hold[1]),
        theta_decay=cells.theta_decay, jump=cells.jump, gain=cells.gain, excite=cells.excite,
        inhibit=cells.inhibit, post=k.post, up=k.up, up_alone=k.up_alone, down=k.down,
        down_alone=k.down_alone, least=k.least, most=k.most, narrow=k.narrow,
        up_power=k.up_power, nearest=k.nearest, pre_now=k.pre_now, post_now=k.post_now,
    )  # fmt: skip


@njit(inline="always", error_model="numpy")
def begun(at: At, live: Live, cells: Cells) -> Counts:
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
    return Counts(held, sent, silent, 0)


@njit(inline="always", error_model="numpy")
def ended(at: At, live: Live, counts: Counts, steps: int, learn: bool) -> None:
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
