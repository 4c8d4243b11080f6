"""A matrix and the cells behind it at once, where the kernels of both fit together.

That is for plain leaky cells, inputs with few events and large arrays; all else goes through the
map and then the cells. Both ways give the same spikes to the bit, and gradients to rounding.

Legend: T steps, B samples, I inputs, N neurons.
"""

from torch import Tensor

from clnf.spiking.events import maps
from clnf.spiking.events.fused import fused_backward, fused_forward
from clnf.spiking.events.kernels import BLOCK
from clnf.spiking.events.lists import Floats, by_inputs, packed, spotted, together, zeros
from clnf.spiking.plans import Plan, flat, is_wide
from clnf.spiking.threads import over

__all__ = ["back_at_once", "cells_at_once", "forward_at_once"]


def cells_at_once(by: maps.AbstractMap | None, u: Tensor, z: Tensor, plan: Plan) -> bool:
    """Whether there are kernels for a map and its cells together."""
    fits = isinstance(by, maps.Linear) and plan.simple and u.shape[2] % BLOCK == 0
    return fits and is_wide(flat(u), flat(z))


def forward_at_once(
    x: Tensor, weight: Tensor, out: tuple[Tensor, Tensor], v: Floats, plan: Plan
) -> maps.Kept | None:
    """Spikes of cells behind a matrix.

    Args:
        x: inputs [T, B, I].
        weight: [N, I].
        out: volts over the threshold and spikes, [T, B, N].
        v: potentials [B, N], changed in place.
        plan: of the cells.

    Returns:
        Events of the inputs; None, and nothing done, where there are too many.
    """
    u, z = (flat(one) for one in out)
    events = spotted(flat(x).reshape(-1, x.shape[2]), maps.BUSY)
    if events is None:
        return None
    w, cells = packed(weight.detach().t()), plan.numbers or plan.cells
    over(u.shape[1], lambda a, b: fused_forward(events, w, (u, z), v, cells, (a, b)))
    return maps.kept_events(events)


def back_at_once(
    kept: maps.Kept, u: Tensor, grad: Tensor, v: Floats, plan: Plan, inputs: int
) -> Tensor | None:
    """The gradient of the weights [N, I] from that of the spikes.

    Args:
        kept: of the inputs.
        u: volts over the threshold [T, B, N].
        grad: of spikes [T, B, N].
        v: gradients of potentials [B, N], changed in place.
        plan: of the cells.
        inputs: I.

    Returns:
        None, and nothing done, where no events were kept.
    """
    events = kept.events
    if events is None:
        return None
    given, blocks = (flat(u), flat(grad)), u.shape[2] // BLOCK
    by = by_inputs(events, u.shape[0] * u.shape[1], inputs)
    sums = zeros(blocks, inputs)
    how = (plan.numbers or plan.cells, plan.slope)
    over(blocks, lambda a, b: fused_backward(by, given, sums, v, how, (a, b)))
    return together(sums, u.shape[2])
