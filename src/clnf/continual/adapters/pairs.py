"""What all adapters share: two thin layers beside a frozen one, and how they get there."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from numbers import Integral, Real
from typing import NamedTuple, cast, final

import torch
from torch import Tensor, nn

from clnf.core.errors import ConfigError
from clnf.core.rng import torch_rng

__all__ = [
    "AbstractAdapted",
    "Chooses",
    "Held",
    "Leaf",
    "Lesson",
    "Pair",
    "adapted",
    "check_size",
    "fresh_pair",
    "put_on",
    "restart",
]

Leaf = nn.Linear | nn.Conv2d
Chooses = Callable[[str, Leaf], bool]


class Held(NamedTuple):
    """One adapter of one layer: where its two factors are, and what their product counts.

    The factors may lie on a chip; their ``weight`` is then what the cells read now.
    """

    down: nn.Module
    up: nn.Module
    scale: float

    @property
    def weights(self) -> tuple[nn.Parameter, nn.Parameter]:
        """The weights of ``up`` [O, r(, 1, 1)] and ``down`` [r, I(, height, width)]."""
        return cast(nn.Parameter, self.up.weight), cast(nn.Parameter, self.down.weight)

    def change(self) -> Tensor:
        """What it adds to the layer's weight as a matrix, scale * up @ down, shape [O, I]."""
        up, down = (weight.detach().flatten(1) for weight in self.weights)
        return up @ down * self.scale


class Lesson(NamedTuple):
    """What a layer learns now, and what it learned before.

    Attributes:
        name: of the adapter that learns; empty where there can be only one.
        learning: that adapter.
        earlier: frozen ones before it, in order; None where the layer has one adapter that goes
            on from lesson to lesson, and only its guard knows what was before.
    """

    name: str
    learning: Held
    earlier: list[Held] | None


class AbstractAdapted(nn.Module, ABC):
    """A frozen layer with low-rank changes beside it.

    Attributes:
        base: the layer itself.
        padding_mode: of a convolution, ``"zeros"`` for a linear layer; layers on a chip do not
            tell it.
    """

    base: nn.Module
    padding_mode: str

    @abstractmethod
    def held(self) -> dict[str, Held]:
        """Its adapters by name, in order; the name is empty where there can be only one."""

    @abstractmethod
    def summed(self, adapter: str | None) -> list[tuple[Held, float]]:
        """Adapters that make up what the layer answers now, or the named one, with factors.

        Raises:
            ConfigError: there is no such adapter, or it must be named.
        """

    @abstractmethod
    def lesson(self) -> Lesson | None:
        """What learns now and what is before it; None where nothing of the kind does."""


@final
class Pair(nn.Module):
    """One of several adapters of a layer: up(down(x))."""

    def __init__(self, down: nn.Module, up: nn.Module) -> None:
        super().__init__()
        self.down, self.up = down, up

    def forward(self, x: Tensor) -> Tensor:
        """The low-rank change, in the shape of the base's output."""
        return cast(Tensor, self.up(self.down(x)))


def adapted(module: nn.Module) -> dict[str, AbstractAdapted]:
    """Layers of a module that have adapters, by their name in it."""
    return {n: part for n, part in module.named_modules() if isinstance(part, AbstractAdapted)}


def check_size(rank: int, scale: float) -> None:
    """Refuse what no adapter can have.

    Raises:
        ConfigError: rank or scale is out of range.
    """
    sizes: tuple[object, object] = (rank, scale)  # as they came, whatever is annotated
    kinds = isinstance(sizes[0], Integral) and isinstance(sizes[1], Real)
    if not kinds or isinstance(sizes[0], bool) or rank < 1 or not math.isfinite(scale):
        raise ConfigError(f"an adapter needs rank >= 1 and a finite scale, got {rank} and {scale}")


def put_on(
    module: nn.Module, only: Chooses | None, make: Callable[[str, Leaf], AbstractAdapted]
) -> list[str]:
    """Replace linear and convolution leaves in place; freeze them.

    Args:
        module: whose leaves are replaced; those inside layers with adapters are left alone.
        only: takes a leaf's name and the leaf, says whether it gets one; None takes all.
        make: takes the same, gives what stands in its place. A leaf in two places is asked
            about twice and made once.

    Returns:
        Names of the leaves replaced.

    Raises:
        ConfigError: the module itself is a leaf, or ``only`` chose nothing.
    """
    if isinstance(module, Leaf):
        raise ConfigError("a leaf cannot be replaced in itself; attach to the module holding it")
    inside = tuple(f"{name}." if name else "" for name in adapted(module))
    made: dict[int, AbstractAdapted] = {}
    names = []
    for name, part in list(module.named_modules(remove_duplicate=False)):
        if type(part) not in (nn.Linear, nn.Conv2d) or name.startswith(inside):
            continue
        leaf = cast(Leaf, part)
        if only is not None and not only(name, leaf):
            continue
        if id(leaf) not in made:
            made[id(leaf)] = make(name, leaf)
            leaf.requires_grad_(False)
        parent, _, last = name.rpartition(".")
        setattr(module.get_submodule(parent), last, made[id(leaf)])
        names.append(name)
    if not names:
        raise ConfigError("no linear or convolution leaf was chosen for an adapter")
    return names


def fresh_pair(leaf: Leaf, rank: int, seed: int, name: str) -> Pair:
    """An adapter that changes nothing yet: ``down`` random, ``up`` zero.

    Args:
        leaf: whose form ``down`` takes (kernel, stride, padding), with ``rank`` outputs.
        rank: >= 1, number of inner features.
        seed: see :func:`restart`.
        name: see :func:`restart`.
    """
    down: Leaf
    up: Leaf
    # On "meta" torch's own start, which would draw from the global generator, costs nothing.
    with torch.device("meta"):
        if isinstance(leaf, nn.Linear):
            down = nn.Linear(leaf.in_features, rank, bias=False)
            up = nn.Linear(rank, leaf.out_features, bias=False)
        else:
            down = nn.Conv2d(
                leaf.in_channels,
                rank,
                cast(tuple[int, int], leaf.kernel_size),
                stride=cast(tuple[int, int], leaf.stride),
                padding=cast("tuple[int, int] | str", leaf.padding),
                dilation=cast(tuple[int, int], leaf.dilation),
                padding_mode=leaf.padding_mode,
                bias=False,
            )
            up = nn.Conv2d(rank, leaf.out_channels, 1, bias=False)
    for part in (down, up):
        part.to_empty(device=leaf.weight.device).to(leaf.weight.dtype)
    restart(up.weight, down.weight, seed, name)
    return Pair(down, up)


@torch.no_grad()
def restart(up: Tensor, down: Tensor, seed: int, name: str) -> None:
    """Write the start of an adapter: ``up`` zero, ``down`` uniform as torch starts its leaves.

    Args:
        up: weights, written in place.
        down: weights, written in place.
        seed: of the draw.
        name: of the layer, places the draw.
    """
    bound = 1 / math.sqrt(down[0].numel())
    rng = torch_rng(seed, "adapter", name)
    down.copy_(torch.rand(down.shape, generator=rng) * (2 * bound) - bound)
    up.zero_()
