"""Rules of plasticity as their parameters, in seconds and in the unit of weights.

    PairSTDP      a pre spike before a post spike strengthens, one behind it weakens
    TripletSTDP   a second post spike strengthens more: what depends on rates
    SoftBounds    steps that shrink near a bound, of either
    ThreeFactor   either of them, marked at the synapse and paid out by a third factor

Coefficients and time constants are numbers or tensors, also those of torch modules, which then
learn; bounds are numbers. ``rule.law(dt_s)`` is what a step of ``dt_s`` makes of a rule, see
:mod:`clnf.spiking.plasticity.law`.
"""

from dataclasses import dataclass
from typing import Literal, final

from torch import Tensor

from clnf.core.errors import ConfigError
from clnf.core.inputs import check_fields, instance
from clnf.core.units import quantity
from clnf.spiking.coefficients import Value, check_finite, decay_of, positive
from clnf.spiking.plasticity.law import Law

__all__ = ["Coincident", "PairSTDP", "Pairing", "SoftBounds", "ThreeFactor", "TripletSTDP"]

Pairing = Literal["all", "nearest"]
Coincident = Literal["pre first", "both", "neither"]


@final
@dataclass(frozen=True, kw_only=True)
class SoftBounds:
    """Bounds of weights, and how steps shrink near them.

        f+(w) = ((most - w) / (most - least))^up_power
        f-(w) = ((w - least) / (most - least))^down_power

    Powers of 0 are steps of one size (additive) and 1 multiplicative ones; weights are cut to their
    bounds in any case. Source: Guetig et al., J. Neurosci. 2003.

    Attributes:
        least: smallest weight.
        most: largest weight.
        up_power: mu+, from 0.
        down_power: mu-, from 0.
    """

    least: float = quantity("1", 0.0)
    most: float = quantity("1", 1.0)
    up_power: Value = quantity("1", 0.0)
    down_power: Value = quantity("1", 0.0)

    def __post_init__(self) -> None:
        check_fields(self)
        if not -float("inf") < self.least < self.most < float("inf"):
            raise ConfigError(f"bounds go up, got {self.least} and {self.most}; correct them")
        for name in ("up_power", "down_power"):
            value = getattr(self, name)
            smallest = float(value.detach().min()) if isinstance(value, Tensor) else value
            if not 0 <= smallest < float("inf"):
                raise ConfigError(f"{name} is a power from 0 on, got {smallest}; correct it")


@dataclass(frozen=True, kw_only=True)
class _AbstractTimed:
    """Checks that all rules share."""

    def __post_init__(self) -> None:
        check_fields(self)
        check_finite(self)
        for name, value in vars(self).items():
            if name.endswith("tau_s") and value is not None:
                positive(name, value)


def _spread(bounds: SoftBounds | None) -> Law:
    if bounds is None:
        return Law()
    return Law(
        least=float(bounds.least),
        most=float(bounds.most),
        up_power=bounds.up_power,
        down_power=bounds.down_power,
    )


@final
@dataclass(frozen=True, kw_only=True)
class PairSTDP(_AbstractTimed):
    """Pairs of spikes, dt = t_post - t_pre: ``up exp(-dt/pre_tau)``, ``-down exp(dt/post_tau)``.

    Attributes:
        up: A2+ of a pre spike that comes first.
        down: A2- of a post spike that comes first.
        pre_tau_s: of the trace of pre spikes, tau+.
        post_tau_s: of the trace of post spikes, tau-.
        up_alone: a+ of a post spike by itself. ``-up`` times a target is the rule of Diehl & Cook
            (2015), up (x - target).
        down_alone: a- of a pre spike by itself.
        pairing: whether all spikes of the past count, or the nearest of each side.
        coincident: what spikes of one step do: pre comes first, both ways count, or neither.
        bounds: of weights; None for none.

    >>> round(PairSTDP(pre_tau_s=20e-3).law(1e-3).pre, 4)
    0.9512
    """

    up: Value = quantity("1", 0.01)
    down: Value = quantity("1", 0.0105)
    pre_tau_s: Value = quantity("s", 20e-3)
    post_tau_s: Value = quantity("s", 20e-3)
    up_alone: Value = quantity("1", 0.0)
    down_alone: Value = quantity("1", 0.0)
    pairing: Pairing = "all"
    coincident: Coincident = "pre first"
    bounds: SoftBounds | None = None

    def law(self, dt_s: float) -> Law:
        """What a step of ``dt_s`` seconds does.

        Raises:
            ConfigError: ``dt_s`` is not above 0.
        """
        return _timed(self, dt_s)._replace(up_alone=self.up_alone, down_alone=self.down_alone)


