"""A stack of adapters: their changes add up, one learns, those before it stay as they are."""

import math
from collections.abc import Mapping
from typing import Any, cast, final

import torch
from torch import Tensor, nn

from clnf.continual.adapters.factors import Factors, copy_in
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
from clnf.core.errors import ConfigError, RunError
from clnf.core.inputs import number
from clnf.core.rng import fold

__all__ = ["Mix", "Stack", "StackedLowRank"]


@final
class Mix:
    """What all layers of one stack look at.

    Attributes:
        weights: how loud each adapter is, by name, in the order they were added.
        learning: name of the one that learns; None for none.
    """

    def __init__(self) -> None:
        self.weights: dict[str, float] = {}
        self.learning: str | None = None


@final
class StackedLowRank(AbstractAdapted):
    """y = base(x) + sum_k weight_k scale_k up_k(down_k(x)).

    Adapters of weight 0 are not read at all. All parts are ordinary leaves, so each can be hosted
    on tiles of its own: ``NAME.of.ADAPTER.down`` and ``.up``. Made by :class:`Stack`.
    """

    def __init__(self, base: nn.Module, mix: Mix) -> None:
        super().__init__()
        self.base, self.mix = base, mix
        self.of, self.scales = nn.ModuleDict(), dict[str, float]()
        self.padding_mode = str(getattr(base, "padding_mode", "zeros"))

    def forward(self, x: Tensor) -> Tensor:
        """The base's output plus the sum of the changes."""
        out = cast(Tensor, self.base(x))
        for name, weight in self.mix.weights.items():
            if weight:
                out = out.add(self.of[name](x), alpha=weight * self.scales[name])
        return out

    def held(self) -> dict[str, Held]:
        """Its adapters in the order they were added."""
        found = {}
        for name in self.mix.weights:
            pair = cast(Pair, self.of[name])
            found[name] = Held(pair.down, pair.up, self.scales[name])
        return found

    def summed(self, adapter: str | None) -> list[tuple[Held, float]]:
        """Those that are heard, as loud as they are; or the named one at its full scale."""
        held = self.held()
        if adapter is not None and adapter not in held:
            raise ConfigError(f"no adapter {adapter!r}; there are {', '.join(held) or 'none'}")
        if adapter is not None:
            return [(held[adapter], 1.0)]
        return [(held[name], weight) for name, weight in self.mix.weights.items() if weight]

    def lesson(self) -> Lesson | None:
        """The one that learns, and those added before it."""
        name = self.mix.learning
        if name is None:
            return None
        held = self.held()
        names = list(held)
        return Lesson(name, held[name], [held[other] for other in names[: names.index(name)]])


