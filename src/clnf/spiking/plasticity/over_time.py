"""All steps of the law in one call, with gradients that need next to no memory.

On the CPU a compiled adjoint (:mod:`clnf.spiking.plasticity.kernels`) keeps the traces of cells,
[T, B, I] and [T, B, J], and the weights before the first step. The plain loop keeps several tensors
[J, I] for every step. Both give gradients of the last weights and eligibilities with respect to all
coefficients, time constants, powers, the third factor, the first weights and the spikes; the
compiled one once, the loop as often as wanted.
"""

import math
from collections.abc import Callable
from numbers import Real
from typing import Any, NamedTuple, final

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from clnf.core.errors import ConfigError, ShapeError
from clnf.core.inputs import number
from clnf.core.tensors import dense
from clnf.spiking.plasticity import kernels
from clnf.spiking.plasticity.law import (
    Factors,
    Law,
    PlasticState,
    check_factors,
    check_fit,
    factors_of,
    plastic_step,
)

__all__ = ["Third", "plastic_loop", "plastic_over_time"]

Third = Tensor | float | Callable[[int, Tensor], Tensor]


def plastic_loop(
    pre: Tensor, post: Tensor, state: PlasticState, k: Law, third: Third | None = None
) -> PlasticState:
    """All steps, one after the other, in plain torch; arguments as for the call below."""
    third = _entered(pre, post, state, k, third)
    for t in range(len(pre)):
        state = plastic_step(pre[t], post[t], state, k, _at(third, t, state.weight))
    return state


def _at(third: Third | None, t: int, weight: Tensor) -> Tensor | float | None:
    if isinstance(third, Tensor):
        return third[t] if third.dim() > 0 else third
    return third(t, weight) if callable(third) else third


def plastic_over_time(
    pre: Tensor,
    post: Tensor,
    state: PlasticState,
    k: Law,
    third: Third | None = None,
    *,
    kernels: bool = True,
) -> PlasticState:
    """The state after all steps.

    Args:
        pre: spikes s, [T, B, I].
        post: spikes z, [T, B, J].
        state: before the first step, see :func:`clnf.spiking.plasticity.law.plastic_start`.
        k: coefficients of a step.
        third: m of each step, [T], [T, J], [T, B, J] or [T, B, J, I], a number, or a function of
            the step's number and the weights before it.
        kernels: let the compiled adjoint take what it can: the CPU, and third factors that are not
            a function nor of each synapse.

    Raises:
        ConfigError: a third factor for a law without one, or none for a law with one; a state of
            another law.
        ShapeError: shapes that do not belong together, of spikes, state, coefficients and third
            factor, or weights of whole numbers.

    >>> from clnf.spiking.plasticity import PairSTDP, plastic_start
    >>> up = torch.tensor(0.01, requires_grad=True)
    >>> k, z = PairSTDP(up=up).law(1e-3), torch.eye(2)[:, None]            # pre, then post
    >>> start = plastic_start(z[0, :, :1], z[0, :, 1:], torch.zeros(1, 1), k)
    >>> plastic_over_time(z[:, :, :1], z[:, :, 1:], start, k).weight.backward()
    >>> round(up.grad.item(), 4)
    0.9512
    """
    third = _entered(pre, post, state, k, third)
    if not kernels or not _taken(pre, post, state, k, third) or len(pre) == 0:
        return plastic_loop(pre, post, state, k, third)
    return _compiled(pre, post, state, k, None if callable(third) else third)


def _entered(
    pre: Tensor, post: Tensor, state: PlasticState, k: Law, third: Third | None
) -> Third | None:
    """The third factor, after a look at everything."""
    check_factors(state, k, third)
    check_fit(pre, post, state, k)
    if pre.dim() != 3:
        raise ShapeError(f"spikes over time are [steps, samples, cells], got {[*pre.shape]}")
    if third is None or callable(third):
        return third
    return _checked(third, (*post.shape, pre.shape[2]))


