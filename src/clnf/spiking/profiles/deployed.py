"""A net as a chip would run it: whole numbers, and nothing else.

What is deployed is what :class:`clnf.spiking.profiles.simulated.Constrained` simulates, to the bit:
all spikes, potentials and currents at all steps are equal. Nothing here is a float but ``lsb_v``,
which says how many volts a step of a potential stands for.

What happens at the end of a range:

    saturate   stays at +-(2**(bits - 1) - 1)
    wrap       goes on at the other end: values lie from -2**(bits - 1) + 1 to 2**(bits - 1)

A profile without bits for a state has no such end; int64 is wide enough for what is added here.

Legend: T steps, B samples, N cells.
"""

from typing import NamedTuple, cast, final

import numpy as np
import torch
from torch import Tensor

from clnf.core.errors import ConfigError
from clnf.core.inputs import shown
from clnf.spiking.convolution.maps import Convolution
from clnf.spiking.profiles import kernels as compiled
from clnf.spiking.profiles.fixed import NEVER, Numbers
from clnf.spiking.profiles.kernels import Ints, Rules, States
from clnf.spiking.profiles.profile import ChipProfile
from clnf.spiking.profiles.rounding import stochastic
from clnf.spiking.profiles.simulated import (
    Constrained,
    Counters,
    Course,
    check_events,
    pooled,
    spikes_a_step,
)
from clnf.spiking.profiles.stages import Stage

__all__ = ["Deployed", "deploy"]

_DECAYS = {"none": compiled.NO_DECAY, "fraction": compiled.FRACTION, "shift": compiled.SHIFT}
_ROUNDS = {"zero": compiled.ZERO, "down": compiled.DOWN, "stochastic": compiled.STOCHASTIC}


class _Part(NamedTuple):
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


@final
class Deployed:
    """Stages in whole numbers; made by :func:`deploy`.

    Args:
        profile: of the chip.
        inputs: shape of one sample at one step.
        parts: the stages.
        seed: of stochastic rounding.
    """

    def __init__(
        self, profile: ChipProfile, inputs: tuple[int, ...], parts: list[_Part], *, seed: int
    ) -> None:
        self.profile, self.inputs, self._parts, self.seed = profile, inputs, parts, seed

    def weights(self) -> list[Tensor]:
        """Weights of each stage in steps of its potential, int64."""
        return [one.weight for one in self._parts]

    def __call__(self, x: Tensor) -> Tensor:
        """Spikes of the last stage, or its potentials in whole numbers, [T, B, ...], int64."""
        course = self.run(x)[0][-1]
        return course.potential if course.spikes is None else course.spikes

    def run(
        self, x: Tensor, states: tuple[Counters, ...] | None = None, *, kernels: bool = True
    ) -> tuple[list[Course], tuple[Counters, ...]]:
        """All steps from states: what each stage did, and the states after, all int64.

        Args:
            x: events [T, B, ...], whole numbers of any type.
            states: one for each stage; None for rest.
            kernels: False for torch alone.

        Raises:
            ShapeError: events of another shape.
            ConfigError: no events, or more of them than the chip takes.
        """
        check_events(x, self.inputs, self.profile)
        if states is not None and len(states) != len(self._parts):
            raise ConfigError(
                f"{len(self._parts)} stages need as many states, got {shown(len(states))}"
            )
        now, made, after = x.to(torch.int64), list[Course](), list[Counters]()
        for place, part in enumerate(self._parts):
            arrived = (_arrived if kernels else _arrived_plainly)(pooled(now, part.pool), part)
            before = states[place] if states else None
            steps = _compiled if kernels else _plain
            course, state = steps(arrived, part, before, self.seed)
            made.append(course)
            after.append(state)
            now = course.potential if course.spikes is None else course.spikes
        return made, tuple(after)