@final
class Stack:
    """The adapters of a module, one after another.

    Each layer has all of them, and its answer is the base's plus their weighted sum. One at a
    time learns; all others are frozen.

    On a chip the cells are there from the start: add the adapters of all lessons, host, make the
    optimizer, then let one after the other :meth:`learn`. A frozen adapter's cells get no pulse
    where pulses are made of gradients; pulses of outer products ask no gradient, so shut its
    tiles by a gate as well (:mod:`clnf.chip.groups`, the word after ``of`` names the group).

    Args:
        module: whose leaves get adapters, in place; nothing changes until one has learned.
        rank: of each new adapter, >= 1.
        scale: factor on a new adapter's output, see :func:`~clnf.continual.adapters.scaling`.
        only: takes a leaf's name and the leaf, says whether it gets adapters; None takes all.
        seed: places the random starts, by the adapter's name.

    Raises:
        ConfigError: rank or scale is out of range, the module itself is a leaf, or ``only``
            chose nothing.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        rank: int,
        scale: float = 1.0,
        only: Chooses | None = None,
        seed: int = 0,
    ) -> None:
        check_size(rank, scale)
        self._rank, self._scale, self._seed = rank, scale, seed
        self._mix, self._module = Mix(), module
        self._layers: dict[str, StackedLowRank] = {}

        def make(name: str, leaf: Leaf) -> StackedLowRank:
            self._layers[name] = StackedLowRank(leaf, self._mix)
            return self._layers[name]

        put_on(module, only, make)

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers that have adapters."""
        return tuple(self._layers)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the adapters, in the order they were added."""
        return tuple(self._mix.weights)

    @property
    def weights(self) -> dict[str, float]:
        """How loud each adapter is."""
        return dict(self._mix.weights)

    @property
    def learning(self) -> str | None:
        """The adapter that learns."""
        return self._mix.learning

    def add(self, name: str, factors: Mapping[str, Factors] | None = None) -> None:
        """Put another adapter on every layer, at weight 1.

        Args:
            name: not yet taken, without dots.
            factors: what it has learned elsewhere, by layer, as a file gives it; it is then
                frozen. None makes a fresh one, and this one learns from now on.

        Raises:
            ConfigError: the name cannot be taken, the layers lie on a chip or are merged, or
                factors are not for these layers; nothing is added then.
        """
        if not name or "." in name or name in self._mix.weights:
            raise ConfigError(
                f"an adapter needs a name of its own without dots, got {name!r} beside "
                f"{', '.join(self.names) or 'none'}"
            )
        odd = sorted(set(factors or {}) - set(self._layers))
        if odd:
            raise ConfigError(
                f"these factors are for {', '.join(odd[:3])}, where the stack has no layer"
            )
        made = {layer: self._made(name, layer, factors) for layer in self._layers}
        for layer, (pair, scale) in made.items():
            part = self._layers[layer]
            part.of[name] = pair.requires_grad_(False)
            part.scales[name] = scale
        self._mix.weights[name] = 1.0
        if factors is None:
            self.learn(name)

    def _made(
        self, name: str, layer: str, factors: Mapping[str, Factors] | None
    ) -> tuple[Pair, float]:
        base = self._layers[layer].base
        if self._module.get_submodule(layer) is not self._layers[layer]:
            raise ConfigError(f"{layer} was merged or replaced; undo that, or make another stack")
        if type(base) not in (nn.Linear, nn.Conv2d):
            raise ConfigError(
                f"{layer} lies on a chip, where no cells can be added; add all adapters, then host"
            )
        leaf, seed = cast(Leaf, base), fold(self._seed, "stack", name)
        given = None if factors is None else factors.get(layer)
        pair = fresh_pair(leaf, self._rank if given is None else given.rank, seed, layer)
        if given is not None:
            copy_in(layer, Held(pair.down, pair.up, given.scale), given)
        return pair, self._scale if given is None else given.scale

    def learn(self, name: str | None) -> None:
        """Let one adapter learn and freeze the others; None freezes all.

        An optimizer steps what it was given: give it the parameters that require gradients now,
        or those of all adapters from the start.

        Raises:
            ConfigError: there is no such adapter.
        """
        if name is not None:
            self._check(name)
        self._mix.learning = name
        for layer in self._layers.values():
            for other, pair in layer.of.items():
                pair.requires_grad_(other == name)

    def parameters(self, name: str | None = None) -> list[nn.Parameter]:
        """Factors of one adapter over all layers, of the one that learns where none is named.

        Raises:
            ConfigError: there is no such adapter, or none is named and none learns.
        """
        name = self._check(name or self._mix.learning or "")
        return [p for layer in self._layers.values() for p in layer.of[name].parameters()]

    def weigh(self, name: str, weight: float) -> None:
        """Set how loud an adapter is: 1 as it learned, 0 unheard.

        Raises:
            ConfigError: there is no such adapter, or the weight is not finite.
        """
        self._check(name)
        if not math.isfinite(number("weight", weight, nan=True)):
            raise ConfigError(f"the weight of an adapter is finite, got {weight}")
        self._mix.weights[name] = float(weight)

    def drop(self, name: str) -> None:
        """Take an adapter away from every layer.

        Raises:
            ConfigError: there is no such adapter.
        """
        self._check(name)
        if self._mix.learning == name:
            self._mix.learning = None
        del self._mix.weights[name]
        for layer in self._layers.values():
            del layer.of[name], layer.scales[name]

    def _check(self, name: str) -> str:
        if name not in self._mix.weights:
            raise ConfigError(f"no adapter {name!r}; there are {', '.join(self.names) or 'none'}")
        return name

    def state_dict(self) -> dict[str, Any]:
        """Names, weights and the one that learns; the factors are the module's."""
        weights = torch.tensor(list(self._mix.weights.values()), dtype=torch.float64)
        return {"names": list(self.names), "weights": weights, "learning": self.learning or ""}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave, on a stack with the same adapters.

        Raises:
            RunError: it has others.
        """
        if list(state["names"]) != list(self.names):
            raise RunError(
                f"this stack was saved with {', '.join(state['names']) or 'no adapters'}, it has "
                f"{', '.join(self.names) or 'none'}; add the same ones in the same order"
            )
        self._mix.weights = dict(zip(self.names, state["weights"].tolist(), strict=True))
        self.learn(state["learning"] or None)
