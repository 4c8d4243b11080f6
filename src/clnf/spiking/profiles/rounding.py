"""Steps that have no slope, with the slope of what they stand for: rounding and counting spikes.

    round, floor, wrap    forward as said, backward 1          (straight through)
    spikes                n = how many thresholds fit, backward the surrogate's slope at the nearest

Numbers drawn for stochastic rounding depend on (seed, place, step) alone, so that a simulation and
the chip's arithmetic see the same ones.

Source: Bengio, Leonard & Courville, arXiv 1308.3432 (straight through).
"""

from typing import Any, NamedTuple, final

import numpy as np
import torch
from torch import Tensor

from clnf.core.rng import numpy_rng
from clnf.spiking.surrogates import AbstractSurrogate

__all__ = ["Firing", "rounded", "spikes_of", "stochastic", "through"]


@final
class _Through(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, exact: Tensor, smooth: Tensor) -> Tensor:
        return exact.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor]:
        return None, grads[0]


def through(exact: Tensor, smooth: Tensor) -> Tensor:
    """``exact``, with the gradient of ``smooth``, of one shape."""
    return _Through.apply(exact.detach(), smooth)  # type: ignore[no-untyped-call]


def rounded(x: Tensor) -> Tensor:
    """The nearest whole numbers, halves to even, straight through.

    >>> x = torch.tensor([0.4, 1.6], requires_grad=True)
    >>> y = rounded(x); y.sum().backward()
    >>> y.tolist(), x.grad.tolist()
    ([0.0, 2.0], [1.0, 1.0])
    """
    return through(x.detach().round(), x)


def stochastic(
    seed: int, place: tuple[str | int, ...], shape: tuple[int, ...], bits: int
) -> Tensor:
    """Whole numbers from 0 to 2**bits - 1 of a place, int64: added before a shift, they round.

    >>> a = stochastic(1, ("layer", 0), (3,), 12)
    >>> torch.equal(a, stochastic(1, ("layer", 0), (3,), 12)), int(a.max()) < 4096
    (True, True)
    """
    drawn = numpy_rng(seed, "rounding", *place).integers(0, 2**bits, size=shape, dtype=np.int64)
    return torch.from_numpy(drawn)


class Firing(NamedTuple):
    """How cells of a chip spike.

    Attributes:
        lsb_v: volts of one step of a potential.
        most: spikes in a step.
        reached: whether a potential at the threshold is enough.
        surrogate: slope, over volts.
    """

    lsb_v: float
    most: int
    reached: bool
    surrogate: AbstractSurrogate


@final
class _Spikes(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, v: Tensor, threshold: Tensor, how: Firing) -> Tensor:
        ctx.how = how
        ctx.save_for_backward(v, threshold)
        fit = (v / threshold).floor() if how.reached else (v / threshold).ceil() - 1.0
        return fit.clamp(0.0, float(how.most))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        (v, threshold), how = ctx.saved_tensors, ctx.how
        near = (v / threshold).round().clamp(1.0, float(how.most))
        slope = how.surrogate.slope((v - near * threshold) * how.lsb_v) * how.lsb_v * grads[0]
        return slope, (-near * slope).sum_to_size(threshold.shape), None


def spikes_of(v: Tensor, threshold: Tensor, how: Firing) -> Tensor:
    """How many spikes potentials make, 0 to ``how.most``.

    Args:
        v: potentials, whole numbers.
        threshold: of the cells, whole numbers above 0.
        how: cells spike.

    >>> from clnf.spiking.surrogates import Triangle
    >>> how = Firing(lsb_v=0.1, most=2, reached=True, surrogate=Triangle())
    >>> spikes_of(torch.tensor([9.0, 10.0, 25.0, 99.0]), torch.tensor(10.0), how).tolist()
    [0.0, 1.0, 2.0, 2.0]
    """
    return _Spikes.apply(v, threshold, how)  # type: ignore[no-untyped-call]
