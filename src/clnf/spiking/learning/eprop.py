"""E-prop: gradients of a recurrent layer made while it runs, from what is at its synapses.

    e_ji[t] = s(u_j) (p_i[t] - a'_ji[t])           eligibility of the weight from i to j
    a_ji[t] = a'_ji[t] + jump e_ji[t],  a'_ji[t] = fading a_ji[t - 1]
    f_ji[t] = kappa f_ji[t - 1] + e_ji[t]           as the read-out y = kappa y + W_out z sees it
    dW_ji   = sum over t of L_j[t] f_ji[t],  L_j[t] = sum over k of B_kj (dloss/dy_k)[t]

p are traces of inputs, :mod:`clnf.spiking.learning.traces`; for recurrent weights, of the cells'
own spikes. B is the read-out's own matrix (symmetric) or a fixed one (random feedback). What is
left out of the whole gradient is how a spike acts through other cells of the layer; where nothing
is recurrent and B is the read-out's own, nothing is left out.

Legend: T steps, B samples, I inputs, N cells, K outputs.

Source: Bellec et al., Nature Communications 11, 3625 (2020).
"""

from collections.abc import Callable
from typing import NamedTuple, final

import torch
from torch import Tensor

from clnf.core.errors import ConfigError
from clnf.core.inputs import instance
from clnf.core.tensors import dense
from clnf.spiking.coefficients import Coefficients, Value
from clnf.spiking.layers import Readout
from clnf.spiking.learning.traces import (
    Traces,
    check_error,
    check_lesson,
    check_traced,
    learn,
    trace_step,
    traces_of,
)
from clnf.spiking.steps import leak_step, spiked, start
from clnf.spiking.synapses import EventLinear, SpikingLinear

__all__ = ["EProp"]

ErrorOf = Callable[[Tensor, int], Tensor]


class _Synapses(NamedTuple):
    """What synapses of one matrix keep: traces [B, I], and [B, N, I] for each weight."""

    traces: Traces
    adapted: Tensor | None
    seen: Tensor


def _synapses(x: Tensor, neurons: int, k: Coefficients) -> _Synapses:
    each = torch.zeros(len(x), neurons, x.shape[1], dtype=x.dtype, device=x.device)
    return _Synapses(traces_of(x, k), None if k.adaptation is None else each, each)


def _eligible(
    x: Tensor, slope: Tensor, before: _Synapses, k: Coefficients, kappa: Value
) -> _Synapses:
    """Synapses one step later, from inputs [B, I] and slopes of cells [B, N]."""
    traces = trace_step(x, before.traces, k)
    moves, adapted = traces.v[:, None], before.adapted
    if k.adaptation is not None and adapted is not None:
        adapted = k.adaptation.decay * adapted
        e = slope[:, :, None] * (moves - adapted)
        adapted = adapted + k.adaptation.jump * e
    else:
        e = slope[:, :, None] * moves
    return _Synapses(traces, adapted, kappa * before.seen + e)


@final
class EProp:
    """Teaches a layer of cells and the read-out behind it, step by step.

    Args:
        layer: weights, cells, recurrent or not.
        out: weights of the read-out, without a bias.
        readout: a leaky integrator.
        feedback: fixed weights B [K, N] by which errors come back; None for the read-out's own.

    Raises:
        ConfigError: cells that have no common traces, shapes that do not fit, or a read-out in
            steps of another length.

    >>> from clnf.spiking.cells import LI, LIF
    >>> layer = SpikingLinear((4, 3), LIF(), dt_s=1e-3, recurrent=True)
    >>> rule = EProp(layer, EventLinear(3, 2), Readout(LI(), dt_s=1e-3))
    >>> loss = rule.lesson(torch.ones(5, 1, 4), lambda y, t: y - 1.0)
    >>> layer.recurrent.grad.shape
    torch.Size([3, 3])
    """

    def __init__(
        self,
        layer: SpikingLinear,
        out: EventLinear,
        readout: Readout,
        *,
        feedback: Tensor | None = None,
    ) -> None:
        self.layer = instance("layer", layer, SpikingLinear)
        self.out = instance("out", out, EventLinear)
        self.readout = instance("readout", readout, Readout)
        check_traced(layer.coefficients())
        shape = (out.weight.shape[0], len(layer.weight))
        if out.bias is not None or out.weight.shape[1] != shape[1]:
            raise ConfigError(
                f"a read-out of {shape[1]} cells has weights [outputs, {shape[1]}] and no bias, "
                f"got {[*out.weight.shape]}; make another"
            )
        if readout.coefficients().synapse is not None:
            raise ConfigError("this rule takes a read-out without a current; give LI()")
        if readout.dt_s != layer.dt_s:
            raise ConfigError(
                f"a layer and its read-out have steps of one length, got {layer.dt_s} and "
                f"{readout.dt_s} s; make one of them anew"
            )
        made = None if feedback is None else dense("feedback", feedback, dtype=out.weight.dtype)
        if made is not None and made.shape != shape:
            raise ConfigError(
                f"feedback has the shape {[*shape]} of the read-out's weights, got "
                f"{[*made.shape]}; correct it"
            )
        self.feedback = made

    @torch.no_grad()
    def lesson(self, x: Tensor, error_of: ErrorOf) -> Tensor:
        """Run through inputs and add gradients to those of the parameters, without a graph.

        Frozen parameters get none.

        Args:
            x: inputs [T, B, I].
            error_of: from outputs [B, K] of a step and its number to dloss/dy, [B, K].

        Returns:
            Outputs [T, B, K].

        Raises:
            ShapeError: inputs or errors of another shape or type.
            DataError: inputs or errors that are not finite. Gradients are then those of the steps
                before: set them to None.
        """
        check_lesson(x, self.layer.weight)
        layer, k, leak = self.layer, self.layer.coefficients(), self.readout.coefficients()
        neurons, ring = len(layer.weight), layer.recurrent
        like = x.new_zeros(x.shape[1], neurons)
        state, end = start(like, k), start(x.new_zeros(x.shape[1], len(self.out.weight)), leak)
        given, back = _synapses(x[0], neurons, k), None
        if ring is not None:
            back = _synapses(like, neurons, k)
        sent, outputs = torch.zeros_like(like), []
        for t, now in enumerate(x):
            before = state.spikes
            push = now @ layer.weight.t()
            if ring is not None and before is not None:
                push = push + before @ ring.t()
            z, state, u = spiked(push, state, k, layer.surrogate)
            slope = layer.surrogate.slope(u)
            given = _eligible(now, slope, given, k, leak.decay)
            y, end = leak_step(z @ self.out.weight.t(), end, leak)
            outputs.append(y)
            error = check_error(error_of(y, t), y) * leak.kick
            sent = leak.decay * sent + z
            learn(self.out.weight, error.t() @ sent)
            signal = error @ (self.out.weight if self.feedback is None else self.feedback)
            learn(layer.weight, torch.einsum("bn,bni->ni", signal, given.seen))
            if ring is not None and before is not None and back is not None:
                back = _eligible(before, slope, back, k, leak.decay)
                learn(ring, torch.einsum("bn,bni->ni", signal, back.seen))
        return torch.stack(outputs)
