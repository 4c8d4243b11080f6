"""Low-rank adapters: learn beside a frozen layer instead of inside it."""

import math
from typing import cast, final

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
from clnf.core.errors import ConfigError, RunError

__all__ = [
    "LowRank",
    "adapter_parameters",
    "adapter_state",
    "attach",
    "load_adapter_state",
    "scaling",
]


@final
class LowRank(AbstractAdapted):
    """y = base(x) + scale * up(down(x)).

    ``base`` is frozen. ``down`` has the form of the base (kernel, stride, padding) and r
    outputs; ``up`` is linear, or a 1x1 convolution. All three are ordinary leaves, so each can
    be hosted on a chip by itself. ``up`` starts at zero: attaching changes nothing.

    Source: Hu et al. 2021 (LoRA), section 4.1; their alpha/r is ``scale`` here.
    """

    def __init__(self, base: nn.Module, down: nn.Module, up: nn.Module, scale: float) -> None:
        super().__init__()
        self.base = base
        self.down = down
        self.up = up
        self.scale = scale
        self.padding_mode = str(getattr(base, "padding_mode", "zeros"))

    def forward(self, x: Tensor) -> Tensor:
        """The base's output plus the low-rank change, in the base's shape."""
        change = self.up(self.down(x))
        return cast(Tensor, self.base(x)).add(change, alpha=self.scale)

    def held(self) -> dict[str, Held]:
        """Its adapter, without a name."""
        return {"": Held(self.down, self.up, self.scale)}

    def summed(self, adapter: str | None) -> list[tuple[Held, float]]:
        """Its adapter, once."""
        if adapter:
            raise ConfigError(f"this layer has one adapter without a name, none called {adapter!r}")
        return [(self.held()[""], 1.0)]

    def lesson(self) -> Lesson | None:
        """Its adapter goes on from lesson to lesson."""
        return Lesson("", self.held()[""], None)


def scaling(alpha: float, rank: int, *, stabilised: bool = False) -> float:
    """The factor on an adapter's output, from what papers and files call alpha.

    alpha / r, or rank-stabilised alpha / sqrt(r): with it outputs and gradients keep their size
    as the rank grows, where alpha / r makes adapters of high rank learn no more than small ones.

    Args:
        alpha: finite.
        rank: r >= 1.
        stabilised: take the square root.

    Raises:
        ConfigError: rank or alpha is out of range.

    Source: Hu et al. 2021, section 4.1; Kalajdzievski 2023 (rsLoRA), theorem 3.2.

    >>> scaling(16, 4), scaling(16, 4, stabilised=True)
    (4.0, 8.0)
    """
    check_size(rank, alpha)
    return alpha / math.sqrt(rank) if stabilised else alpha / rank


def attach(
    module: nn.Module,
    *,
    rank: int,
    scale: float = 1.0,
    only: Chooses | None = None,
    seed: int = 0,
) -> list[str]:
    """Put an adapter on linear and convolution leaves, in place.

    Args:
        module: whose leaves get adapters; those inside existing adapters are left alone.
        rank: r >= 1, number of inner features.
        scale: factor on the adapter's output, see :func:`scaling`.
        only: takes a leaf's name and the leaf, says whether it gets one; None takes all.
        seed: places the random start of ``down`` (uniform, Kaiming, as torch does for leaves).

    Returns:
        Names of the adapted leaves, now :class:`LowRank` modules.

    Raises:
        ConfigError: rank or scale is out of range, the module itself is a leaf, or ``only``
            chose nothing.
    """
    check_size(rank, scale)

    def make(name: str, leaf: Leaf) -> LowRank:
        pair = fresh_pair(leaf, rank, seed, name)
        return LowRank(leaf, pair.down, pair.up, scale)

    return put_on(module, only, make)


def adapter_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters of all ``down`` and ``up`` parts, by their name in ``module``."""
    found: dict[str, nn.Parameter] = {}
    for name, part in module.named_modules():
        if isinstance(part, LowRank | Pair):
            for side in ("down", "up"):
                prefix = f"{name}.{side}" if name else side
                found |= dict(part.get_submodule(side).named_parameters(prefix))
    return found


def adapter_state(module: nn.Module) -> dict[str, Tensor]:
    """Copies of all adapter tensors, by name: what to save, or to share without the base."""
    return {name: p.detach().clone() for name, p in adapter_parameters(module).items()}


@torch.no_grad()
def load_adapter_state(module: nn.Module, state: dict[str, Tensor]) -> None:
    """Write tensors given by :func:`adapter_state` into a module with the same adapters.

    Where the adapters' weights are a view of cells, the cells must be programmed afterwards.

    Raises:
        RunError: names or shapes differ; nothing is written then.
    """
    own = adapter_parameters(module)
    if own.keys() != state.keys():
        odd = sorted(own.keys() ^ state.keys())
        raise RunError(f"the saved adapters do not fit this model: {', '.join(odd[:5])}")
    for name, parameter in own.items():
        if parameter.shape != state[name].shape:
            raise RunError(
                f"adapter {name} is saved as {tuple(state[name].shape)}, "
                f"the model needs {tuple(parameter.shape)}"
            )
    for name, parameter in own.items():
        parameter.copy_(state[name])
