"""Steps whose course is forgotten and made again: gradients through long lives in little memory.

Where cells spike by the very weights that change, no adjoint of one synapse is enough: the whole
step has to be gone back through. ``replayed`` keeps the states between spans of steps only. The way
back takes the spans from the last to the first and runs each once more, so that memory grows as the
square root of the number of steps, for the time of one more way forward.

Source: Chen et al., "Training deep nets with sublinear memory cost", arXiv 1604.06174.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from clnf.core.errors import ShapeError
from clnf.core.inputs import whole

__all__ = ["replayed"]

State = TypeVar("State")


def replayed(
    step: Callable[..., tuple[State, Tensor]],
    state: State,
    xs: Sequence[Tensor],
    *,
    span: int | None = None,
) -> tuple[State, Tensor]:
    """Run ``state, out = step(state, *now)`` over all steps; gradients are those of a plain loop.

    Args:
        step: without randomness of its own; tensors that it takes from around it get gradients too.
        state: before the first step: tensors, or tuples of them.
        xs: inputs, each [T, ...]; a step gets the t-th of each.
        span: steps of a span; None takes the square root of T.

    Returns:
        The state after the last step, and what all steps gave, [T, ...].

    Raises:
        ConfigError: a span is no whole number from 1 on.
        ShapeError: inputs without steps, or of several lengths.

    >>> w = torch.tensor(0.5, requires_grad=True)
    >>> end, out = replayed(lambda v, x: (w * v + x,) * 2, torch.zeros(()), (torch.ones(9),))
    >>> end.backward()
    >>> round(w.grad.item(), 4), out.shape
    (3.9219, torch.Size([9]))
    """
    lengths = {len(x) for x in xs}
    if len(lengths) != 1 or 0 in lengths:
        raise ShapeError(
            f"inputs of one length, from 1 step on, are needed; got lengths {sorted(lengths)}"
        )
    steps = lengths.pop()
    size = whole("span", math.isqrt(steps - 1) + 1 if span is None else span, least=1)

    def part(state: State, *pieces: Tensor) -> tuple[State, Tensor]:
        outs = []
        for now in zip(*pieces, strict=True):
            state, out = step(state, *now)
            outs.append(out)
        return state, torch.stack(outs)

    found: list[Tensor] = []
    for first in range(0, steps, size):
        pieces = [x[first : first + size] for x in xs]
        ends: Any = checkpoint(part, state, *pieces, use_reentrant=False, preserve_rng_state=False)
        state, out = ends
        found.append(out)
    return state, torch.cat(found)
