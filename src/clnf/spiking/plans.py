"""Compiled steps over time for whoever has arrays: plans, states as arrays, calls by thread.

The kernels take float32 on the CPU and coefficients without a gradient; :func:`compiled` says
whether that is so.

Legend: T steps, B samples, N neurons.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clnf.core.errors import ConfigError, ShapeError
from clnf.core.inputs import instance, shown
from clnf.spiking.coefficients import Coefficients, Value
from clnf.spiking.kernels import (
    Cells,
    Grads,
    Held,
    Slope,
    leak_backward,
    lif_backward,
    lif_forward,
    spike_backward,
    spike_forward,
)
from clnf.spiking.steps import State
from clnf.spiking.surrogates import AbstractSurrogate
from clnf.spiking.threads import over
from clnf.spiking.wide import lif_backward_wide, lif_forward_wide

__all__ = [
    "NONE",
    "Floats",
    "Plan",
    "backward",
    "check_inputs",
    "check_state",
    "compiled",
    "filtered_back",
    "flat",
    "forward",
    "grads_of",
    "group",
    "held_of",
    "is_plain",
    "is_wide",
    "own",
    "shaped",
    "spread_bias",
    "uniform",
]

Floats = NDArray[np.float32]
NONE: Floats = np.empty((0, 0, 0), np.float32)
_NO_STATE: Floats = np.empty((0, 0), np.float32)
_GROUP = 32768  # numbers of one state that go through all steps together
_LARGE = 2**22  # bytes of an array that would not stay in cache anyway


class Plan(NamedTuple):
    """What a compiled run needs beside tensors.

    Attributes:
        cells: coefficients, each [N].
        numbers: the same as numbers; None where they are not one for all cells.
        slope: of spikes.
        hold: refractory steps.
        simple: whether cells have neither current nor adaptation nor refractory time.
        compact: whether the slope is 0 far from the threshold.
    """

    cells: Cells
    numbers: Cells | None
    slope: Slope
    hold: int
    simple: bool
    compact: bool

    @staticmethod
    def of(k: Coefficients, surrogate: AbstractSurrogate | None, shape: torch.Size) -> "Plan":
        """For a population of a shape, [N] or more axes."""
        if any(isinstance(one, Tensor) for one in _values(k)):
            return _planned(k, surrogate, shape)
        return _remembered(k, surrogate, shape)


def _values(k: Coefficients) -> tuple[Value, ...]:
    """Coefficients in the order of :class:`Cells`."""
    synapse = k.synapse or (0.0, 0.0, 0.0)
    adaptation = k.adaptation or (0.0, 0.0)
    threshold = 0.0 if k.threshold is None else k.threshold
    keep, drop = (1.0, threshold) if k.reset is None else (0.0, -k.reset)
    return (k.decay, k.rest, k.kick, threshold, keep, drop, *synapse, *adaptation)


def _planned(k: Coefficients, surrogate: AbstractSurrogate | None, shape: torch.Size) -> Plan:
    def row(value: Value) -> Floats:
        found = torch.as_tensor(value, dtype=torch.float32).detach().expand(shape)
        return found.reshape(-1).contiguous().numpy()

    values = _values(k)
    cells, numbers = Cells(*(row(value) for value in values)), None
    if not any(isinstance(one, Tensor) for one in values):
        numbers = Cells(*(np.float32(value) for value in values))
    slope = Slope(0, np.float32(0), np.float32(0))
    if surrogate is not None:
        narrow, height = 1.0 / surrogate.width_v, surrogate.height_per_v
        slope = Slope(surrogate.code, np.float32(narrow), np.float32(height))
    simple = k.synapse is None and k.adaptation is None and not k.hold
    compact = surrogate is not None and surrogate.compact
    return Plan(cells, numbers, slope, k.hold, simple, compact)


_remembered = lru_cache(maxsize=64)(_planned)


def compiled(k: Coefficients, *tensors: Tensor | None) -> bool:
    """Whether kernels can take these cells and these inputs, weights and states."""
    numbers = (k.decay, k.rest, k.kick, k.threshold, k.reset, *(k.synapse or ()))
    values = (*numbers, *(k.adaptation or ()))
    if any(isinstance(one, Tensor) and (one.requires_grad or not one.is_cpu) for one in values):
        return False
    return is_plain(*tensors)


def is_plain(*tensors: Tensor | None) -> bool:
    """Whether these are float32 on the CPU, and no more than tensors."""
    wrapped = torch._C._functorch.is_functorch_wrapped_tensor
    return not any(
        one.dtype != torch.float32
        or not one.is_cpu
        or type(one) not in (Tensor, torch.nn.Parameter)
        or wrapped(one)
        for one in tensors
        if one is not None
    )


def spread_bias(bias: Tensor, like: Tensor) -> Tensor:
    """A bias over the axes behind the channels."""
    return bias.detach().view(-1, *(1 for _ in like.shape[3:]))


def uniform(k: Coefficients) -> bool:
    """Whether what enters a cell comes back by one leak for all: then weights can come first."""
    values = (k.decay, k.kick, *(k.synapse or ()))
    same = all(not isinstance(one, Tensor) or one.numel() == 1 for one in values)
    return same and k.reset is None and not k.hold


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


def _parts(parts: Sequence[Tensor | None], like: Floats, plan: Plan) -> Iterator[Floats]:
    """Potential, current and adaptation, [B, N]; without elements where kernels need none."""
    for place, one in enumerate(parts):
        yield _NO_STATE if one is None and plan.simple and place else own(one, like)


def held_of(state: State, like: Floats, plan: Plan) -> Held:
    """A state as arrays of its own, [B, N]."""
    wait = np.zeros((0, 0) if plan.simple else like.shape[1:], np.int32)
    if state.wait is not None:
        wait[:] = state.wait.detach().reshape(wait.shape).numpy()
    v, current, fading = _parts((state.v, state.current, state.adaptation), like, plan)
    return Held(v, current, fading, wait, plan.hold)


def grads_of(parts: Sequence[Tensor | None], like: Floats, plan: Plan) -> Grads:
    """Gradients of a state as arrays of their own, [B, N]."""
    return Grads(*_parts(parts, like, plan))


def shaped(held: Held, before: State) -> State:
    """Arrays as a state in the shape of the one before; what its cells do not have is None."""
    shape = before.v.shape
    pairs = ((0, before.v), (1, before.current), (2, before.adaptation), (3, before.wait))
    v, current, fading, wait = (
        None if one is None else torch.from_numpy(held[place]).view(shape) for place, one in pairs
    )
    assert v is not None
    return State(v, None, current, fading, wait)


def is_wide(*arrays: Floats) -> bool:
    """Whether arrays are large, of whole vectors, and lie where vectors can be written."""
    found = [one for one in arrays if one.size]
    size, neurons = found[-1].nbytes, found[-1].shape[2]
    return size >= _LARGE and neurons % 16 == 0 and all(a.ctypes.data % 64 == 0 for a in found)


def forward(x: Floats, u: Floats, z: Floats, held: Held, plan: Plan) -> None:
    """Run the kernels. ``x`` without elements: inputs are in ``u``."""
    size, wide = group(u), is_wide(x, u, z)

    def work(first: int, last: int) -> None:
        part = (first, last, size)
        if plan.simple:
            if wide:
                lif_forward_wide(x, u, z, held.v, plan.numbers or plan.cells, part)
            else:
                lif_forward(x, u, z, held.v, plan.cells, part)
        else:
            spike_forward(x, u, z, held, plan.cells, part)

    over(u.shape[1], work)


def backward(u: Floats, grad: Floats, out: tuple[Floats, Floats], held: Grads, plan: Plan) -> None:
    """Run the kernels back: fills ``out`` (gradients of inputs, what enters), moves ``held``."""
    size, wide = group(u), plan.simple and is_wide(u, grad, *out)
    how = ((wide and plan.numbers) or plan.cells, plan.slope)

    def work(first: int, last: int) -> None:
        part = (first, last, size)
        if plan.simple:
            run = lif_backward_wide if wide else lif_backward
            run(u, grad, out, held.v, how, part)
        else:
            spike_backward(u, grad, out, held, how, part)

    over(u.shape[1], work)


def filtered_back(grad: Floats, gx: Floats, held: tuple[Floats, Floats], cells: Cells) -> None:
    """What comes back through a leak; without elements of ``grad`` it is in ``gx``."""
    size = group(gx)

    def work(first: int, last: int) -> None:
        leak_backward(grad, gx, *held, cells, (first, last, size))

    over(gx.shape[1], work)


def check_state(state: State, k: Coefficients, shape: torch.Size) -> None:
    """Refuse a state of another population.

    Raises:
        ConfigError: no state.
        ShapeError: of another shape, or without something that its cells have.
    """
    instance("state", state, State, "give what run() of these cells returned")
    has = {"spikes": k.threshold, "current": k.synapse, "adaptation": k.adaptation}
    lacks = [name for name, part in has.items() if (part is None) != (getattr(state, name) is None)]
    lacks += ["wait"] if (state.wait is None) != (not k.hold) else []
    if lacks:
        raise ShapeError(
            f"the state is of other cells: it differs in {', '.join(lacks)}; give what run() of "
            "these cells returned"
        )
    if any(part is not None and part.shape != shape for part in state):
        raise ShapeError(
            f"these inputs need a state of the shape {[*shape]}, got {[*state.v.shape]}; give one "
            "of as many samples"
        )


def check_inputs(x: Tensor, k: Coefficients, *, spikes: bool) -> None:
    """Refuse what has no steps or samples, and cells of the other kind.

    Raises:
        ShapeError: fewer than three axes, or none of something.
        ConfigError: read-outs where spikes are asked for, or the other way round.
    """
    if spikes != (k.threshold is not None):
        kind, other = ("no", "leak_over_time") if spikes else ("a", "spike_over_time")
        raise ConfigError(f"these cells have {kind} threshold; take {other}")
    if not isinstance(x, Tensor) or x.layout != torch.strided:
        raise ShapeError(f"inputs over time are a dense tensor, got {shown(x)}; convert them")
    if x.dim() < 3 or x.numel() == 0:
        raise ShapeError(
            f"inputs over time have the shape [steps, samples, neurons], got {[*x.shape]}; "
            "add the axes that lack"
        )
    if not x.is_floating_point():
        raise ShapeError(f"inputs over time are floats, got {x.dtype}; call .float()")
