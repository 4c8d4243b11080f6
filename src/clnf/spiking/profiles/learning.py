"""What learning keeps on a chip: traces of few bits, and weights that change by whole steps.

    trace    y' = decay y, rounded to 2**-f;  y = y' + impulse n, at most 2**b - 2**-f
    weight   q' = floor((w + change) / step + r),  r drawn uniformly from [0, 1)

with b whole and f fractional bits. A trace rounded to the nearest stops falling where a step takes
less than half of 2**-f; rounded at random it falls as it should on average. The same holds for
weights whose changes are smaller than a step.

Traces have a twin in whole numbers with the same bits; weights are whole steps by themselves.

Legend: T steps.

Source: Lava 0.10, magma/core/learning: traces of 7 bits and 8 fractional ones, stochastic rounding.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from clnf.core.errors import ConfigError, DataError, ShapeError
from clnf.core.inputs import instance, number, whole
from clnf.core.rng import torch_rng
from clnf.core.tensors import dense, not_finite
from clnf.spiking.coefficients import Value, decay_of
from clnf.spiking.profiles.fixed import FREE_BITS
from clnf.spiking.profiles.profile import ChipProfile
from clnf.spiking.profiles.rounding import rounded, stochastic, through

__all__ = ["TraceFormat", "trace_format", "traced", "traced_whole", "written"]

Place = tuple[str | int, ...]


class TraceFormat(NamedTuple):
    """How a chip holds traces.

    Attributes:
        whole: bits before the point.
        fraction: bits behind it.
        decay_bits: of a decay.
        random: whether traces are rounded at random.
    """

    whole: int
    fraction: int
    decay_bits: int
    random: bool

    @property
    def top(self) -> int:
        """The largest trace in steps of 2**-fraction."""
        return int(2 ** (self.whole + self.fraction)) - 1


def trace_format(profile: ChipProfile) -> TraceFormat:
    """The traces of a chip.

    Raises:
        ConfigError: a chip without traces.

    >>> from clnf.spiking.profiles.profile import profile
    >>> trace_format(profile("loihi")).top
    32767
    """
    if profile.trace_bits is None:
        why = profile.gaps.get("trace_bits", "its profile names no trace_bits")
        raise ConfigError(f"{profile.name} has no traces: {why}; learn off the chip")
    return TraceFormat(
        profile.trace_bits,
        profile.trace_fraction_bits,
        profile.decay_bits or FREE_BITS,
        profile.trace_rounding == "stochastic",
    )


def _parts(how: TraceFormat, tau_s: Value, dt_s: float, impulse: float) -> tuple[Tensor, int]:
    """A decay in float64 and an impulse in steps of a trace."""
    found = round(impulse * 2**how.fraction)
    if not 0 < found <= how.top:
        raise ConfigError(
            f"an impulse lies between {2.0**-how.fraction:g} and {how.top * 2.0**-how.fraction:g}, "
            f"got {impulse}; scale it"
        )
    decay = decay_of(tau_s, dt_s, "exact")
    made = decay if isinstance(decay, Tensor) else torch.tensor(decay)
    return made.to(torch.float64), found


def traced(
    spikes: Tensor, how: TraceFormat, *, tau_s: Value, dt_s: float, impulse: float, seed: int = 0
) -> Tensor:
    """Traces of spikes as a chip would hold them, with gradients straight through.

    Args:
        spikes: [T, ...], whole numbers.
        how: traces are held.
        tau_s: of the trace; a tensor may learn.
        dt_s: seconds of a step.
        impulse: what a spike adds.
        seed: of the rounding.

    Returns:
        Traces after each step [T, ...], float64.

    >>> from clnf.spiking.profiles.profile import profile
    >>> how = trace_format(profile("loihi"))
    >>> x = torch.tensor([[1.0], [0.0]])
    >>> traced(x, how, tau_s=10e-3, dt_s=1e-3, impulse=16)[:, 0].tolist()
    [16.0, 14.4765625]
    """
    decay, added = _parts(how, tau_s, dt_s, impulse)
    one = 2.0**how.decay_bits
    share = rounded(decay * one) / one
    y, found = torch.zeros_like(spikes[0], dtype=torch.float64), []
    for now, drawn in zip(spikes, _draws(how, spikes, seed).to(torch.float64), strict=True):
        moved = y.detach() * (share.detach() * one) + drawn
        y = through((moved / one).floor(), y * share) + added * now.to(torch.float64)
        y = y.clamp_max(float(how.top))
        found.append(y * 2.0**-how.fraction)
    return torch.stack(found)


def traced_whole(
    spikes: Tensor, how: TraceFormat, *, tau_s: Value, dt_s: float, impulse: float, seed: int = 0
) -> Tensor:
    """The same in whole numbers alone: steps of 2**-fraction, [T, ...], int64."""
    decay, added = _parts(how, tau_s, dt_s, impulse)
    kept = (decay.detach() * 2.0**how.decay_bits).round().to(torch.int64)
    y, found = torch.zeros_like(spikes[0], dtype=torch.int64), []
    for now, drawn in zip(spikes.to(torch.int64), _draws(how, spikes, seed), strict=True):
        y = (y * kept + drawn) >> how.decay_bits
        y = (y + added * now).clamp_max(how.top)
        found.append(y)
    return torch.stack(found)


def _draws(how: TraceFormat, like: Tensor, seed: int) -> Tensor:
    """For all steps at once; a longer course begins with the numbers of a shorter one."""
    if not how.random:
        return torch.full(like.shape, 2 ** (how.decay_bits - 1))
    return stochastic(seed, ("trace",), tuple(like.shape), how.decay_bits)


def _wanted(weight: Tensor, change: Tensor) -> Tensor:
    dense("weights", instance("weights", weight, Tensor, "make a tensor"))
    dense("changes", instance("changes", change, Tensor, "make a tensor"))
    if weight.shape != change.shape:
        raise ShapeError(
            f"changes have the shape {[*weight.shape]} of the weights, got {[*change.shape]}; "
            "correct them"
        )
    for what, one in (("weights", weight), ("changes", change)):
        bad = not_finite(one)
        if bad:
            raise DataError(f"{what} on a grid are finite, got {bad}; nothing was written")
    return weight + change


def written(
    weight: Tensor, change: Tensor, step: float, top: int, *, seed: int, place: Place
) -> Tensor:
    """Weights on a grid after a change, rounded at random, with the gradient of their sum.

    Args:
        weight: on the grid or not, any shape.
        change: that learning wants.
        step: of the grid, in the unit of the weights.
        top: largest whole number of steps, both ways.
        seed: of the rounding.
        place: which change this is, such as ("lesson", 3).

    Raises:
        ConfigError: a step that is not above 0, or a top below 1.
        ShapeError: weights and changes of different shapes.
        DataError: a weight or a change that is not finite.

    >>> w = written(torch.zeros(1000), torch.full((1000,), 0.25), 1.0, 127, seed=1, place=(0,))
    >>> sorted(w.unique().tolist()), abs(w.mean().item() - 0.25) < 0.05
    ([0.0, 1.0], True)
    """
    wanted = _wanted(weight, change)
    if not 0 < number("step", step) < float("inf"):
        raise ConfigError(f"the step of a grid is above 0 and finite, got {step}; correct it")
    whole("top", top, least=1)
    draws = torch.rand(wanted.shape, generator=torch_rng(seed, "written", *place))
    found = (wanted.detach() / step + draws.to(wanted)).floor().clamp(-top, top)
    return through(found * step, wanted)
