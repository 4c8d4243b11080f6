"""Low-rank adapters: learn beside a frozen layer instead of inside it."""

import math
from collections.abc import Callable
from typing import cast, final

import torch
from torch import Tensor, nn

from clnf.core.errors import ConfigError, RunError
from clnf.core.rng import torch_rng

__all__ = ["LowRank", "adapter_parameters", "adapter_state", "attach", "load_adapter_state"]

Leaf = nn.Linear | nn.Conv2d


@final
class LowRank(nn.Module):
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

    def forward(self, x: Tensor) -> Tensor:
        """The base's output plus the low-rank change, in the base's shape."""
        change = self.up(self.down(x))
        return cast(Tensor, self.base(x)).add(change, alpha=self.scale)


def attach(
    module: nn.Module,
    *,
    rank: int,
    scale: float = 1.0,
    only: Callable[[str, Leaf], bool] | None = None,
    seed: int = 0,
) -> list[str]:
    """Put an adapter on linear and convolution leaves, in place.

    Args:
        module: whose leaves get adapters; those inside existing adapters are left alone.
        rank: r >= 1, number of inner features.
        scale: factor on the adapter's output.
        only: takes a leaf's name and the leaf, says whether it gets one; None takes all.
        seed: places the random start of ``down`` (uniform, Kaiming, as torch does for leaves).

    Returns:
        Names of the adapted leaves, now :class:`LowRank` modules.

    Raises:
        ConfigError: rank or scale is out of range, the module itself is a leaf, or ``only``
            chose nothing.
    """
    if rank < 1 or not math.isfinite(scale):
        raise ConfigError(f"an adapter needs rank >= 1 and a finite scale, got {rank} and {scale}")
    if isinstance(module, Leaf):
        raise ConfigError("a leaf cannot be replaced in itself; attach to the module holding it")
    inside = [f"{name}." for name, part in module.named_modules() if isinstance(part, LowRank)]
    made: dict[int, LowRank] = {}
    names = []
    for name, leaf in list(module.named_modules(remove_duplicate=False)):
        if type(leaf) not in (nn.Linear, nn.Conv2d) or name.startswith(tuple(inside)):
            continue
        if only is not None and not only(name, cast(Leaf, leaf)):
            continue
        if id(leaf) not in made:
            made[id(leaf)] = _adapt(cast(Leaf, leaf), rank, scale, torch_rng(seed, "adapter", name))
        parent, _, last = name.rpartition(".")
        setattr(module.get_submodule(parent), last, made[id(leaf)])
        names.append(name)
    if not names:
        raise ConfigError("no linear or convolution leaf was chosen for an adapter")
    return names


def _adapt(leaf: Leaf, rank: int, scale: float, rng: torch.Generator) -> LowRank:
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
    bound = 1 / math.sqrt(down.weight[0].numel())
    start = torch.rand(down.weight.shape, generator=rng) * (2 * bound) - bound
    with torch.no_grad():
        down.weight.copy_(start)
        up.weight.zero_()
    leaf.requires_grad_(False)
    return LowRank(leaf, down, up, scale)


def adapter_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters of all ``down`` and ``up`` parts, by their name in ``module``."""
    found: dict[str, nn.Parameter] = {}
    for name, part in module.named_modules():
        if isinstance(part, LowRank):
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
