"""Sinabs 3.1.3, ``from_nir(graph, batch_size=...)``: time constants in steps, inputs added as is.

    LIFSqueeze  v = exp(-1/tau) v + x        IAFSqueeze  v = max(v + x, -v_threshold)
    spikes      floor(v / v_threshold), taken off v

Read in sinabs/nir.py and sinabs/layers/functional/lif.py, and measured.
"""

import numpy as np

from clnf.core.errors import DataError
from clnf.spiking.exchange.dialects.dialect import Cells, Dialect
from clnf.spiking.exchange.dialects.forms import LONG, needs, wide
from clnf.spiking.exchange.dialects.step import Step, same
from clnf.spiking.exchange.graph import Node

__all__ = ["SINABS"]


def _step(node: Node, dt_s: float) -> Step:
    one = np.ones(1)
    if node.kind == "IF":
        level = wide(node, "v_threshold")
        return Step(one, one, level, strict=False, many=True, floor=-level)
    if wide(node, "v_leak").any():
        raise DataError("v_leak must be 0")
    with np.errstate(all="ignore"):
        decay = np.exp(-1 / wide(node, "tau"))
    if node.kind == "LI":
        if not (wide(node, "r") == 1).all():
            raise DataError("r of an LI must be 1")
        return Step(decay, one)
    return Step(decay, one, wide(node, "v_threshold"), strict=False, many=True)


def _fit(step: Step, dt_s: float) -> Cells:
    if step.synapse is not None:
        raise DataError("it has no cells with a current")
    with np.errstate(all="ignore"):
        tau = np.minimum(1 / abs(np.log(step.decay)), LONG)
    if step.threshold is None:
        if not same(step.gain, 1.0, 1e-6) or not same(step.rest, 0.0):
            raise DataError("an LI adds inputs as they are and rests at 0")
        return Cells("LI", {"tau": tau, "r": 1.0, "v_leak": 0.0})
    level = needs(step)
    if same(step.decay, 1.0, 1e-12):
        return Cells("IF", {"r": 1.0, "v_threshold": level, "v_reset": 0.0})
    values = {"r": 1.0, "v_leak": 0.0, "v_threshold": level, "v_reset": 0.0}
    return Cells("LIF", {"tau": tau, **values})


SINABS = Dialect(
    name="sinabs",
    title="Sinabs 3.1.3",
    dt_s=None,
    takes=frozenset({"Affine", "Conv2d", "SumPool2d", "Flatten"}),
    drops=True,
    ring="what goes round a ring is lost, as each population runs over all steps at once",
    ring_as="none",
    cells=frozenset({"IF", "LI", "LIF"}),
    step=_step,
    fit=_fit,
    whys={"Conv1d": "its reader of Conv1d fails"},
)
