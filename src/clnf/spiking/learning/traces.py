"""Traces of inputs: how much each input of the past still moves a cell's potential.

    j[t] = synapse decay j[t - 1] + uptake x[t]
    p[t] = decay p[t - 1] + (current j[t - 1] + kick x[t])

p is dv/dW for a weight from this input, as long as all cells leak alike and a reset is subtracted:
one trace an input, shared by all cells it reaches. It is what hardware keeps at a synapse's row.

Source: Bellec et al., Nature Communications 2020, equations 14 to 23.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from clnf.core.errors import ConfigError
from clnf.spiking.coefficients import Coefficients
from clnf.spiking.plans import uniform

__all__ = ["Traces", "check_traced", "trace_step", "traces_of"]


class Traces(NamedTuple):
    """Traces of inputs, [B, I].

    Attributes:
        v: what still moves potentials, p.
        current: what still flows, j; None for cells without a current.
    """

    v: Tensor
    current: Tensor | None = None


def check_traced(k: Coefficients) -> None:
    """Refuse cells for which one trace an input would not do.

    Raises:
        ConfigError: cells that leak differently, are set to a value or are refractory.
    """
    if k.threshold is None or not uniform(k):
        raise ConfigError(
            "online rules take cells that spike, leak alike, subtract their threshold and are not "
            "refractory; use other cells, or gradients through time"
        )


def traces_of(x: Tensor, k: Coefficients) -> Traces:
    """Traces at rest, for inputs [B, I]."""
    zeros = torch.zeros_like(x)
    return Traces(zeros, None if k.synapse is None else zeros)


def trace_step(x: Tensor, traces: Traces, k: Coefficients) -> Traces:
    """Traces one step later.

    Args:
        x: inputs [B, I].
        traces: before.
        k: of the cells behind the synapses.

    >>> from clnf.spiking.cells import LIF
    >>> k, x = LIF(tau_s=10e-3).coefficients(1e-3), torch.ones(1, 1)
    >>> traces = trace_step(0 * x, trace_step(x, traces_of(x, k), k), k)
    >>> round(traces.v.item(), 4)
    0.9048
    """
    push, current = k.kick * x, traces.current
    if k.synapse is not None and current is not None:
        push = k.synapse.current * current + push
        current = k.synapse.decay * current + k.synapse.uptake * x
    return Traces(k.decay * traces.v + push, current)
