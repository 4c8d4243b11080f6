"""What a chip takes from outside: events, the number of a die, a range of weights; and keeps.

Legend: T steps, B samples.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from clnf.core.errors import ConfigError, ShapeError
from clnf.core.inputs import instance, number, shown, whole
from clnf.core.tensors import dense, not_finite
from clnf.spiking.profiles.profile import ChipProfile
from clnf.spiking.profiles.stages import Shape

__all__ = ["check_die", "check_events", "check_full", "packed", "unpacked"]

_NONE = -1.0  # in what is packed: no die, no range
_MOST_DIE = 2**53 - 1  # what is packed are float64


def check_events(x: Tensor, shape: Shape, profile: ChipProfile) -> None:
    """Refuse inputs that are no events.

    Raises:
        ShapeError: of another shape than the first layer takes, or without steps or samples.
        ConfigError: values that are not whole numbers, or more events than a chip takes in a step.
    """
    dense("events", instance("events", x, Tensor, "make a tensor"))
    if x.dim() < 3 or tuple(x.shape[2:]) != shape or not len(x) or not x.shape[1]:
        raise ShapeError(
            f"events are [steps, samples, {', '.join(map(str, shape))}], one step and one sample "
            f"or more, got {[*x.shape]}; correct them"
        )
    bad = not_finite(x)
    if bad:
        raise ConfigError(f"events are finite numbers, got {bad}; correct them")
    if x.dtype == torch.bool:
        return
    if not bool((x.detach() == x.detach().round()).all()):
        raise ConfigError(
            f"{profile.name} takes events, whole numbers of them a step, got values between; "
            "encode signals with clnf.spiking.coding"
        )
    if bool((x < 0).any()):
        raise ConfigError(
            f"{profile.name} takes counts of events, got some below 0; give events down inputs of "
            "their own, as SendOnDelta.split does"
        )
    most, seen = profile.input_events_per_step, float(x.detach().max())
    if most is not None and seen > most:
        raise ConfigError(
            f"{profile.name} takes {most} events of an input a step, got {seen:g}; spread them "
            "over steps"
        )


def check_die(die: object) -> int | None:
    """The seed of a die, or None.

    Raises:
        ConfigError: no whole number from 0 on.
    """
    return None if die is None else whole("die", die, least=0, most=_MOST_DIE)


def check_full(full_v: Any, names: Sequence[str]) -> dict[str, float]:
    """What the largest number of a weight is worth, V, by the name of a stage.

    Raises:
        ConfigError: a stage that is not there, or no voltage above 0.
    """
    instance("full_v", full_v, dict, "give volts by the names of layers, {'0': 2.0}")
    found = {}
    for name, volts in full_v.items():
        if name not in names:
            raise ConfigError(
                f"full_v names the layer {shown(name)}, which is not there; known: "
                f"{', '.join(map(repr, names))}"
            )
        value = number(f"full_v of layer {name}", volts)
        if not 0 < value < float("inf"):
            raise ConfigError(f"full_v of layer {name} is above 0 V and finite, got {value:g}")
        found[name] = value
    return found


def packed(die: int | None, full_v: Mapping[str, float], names: Sequence[str]) -> Tensor:
    """Die, then ranges in the order of stages, as numbers that any file of weights can hold."""
    kept = [_NONE if die is None else float(die), *(full_v.get(one, _NONE) for one in names)]
    return torch.tensor(kept, dtype=torch.float64)


def unpacked(kept: Any, names: Sequence[str]) -> tuple[int | None, dict[str, float]]:
    """What :func:`packed` kept.

    Raises:
        ConfigError: of a net with other stages.
    """
    if not isinstance(kept, Tensor) or kept.shape != (1 + len(names),):
        seen = [*kept.shape] if isinstance(kept, Tensor) else shown(kept)
        raise ConfigError(
            f"a state of a chip with {len(names)} layers keeps {1 + len(names)} numbers beside "
            f"the weights, got {seen}; load that of such a net"
        )
    die, *volts = kept.tolist()
    full_v = {name: one for name, one in zip(names, volts, strict=True) if one != _NONE}
    whole_die = None if die == _NONE else int(die) if die == die // 1 else die
    return check_die(whole_die), check_full(full_v, names)
