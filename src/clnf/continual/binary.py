"""Binary layers with hidden weights, and the optimizer that makes them metaplastic."""

import math
from collections.abc import Callable, Iterable
from typing import Any, cast, final

import torch
from torch import Tensor, nn
from torch.nn import functional

from clnf.continual.guards.metaplastic import stiffen
from clnf.core.errors import ConfigError

__all__ = ["BinaryLinear", "MetaplasticAdam", "Sign"]


class _StraightSign(torch.autograd.Function):
    """The sign, 1 at zero; gradients pass where |x| <= reach."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, reach: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.reach = reach
        return torch.where(x >= 0, 1.0, -1.0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return outputs[0] * (x.abs() <= ctx.reach), None


_sign = cast("Callable[[Tensor, float], Tensor]", _StraightSign.apply)


@final
class Sign(nn.Module):
    """Activation +1 or -1; its gradient is that of a clamp to [-1, 1]."""

    def forward(self, x: Tensor) -> Tensor:
        """The sign of each entry, in the shape of ``x``."""
        return _sign(x, 1.0)


@final
class BinaryLinear(nn.Module):
    """y = x sign(W)^T; ``weight`` is the hidden W, which gradients reach unchanged.

    In hardware the hidden weight is a multilevel cell and its sign what is read. Normalise what
    comes out of it, with one BatchNorm per lesson or ``track_running_stats=False``: running
    statistics shared by lessons undo what the weights keep.

    Args:
        inputs: features in.
        outputs: features out.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.Linear(inputs, outputs, bias=False).weight.detach())

    def forward(self, x: Tensor) -> Tensor:
        """Shape [..., inputs] to [..., outputs]."""
        return functional.linear(x, _sign(self.weight, math.inf))


@final
class MetaplasticAdam(torch.optim.Optimizer):
    """Adam whose step on hidden weights is weakened where it would shrink them.

    With m_t the first moment: where sign(W) m_t > 0 the step is
    lr (1 - tanh(m |W|)^2) m_hat / (sqrt(v_hat) + eps), elsewhere Adam's own. Groups with
    ``metaplasticity`` 0 (biases, normalisation) take plain Adam.

    Args:
        params: parameters or groups; a group may set its own ``metaplasticity``.
        lr: learning rate, > 0.
        metaplasticity: m.
        betas: decay of both moments.
        eps: in the denominator.

    Source: Laborieux et al. 2021, algorithm 1.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        *,
        lr: float,
        metaplasticity: float = 1.35,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        if not (lr > 0 and metaplasticity >= 0 and all(0 <= b < 1 for b in betas)):
            raise ConfigError(
                f"metaplastic Adam needs lr > 0, m >= 0 and betas in [0, 1), "
                f"got {lr}, {metaplasticity} and {betas}"
            )
        defaults = {"lr": lr, "metaplasticity": metaplasticity, "betas": betas, "eps": eps}
        super().__init__(cast(Any, params), defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step on all gradients."""
        for group in self.param_groups:
            weights = [p for p in group["params"] if p.grad is not None]
            if weights:
                self._move(group, weights)

    def _move(self, group: dict[str, Any], weights: list[Tensor]) -> None:
        for weight in weights:
            if not self.state[weight]:
                self.state[weight]["step"] = 0
                self.state[weight]["exp_avg"] = torch.zeros_like(weight)
                self.state[weight]["exp_avg_sq"] = torch.zeros_like(weight)
            self.state[weight]["step"] += 1
        first = [self.state[w]["exp_avg"] for w in weights]
        second = [self.state[w]["exp_avg_sq"] for w in weights]
        gradients = [cast(Tensor, w.grad) for w in weights]
        one, two = group["betas"]
        torch._foreach_lerp_(first, gradients, 1 - one)
        torch._foreach_mul_(second, two)
        torch._foreach_addcmul_(second, gradients, gradients, value=1 - two)
        moves = []
        for weight, average, square in zip(weights, first, second, strict=True):
            age = self.state[weight]["step"]
            spread = (square / (1 - two**age)).sqrt_().add_(group["eps"])
            moves.append((average / spread).div_(1 - one**age))
        if group["metaplasticity"]:
            stiffen(moves, weights, first, group["metaplasticity"])
        torch._foreach_add_(weights, moves, alpha=-group["lr"])
