"""A net with a chip's limits while it learns: whole numbers in float64, gradients straight through.

Each step of a stage, in steps of the potential (see :mod:`clnf.spiking.profiles.fixed`):

    a = sum of weights of the events, saturated to input_bits
    i = decayed(i) + a          wrapped or saturated to current_bits; without a current i = a
    v = decayed(v) + i + bias   wrapped or saturated to potential_bits
    n = spikes(v)               v = v - n threshold, or 0 after a spike

A float64 holds every whole number below 2**53, so nothing is rounded but where the chip rounds.
:class:`clnf.spiking.profiles.deployed.Deployed` does the same in whole numbers alone, to the bit.

Legend: T steps, B samples, N cells.
"""

from typing import Any, NamedTuple, final

import torch
from torch import Tensor, nn

from clnf.core.errors import ConfigError
from clnf.core.inputs import instance, shown
from clnf.spiking.profiles.doors import check_die, check_events, check_full, packed, unpacked
from clnf.spiking.profiles.fast import Pass, can, run
from clnf.spiking.profiles.fixed import NEVER, Die, Numbers, numbers_of
from clnf.spiking.profiles.parts import Counters, part_of
from clnf.spiking.profiles.profile import ChipProfile
from clnf.spiking.profiles.rounding import Firing, spikes_of, stochastic, through
from clnf.spiking.profiles.stages import Shape, Stage, stages_of
from clnf.spiking.surrogates import Triangle
from clnf.spiking.synapses import arrived

__all__ = ["Constrained", "Counters", "Course", "pooled", "spikes_a_step"]


class Course(NamedTuple):
    """What a stage did at each step, whole numbers [T, B, ...].

    Attributes:
        spikes: that were sent; None for a read-out.
        potential: after the reset, in steps of ``lsb_v``.
        current: the same; None without one.
        lsb_v: volts of a step of the potential.
    """

    spikes: Tensor | None
    potential: Tensor
    current: Tensor | None
    lsb_v: float


