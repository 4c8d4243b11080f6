"""What a step of some seconds makes of a cell: numbers worked out once from time constants.

exact  decay = exp(-dt / tau)        euler  decay = 1 - dt / tau
"""

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from clnf.core.errors import ConfigError
from clnf.core.inputs import number, shown

__all__ = [
    "Adaptation",
    "Coefficients",
    "Drive",
    "Method",
    "Synapse",
    "Value",
    "decay_of",
    "positive",
    "shared_of",
]

Value = float | Tensor
Drive = Literal["kick", "hold"]
Method = Literal["exact", "euler"]


class Synapse(NamedTuple):
    """A current with its own decay: ``p += current i``, then ``i = decay i + uptake x``."""

    decay: Value
    uptake: Value
    current: Value


class Adaptation(NamedTuple):
    """A threshold that moves: ``a' = decay a``, spikes where p > threshold + a', ``a' += jump``."""

    decay: Value
    jump: Value


class Coefficients(NamedTuple):
    """What a step does to a cell: ``p = (decay v + rest) + kick x``, see :mod:`clnf.spiking.steps`.

    Attributes:
        decay: of the potential, a pure number.
        rest: volts that the leak adds.
        kick: volts for an input of 1.
        threshold: V; None for a read-out.
        reset: V that a spike sets the potential to; None subtracts the threshold.
        hold: refractory steps.
        synapse: None where inputs reach the membrane directly.
        adaptation: None where the threshold stays.
    """

    decay: Value
    rest: Value
    kick: Value
    threshold: Value | None = None
    reset: Value | None = None
    hold: int = 0
    synapse: Synapse | None = None
    adaptation: Adaptation | None = None


def positive(name: str, value: Value) -> None:
    """Refuse what is not above 0.

    Raises:
        ConfigError: it is not.
    """
    good = bool((value > 0).all()) if isinstance(value, Tensor) else value > 0
    if not good:
        raise ConfigError(f"{name} must be above 0, got {shown(value)}; correct it")


def decay_of(tau_s: Value, dt_s: float, method: Method) -> Value:
    """What is left after a step, exp(-dt/tau) or 1 - dt/tau.

    Raises:
        ConfigError: ``dt_s`` is not above 0, or too long for an explicit step.
    """
    number("dt_s", dt_s)
    positive("dt_s", dt_s)
    if method == "euler":
        found: Value = 1.0 - dt_s / tau_s
        smallest = float(found.min()) if isinstance(found, Tensor) else found
        if smallest < 0:
            raise ConfigError(
                f"an explicit step of {dt_s} s is longer than a time constant of {shown(tau_s)} s; "
                "make dt_s smaller or use method='exact'"
            )
        return found
    return torch.exp(-dt_s / tau_s) if isinstance(tau_s, Tensor) else math.exp(-dt_s / tau_s)


def shared_of(tau_s: Value, synapse_tau_s: Value, dt_s: float, method: Method) -> Value:
    """What a current of 1 V at the start of a step has given the membrane at its end, V.

    Exact: ts / (tm - ts) (exp(-dt/tm) - exp(-dt/ts)), and dt/tm exp(-dt/tm) where both are alike.
    """
    if method == "euler":
        return dt_s / tau_s
    slow = torch.as_tensor(tau_s, dtype=torch.float64)
    fast = torch.as_tensor(synapse_tau_s, dtype=torch.float64)
    gap = dt_s * (1.0 / fast - 1.0 / slow)
    # (1 - exp(-gap)) / gap, without a division by 0.
    near = gap.abs() < 1e-9
    safe = torch.where(near, torch.ones_like(gap), gap)
    ratio = torch.where(near, 1.0 - gap / 2, -torch.expm1(-safe) / safe)
    found = dt_s / slow * torch.exp(-dt_s / slow) * ratio
    if isinstance(tau_s, Tensor) or isinstance(synapse_tau_s, Tensor):
        return found.to(torch.get_default_dtype())
    return float(found)
