"""Adapters become part of their layers' weights, and come out again to the bit."""

import hashlib
from collections.abc import Iterator
from typing import NamedTuple, cast, final

import torch
from torch import Tensor, nn

from clnf.continual.adapters.low_rank import LowRank
from clnf.continual.adapters.pairs import AbstractAdapted, Held, Leaf, adapted, restart
from clnf.core.errors import ConfigError, RunError
from clnf.core.rng import fold
from clnf.core.tensors import not_finite

__all__ = ["Merged", "merge", "settle"]


class _Taken(NamedTuple):
    """A layer whose adapters were merged."""

    places: list[str]
    part: AbstractAdapted
    before: Tensor
    after: bytes


@final
class Merged:
    """What :func:`merge` did, and the way back. Holds a copy of each weight it changed."""

    def __init__(self, module: nn.Module, taken: list[_Taken]) -> None:
        self._module, self._taken = module, taken

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the layers that are plain ones now."""
        return tuple(name for taken in self._taken for name in taken.places)

    @torch.no_grad()
    def undo(self) -> None:
        """Put the adapters back beside weights that are, to the bit, what they were.

        Raises:
            RunError: it was undone before, or a layer was replaced or its weight written since;
                nothing is changed then.
        """
        if not self._taken:
            raise RunError("this merge was undone before")
        for places, part, _, after in self._taken:
            leaf = cast(Leaf, part.base)
            found = all(self._module.get_submodule(place) is leaf for place in places)
            if not found or _digest(leaf.weight) != after:
                raise RunError(
                    f"{places[0]} was changed since its adapters were merged; they cannot be "
                    "taken out again"
                )
        for places, part, before, _ in self._taken:
            cast(Leaf, part.base).weight.copy_(before)
            for place in places:
                _put(self._module, place, part)
        self._taken = []


@torch.no_grad()
def merge(module: nn.Module, adapter: str | None = None) -> Merged:
    """Add every layer's change to its weight and leave the plain layer in its place.

    weight + sum_k weight_k scale_k up_k @ down_k, summed in double precision and rounded once.
    The module answers as before up to rounding, without the cost of adapters. Adapters that are
    on a chip are merged as their cells read now.

    Args:
        module: holds layers with adapters.
        adapter: one of several: the concept of a switch, or one of a stack at its full scale;
            None merges what a stack says now, as loud as it says it.

    Returns:
        The way back.

    Raises:
        ConfigError: there is no adapter or not such a one, the module itself is the adapted layer,
            a layer lies on a chip, or a convolution has groups.
        RunError: a merged weight is not finite. Nothing is changed in either case.
    """
    places: dict[int, list[str]] = {}
    for name, part in module.named_modules(remove_duplicate=False):
        if isinstance(part, AbstractAdapted):
            places.setdefault(id(part), []).append(name)
    if isinstance(module, AbstractAdapted):
        raise ConfigError("a layer cannot be replaced in itself; merge in the module holding it")
    done = []
    for name, part in _each(module):
        weight = _sum(name, part, part.summed(adapter))
        done.append((places[id(part)], part, weight))
    taken = []
    for names, part, weight in done:
        leaf = cast(Leaf, part.base)
        taken.append(_Taken(names, part, leaf.weight.detach().clone(), _digest(weight)))
        leaf.weight.copy_(weight)
        for name in names:
            _put(module, name, leaf)
    return Merged(module, taken)


@torch.no_grad()
def settle(module: nn.Module, *, seed: int) -> None:
    """Merge each layer's one adapter for good and start it anew, in place.

    So a lesson begins with a fresh adapter, as C-LoRA and O-LoRA ask, while optimizers keep the
    parameters they have (clear their moments). Nothing grows with the number of lessons.

    Args:
        module: whose layers are :class:`~clnf.continual.adapters.LowRank`.
        seed: of the new starts; give each lesson its own.

    Raises:
        ConfigError: as for :func:`merge`, or a layer has a switch or a stack.
        RunError: a merged weight is not finite. Nothing is changed in either case.
    """
    parts = list(_each(module))
    for name, part in parts:
        if not isinstance(part, LowRank):
            raise ConfigError(f"{name} has several adapters; add the next one to the stack instead")
        if not isinstance(part.down, Leaf):
            raise ConfigError(f"the adapter of {name} lies on a chip; host a stack instead")
    for weight, (_, part) in zip(
        [_sum(name, part, part.summed(None)) for name, part in parts], parts, strict=True
    ):
        cast(Leaf, part.base).weight.copy_(weight)
    for name, part in parts:
        restart(*part.held()[""].weights, fold(seed, "settle"), name)


def _each(module: nn.Module) -> Iterator[tuple[str, AbstractAdapted]]:
    parts = adapted(module)
    if not parts:
        raise ConfigError("this module has no adapters; attach some first")
    for name, part in parts.items():
        if type(part.base) not in (nn.Linear, nn.Conv2d):
            raise ConfigError(
                f"{name} lies on a chip; merge before hosting, then write the cells once"
            )
        yield name, part


def _sum(name: str, part: AbstractAdapted, changes: list[tuple[Held, float]]) -> Tensor:
    """The merged weight, in the layer's type."""
    old = cast(Tensor, part.base.weight)
    total = old.detach().cpu().double()  # not every device has double precision
    for held, weight in changes:
        up, down = (factor.detach().cpu().double() for factor in held.weights)
        change = (up.flatten(1) @ down.flatten(1)).view(len(up), *down.shape[1:])
        if change.shape != total.shape:
            raise ConfigError(
                f"{name} is a convolution with groups, and its adapter joins them; no weight of "
                "that layer says the same"
            )
        total = total.add(change, alpha=weight * held.scale)
    total = total.to(old.dtype)
    fault = not_finite(total)
    if fault:
        raise RunError(f"merging would make the weight of {name} {fault}")
    return total


def _put(module: nn.Module, name: str, part: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(module.get_submodule(parent), last, part)


def _digest(weight: Tensor) -> bytes:
    flat = weight.detach().cpu().contiguous().flatten().view(torch.uint8)
    return hashlib.blake2b(flat.numpy().tobytes()).digest()
