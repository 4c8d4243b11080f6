"""Which tiles talk to each other, and how much: one inference, followed from layer to layer.

Each layer's output is cut off from what made it and marked; walking back from a layer's input then
ends at the layers that made it, whatever digital work lies between. The rules of what travels:

- *inputs*, 8 bits each, to every tile that needs them, from the tiles whose columns made them
- *sums*, 16 bits each, from the tile of a later run of rows to that of the first
- *operands*, 16 bits each: where two branches are added or multiplied, the work is done beside the
  branch whose layer was read last, and the other branch's numbers travel there. The ledger has no
  row for these

Two branches side by side (a concatenation) send an input in proportion to their columns. What no
layer made comes from the port. So inputs and sums are the bits of the ledger's "routing". What is
left out: answers that leave the chip, and the way back of gradients.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, cast, final

import torch
from torch import Tensor, nn

from clnf.chip.analog import AbstractAnalog
from clnf.chip.hosting import Chip
from clnf.core.errors import ConfigError
from clnf.core.units import quantity

__all__ = ["PORT", "Flow", "traffic"]

PORT = "port"
_INPUT_BITS, _SUM_BITS = 8, 16
_SIDE_BY_SIDE = ("CatBackward", "StackBackward")
Shares = dict[str, float]


@final
@dataclass(frozen=True, kw_only=True)
class Flow:
    """What travels from one tile to another in the inference that was followed.

    Attributes:
        source: name of a tile, or :data:`PORT`.
        sink: name of a tile; the same where sums meet inside a stack of tiles.
        kind: see the head of this file.
        bits: of all vectors together; fractions come from shares.
    """

    source: str
    sink: str
    kind: Literal["inputs", "sums", "operands"]
    bits: float = quantity("1")


def traffic(chip: Chip, ask: Callable[[], object]) -> list[Flow]:
    """Follow one inference.

    Args:
        chip: under the module that is read.
        ask: runs the module, with gradients on and in one process; reads are charged as any.

    Returns:
        Flows between different places and within stacks, sorted by names; those of one kind
        between the same two tiles are one.

    Raises:
        ConfigError: no layer of the chip was read, or gradients were off.
    """
    with torch.enable_grad(), _Tracer(chip) as tracer:
        ask()
    if not tracer.order:
        raise ConfigError(
            "no layer of the chip was read with gradients on; call the module itself, not a "
            "sampler that switches them off"
        )
    sums = tracer.flows
    return [
        Flow(source=source, sink=sink, kind=kind, bits=bits)
        for (source, sink, kind), bits in sorted(sums.items())
        if bits > 0
    ]


Kind = Literal["inputs", "sums", "operands"]


@final
class _Tracer:
    """Marks outputs, walks back from inputs, and adds up."""

    def __init__(self, chip: Chip) -> None:
        self.chip = chip
        self.flows: dict[tuple[str, str, Kind], float] = {}
        self.order: dict[str, int] = {}  # layer -> when it was last read
        self._values: dict[str, int] = {}
        self._marks: dict[int, tuple[str, Tensor]] = {}
        self._walked: dict[Any, Shares] = {}
        self._hooks: list[Any] = []

    def __enter__(self) -> "_Tracer":
        for name, layer in self.chip.layers.items():
            self._hooks.append(layer.register_forward_hook(self._hook(name)))
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def _hook(self, name: str) -> Callable[[nn.Module, tuple[Any, ...], Tensor], Tensor | None]:
        def seen(module: nn.Module, arguments: tuple[Any, ...], out: Tensor) -> Tensor | None:
            if not torch.is_grad_enabled():
                return None
            layer, x = cast(AbstractAnalog, module), cast(Tensor, arguments[0])
            shares = self._sources(x)
            self.order[name], self._values[name] = len(self.order), out.numel()
            self._layer(layer, x, out, shares)
            mark = out.detach().requires_grad_()
            self._marks[id(mark)] = name, mark
            return mark

        return seen

    def _sources(self, x: Tensor) -> Shares:
        """Layers that made a tensor, with the share of it that each sends."""
        if id(x) in self._marks:
            return {self._marks[id(x)][0]: 1.0}
        return self._walk(x.grad_fn) if x.grad_fn is not None else {}

    def _walk(self, node: Any) -> Shares:
        """The same for a node of the graph, without recursion over long chains."""
        stack = [node]
        while stack:
            here = stack[-1]
            if here in self._walked:
                stack.pop()
                continue
            below = [child for child, _ in here.next_functions if child is not None]
            open_ = [child for child in below if child not in self._walked]
            if open_:
                stack += open_
                continue
            self._walked[stack.pop()] = self._joined(here, [self._walked[c] for c in below])
        return self._walked[node]

    def _joined(self, node: Any, below: list[Shares]) -> Shares:
        if "variable" in dir(node):
            mark = self._marks.get(id(node.variable))
            return {mark[0]: 1.0} if mark else {}
        branches = [shares for shares in below if shares]
        if not branches:
            return {}
        if node.name().startswith(_SIDE_BY_SIDE):
            sizes: Shares = {}
            for shares in branches:
                wide = max(self._columns(name) for name in shares)
                for name, share in shares.items():
                    sizes[name] = sizes.get(name, 0.0) + share * wide
            return {name: size / sum(sizes.values()) for name, size in sizes.items()}
        main = max(branches, key=lambda shares: max(self.order[name] for name in shares))
        last = max(main, key=lambda name: self.order[name])
        for other in branches:
            for name, share in other.items():
                if other is not main and name not in main:
                    bits = _SUM_BITS * share * self._values[name]
                    for source, part in self._outlets(name).items():
                        for sink, own in self._outlets(last).items():
                            self._add(source, sink, "operands", bits * part * own)
        return main

    def _columns(self, name: str) -> int:
        wiring = self.chip.layers[name].wiring
        return wiring.groups * wiring.columns

    def _outlets(self, name: str) -> Shares:
        """Tiles at which a layer's output appears, with the share of each."""
        if name == PORT:
            return {PORT: 1.0}
        layer = self.chip.layers[name]
        firsts = [t for t, s in zip(layer.tiles, layer.spots, strict=True) if s.part == 0]
        whole = sum(tile.shape[0] for tile in firsts)
        return {tile.name: tile.shape[0] / whole for tile in firsts}

    def _layer(self, layer: AbstractAnalog, x: Tensor, out: Tensor, shares: Shares) -> None:
        """What one read brings to a layer's tiles, and what travels between these."""
        wiring, padded = layer.wiring, layer.padded(x)
        positions = padded.numel() // (wiring.groups * wiring.channels)
        vectors = positions if wiring.turned else out.numel() // (wiring.groups * wiring.columns)
        firsts = {
            (spot.group, spot.columns.start): tile.name
            for tile, spot in zip(layer.tiles, layer.spots, strict=True)
            if spot.part == 0
        }
        for tile, spot in zip(layer.tiles, layer.spots, strict=True):
            columns, rows = tile.shape
            bits = _INPUT_BITS * positions * (rows // wiring.unit)
            for name, share in (shares or {PORT: 1.0}).items():
                for source, part in self._outlets(name).items():
                    self._add(source, tile.name, "inputs", bits * share * part)
            sums = _SUM_BITS * vectors * columns
            home = firsts[spot.group, spot.columns.start]
            self._add(tile.name, home, "sums", sums * (spot.part > 0))
            self._add(tile.name, tile.name, "sums", sums * (spot.stack - 1))

    def _add(self, source: str, sink: str, kind: Kind, bits: float) -> None:
        key = source, sink, kind
        self.flows[key] = self.flows.get(key, 0.0) + bits
