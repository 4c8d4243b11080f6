"""A stage in whole numbers as kernels take it, and what a run of it begins with.

Legend: T steps, B samples, N cells.
"""

from typing import NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from clnf.spiking.convolution.maps import Convolution
from clnf.spiking.profiles import kernels as compiled
from clnf.spiking.profiles.fixed import Numbers
from clnf.spiking.profiles.kernels import Ints, Rules
from clnf.spiking.profiles.profile import ChipProfile
from clnf.spiking.profiles.rounding import stochastic
from clnf.spiking.profiles.stages import Stage

__all__ = ["Counters", "Part", "begun", "draws_of", "part_of", "whole"]

_DECAYS = {"none": compiled.NO_DECAY, "fraction": compiled.FRACTION, "shift": compiled.SHIFT}
_ROUNDS = {"zero": compiled.ZERO, "down": compiled.DOWN, "stochastic": compiled.STOCHASTIC}


class Counters(NamedTuple):
    """Where a stage is, [B, ...]; ``step`` is how many steps it has made."""

    potential: Tensor
    current: Tensor | None
    spikes: Tensor
    step: int = 0


class Part(NamedTuple):
    """A stage in whole numbers."""

    name: str
    pool: tuple[int, int]
    how: Convolution | None
    one_to_one: bool
    outputs: tuple[int, ...]
    weight: Tensor
    ring: Tensor | None
    rules: Rules
    start: Tensor
    lsb_v: float


def whole(x: Tensor) -> Tensor:
    """Whole numbers in float64 as int64."""
    return x.detach().to(torch.int64)


def part_of(stage: Stage, by: Numbers, profile: ChipProfile, most: int) -> Part:
    """A stage whose cells make at most so many spikes in a step."""
    assert stage.cell is not None
    size = torch.Size(stage.outputs).numel()

    def row(x: Tensor | None) -> Ints:
        found = torch.zeros((), dtype=torch.int64) if x is None else whole(x)
        if found.dim() == 1 and found.numel() != size:  # one for each channel
            found = found.view(-1, 1, 1).expand(stage.outputs)
        if found.numel() == 1:
            return np.full(size, int(found))
        return cast(Ints, found.reshape(-1).contiguous().numpy())

    bits = profile.input_bits
    rules = Rules(
        bias=row(by.bias), threshold=row(by.threshold), keep=row(by.keep), fading=row(by.fading),
        decay=_DECAYS[profile.decay], rounding=_ROUNDS[profile.decay_rounding], bits=by.bits,
        most=0 if by.threshold is None else most, reached=int(profile.spikes_at == "reached"),
        subtracts=int(stage.cell.coefficients(stage.dt_s).reset is None),
        synapse=int(by.fading is not None),
        push_most=0 if bits is None else (2 ** (bits - 1) - 1) << profile.input_shift,
        current_bits=profile.current_bits or 0, potential_bits=profile.potential_bits or 0,
        current_wraps=int(profile.current_overflow == "wrap"),
        potential_wraps=int(profile.potential_overflow == "wrap"),
    )  # fmt: skip
    return Part(
        name=stage.name, pool=stage.pool, one_to_one=stage.by is None, outputs=stage.outputs,
        how=stage.by if isinstance(stage.by, Convolution) else None, weight=whole(by.weight),
        ring=None if by.ring is None else whole(by.ring), rules=rules, start=whole(by.start),
        lsb_v=by.lsb_v,
    )  # fmt: skip


def begun(a: Tensor, part: Part, state: Counters | None) -> tuple[Tensor, Tensor, Tensor, int]:
    """Potential, current, spikes and steps made, [B, N], whole numbers of their own."""
    if state is None:
        zeros = torch.zeros_like(a[0])
        rest = part.start
        if rest.dim() == 1 and rest.numel() != a.shape[2]:
            rest = rest.view(-1, 1, 1).expand(part.outputs).reshape(-1)
        return zeros + rest, zeros.clone(), zeros.clone(), 0
    rows = [
        torch.zeros_like(a[0]) if one is None else whole(one).reshape(a.shape[1:]).clone()
        for one in (state.potential, state.current, state.spikes)
    ]
    return rows[0], rows[1], rows[2], state.step


def draws_of(a: Tensor, part: Part, seed: int, first: int) -> Tensor:
    """Numbers for stochastic rounding, [2, T, B, N]; without elements where none are needed."""
    rules = part.rules
    if rules.decay != compiled.FRACTION or rules.rounding != compiled.STOCHASTIC:
        return torch.zeros((0, 0, 0, 0), dtype=torch.int64)
    roles = ("current", "potential") if rules.synapse else ("potential",)
    found = torch.zeros((2, *a.shape), dtype=torch.int64)
    for role in roles:
        for t in range(len(a)):
            place, shape = (part.name, role, first + t), (a.shape[1], *part.outputs)
            drawn = stochastic(seed, place, shape, rules.bits)
            found[int(role == "potential"), t] = drawn.reshape(a.shape[1:])
    return found
