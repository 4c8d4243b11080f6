"""The one law that all rules of this package are values of, and its plain step.

Traces of spikes s (pre) and z (post), decayed over a step before they are looked at:

    x' = d x,   x = x' + s               each spike of the past counts (all pairs)
                x = x' (1 - s) + s       the nearest one counts

A step changes the weight from pre i to post j by

    up_ji   = z_j (x_i (A2+ + A3+ y2'_j) + a+)
    down_ji = s_i (y_j (A2- + A3- x2'_i) + a-)
    h_ji    = up_ji f+(w_ji) - down_ji f-(w_ji)
    f+(w)   = ((most - w) / (most - least))^mu+,   f-(w) = ((w - least) / (most - least))^mu-

and w becomes w + h, cut to its bounds. With a third factor m the change goes by way of an
eligibility e = d_e e' + h, and w becomes w + dt m e. x, y are the fast traces, x2', y2' the slow
ones before this step's spikes. Spikes of one step: pre comes first (x holds s, y does not hold z),
both traces hold them, or neither does.

Legend: B samples, I pre cells, J post cells. Weights [J, I] are shared by all samples, whose
changes add up; weights [B, J, I] are one life for each sample. Coefficients are numbers or tensors:
A+, a+ and the decays of post traces [J] or [B, J]; A-, a- and the decays of pre traces [I] or
[B, I]; mu+ and mu- what spreads to the weights, and d_e what spreads to [B, J, I].

Sources: Morrison, Diesmann & Gerstner, Biol. Cybern. 2008 (pairings); Pfister & Gerstner, J.
Neurosci. 2006 (triplets); Guetig et al., J. Neurosci. 2003 (f+, f-); Izhikevich, Cereb. Cortex 2007
(eligibility).
"""

import math
from collections.abc import Sequence
from numbers import Real
from typing import NamedTuple

import torch
from torch import Tensor

from clnf.core.errors import ConfigError, ShapeError
from clnf.core.inputs import instance, number
from clnf.core.tensors import dense
from clnf.spiking.coefficients import Value

__all__ = [
    "Factors",
    "Law",
    "PlasticState",
    "Traces",
    "check_factors",
    "check_fit",
    "check_shapes",
    "check_spread",
    "factor",
    "factors_of",
    "hebbian",
    "plastic_start",
    "plastic_step",
]

# Which cells a coefficient belongs to. Sentences call decays by the time constants they come from.
_OF_PRE = {
    "pre": "pre_tau_s", "pre_slow": "pre_slow_tau_s", "down": "down",
    "down_triplet": "down_triplet", "down_alone": "down_alone",
}  # fmt: skip
_OF_POST = {
    "post": "post_tau_s", "post_slow": "post_slow_tau_s", "up": "up",
    "up_triplet": "up_triplet", "up_alone": "up_alone",
}  # fmt: skip


class Law(NamedTuple):
    """Coefficients of a step, made by the ``law`` method of a rule.

    Attributes:
        pre: decay of the fast trace of pre spikes.
        post: of post spikes.
        pre_slow: decay of the slow traces, of triplets.
        post_slow: of post spikes.
        up: A2+, in the unit of weights.
        down: A2-.
        up_triplet: A3+.
        down_triplet: A3-.
        up_alone: a+, of a post spike by itself.
        down_alone: a-, of a pre spike by itself.
        least: bound of weights; None for none.
        most: bound of weights; None for none.
        up_power: mu+.
        down_power: mu-.
        nearest: whether the nearest spike counts, not all.
        pre_now: whether x holds this step's spikes.
        post_now: whether y does.
        eligibility: decay of e; None where there is no third factor.
        share: what multiplies m e, seconds of a step, or 1.
    """

    pre: Value = 0.0
    post: Value = 0.0
    pre_slow: Value = 0.0
    post_slow: Value = 0.0
    up: Value = 0.0
    down: Value = 0.0
    up_triplet: Value = 0.0
    down_triplet: Value = 0.0
    up_alone: Value = 0.0
    down_alone: Value = 0.0
    least: float | None = None
    most: float | None = None
    up_power: Value = 0.0
    down_power: Value = 0.0
    nearest: bool = False
    pre_now: bool = True
    post_now: bool = False
    eligibility: Value | None = None
    share: float = 1.0


