"""Steps of a population whose synapses are cells, compiled: reads, spikes, waves, what they move.

The plain twin that says what is right is :mod:`clnf.spiking.memristive.reference`; both draw the
same numbers and add in the same order. A step:

    rows that spike start their waves, and push each potential by what their cells read
    potentials leak; those above their threshold spike, or the highest of them alone
    columns that spike start their waves
    each cell between two lines, of which one is not at rest, feels its place in the tables

Legend: P planes, I rows (inputs), N columns (cells of the population).
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from clnf.devices.kernels import gauss8
from clnf.devices.pulses import CYCLE, WRITE_NOISE, step_at

__all__ = ["Job", "Lines", "Matter", "Population", "Rule", "Tables", "run"]

_F = np.float32
_U = np.uint32
# What the key's first word grows by from one pulse to the next, and from one step to the next.
_NEXT = _U(0x85EBCA6B)
_LATER = _U(0x9E3779B9)


class Job(NamedTuple):
    """Inputs x [T, I], pushes in V [T, N], spikes to be written [T, N], first step's number.

    ``sums`` [2] int64 gets writes and aJ; ``learn`` says whether lines are driven at all.
    """

    x: Any
    push: Any
    out: Any
    sums: Any
    first: int
    learn: bool


class Matter(NamedTuple):
    """Cells: hidden and visible weights float32, doses float64, [P, I, N]; table [4, P I N].

    ``law`` is that of :meth:`clnf.devices.response.Response.law`, ``key`` six words; ``low`` and
    ``slope`` make siemens of visible weights.
    """

    hidden: Any
    seen: Any
    wear: Any
    table: Any
    law: Any
    key: Any
    low: float
    slope: float


class Lines(NamedTuple):
    """Steps since the last spike of rows [I] and columns [N], int32; the tables' last is rest."""

    pre: Any
    post: Any


class Population(NamedTuple):
    """Potentials and lifts of thresholds, float32 [N], and steps left to wait, int32 [N]."""

    v: Any
    lift: Any
    wait: Any


class Rule(NamedTuple):
    """Numbers of a population.

    decay, threshold, reset, jump and fading of the lift, float32; steps a cell waits after its own
    spike, and after another's (0: spikes hold nobody back); what a read gives: ``scale`` volts for
    each unit of weight above ``reference`` (of one plane), or between two planes.
    """

    decay: float
    threshold: float
    reset: float
    jump: float
    fading: float
    rest: int
    held: int
    scale: float
    reference: float


class Tables(NamedTuple):
    """What a step does to a cell, by the steps since its row's and its column's last spike.

    [rows' phases, columns' phases]; the last of each stands for a line at rest. ``up`` and ``down``
    are measured pulses, float32; ``heat`` aJ for each siemens, float64; ``writes`` how many waves
    begin to write, int32.
    """

    up: Any
    down: Any
    heat: Any
    writes: Any


@njit(inline="always")
def _moved(w: float, dose: float, up: bool, mine: Any, law: Any, place: Any) -> float:
    """Hidden weight after a dose of measured pulses, which are taken one by one."""
    count = np.int32(np.ceil(dose))
    part = dose / _F(count)
    wide = np.sqrt(part)
    for k in range(count):
        size = max(step_at(w, up, mine, law), _F(0.0))
        moved = size * part
        if law[CYCLE] > _F(0.0):
            draw = gauss8(place[0], _U(place[1] + _U(_U(k) * _NEXT)), place[2])
            moved = moved + (size * wide) * (law[CYCLE] * draw)
        w = w + moved if up else w - moved
        w = min(max(w, mine[3]), mine[2])
    return w


@njit(inline="always")
def _felt(at: Any, doses: Any, matter: Matter, step: int) -> None:
    """One cell takes what a step does: down first, then up."""
    plane, i, j = at
    up, down = doses
    columns = matter.hidden.shape[2]
    cell = (plane * matter.hidden.shape[1] + i) * columns + j
    matter.wear[plane, i, j] += np.float64(up) + np.float64(down)
    table, key = matter.table, matter.key
    if table[0, cell] == _F(0.0):
        return  # a dead cell takes the wave and its energy but does not move
    mine = table[0, cell], table[1, cell], table[2, cell], table[3, cell]
    later = _U(_U(step) * _LATER)
    w = matter.hidden[plane, i, j]
    if down > _F(0.0):
        w = _moved(w, down, False, mine, matter.law, (_U(cell), _U(key[2] ^ later), key[3]))
    if up > _F(0.0):
        w = _moved(w, up, True, mine, matter.law, (_U(cell), _U(key[0] ^ later), key[1]))
    matter.hidden[plane, i, j] = w
    if matter.law[WRITE_NOISE] > _F(0.0):
        w = w + matter.law[WRITE_NOISE] * gauss8(_U(cell), _U(key[4] ^ later), key[5])
    matter.seen[plane, i, j] = w


