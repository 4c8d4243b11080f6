"""What a step of some seconds makes of a cell: numbers worked out once from time constants.

exact  decay = exp(-dt / tau)        euler  decay = 1 - dt / tau
"""

import math
from dataclasses import fields
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from clnf.core.errors import ConfigError
from clnf.core.inputs import seconds, shown
from clnf.core.tensors import not_finite

__all__ = [
    "Adaptation",
    "Coefficients",
    "Drive",
    "Method",
    "Synapse",
    "Value",
    "check_finite",
    "decay_of",
    "positive",
    "shared_of",
]

_ENDLESS = 1e30  # time constants in a step
_NEAR = 1e-4
_ENDLESS_FIELDS = ("tau_s", "threshold_v")

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
        leak: V at which cells rest that lose nothing in a step, by their decay's rounding or an
            endless time constant; None for 0. Others rest at rest / (1 - decay).
    """

    decay: Value
    rest: Value
    kick: Value
    threshold: Value | None = None
    reset: Value | None = None
    hold: int = 0
    synapse: Synapse | None = None
    adaptation: Adaptation | None = None
    leak: Value | None = None


def positive(name: str, value: Value) -> None:
    """Refuse what is not above 0.

    Raises:
        ConfigError: it is not.
    """
    good = bool((value > 0).all()) if isinstance(value, Tensor) else value > 0
    if not good:
        raise ConfigError(f"{name} must be above 0, got {shown(value)}; correct it")


def check_finite(record: Any, *, tensors: bool = True) -> None:
    """Refuse NaN in a record of parameters, and infinity but for time constants and thresholds.

    Args:
        record: a dataclass.
        tensors: whether to look into tensors too, which takes a pass over them.

    Raises:
        ConfigError: a value is not finite; it is named with its place.

    >>> from clnf.spiking.surrogates import Triangle
    >>> check_finite(Triangle())
    """
    for field in fields(record):
        value, may = getattr(record, field.name), field.name.endswith(_ENDLESS_FIELDS)
        fault = ""
        if isinstance(value, Tensor) and tensors:
            fault = not_finite(value.nan_to_num(float("nan"), 0.0, 0.0) if may else value)
        elif isinstance(value, float) and not (value == value if may else math.isfinite(value)):
            fault = str(value)
        if fault:
            raise ConfigError(
                f"{field.name} of {type(record).__name__} must be a finite number, got {fault}; "
                "correct it"
            )


def decay_of(tau_s: Value, dt_s: float, method: Method) -> Value:
    """What is left after a step, exp(-dt/tau) or 1 - dt/tau.

    Raises:
        ConfigError: ``dt_s`` is no finite time above 0, or too long for an explicit step.
    """
    seconds("dt_s", dt_s)
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
    With a = dt/tm and b = dt/ts this is a exp(-min(a, b)) (1 - exp(-g)) / g, g = |b - a|: no factor
    grows without bounds, however short a time constant is against the step.
    """
    if method == "euler":
        return dt_s / tau_s
    slow = torch.as_tensor(tau_s, dtype=torch.float64)
    fast = torch.as_tensor(synapse_tau_s, dtype=torch.float64)
    # Beyond this many time constants a step leaves nothing; infinities would not cancel.
    own, other = ((dt_s / one).clamp(max=_ENDLESS) for one in (slow, fast))
    gap = (dt_s * (1.0 / fast - 1.0 / slow)).nan_to_num(0.0, _ENDLESS, -_ENDLESS).abs()
    # (1 - exp(-g)) / g, without a division by 0; its slope takes a series where it would cancel.
    near = gap < _NEAR
    safe = torch.where(near, torch.ones_like(gap), gap)
    series = 1.0 - gap / 2 * (1.0 - gap / 3 * (1.0 - gap / 4))
    ratio = torch.where(near, series, -torch.expm1(-safe) / safe)
    found = own * torch.exp(-torch.minimum(own, other)) * ratio
    if isinstance(tau_s, Tensor) or isinstance(synapse_tau_s, Tensor):
        return found.to(torch.get_default_dtype())
    return float(found)
