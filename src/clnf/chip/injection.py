"""Noise while a network learns digitally, so that it bears the noise of cells afterwards."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, final

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.hooks import RemovableHandle

from clnf.core.errors import ConfigError
from clnf.core.units import quantity
from clnf.devices.draws import hash_normals

__all__ = ["Injected", "Injection", "inject"]

_LEAVES = (
    nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d,
    nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d,
)  # fmt: skip


@final
@dataclass(frozen=True, kw_only=True)
class Injection:
    """How much noise, in shares of a layer's largest weight and of converters' ranges.

    Attributes:
        weight: spread of what is added to every weight, new for each forward pass: programming
            errors and spread between devices.
        read: spread of what every weight reads more or less, new for each vector.
        bits: of converters at inputs and outputs; 0 for none.
        clip: weights beyond this many root-mean-squares of their layer are cut in place before
            each pass, since the largest weight sets all others' conductances; 0 for never.
    """

    weight: float = quantity("1", 0.06)
    read: float = quantity("1", 0.01)
    bits: int = quantity("1", 8)
    clip: float = quantity("1", 2.5)

    def __post_init__(self) -> None:
        if not all(0 <= v < math.inf for v in (self.weight, self.read, self.clip)):
            raise ConfigError(
                "weight, read and clip are at least 0 and finite, got "
                f"{self.weight}, {self.read}, {self.clip}"
            )
        if self.bits != 0 and not 2 <= self.bits <= 16:
            raise ConfigError(f"bits must be 0 (off) or 2 to 16, got {self.bits}")


@final
class Injected:
    """Noise on a module's layers while it trains; made by :func:`inject`, ends as a context.

    Attributes:
        step: forward passes in training so far, which names the next draws; set it to go on
            where another left off.
    """

    def __init__(self, module: nn.Module, injection: Injection, seed: int) -> None:
        self.injection, self.seed, self.step = injection, seed, 0
        self._hooks: list[RemovableHandle] = [module.register_forward_pre_hook(self._count)]
        for name, leaf in module.named_modules():
            if isinstance(leaf, _LEAVES):
                self._hooks.append(leaf.register_forward_pre_hook(self._drive))
                self._hooks.append(leaf.register_forward_hook(self._noisy(name)))
        if len(self._hooks) == 1:
            raise ConfigError(
                f"{type(module).__name__} has no linear layer or convolution to put noise on; "
                "give the module that holds them"
            )

    def remove(self) -> None:
        """Take the noise off."""
        for hook in self._hooks:
            hook.remove()

    def __enter__(self) -> "Injected":
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def _count(self, module: nn.Module, _: Any) -> None:
        self.step += int(module.training)

    def _drive(self, leaf: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if not leaf.training:
            return None
        if self.injection.clip:
            with torch.no_grad():
                weight = _weight(leaf)
                most = float(weight.square().mean().sqrt()) * self.injection.clip
                weight.clamp_(-most, most)
        return (_converted(args[0], self.injection.bits), *args[1:])

    def _noisy(self, name: str) -> Callable[[nn.Module, Any, Tensor], Tensor | None]:
        def add(leaf: nn.Module, args: tuple[Any, ...], out: Tensor) -> Tensor | None:
            if not leaf.training:
                return None
            weight, x = _weight(leaf), args[0]
            scale = float(weight.detach().abs().max())
            if self.injection.weight:
                noise = self._draw(name, "weight", weight) * (self.injection.weight * scale)
                out = out + _product(leaf, noise, x)
            if self.injection.read:
                with torch.no_grad():
                    power = _product(leaf, torch.ones_like(weight), x.square()).clamp_(min=0.0)
                    spread = power.sqrt_() * (self.injection.read * scale)
                out = out + spread * self._draw(name, "read", out)
            return _converted(out, self.injection.bits)

        return add

    def _draw(self, name: str, kind: Literal["weight", "read"], like: Tensor) -> Tensor:
        place = (name, kind, self.step)
        return hash_normals(self.seed, place, tuple(like.shape), device=like.device).to(like.dtype)


def inject(module: nn.Module, injection: Injection | None = None, *, seed: int) -> Injected:
    """Put noise on every linear layer and convolution of a module, while it is in training mode.

        y = Q(x~ (W + w max|W| E) + r max|W| |x~| xi),   x~ = Q(x)

    E is drawn once a pass, xi for every output, Q rounds to the codes of a symmetric converter
    whose range is the largest magnitude it sees in the pass; gradients go straight through Q.

    Args:
        module: trained as ever; changed by hooks alone.
        injection: how much; None for amounts in the middle of published cells'.
        seed: of the draws, each a function of (seed, layer, pass).

    Raises:
        ConfigError: the module has no such layer.

    Source: Joshi et al., Nat. Commun. 11, 2473 (2020), noise on weights and their clipping;
    Rasch et al., Nat. Commun. 14, 5282 (2023), noise on outputs and converters.

    >>> net = nn.Sequential(nn.Linear(4, 2))
    >>> with inject(net, Injection(weight=0.1), seed=1):
    ...     bool((net(torch.ones(1, 4)) != net(torch.ones(1, 4))).all())
    True
    """
    return Injected(module, injection or Injection(), seed)


def _weight(leaf: nn.Module) -> Tensor:
    weight = leaf.weight
    assert isinstance(weight, Tensor)
    return weight


def _product(leaf: nn.Module, weight: Tensor, x: Tensor) -> Tensor:
    """What the layer would give with other weights and no bias; no hook runs twice."""
    held = {"weight": weight}
    if getattr(leaf, "bias", None) is not None:
        held["bias"] = torch.zeros_like(leaf.bias)  # type: ignore[arg-type]
    bare = _Bare(leaf)
    product: Tensor = functional_call(bare, {f"leaf.{k}": v for k, v in held.items()}, (x,))
    return product


@final
class _Bare(nn.Module):
    """A layer's forward without its hooks."""

    def __init__(self, leaf: nn.Module) -> None:
        super().__init__()
        self.leaf = leaf

    def forward(self, x: Tensor) -> Any:
        return self.leaf.forward(x)


def _converted(x: Tensor, bits: int) -> Tensor:
    if not bits:
        return x
    top = 2 ** (bits - 1) - 1
    with torch.no_grad():
        step = x.abs().max().clamp(min=1e-30) / top
        rounded = (x / step).round_().mul_(step)
    return x + (rounded - x).detach()
