"""Plain torch version of the kernel of memristive synapses: same arguments, same draws, same bits.

It is what the compiled one is tested against, and says what is right.
"""

import torch
from torch import Tensor

from clnf.devices import pulse_reference, pulses
from clnf.devices.reference import gauss8, root
from clnf.spiking.memristive.kernels import Job, Lines, Matter, Population, Rule, Tables

__all__ = ["run"]

_NEXT, _LATER, _MASK = 0x85EBCA6B, 0x9E3779B9, 0xFFFFFFFF
Place = tuple[Tensor, int, int]
Four = tuple[Tensor, Tensor, Tensor, Tensor]


def _moved(w: Tensor, dose: Tensor, up: bool, mine: Four, law: Tensor, place: Place) -> Tensor:
    """Hidden weights [M] after doses [M] of measured pulses."""
    count = dose.ceil()
    part = torch.where(count > 0, dose / count, torch.zeros_like(dose))
    wide, side = root(part), torch.tensor(up)
    for k in range(int(count.max()) if len(count) else 0):
        size = pulse_reference.step_at(w, side, mine, law).clamp(min=0.0)
        moved = size * part
        if law[pulses.CYCLE] > 0:
            draw = gauss8(place[0], (place[1] + k * _NEXT) & _MASK, place[2])
            moved = moved + (size * wide) * (law[pulses.CYCLE] * draw)
        stepped = w + moved if up else w - moved
        stepped = torch.minimum(torch.maximum(stepped, mine[3]), mine[2])
        w = torch.where(count > k, stepped, w)
    return w


def _felt(cell: Tensor, up: Tensor, down: Tensor, matter: Matter, step: int) -> None:
    """Cells [M] by their index take doses [M]: down first, then up."""
    hidden, seen, wear = (one.view(-1) for one in matter[:3])
    wear[cell] += up.double() + down.double()
    alive = matter.table[0, cell] != 0
    cell, up, down = cell[alive], up[alive], down[alive]
    if not len(cell):
        return
    a, b, c, d = matter.table[:, cell]
    later, key = (step * _LATER) & _MASK, [int(v) for v in matter.key]
    w = hidden[cell]
    w = _moved(w, down, False, (a, b, c, d), matter.law, (cell, key[2] ^ later, key[3]))
    w = _moved(w, up, True, (a, b, c, d), matter.law, (cell, key[0] ^ later, key[1]))
    hidden[cell] = w
    if matter.law[pulses.WRITE_NOISE] > 0:
        w = w + matter.law[pulses.WRITE_NOISE] * gauss8(cell, key[4] ^ later, key[5])
    seen[cell] = w


def _fire(population: Population, rule: Rule, push: Tensor) -> Tensor:
    """Potentials a step on, and who spikes, [N]."""
    v, lift, wait = population
    lift.mul_(rule.fading)
    free = wait == 0
    wait.sub_((~free).to(wait.dtype))
    v.copy_(torch.where(free, rule.decay * v + push, v))
    over = torch.where(free, v - (rule.threshold + lift), torch.full_like(v, -1.0))
    fired = over > 0
    if not bool(fired.any()):
        return torch.zeros_like(v)
    if rule.held > 0:
        others = torch.ones_like(fired)
        others[over.argmax()] = False
        v[others], wait[others] = rule.reset, rule.held
        fired = ~others
    v[fired], wait[fired] = rule.reset, rule.rest
    lift[fired] += rule.jump
    return fired.float()


def _drive(lines: Lines, tables: Tables, matter: Matter, sums: Tensor, step: int) -> None:
    """All cells between two lines."""
    p, q = lines.pre.long()[:, None], lines.post.long()[None]
    heat, planes = tables.heat[p, q], len(matter.hidden)
    sums[0] += planes * int(tables.writes[p, q].sum())
    up, down = tables.up[p, q].reshape(-1), tables.down[p, q].reshape(-1)
    moves = ((up > 0) | (down > 0)).nonzero()[:, 0]
    for plane in range(planes):
        g = (matter.low + matter.slope * matter.seen[plane].double()).clamp(min=0.0)
        sums[1] += (heat * g).round().long().sum()
        doses = (up[moves], down[moves]) if plane == 0 else (down[moves], up[moves])
        _felt(moves + plane * up.numel(), *doses, matter, step)


def run(
    job: Job, matter: Matter, lines: Lines, population: Population, rule: Rule, tables: Tables
) -> None:
    """All steps of one row of inputs; see :func:`clnf.spiking.memristive.kernels.run`."""
    rest, held = rule.rest, rule.held
    rule = Rule(*map(float, rule))._replace(rest=rest, held=held)  # type: ignore[arg-type]
    still, quiet = tables.up.shape[0] - 1, tables.up.shape[1] - 1
    for t, now in enumerate(job.x):
        push = job.push[t].clone()
        for i in now.nonzero()[:, 0].tolist():
            scale = rule.scale * now[i]
            other = matter.seen[1, i] if len(matter.seen) == 2 else rule.reference
            push += scale * (matter.seen[0, i] - other)
        lines.pre.copy_(torch.where(now != 0, 0, (lines.pre + 1).clamp(max=still)))
        job.out[t] = _fire(population, rule, push)
        fired = job.out[t] > 0
        lines.post.copy_(torch.where(fired, 0, (lines.post + 1).clamp(max=quiet)))
        if job.learn:
            _drive(lines, tables, matter, job.sums, job.first + t)