def deploy(net: Constrained) -> Deployed:
    """A net in whole numbers, as it is now.

    >>> from clnf.spiking import IF, SpikingLinear
    >>> from clnf.spiking.profiles.profile import profile
    >>> chip = Constrained(SpikingLinear((4, 3), IF(), dt_s=1e-3), profile("speck"))
    >>> x = torch.ones(6, 2, 4)
    >>> torch.equal(deploy(chip)(x), chip(x).long())
    True
    """
    stages, made = net.stages(), list[_Part]()
    for place, (stage, by) in enumerate(zip(stages, net.numbers(), strict=True)):
        most = spikes_a_step(net.profile, place == len(stages) - 1)
        made.append(_part(stage, by, net.profile, most))
    return Deployed(net.profile, stages[0].inputs, made, seed=net.seed)


def _whole(x: Tensor) -> Tensor:
    return x.detach().to(torch.int64)


def _part(stage: Stage, by: Numbers, profile: ChipProfile, most: int) -> _Part:
    assert stage.cell is not None
    size = torch.Size(stage.outputs).numel()

    def row(x: Tensor | None) -> Ints:
        found = torch.zeros((), dtype=torch.int64) if x is None else _whole(x)
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
    return _Part(
        name=stage.name, pool=stage.pool, one_to_one=stage.by is None, outputs=stage.outputs,
        how=stage.by if isinstance(stage.by, Convolution) else None, weight=_whole(by.weight),
        ring=None if by.ring is None else _whole(by.ring), rules=rules, start=_whole(by.start),
        lsb_v=by.lsb_v,
    )  # fmt: skip


def _arrived(x: Tensor, part: _Part) -> Tensor:
    """What reaches each cell, [T, B, N], by events."""
    steps, samples = x.shape[:2]
    if part.one_to_one:
        return (x * part.weight).reshape(steps, samples, -1)
    if part.how is None:
        rows = np.ascontiguousarray(x.reshape(steps * samples, -1).numpy())
        out = np.zeros((len(rows), len(part.weight)), np.int64)
        compiled.product(rows, np.ascontiguousarray(part.weight.t().numpy()), out)
        return torch.from_numpy(out).view(steps, samples, -1)
    how = part.how
    rows = np.ascontiguousarray(x.flatten(0, 1).numpy())
    depth, down, across = part.outputs
    out = np.zeros((len(rows), down, across, depth), np.int64)
    weight = np.ascontiguousarray(part.weight.permute(1, 2, 3, 0).numpy())
    compiled.spread(rows, weight, out, np.array([*how.stride, *how.padding, *how.dilation]))
    return torch.from_numpy(out).permute(0, 3, 1, 2).reshape(steps, samples, -1)


def _arrived_plainly(x: Tensor, part: _Part) -> Tensor:
    """The same by torch alone."""
    steps, samples = x.shape[:2]
    if part.one_to_one:
        return (x * part.weight).reshape(steps, samples, -1)
    if part.how is None:
        return x.reshape(steps, samples, -1) @ part.weight.t()
    how, (_, down, across) = part.how, part.outputs
    top, left = how.padding
    wide = torch.nn.functional.pad(x.flatten(0, 1), (left, left, top, top))
    out = torch.zeros(len(wide), *part.outputs, dtype=torch.int64)
    for k in range(part.weight.shape[2]):
        for m in range(part.weight.shape[3]):
            y, z = k * how.dilation[0], m * how.dilation[1]
            seen = wide[:, :, y : y + how.stride[0] * (down - 1) + 1 : how.stride[0]]
            seen = seen[..., z : z + how.stride[1] * (across - 1) + 1 : how.stride[1]]
            out += torch.einsum("rchw,dc->rdhw", seen, part.weight[:, :, k, m])
    return out.reshape(steps, samples, -1)


