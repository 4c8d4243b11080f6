"""Traces of inputs: how much each input of the past still moves a cell's potential.

    j[t] = synapse decay j[t - 1] + uptake x[t]
    p[t] = decay p[t - 1] + (current j[t - 1] + kick x[t])

p is dv/dW for a weight from this input, as long as all cells leak alike and a reset is subtracted:
one trace an input, shared by all cells it reaches. It is what hardware keeps at a synapse's row.

Source: Bellec et al., Nature Communications 2020, equations 14 to 23.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from clnf.core.errors import ConfigError, DataError, ShapeError
from clnf.core.inputs import instance, shown
from clnf.core.tensors import not_finite
from clnf.spiking.coefficients import Coefficients
from clnf.spiking.plans import uniform

__all__ = [
    "Traces",
    "check_error",
    "check_lesson",
    "check_traced",
    "learn",
    "trace_step",
    "traces_of",
]


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


def check_lesson(x: Tensor, weight: Tensor) -> None:
    """Refuse inputs of a lesson that first weights [N, I] cannot take.

    Raises:
        ShapeError: they are no [T, B, I] of the weights' type, from one step and one sample on.
        DataError: they are not finite.
    """
    instance("inputs", x, Tensor, "make a tensor")
    fits = x.dim() == 3 and x.shape[2] == weight.shape[1] and x.dtype == weight.dtype
    if not fits or not x.numel():
        raise ShapeError(
            f"inputs of a lesson are [steps, samples, {weight.shape[1]}] of {weight.dtype}, from "
            f"one step and one sample on, got {[*x.shape]} of {x.dtype}; correct them"
        )
    bad = not_finite(x)
    if bad:
        raise DataError(f"inputs of a lesson are finite, got {bad}; leave such samples out")


def check_error(error: object, y: Tensor) -> Tensor:
    """An error as a function gave it, of the shape and type of the outputs.

    Raises:
        ShapeError: it is none.
        DataError: it is not finite.
    """
    if not isinstance(error, Tensor) or error.shape != y.shape:
        found = [*error.shape] if isinstance(error, Tensor) else shown(error)
        raise ShapeError(f"errors of outputs {[*y.shape]} have their shape, got {found}; return it")
    if error.dtype != y.dtype:
        raise ShapeError(
            f"errors of outputs of {y.dtype} have their type, got {error.dtype}; convert them"
        )
    bad = not_finite(error)
    if bad:
        raise DataError(f"errors of outputs are finite, got {bad}; look for what overflowed")
    return error


def learn(parameter: nn.Parameter | Tensor, more: Tensor) -> None:
    """Add to the gradient of a parameter, unless it is frozen."""
    if parameter.requires_grad:
        parameter.grad = more if parameter.grad is None else parameter.grad.add_(more)


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
