"""The parts of a stored state, and whether it fits a chip before anything is taken over."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from clnf.core.errors import ConfigError
from clnf.core.inputs import shown

__all__ = ["below", "check_state", "left_out"]

# Shapes that follow from the past: vectors asked at programming, cells that gather, solved wires.
_FREE = ("answers", "kept", "level", "uneven")


def check_state(own: Mapping[str, Any], state: Any) -> None:
    """Refuse a state that lacks something, fits another chip, or holds what no cell can hold.

    Args:
        own: what the chip itself would store now.
        state: what is to be loaded.

    Raises:
        ConfigError: names the entry, and what was wrong with it.
    """
    if not isinstance(state, Mapping):
        raise ConfigError(f"a chip's state is what state_dict() gave, got {type(state).__name__}")
    for key, mine in own.items():
        last = key.rpartition("/")[2]
        if "/fast/" in key or last in _FREE:
            continue
        if key not in state:
            raise ConfigError(f"the state lacks {key!r}; load one that a chip like this stored")
        theirs = state[key]
        if isinstance(mine, Tensor) != isinstance(theirs, Tensor):
            kinds = type(mine).__name__, type(theirs).__name__
            raise ConfigError(f"{key!r} should be {kinds[0]}, got {kinds[1]}; load another state")
        if isinstance(mine, Tensor) and mine.shape != theirs.shape:
            raise ConfigError(
                f"{key!r} should have shape {tuple(mine.shape)}, got {tuple(theirs.shape)}; load a "
                "state that a chip like this stored"
            )
    for key, theirs in state.items():
        if key == "blank":
            continue
        if key not in own and "/fast/" not in key and key.rpartition("/")[2] not in _FREE:
            raise ConfigError(f"the state has {key!r}, which this chip has not; load its own")
        cells = isinstance(theirs, Tensor) and theirs.is_floating_point()
        if cells and not bool(theirs.isfinite().all()):
            raise ConfigError(f"{key!r} holds values that are not finite; load another state")


def left_out(layers: Mapping[str, Any], state: Any) -> list[str]:
    """Names of the layers that a state leaves out, as their cells were as they had been made.

    Args:
        layers: of the chip, by name.
        state: what is to be loaded.

    Raises:
        ConfigError: it names what is no layer that learns here.
    """
    names = state.get("blank", []) if isinstance(state, Mapping) else []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ConfigError(f"blank of the state should be names of layers, got {shown(names)}")
    for name in names:
        if name not in layers or not layers[name].plastic:
            raise ConfigError(
                f"the state leaves out {name!r}, which is no layer that learns on this chip; load "
                "its own"
            )
    return names


def below(state: Mapping[str, Any], keys: Sequence[str], prefix: str) -> dict[str, Any]:
    """What stands below a prefix, without it.

    Args:
        state: a flat state.
        keys: its keys, sorted: a chip has thousands, and looks below hundreds of prefixes.
        prefix: such as a layer's name and a slash.
    """
    first, last = bisect_left(keys, prefix), bisect_left(keys, f"{prefix}\U0010ffff")
    return {key.removeprefix(prefix): state[key] for key in keys[first:last]}
