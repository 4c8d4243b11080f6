"""What a step makes of a population, in one form for all tools: numbers that can be compared.

v' = rest + decay (v - rest) + gain x        without a current
i' = synapse i + x,  v' = ... + gain i'      with one; ``lag``: steps that v follows later
a spike where v' > threshold, then v' = reset, or v' - threshold where that is None
"""

from typing import Any, NamedTuple

import numpy as np

from clnf.core.errors import ClnfError, DataError
from clnf.spiking.exchange.graph import Array, Node
from clnf.spiking.exchange.reading import Reading, cell_of
from clnf.spiking.exchange.shapes import shape_said

__all__ = ["EQUAL", "Step", "differences", "intended", "same"]

_CLOSE = 1e-4
EQUAL = "v equal to the threshold is a spike"


class Step(NamedTuple):
    """One step of a population; arrays of float64 that broadcast with each other.

    Attributes:
        decay: of the potential.
        gain: what an input of 1 adds, in the file's units of potential.
        threshold: above which it spikes; None for a read-out.
        reset: after a spike; None subtracts the threshold.
        rest: where the potential settles without inputs.
        synapse: decay of the current; None without one.
        lag: steps by which the potential follows the current later, 0 to 1.
        strict: whether v = threshold is no spike.
        many: whether there may be several spikes a step.
        floor: below which the potential does not fall.
    """

    decay: Array
    gain: Array
    threshold: Array | None = None
    reset: Array | None = None
    rest: Any = 0.0
    synapse: Array | None = None
    lag: float = 0.0
    strict: bool = True
    many: bool = False
    floor: Array | None = None


def _wide(value: Any) -> Array:
    return np.asarray(value, np.float64)


def intended(node: Node, how: Reading) -> Step:
    """What the node says, read in a way.

    Raises:
        DataError: numbers that no cell has.
    """
    shape_said(node)
    try:
        cell = cell_of(node, how)
        k = cell.coefficients(how.dt_s)
    except DataError:
        raise
    except ClnfError as error:
        raise DataError(str(error)) from None
    decay, any_cell = _wide(k.decay), cell
    rest = getattr(any_cell, "leak_v", 0.0)
    gain, synapse = _wide(k.kick), None
    if k.synapse is not None:
        synapse = _wide(k.synapse.decay)
        # What arrives in all is what counts; an exact step of "hold" spreads it over two.
        gain = _wide(k.synapse.current) * _wide(k.synapse.uptake) + gain * (1 - synapse)
    # An exact step of "hold" lies between a current that acts at once and one a step later.
    lag = 0.0 if synapse is None else 0.5 if (how.drive, how.method) == ("hold", "exact") else 1.0
    found = Step(decay, gain, rest=_wide(rest), synapse=synapse, lag=lag)
    if k.threshold is None:
        return found
    reset = None if k.reset is None else _wide(k.reset)
    return found._replace(threshold=_wide(k.threshold), reset=reset)


def same(one: Any, other: Any, close: float = _CLOSE) -> bool:
    """Whether two arrays, or what is not there, are alike."""
    if one is None or other is None:
        return one is None and other is None
    with np.errstate(all="ignore"):
        return bool(np.allclose(_wide(one), _wide(other), rtol=close, atol=1e-9))


def _shown(value: Any) -> str:
    wide = _wide(value).reshape(-1)
    if wide.size and np.allclose(wide, wide[0], rtol=1e-6):
        return f"{wide[0]:.6g}"
    return f"{wide.min():.6g} to {wide.max():.6g}" if wide.size else "nothing"


def differences(wanted: Step, done: Step) -> list[str]:
    """What a tool makes otherwise, one sentence each; thresholds count in units of the gain."""
    found = []
    if not same(wanted.decay, done.decay):
        found.append(
            f"v keeps {_shown(done.decay)} of itself a step instead of {_shown(wanted.decay)}"
        )
    if wanted.synapse is not None and not same(wanted.synapse, done.synapse):
        kept = "nothing" if done.synapse is None else _shown(done.synapse)
        found.append(f"the current keeps {kept} a step instead of {_shown(wanted.synapse)}")
    if wanted.threshold is None or done.threshold is None:
        if not same(wanted.gain, done.gain):
            found.append(
                f"an input of 1 adds {_shown(done.gain)} to v instead of {_shown(wanted.gain)}"
            )
        return found + _rests(wanted, done)
    with np.errstate(all="ignore"):
        needs = [(_wide(one.threshold) - one.rest) / one.gain for one in (wanted, done)]
    if not same(needs[0], needs[1]):
        found.append(
            f"the threshold lies {_shown(needs[1])} inputs of 1 above rest instead of "
            f"{_shown(needs[0])}"
        )
    return found + _rests(wanted, done) + _spikes(wanted, done)


def _relative(step: Step, value: Any) -> Array:
    with np.errstate(all="ignore"):
        return (_wide(value) - step.rest) / step.gain


def _rests(wanted: Step, done: Step) -> list[str]:
    if wanted.threshold is None and not same(wanted.rest, done.rest):
        return [f"v rests at {_shown(done.rest)} instead of {_shown(wanted.rest)}"]
    return []


def _spikes(wanted: Step, done: Step) -> list[str]:
    found = []
    if done.reset is None and wanted.reset is not None:
        found.append(f"a spike takes the threshold off v instead of setting {_shown(wanted.reset)}")
    elif done.reset is not None and wanted.reset is None:
        found.append("a spike sets v instead of taking the threshold off")
    elif wanted.reset is not None and done.reset is not None:
        resets = [_relative(one, one.reset) for one in (wanted, done)]
        if not same(resets[0], resets[1]):
            found.append(f"a spike sets v to {_shown(done.reset)}, not {_shown(wanted.reset)}")
    if done.many and not wanted.many:
        found.append("a cell may send several spikes a step, as one larger number")
    if wanted.strict and not done.strict:
        found.append(EQUAL)
    if done.floor is not None:
        found.append(f"v does not fall below {_shown(done.floor)}")
    if wanted.lag > done.lag:
        early = "a step" if wanted.lag - done.lag == 1 else "half a step"
        found.append(f"a current moves v in the step it comes in, {early} earlier")
    return found
