"""Many steps at once: compiled where that is possible, else one by one.

What the compiled way keeps for the way back is one float tensor [T, B, N], volts over the
threshold. It takes float32 on the CPU, coefficients without a gradient, and is differentiable once;
everything else goes through :mod:`clnf.spiking.steps`. Both ways give the same spikes to the bit,
and gradients to rounding.
"""

from typing import Any, NamedTuple, cast, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from clnf.core.errors import ConfigError, ShapeError
from clnf.spiking.coefficients import Coefficients, Value
from clnf.spiking.kernels import (
    Cells,
    Grads,
    Held,
    Slope,
    leak_backward,
    leak_forward,
    lif_backward,
    lif_forward,
    spike_backward,
    spike_forward,
)
from clnf.spiking.steps import State, leak_loop, spike_loop, start
from clnf.spiking.surrogates import AbstractSurrogate
from clnf.spiking.threads import over

__all__ = [
    "NONE",
    "Floats",
    "Plan",
    "backward",
    "check_inputs",
    "compiled",
    "filtered_back",
    "flat",
    "forward",
    "group",
    "held_of",
    "leak_over_time",
    "own",
    "shaped",
    "spike_over_time",
]

Floats = NDArray[np.float32]
NONE: Floats = np.empty((0, 0, 0), np.float32)
_GROUP = 16384  # numbers of one state that go through all steps together


class Plan(NamedTuple):
    """What a compiled run needs beside tensors.

    Attributes:
        cells: coefficients, each [N].
        slope: of spikes.
        hold: refractory steps.
        simple: whether cells have neither current nor adaptation nor refractory time.
        compact: whether the slope is 0 far from the threshold.
    """

    cells: Cells
    slope: Slope
    hold: int
    simple: bool
    compact: bool

    @staticmethod
    def of(k: Coefficients, surrogate: AbstractSurrogate | None, shape: torch.Size) -> "Plan":
        """For a population of a shape, [N] or more axes."""

        def row(value: Value) -> Floats:
            found = torch.as_tensor(value, dtype=torch.float32).detach().expand(shape)
            return found.reshape(-1).contiguous().numpy()

        synapse = k.synapse or (0.0, 0.0, 0.0)
        adaptation = k.adaptation or (0.0, 0.0)
        threshold = 0.0 if k.threshold is None else k.threshold
        keep, drop = (1.0, threshold) if k.reset is None else (0.0, -k.reset)
        values = (k.decay, k.rest, k.kick, threshold, keep, drop, *synapse, *adaptation)
        cells = Cells(*(row(value) for value in values))
        slope = Slope(0, np.float32(0), np.float32(0))
        if surrogate is not None:
            narrow, height = 1.0 / surrogate.width_v, surrogate.height_per_v
            slope = Slope(surrogate.code, np.float32(narrow), np.float32(height))
        simple = k.synapse is None and k.adaptation is None and not k.hold
        compact = surrogate is not None and surrogate.compact
        return Plan(cells, slope, k.hold, simple, compact)


def compiled(x: Tensor, k: Coefficients) -> bool:
    """Whether kernels can take these inputs and cells."""
    flat = (k.decay, k.rest, k.kick, k.threshold, k.reset, *(k.synapse or ()))
    values = (*flat, *(k.adaptation or ()))
    learned = any(isinstance(one, Tensor) and one.requires_grad for one in values)
    plain = x.dtype == torch.float32 and x.is_cpu and type(x) in (Tensor, torch.nn.Parameter)
    return plain and not learned and not torch._C._functorch.is_functorch_wrapped_tensor(x)


def flat(x: Tensor) -> Floats:
    """Inputs [T, B, ...] as an array [T, B, N]."""
    return cast(Floats, x.detach().contiguous().view(x.shape[0], x.shape[1], -1).numpy())


def own(x: Tensor | None, like: Floats) -> Floats:
    """A state [B, ...] as an array [B, N] of its own; zeros where there is none."""
    if x is None:
        return np.zeros(like.shape[1:], np.float32)
    found = x.detach().reshape(like.shape[1:]).to(torch.float32)
    return cast(Floats, found.numpy().copy())