def _begun(a: Tensor, part: _Part, state: Counters | None) -> tuple[Tensor, Tensor, Tensor, int]:
    """Potential, current, spikes and steps made, [B, N], whole numbers of their own."""
    if state is None:
        zeros = torch.zeros_like(a[0])
        begun = part.start
        if begun.dim() == 1 and begun.numel() != a.shape[2]:
            begun = begun.view(-1, 1, 1).expand(part.outputs).reshape(-1)
        return zeros + begun, zeros.clone(), zeros.clone(), 0
    rows = [
        torch.zeros_like(a[0]) if one is None else _whole(one).reshape(a.shape[1:]).clone()
        for one in (state.potential, state.current, state.spikes)
    ]
    return rows[0], rows[1], rows[2], state.step


def _draws(a: Tensor, part: _Part, seed: int, first: int) -> Tensor:
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


def _ended(
    a: Tensor, part: _Part, now: tuple[Tensor, Tensor, Tensor, int], steps: list[Tensor]
) -> tuple[Course, Counters]:
    shape, rules = (*a.shape[:2], *part.outputs), part.rules
    potential, current, spikes = (one.view(shape) for one in steps)
    v, i, z = (one.view(shape[1:]) for one in now[:3])
    course = Course(
        spikes if rules.most else None, potential, current if rules.synapse else None, part.lsb_v
    )
    return course, Counters(v, i if rules.synapse else None, z, now[3] + len(a))


def _compiled(a: Tensor, part: _Part, state: Counters | None, seed: int) -> tuple[Course, Counters]:
    now = _begun(a, part, state)
    steps = [torch.zeros_like(a, memory_format=torch.contiguous_format) for _ in range(3)]
    ring = np.zeros((0, 0), np.int64)
    if part.ring is not None:
        ring = np.ascontiguousarray(part.ring.t().numpy())
    arrays = States(*(one.numpy() for one in (*now[:3], *steps)))
    draws = _draws(a, part, seed, now[3]).numpy()
    compiled.population(a.contiguous().numpy(), ring, part.rules, arrays, draws)
    return _ended(a, part, now, steps)


def _plain(a: Tensor, part: _Part, state: Counters | None, seed: int) -> tuple[Course, Counters]:
    v, i, z, first = _begun(a, part, state)
    rules, draws = part.rules, _draws(a, part, seed, first)
    bias, threshold, keep, fading = (torch.from_numpy(one) for one in rules[:4])
    steps: list[list[Tensor]] = [[], [], []]
    for t, push in enumerate(a):
        if part.ring is not None:
            push = push + z @ part.ring.t()
        if rules.push_most:
            push = push.clamp(-rules.push_most, rules.push_most)
        if rules.synapse:
            i = _decayed(i, fading, rules, draws[0, t] if draws.numel() else None) + push
            i = push = _held(i, rules.current_bits, rules.current_wraps)
        v = _decayed(v, keep, rules, draws[1, t] if draws.numel() else None) + push + bias
        v = _held(v, rules.potential_bits, rules.potential_wraps)
        if rules.most:
            fit = torch.div(v - 1 + rules.reached, threshold, rounding_mode="floor")
            z = fit.clamp(0, rules.most)
            v = v - z * threshold if rules.subtracts else torch.where(z > 0, 0, v)
        for kept, one in zip(steps, (v, i, z), strict=True):
            kept.append(one)
    return _ended(a, part, (v, i, z, first), [torch.stack(one) for one in steps])


def _decayed(x: Tensor, kept: Tensor, rules: Rules, draw: Tensor | None) -> Tensor:
    if rules.decay == compiled.NO_DECAY:
        return x
    if rules.decay == compiled.SHIFT:
        return torch.where(kept >= NEVER, x, x - (x >> kept))
    if rules.rounding == compiled.ZERO:
        return x.sign() * ((x.abs() * kept) >> rules.bits)
    return (x * kept + (0 if draw is None else draw)) >> rules.bits


def _held(x: Tensor, bits: int, wraps: int) -> Tensor:
    if not bits:
        return x
    half = 1 << (bits - 1)
    if wraps:
        return ((x + half - 1) & (2 * half - 1)) - (half - 1)
    return x.clamp(1 - half, half - 1)
