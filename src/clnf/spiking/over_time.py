"""Many steps at once: compiled where that is possible, else one by one.

What the compiled way keeps for the way back is one float tensor [T, B, N], volts over the
threshold, and the events of its inputs. It takes float32 on the CPU, coefficients without a
gradient, and is differentiable once; everything else goes through :mod:`clnf.spiking.steps`. Both
ways give the same spikes for the same potentials to the bit, and gradients to rounding.

A gradient of inputs can go by events too. What enters cells at a step, e[t] = s(u) gz, is 0 where
the slope is. It reaches earlier inputs through the leak and then the weights; a leak that is the
same for all cells may come last as well:

    W^T (e[t] + decay g[t + 1]) = W^T e[t] + decay W^T g[t + 1]

Legend: T steps, B samples, N neurons.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple, final

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from clnf.core.errors import ShapeError
from clnf.spiking.coefficients import Coefficients
from clnf.spiking.events.layer import back_at_once, cells_at_once, forward_at_once
from clnf.spiking.events.maps import AbstractMap, Kept
from clnf.spiking.kernels import Cells, Grads, Held, leak_forward
from clnf.spiking.memory import room
from clnf.spiking.plans import (
    NONE,
    Plan,
    backward,
    check_inputs,
    check_state,
    compiled,
    filtered_back,
    flat,
    forward,
    grads_of,
    group,
    held_of,
    own,
    shaped,
    spread_bias,
    uniform,
)
from clnf.spiking.recurrent.kernels import Steps
from clnf.spiking.recurrent.sweeps import of_weights, sweep, sweep_back
from clnf.spiking.steps import State, leak_loop, spike_loop, start
from clnf.spiking.surrogates import AbstractSurrogate
from clnf.spiking.threads import over

__all__ = ["Weights", "leak_over_time", "recurrent_over_time", "spike_over_time", "weighted"]


class Weights(NamedTuple):
    """What stands before and around a population; None where it is not there.

    Attributes:
        map: how inputs reach the cells; None: as they are.
        weight: of the map.
        bias: added to what it gives, one for each neuron or channel.
        recurrent: [N, N], post by pre.
    """

    map: AbstractMap | None = None
    weight: Tensor | None = None
    bias: Tensor | None = None
    recurrent: Tensor | None = None


class _Run(NamedTuple):
    """What is no tensor that has a gradient."""

    plan: Plan
    map: AbstractMap | None
    before: Tensor | None
    wait: Tensor | None
    leak: Cells | None


@final
class _Population(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *given: Any) -> Any:
        x, weight, bias, ring, v, i, a, run = given
        u = room(x.shape if run.map is None else run.map.shape(x.shape, weight.shape))
        z, before, kept = room(u.shape), State(v, None, i, a, run.wait), None
        held = held_of(before, flat(u), run.plan)
        if bias is None and ring is None and cells_at_once(run.map, u, z, run.plan):
            kept = forward_at_once(x, weight, (u, z), held.v, run.plan)
        if kept is None:
            kept = _stepped((x, weight, bias, ring), (u, z), held, run)
        ctx.run, ctx.shape = run, x.shape
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(u, weight, bias, ring, *kept.tensors)
        moved = shaped(held, before)
        if moved.wait is not None:
            ctx.mark_non_differentiable(moved.wait)
        return z, moved.v, moved.current, moved.adaptation, moved.wait

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gz: Tensor, gv: Any, gi: Any, ga: Any, _: Any) -> Any:
        u, weight, bias, ring, *kept = ctx.saved_tensors
        run, needs, like = ctx.run, ctx.needs_input_grad, flat(u)
        gz = torch.zeros(u.shape) if gz is None else gz.contiguous()
        grads, gw = grads_of((gv, gi, ga), like, run.plan), None
        weights_alone = needs[1] and not needs[0] and bias is None and ring is None
        if weights_alone and cells_at_once(run.map, u, gz, run.plan):
            gw = back_at_once(Kept(tuple(kept)), u, gz, grads.v, run.plan, weight.shape[1])
        if gw is not None:
            return None, gw, None, None, *_first(grads, u, needs), None
        gx = room(u.shape)
        sparse = run.map is not None and needs[0] and run.leak is not None
        e = room(u.shape) if sparse else None
        out = (flat(gx), NONE if e is None else flat(e))
        ends = (grads.v.copy(), grads.current.copy()) if sparse else ()
        if ring is None:
            backward(like, flat(gz), out, grads, run.plan)
        else:
            sweep_back(Steps(flat(gz), like, like, like[0]), out, grads, ring, run.plan)
        gb, gr = None, None
        if ring is not None and needs[3]:
            gr = of_weights(u, run.before, gx)
        if bias is not None and needs[2]:
            gb = gx.sum([axis for axis in range(gx.dim()) if axis != 2])
        if run.map is not None and needs[1]:
            gw = run.map.weights(Kept(tuple(kept)), gx, weight)
        if run.map is not None and needs[0]:
            gx = _to_inputs(ctx, gx, e, ends, weight)
        return gx if needs[0] else None, gw, gb, gr, *_first(grads, u, needs), None


def _stepped(given: Any, out: tuple[Tensor, Tensor], held: Held, run: _Run) -> Kept:
    """The map, then the cells; what the map keeps of its inputs."""
    (x, weight, bias, ring), (u, z) = given, out
    source, kept = flat(x), Kept(())
    if run.map is not None:
        kept, source = run.map.forward(x, weight, u), NONE
        if bias is not None:
            u.add_(spread_bias(bias, u))
    if ring is None:
        forward(source, flat(u), flat(z), held, run.plan)
    else:
        sweep(Steps(source, flat(u), flat(z), own(run.before, flat(u))), held, ring, run.plan)
    return kept


def _first(grads: Grads, u: Tensor, needs: Any) -> Iterator[Tensor | None]:
    """Gradients of the first state."""
    for one, needed in zip(grads, needs[4:7], strict=True):
        yield torch.from_numpy(one).view(u.shape[1:]) if needed and one.size else None


def _to_inputs(ctx: Any, gx: Tensor, e: Tensor | None, ends: Any, weight: Tensor) -> Tensor:
    """Gradients before the map, by what enters and then the leak where that can be."""
    shape, run = ctx.shape, ctx.run
    if e is None:
        return run.map.back(gx, weight, shape)
    found = run.map.back(e, weight, shape)
    held = []
    for end in ends:
        if end.any():
            last = torch.from_numpy(end).view(1, *e.shape[1:])
            came = run.map.back(last, weight, torch.Size((1, *shape[1:])))
            held.append(own(came[0], flat(found)))
        else:
            held.append(own(None, flat(found)))
    filtered_back(NONE, flat(found), (held[0], held[1]), run.leak)
    return found


@final
class _Potentials(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, v: Tensor, i: Any, plan: Plan) -> Any:
        y, ctx.plan, ctx.has_current = room(x.shape), plan, i is not None
        x_TBN, y_TBN = flat(x), flat(y)
        held, size = (own(v, x_TBN), own(i, x_TBN)), group(x_TBN)

        def work(first: int, last: int) -> None:
            leak_forward(x_TBN, y_TBN, *held, plan.cells, (first, last, size))

        over(x.shape[1], work)
        end, current = (torch.from_numpy(one).view(v.shape) for one in held)
        return y, end, current if i is not None else None

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gy: Tensor, gv: Any, gi: Any) -> Any:
        gx, gy_TBN = room(gy.shape), flat(gy)
        held = (own(gv, gy_TBN), own(gi, gy_TBN))
        filtered_back(gy_TBN, flat(gx), held, ctx.plan.cells)
        first, current = (torch.from_numpy(one).view(gy.shape[1:]) for one in held)
        return gx, first, current if ctx.has_current else None, None


def weighted(
    x: Tensor,
    weights: Weights,
    k: Coefficients,
    surrogate: AbstractSurrogate,
    state: State | None = None,
    *,
    kernels: bool = True,
) -> tuple[Tensor, State]:
    """Many steps of a population with weights before it, around it, both or none.

    Args:
        x: inputs [T, B, ...] of the map, or of the cells.
        weights: what stands before and around the cells.
        k: of the cells.
        surrogate: slope of spikes.
        state: before; None for rest.
        kernels: False for the plain way always.

    Returns:
        Spikes [T, B, ...] and the state after the last step.

    Raises:
        ShapeError: inputs, weights or state do not fit each other.
        ConfigError: cells without a threshold.
    """
    check_inputs(x, k, spikes=True)
    shape = x.shape
    if weights.map is not None and weights.weight is not None:
        shape = weights.map.shape(x.shape, weights.weight.shape)
    ring = weights.recurrent
    if ring is not None and (len(shape) != 3 or ring.shape != (shape[2], shape[2])):
        raise ShapeError(
            f"recurrent weights around cells {[*shape]} are square with the last number, got "
            f"{[*ring.shape]}; flatten the neurons to one axis"
        )
    state = start(x.new_empty(shape[1:]), k) if state is None else state
    check_state(state, k, shape[1:])
    given = (x, weights.weight, weights.bias, ring, state.v, state.current, state.adaptation)
    sent = state.spikes is not None and state.spikes.requires_grad
    if not (kernels and compiled(k, *given)) or (ring is not None and sent):
        if weights.map is not None and weights.weight is not None:
            x = weights.map.plain(x, weights.weight, weights.bias)
        return spike_loop(x, state, k, surrogate, ring)
    leak = None
    if weights.map is not None and surrogate.compact and uniform(k):
        leak = Plan.of(k._replace(threshold=None, adaptation=None), None, x.shape[2:]).cells
    plan = Plan.of(k, surrogate, shape[2:])
    run = _Run(plan, weights.map, state.spikes, state.wait, leak)
    z, *now = _Population.apply(*given, run)  # type: ignore[no-untyped-call]
    return z, State(now[0], z[-1], *now[1:])


def spike_over_time(
    x: Tensor,
    k: Coefficients,
    surrogate: AbstractSurrogate,
    state: State | None = None,
    *,
    kernels: bool = True,
) -> tuple[Tensor, State]:
    """Many steps of a population without weights; arguments as for :func:`weighted`.

    >>> from clnf.spiking.cells import IF
    >>> from clnf.spiking.surrogates import Triangle
    >>> k, x = IF().coefficients(1e-3), torch.full((5, 1, 1), 0.625)
    >>> spike_over_time(x, k, Triangle())[0].flatten()
    tensor([0., 1., 0., 1., 1.])
    """
    return weighted(x, Weights(), k, surrogate, state, kernels=kernels)


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
    return weighted(x, Weights(recurrent=weight), k, surrogate, state, kernels=kernels)


def leak_over_time(
    x: Tensor, k: Coefficients, state: State | None = None, *, kernels: bool = True
) -> tuple[Tensor, State]:
    """Many steps of a read-out: potentials [T, B, N] in volts and the state after the last.

    Args:
        x: inputs [T, B, N].
        k: of a cell without a threshold.
        state: before; None for rest.
        kernels: False for the plain way always.

    Raises:
        ShapeError: inputs of another shape.
        ConfigError: cells with a threshold.
    """
    check_inputs(x, k, spikes=False)
    state = start(x[0], k) if state is None else state
    check_state(state, k, x.shape[1:])
    if not (kernels and compiled(k, x, state.v, state.current)):
        return leak_loop(x, state, k)
    plan = Plan.of(k, None, x.shape[2:])
    y, v, current = _Potentials.apply(  # type: ignore[no-untyped-call]
        x, state.v, state.current, plan
    )
    return y, State(v=v, current=current)
