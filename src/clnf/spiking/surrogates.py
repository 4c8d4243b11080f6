"""Slopes that stand in for the derivative of a spike.

    forward   z = 1 if u > 0 else 0,   u = v - threshold
    backward  dz/du := s(u)

A spike is a step, and its derivative says nothing; a surrogate gives the backward pass a slope near
the threshold. Four shapes, each with a width and a height, in volts:

    FastSigmoid  s = h / (1 + |u| / w)^2
    Arctan       s = h / (1 + (u / w)^2)
    Triangle     s = h max(0, 1 - |u| / w)
    Boxcar       s = h if |u| < w else 0

The last two are 0 beyond their width. What is 0 need not be computed: that is what event-driven
backward passes live on.

Sources: Zenke & Ganguli, Neural Computation 2018 (fast sigmoid); Fang et al., ICCV 2021 (arctan);
Bellec et al., Nature Communications 2020 (triangle); Hubara et al., JMLR 2018 (boxcar).
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from clnf.core.errors import ConfigError
from clnf.core.inputs import check_fields
from clnf.core.units import quantity

__all__ = ["AbstractSurrogate", "Arctan", "Boxcar", "FastSigmoid", "Triangle", "spike"]


@dataclass(frozen=True, kw_only=True)
class AbstractSurrogate(ABC):
    """A slope around the threshold.

    Attributes:
        width_v: how far from the threshold it reaches, w.
        height_per_v: slope at the threshold, h.
        code: its number in compiled kernels.
        compact: whether it is 0 beyond its width.
    """

    width_v: float = quantity("V", 0.5)
    height_per_v: float = quantity("1/V", 1.0)

    code: ClassVar[int]
    compact: ClassVar[bool]

    def __post_init__(self) -> None:
        check_fields(self)
        if not (0 < self.width_v < float("inf") and 0 < self.height_per_v < float("inf")):
            raise ConfigError(
                "a surrogate has a width and a height above 0, got "
                f"{self.width_v} V and {self.height_per_v} per volt"
            )

    @abstractmethod
    def slope(self, over_v: Tensor) -> Tensor:
        """s(u) for u in volts over the threshold, any shape, in 1/V."""


@final
@dataclass(frozen=True, kw_only=True)
class FastSigmoid(AbstractSurrogate):
    """``h / (1 + |u| / w)^2``.

    >>> FastSigmoid(width_v=0.5).slope(torch.tensor([0.0, 0.5]))
    tensor([1.0000, 0.2500])
    """

    code: ClassVar[int] = 0
    compact: ClassVar[bool] = False

    def slope(self, over_v: Tensor) -> Tensor:
        part = over_v.abs() * (1.0 / self.width_v) + 1.0
        return self.height_per_v / (part * part)


@final
@dataclass(frozen=True, kw_only=True)
class Arctan(AbstractSurrogate):
    """``h / (1 + (u / w)^2)``; the usual alpha is w = 2 / (pi alpha), h = alpha / 2.

    >>> Arctan(width_v=0.5).slope(torch.tensor([0.0, 0.5]))
    tensor([1.0000, 0.5000])
    """

    code: ClassVar[int] = 1
    compact: ClassVar[bool] = False

    def slope(self, over_v: Tensor) -> Tensor:
        part = over_v * (1.0 / self.width_v)
        return self.height_per_v / (part * part + 1.0)


@final
@dataclass(frozen=True, kw_only=True)
class Triangle(AbstractSurrogate):
    """``h max(0, 1 - |u| / w)``, 0 beyond w.

    >>> Triangle(width_v=0.5).slope(torch.tensor([0.0, 0.25, 0.75]))
    tensor([1.0000, 0.5000, 0.0000])
    """

    code: ClassVar[int] = 2
    compact: ClassVar[bool] = True

    def slope(self, over_v: Tensor) -> Tensor:
        part = 1.0 - over_v.abs() * (1.0 / self.width_v)
        return self.height_per_v * part.clamp_min(0.0)


@final
@dataclass(frozen=True, kw_only=True)
class Boxcar(AbstractSurrogate):
    """``h`` within w of the threshold, 0 beyond.

    >>> Boxcar(width_v=0.5).slope(torch.tensor([0.0, 0.25, 0.75]))
    tensor([1., 1., 0.])
    """

    code: ClassVar[int] = 3
    compact: ClassVar[bool] = True

    def slope(self, over_v: Tensor) -> Tensor:
        near = over_v.abs() * (1.0 / self.width_v) < 1.0
        return near.to(over_v.dtype) * self.height_per_v


@final
class _Spike(torch.autograd.Function):
    # Written so that torch.func may map and differentiate it, and twice.
    generate_vmap_rule = True

    @staticmethod
    def forward(over_v: Tensor, surrogate: AbstractSurrogate) -> Tensor:
        return (over_v > 0).to(over_v.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        over_v, ctx.surrogate = inputs
        ctx.save_for_backward(over_v)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (over_v,) = ctx.saved_tensors
        return grads[0] * ctx.surrogate.slope(over_v), None


def spike(over_v: Tensor, surrogate: AbstractSurrogate) -> Tensor:
    """1 where ``over_v`` > 0, else 0, with a surrogate's slope for its derivative.

    Args:
        over_v: potential minus threshold, V, any shape and device.
        surrogate: of the backward pass.

    Returns:
        0 and 1 in the type of ``over_v``.

    >>> spike(torch.tensor([-0.1, 0.0, 0.1]), Triangle())
    tensor([0., 0., 1.])
    """
    return _Spike.apply(over_v, surrogate)  # type: ignore[no-untyped-call]
