"""Local losses: each layer learns from a fixed random read-out of its own, at every step.

    y[t] = G z[t],   dW_ji = sum over t of (sum over k of G_kj (dloss/dy_k)[t]) s(u_j) p_i[t]

Nothing comes back from the layers above, and nothing of the past but the traces p of inputs
(:mod:`clnf.spiking.learning.traces`), one an input. For one layer this is the gradient through time
of its own loss.

As in DECOLLE, whose layers also have a refractory trace; it is left out here.

Legend: T steps, B samples, I inputs, N cells, K outputs.

Source: Kaiser, Mostafa & Neftci, Frontiers in Neuroscience 14, 424 (2020).
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import final

import torch
from torch import Tensor

from clnf.core.errors import ConfigError
from clnf.core.inputs import shown, whole
from clnf.spiking.layers import drawn
from clnf.spiking.learning.traces import (
    Traces,
    check_error,
    check_lesson,
    check_traced,
    learn,
    trace_step,
    traces_of,
)
from clnf.spiking.steps import State, spiked, start
from clnf.spiking.synapses import SpikingLinear

__all__ = ["LocalLosses"]

ErrorOf = Callable[[Tensor, int], Tensor]


@final
class LocalLosses:
    """Teaches a stack of layers, none of them recurrent.

    Args:
        layers: first to last.
        outputs: K of every read-out.
        seed: of the read-outs, uniform in +-1/sqrt(N).

    Raises:
        ConfigError: no layers, recurrent ones, cells that have no common traces, or layers that do
            not follow each other.

    >>> from clnf.spiking.cells import LIF
    >>> layers = [SpikingLinear((4, 6), LIF(), dt_s=1e-3), SpikingLinear((6, 5), LIF(), dt_s=1e-3)]
    >>> rule = LocalLosses(layers, outputs=2, seed=1)
    >>> rule.lesson(torch.ones(7, 3, 4), lambda y, t: y - 1.0).shape
    torch.Size([7, 3, 2])
    """

    def __init__(self, layers: Sequence[SpikingLinear], *, outputs: int, seed: int = 0) -> None:
        self.layers = list(layers)
        whole("outputs", outputs, least=1)
        for layer in self.layers:
            if not isinstance(layer, SpikingLinear) or layer.recurrent is not None:
                raise ConfigError(
                    f"local losses take a stack of SpikingLinear, none of them recurrent, got "
                    f"{shown(layer)}; e-prop takes recurrent ones"
                )
            check_traced(layer.coefficients())
        if not self.layers:
            raise ConfigError("local losses take at least one layer, got none; give some")
        for first, then in pairwise(self.layers):
            if then.weight.shape[1] != len(first.weight) or then.dt_s != first.dt_s:
                raise ConfigError(
                    f"a layer takes what the one before it gives, got {len(first.weight)} cells "
                    f"in steps of {first.dt_s} s before {then.weight.shape[1]} inputs in steps of "
                    f"{then.dt_s} s; make one of them anew"
                )
        self.readouts = [
            drawn(seed + n, outputs, len(layer.weight), scale=len(layer.weight) ** -0.5).detach()
            for n, layer in enumerate(self.layers)
        ]

    @torch.no_grad()
    def lesson(self, x: Tensor, error_of: ErrorOf) -> Tensor:
        """Run through inputs and add gradients to those of the weights, without a graph.

        Frozen weights get none.

        Args:
            x: inputs [T, B, I].
            error_of: from outputs [B, K] of a step and its number to dloss/dy, [B, K]; asked for
                every layer.

        Returns:
            Outputs of the last layer's read-out, [T, B, K].

        Raises:
            ShapeError: inputs or errors of another shape or type.
            DataError: inputs or errors that are not finite. Gradients are then those of the steps
                before: set them to None.
        """
        check_lesson(x, self.layers[0].weight)
        parts = [layer.coefficients() for layer in self.layers]
        states: list[State | None] = [None for _ in parts]
        traces: list[Traces | None] = [None for _ in parts]
        outputs = []
        for t, now in enumerate(x):
            for n, (layer, k) in enumerate(zip(self.layers, parts, strict=True)):
                push = now @ layer.weight.t()
                z, state, u = spiked(push, states[n] or start(push, k), k, layer.surrogate)
                trace = trace_step(now, traces[n] or traces_of(now, k), k)
                states[n], traces[n] = state, trace
                matrix = self.readouts[n].to(z)
                y = z @ matrix.t()
                signal = (check_error(error_of(y, t), y) @ matrix) * layer.surrogate.slope(u)
                learn(layer.weight, signal.t() @ trace.v)
                now = z
            outputs.append(y)
        return torch.stack(outputs)
