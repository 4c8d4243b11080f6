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

from typing import final

import numpy as np
import torch
from torch import Tensor

from clnf.core.errors import ConfigError
from clnf.core.inputs import instance, shown
from clnf.spiking.profiles import kernels as compiled
from clnf.spiking.profiles.doors import check_events
from clnf.spiking.profiles.fixed import NEVER
from clnf.spiking.profiles.kernels import Rules, States
from clnf.spiking.profiles.parts import Counters, Part, begun, draws_of, part_of
from clnf.spiking.profiles.profile import ChipProfile
from clnf.spiking.profiles.simulated import Constrained, Course, pooled, spikes_a_step

__all__ = ["Deployed", "deploy"]


@final
class Deployed:
    """Stages in whole numbers; made by :func:`deploy`.

    It has no state of its own to keep: the same ``Constrained`` gives the same one again.

    Args:
        profile: of the chip.
        inputs: shape of one sample at one step.
        parts: the stages.
        seed: of stochastic rounding.
    """

    def __init__(
        self, profile: ChipProfile, inputs: tuple[int, ...], parts: list[Part], *, seed: int
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
            x: events [T, B, ...], whole numbers of any type, or booleans.
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
    """A net in whole numbers, as it is now; equal states of it give equal numbers.

    Raises:
        ConfigError: ``net`` is no net under a chip's limits.

    >>> from clnf.spiking import IF, SpikingLinear
    >>> from clnf.spiking.profiles.profile import profile
    >>> chip = Constrained(SpikingLinear((4, 3), IF(), dt_s=1e-3), profile("speck"))
    >>> x = torch.ones(6, 2, 4)
    >>> torch.equal(deploy(chip)(x), chip(x).long())
    True
    """
    instance("net", net, Constrained, "give Constrained(net, profile)")
    stages, made = net.stages(), list[Part]()
    for place, (stage, by) in enumerate(zip(stages, net.numbers(), strict=True)):
        most = spikes_a_step(net.profile, place == len(stages) - 1)
        made.append(part_of(stage, by, net.profile, most))
    return Deployed(net.profile, stages[0].inputs, made, seed=net.seed)


def _arrived(x: Tensor, part: Part) -> Tensor:
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


def _arrived_plainly(x: Tensor, part: Part) -> Tensor:
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


def _ended(
    a: Tensor, part: Part, now: tuple[Tensor, Tensor, Tensor, int], steps: list[Tensor]
) -> tuple[Course, Counters]:
    shape, rules = (*a.shape[:2], *part.outputs), part.rules
    potential, current, spikes = (one.view(shape) for one in steps)
    v, i, z = (one.view(shape[1:]) for one in now[:3])
    course = Course(
        spikes if rules.most else None, potential, current if rules.synapse else None, part.lsb_v
    )
    return course, Counters(v, i if rules.synapse else None, z, now[3] + len(a))


def _compiled(a: Tensor, part: Part, state: Counters | None, seed: int) -> tuple[Course, Counters]:
    now = begun(a, part, state)
    steps = [torch.zeros_like(a, memory_format=torch.contiguous_format) for _ in range(3)]
    ring = np.zeros((0, 0), np.int64)
    if part.ring is not None:
        ring = np.ascontiguousarray(part.ring.t().numpy())
    arrays = States(*(one.numpy() for one in (*now[:3], *steps)))
    draws = draws_of(a, part, seed, now[3]).numpy()
    compiled.population(a.contiguous().numpy(), ring, part.rules, arrays, draws)
    return _ended(a, part, now, steps)


def _plain(a: Tensor, part: Part, state: Counters | None, seed: int) -> tuple[Course, Counters]:
    v, i, z, first = begun(a, part, state)
    rules, draws = part.rules, draws_of(a, part, seed, first)
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
