"""Neurons as their parameters, in seconds and volts, and what a step of ``dt_s`` makes of them.

    IF           dv/dt = x
    LIF          tau dv/dt = (leak - v) + x
    CubaLIF      tau dv/dt = (leak - v) + i,   tau_syn di/dt = -i + x
    AdaptiveLIF  LIF, and each spike lifts the threshold by a jump that fades with tau_a
    LI, CubaLI   the same without spikes: read-outs

A neuron spikes where v > threshold, strictly; then the threshold is subtracted from v, or v is set
to a value, in the same step, and stays there for a refractory time: the nearest number of whole
steps, so none where it is shorter than half a step.

What an input of 1 means is said by ``drive``:

- ``"kick"``: it arrives at the end of the step, at once, and lifts the membrane (or the current, in
  a Cuba cell) by ``gain`` volts. This is what a spike through a weight in volts does.
- ``"hold"``: it lasts for the step. ``gain`` is then volts that the membrane would settle at; for
  IF, volts per second.

``method="exact"`` solves the equations over a step (decay exp(-dt/tau)); ``"euler"`` takes one
explicit step (decay 1 - dt/tau), as some tools do. Parameters are numbers, or tensors in the shape
of the population; those of torch modules learn by the plain path. Numbers are looked at when a cell
is made and tensors when a module is: a parameter that learns its way to NaN makes cells silent.

Sources: Gerstner et al., "Neuronal Dynamics", 2014, chapters 1 and 5; Bellec et al., Nature
Communications 2020 (adaptive threshold); the equations and the strict rule of NIR 1.0.8.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, final

from clnf.core.errors import ConfigError
from clnf.core.inputs import check_fields, seconds
from clnf.core.units import quantity
from clnf.spiking.coefficients import (
    Adaptation,
    Coefficients,
    Drive,
    Method,
    Synapse,
    Value,
    check_finite,
    decay_of,
    positive,
    shared_of,
)

_LONGEST = 2**31 - 1  # steps that a state can wait

__all__ = ["IF", "LI", "LIF", "AbstractCell", "AdaptiveLIF", "CubaLI", "CubaLIF"]


@dataclass(frozen=True, kw_only=True)
class AbstractCell(ABC):
    """What all cells have.

    Attributes:
        gain: volts for an input of 1, see the head of this module.
        drive: what an input is.
        method: how a step is taken.
        spikes: whether it has a threshold.
    """

    gain: Value = quantity("V", 1.0)
    drive: Drive = "kick"
    method: Method = "exact"

    spikes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_fields(self)
        for name, value in vars(self).items():
            if name.endswith("tau_s"):
                positive(name, value)
        check_finite(self, tensors=False)

    @abstractmethod
    def coefficients(self, dt_s: float) -> Coefficients:
        """What a step of ``dt_s`` seconds does.

        Raises:
            ConfigError: ``dt_s`` is no finite time above 0, or too long for an explicit step.
        """

    def _leaky(self, tau_s: Value, leak_v: Value, dt_s: float) -> Coefficients:
        decay = decay_of(tau_s, dt_s, self.method)
        kick = self.gain if self.drive == "kick" else self.gain * (1.0 - decay)
        return Coefficients(decay=decay, rest=leak_v * (1.0 - decay), kick=kick, leak=leak_v)

    def _with_synapse(self, tau_s: Value, synapse_tau_s: Value, dt_s: float) -> Coefficients:
        found = self._leaky(tau_s, 0.0, dt_s)
        fading = decay_of(synapse_tau_s, dt_s, self.method)
        share = shared_of(tau_s, synapse_tau_s, dt_s, self.method)
        if self.drive == "kick":
            synapse = Synapse(decay=fading, uptake=self.gain, current=share)
            return found._replace(kick=0.0, synapse=synapse)
        synapse = Synapse(decay=fading, uptake=self.gain * (1.0 - fading), current=share)
        rising = 0.0 if self.method == "euler" else self.gain * ((1.0 - found.decay) - share)
        return found._replace(kick=rising, synapse=synapse)


def _spiking(
    found: Coefficients, threshold_v: Value, reset_v: Value | None, refractory_s: float, dt_s: float
) -> Coefficients:
    if not 0 <= refractory_s < float("inf"):
        raise ConfigError(f"a refractory time is 0 or more seconds, got {refractory_s}; correct it")
    if refractory_s / dt_s > _LONGEST:
        raise ConfigError(
            f"a refractory time of {refractory_s} s is more than {_LONGEST} steps of {dt_s} s; "
            "shorten it or make dt_s longer"
        )
    hold = round(refractory_s / dt_s)
    return found._replace(threshold=threshold_v, reset=reset_v, hold=hold)


@final
@dataclass(frozen=True, kw_only=True)
class IF(AbstractCell):
    """Integrate and fire: nothing leaks.

    Attributes:
        threshold_v: above which a cell spikes.
        reset_v: what a spike sets the potential to; None subtracts the threshold.
        refractory_s: time after a spike in which the potential stays and inputs are lost on it.

    >>> IF(threshold_v=0.5).coefficients(1e-3).decay
    1.0
    """

    threshold_v: Value = quantity("V", 1.0)
    reset_v: Value | None = quantity("V", None)
    refractory_s: float = quantity("s", 0.0)

    def coefficients(self, dt_s: float) -> Coefficients:
        seconds("dt_s", dt_s)
        kick = self.gain if self.drive == "kick" else self.gain * dt_s
        found = Coefficients(decay=1.0, rest=0.0, kick=kick)
        return _spiking(found, self.threshold_v, self.reset_v, self.refractory_s, dt_s)


@final
@dataclass(frozen=True, kw_only=True)
class LIF(AbstractCell):
    """Leaky integrate and fire.

    Attributes:
        tau_s: of the membrane.
        leak_v: where it rests.
        threshold_v: above which a cell spikes.
        reset_v: what a spike sets the potential to; None subtracts the threshold.
        refractory_s: time after a spike in which the potential stays and inputs are lost on it.

    >>> round(LIF(tau_s=10e-3).coefficients(1e-3).decay, 4)
    0.9048
    """

    tau_s: Value = quantity("s", 20e-3)
    leak_v: Value = quantity("V", 0.0)
    threshold_v: Value = quantity("V", 1.0)
    reset_v: Value | None = quantity("V", None)
    refractory_s: float = quantity("s", 0.0)

    def coefficients(self, dt_s: float) -> Coefficients:
        found = self._leaky(self.tau_s, self.leak_v, dt_s)
        return _spiking(found, self.threshold_v, self.reset_v, self.refractory_s, dt_s)


@final
@dataclass(frozen=True, kw_only=True)
class CubaLIF(AbstractCell):
    """LIF with a synaptic current.

    A kick arrives at the end of a step: it moves the current there, and the membrane from the next
    step on.

    Attributes:
        tau_s: of the membrane.
        leak_v: where it rests.
        synapse_tau_s: of the current.
        threshold_v: above which a cell spikes.
        reset_v: what a spike sets the potential to; None subtracts the threshold.
        refractory_s: time after a spike in which the potential stays and inputs are lost on it.
    """

    tau_s: Value = quantity("s", 20e-3)
    leak_v: Value = quantity("V", 0.0)
    synapse_tau_s: Value = quantity("s", 5e-3)
    threshold_v: Value = quantity("V", 1.0)
    reset_v: Value | None = quantity("V", None)
    refractory_s: float = quantity("s", 0.0)

    def coefficients(self, dt_s: float) -> Coefficients:
        found = self._with_synapse(self.tau_s, self.synapse_tau_s, dt_s)
        found = found._replace(rest=self.leak_v * (1.0 - found.decay), leak=self.leak_v)
        return _spiking(found, self.threshold_v, self.reset_v, self.refractory_s, dt_s)


@final
@dataclass(frozen=True, kw_only=True)
class AdaptiveLIF(AbstractCell):
    """LIF whose threshold rises with each spike and fades back.

    Attributes:
        tau_s: of the membrane.
        leak_v: where it rests.
        adaptation_tau_s: of the threshold.
        jump_v: what one spike adds to the threshold.
        threshold_v: above which a cell spikes.
        reset_v: what a spike sets the potential to; None subtracts the threshold.
        refractory_s: time after a spike in which the potential stays and inputs are lost on it.
    """

    tau_s: Value = quantity("s", 20e-3)
    leak_v: Value = quantity("V", 0.0)
    adaptation_tau_s: Value = quantity("s", 200e-3)
    jump_v: Value = quantity("V", 0.1)
    threshold_v: Value = quantity("V", 1.0)
    reset_v: Value | None = quantity("V", None)
    refractory_s: float = quantity("s", 0.0)

    def coefficients(self, dt_s: float) -> Coefficients:
        found = self._leaky(self.tau_s, self.leak_v, dt_s)
        fading = decay_of(self.adaptation_tau_s, dt_s, self.method)
        found = found._replace(adaptation=Adaptation(decay=fading, jump=self.jump_v))
        return _spiking(found, self.threshold_v, self.reset_v, self.refractory_s, dt_s)


@final
@dataclass(frozen=True, kw_only=True)
class LI(AbstractCell):
    """Leaky integrator, a read-out; an infinite ``tau_s`` integrates kicks without a leak.

    Attributes:
        tau_s: of the membrane.
        leak_v: where it rests.
    """

    tau_s: Value = quantity("s", 20e-3)
    leak_v: Value = quantity("V", 0.0)

    spikes: ClassVar[bool] = False

    def coefficients(self, dt_s: float) -> Coefficients:
        return self._leaky(self.tau_s, self.leak_v, dt_s)


@final
@dataclass(frozen=True, kw_only=True)
class CubaLI(AbstractCell):
    """Leaky integrator with a synaptic current, a read-out.

    Attributes:
        tau_s: of the membrane.
        leak_v: where it rests.
        synapse_tau_s: of the current.
    """

    tau_s: Value = quantity("s", 20e-3)
    leak_v: Value = quantity("V", 0.0)
    synapse_tau_s: Value = quantity("s", 5e-3)

    spikes: ClassVar[bool] = False

    def coefficients(self, dt_s: float) -> Coefficients:
        found = self._with_synapse(self.tau_s, self.synapse_tau_s, dt_s)
        return found._replace(rest=self.leak_v * (1.0 - found.decay), leak=self.leak_v)
