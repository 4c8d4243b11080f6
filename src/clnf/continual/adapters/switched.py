"""Low-rank adapters by group: a sample goes through its own group's pair and no other.

What one group's pair learns is so never read for a sample of another group, and cannot change it.
"""

from collections.abc import Collection, Sequence
from typing import Any, cast, final

import torch
from torch import Tensor, nn

from clnf.continual.adapters.pairs import (
    AbstractAdapted,
    Chooses,
    Held,
    Leaf,
    Lesson,
    Pair,
    check_size,
    fresh_pair,
    put_on,
)
from clnf.core.errors import ConfigError, ShapeError
from clnf.core.rng import fold

__all__ = ["Switch", "SwitchedLowRank", "attach_switched"]


@final
class Switch:
    """Says for each sample which group's adapters it goes through; all adapters look at one switch.

    Attributes:
        groups: their names, in order.
        at: number of each sample's group, int64 [B]; -1: none, the base alone.
        parts: groups in this batch by name, each with its samples; None for all of them.

    Args:
        groups: at least one name, without dots.

    Raises:
        ConfigError: no name, one given twice, or one with a dot.
    """

    def __init__(self, groups: Sequence[str]) -> None:
        self.groups = tuple(groups)
        plain = all(name and "." not in name for name in self.groups)
        if not self.groups or not plain or len(set(self.groups)) < len(self.groups):
            raise ConfigError(
                "groups need different names without dots, at least one, got "
                f"{', '.join(map(repr, self.groups)) or 'none'}"
            )
        self.at: Tensor | None = None
        self.parts: list[tuple[str, Tensor | None]] = []
        self._sent: Tensor | None = None

    def read(self, groups: Collection[str]) -> None:
        """Read these groups' adapters from now on; samples of all others go through the base alone.

        Raises:
            ConfigError: there is no such group.
        """
        read = {self.number(group) for group in groups}
        numbers = range(len(self.groups))
        # Indexed by number; the last entry is that of -1.
        self._sent = torch.tensor([n if n in read else -1 for n in numbers] + [-1])

    def number(self, group: str) -> int:
        """Place of a group in :attr:`groups`.

        Raises:
            ConfigError: there is no such group.
        """
        if group not in self.groups:
            raise ConfigError(f"no group {group!r}; there are {', '.join(self.groups)}")
        return self.groups.index(group)

    def choose(self, at_B: Tensor) -> None:
        """Send the samples that come next through these groups.

        Args:
            at_B: see :attr:`at`.

        Raises:
            ShapeError: no whole numbers from -1 to the last group's.
        """
        whole = at_B.dim() == 1 and at_B.dtype == torch.int64
        if not whole or not bool(((at_B >= -1) & (at_B < len(self.groups))).all()):
            raise ShapeError(
                f"a switch takes one int64 number a sample from -1 to {len(self.groups) - 1}, got "
                f"{at_B.dtype} of shape {tuple(at_B.shape)}"
            )
        self.at = at_B if self._sent is None else self._sent.to(at_B.device)[at_B]
        self.parts = []
        for number in torch.unique(self.at).tolist():
            rows = torch.nonzero(self.at == number).flatten()
            if number >= 0:
                every = len(rows) == len(self.at)
                self.parts.append((self.groups[number], None if every else rows))

    def follow(self, module: nn.Module, group_of: Sequence[int], argument: int) -> None:
        """Choose by a condition each time a module is called.

        Args:
            module: called with int64 indices [B] among its positional arguments.
            group_of: number of the group, or -1, by index.
            argument: which positional argument these are.
        """
        table = torch.tensor(list(group_of), dtype=torch.int64)

        def choose(_: nn.Module, arguments: tuple[Any, ...]) -> None:
            index_B = cast(Tensor, arguments[argument])
            self.choose(table.to(index_B.device)[index_B])

        module.register_forward_pre_hook(choose)


@final
class SwitchedLowRank(AbstractAdapted):
    """y = base(x) + scale * up_g(down_g(x)), g the group of each sample.

    Pairs that no sample of a batch is of are not read at all. All parts are ordinary leaves, so
    each can be hosted on tiles of its own: ``NAME.of.GROUP.down`` and ``.up``.
    """

    def __init__(
        self, base: nn.Module, pairs: dict[str, Pair], scale: float, switch: Switch
    ) -> None:
        super().__init__()
        self.base, self.of = base, nn.ModuleDict(pairs)
        self.scale, self.switch = scale, switch
        self.padding_mode = str(getattr(base, "padding_mode", "zeros"))

    def forward(self, x: Tensor) -> Tensor:
        """The base's output plus each sample's own change.

        Raises:
            ShapeError: the switch was not set for so many samples.
        """
        out, at = cast(Tensor, self.base(x)), self.switch.at
        if at is None or len(at) != len(x):
            known = "nothing" if at is None else f"{len(at)} samples"
            raise ShapeError(
                f"the switch was set for {known} and {len(x)} came; choose a group for each first"
            )
        for name, rows in self.switch.parts:
            if rows is None:
                return out.add(self.of[name](x), alpha=self.scale)
            rows = rows.to(x.device)
            out = out.index_add(0, rows, self.of[name](x[rows]), alpha=self.scale)
        return out

    def held(self) -> dict[str, Held]:
        """Its adapters by group."""
        pairs = {name: cast(Pair, self.of[name]) for name in self.switch.groups}
        return {name: Held(pair.down, pair.up, self.scale) for name, pair in pairs.items()}

    def summed(self, adapter: str | None) -> list[tuple[Held, float]]:
        """One group's adapter: no sample goes through two."""
        if adapter is None:
            raise ConfigError(
                "each sample has its own group's adapter; name one of "
                f"{', '.join(self.switch.groups)}"
            )
        self.switch.number(adapter)
        return [(self.held()[adapter], 1.0)]

    def lesson(self) -> Lesson | None:
        """None: adapters of different groups never meet."""
        return None


def attach_switched(
    module: nn.Module,
    switch: Switch,
    *,
    rank: int,
    scale: float = 1.0,
    only: Chooses | None = None,
    seed: int = 0,
) -> list[str]:
    """Put an adapter for each group on linear and convolution leaves, in place.

    Args:
        module: whose leaves get adapters.
        switch: names the groups and says which samples are of which.
        rank: of each group's adapter, >= 1.
        scale: factor on an adapter's output.
        only: takes a leaf's name and the leaf, says whether it gets adapters; None takes all.
        seed: places the random starts; adapters change nothing until they have learned.

    Returns:
        Names of the adapted leaves, now :class:`SwitchedLowRank` modules.

    Raises:
        ConfigError: rank or scale is out of range, the module itself is a leaf, or ``only``
            chose nothing.
    """
    check_size(rank, scale)

    def make(name: str, leaf: Leaf) -> SwitchedLowRank:
        seeds = {group: fold(seed, "group", group, name) for group in switch.groups}
        pairs = {group: fresh_pair(leaf, rank, own, "leaf") for group, own in seeds.items()}
        return SwitchedLowRank(leaf, pairs, scale, switch)

    return put_on(module, only, make)