def group(x: Floats) -> int:
    """Samples that go through all steps together."""
    return max(1, _GROUP // max(1, x.shape[2]))


def held_of(state: State, like: Floats, plan: Plan) -> Held:
    """A state as arrays of its own, [B, N]."""
    wait = np.zeros(like.shape[1:], np.int32)
    if state.wait is not None:
        wait[:] = state.wait.detach().reshape(wait.shape).numpy()
    v, current, fading = (own(one, like) for one in (state.v, state.current, state.adaptation))
    return Held(v, current, fading, wait, plan.hold)


def shaped(held: Held, before: State) -> State:
    """Arrays as a state in the shape of the one before; what its cells do not have is None."""
    shape = before.v.shape
    pairs = ((0, before.v), (1, before.current), (2, before.adaptation), (3, before.wait))
    v, current, fading, wait = (
        None if one is None else torch.from_numpy(held[place]).view(shape) for place, one in pairs
    )
    assert v is not None
    return State(v, None, current, fading, wait)


def forward(x: Floats, u: Floats, z: Floats, held: Held, plan: Plan) -> None:
    """Run the kernels. ``x`` without elements: inputs are in ``u``."""
    size = group(u)

    def work(first: int, last: int) -> None:
        part = (first, last, size)
        if plan.simple:
            lif_forward(x, u, z, held.v, plan.cells, part)
        else:
            spike_forward(x, u, z, held, plan.cells, part)

    over(u.shape[1], work)


def backward(u: Floats, grad: Floats, out: tuple[Floats, Floats], held: Grads, plan: Plan) -> None:
    """Run the kernels back: fills ``out`` (gradients of inputs, what enters), moves ``held``."""
    size, how = group(u), (plan.cells, plan.slope)

    def work(first: int, last: int) -> None:
        part = (first, last, size)
        if plan.simple:
            lif_backward(u, grad, out, held.v, how, part)
        else:
            spike_backward(u, grad, out, held, how, part)

    over(u.shape[1], work)


@final
class _Spikes(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, v: Tensor, i: Any, a: Any, rest: Any) -> Any:
        wait, ctx.plan = rest
        u, z = torch.empty(x.shape), torch.empty(x.shape)
        held = held_of(State(v, None, i, a, wait), flat(u), ctx.plan)
        forward(flat(x), flat(u), flat(z), held, ctx.plan)
        ctx.save_for_backward(u)
        moved = shaped(held, State(v, None, i, a, wait))
        if moved.wait is not None:
            ctx.mark_non_differentiable(moved.wait)
        return z, moved.v, moved.current, moved.adaptation, moved.wait

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gz: Tensor, gv: Any, gi: Any, ga: Any, _: Any) -> Any:
        (u,) = ctx.saved_tensors
        gx = torch.empty(u.shape)
        held = Grads(own(gv, flat(u)), own(gi, flat(u)), own(ga, flat(u)))
        backward(flat(u), flat(gz), (flat(gx), NONE), held, ctx.plan)
        shape, needs = u.shape[1:], ctx.needs_input_grad
        state = (
            torch.from_numpy(one).view(shape) if needed else None
            for one, needed in zip(held, needs[1:4], strict=True)
        )
        return gx, *state, None


@final
class _Potentials(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, v: Tensor, i: Any, plan: Plan) -> Any:
        y, ctx.plan, ctx.has_current = torch.empty(x.shape), plan, i is not None
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
        gx = torch.empty(gy.shape)
        gy_TBN, gx_TBN = flat(gy), flat(gx)
        held = (own(gv, gy_TBN), own(gi, gy_TBN))
        filtered_back(gy_TBN, gx_TBN, held, ctx.plan.cells)
        first, current = (torch.from_numpy(one).view(gy.shape[1:]) for one in held)
        return gx, first, current if ctx.has_current else None, None


def filtered_back(grad: Floats, gx: Floats, held: tuple[Floats, Floats], cells: Cells) -> None:
    """What comes back through a leak, see :func:`clnf.spiking.kernels.leak_backward`."""
    size = group(grad)

    def work(first: int, last: int) -> None:
        leak_backward(grad, gx, *held, cells, (first, last, size))

    over(grad.shape[1], work)


def check_inputs(x: Tensor, k: Coefficients, *, spikes: bool) -> None:
    """Refuse what has no steps or samples, and cells of the other kind.

    Raises:
        ShapeError: fewer than three axes, or none of something.
        ConfigError: read-outs where spikes are asked for, or the other way round.
    """
    if spikes != (k.threshold is not None):
        kind, other = ("no", "leak_over_time") if spikes else ("a", "spike_over_time")
        raise ConfigError(f"these cells have {kind} threshold; take {other}")
    if x.dim() < 3 or x.numel() == 0:
        raise ShapeError(
            f"inputs over time have the shape [steps, samples, neurons], got {[*x.shape]}; "
            "add the axes that lack"
        )


def spike_over_time(
    x: Tensor,
    k: Coefficients,
    surrogate: AbstractSurrogate,
    state: State | None = None,
    *,
    kernels: bool = True,
) -> tuple[Tensor, State]:
    """Many steps of a population without recurrent weights.

    Args:
        x: inputs [T, B, N]; N may be several axes.
        k: of the cells.
        surrogate: slope of spikes.
        state: before; None for rest.
        kernels: False for the plain way always.

    Returns:
        Spikes [T, B, N] and the state after the last step.

    Raises:
        ShapeError: inputs of another shape.
        ConfigError: cells of the other kind.

    >>> from clnf.spiking.cells import IF
    >>> from clnf.spiking.surrogates import Triangle
    >>> k, x = IF().coefficients(1e-3), torch.full((5, 1, 1), 0.6)
    >>> spike_over_time(x, k, Triangle())[0].flatten()
    tensor([0., 1., 0., 1., 1.])
    """
    check_inputs(x, k, spikes=True)
    state = start(x[0], k) if state is None else state
    if not (kernels and compiled(x, k)):
        return spike_loop(x, state, k, surrogate)
    plan = Plan.of(k, surrogate, x.shape[2:])
    z, *now = _Spikes.apply(  # type: ignore[no-untyped-call]
        x, state.v, state.current, state.adaptation, (state.wait, plan)
    )
    return z, State(now[0], z[-1], *now[1:])


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
        ConfigError: cells of the other kind.
    """
    check_inputs(x, k, spikes=False)
    state = start(x[0], k) if state is None else state
    if not (kernels and compiled(x, k)):
        return leak_loop(x, state, k)
    plan = Plan.of(k, None, x.shape[2:])
    y, v, current = _Potentials.apply(  # type: ignore[no-untyped-call]
        x, state.v, state.current, plan
    )
    return y, State(v=v, current=current)
