"""Rockpool 3.1.0, ``from_nir``: a step follows from r, as min(tau_mem / (1 + r)).

    LIFTorch  i = exp(-dt/tau_syn) (i + x),  v = exp(-dt/tau_mem) v + i + v_leak
    spikes    floor(v / v_threshold), taken off v; w_in, v_reset and r otherwise go unread

Read in rockpool/nn/modules/torch/nir.py and lif_torch.py, and measured.
"""

import numpy as np

from clnf.core.errors import DataError
from clnf.spiking.exchange.dialects.dialect import Cells, Dialect
from clnf.spiking.exchange.dialects.forms import LONG, needs, wide
from clnf.spiking.exchange.dialects.step import Step
from clnf.spiking.exchange.graph import Node

__all__ = ["ROCKPOOL"]

_SHORT = 16.0  # a step in time constants of a current that is gone within it, to a bit of float32


def _step(node: Node, dt_s: float) -> Step:
    if node.kind == "LIF":
        raise DataError("its reader asks a LIF for 'tau_mem' and fails")
    tau = wide(node, "tau_mem")
    with np.errstate(all="ignore"):
        own = float((tau / (1 + wide(node, "r"))).min())
        decay, fading = np.exp(-own / tau), np.exp(-own / wide(node, "tau_syn"))
        rest = wide(node, "v_leak") / (1 - decay)
    if not 0 < own < np.inf:
        raise DataError("r gives no step: tau_mem / (1 + r) must be above 0")
    level = wide(node, "v_threshold")
    return Step(decay, fading, level, rest=rest, synapse=fading, strict=False, many=True)


def _fit(step: Step, dt_s: float) -> Cells:
    level = needs(step)
    with np.errstate(all="ignore"):
        tau = np.minimum(dt_s / abs(np.log(step.decay)), LONG * dt_s)
        fading = np.asarray(dt_s / _SHORT)
        if step.synapse is not None:
            fading = dt_s / abs(np.log(step.synapse))
    values = {"tau_mem": tau, "tau_syn": fading, "r": tau / dt_s - 1, "w_in": 1.0}
    own = {"v_leak": 0.0, "v_threshold": level * np.exp(-dt_s / fading), "v_reset": 0.0}
    return Cells("CubaLIF", {**values, **own})


ROCKPOOL = Dialect(
    name="rockpool",
    title="Rockpool 3.1.0",
    dt_s=None,
    takes=frozenset({"Affine", "Linear"}),
    drops=False,
    ring="what goes round a ring is lost but in a subgraph of a CubaLIF and one matrix",
    ring_as="subgraph",
    cells=frozenset({"LIF", "CubaLIF"}),
    step=_step,
    fit=_fit,
    whys={
        "LI": "the time constant of an LI becomes a whole number of seconds, 0 for most",
        "IF": "it has no IF",
    },
)
