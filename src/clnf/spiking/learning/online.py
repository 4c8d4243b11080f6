"""Online rules for layers in a row as they ran, free or under a chip's limits.

What a net did is looked at once (:func:`watched`): events, traces of inputs and slopes of cells.
What changes follow, three rules say:

    e-prop   dW_ji = sum over t of s_j[t] f_ji[t],  f_ji[t] = kappa f_ji[t-1] + slope_j[t] p_i[t]
             s_j[t] = sum over k of W_kj slope_k[t] L_k[t],  kappa the next layer's decay
    local    dW_ji = sum over t of (sum over k of G_kj L_k[t]) slope_j[t] p_i[t],  G fixed, y = G z
    ReSuMe   dW_ji = sum over t of (wanted_j[t] - z_j[t]) (a + p_i[t])

The last layer may spike; its own gradient is L_k slope_k p_j in the first two. L are errors at its
outputs. A chip with traces holds p in its format (:mod:`clnf.spiking.profiles.learning`), and f in
tags, both rounded at random. ReSuMe is STDP with the spikes of a teacher and, with the other sign,
with the cell's own: no gradient, no slope.

Simplified: one trace an input, also where a spike sets cells to 0; slopes are taken where a cell's
own decay puts its potential, which differs from the chip's by its rounding. Where nothing is
rounded and resets subtract, e-prop of two layers is the whole gradient; tests hold it against
autograd. Where a spike sets cells to 0 it is an approximation, and a rough one: the gradient ends
at each spike there and the trace does not, so that entries come out several times too large.

Legend: T steps, B samples, I inputs, N cells, K outputs.

Sources: Bellec et al., Nature Communications 11, 3625 (2020); Kaiser, Mostafa & Neftci, Frontiers
in Neuroscience 14, 424 (2020); Ponulak & Kasinski, Neural Computation 22, 467 (2010).
"""

from collections.abc import Callable, Mapping
from itertools import count
from typing import Any, Literal, NamedTuple, final

import torch
from torch import Tensor, nn

from clnf.core.errors import ConfigError, DataError, RunError, ShapeError
from clnf.core.inputs import instance, number, shown, whole
from clnf.core.rng import torch_rng
from clnf.core.tensors import dense, not_finite
from clnf.spiking.coefficients import Coefficients
from clnf.spiking.energy.counts import Seen, look
from clnf.spiking.layers import drawn
from clnf.spiking.learning.traces import check_error, check_lesson, learn
from clnf.spiking.profiles.learning import TraceFormat, traced_whole
from clnf.spiking.profiles.simulated import Constrained
from clnf.spiking.profiles.stages import Stage, stages_of

__all__ = ["OnlineRule", "Tags", "Watched", "resume_change", "watched"]

ErrorsOf = Callable[[Tensor], Tensor]
_MOST_BITS = 24  # of what float32 holds exactly
_IMPULSE = 16.0  # of a spike in a chip's trace: 4 of its 7 bits before the point, room for 8 spikes


class Watched(NamedTuple):
    """What a layer did with a batch.

    Attributes:
        weight: of the layer, in volts, [N, I]; the parameter itself.
        outputs: spikes, or potentials in volts of a read-out, [T, B, N].
        traces: p, how far each input still moves a potential, [T, B, I].
        slopes: of spikes, 1/V, [T, B, N]; 1 for a read-out.
        decay: of its cells.
    """

    weight: Tensor
    outputs: Tensor
    traces: Tensor
    slopes: Tensor
    decay: float


class Tags(NamedTuple):
    """How synapses of a chip hold eligibility.

    Attributes:
        bits: beside the sign.
        most: eligibility that they still hold, a pure number.
    """

    bits: int
    most: float


