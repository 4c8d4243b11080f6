"""Noise on hosted layers while a lesson is taught, beside the chip's own."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.func import functional_call

from clnf.chip.analog import AbstractAnalog
from clnf.chip.hosting import Chip
from clnf.chip.injection import Injection
from clnf.devices.draws import hash_normals

__all__ = ["TeachingNoise"]


@final
class TeachingNoise:
    """Adds what :func:`clnf.chip.injection.inject` adds, to layers that already lie on tiles.

        y = Q(y_chip + w max|W| E x + r max|W| |x| xi)

    E is drawn once a pass, xi for every output; Q rounds to the codes of a symmetric converter
    whose range is the largest magnitude of the pass, and gradients go straight through it. The
    chip's own noise and converters stay. It is there in training mode only, costs nothing in the
    ledger, and leaves the cells alone.

    Args:
        net: the module whose passes are counted.
        chip: its layers.
        leaves: the layers as they were before they were hosted, by name; for their geometry.
        injection: how much; its ``clip`` is not for weights that are cells, and must be 0.
        seed: of the draws, each a function of (seed, layer, pass).

    Attributes:
        step: passes in training so far, which names the next draws.
    """

    def __init__(
        self,
        net: nn.Module,
        chip: Chip,
        leaves: Mapping[str, nn.Module],
        injection: Injection,
        *,
        seed: int,
    ) -> None:
        self.injection, self.seed, self.step = injection, seed, 0
        self._on = True
        net.register_forward_pre_hook(self._count)
        for name, layer in chip.layers.items():
            layer.register_forward_hook(self._noisy(name, leaves[name]))

    @contextmanager
    def off(self) -> Iterator[None]:
        """No noise and no counting, for those who measure in training mode."""
        self._on = False
        try:
            yield
        finally:
            self._on = True

    def _count(self, module: nn.Module, _: Any) -> None:
        self.step += int(module.training and self._on)

    def _noisy(self, name: str, leaf: nn.Module) -> Any:
        def add(layer: AbstractAnalog, args: tuple[Tensor, ...], out: Tensor) -> Tensor | None:
            if not (layer.training and self._on):
                return None
            part, x, weight = self.injection, args[0], layer.weight.detach()
            scale = float(weight.abs().max())
            if part.weight:
                draw = self._draw(name, "weight", weight) * (part.weight * scale)
                out = out + _product(leaf, draw, x)
            if part.read:
                with torch.no_grad():
                    power = _product(leaf, torch.ones_like(weight), x.square()).clamp_(min=0.0)
                    spread = power.sqrt_().mul_(part.read * scale)
                    spread.mul_(self._draw(name, "read", out))
                out = out + spread
            return _rounded(out, part.bits)

        return add

    def _draw(self, name: str, kind: str, like: Tensor) -> Tensor:
        place = (name, kind, self.step)
        return hash_normals(self.seed, place, tuple(like.shape), device=like.device).to(like.dtype)


def _product(leaf: nn.Module, weight: Tensor, x: Tensor) -> Tensor:
    """What a layer of this geometry gives with other weights and no bias."""
    held = {"weight": weight}
    if isinstance(leaf.bias, Tensor):
        held["bias"] = torch.zeros_like(leaf.bias)
    product: Tensor = functional_call(leaf, held, (x,))
    return product


def _rounded(y: Tensor, bits: int) -> Tensor:
    if not bits:
        return y
    with torch.no_grad():
        step = y.abs().max().clamp(min=1e-30) / (2 ** (bits - 1) - 1)
        off = (y / step).round_().mul_(step).sub_(y)
    return y + off