class Traces(NamedTuple):
    """Traces after a step.

    Attributes:
        pre: x, [B, I].
        post: y, [B, J].
        pre_slow: x2, [B, I].
        post_slow: y2, [B, J].
    """

    pre: Tensor
    post: Tensor
    pre_slow: Tensor
    post_slow: Tensor


class PlasticState(NamedTuple):
    """What a step takes and gives.

    Attributes:
        weight: [J, I], or [B, J, I] for one life a sample.
        traces: of both sides.
        eligibility: e, [B, J, I]; None without a third factor.
    """

    weight: Tensor
    traces: Traces
    eligibility: Tensor | None = None


class Factors(NamedTuple):
    """A step's change as products: up = a x + u, down = c y + d.

    Attributes:
        a: z (A2+ + A3+ y2'), [..., B, J].
        x: fast pre trace, [..., B, I].
        u: z a+, [..., B, J].
        y: fast post trace, [..., B, J].
        c: s (A2- + A3- x2'), [..., B, I].
        d: s a-, [..., B, I].
    """

    a: Tensor
    x: Tensor
    u: Tensor
    y: Tensor
    c: Tensor
    d: Tensor


def plastic_start(pre: Tensor, post: Tensor, weight: Tensor, k: Law) -> PlasticState:
    """A state without a past; weights beyond their bounds are cut to them.

    Args:
        pre: spikes of any step [B, I]; their shape counts.
        post: spikes [B, J].
        weight: [J, I] or [B, J, I].
        k: the law.

    Raises:
        ShapeError: shapes that do not belong together, or weights of whole numbers.
    """
    instance("k", k, Law, "give rule.law(dt_s)")
    check_shapes(pre, post, weight)
    one = torch.zeros((), dtype=weight.dtype, device=weight.device)
    rest = Traces(*(one.expand(like.shape) for like in (pre, post, pre, post)))
    full = (pre.shape[0], *weight.shape[-2:])
    if k.least is not None or k.most is not None:
        weight = weight.clamp(k.least, k.most)
    return PlasticState(weight, rest, None if k.eligibility is None else one.expand(full))


def check_shapes(pre: Tensor, post: Tensor, weight: Tensor) -> None:
    """Refuse spikes [..., B, I] and [..., B, J] that a weight does not join.

    Raises:
        ConfigError: one is no tensor.
        ShapeError: they do not fit, or weights are whole numbers, in which small steps vanish.
    """
    for name, one in (("pre", pre), ("post", post), ("weight", weight)):
        instance(name, one, Tensor, "convert it")
    ends = (post.shape[-1:], pre.shape[-1:]) if pre.dim() > 1 and post.dim() > 1 else ()
    tail = tuple(one[0] for one in ends)
    samples = pre.shape[-2:-1]
    shapes = (tail, (*samples, *tail))
    if not ends or pre.shape[:-1] != post.shape[:-1] or tuple(weight.shape) not in shapes:
        raise ShapeError(
            f"spikes {[*pre.shape]} before and {[*post.shape]} behind synapses need a weight "
            f"[post, pre] or [samples, post, pre], got {[*weight.shape]}; correct shapes"
        )
    if not weight.is_floating_point():
        raise ShapeError(
            f"weights change in small steps, got {weight.dtype}; convert them to float first"
        )