@torch.no_grad()
def watched(
    net: nn.Module, x: Tensor, how: TraceFormat | None = None, *, seed: int = 0
) -> list[Watched]:
    """Run a net from rest and tell what each layer did.

    Args:
        net: matrices and cells in a row, or the same under a chip's limits.
        x: events [T, B, I].
        how: a chip holds traces; None for floats.
        seed: of their rounding.

    Raises:
        ConfigError: layers or cells for which one trace an input would not do, or in steps of
            different lengths.
        ShapeError: events of another shape or type than the first weights.
        DataError: events that are not finite.

    >>> from clnf.spiking import LIF, SpikingLinear
    >>> net = SpikingLinear((4, 3), LIF(), dt_s=1e-3)
    >>> seen = watched(net, torch.ones(5, 2, 4))[0]
    >>> seen.traces.shape, seen.slopes.shape
    (torch.Size([5, 2, 4]), torch.Size([5, 2, 3]))
    """
    _check(_stages(net), x)
    limited = isinstance(net, Constrained)
    ways = (_Way(how, seed + 7 * n, limited) for n in count())
    return [_seen(one, way) for one, way in zip(look(net, x), ways, strict=False)]


class _Way(NamedTuple):
    traces: TraceFormat | None
    seed: int
    whole: bool  # whether weights are steps of the potential and hold the kick already


def _seen(seen: Seen, way: _Way) -> Watched:
    stage = seen.stage
    assert stage.cell is not None
    assert stage.weight is not None
    assert seen.weight is not None
    k, x, course = stage.cell.coefficients(stage.dt_s), seen.inputs.float(), seen.course
    kick, decay = float(k.kick), float(k.decay)
    volts = (course.potential * course.lsb_v).float()
    if course.spikes is None or k.threshold is None:
        outputs, slopes = volts, torch.ones_like(volts)
    else:
        outputs = course.spikes.float()
        given = seen.weight.float() * (course.lsb_v if way.whole else kick)
        before = torch.cat([torch.zeros_like(volts[:1]), volts[:-1]])
        reach = decay * before + x @ given.t()
        threshold = float(k.threshold)
        near = (reach / threshold).round().clamp_min(1.0).minimum(outputs.clamp_min(1.0))
        assert stage.surrogate is not None
        slopes = stage.surrogate.slope(reach - near * threshold)
    return Watched(stage.weight, outputs, _traces(x, k, stage.dt_s, way), slopes, decay)


def _stages(net: nn.Module) -> list[Stage]:
    return net.stages() if isinstance(net, Constrained) else stages_of(net)


def _check(stages: list[Stage], x: Tensor) -> None:
    for stage in stages:
        _check_stage(stage)
    steps = sorted({one.dt_s for one in stages})
    if len(steps) > 1:
        told = " and ".join(f"{one:g} s" for one in steps)
        raise ConfigError(f"layers of a rule have steps of one length, got {told}; make them alike")
    assert stages[0].weight is not None
    check_lesson(x, stages[0].weight)


def _check_stage(stage: Stage) -> None:
    k = None if stage.cell is None else stage.cell.coefficients(stage.dt_s)
    plain = k is not None and k.synapse is None and k.adaptation is None and not k.hold
    parts = () if k is None else (k.decay, k.kick, k.rest, k.threshold or 0.0)
    alike = all(not isinstance(one, Tensor) or one.numel() == 1 for one in parts)
    matrix = stage.kind == "linear" and stage.weight is not None
    if stage.odd or not matrix or stage.ring is not None or stage.bias is not None:
        raise ConfigError(
            f"layer {stage.name} is no plain matrix of weights; these rules take matrices without "
            "recurrence and biases"
        )
    if k is None or not plain or not alike or float(k.rest) != 0.0:
        raise ConfigError(
            f"cells of layer {stage.name} need more than one trace an input; give IF, LIF or LI "
            "cells that are alike and leak to 0"
        )
    if stage.weight is not None and stage.weight.dtype != torch.float32:
        raise ConfigError(
            f"weights of layer {stage.name} are torch.float32 for these rules, got "
            f"{stage.weight.dtype}; convert the net"
        )


