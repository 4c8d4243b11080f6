"""A stack of layers cut into blocks: one layer that learns, and the digital parts after it.

A block is what a group of tiles does by itself: a product, a bias, an activation, pooling. What
is between two blocks travels from group to group.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from clnf.chip.analog import AbstractAnalog
from clnf.core.errors import ConfigError

__all__ = ["Block", "blocks", "sizes"]


class Block(NamedTuple):
    """One layer on tiles with the digital modules beside it.

    Attributes:
        layer: whose cells learn.
        modules: that layer and what comes before (first block only) and after it.
    """

    layer: AbstractAnalog
    modules: nn.Sequential

    def __call__(self, x: Tensor) -> Tensor:
        """What leaves the block for an input."""
        out: Tensor = self.modules(x)
        return out


def blocks(net: nn.Module) -> list[Block]:
    """Cut a stack before every layer that learns but the first.

    Stored layers and digital modules belong to the block they follow; those before the first
    layer that learns belong to it.

    Args:
        net: a hosted ``nn.Sequential``; those inside it are taken apart.

    Raises:
        ConfigError: it is no plain stack, or nothing in it learns.
    """
    if not isinstance(net, nn.Sequential):
        raise ConfigError(
            f"local rules need a plain stack, an nn.Sequential, got {type(net).__name__}; "
            "branches and loops are for backpropagation"
        )
    parts: list[list[nn.Module]] = [[]]
    layers: list[AbstractAnalog] = []
    for leaf in _leaves(net):
        inner = [one for one in leaf.modules() if isinstance(one, AbstractAnalog) and one.plastic]
        if inner and inner[0] is not leaf:
            raise ConfigError(
                f"a layer that learns is inside {type(leaf).__name__}, which is no nn.Sequential; "
                "local rules cut stacks only"
            )
        if isinstance(leaf, AbstractAnalog) and leaf.plastic:
            if layers:
                parts.append([])
            layers.append(leaf)
        parts[-1].append(leaf)
    if not layers:
        raise ConfigError("no layer of this stack learns on tiles; host some as plastic")
    return [Block(layer, nn.Sequential(*part)) for layer, part in zip(layers, parts, strict=True)]


@torch.no_grad()
def sizes(parts: list[Block], example: Tensor) -> list[int]:
    """Numbers that leave each block for one input; the passage is charged like any read.

    Args:
        parts: of a stack.
        example: inputs [B, ...], of which one is passed.
    """
    found, x = [], example[:1]
    for block in parts:
        x = block(x)
        found.append(x[0].numel())
    return found


def _leaves(net: nn.Sequential) -> Iterator[nn.Module]:
    for child in net:
        if isinstance(child, nn.Sequential):
            yield from _leaves(child)
        else:
            yield child
