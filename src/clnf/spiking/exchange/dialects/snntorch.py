"""snnTorch 1.0.0, ``import_from_nir``: explicit steps of 1e-4 s, whatever the data have.

    Leaky     mem = (1 - dt/tau) mem + x,  spikes above v_threshold / (r dt/tau), reset to 0
    Synaptic  syn = (1 - dt/tau_syn) syn + x,  mem = (1 - dt/tau_mem) mem + syn

Read in snntorch/import_nir.py, and measured.
"""

import numpy as np

from clnf.core.errors import DataError
from clnf.spiking.exchange.dialects.dialect import Cells, Dialect
from clnf.spiking.exchange.dialects.forms import explicit, levels, needs, uniform, wide
from clnf.spiking.exchange.dialects.step import Step, same
from clnf.spiking.exchange.graph import Node

__all__ = ["SNNTORCH"]

_DT_S = 1e-4


def _step(node: Node, dt_s: float) -> Step:
    if node.kind == "IF":
        raise DataError("an IF becomes a cell that leaks (0.9 a step) and cannot run in a network")
    if not same(wide(node, "v_leak"), 0.0):
        raise DataError("v_leak must be 0")
    tau = wide(node, "tau" if node.kind == "LIF" else "tau_mem")
    decay, threshold = np.clip(1 - _DT_S / tau, 0, 1), wide(node, "v_threshold")
    if node.kind == "LIF":
        gain = np.asarray(np.unique(wide(node, "r") * _DT_S / tau)[0])
        uniform("v_threshold", threshold)
        return Step(decay, gain, threshold, np.zeros(1))
    if not same(wide(node, "r"), tau / _DT_S, 1e-5):
        raise DataError("r of a CubaLIF must be tau_mem/dt with dt = 1e-4 s")
    fading = wide(node, "tau_syn")
    gain = wide(node, "w_in") * _DT_S / fading
    uniform("v_threshold / (w_in dt/tau_syn)", threshold / gain)
    return Step(decay, gain, threshold, np.zeros(1), synapse=np.clip(1 - _DT_S / fading, 0, 1))


def _fit(step: Step, dt_s: float) -> Cells:
    level = uniform("the threshold in inputs of 1", needs(step))
    tau = explicit(step.decay, _DT_S)
    values = {"r": tau / _DT_S, "v_leak": 0.0, "v_threshold": level, "v_reset": levels(step)}
    if step.synapse is None:
        return Cells("LIF", {"tau": tau, **values})
    fading = explicit(step.synapse, _DT_S)
    own = {"tau_mem": tau, "tau_syn": fading, "w_in": fading / _DT_S}
    return Cells("CubaLIF", {**own, **values})


SNNTORCH = Dialect(
    name="snntorch",
    title="snnTorch 1.0.0",
    dt_s=_DT_S,
    takes=frozenset({"Affine", "Linear", "Conv1d", "Conv2d", "SumPool2d", "AvgPool2d", "Flatten"}),
    drops=False,
    ring="of a ring of cells and one matrix it feeds inputs through that matrix as well",
    ring_as="subgraph",
    cells=frozenset({"IF", "LIF", "CubaLIF"}),
    step=_step,
    fit=_fit,
    flat_samples=True,
)
