"""Operations that a net takes for events: counted where they happen, as integers.

    events                a whole number in a step is so many events, whatever its sign; a layer
                          that takes values in between takes one graded event for each but 0
    synaptic operations   events times the synapses that are there; a weight of 0 is none
    updates               one a cell and step; those with an event that reached them are active
    spikes                sent by cells
    memory                a weight read for each operation, a state read and written for each
                          update; weights that are cells of an array are read where they are

What only the caller knows is added by :meth:`Counts.with_learning`.

Legend: T steps, B samples, N cells.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, final

import torch
from torch import Tensor, nn

from clnf.core.errors import ConfigError, ShapeError
from clnf.core.inputs import instance, whole
from clnf.core.tensors import dense, not_finite
from clnf.core.units import quantity
from clnf.spiking.events.maps import Linear
from clnf.spiking.profiles.simulated import Constrained, Course, pooled
from clnf.spiking.profiles.stages import Shape, Stage, stages_of
from clnf.spiking.steps import leak_step, spike_step, start
from clnf.spiking.surrogates import Triangle

__all__ = ["Counts", "Seen", "count", "look", "operations", "shape_of"]

_BITS = 32  # of weights and states of a net that is on no chip


@final
@dataclass(frozen=True, kw_only=True)
class Counts:
    """Operations of a layer or a net, for all samples together; sums over layers and batches add.

    Attributes:
        events: that came in.
        synaptic_operations: events times synapses.
        dense_operations: what one event of every input in every step would take; several events a
            step on one input can take more.
        updates: steps of cells.
        active_updates: of these, with an event that reached the cell.
        spikes: sent.
        memory_bits: read and written for weights and states.
        trace_updates: of learning, as told.
        weight_updates: worked out, as told.
        weight_writes: done, as told.
    """

    events: int = quantity("1", 0)
    synaptic_operations: int = quantity("1", 0)
    dense_operations: int = quantity("1", 0)
    updates: int = quantity("1", 0)
    active_updates: int = quantity("1", 0)
    spikes: int = quantity("1", 0)
    memory_bits: int = quantity("bit", 0)
    trace_updates: int = quantity("1", 0)
    weight_updates: int = quantity("1", 0)
    weight_writes: int = quantity("1", 0)

    def __add__(self, other: "Counts") -> "Counts":
        sums = {key: value + getattr(other, key) for key, value in vars(self).items()}
        return Counts(**sums)

    def with_learning(self, *, traces: int = 0, updates: int = 0, writes: int = 0) -> "Counts":
        """The same, and what learning did.

        Args:
            traces: steps of traces.
            updates: changes of weights that were worked out.
            writes: weights that were written; fewer where a gate spares some.

        Raises:
            ConfigError: a count is no whole number of at least 0.
        """
        return replace(
            self,
            trace_updates=self.trace_updates + whole("traces", traces, least=0),
            weight_updates=self.weight_updates + whole("updates", updates, least=0),
            weight_writes=self.weight_writes + whole("writes", writes, least=0),
        )


class Seen(NamedTuple):
    """A stage while it ran.

    Attributes:
        stage: weights and cells.
        inputs: what came in, [T, B, ...].
        weight: as it was used; None where cells are reached one by one.
        ring: recurrent weights as used, or None.
        course: what its cells did.
        weight_bits: bits of a weight.
        state_bits: bits of all states of a cell.
    """

    stage: Stage
    inputs: Tensor
    weight: Tensor | None
    ring: Tensor | None
    course: Course
    weight_bits: int
    state_bits: int


def shape_of(x: object) -> Shape | None:
    """Shape of one sample at one step, as events have it; None where they have none."""
    return tuple(x.shape[2:]) or None if isinstance(x, Tensor) else None


def look(net: nn.Module, x: Tensor, inputs: Shape | None = None) -> list[Seen]:
    """Run a net and keep what its stages did.

    Args:
        net: layers in a row, or the same under a chip's limits.
        x: events [T, B, ...].
        inputs: shape of one sample at one step, where the first layer does not tell it.

    Raises:
        ConfigError: events that are no tensor or not finite, or layers that cannot be counted.
        ShapeError: events of another shape than the first layer takes.
    """
    dense("events", instance("events", x, Tensor, "make a tensor"))
    with torch.no_grad():
        if isinstance(net, Constrained):
            return _look_at_chip(net, x)
        stages = stages_of(net, inputs)
        found, now = list[Seen](), _checked(x, stages[0])
        for stage in stages:
            course = _run(stage, now)
            states = 1 + (course.current is not None)
            found.append(Seen(stage, now, stage.weight, stage.ring, course, _BITS, states * _BITS))
            now = course.potential if course.spikes is None else course.spikes
    return found


def _checked(x: Tensor, first: Stage) -> Tensor:
    """Events of the type of the first weights."""
    if x.dim() < 3 or tuple(x.shape[2:]) != first.inputs or not x.numel():
        raise ShapeError(
            f"events are [steps, samples, {', '.join(map(str, first.inputs))}], one step and one "
            f"sample or more, got {[*x.shape]}; correct them"
        )
    bad = not_finite(x)
    if bad:
        raise ConfigError(f"events are finite numbers, got {bad}; correct them")
    if first.weight is not None:
        return x.to(first.weight.dtype)
    return x if x.is_floating_point() else x.to(torch.float32)


def _look_at_chip(net: Constrained, x: Tensor) -> list[Seen]:
    found, now, profile = list[Seen](), x.to(torch.float64), net.profile
    for stage, by, course in zip(net.stages(), net.numbers(), net.run(x)[0], strict=True):
        bits = profile.potential_bits or _BITS
        bits += (profile.current_bits or _BITS) if course.current is not None else 0
        weight = None if stage.weight is None else by.weight
        found.append(Seen(stage, now, weight, by.ring, course, profile.weight_bits or 0, bits))
        now = course.potential if course.spikes is None else course.spikes
    return found


def _run(stage: Stage, x: Tensor) -> Course:
    """A stage of a net without limits, step by step, with its potentials."""
    if stage.cell is None:
        raise ConfigError(f"layer {stage.name} is {stage.odd}; only weights with cells are counted")
    a = pooled(x, stage.pool) / (stage.pool[0] * stage.pool[1])
    if stage.by is not None and stage.weight is not None:
        flat = a.flatten(2) if stage.kind == "linear" else a
        a = stage.by.plain(flat, stage.weight, stage.bias)
    k = stage.cell.coefficients(stage.dt_s)
    state, surrogate = start(a[0], k), stage.surrogate or Triangle()
    sent, potential, current = list[Tensor](), list[Tensor](), list[Tensor]()
    for now in a:
        if k.threshold is None:
            _, state = leak_step(now, state, k)
        else:
            if stage.ring is not None and state.spikes is not None:
                now = now + state.spikes @ stage.ring.t()
            z, state = spike_step(now, state, k, surrogate)
            sent.append(z)
        potential.append(state.v)
        current += [] if state.current is None else [state.current]
    return Course(
        torch.stack(sent) if sent else None, torch.stack(potential),
        torch.stack(current) if current else None, 1.0,
    )  # fmt: skip


def _late(spikes: Tensor) -> Tensor:
    """Spikes as they come back, one step later."""
    return torch.cat([torch.zeros_like(spikes[:1]), spikes[:-1]])


def _events(x: Tensor) -> Tensor:
    """How many events each value is."""
    wide = x.to(torch.float64)
    if not bool(wide.isfinite().all()):
        raise ConfigError("events are finite numbers, got nan or inf; correct them")
    return wide.abs() if bool((wide == wide.round()).all()) else (wide != 0).to(torch.float64)


def operations(seen: Seen, *, dense: bool = False) -> Tensor:
    """Synaptic operations at each cell, [T, B, ...], float64.

    Args:
        seen: a stage while it ran.
        dense: count as if every input were one event and every weight there.

    Raises:
        ConfigError: inputs that are not finite.
    """
    stage = seen.stage

    def there(x: Tensor) -> Tensor:
        return torch.ones_like(x, dtype=torch.float64) if dense else (x != 0).to(torch.float64)

    def sent(x: Tensor) -> Tensor:
        return there(x) if dense else _events(x)

    events = pooled(sent(seen.inputs), stage.pool)
    if dense and stage.pool != (1, 1):
        events = torch.ones_like(events)
    if stage.by is None or seen.weight is None:
        found = events
    else:
        flat = events.flatten(2) if stage.kind == "linear" else events
        found = stage.by.plain(flat, there(seen.weight), None)
    if seen.ring is not None and seen.course.spikes is not None:
        back = sent(_late(seen.course.spikes))
        found = found + Linear().plain(back, there(seen.ring), None)
    return found


def _count(seen: Seen) -> Counts:
    found, course = operations(seen), seen.course
    total, updates = int(found.sum()), course.potential.numel()
    return Counts(
        events=int(_events(seen.inputs).sum()),
        synaptic_operations=total,
        dense_operations=int(operations(seen, dense=True).sum()),
        updates=updates,
        active_updates=int((found > 0).sum()),
        spikes=0 if course.spikes is None else int(course.spikes.sum()),
        memory_bits=total * seen.weight_bits + 2 * updates * seen.state_bits,
    )


def count(net: nn.Module | Sequence[Seen], x: Tensor | None = None) -> dict[str, Counts]:
    """Operations of each layer, by its name, for all samples of ``x`` together.

    Args:
        net: layers in a row, the same under a chip's limits, or what :func:`look` saw.
        x: events [T, B, ...]; None with what was seen.

    Raises:
        ConfigError: a net without events, or events that are not finite.

    >>> from clnf.spiking import LIF, SpikingLinear
    >>> net = SpikingLinear((4, 3), LIF(), dt_s=1e-3)
    >>> x = torch.zeros(5, 2, 4); x[0, 0, 1] = 1.0
    >>> found = count(net, x)["0"]
    >>> found.synaptic_operations, found.updates, found.active_updates
    (3, 30, 3)
    """
    if isinstance(net, nn.Module):
        if x is None:
            raise ConfigError("a net is counted on events; give x, [steps, samples, ...]")
        net = look(net, x, shape_of(x))
    return {one.stage.name: _count(one) for one in net}
