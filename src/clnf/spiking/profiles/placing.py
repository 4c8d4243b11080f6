"""Layers on cores that have memories of different sizes: how much each needs, and who goes where.

    kernel memory   c_in 2^(ceil log2(k l) + ceil log2 c_out)
    neuron memory   c_out 2^(ceil log2 rows + ceil log2 columns)     rows, columns of the output
    bias memory     c_out where there are biases

in words. Source: Sinabs 3.1.3, DynapcnnLayer.memory_summary. A matrix behind a flattened picture is
a kernel as large as the picture; behind a row of cells it is a kernel of one tap.
"""

from collections.abc import Sequence
from typing import NamedTuple

from clnf.core.errors import ConfigError
from clnf.spiking.profiles.stages import Stage

__all__ = ["Memory", "memory_of", "place"]


class Memory(NamedTuple):
    """Words of a layer, or of a core."""

    kernel: int
    neuron: int
    bias: int

    def holds(self, other: "Memory") -> bool:
        """Whether another fits into this one."""
        return all(have >= need for have, need in zip(self, other, strict=True))


def _log2(n: int) -> int:
    """Smallest power of two that reaches n."""
    return (n - 1).bit_length()


def memory_of(stage: Stage) -> Memory:
    """What a layer needs of a core.

    Raises:
        ConfigError: it has no weights.

    >>> from clnf.spiking import IF, SpikingConv2d
    >>> from clnf.spiking.profiles.stages import stages_of
    >>> layer = SpikingConv2d((2, 8), 3, IF(), dt_s=1e-3)
    >>> memory_of(stages_of(layer, (2, 34, 34))[0])
    Memory(kernel=256, neuron=8192, bias=0)
    """
    if stage.weight is None:
        raise ConfigError(f"layer {stage.name} has no weights; put a layer before its cells")
    if stage.kind == "convolution":
        features, channels, down, across = stage.weight.shape
        rows, columns = stage.outputs[1:]
    else:
        pictures = len(stage.inputs) == 3
        channels, down, across = stage.inputs if pictures else (stage.inputs[0], 1, 1)
        if pictures:
            down, across = down // stage.pool[0], across // stage.pool[1]
        features, rows, columns = stage.weight.shape[0], 1, 1
    return Memory(
        kernel=channels * 2 ** (_log2(down * across) + _log2(features)),
        neuron=features * 2 ** (_log2(rows) + _log2(columns)),
        bias=0 if stage.bias is None else features,
    )


def place(needs: Sequence[Memory], cores: Sequence[Memory]) -> list[int | None]:
    """A core for each layer, one layer a core; None for a layer that finds none.

    As many layers as possible are placed (augmenting paths, Kuhn 1955).

    >>> place([Memory(8, 1, 0), Memory(1, 1, 0)], [Memory(8, 8, 0), Memory(2, 2, 0)])
    [0, 1]
    """
    owner: dict[int, int] = {}

    def settle(layer: int, seen: set[int]) -> bool:
        for core, have in enumerate(cores):
            if core in seen or not have.holds(needs[layer]):
                continue
            seen.add(core)
            if core not in owner or settle(owner[core], seen):
                owner[core] = layer
                return True
        return False

    for layer in range(len(needs)):
        settle(layer, set())
    found = {layer: core for core, layer in owner.items()}
    return [found.get(layer) for layer in range(len(needs))]