@final
@dataclass(frozen=True, kw_only=True)
class TripletSTDP(_AbstractTimed):
    """Pairs and triplets of spikes (Pfister & Gerstner, J. Neurosci. 2006, equations 3 and 4).

    Defaults are their full model of visual cortex, all pairs (their table 4).

    Attributes:
        up: A2+, of pairs.
        down: A2-, of pairs.
        up_triplet: A3+, of post, pre, post.
        down_triplet: A3-, of pre, post, pre.
        pre_tau_s: tau+.
        post_tau_s: tau-.
        pre_slow_tau_s: tau x.
        post_slow_tau_s: tau y.
        pairing: whether all spikes of the past count, or the nearest of each side.
        coincident: what spikes of one step do.
        bounds: of weights; None for none.
    """

    up: Value = quantity("1", 5e-10)
    down: Value = quantity("1", 7e-3)
    up_triplet: Value = quantity("1", 6.2e-3)
    down_triplet: Value = quantity("1", 2.3e-4)
    pre_tau_s: Value = quantity("s", 16.8e-3)
    post_tau_s: Value = quantity("s", 33.7e-3)
    pre_slow_tau_s: Value = quantity("s", 101e-3)
    post_slow_tau_s: Value = quantity("s", 125e-3)
    pairing: Pairing = "all"
    coincident: Coincident = "pre first"
    bounds: SoftBounds | None = None

    def law(self, dt_s: float) -> Law:
        """What a step of ``dt_s`` seconds does.

        Raises:
            ConfigError: ``dt_s`` is not above 0.
        """
        return _timed(self, dt_s)._replace(
            pre_slow=decay_of(self.pre_slow_tau_s, dt_s, "exact"),
            post_slow=decay_of(self.post_slow_tau_s, dt_s, "exact"),
            up_triplet=self.up_triplet,
            down_triplet=self.down_triplet,
        )


@final
@dataclass(frozen=True, kw_only=True)
class ThreeFactor(_AbstractTimed):
    """A rule whose changes wait at the synapse for a third factor m: reward, surprise, an error.

        de/dt = -e / tau_e + changes of the rule,   dw/dt = m e

    With reward or dopamine for m this is reward-modulated STDP (Izhikevich, Cereb. Cortex 2007;
    MSTDPET of Florian, Neural Comput. 2007). m is in 1/s, and comes with the call: a tensor, or a
    function of the step and the weight.

    Attributes:
        rule: whose changes are marked.
        eligibility_tau_s: tau_e; None pays out changes in their own step, w += m h (MSTDP), with m
            a pure number.

    >>> round(ThreeFactor(rule=PairSTDP(), eligibility_tau_s=1.0).law(1e-3).eligibility, 4)
    0.999
    """

    rule: PairSTDP | TripletSTDP
    eligibility_tau_s: Value | None = quantity("s", 1.0)

    def law(self, dt_s: float) -> Law:
        """What a step of ``dt_s`` seconds does.

        Raises:
            ConfigError: ``dt_s`` is not above 0.
        """
        instance("rule", self.rule, (PairSTDP | TripletSTDP))  # type: ignore[arg-type]
        if self.eligibility_tau_s is None:
            return self.rule.law(dt_s)._replace(eligibility=0.0, share=1.0)
        kept = decay_of(self.eligibility_tau_s, dt_s, "exact")
        return self.rule.law(dt_s)._replace(eligibility=kept, share=float(dt_s))


def _timed(rule: PairSTDP | TripletSTDP, dt_s: float) -> Law:
    """What rules of pairs and of triplets have in common."""
    return _spread(rule.bounds)._replace(
        nearest=rule.pairing == "nearest",
        pre_now=rule.coincident != "neither",
        post_now=rule.coincident == "both",
        pre=decay_of(rule.pre_tau_s, dt_s, "exact"),
        post=decay_of(rule.post_tau_s, dt_s, "exact"),
        up=rule.up,
        down=rule.down,
    )
