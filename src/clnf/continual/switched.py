"""Low-rank adapters by group: a sample goes through its own group's pair and no other.

What one group's pair learns is so never read for a sample of another group, and cannot change it.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, cast, final

import torch
from torch import Tensor, nn

from clnf.continual.adapters import LowRank, attach
from clnf.core.errors import ConfigError, ShapeError
from clnf.core.rng import fold

__all__ = ["Pair", "Switch", "SwitchedLowRank", "attach_switched"]


@final
class Switch:
    """Says for each sample which group's adapters it goes through; all adapters look at one switch.

    Attributes:
        groups: their names, in order.
        at: number of each sample's group, int64 [B]; -1: none, the base alone.

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
        self.at = at_B

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
class Pair(nn.Module):
    """One group's adapter: up(down(x))."""

    def __init__(self, down: nn.Module, up: nn.Module) -> None:
        super().__init__()
        self.down, self.up = down, up

    def forward(self, x: Tensor) -> Tensor:
        """The low-rank change, in the shape of the base's output."""
        return cast(Tensor, self.up(self.down(x)))


@final
class SwitchedLowRank(nn.Module):
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
        for number, name in enumerate(self.switch.groups):
            rows = torch.nonzero(at == number).flatten().to(x.device)
            if len(rows) == len(x):
                return out.add(self.of[name](x), alpha=self.scale)
            if len(rows):
                out = out.index_add(0, rows, self.of[name](x[rows]), alpha=self.scale)
        return out


def attach_switched(
    module: nn.Module,
    switch: Switch,
    *,
    rank: int,
    scale: float = 1.0,
    only: Callable[[str, nn.Linear | nn.Conv2d], bool] | None = None,
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
    if rank < 1 or not math.isfinite(scale):
        raise ConfigError(f"an adapter needs rank >= 1 and a finite scale, got {rank} and {scale}")
    if isinstance(module, nn.Linear | nn.Conv2d):
        raise ConfigError("a leaf cannot be replaced in itself; attach to the module holding it")
    inside = [
        f"{name}."
        for name, part in module.named_modules()
        if isinstance(part, LowRank | SwitchedLowRank)
    ]
    names = []
    for name, leaf in list(module.named_modules()):
        if type(leaf) not in (nn.Linear, nn.Conv2d) or name.startswith(tuple(inside)):
            continue
        chosen = cast("nn.Linear | nn.Conv2d", leaf)
        if only is not None and not only(name, chosen):
            continue
        pairs = {
            group: _pair(chosen, rank, fold(seed, "group", group, name)) for group in switch.groups
        }
        parent, _, last = name.rpartition(".")
        switched = SwitchedLowRank(leaf, pairs, scale, switch)
        setattr(module.get_submodule(parent), last, switched)
        names.append(name)
    if not names:
        raise ConfigError("no linear or convolution leaf was chosen for adapters")
    return names


def _pair(leaf: nn.Module, rank: int, seed: int) -> Pair:
    """A pair as a plain adapter would have it."""
    holder = nn.ModuleDict({"leaf": leaf})
    attach(holder, rank=rank, seed=seed)
    made = holder["leaf"]
    assert isinstance(made, LowRank)
    return Pair(made.down, made.up)