@njit(nogil=True, cache=True)
def _read(row: Any, i: int, matter: Matter, rule: Rule, out: Any) -> None:
    """Add what row ``i`` gives to each potential, for an input of ``row``."""
    scale = rule.scale * row
    if matter.seen.shape[0] == 2:
        for j in range(out.shape[0]):
            out[j] += scale * (matter.seen[0, i, j] - matter.seen[1, i, j])
    else:
        for j in range(out.shape[0]):
            out[j] += scale * (matter.seen[0, i, j] - rule.reference)


@njit(nogil=True, cache=True)
def _fire(population: Population, rule: Rule, push: Any, out: Any) -> None:
    """Potentials a step on, and who spikes."""
    best, most = -1, _F(0.0)
    for j in range(push.shape[0]):
        population.lift[j] = rule.fading * population.lift[j]
        out[j] = _F(0.0)
        if population.wait[j] > 0:
            population.wait[j] -= 1
            continue
        v = rule.decay * population.v[j] + push[j]
        population.v[j] = v
        over = v - (rule.threshold + population.lift[j])
        if over > _F(0.0):
            out[j] = _F(1.0)
            if over > most:
                best, most = j, over
    if best < 0:
        return
    for j in range(push.shape[0]):
        if rule.held > 0 and j != best:
            out[j] = _F(0.0)
            population.v[j] = rule.reset
            population.wait[j] = rule.held
        elif out[j] > _F(0.0):
            population.v[j] = rule.reset
            population.lift[j] += rule.jump
            population.wait[j] = rule.rest


@njit(nogil=True, cache=True)
def _drive(lines: Lines, tables: Tables, matter: Matter, sums: Any, step: int) -> None:
    """All cells of which a line is not at rest."""
    still, quiet = tables.up.shape[0] - 1, tables.up.shape[1] - 1
    planes, rows, columns = matter.hidden.shape
    busy = np.flatnonzero(lines.post < quiet)
    every = np.arange(columns)
    for i in range(rows):
        p = lines.pre[i]
        for j in every if p < still else busy:
            q = lines.post[j]
            up, down, heat = tables.up[p, q], tables.down[p, q], tables.heat[p, q]
            if heat == 0.0:
                continue
            sums[0] += planes * np.int64(tables.writes[p, q])
            for plane in range(planes):
                g = matter.low + matter.slope * np.float64(matter.seen[plane, i, j])
                sums[1] += np.int64(np.rint(heat * max(g, 0.0)))
                if up > _F(0.0) or down > _F(0.0):
                    doses = (up, down) if plane == 0 else (down, up)
                    _felt((plane, i, j), doses, matter, step)


@njit(nogil=True, cache=True)
def run(
    job: Job, matter: Matter, lines: Lines, population: Population, rule: Rule, tables: Tables
) -> None:
    """All steps of one row of inputs; states change in place.

    Args:
        job: inputs, and where spikes go.
        matter: cells.
        lines: where waves are.
        population: potentials.
        rule: numbers of the population.
        tables: what waves do.
    """
    still, quiet = tables.up.shape[0] - 1, tables.up.shape[1] - 1
    push = np.empty(job.push.shape[1], np.float32)
    for t in range(job.x.shape[0]):
        for j in range(push.shape[0]):
            push[j] = job.push[t, j]
        for i in range(job.x.shape[1]):
            if job.x[t, i] != _F(0.0):
                lines.pre[i] = 0
                _read(job.x[t, i], i, matter, rule, push)
            elif lines.pre[i] < still:
                lines.pre[i] += 1
        _fire(population, rule, push, job.out[t])
        for j in range(push.shape[0]):
            if job.out[t, j] > _F(0.0):
                lines.post[j] = 0
            elif lines.post[j] < quiet:
                lines.post[j] += 1
        if job.learn:
            _drive(lines, tables, matter, job.sums, job.first + t)
