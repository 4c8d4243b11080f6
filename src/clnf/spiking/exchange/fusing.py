"""Nodes that become one layer: weights with the cells behind them, and rings of cells and a matrix.

Such a layer follows events forward and back, and a recurrent one runs compiled over all steps.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from clnf.core.errors import DataError
from clnf.spiking.convolution.maps import Convolution
from clnf.spiking.exchange.flat import Flat, into
from clnf.spiking.exchange.graph import SPIKING, Node
from clnf.spiking.exchange.reading import Reading, cell_of
from clnf.spiking.exchange.shapes import wholes
from clnf.spiking.exchange.stages import copied, even_padding
from clnf.spiking.layers import RecurrentNeurons
from clnf.spiking.synapses import SpikingConv2d, SpikingLinear

__all__ = ["Fused", "fused"]

Shape = tuple[int, ...]


class Fused(NamedTuple):
    """One layer for several nodes.

    Attributes:
        name: of the cells, which it takes.
        stage: the layer.
        before: node of the weights before the cells, or none.
        ring: node of the weights around them, or none.
    """

    name: str
    stage: SpikingLinear | SpikingConv2d | RecurrentNeurons
    before: str = ""
    ring: str = ""

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Its weights by the nodes they came from."""
        if self.before:
            yield self.before, self.stage.weight
        if self.ring:
            if isinstance(self.stage, SpikingLinear):
                assert self.stage.recurrent is not None
                yield self.ring, self.stage.recurrent
            else:
                yield self.ring, self.stage.weight


@np.errstate(all="ignore")  # files hold any numbers
def fused(
    flat: Flat, shapes: Mapping[str, Shape], how: Reading, dtype: torch.dtype
) -> tuple[Flat, list[Fused]]:
    """The graph with nodes that become one layer joined under the name of the cells."""
    nodes, edges, found = dict(flat.nodes), list(flat.edges), []
    for name, node in flat.nodes.items():
        if node.kind not in SPIKING:
            continue
        before = into(edges).get(name, [])
        after = [b for a, b in edges if a == name]
        ring = next((one for one in before if one in after and _is_ring(nodes, edges, one)), "")
        others = [one for one in before if one != ring]
        first = others[0] if len(others) == 1 and _is_first(nodes, edges, others[0]) else ""
        if ring and len(shapes[name]) != 1:
            ring = ""
        if first and nodes[first].kind == "Conv2d" and ring:
            first = ""
        if not first and not ring:
            continue
        try:
            stage = _layer((node, nodes.get(first), nodes.get(ring)), how, dtype)
        except DataError as error:
            raise DataError(f"{node.kind} {name!r}: {error}") from None
        found.append(Fused(name, stage, first, ring))
        edges = [(a, b) for a, b in edges if ring not in (a, b) or not ring]
        if first:
            edges = [(a, name if b == first else b) for a, b in edges if (a, b) != (first, name)]
        for gone in (first, ring):
            nodes.pop(gone, None)
    return flat._replace(nodes=nodes, edges=edges), found


def _is_ring(nodes: Mapping[str, Node], edges: list[tuple[str, str]], name: str) -> bool:
    """A matrix that takes from one place and gives to one place."""
    ways = [(a, b) for a, b in edges if name in (a, b)]
    node = nodes[name]
    return len(ways) == 2 and node.kind == "Linear" and node.array("weight").ndim == 2


def _is_first(nodes: Mapping[str, Node], edges: list[tuple[str, str]], name: str) -> bool:
    """Weights without a bias that lead to these cells alone."""
    node = nodes[name]
    if len([a for a, _ in edges if a == name]) != 1 or name not in into(edges):
        return False
    if (name, name) in edges:
        return False
    if node.kind == "Linear":
        return node.array("weight").ndim == 2
    if node.kind != "Conv2d" or node.array("bias").any():
        return False
    return wholes(node, "groups", 1)[0] == 1 and even_padding(node) is not None


def _layer(
    parts: tuple[Node, Node | None, Node | None], how: Reading, dtype: torch.dtype
) -> SpikingLinear | SpikingConv2d | RecurrentNeurons:
    cells, first, ring = parts
    cell = cell_of(cells, how, dtype)
    stage: SpikingLinear | SpikingConv2d | RecurrentNeurons
    if first is None:
        assert ring is not None
        stage = RecurrentNeurons(cell, ring.array("weight").shape[0], dt_s=how.dt_s)
        copied(stage.weight, ring.array("weight"), dtype)
        return stage.to(dtype)
    weight = first.array("weight")
    if first.kind == "Conv2d":
        stride, dilation = (wholes(first, name, 2) for name in ("stride", "dilation"))
        way = Convolution(
            stride=(stride[0], stride[1]),
            padding=even_padding(first) or (0, 0),
            dilation=(dilation[0], dilation[1]),
        )
        sizes, taps = (weight.shape[1], weight.shape[0]), (weight.shape[2], weight.shape[3])
        stage = SpikingConv2d(sizes, taps, cell, dt_s=how.dt_s, how=way)
    else:
        sizes = (weight.shape[1], weight.shape[0])
        stage = SpikingLinear(sizes, cell, dt_s=how.dt_s, recurrent=ring is not None)
        if ring is not None:
            copied(stage.recurrent, ring.array("weight"), dtype)
    copied(stage.weight, weight, dtype)
    return stage.to(dtype)
