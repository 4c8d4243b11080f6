"""Which lesson writes which tiles: one group is open, all others are shut."""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any, final

import torch
from torch import Tensor, nn

from clnf.chip.analog import AbstractAnalog
from clnf.chip.hosting import Chip
from clnf.core.errors import ConfigError, RunError

__all__ = ["Groups"]

GroupOf = Callable[[str], str | None]


@final
class Groups:
    """Named groups of the layers and digital parameters of a hosted module.

    While a group is open, a lesson reaches nothing else. Elsewhere no gradient of weights is
    worked out, the write gates of all cells are shut (fences of 0, which no update rule passes),
    and converters hold their ranges; one that had none yet has none again afterwards. What belongs
    to no group is shut too while any group is open. Blank cells have no gates: nothing is read or
    worked out there.

    A group's outputs stay the same bit for bit when others learn, if they are read through its own
    and stored tiles alone: a head of its own, or adapters of its own as in
    :mod:`clnf.continual.adapters.switched`. Tiles of one layer share converters and layers are read
    whole, so groups are made of whole layers. What shut gates cannot hold: drift, a roll-back where
    neighbours disturb each other (``ChipSpec.half_select``), as it then verifies all that learns,
    and moves of a group's own tiles that level wear.

    Attributes:
        opened: the group that is open; None where all are.

    Args:
        chip: under the module.
        module: hosted.
        of: takes the name of a layer on tiles, or of a digital module with parameters; says its
            group, or None.
        free: parameters by name that stay open to every lesson, as something else guards them.

    Raises:
        ConfigError: no layer that learns is in any group, or there is no parameter of a free name.
    """

    def __init__(
        self, chip: Chip, module: nn.Module, of: GroupOf, *, free: Collection[str] = ()
    ) -> None:
        self.chip, self.module, self.free = chip, module, frozenset(free)
        self.opened: str | None = None
        self._of = of
        self._fences: dict[str, Tensor] = {}
        self._ranges: dict[str, list[float]] = {}
        self._frozen: list[str] = []
        unknown = self.free - {name for name, _ in module.named_parameters()}
        if unknown:
            raise ConfigError(f"no parameter is called {', '.join(sorted(unknown))}")
        if not self.names:
            raise ConfigError("no layer that learns was given a group; check the function")

    @property
    def names(self) -> tuple[str, ...]:
        """Groups with layers that learn, in the layers' order."""
        found = (self._of(name) for name, one in self.chip.layers.items() if one.plastic)
        return tuple(dict.fromkeys(name for name in found if name is not None))

    @property
    def layers(self) -> dict[str, tuple[str, ...]]:
        """Names of the layers of each group."""
        return {
            group: tuple(name for name in self.chip.layers if self._of(name) == group)
            for group in self.names
        }

    @property
    def tiles(self) -> dict[str, str | None]:
        """Group of each tile, by its name."""
        found: dict[str, str | None] = {}
        for name, layer in self.chip.layers.items():
            for tile in layer.tiles:
                found[tile.name] = self._of(name)
                if tile.fast is not None:
                    found[tile.fast.name] = self._of(name)
        return found

    def open(self, group: str) -> None:
        """Open one group for a lesson and shut everything else.

        Raises:
            ConfigError: there is no such group with layers that learn.
            RunError: another one is open.
        """
        if group not in self.names:
            raise ConfigError(f"no group {group!r} learns; there are {', '.join(self.names)}")
        if self.opened is not None:
            raise RunError(f"group {self.opened!r} is open; close it before {group!r} is opened")
        others = self._others(group)
        self._fences = {t.name: t.fence.clone() for layer in others for t in layer.tiles}
        self._ranges = {
            layer.name: [one.range for one in (layer.dac, *layer.adcs)] for layer in others
        }
        self._shut(group)

    def close(self) -> None:
        """Open everything again as it was before; nothing where all is open."""
        for layer in self.chip.layers.values():
            self._track(layer, on=layer.plastic)
            kept = self._ranges.get(layer.name, [])
            for converter, value in zip((layer.dac, *layer.adcs), kept, strict=False):
                converter.range = value
            for tile in layer.tiles:
                if tile.name in self._fences:
                    tile.set_fence(self._fences[tile.name].view(tile.shape))
        for name in self._frozen:
            self.module.get_parameter(name).requires_grad_(True)
        self.opened, self._fences, self._ranges, self._frozen = None, {}, {}, []

    @contextmanager
    def lesson(self, group: str) -> Iterator[None]:
        """Hold a group open for the length of a ``with`` block."""
        self.open(group)
        try:
            yield
        finally:
            self.close()

    def _others(self, group: str) -> list[AbstractAnalog]:
        return [
            layer
            for name, layer in self.chip.layers.items()
            if layer.plastic and self._of(name) != group and not layer.blank
        ]

    def _shut(self, group: str) -> None:
        self.opened, self._frozen = group, []
        for layer in self._others(group):
            self._track(layer, on=False)
            for tile in layer.tiles:
                tile.set_fence(torch.zeros(tile.shape, device=tile.fence.device))
        for name, parameter in self.module.named_parameters():
            mine = self._of(name.rpartition(".")[0]) == group or name in self.free
            if parameter.requires_grad and not mine:
                parameter.requires_grad_(False)
                parameter.grad = None
                self._frozen.append(name)

    @staticmethod
    def _track(layer: AbstractAnalog, *, on: bool) -> None:
        """Let a layer's converters widen after they clipped, or hold their ranges."""
        for converter in (layer.dac, *layer.adcs):
            converter.tracking = on

    def state_dict(self) -> dict[str, Any]:
        """Which group is open, and the fences and ranges that stand behind the shut gates."""
        return {"opened": self.opened, "fences": dict(self._fences), "ranges": dict(self._ranges)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave; load the chip's state first."""
        for name in self._frozen:
            self.module.get_parameter(name).requires_grad_(True)
        for layer in self.chip.layers.values():
            self._track(layer, on=layer.plastic)
        self.opened, self._frozen = None, []
        self._fences = {name: fence.clone() for name, fence in state["fences"].items()}
        self._ranges = {name: [*values] for name, values in state["ranges"].items()}
        if state["opened"] is not None:
            self._shut(state["opened"])
