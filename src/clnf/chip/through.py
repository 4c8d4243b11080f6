"""The analog product as torch sees it, with its way back."""

from typing import Any, Protocol, final

import torch
from torch import Tensor

__all__ = ["Reads", "Through"]


class Reads(Protocol):
    """What the product needs of a layer; on the way back also its ``back`` and ``outer``.

    Attributes:
        capture: where vectors for outer products go; None where they are not wanted.
        training: as of any module.
    """

    capture: list[tuple[list[Tensor], Tensor]] | None
    training: bool

    def read(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """One noisy product, and what was driven for it."""
        ...


@final
class Through(torch.autograd.Function):
    """The analog product with its way back; quantisation passes gradients straight through.

    Where a layer captures vectors for outer products, no gradient of its weights is worked out in
    training mode: it would cost a product as large as the forward one, and nobody reads it.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, layer: Reads) -> Tensor:
        """One noisy product of an input and a layer's cells."""
        out, driven = layer.read(x.detach())
        ctx.layer = layer
        ctx.x_shape = x.shape
        ctx.dense = layer.capture is None or not layer.training
        keep = driven if weight.requires_grad or layer.capture is not None else []
        ctx.save_for_backward(weight, *keep)
        return out.to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of input, weight (or None, see above) and bias; vectors are captured."""
        weight, *driven = ctx.saved_tensors
        layer, grad = ctx.layer, grads[0].float()
        needs = ctx.needs_input_grad
        dense = needs[1] and ctx.dense
        if layer.capture is not None:
            layer.capture.append((driven, grad.detach()))
        with layer.plain():
            to_x = layer.back(grad, weight, ctx.x_shape) if needs[0] else None
            to_weight = layer.outer(driven, grad, weight) if dense else None
        to_bias = layer.vectors(grad).sum(0) if needs[2] else None
        return to_x, to_weight, to_bias, None