def pooled(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Sums over windows of pictures [T, B, C, H, W]; whole windows only."""
    if size == (1, 1):
        return x
    down, across = size
    rows, columns = x.shape[3] // down, x.shape[4] // across
    x = x[..., : rows * down, : columns * across]
    return x.unflatten(3, (rows, down)).unflatten(5, (columns, across)).sum((4, 6))


def spikes_a_step(profile: ChipProfile, last: bool) -> int:
    """How many spikes a cell may send in a step."""
    most = profile.output_spikes_per_step if last else None
    return profile.spikes_per_step if most is None else most


@final
class Constrained(nn.Module):
    """A row of layers with the limits of a chip, to be trained and tested.

    Its parameters are those of the layers: train either, and the other has learned. Its
    ``state_dict()`` holds ``die`` and ``full_v`` too; one without them leaves both as they are.

    Args:
        net: layers in a row, see :func:`clnf.spiking.profiles.stages.stages_of`.
        profile: of the chip.
        inputs: shape of one sample at one step, where the first layer does not tell it.
        seed: of stochastic rounding.
        kernels: False for the plain loop always.

    Attributes:
        die: seed of the one chip whose mismatch and errors of writing the weights have; None for
            none. Draw another for each lesson to train for all chips.
        full_v: what the largest number of a weight is worth, V, by the stage's name; where there is
            none, the largest weight in use. Learning on a chip needs it: a grid that stays.

    Raises:
        ConfigError: a layer that cannot be counted on the chip.

    >>> from clnf.spiking import LIF, SpikingLinear
    >>> from clnf.spiking.profiles.profile import profile
    >>> net = SpikingLinear((4, 3), LIF(reset_v=0.0), dt_s=1e-3)
    >>> chip = Constrained(net, profile("loihi"))
    >>> chip(torch.ones(5, 2, 4)).shape
    torch.Size([5, 2, 3])
    """

    def __init__(
        self,
        net: nn.Module,
        profile: ChipProfile,
        inputs: Shape | None = None,
        *,
        seed: int = 0,
        kernels: bool = True,
    ) -> None:
        super().__init__()
        self.profile = instance("profile", profile, ChipProfile, "give profile('loihi')")
        self.net, self.inputs, self.seed, self.kernels = net, inputs, seed, kernels
        self.die: int | None = None
        self.full_v: dict[str, float] = {}
        self.register_load_state_dict_pre_hook(_completed)  # type: ignore[no-untyped-call]
        self.numbers()

    def stages(self) -> list[Stage]:
        """The stages of the net."""
        return stages_of(self.net, self.inputs)

    def numbers(self) -> list[Numbers]:
        """Whole numbers of each stage as they are now.

        Raises:
            ConfigError: ``die`` or ``full_v`` are none, or weights that are not finite.
        """
        stages, seed = self.stages(), check_die(self.die)
        full = check_full(self.full_v, [one.name for one in stages])
        dies = [None if seed is None else Die(seed, one.name) for one in stages]
        return [
            numbers_of(one, self.profile, die, full.get(one.name))
            for one, die in zip(stages, dies, strict=True)
        ]

    def get_extra_state(self) -> Tensor:
        """What there is beside weights: ``die`` and ``full_v``, float64 [1 + stages]."""
        names = [one.name for one in self.stages()]
        return packed(check_die(self.die), check_full(self.full_v, names), names)

    def set_extra_state(self, state: Any) -> None:
        """Restore what :meth:`get_extra_state` gave.

        Raises:
            ConfigError: it is of a net with other stages.
        """
        self.die, self.full_v = unpacked(state, [one.name for one in self.stages()])

    def forward(self, x: Tensor) -> Tensor:
        """What comes out of all steps from rest, [T, B, ...]: spikes, or volts of a read-out.

        Of the type of ``x``; float32 for events that are whole numbers or booleans.
        """
        course = self.run(x)[0][-1]
        kind = x.dtype if x.is_floating_point() else torch.float32
        if course.spikes is not None:
            return course.spikes.to(kind)
        return (course.potential * course.lsb_v).to(kind)

    def run(
        self, x: Tensor, states: tuple[Counters, ...] | None = None
    ) -> tuple[list[Course], tuple[Counters, ...]]:
        """All steps from states: what each stage did, and the states after.

        Args:
            x: events [T, B, ...], whole numbers of any type, or booleans.
            states: one for each stage; None for rest.

        Raises:
            ShapeError: events of another shape.
            ConfigError: no events, or more of them than the chip takes.
        """
        stages, made, after = self.stages(), list[Course](), list[Counters]()
        check_events(x, stages[0].inputs, self.profile)
        if states is not None and len(states) != len(stages):
            raise ConfigError(f"{len(stages)} stages need as many states, got {shown(len(states))}")
        now = x.to(torch.float64)
        for place, (stage, by) in enumerate(zip(stages, self.numbers(), strict=True)):
            pushes = _arrived(now, stage, by, 2.0**self.profile.input_shift * self.kernels)
            last = place == len(stages) - 1
            rules = _Rules(self.profile, stage, by, spikes_a_step(self.profile, last), self.seed)
            before = states[place] if states else None
            compiled = self.kernels and can(pushes, by, before)
            steps = _at_once if compiled else _population
            course, state = steps(pushes, rules, before)
            made.append(course)
            after.append(state)
            now = course.potential if course.spikes is None else course.spikes
        return made, tuple(after)


def _completed(chip: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """States from before anything was kept beside weights have nothing of it."""
    if isinstance(chip, Constrained):
        state.setdefault(f"{prefix}_extra_state", chip.get_extra_state())


class _Rules(NamedTuple):
    profile: ChipProfile
    stage: Stage
    by: Numbers
    most: int
    seed: int

    def decayed(self, x: Tensor, kept: Tensor, share: Tensor, place: tuple[str, int]) -> Tensor:
        """What a step leaves of whole numbers."""
        held, how = x.detach(), self.profile.decay_rounding
        if self.profile.decay == "none":
            return x
        if self.profile.decay == "shift":
            exact = torch.where(kept >= NEVER, held, held - (held * 2.0**-kept).floor())
            return through(exact, x * share)
        moved = held * kept * 2.0**-self.by.bits
        if how == "stochastic":
            names = (self.stage.name, *place)
            draws = stochastic(self.seed, names, tuple(x.shape), self.by.bits)
            moved = (held * kept + draws) * 2.0**-self.by.bits
        return through(moved.trunc() if how == "zero" else moved.floor(), x * share)


def _arrived(x: Tensor, stage: Stage, by: Numbers, unit: float) -> Tensor:
    """Sums of weights; ``unit`` is a step of weights, 0 for torch's own products always."""
    x = pooled(x, stage.pool)
    if stage.by is None or stage.weight is None:
        return x * by.weight
    if stage.kind == "linear" and x.dim() > 3:
        x = x.flatten(2)
    if unit and x.is_cpu and _small(x, by.weight, unit):
        events, weight = x.to(torch.float32), by.weight.to(torch.float32)
        return arrived(events, weight, None, stage.by).to(torch.float64)
    return stage.by.plain(x, by.weight, None)


def _small(x: Tensor, weight: Tensor, unit: float) -> bool:
    """Whether float32 holds every sum exactly: whole numbers of a unit below 2**24 of them."""
    held = weight.detach()
    unit = unit if bool((held % unit == 0).all()) else 1.0
    return float(held.abs().flatten(1).sum(1).max() * x.detach().max()) < unit * 2.0**24


def _held(x: Tensor, bits: int | None, overflow: str) -> Tensor:
    """Whole numbers in the range of a state.

    :mod:`clnf.spiking.profiles.deployed` has the same in integers.
    """
    if bits is None:
        return x
    half = float(2 ** (bits - 1))
    if overflow == "saturate":
        return x.clamp(-(half - 1), half - 1)
    return through((x.detach() + half - 1).remainder(2 * half) - (half - 1), x)


def _at_once(a: Tensor, rules: _Rules, state: Counters | None) -> tuple[Course, Counters]:
    """As :func:`_population`, compiled."""
    stage, by = rules.stage, rules.by
    part = part_of(stage, by, rules.profile, rules.most)
    way = Pass(part, by, stage.surrogate or Triangle(), state, rules.seed)
    z, v, i = run(a, way)
    spikes = z if by.threshold is not None else None
    current = i if by.fading is not None else None
    first = 0 if state is None else state.step
    last = torch.zeros_like(v[-1], requires_grad=False) if spikes is None else spikes[-1]
    end = Counters(v[-1], None if current is None else current[-1], last, first + len(a))
    return Course(spikes, v, current, by.lsb_v), end


def _population(a: Tensor, rules: _Rules, state: Counters | None) -> tuple[Course, Counters]:
    profile, by, stage = rules.profile, rules.by, rules.stage
    zeros = torch.zeros_like(a[0], requires_grad=False)
    if state is None:
        state = Counters(zeros + by.start, None if by.fading is None else zeros, zeros)
    v, i, z, first = state
    bits, one = profile.input_bits, 2.0**profile.input_shift
    spread = by.bias if by.bias.dim() == 0 or a.dim() == 3 else by.bias.view(-1, 1, 1)
    cell = stage.cell
    subtracts = cell is not None and cell.coefficients(stage.dt_s).reset is None
    firing = Firing(
        by.lsb_v, rules.most, profile.spikes_at == "reached", stage.surrogate or Triangle()
    )
    sent, potential, current = list[Tensor](), list[Tensor](), list[Tensor]()
    for t, push in enumerate(a):
        if by.ring is not None:
            push = push + z @ by.ring.t()
        if bits is not None:
            most = float(2 ** (bits - 1) - 1) * one
            push = push.clamp(-most, most)
        if by.fading is not None and by.fading_share is not None and i is not None:
            i = rules.decayed(i, by.fading, by.fading_share, ("current", first + t)) + push
            i = push = _held(i, profile.current_bits, profile.current_overflow)
        v = rules.decayed(v, by.keep, by.share, ("potential", first + t)) + push + spread
        v = _held(v, profile.potential_bits, profile.potential_overflow)
        if by.threshold is not None:
            z = spikes_of(v, by.threshold, firing)
            n = z.detach()
            v = v - n * by.threshold if subtracts else torch.where(n > 0, v * 0.0, v)
            sent.append(z)
        potential.append(v)
        current += [] if i is None else [i]
    course = Course(
        torch.stack(sent) if sent else None, torch.stack(potential),
        torch.stack(current) if current else None, by.lsb_v,
    )  # fmt: skip
    return course, Counters(v, i, z, first + len(a))