def check_fit(pre: Tensor, post: Tensor, state: PlasticState, k: Law) -> None:
    """Refuse states and coefficients that do not fit spikes: kernels take their places unseen.

    Args:
        pre: spikes [..., B, I].
        post: spikes [..., B, J].
        state: before them.
        k: the law.

    Raises:
        ConfigError: a coefficient is neither a number nor a tensor.
        ShapeError: something has a shape that does not fit.
    """
    check_shapes(pre, post, state.weight)
    before, behind = tuple(pre.shape[-2:]), tuple(post.shape[-2:])
    each = (*behind, before[1])
    held = [*zip(Traces._fields, state.traces, (before, behind) * 2, strict=True)]
    held += [] if state.eligibility is None else [("eligibility", state.eligibility, each)]
    for name, one, size in held:
        if tuple(one.shape) != size:
            raise ShapeError(
                f"{name} of this state has shape {[*one.shape]}, and these spikes need {[*size]}; "
                "begin with plastic_start(...) for them"
            )
    for names, size, word in ((_OF_PRE, before, "pre"), (_OF_POST, behind, "post")):
        shapes = f", [{size[1]}] ({word} cells) or {[*size]} (samples, {word} cells)"
        for name, told in names.items():
            check_spread(told, getattr(k, name), size, shapes)
    weights = tuple(state.weight.shape)
    for name in ("up_power", "down_power"):
        check_spread(name, getattr(k, name), weights, f" or what spreads to {[*weights]}")
    if k.eligibility is not None:
        shapes = f" or what spreads to {[*each]} (samples, post cells, pre cells)"
        check_spread("eligibility_tau_s", k.eligibility, each, shapes)


def check_spread(name: str, value: Value, size: Sequence[int], shapes: str) -> None:
    """Refuse a coefficient that is no number and does not spread to a size, named as ``shapes``.

    Raises:
        ConfigError: it is neither a number nor a tensor.
        ShapeError: it has another shape.
    """
    if not isinstance(value, Tensor):
        number(name, value, nan=True)
    elif not _spreads(dense(name, value).shape, size):
        raise ShapeError(f"{name} must be a number{shapes}, got {[*value.shape]}; reshape it")


def _spreads(own: Sequence[int], size: Sequence[int]) -> bool:
    ends = zip(reversed(own), reversed(size), strict=False)
    return len(own) <= len(size) and all(n in (1, full) for n, full in ends)


def _check_third(third: object, size: Sequence[int]) -> None:
    """Refuse a third factor of one step that does not spread to ``size``, [B, J, I]."""
    if isinstance(third, Real):
        if not math.isfinite(number("a third factor", third)):
            raise ConfigError(f"a third factor must be finite, got {third}; correct it")
        return
    made = dense("a third factor", instance("a third factor", third, Tensor, "convert it"))
    if not _spreads((*made.shape, 1) if made.dim() in (1, 2) else made.shape, size):
        raise ShapeError(
            f"a third factor of a step is a number, [{size[1]}], {[*size[:2]]} or {[*size]}, got "
            f"{[*made.shape]}; spread it"
        )


def check_factors(state: PlasticState, k: Law, third: object) -> None:
    """Refuse a third factor, or a state, that a law has no use for.

    Raises:
        ConfigError: no law, a third factor or an eligibility for a law without one, or none for a
            law with one.
    """
    instance("k", k, Law, "give rule.law(dt_s)")
    instance("state", state, PlasticState, "give plastic_start(...)")
    if (third is None) != (k.eligibility is None):
        raise ConfigError(
            "a third factor goes with a rule in ThreeFactor(...), and such a rule needs one; got "
            f"{'none' if third is None else 'one'}"
        )
    if (state.eligibility is None) != (k.eligibility is None):
        raise ConfigError(
            f"this state {'lacks' if state.eligibility is None else 'has'} the eligibility of a "
            "rule in ThreeFactor(...), so it is of another law; begin with plastic_start(...) for "
            "this one"
        )


def factors_of(pre: Tensor, post: Tensor, traces: Traces, k: Law) -> tuple[Factors, Traces]:
    """A step's change as products of what is on either side, and the traces after it."""
    # What is true or false counts as 1 or 0.
    pre, post = (s.to(traces.pre.dtype) if s.dtype is torch.bool else s for s in (pre, post))
    x, x2 = k.pre * traces.pre, k.pre_slow * traces.pre_slow
    y, y2 = k.post * traces.post, k.post_slow * traces.post_slow
    after = Traces(*(_lifted(t, s, k) for t, s in ((x, pre), (y, post), (x2, pre), (y2, post))))
    found = Factors(
        a=post * (k.up + k.up_triplet * y2),
        x=after.pre if k.pre_now else x,
        u=post * k.up_alone,
        y=after.post if k.post_now else y,
        c=pre * (k.down + k.down_triplet * x2),
        d=pre * k.down_alone,
    )
    return found, after


def _lifted(trace: Tensor, spikes: Tensor, k: Law) -> Tensor:
    return trace * (1.0 - spikes) + spikes if k.nearest else trace + spikes


