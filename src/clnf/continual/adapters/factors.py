"""Low-rank changes as plain numbers, apart from any module: what files hold."""

from collections.abc import Mapping
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from clnf.continual.adapters.low_rank import LowRank
from clnf.continual.adapters.pairs import Held, Leaf, adapted, fresh_pair, put_on
from clnf.core.errors import ConfigError
from clnf.core.tensors import not_finite

__all__ = ["Factors", "attach_factors", "copy_in", "factors_of"]


class Factors(NamedTuple):
    """The low-rank change of one layer: scale * up @ down.

    Attributes:
        down: [r, I] for a linear layer, [r, I, height, width] for a convolution.
        up: [O, r], or [O, r, 1, 1].
        scale: factor on the product.
    """

    down: Tensor
    up: Tensor
    scale: float

    @property
    def rank(self) -> int:
        """Number of inner features, r."""
        return len(self.down)


def factors_of(module: nn.Module, adapter: str | None = None) -> dict[str, Factors]:
    """Copies of an adapter's factors on the CPU, by layer.

    On a chip these are the weights that the cells read now.

    Args:
        module: with adapters.
        adapter: which one, where layers have several; None where each has one.

    Raises:
        ConfigError: the module has no adapters, or none or several of that name.
    """
    parts = adapted(module)
    if not parts:
        raise ConfigError("this module has no adapters; attach some first")
    found = {}
    for name, part in parts.items():
        held = part.held()
        key = next(iter(held)) if adapter is None and len(held) == 1 else adapter
        if key is None or key not in held:
            names = ", ".join(map(repr, held)) or "none"
            asked = "which one is not said" if adapter is None else f"none is {adapter!r}"
            raise ConfigError(f"the adapters of {name or 'the module'} are {names}; {asked}")
        up, down = (weight.detach().to("cpu", copy=True) for weight in held[key].weights)
        found[name] = Factors(down, up, held[key].scale)
    return found


def attach_factors(module: nn.Module, factors: Mapping[str, Factors]) -> list[str]:
    """Put an adapter with known factors on each of their layers, in place.

    Args:
        module: with plain linear or convolution leaves of these names.
        factors: by name.

    Returns:
        Names of the adapted leaves, now :class:`LowRank` modules.

    Raises:
        ConfigError: a name is no plain leaf of the module, a shape does not fit, or a number is
            not finite; nothing is attached then.
    """
    leaves = {
        name: part for name, part in module.named_modules() if type(part) in (nn.Linear, nn.Conv2d)
    }
    odd = [name for name in factors if name not in leaves]
    if odd:
        raise ConfigError(
            f"the module has no plain linear or convolution leaf named {', '.join(odd[:3])}"
        )
    made = {}
    for name, given in factors.items():
        leaf = cast(Leaf, leaves[name])
        pair = fresh_pair(leaf, given.rank, 0, name)
        copy_in(name, Held(pair.down, pair.up, given.scale), given)
        made[name] = LowRank(leaf, pair.down, pair.up, given.scale)
    return put_on(module, lambda name, _: name in made, lambda name, _: made[name])


@torch.no_grad()
def copy_in(layer: str, held: Held, given: Factors) -> None:
    """Write factors into an adapter's weights.

    Raises:
        ConfigError: a shape does not fit, or a number is not finite.
    """
    values = (given.up, given.down)
    for side, weight, value in zip(("up", "down"), held.weights, values, strict=True):
        if weight.shape != value.shape:
            raise ConfigError(
                f"{side} of {layer} has shape {[*value.shape]}, the layer needs {[*weight.shape]}"
            )
        fault = not_finite(value)
        if fault:
            raise ConfigError(f"{side} of {layer} has {fault}; such an adapter answers nothing")
    for weight, value in zip(held.weights, values, strict=True):
        weight.copy_(value)
