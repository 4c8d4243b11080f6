"""Recurrent populations over time: spikes of a step are inputs of the next, through weights.

    x'[t] = x[t] + R z[t - 1],   gz'[t] = gz[t] + R^T gx[t + 1],   dR = sum gx[t] z[t - 1]^T

Forward, the rows of R^T of the cells that spiked are added up; where a span of steps is busier than
``BUSY``, the next is done with matrix products. Backward, R^T gx is made only for cells whose slope
is not 0, if the surrogate is compact; else by a matrix product a step.

Legend: T steps, B samples, N neurons.
"""

from typing import cast

import torch
from torch import Tensor

from clnf.spiking.events.lists import density, event_outer, events_of, packed, starts
from clnf.spiking.kernels import Grads, Held
from clnf.spiking.memory import room
from clnf.spiking.plans import NONE, Floats, Plan, backward, forward
from clnf.spiking.recurrent.kernels import Part, Steps, recurrent_backward, recurrent_forward
from clnf.spiking.threads import over

__all__ = ["BUSY", "of_weights", "sweep", "sweep_back"]

BUSY = 0.4  # share of spikes above which a matrix product is faster
_SPAN = 10  # steps that are done in one way
_LANES = 32


def sweep(steps: Steps, held: Held, weight: Tensor, plan: Plan) -> None:
    """All steps, span by span in the way that the last one calls for."""
    total, samples = steps.u.shape[:2]
    w, share = packed(weight.t()), density(torch.from_numpy(steps.before))
    for begin in range(0, total, _SPAN):
        end = min(begin + _SPAN, total)
        if share > BUSY:
            _products(steps, held, weight.detach(), plan, range(begin, end))
            share = density(torch.from_numpy(steps.z[begin:end]))
            continue
        counts: list[int] = []

        def work(
            first: int, last: int, begin: int = begin, end: int = end, to: list[int] = counts
        ) -> None:
            part = Part(first, last, begin, end, plan.simple)
            to.append(recurrent_forward(steps, held, plan.cells, w, part))

        over(samples, work)
        share = sum(counts) / steps.u[begin:end].size


def _products(steps: Steps, held: Held, weight: Tensor, plan: Plan, span: range) -> None:
    for t in span:
        sent = torch.from_numpy(steps.before if t == 0 else steps.z[t - 1])
        u = torch.from_numpy(steps.u[t])
        x = torch.from_numpy(steps.x[t]) if steps.x.size else u
        torch.add(x, sent @ weight.t(), out=u)
        forward(NONE, steps.u[t : t + 1], steps.z[t : t + 1], held, plan)


def sweep_back(
    steps: Steps, out: tuple[Floats, Floats], grads: Grads, weight: Tensor, plan: Plan
) -> None:
    """All steps back; ``steps.x`` holds gradients of spikes."""
    total, samples = steps.u.shape[:2]
    if plan.compact:
        w, how = _rows(weight), (plan.cells, plan.slope)

        def work(first: int, last: int) -> None:
            part = Part(first, last, 0, total, plan.simple)
            recurrent_backward(steps, out, grads, how, w, part)

        over(samples, work)
        return
    gx, enters = out
    credit = torch.empty(1, *gx.shape[1:])
    for t in range(total - 1, -1, -1):
        credit.copy_(torch.from_numpy(steps.x[t : t + 1]))
        if t < total - 1:
            credit[0].addmm_(torch.from_numpy(gx[t + 1]), weight.detach())
        made = (gx[t : t + 1], enters[t : t + 1] if enters.size else enters)
        backward(steps.u[t : t + 1], credit.numpy(), made, grads, plan)


def _rows(weight: Tensor) -> Floats:
    """R^T with columns of 0 up to whole vectors."""
    more = -weight.shape[0] % _LANES
    found = torch.nn.functional.pad(weight.detach().t(), (0, more))
    return cast(Floats, found.contiguous().numpy())


def of_weights(u: Tensor, before: Tensor, gx: Tensor) -> Tensor:
    """DR [N, N], from volts over the threshold, spikes before and gradients of inputs."""
    sent = room(u.shape)
    sent[0] = before
    torch.gt(u[:-1], 0, out=sent[1:])
    rows, g = sent.view(-1, u.shape[2]), gx.view(-1, u.shape[2])
    start = starts(rows.numpy())
    if start[-1] > BUSY * rows.numel():
        return g.t() @ rows
    return event_outer(events_of(rows.numpy(), start), g.numpy(), u.shape[2])
