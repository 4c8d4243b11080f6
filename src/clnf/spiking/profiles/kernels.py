"""A chip's arithmetic in whole numbers, compiled.

The plain twin is in :mod:`clnf.spiking.profiles.deployed`.

    product      out[r, :] += count w[i, :]           for each event (r, i, count)
    spread       the same for a convolution
    population   decay, add, bound, spike and reset, step by step, with recurrent weights
    back         gradients of a population's inputs, straight through all rounding

All numbers of the way there are int64: a state of 32 bits times a decay of 24 bits stays below
2**63. Gradients are float64.

Legend: T steps, B samples, N cells, R = T B rows, I inputs; C, D channels in and out.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = [
    "DOWN",
    "FRACTION",
    "NO_DECAY",
    "SHIFT",
    "STOCHASTIC",
    "ZERO",
    "Grads",
    "Rules",
    "Slopes",
    "States",
    "back",
    "population",
    "product",
    "spread",
]

Ints = NDArray[np.int64]

NO_DECAY, FRACTION, SHIFT = 0, 1, 2
ZERO, DOWN, STOCHASTIC = 0, 1, 2
NEVER = 62


class Rules(NamedTuple):
    """How cells of a stage count. Arrays are [N].

    Attributes:
        bias: added at each step.
        threshold: of spikes; of no meaning for a read-out.
        keep: of the potential, K or a shift.
        fading: of the current.
        decay: NO_DECAY, FRACTION or SHIFT.
        rounding: ZERO, DOWN or STOCHASTIC.
        bits: of K.
        most: spikes in a step; 0 for a read-out.
        reached: 1 where a potential at the threshold spikes.
        subtracts: 1 where a spike takes the threshold off, 0 where it sets 0.
        synapse: 1 where there is a current.
        push_most: bound of what arrives in a step; 0 for none.
        current_bits: of a current; 0 for no bound.
        potential_bits: of a potential; 0 for no bound.
        current_wraps: 1 where a current wraps around, 0 where it saturates.
        potential_wraps: the same for a potential.
    """

    bias: Any
    threshold: Any
    keep: Any
    fading: Any
    decay: int
    rounding: int
    bits: int
    most: int
    reached: int
    subtracts: int
    synapse: int
    push_most: int
    current_bits: int
    potential_bits: int
    current_wraps: int
    potential_wraps: int


class States(NamedTuple):
    """Potentials, currents and last spikes, [B, N]; and what they were at each step, [T, B, N]."""

    v: Any
    i: Any
    z: Any
    potential: Any
    current: Any
    spikes: Any


@njit(nogil=True, cache=True)
def product(x: Ints, w: Ints, out: Ints) -> None:
    """Rows ``x`` [R, I] times ``w`` [I, N], added to ``out`` [R, N]."""
    for r in range(x.shape[0]):
        for i in range(x.shape[1]):
            count = x[r, i]
            if count != 0:
                for n in range(w.shape[1]):
                    out[r, n] += count * w[i, n]


@njit(nogil=True, cache=True)
def spread(x: Ints, w: Ints, out: Ints, how: Ints) -> None:
    """Pictures ``x`` [R, C, H, W] through ``w`` [C, k, l, D], added to ``out`` [R, E, F, D].

    ``how`` holds strides, paddings and dilations, down and across.
    """
    down, across, top, left, far, wide = how
    for r in range(x.shape[0]):
        for c in range(x.shape[1]):
            for y in range(x.shape[2]):
                for column in range(x.shape[3]):
                    count = x[r, c, y, column]
                    if count == 0:
                        continue
                    for k in range(w.shape[1]):
                        e = y + top - k * far
                        if e < 0 or e % down != 0 or e // down >= out.shape[1]:
                            continue
                        for m in range(w.shape[2]):
                            f = column + left - m * wide
                            if f < 0 or f % across != 0 or f // across >= out.shape[2]:
                                continue
                            for d in range(w.shape[3]):
                                out[r, e // down, f // across, d] += count * w[c, k, m, d]


@njit(nogil=True, cache=True, inline="always")
def _decayed(x: int, kept: int, rules: Rules, draw: int) -> int:
    if rules.decay == NO_DECAY:
        return x
    if rules.decay == SHIFT:
        return x if kept >= NEVER else x - (x >> kept)
    if rules.rounding == ZERO:
        return (x * kept) >> rules.bits if x >= 0 else -((-x * kept) >> rules.bits)
    return (x * kept + draw) >> rules.bits


@njit(nogil=True, cache=True, inline="always")
def _held(x: int, bits: int, wraps: int) -> int:
    if bits == 0:
        return x
    half = np.int64(1) << (bits - 1)
    if wraps:
        return ((x + half - 1) & (2 * half - 1)) - (half - 1)
    return min(max(x, 1 - half), half - 1)


@njit(nogil=True, cache=True)
def population(a: Ints, ring: Ints, rules: Rules, states: States, draws: Ints) -> None:
    """All steps of a stage.

    Args:
        a: what arrives [T, B, N].
        ring: recurrent weights, pre by post [N, N], or without elements.
        rules: of the cells.
        states: before; after all steps, and at each.
        draws: for stochastic rounding of currents and potentials [2, T, B, N], or without elements.
    """
    v, i, z = states.v, states.i, states.z
    neurons, drawn = a.shape[2], draws.size > 0
    push = np.empty(neurons, np.int64)
    for b in range(a.shape[1]):
        for t in range(a.shape[0]):
            push[:] = a[t, b]
            if ring.size:
                for m in range(neurons):
                    if z[b, m] != 0:
                        for n in range(neurons):
                            push[n] += z[b, m] * ring[m, n]
            for n in range(neurons):
                given = push[n]
                if rules.push_most:
                    given = min(max(given, -rules.push_most), rules.push_most)
                if rules.synapse:
                    draw = draws[0, t, b, n] if drawn else np.int64(0)
                    left = _decayed(i[b, n], rules.fading[n], rules, draw) + given
                    given = _held(left, rules.current_bits, rules.current_wraps)
                    i[b, n] = given
                    states.current[t, b, n] = given
                draw = draws[1, t, b, n] if drawn else np.int64(0)
                p = _decayed(v[b, n], rules.keep[n], rules, draw) + given + rules.bias[n]
                p = _held(p, rules.potential_bits, rules.potential_wraps)
                if rules.most:
                    count = (p - 1 + rules.reached) // rules.threshold[n]
                    count = min(max(count, 0), rules.most)
                    if count > 0:
                        p = p - count * rules.threshold[n] if rules.subtracts else np.int64(0)
                    z[b, n] = count
                    states.spikes[t, b, n] = count
                v[b, n] = p
                states.potential[t, b, n] = p


class Slopes(NamedTuple):
    """What gradients need beside the rules.

    Attributes:
        share: what a step leaves of a potential, float64 [N].
        fading: the same of a current.
        lsb_v: volts of a step of the potential.
        code: of the surrogate.
        narrow: 1 / its width, 1/V.
        height: of it, 1/V.
    """

    share: Any
    fading: Any
    lsb_v: float
    code: int
    narrow: float
    height: float


class Grads(NamedTuple):
    """Gradients of spikes and potentials [T, B, N], and what comes back of inputs."""

    spikes: Any
    potential: Any
    inputs: Any


@njit(nogil=True, cache=True, inline="always")
def _slope(over_v: float, by: Slopes) -> float:
    part = over_v * by.narrow
    if by.code == 0:
        wide = abs(part) + 1.0
        return by.height / (wide * wide)
    if by.code == 1:
        return by.height / (part * part + 1.0)
    if by.code == 2:
        return by.height * max(1.0 - abs(part), 0.0)
    return by.height if abs(part) < 1.0 else 0.0


@njit(nogil=True, cache=True, inline="always")
def _ends(x: int, bits: int, wraps: int) -> bool:
    """Whether a state ran beyond its end and was held there."""
    return bits > 0 and not wraps and abs(x) > (np.int64(1) << (bits - 1)) - 1


@njit(nogil=True, cache=True)
def back(a: Ints, rules: Rules, states: States, draws: Ints, by: Slopes, grads: Grads) -> None:
    """Gradients of what arrives, for cells without recurrent weights.

    Args:
        a: what arrived [T, B, N].
        rules: of the cells.
        states: before the first step in ``v`` and ``i``; what they were at each step.
        draws: as on the way there.
        by: slopes.
        grads: filled.
    """
    drawn, zero, neurons = draws.size > 0, np.int64(0), a.shape[2]
    carried, flowing = np.empty(neurons), np.empty(neurons)
    for b in range(a.shape[1]):
        carried[:], flowing[:] = 0.0, 0.0
        for t in range(a.shape[0] - 1, -1, -1):
            for n in range(neurons):
                # What the step did is worked out anew from the states around it.
                given, held_in, raw = a[t, b, n], False, zero
                if rules.push_most and abs(given) > rules.push_most:
                    given, held_in = min(max(given, -rules.push_most), rules.push_most), True
                if rules.synapse:
                    before = states.current[t - 1, b, n] if t else states.i[b, n]
                    draw = draws[0, t, b, n] if drawn else zero
                    raw = _decayed(before, rules.fading[n], rules, draw) + given
                    given = states.current[t, b, n]
                before = states.potential[t - 1, b, n] if t else states.v[b, n]
                draw = draws[1, t, b, n] if drawn else zero
                p = _decayed(before, rules.keep[n], rules, draw) + given + rules.bias[n]
                g = carried[n] + grads.potential[t, b, n]
                beyond = _ends(p, rules.potential_bits, rules.potential_wraps)
                p = _held(p, rules.potential_bits, rules.potential_wraps)
                if rules.most:
                    if states.spikes[t, b, n] > 0 and not rules.subtracts:
                        g = 0.0
                    near = min(max(np.rint(p / rules.threshold[n]), 1.0), float(rules.most))
                    over_v = (p - near * rules.threshold[n]) * by.lsb_v
                    g += _slope(over_v, by) * by.lsb_v * grads.spikes[t, b, n]
                g = 0.0 if beyond else g
                carried[n] = g * by.share[n]
                if rules.synapse:
                    g += flowing[n]
                    g = 0.0 if _ends(raw, rules.current_bits, rules.current_wraps) else g
                    flowing[n] = g * by.fading[n]
                grads.inputs[t, b, n] = 0.0 if held_in else g