def _checked(third: object, size: tuple[int, ...]) -> Tensor | float:
    """A third factor that spreads to [T, B, J, I].

    Raises:
        ConfigError: a number that is not finite.
        ShapeError: another shape.
    """
    if isinstance(third, Real):
        found = number("a third factor", third)
        if not math.isfinite(found):
            raise ConfigError(f"a third factor must be finite, got {found}; correct it")
        return found
    made = dense("a third factor", third)
    steps, samples, post, _ = size
    kinds = ((), (steps,), (steps, post), (steps, samples, post), size)
    wanted = kinds[made.dim()] if made.dim() < len(kinds) else ()
    # Steps are given one by one; along the other axes one value may stand for all.
    fits = len(wanted) == made.dim() and all(
        own == full or (own == 1 and axis > 0)
        for axis, (own, full) in enumerate(zip(made.shape, wanted, strict=True))
    )
    if not fits:
        raise ShapeError(
            f"a third factor for spikes {[*size[:3]]} is a number, [{steps}], [{steps}, {post}], "
            f"{[*size[:3]]} or {[*size]}, got {[*made.shape]}; spread it"
        )
    return made


def _taken(pre: Tensor, post: Tensor, state: PlasticState, k: Law, third: Third | None) -> bool:
    """Whether the compiled adjoint does it."""
    numbers = [v for v in (*k, third) if isinstance(v, Tensor)]
    single = all(
        v.numel() == 1 for v in (k.up_power, k.down_power, k.eligibility) if isinstance(v, Tensor)
    )
    wide = callable(third) or (isinstance(third, Tensor) and third.dim() > 3)
    cpu = all(v.device.type == "cpu" for v in (pre, post, state.weight, *numbers))
    return cpu and single and not wide


def _compiled(
    pre: Tensor, post: Tensor, state: PlasticState, k: Law, third: Tensor | float | None
) -> PlasticState:
    found, traces = [], state.traces
    for s, z in zip(pre, post, strict=True):
        f, traces = factors_of(s, z, traces, k)
        found.append(f)
    made = Factors(*(torch.stack(one) for one in zip(*found, strict=True)))
    m = None if third is None else _spread_third(third, post, state.weight.dtype)
    plan = _Plan(k, _lists(pre, post))
    weight, mark = state.weight, state.eligibility
    powers = [_number(v) for v in (k.up_power, k.down_power, k.eligibility)]
    if weight.dim() == 2:
        w, e = _Fold.apply(plan, weight, mark, m, *powers, *made)  # type: ignore[no-untyped-call]
        return PlasticState(w, traces, e)
    lives = []
    for b in range(len(weight)):
        own = [one[:, b : b + 1] for one in made]
        plan = _Plan(k, _lists(pre[:, b : b + 1], post[:, b : b + 1]))
        part = (
            (mark[b : b + 1], m[:, b : b + 1])
            if mark is not None and m is not None
            else (None,) * 2
        )
        lives.append(_Fold.apply(plan, weight[b], *part, *powers, *own))  # type: ignore[no-untyped-call]
    ends = [torch.stack([one[0] for one in lives])]
    return PlasticState(ends[0], traces, None if mark is None else torch.cat([e for _, e in lives]))


def _number(value: Tensor | float | None) -> Tensor:
    # One number of any shape: the gradients of kernels have none.
    return torch.as_tensor(0.0 if value is None else value, dtype=torch.float64).reshape(())


def _spread_third(third: Tensor | float, post: Tensor, dtype: torch.dtype) -> Tensor:
    m = torch.as_tensor(third, dtype=dtype)
    if m.dim() in (1, 2):
        m = m[:, None, None] if m.dim() == 1 else m[:, None]
    return m.expand(post.shape)


class _Plan(NamedTuple):
    """What a pass needs besides tensors with gradients."""

    law: Law
    lists: kernels.Lists


