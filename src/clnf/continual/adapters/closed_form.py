"""A penalty whose gradient is worked out by hand enters the graph as one node."""

from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor

__all__ = ["with_gradients"]


def with_gradients(value: Tensor, weights: Sequence[Tensor], gradients: Sequence[Tensor]) -> Tensor:
    """A number that torch takes for a function of the weights with these gradients.

    One node for a whole model, where autograd would record half a dozen for each layer.

    Args:
        value: a scalar, worked out without gradients.
        weights: what it depends on; those that need no gradient get none.
        gradients: d value / d weight, in the weight's shape; used up by the backward pass.
    """
    out: Tensor = _Known.apply(value, list(gradients), *weights)  # type: ignore[no-untyped-call]
    return out


@final
class _Known(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, gradients: list[Tensor], *_weights: Tensor) -> Tensor:
        ctx.gradients = gradients
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        gradients, ctx.gradients = ctx.gradients, None
        torch._foreach_mul_(gradients, grads[0])
        needs = ctx.needs_input_grad[2:]
        return None, None, *(g if need else None for g, need in zip(gradients, needs, strict=True))
