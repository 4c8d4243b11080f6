"""What a chip profile may say: every key, its kind and its range.

A key is a whole number, a share, yes or no, a word of a few, or a list of such. Nothing else is
taken, so a misspelt key in a file of one's own is a sentence and not silence.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

from clnf.core.errors import ConfigError
from clnf.core.inputs import number, shown, whole

__all__ = ["KEYS", "Decay", "Key", "Kind", "Overflow", "Reset", "Rounding", "SpikesAt", "checked"]

Decay = Literal["fraction", "shift", "none"]
Kind = Literal["linear", "convolution", "pool", "recurrent"]
Overflow = Literal["wrap", "saturate"]
Reset = Literal["zero", "subtract"]
Rounding = Literal["zero", "down", "nearest", "stochastic"]
SpikesAt = Literal["above", "reached"]
CELLS = ("IF", "LIF", "CubaLIF", "AdaptiveLIF", "LI", "CubaLI")


class Key(NamedTuple):
    """A key of a profile: what reads it, and what it means."""

    read: Callable[[str, object], Any]
    means: str


def _count(least: int, most: int | None = None) -> Callable[[str, object], int]:
    return lambda name, value: whole(name, value, least=least, most=most)


def _share(name: str, value: object) -> float:
    found = number(name, value)
    if not 0 <= found < 1:
        raise ConfigError(f"{name} is a share from 0 up to 1, got {found}; correct it")
    return found


def _flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(f"{name} is true or false, got {shown(value)}; correct it")
    return value


def _word(*words: str) -> Callable[[str, object], str]:
    def read(name: str, value: object) -> str:
        if value not in words:
            raise ConfigError(
                f"{name} is one of {', '.join(words)}, got {shown(value)}; correct it"
            )
        return str(value)

    return read


def _many(one: Callable[[str, object], Any], size: int = 0) -> Callable[[str, object], Any]:
    def read(name: str, value: object) -> tuple[Any, ...]:
        if not isinstance(value, list) or not value or (size and len(value) != size):
            wanted = f"a list of {size}" if size else "a list of at least one"
            raise ConfigError(f"{name} is {wanted}, got {shown(value)}; correct it")
        return tuple(one(name, part) for part in value)

    return read


KEYS: dict[str, Key] = {
    "weight_bits": Key(_count(2, 32), "bits of a weight, its sign included"),
    "weight_levels": Key(_count(2, 2**20), "levels of one cell; a weight is a pair of cells"),
    "input_shift": Key(_count(0, 16), "bits by which weights are shifted left onto states"),
    "input_bits": Key(_count(4, 32), "bits of the sum of a step's weights; it saturates"),
    "current_bits": Key(_count(4, 32), "bits of a synaptic current, its sign included"),
    "potential_bits": Key(_count(4, 32), "bits of a potential, its sign included"),
    "current_overflow": Key(_word(*get_args(Overflow)), "what a current does at its end"),
    "potential_overflow": Key(_word(*get_args(Overflow)), "what a potential does at its end"),
    "decay": Key(_word(*get_args(Decay)), "how states decay"),
    "decay_bits": Key(_count(1, 24), "bits of a decay; of a shift, the largest shift"),
    "decay_rounding": Key(
        _word("zero", "down", "stochastic"), "where decayed states are rounded to"),
    "threshold_bits": Key(_count(2, 32), "bits of a threshold, which is above 0"),
    "threshold_shift": Key(_count(0, 16), "bits by which thresholds are shifted left onto states"),
    "bias_bits": Key(_count(2, 32), "bits of a bias, its sign included"),
    "bias_exponents": Key(_count(0, 16), "largest exponent of a bias"),
    "spikes_at": Key(_word(*get_args(SpikesAt)), "whether a cell spikes at its threshold"),
    "spikes_per_step": Key(_count(1, 255), "spikes of a cell in one step"),
    "output_spikes_per_step": Key(_count(1, 255), "the same for cells of the last layer"),
    "input_events_per_step": Key(_count(1, 65535), "events of an input in one step"),
    "resets": Key(_many(_word(*get_args(Reset))), "what a spike does to a potential"),
    "cells": Key(_many(_word(*CELLS)), "neuron models, by their names in clnf.spiking"),
    "kinds": Key(_many(_word(*get_args(Kind))), "layers"),
    "inputs": Key(_count(1), "input channels"),
    "neurons": Key(_count(1), "cells; without those of the last layer where these are counted"),
    "output_neurons": Key(_count(1), "cells of the last layer"),
    "fan_in": Key(_count(1), "synapses that reach a cell"),
    "fan_out": Key(_count(1), "synapses that leave a cell; for outputs that count apart, none"),
    "hidden_synapses": Key(_count(1), "synapses between cells, without inputs and the last layer"),
    "weight_memory_bits": Key(_count(1), "memory of weights"),
    "cores": Key(_many(_many(_count(0), 3)), "kernel, neuron and bias memory of each core, words"),
    "kernel_max": Key(_count(1), "rows and columns of a kernel"),
    "kernel_square": Key(_flag, "whether kernels are square"),
    "features": Key(_count(1), "channels of a layer"),
    "strides": Key(_many(_count(1)), "strides of convolutions"),
    "pools": Key(_many(_count(1)), "rows and columns of pooling"),
    "trace_bits": Key(_count(1, 24), "whole bits of a trace"),
    "trace_fraction_bits": Key(_count(0, 24), "fractional bits of a trace"),
    "trace_rounding": Key(_word("nearest", "stochastic"), "how traces are rounded"),
    "tag_bits": Key(_count(2, 24), "bits of a synaptic tag"),
    "mismatch": Key(_share, "spread of a weight from chip to chip, relative to itself"),
    "write_error": Key(_share, "spread of a weight that was written, relative to the largest"),
}  # fmt: skip


def checked(key: str, value: object) -> Any:
    """A value of a key; lists become tuples.

    Raises:
        ConfigError: no such key, another kind of value, or one out of its range.

    >>> checked("weight_bits", 8), checked("resets", ["zero"])
    (8, ('zero',))
    """
    if key not in KEYS:
        near = [one for one in KEYS if key[:5] == one[:5]]
        raise ConfigError(
            f"no key of a profile is called {shown(key)}; known: {', '.join(near or KEYS)}"
        )
    return KEYS[key].read(key, value)
