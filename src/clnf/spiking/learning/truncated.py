"""Backpropagation through a span of time, then the next: memory for a span, not for the whole.

Gradients end where a span begins. What happened before acts through the state alone.

Source: Williams & Peng, Neural Computation 1990.
"""

from collections.abc import Callable

from torch import Tensor

from clnf.core.inputs import whole
from clnf.spiking.chain import Chain

__all__ = ["truncated"]


def truncated(
    net: Chain, x: Tensor, loss_of: Callable[[Tensor, int], Tensor], *, span: int
) -> float:
    """Add gradients of a loss, span by span, to those of the net's parameters.

    Args:
        net: layers in a row.
        x: inputs [T, B, ...].
        loss_of: of what comes out of a span [S, B, ...] and the number of its first step. Losses of
            spans add up, so a mean over time has to be over all of it.
        span: steps of a span; the last may have fewer.

    Returns:
        The sum of all losses.

    Raises:
        ConfigError: a span is no whole number from 1 on.
    """
    whole("span", span, least=1)
    total, states = 0.0, None
    for first in range(0, len(x), span):
        out, now = net.run(x[first : first + span], states)
        loss = loss_of(out, first)
        loss.backward()
        total += loss.item()
        states = tuple(None if one is None else one.detach() for one in now)
    return total
