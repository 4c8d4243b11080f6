"""Norse 1.1.0, ``from_nir(graph, dt=...)``: explicit steps of the length it is told.

    LIFBox   v = v + dt/tau (x + v_leak - v)                   r and v_reset go unread, reset to 0
    IAF      v = v + x                                         r, dt and v_reset go unread
    CubaLIF  i = i + dt/tau_syn (w_in x + v_leak - i),  v = v + dt/tau_mem (r i + v_leak - v)

Read in norse/torch/utils/import_nir.py, and measured.
"""

import numpy as np

from clnf.core.errors import DataError
from clnf.spiking.exchange.dialects.dialect import Cells, Dialect
from clnf.spiking.exchange.dialects.forms import explicit, levels, needs, wide
from clnf.spiking.exchange.dialects.step import Step, same
from clnf.spiking.exchange.graph import Node

__all__ = ["NORSE"]


def _step(node: Node, dt_s: float) -> Step:
    threshold, zero = wide(node, "v_threshold"), np.zeros(1)
    if node.kind == "IF":
        return Step(np.ones(1), np.ones(1), threshold, zero)
    leak = wide(node, "v_leak")
    if node.kind == "LIF":
        share = dt_s / wide(node, "tau")
        return Step(1 - share, share, threshold, zero, rest=leak)
    share, fading, r = dt_s / wide(node, "tau_mem"), dt_s / wide(node, "tau_syn"), wide(node, "r")
    gain = share * r * fading * wide(node, "w_in")
    # The current is drawn to v_leak, too.
    return Step(1 - share, gain, threshold, zero, rest=leak * (1 + r), synapse=1 - fading)


def _fit(step: Step, dt_s: float) -> Cells:
    level, reset = needs(step), levels(step)
    if step.synapse is None and same(step.decay, 1.0, 1e-12):
        if step.reset is not None and not same(step.reset, 0.0):
            raise DataError(f"an IF is reset to 0 and starts there, not at {step.reset.min():g}")
        return Cells("IF", {"r": 1.0, "v_threshold": level, "v_reset": 0.0})
    tau = explicit(step.decay, dt_s)
    if step.synapse is None:
        # Zero is where a spike leads; the rest lies where it must.
        share = 1 - step.decay
        values = {"v_threshold": (level - reset) * share, "v_leak": -reset * share}
        return Cells("LIF", {"tau": tau, "r": 1.0, "v_reset": 0.0, **values})
    own = {"tau_mem": tau, "tau_syn": explicit(step.synapse, dt_s), "r": 1.0, "w_in": 1.0}
    scale = (1 - step.decay) * (1 - step.synapse)
    values = {"v_leak": 0.0, "v_threshold": level * scale, "v_reset": reset * scale}
    return Cells("CubaLIF", {**own, **values})


NORSE = Dialect(
    name="norse",
    title="Norse 1.1.0",
    dt_s=None,
    takes=frozenset({"Affine", "Linear", "Conv2d", "SumPool2d", "Flatten"}),
    drops=True,
    ring="where its edge stands after the one to Output, the ring is what comes out",
    ring_as="edges",
    cells=frozenset({"IF", "LIF", "CubaLIF"}),
    step=_step,
    fit=_fit,
    flat_samples=True,
)
