"""A stage under a chip's limits, compiled there and back: the way of simulated loops, in one pass.

The way there is the deployed one, in whole numbers. The way back is written out: a gradient goes
through decays as their shares, stops where a state was held at its end, and passes a spike with the
surrogate's slope. It takes cells without recurrent weights whose parameters do not learn; all else
goes the plain way.

Legend: T steps, B samples, N cells.
"""

from typing import Any, NamedTuple, final

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from clnf.spiking.profiles import kernels as compiled
from clnf.spiking.profiles.fixed import Numbers
from clnf.spiking.profiles.kernels import Grads, Slopes, States
from clnf.spiking.profiles.parts import Counters, Part, begun, draws_of
from clnf.spiking.surrogates import AbstractSurrogate

__all__ = ["Pass", "can", "run"]


class Pass(NamedTuple):
    """What a pass over all steps needs beside its inputs."""

    part: Part
    by: Numbers
    surrogate: AbstractSurrogate
    state: Counters | None
    seed: int


def can(a: Tensor, by: Numbers, state: Counters | None) -> bool:
    """Whether the compiled way can take this."""
    learns = (by.bias, by.threshold, by.share, by.fading_share)
    held = () if state is None else (state.potential, state.current, state.spikes)
    return (
        by.ring is None
        and a.is_cpu
        and not any(one is not None and one.requires_grad for one in (*learns, *held))
    )


@final
class _Cells(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, how: Pass) -> Any:
        pushed = a.detach().to(torch.int64).flatten(2).contiguous()
        v, i, z, first = begun(pushed, how.part, how.state)
        rules, none = how.part.rules, pushed.new_empty(0, *pushed.shape[1:])
        wanted = (True, bool(rules.synapse), bool(rules.most))
        steps = [torch.empty_like(pushed) if one else none for one in wanted]
        draws = draws_of(pushed, how.part, how.seed, first)
        ctx.how, ctx.start = how, (v.clone(), i.clone(), z.clone())
        ctx.kept = (pushed, steps, draws)
        arrays = States(*(one.numpy() for one in (v, i, z, *steps)))
        ring = np.zeros((0, 0), np.int64)
        compiled.population(pushed.numpy(), ring, how.part.rules, arrays, draws.numpy())
        potential, current, spikes = (
            one.to(torch.float64).view(len(one), *a.shape[1:]) for one in steps
        )
        ctx.mark_non_differentiable(current)
        return spikes, potential, current

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (pushed, steps, draws), how = ctx.kept, ctx.how
        flat = [one.to(torch.float64).flatten(2).contiguous() for one in grads[:2]]
        out = torch.empty(pushed.shape, dtype=torch.float64)
        arrays = States(*(one.numpy() for one in (*ctx.start, *steps)))
        given = Grads(flat[0].numpy(), flat[1].numpy(), out.numpy())
        slopes = _slopes(how, pushed.shape[2])
        compiled.back(pushed.numpy(), how.part.rules, arrays, draws.numpy(), slopes, given)
        return out.view(grads[1].shape), None


def _slopes(how: Pass, cells: int) -> Slopes:
    by, surrogate = how.by, how.surrogate

    def row(x: Tensor | None) -> Any:
        found = torch.zeros(()) if x is None else x.detach()
        return found.to(torch.float64).expand(cells).contiguous().numpy()

    return Slopes(
        share=row(by.share), fading=row(by.fading_share), lsb_v=by.lsb_v, code=surrogate.code,
        narrow=1.0 / surrogate.width_v, height=surrogate.height_per_v,
    )  # fmt: skip


def run(a: Tensor, how: Pass) -> tuple[Tensor, Tensor, Tensor]:
    """All steps: spikes, potentials and currents [T, B, ...], whole numbers in float64.

    What the cells do not have is without steps.

    Args:
        a: what arrives, whole numbers [T, B, ...].
        how: the stage, its state and its seed.
    """
    return _Cells.apply(a, how)  # type: ignore[no-untyped-call]
