"""Recurrent populations over time: spikes of a step are inputs of the next, through weights.

    x'[t] = x[t] + R z[t - 1],   gz'[t] = gz[t] + R^T gx[t + 1],   dR = sum gx[t] z[t - 1]^T

Forward, the rows of R^T of the cells that spiked are added up; where a span of steps is busier than
``BUSY``, the next is done with matrix products. Backward, R^T gx is made only for cells whose slope
is not 0, if the surrogate is compact; else by a matrix product a step.

Legend: T steps, B samples, N neurons; M is N filled up to whole vectors.
"""

from typing import Any, final

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from clnf.core.errors import ShapeError
from clnf.spiking.coefficients import Coefficients
from clnf.spiking.events.lists import density, event_outer, events_of, padded
from clnf.spiking.fused import (
    NONE,
    Floats,
    Plan,
    backward,
    check_inputs,
    compiled,
    flat,
    forward,
    held_of,
    own,
    shaped,
)
from clnf.spiking.kernels import Grads, Held
from clnf.spiking.recurrent.kernels import Part, Steps, recurrent_backward, recurrent_forward
from clnf.spiking.steps import State, spike_loop, start
from clnf.spiking.surrogates import AbstractSurrogate
from clnf.spiking.threads import over

__all__ = ["recurrent_over_time"]

BUSY = 0.3  # share of spikes above which a matrix product is faster
_SPAN = 10  # steps that are done in one way


def _forward(steps: Steps, held: Held, weight: Tensor, plan: Plan) -> None:
    """All steps, span by span in the way that the last one calls for."""
    total, samples = steps.u.shape[:2]
    w, busy = padded(weight.t()), float(np.count_nonzero(steps.before)) / steps.before.size
    for begin in range(0, total, _SPAN):
        end = min(begin + _SPAN, total)
        if busy > BUSY:
            for t in range(begin, end):
                sent = torch.from_numpy(steps.before if t == 0 else steps.z[t - 1])
                u = torch.from_numpy(steps.u[t])
                torch.add(torch.from_numpy(steps.x[t]), sent @ weight.t(), out=u)
                forward(NONE, steps.u[t : t + 1], steps.z[t : t + 1], held, plan)
        else:

            def work(first: int, last: int, begin: int = begin, end: int = end) -> None:
                part = Part(first, last, begin, end, plan.simple)
                recurrent_forward(steps, held, plan.cells, w, part)

            over(samples, work)
        busy = density(torch.from_numpy(steps.z[begin:end]))


def _backward(steps: Steps, gx: Floats, grads: Grads, weight: Tensor, plan: Plan) -> None:
    """All steps back; ``steps.x`` holds gradients of spikes."""
    total, samples = steps.u.shape[:2]
    if plan.compact:
        w, how = padded(weight.t()), (plan.cells, plan.slope)

        def work(first: int, last: int) -> None:
            part = Part(first, last, 0, total, plan.simple)
            recurrent_backward(steps, gx, grads, how, w, part)

        over(samples, work)
        return
    credit = torch.empty(1, *gx.shape[1:])
    for t in range(total - 1, -1, -1):
        credit.copy_(torch.from_numpy(steps.x[t : t + 1]))
        if t < total - 1:
            credit[0].addmm_(torch.from_numpy(gx[t + 1]), weight)
        backward(steps.u[t : t + 1], credit.numpy(), (gx[t : t + 1], NONE), grads, plan)


@final
class _Recurrent(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, *state: Any) -> Any:
        v, i, a, (before, wait, ctx.plan) = state
        u, z = torch.empty(x.shape), torch.empty(x.shape)
        held = held_of(State(v, None, i, a, wait), flat(u), ctx.plan)
        steps = Steps(flat(x), flat(u), flat(z), own(before, flat(u)))
        _forward(steps, held, weight.detach(), ctx.plan)
        ctx.save_for_backward(u, weight, before)
        moved = shaped(held, State(v, None, i, a, wait))
        if moved.wait is not None:
            ctx.mark_non_differentiable(moved.wait)
        return z, moved.v, moved.current, moved.adaptation, moved.wait

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gz: Tensor, gv: Any, gi: Any, ga: Any, _: Any) -> Any:
        u, weight, before = ctx.saved_tensors
        gx, u_TBN = torch.empty(u.shape), flat(u)
        grads = Grads(own(gv, u_TBN), own(gi, u_TBN), own(ga, u_TBN))
        _backward(Steps(flat(gz), u_TBN, u_TBN, u_TBN[0]), flat(gx), grads, weight, ctx.plan)
        gw = _of_weights(u, before, gx) if ctx.needs_input_grad[1] else None
        shape, needs = u.shape[1:], ctx.needs_input_grad
        state = (
            torch.from_numpy(one).view(shape) if needed else None
            for one, needed in zip(grads, needs[2:5], strict=True)
        )
        return gx, gw, *state, None


def _of_weights(u: Tensor, before: Tensor, gx: Tensor) -> Tensor:
    """DR [N, N], from spikes of the step before and gradients of inputs."""
    sent = (u > 0).float()
    sent = torch.cat([before.reshape(1, *u.shape[1:]), sent[:-1]])
    rows, g = sent.view(-1, u.shape[2]), gx.view(-1, u.shape[2])
    if density(rows) > BUSY:
        return g.t() @ rows
    sums = event_outer(events_of(rows.numpy()), g.numpy(), u.shape[2])
    return torch.from_numpy(sums).t()


def recurrent_over_time(
    x: Tensor,
    weight: Tensor,
    k: Coefficients,
    surrogate: AbstractSurrogate,
    state: State | None = None,
    *,
    kernels: bool = True,
) -> tuple[Tensor, State]:
    """Many steps of a population whose spikes come back to it one step later.

    Args:
        x: inputs [T, B, N].
        weight: recurrent weights R [N, N], post by pre, in volts a spike.
        k: of the cells.
        surrogate: slope of spikes.
        state: before; None for rest.
        kernels: False for the plain way always.

    Returns:
        Spikes [T, B, N] and the state after the last step.

    Raises:
        ShapeError: inputs or weights of another shape.
        ConfigError: cells without a threshold.
    """
    check_inputs(x, k, spikes=True)
    if x.dim() != 3 or weight.shape != (x.shape[2], x.shape[2]):
        raise ShapeError(
            f"recurrent weights of inputs {[*x.shape]} are square with the last number, got "
            f"{[*weight.shape]}; flatten the neurons to one axis"
        )
    state = start(x[0], k) if state is None else state
    if not (kernels and compiled(x, k) and weight.is_cpu and weight.dtype == x.dtype):
        return spike_loop(x, state, k, surrogate, weight)
    if state.spikes is not None and state.spikes.requires_grad:
        return spike_loop(x, state, k, surrogate, weight)
    rest = (state.spikes, state.wait, Plan.of(k, surrogate, x.shape[2:]))
    z, *now = _Recurrent.apply(  # type: ignore[no-untyped-call]
        x, weight, state.v, state.current, state.adaptation, rest
    )
    return z, State(now[0], z[-1], *now[1:])