def _lists(pre: Tensor, post: Tensor) -> kernels.Lists:
    """Places of spikes; all of them where gradients of spikes are wanted."""
    here = torch.ones_like(pre) if pre.requires_grad else pre.detach()
    sent = torch.ones_like(post) if post.requires_grad else post.detach()
    steps, samples, cells = here.shape
    counts = (here != 0).reshape(steps * samples, cells).sum(1)
    starts = np.zeros(steps * samples + 1, np.int64)
    np.cumsum(counts.numpy(), out=starts[1:])
    places = (here != 0).nonzero()[:, 2].to(torch.int32).numpy()
    return kernels.Lists(starts, places, (sent != 0).contiguous().numpy())


def _bends(k: Law, kept: float) -> kernels.Bends:
    least = -np.inf if k.least is None else k.least
    most = np.inf if k.most is None else k.most
    both = k.least is not None and k.most is not None
    up, down = (float(v) if both else 0.0 for v in (k.up_power, k.down_power))
    narrow = 1.0 / (most - least) if both else 0.0
    return kernels.Bends(least, most, narrow, up, down, kept, k.share)


def _doubles(one: Tensor) -> Any:
    return one.detach().to(torch.float64).contiguous().numpy()


def _room(*shape: int) -> Any:
    # Of torch, so that what watches torch's memory sees it.
    return torch.empty(shape, dtype=torch.float64).numpy()


@final
class _Fold(torch.autograd.Function):
    """Products of all steps into weights [J, I] and eligibilities [B, J, I]."""

    @staticmethod
    def forward(
        ctx: Any,
        plan: _Plan,
        weight: Tensor,
        mark: Tensor | None,
        third: Tensor | None,
        *rest: Tensor,
    ) -> tuple[Tensor, Tensor | None]:
        powers, made = rest[:3], rest[3:]
        ctx.plan, ctx.kept = plan, float(powers[2])
        ctx.save_for_backward(weight, mark, third, *made)
        by, k = kernels.Products(*map(_doubles, made)), _bends(plan.law, ctx.kept)
        samples, size = made[0].shape[1], weight.shape[1]
        w = weight.detach().to(torch.float64, copy=True).contiguous()
        if mark is None or third is None:
            kernels.fold(by, plan.lists, w.numpy(), k, _room(3, size))
            return w.to(weight.dtype), None
        e = mark.detach().to(torch.float64, copy=True).contiguous()
        room = (_room(1, samples, size), _room(4, size))
        kernels.mark(by, plan.lists, _doubles(third), (w.numpy(), e.numpy()), k, room)
        return w.to(weight.dtype), e.to(mark.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        weight, mark, third, *made = ctx.saved_tensors
        by, k = kernels.Products(*map(_doubles, made)), _bends(ctx.plan.law, ctx.kept)
        steps, samples, _ = made[0].shape
        size = weight.shape[1]
        out = [torch.zeros(one.shape, dtype=torch.float64) for one in made]
        g = kernels.Products(*(one.numpy() for one in out))
        gw = _started(grads[0], weight)
        gk = torch.zeros(3 if any(ctx.needs_input_grad[4:7]) else 0, dtype=torch.float64)
        w, course = _doubles(weight), _room(steps + 1, size)
        ge, gm = None, None
        if mark is None:
            room = (course, _room(5, size))
            kernels.fold_back(by, ctx.plan.lists, w, (g, gw.numpy(), gk.numpy()), k, room)
        else:
            ge, gm = _started(grads[1], mark), torch.zeros(third.shape, dtype=torch.float64)
            wanted = (g, gm.numpy(), gw.numpy(), ge.numpy(), gk.numpy())
            how = (k, course, _room(steps + 1, samples, size), _room(6, size))
            state = (w, _doubles(mark))
            kernels.mark_back(by, ctx.plan.lists, _doubles(third), state, wanted, how)
            ge, gm = ge.to(mark.dtype), gm.to(third.dtype)
        ends = list(gk) if len(gk) else [None] * 3
        back = [one.to(like.dtype) for one, like in zip(out, made, strict=True)]
        return None, gw.to(weight.dtype), ge, gm, *ends, *back


def _started(grad: Tensor | None, like: Tensor) -> Tensor:
    if grad is None:
        return torch.zeros(like.shape, dtype=torch.float64)
    return grad.to(torch.float64, copy=True).contiguous()
