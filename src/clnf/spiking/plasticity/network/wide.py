"""The plastic network for rules of pairs whose steps have one size, sixteen cells at once.

The twin for every rule is in :mod:`clnf.spiking.plasticity.network.kernels`; both give the same
bits.
"""

from typing import Any

import numpy as np
from numba import njit

from clnf.devices.sixteen import address, peek_word, poke_long
from clnf.spiking.plasticity.network.kernels import Cells, Live, Memory, Rule, gather
from clnf.spiking.plasticity.network.neurons import excited, inhibited, rested
from clnf.spiking.plasticity.network.places import Counts, begun, ended, numbers, places
from clnf.spiking.plasticity.network.synapses import Span, fallen, posts, risen

__all__ = ["run_wide"]

_I = np.uintp
_8 = _I(8)


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
    at, k = places(live, memory, rule, room), numbers(cells, rule)
    counts, spikes, sent_at = begun(at, live, cells), address(inputs), address(sends)
    found, calm, now = 0, 0, memory.clock[0]
    drive = room[0][(at.drive - address(room[0])) // _8 :]
    gather(memory.weight, memory.before[: memory.clock[1]], drive)
    for t in range(starts.size - 1):
        first, count = found, starts[t + 1] - starts[t]
        found, held = excited(at, counts, sent_at, first, k)
        begins[t + 1] = found
        silent, behind = 0, counts.behind + 1
        if counts.sent > 0:
            silent, behind = inhibited(at, counts, t, k), 0
        calm += silent
        counts = Counts(held, found - first, silent, behind)
        for n in range(_I(counts.sent)):
            poke_long(at.sent, n, _I(peek_word(sent_at, _I(first) + n)))
        if cells.learn:
            after = starts[min(t + 2, starts.size - 1)]
            span = Span(spikes, _I(starts[t]), _I(count), _I(after))
            fallen(at, span, counts.sent, k)
            risen(at, span, counts.sent, now, k)
            if counts.sent > 0:
                posts(at, counts.sent, now, k)
            now += 1
        else:
            gather(memory.weight, inputs[starts[t] : starts[t + 1]], drive)
    rested(at, counts.behind, k.inh)
    ended(at, live, counts, starts.size - 1, cells.learn)
    quiet[0] += calm
    last = inputs[starts[starts.size - 2] : starts[starts.size - 1]]
    memory.before[: last.size] = last
    memory.clock[0], memory.clock[1] = now, last.size
    return True
