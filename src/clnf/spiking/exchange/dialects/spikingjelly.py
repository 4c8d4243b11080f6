"""SpikingJelly 2.0.0, ``import_from_nir(graph, dt=...)``: strict about r, explicit steps.

    IFNode       v = v + x                                   r must be 1/dt
    LIFNode      v = v + (x - (v - v_reset)) dt/tau          r = 1, v_leak = v_reset
                 v = v - (v - v_reset) dt/tau + x            r = tau/dt
    CUBALIFNode  c = (1 - dt/tau_syn) c + x, v = (1 - dt/tau_mem) v + c
                                                             r = tau_mem/dt, w_in = tau_syn/dt
    spikes where v >= v_threshold; cells of a population are alike

Read in spikingjelly/activation_based/nir_exchange/from_nir.py, and measured.
"""

import numpy as np

from clnf.core.errors import DataError
from clnf.spiking.exchange.dialects.dialect import Cells, Dialect
from clnf.spiking.exchange.dialects.forms import alike, explicit, levels, needs, uniform
from clnf.spiking.exchange.dialects.step import Step, same
from clnf.spiking.exchange.graph import Node

__all__ = ["SPIKINGJELLY"]

_CLOSE = 1e-6


def _is(value: float, wanted: float) -> bool:
    return bool(np.isclose(value, wanted, rtol=_CLOSE, atol=1e-12))


def _step(node: Node, dt_s: float) -> Step:
    level, reset, r = (alike(node, name) for name in ("v_threshold", "v_reset", "r"))
    out = [np.asarray(one) for one in (level, reset)]
    if node.kind == "IF":
        if not _is(r, 1 / dt_s):
            raise DataError(f"r of an IF must be 1/dt = {1 / dt_s:g}")
        return Step(np.ones(1), np.ones(1), out[0], out[1], strict=False)
    leak = alike(node, "v_leak")
    if node.kind == "LIF":
        tau = alike(node, "tau") / dt_s
        if not (np.isfinite(tau) and tau > 1):
            raise DataError("tau of a LIF must be longer than a step")
        if not _is(r, 1) and not _is(r, tau):
            raise DataError(f"r of a LIF must be 1 or tau/dt = {tau:g}")
        if not _is(leak, reset):
            raise DataError("v_leak of a LIF must equal v_reset")
        gain = np.asarray(1 / tau if _is(r, 1) else 1.0)
        return Step(np.asarray(1 - 1 / tau), gain, out[0], out[1], rest=out[1], strict=False)
    slow, fast, w_in = (alike(node, name) for name in ("tau_mem", "tau_syn", "w_in"))
    if min(slow, fast) < dt_s:
        raise DataError("time constants of a CubaLIF must be a step or longer")
    if not _is(r, slow / dt_s) or not _is(w_in, fast / dt_s):
        raise DataError("a CubaLIF must have r = tau_mem/dt and w_in = tau_syn/dt")
    if not _is(leak, 0):
        raise DataError("v_leak of a CubaLIF must be 0")
    fading = np.asarray(1 - dt_s / fast)
    return Step(
        np.asarray(1 - dt_s / slow), np.ones(1), out[0], out[1], synapse=fading, strict=False
    )


def _fit(step: Step, dt_s: float) -> Cells:
    level = uniform("the threshold in inputs of 1", needs(step))
    reset = uniform("v_reset in inputs of 1", levels(step))
    if step.synapse is None and same(step.decay, 1.0, 1e-12):
        return Cells("IF", {"r": 1 / dt_s, "v_threshold": level, "v_reset": reset})
    if step.synapse is None and not _is(reset, 0):
        raise DataError("v_leak of a LIF must equal v_reset, and here they differ")
    tau = uniform("tau", explicit(step.decay, dt_s))
    values = {"v_leak": 0.0, "v_threshold": level, "v_reset": reset}
    if step.synapse is None:
        return Cells("LIF", {"tau": tau, "r": tau / dt_s, **values})
    fading = uniform("tau_syn", explicit(step.synapse, dt_s))
    own = {"tau_mem": tau, "tau_syn": fading, "r": tau / dt_s, "w_in": fading / dt_s}
    return Cells("CubaLIF", {**own, **values})


SPIKINGJELLY = Dialect(
    name="spikingjelly",
    title="SpikingJelly 2.0.0",
    dt_s=None,
    takes=frozenset({"Affine", "Linear", "Conv1d", "Conv2d", "SumPool2d", "AvgPool2d", "Flatten"}),
    drops=False,
    ring="",
    ring_as="edges",
    cells=frozenset({"IF", "LIF", "CubaLIF"}),
    step=_step,
    fit=_fit,
)