def hebbian(f: Factors, weight: Tensor, k: Law, *, whole: bool) -> Tensor:
    """The change h of a step.

    Args:
        f: products of the step.
        weight: [J, I] or [B, J, I], before the step.
        k: the law.
        whole: give the sum over samples [J, I], not each [B, J, I].
    """
    if whole:
        up = _product(f.a, f.x) + f.u.sum(0)[:, None]
        down = _product(f.y, f.c) + f.d.sum(0)
    else:
        up = f.a[..., None] * f.x[..., None, :] + f.u[..., None]
        down = f.y[..., None] * f.c[..., None, :] + f.d[..., None, :]
    return up * factor(weight, k, rising=True) - down * factor(weight, k, rising=False)


def _product(post: Tensor, pre: Tensor) -> Tensor:
    """Post by pre [J, I], summed over samples; a coefficient may be of more digits than spikes."""
    kind = torch.promote_types(post.dtype, pre.dtype)
    return post.mT.to(kind) @ pre.to(kind)


def factor(weight: Tensor, k: Law, *, rising: bool) -> Tensor | float:
    """f+ or f-, in [0, 1]; 1 where steps do not depend on the weight."""
    power = k.up_power if rising else k.down_power
    if k.least is None or k.most is None or (not isinstance(power, Tensor) and power == 0):
        return 1.0
    room = k.most - weight if rising else weight - k.least
    base = (room * (1.0 / (k.most - k.least))).clamp_min(0.0)
    if not isinstance(power, Tensor) and power == 1:
        return base
    # The slope of a power at 0 may have no end: a weight on its bound has one for a power of 1.
    inside, fixed = base > 0, torch.as_tensor(power).detach()
    found = torch.where(inside, base, 1.0) ** power
    return torch.where(inside, found, base * (fixed == 1) + (fixed == 0))


def plastic_step(
    pre: Tensor, post: Tensor, state: PlasticState, k: Law, third: Tensor | float | None = None
) -> PlasticState:
    """One step of the law, see the head of this module.

    Args:
        pre: spikes s, [B, I]; any numbers may stand for spikes.
        post: spikes z, [B, J].
        state: before.
        k: coefficients of the step.
        third: the third factor m, in anything that spreads to [B, J, I]; 1/s where a rule has an
            eligibility. [J] and [B, J] go along post cells, so end with [..., 1] for others.

    Raises:
        ConfigError: a third factor for a law without one, or none for a law with one; a state of
            another law; a third factor that is not finite.
        ShapeError: spikes, state, coefficients or a third factor that do not fit each other.

    >>> from clnf.spiking.plasticity.rules import PairSTDP
    >>> k = PairSTDP(up=0.01, down=0.012).law(1e-3)
    >>> on, off = torch.ones(1, 1), torch.zeros(1, 1)
    >>> state = plastic_step(on, off, plastic_start(on, on, torch.zeros(1, 1), k), k)
    >>> round(plastic_step(off, on, state, k).weight.item(), 5)      # 1 ms later: 0.01 exp(-1/20)
    0.00951
    """
    check_factors(state, k, third)
    check_fit(pre, post, state, k)
    if third is not None:
        _check_third(third, (*post.shape, pre.shape[-1]))
    f, traces = factors_of(pre, post, state.traces, k)
    shared = state.weight.dim() == 2
    change = hebbian(f, state.weight, k, whole=shared and third is None)
    eligibility = None
    if third is not None and state.eligibility is not None and k.eligibility is not None:
        eligibility = k.eligibility * state.eligibility + change
        eligibility = eligibility.to(state.eligibility.dtype)
        change = k.share * _along_post(third) * eligibility
        change = change.sum(0) if shared else change
    weight = (state.weight + change).to(state.weight.dtype)
    if k.least is not None or k.most is not None:
        weight = weight.clamp(k.least, k.most)
    return PlasticState(weight, traces, eligibility)


def _along_post(third: Tensor | float) -> Tensor | float:
    """A third factor [J] or [B, J] with an axis for pre cells behind it."""
    return third[..., None] if isinstance(third, Tensor) and third.dim() in (1, 2) else third
