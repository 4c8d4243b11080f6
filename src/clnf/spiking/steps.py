"""One step of a population, and many steps as a plain loop: what the compiled kernels must equal.

    p  = (decay v + rest) + (current i + kick x)      i = synapse decay i + uptake x
    a' = adaptation decay a
    u  = p - (threshold + a')                         z = 1 if u > 0 else 0
    v  = p, or after a spike p - threshold or reset   a = a' + jump z

While a cell is refractory v stays and u is minus infinity. The reset is detached: no gradient goes
through it, as in Bellec et al. 2020. The order of operations is part of the contract, since a
rounded bit more may be a spike more.

Legend: T steps, B samples, N neurons; N may be several axes, as after a convolution.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from clnf.core.errors import ConfigError
from clnf.spiking.coefficients import Coefficients, Value
from clnf.spiking.surrogates import AbstractSurrogate, spike

__all__ = [
    "State",
    "leak_loop",
    "leak_step",
    "resting",
    "spike_loop",
    "spike_step",
    "spiked",
    "start",
]


class State(NamedTuple):
    """Where a population is; what its cells do not have is None.

    Attributes:
        v: potentials after the reset, V, [B, N].
        spikes: of the step before, 0 or 1; None for a read-out.
        current: of synapses, V.
        adaptation: of thresholds, V.
        wait: refractory steps that are left, int32.
    """

    v: Tensor
    spikes: Tensor | None = None
    current: Tensor | None = None
    adaptation: Tensor | None = None
    wait: Tensor | None = None

    def detach(self) -> "State":
        """The same values without their history, for truncated backpropagation."""
        parts = (None if one is None else one.detach() for one in self[1:])
        return State(self.v.detach(), *parts)


def start(like: Tensor, k: Coefficients) -> State:
    """A population at rest: potentials at the leak's, no spikes, nothing flowing.

    Args:
        like: of the shape [B, N], type and device of the state.
        k: of the cells.
    """
    zeros = torch.zeros_like(like, requires_grad=False)
    spiking, v, rest = k.threshold is not None, zeros, resting(k)
    if isinstance(rest, Tensor) or rest != 0:
        v = zeros + rest
    return State(
        v=v,
        spikes=zeros if spiking else None,
        current=None if k.synapse is None else zeros,
        adaptation=None if k.adaptation is None else zeros,
        wait=zeros.to(torch.int32) if k.hold else None,
    )


def resting(k: Coefficients) -> Value:
    """Where potentials stay; a cell that loses nothing in a step stays at its leak's."""
    lost, leak = 1.0 - k.decay, 0.0 if k.leak is None else k.leak
    if not isinstance(lost, Tensor):
        return k.rest / lost if lost else leak
    kept = lost == 0
    return torch.where(kept, leak, k.rest / torch.where(kept, 1.0, lost))


def _pushed(x: Tensor, state: State, k: Coefficients) -> tuple[Tensor, Tensor | None]:
    """Potentials p before the threshold is looked at, and the new current."""
    push, current = k.kick * x, state.current
    if k.synapse is not None and current is not None:
        push = k.synapse.current * current + push
        current = k.synapse.decay * current + k.synapse.uptake * x
    return (k.decay * state.v + k.rest) + push, current


def leak_step(x: Tensor, state: State, k: Coefficients) -> tuple[Tensor, State]:
    """One step of a read-out.

    Args:
        x: inputs [B, N].
        state: before.
        k: of a cell without a threshold.

    Returns:
        Potentials [B, N] in volts, and the state after.
    """
    v, current = _pushed(x, state, k)
    return v, State(v=v, current=current)


def spike_step(
    x: Tensor, state: State, k: Coefficients, surrogate: AbstractSurrogate
) -> tuple[Tensor, State]:
    """One step of a spiking population.

    Args:
        x: inputs [B, N].
        state: before.
        k: of the cells.
        surrogate: slope of the spikes.

    Returns:
        Spikes [B, N], 0 or 1, and the state after.

    Raises:
        ConfigError: the cells have no threshold.

    >>> from clnf.spiking.cells import LIF
    >>> from clnf.spiking.surrogates import Triangle
    >>> k, x = LIF(tau_s=10e-3).coefficients(1e-3), torch.tensor([[0.6]])
    >>> state = start(x, k)
    >>> for _ in range(2): spikes, state = spike_step(x, state, k, Triangle())
    >>> spikes.item(), round(state.v.item(), 3)
    (1.0, 0.143)
    """
    z, state, _ = spiked(x, state, k, surrogate)
    return z, state


def spiked(
    x: Tensor, state: State, k: Coefficients, surrogate: AbstractSurrogate
) -> tuple[Tensor, State, Tensor]:
    """As :func:`spike_step`, with the volts u over the threshold besides."""
    if k.threshold is None:
        raise ConfigError("cells without a threshold do not spike; use leak_step for a read-out")
    p, current = _pushed(x, state, k)
    level, fading = k.threshold, state.adaptation
    if k.adaptation is not None and fading is not None:
        fading = k.adaptation.decay * fading
        level = k.threshold + fading
    u, wait = p - level, state.wait
    if wait is not None:
        held = wait > 0
        p = torch.where(held, state.v, p)
        u = u.masked_fill(held, float("-inf"))
    z = spike(u, surrogate)
    fired = u > 0
    after = p - k.threshold if k.reset is None else p.detach() * 0.0 + k.reset
    v = torch.where(fired, after, p)
    if k.adaptation is not None and fading is not None:
        fading = fading + k.adaptation.jump * z
    if wait is not None:
        wait = torch.where(fired, k.hold, (wait - 1).clamp_min(0))
    return z, State(v, z, current, fading, wait), u


def spike_loop(
    x: Tensor,
    state: State,
    k: Coefficients,
    surrogate: AbstractSurrogate,
    weight: Tensor | None = None,
) -> tuple[Tensor, State]:
    """Many steps one by one, on any device.

    Args:
        x: inputs [T, B, N].
        state: before the first step.
        k: of the cells.
        surrogate: slope of the spikes.
        weight: recurrent weights [N, N], post by pre, in volts a spike; a spike arrives one step
            after it was sent.

    Returns:
        Spikes [T, B, N] and the state after the last step.
    """
    out = []
    for now in x:
        if weight is not None and state.spikes is not None:
            now = now + state.spikes @ weight.t()
        z, state = spike_step(now, state, k, surrogate)
        out.append(z)
    return torch.stack(out), state


def leak_loop(x: Tensor, state: State, k: Coefficients) -> tuple[Tensor, State]:
    """Many steps of a read-out one by one: potentials [T, B, N] and the state after the last."""
    out = []
    for now in x:
        v, state = leak_step(now, state, k)
        out.append(v)
    return torch.stack(out), state