def _traces(x: Tensor, k: Coefficients, dt_s: float, way: _Way) -> Tensor:
    if way.traces is not None:
        decay = torch.as_tensor(k.decay, dtype=torch.float64)
        tau_s = dt_s / float((-decay.log()).clamp_min(1e-12))
        found = traced_whole(x, way.traces, tau_s=tau_s, dt_s=dt_s, impulse=_IMPULSE, seed=way.seed)
        return found.float() * (float(k.kick) / _IMPULSE * 2.0**-way.traces.fraction)
    # All steps at once: kick decay^(t - s) for each step s up to t.
    ago = torch.arange(len(x))[:, None] - torch.arange(len(x))
    fades = float(k.kick) * float(k.decay) ** ago.clamp_min(0).float() * (ago >= 0)
    return torch.einsum("ts,sbi->tbi", fades, x)


def _products(post: Tensor, pre: Tensor) -> Tensor:
    return post.flatten(0, 1).t() @ pre.flatten(0, 1)


@final
class OnlineRule:
    """E-prop or local losses for one layer of cells and the layer behind it.

    Args:
        kind: of the rule; the last layer learns its own gradient in both.
        net: two layers in a row, or the same under a chip's limits.
        traces: how a chip holds traces; None for floats.
        tags: how a chip holds eligibility of e-prop; None for floats.
        seed: of fixed random read-outs, uniform in +-1/sqrt(N), and of rounding.

    Raises:
        ConfigError: a rule of another kind, no net, or tags that hold nothing.

    >>> from clnf.spiking import LIF, SpikingLinear
    >>> from clnf.spiking.chain import Chain
    >>> from clnf.spiking.profiles import Constrained, profile
    >>> cell = LIF(reset_v=0.0)
    >>> net = Chain(*(SpikingLinear((n, m), cell, dt_s=1e-3) for n, m in ((4, 6), (6, 2))))
    >>> rule = OnlineRule("eprop", Constrained(net, profile("loihi")))
    >>> rule.lesson(torch.ones(5, 1, 4), lambda y: y - 1.0).shape, net[0].weight.grad.shape
    (torch.Size([5, 1, 2]), torch.Size([6, 4]))
    """

    def __init__(
        self,
        kind: Literal["eprop", "local"],
        net: nn.Module,
        *,
        traces: TraceFormat | None = None,
        tags: Tags | None = None,
        seed: int = 0,
    ) -> None:
        if kind not in ("eprop", "local"):
            raise ConfigError(f"a rule is eprop or local, got {kind!r}; choose one")
        instance("net", net, nn.Module, "give a torch module")
        if traces is not None:
            instance("traces", traces, TraceFormat, "give trace_format(profile)")
        if tags is not None:
            _check_tags(instance("tags", tags, Tags, "give Tags(8, 1.0)"))
        whole("seed", seed)
        self.kind, self.net, self.traces, self.tags, self.seed = kind, net, traces, tags, seed
        self.lessons = 0
        self._readout: Tensor | None = None

    @torch.no_grad()
    def lesson(self, x: Tensor, errors_of: ErrorsOf) -> Tensor:
        """Run through inputs and add gradients to those of the weights, without a graph.

        Args:
            x: events [T, B, I].
            errors_of: from outputs [T, B, K] to dloss/dy [T, B, K]; an error of a step may know
                outputs up to it. Local losses ask it for the hidden layer's read-out, too.

        Frozen weights get none.

        Returns:
            Outputs [T, B, K] of the last layer.

        Raises:
            ConfigError: layers or cells for which one trace an input would not do.
            ShapeError: events or errors of another shape or type.
            DataError: events or errors that are not finite; no gradient has changed then.
        """
        layers = len(_stages(self.net))
        if layers != 2:
            raise ConfigError(f"these rules take two layers, got {layers}; build such a net")
        hidden, last = watched(self.net, x, self.traces, seed=self.seed + 1000 * self.lessons)
        felt = check_error(errors_of(last.outputs), last.outputs) * last.slopes
        if self.kind == "local":
            matrix = self._fixed(last.weight)
            y = hidden.outputs @ matrix.t()
            own = check_error(errors_of(y), y) @ matrix
            change = _products(own * hidden.slopes, hidden.traces)
        else:
            change = self._eligible(felt @ last.weight, hidden, last.decay)
        for weight, more in ((last.weight, _products(felt, last.traces)), (hidden.weight, change)):
            learn(weight, more)
        self.lessons += 1
        return last.outputs

    def state_dict(self) -> dict[str, Any]:
        """How many lessons there were: what is rounded at random follows from it and the seed."""
        return {"seed": self.seed, "lessons": self.lessons}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave.

        Raises:
            RunError: the state is of a rule with another seed.
            ConfigError: it is none.
        """
        if set(instance("a state", state, dict)) != {"seed", "lessons"}:
            raise ConfigError(
                f"a state of a rule has seed and lessons, got {shown(state)}; give state_dict()"
            )
        if state["seed"] != self.seed:
            raise RunError(
                f"the saved rule has the seed {shown(state['seed'])}, this one {self.seed}; make "
                "it with the same one"
            )
        self.lessons = whole("lessons", state["lessons"], least=0)

    def _fixed(self, weight: Tensor) -> Tensor:
        if self._readout is None:
            outputs, cells = weight.shape
            self._readout = drawn(self.seed, outputs, cells, scale=cells**-0.5).detach()
        return self._readout

    def _eligible(self, signal: Tensor, hidden: Watched, kappa: float) -> Tensor:
        if self.tags is None:
            # The same sum with the decay on the other factor: no number for each weight and step.
            felt, later = torch.empty_like(signal), torch.zeros_like(signal[0])
            for t in range(len(signal) - 1, -1, -1):
                later = felt[t] = signal[t] + kappa * later
            return _products(felt * hidden.slopes, hidden.traces)
        f = torch.zeros(signal.shape[1], *hidden.weight.shape)
        change, rng = torch.zeros_like(hidden.weight), torch_rng(self.seed, "tags", self.lessons)
        top = 2.0**self.tags.bits - 1
        step = self.tags.most / top
        for t, now in enumerate(signal):
            f = kappa * f + hidden.slopes[t][:, :, None] * hidden.traces[t][:, None]
            f = (f / step + torch.rand(f.shape, generator=rng)).floor().clamp(-top, top) * step
            change += (now[:, :, None] * f).sum(0)
        return change


def _check_tags(tags: Tags) -> None:
    whole("bits of tags", tags.bits, least=1, most=_MOST_BITS)
    if not 0 < number("the largest value of tags", tags.most) < float("inf"):
        raise ConfigError(f"the largest value of tags is above 0, got {tags.most}; correct it")


def resume_change(seen: Watched, wanted: Tensor, *, alone: float = 0.0) -> Tensor:
    """ReSuMe's change of a layer's weights [N, I], in volts, for a rate of 1.

    Args:
        seen: what the layer did.
        wanted: spikes of the teacher [T, B, N].
        alone: a, of a spike by itself.

    Raises:
        ConfigError: ``seen`` is of no layer, or ``alone`` no finite number.
        ShapeError: spikes of another shape than the layer's.
        DataError: spikes that are not finite.

    >>> from clnf.spiking import LIF, SpikingLinear
    >>> net, x = SpikingLinear((2, 1), LIF(), dt_s=1e-3), torch.ones(3, 1, 2) * torch.eye(2)[0]
    >>> change = resume_change(watched(net, 0.01 * x)[0], torch.ones(3, 1, 1))
    >>> bool(change[0, 0] > 0), change[0, 1].item()
    (True, 0.0)
    """
    instance("seen", seen, Watched, "give one of watched(net, x)")
    spikes = dense("wanted spikes", wanted, dtype=seen.outputs.dtype)
    if spikes.shape != seen.outputs.shape:
        raise ShapeError(
            f"wanted spikes have the shape {[*seen.outputs.shape]} of the layer's, got "
            f"{[*spikes.shape]}; correct them"
        )
    bad = not_finite(spikes)
    if bad:
        raise DataError(f"wanted spikes are finite, got {bad}; correct them")
    if not abs(number("alone", alone)) < float("inf"):
        raise ConfigError(f"alone is finite, got {alone}; correct it")
    return _products(spikes - seen.outputs, seen.traces + alone)
