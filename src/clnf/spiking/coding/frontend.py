"""What a front end that sends events gives and takes: error, events a second, joules.

The one figure of joules here is that of a circuit on silicon. It is of another size than what a
network's operations cost: an event of it is worth some thousand synaptic operations of a digital
chip, so an account without the front end leaves out most.
"""

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from clnf.core.errors import ConfigError, DataError, ShapeError
from clnf.core.inputs import check_fields, seconds
from clnf.core.ledger import Ledger
from clnf.core.tensors import not_finite
from clnf.core.units import quantity
from clnf.spiking.coding.levels import coded

__all__ = ["ASYNC_DELTA_65NM", "FrontEnd", "Quality", "quality"]


@final
@dataclass(frozen=True, kw_only=True)
class FrontEnd:
    """A circuit that makes events.

    Attributes:
        event_j: energy of one.
        source: where that is from.
    """

    event_j: float = quantity("J")
    source: str

    def __post_init__(self) -> None:
        check_fields(self)
        if not 0 <= self.event_j < float("inf") or not self.source:
            raise ConfigError(
                f"an event costs 0 J or more and has a source, got {self.event_j} and "
                f"{self.source!r}; give both"
            )

    def charge(self, ledger: Ledger, events: Tensor, *, tile: str) -> None:
        """Write events on the bill, under the operation ``event``."""
        count = int(torch.count_nonzero(events))
        ledger.charge("event", tile=tile, count=count, energy_j=self.event_j)


# Asynchronous delta modulator, 65 nm, measured by its authors: 60.73 nJ a spike.
ASYNC_DELTA_65NM = FrontEnd(event_j=60.73e-9, source="arXiv 2604.08758")


@final
@dataclass(frozen=True, kw_only=True)
class Quality:
    """What a code makes of signals.

    Attributes:
        error_v: root mean square of what the receiver has wrong.
        snr_db: the signal's variance against that, in decibels; infinite without an error, minus
            infinity where a signal does not vary and is wrong.
        events_hz: events a second of one channel.
        energy_j: of all events; None where nobody said what one costs.
    """

    error_v: float = quantity("V")
    snr_db: float = quantity("dB")
    events_hz: float = quantity("Hz")
    energy_j: float | None = quantity("J", None)


def quality(
    signal: Tensor, made: Tensor, events: Tensor, *, dt_s: float, front: FrontEnd | None = None
) -> Quality:
    """Compare signals with what a receiver made of their events.

    Args:
        signal: [T, ...] in volts.
        made: the same, from events.
        events: [T, ...].
        dt_s: seconds of a step.
        front: what made the events.

    Raises:
        ShapeError: signals of different shapes, or without steps, or events of other steps.
        DataError: signals that are not finite.
        ConfigError: ``dt_s`` is no finite time above 0.

    >>> x = torch.sin(torch.arange(0, 6.28, 0.01))[:, None]
    >>> from clnf.spiking.coding.delta import SendOnDelta
    >>> code = SendOnDelta(step_v=0.1)
    >>> events = code.encode(x, dt_s=1e-3)
    >>> quality(x, code.decode(events, x[0]), events, dt_s=1e-3).snr_db > 20
    True
    """
    signal, made = coded("signals", signal).detach(), coded("signals", made).detach()
    seconds("dt_s", dt_s)
    events = coded("events", events)
    if signal.shape != made.shape:
        raise ShapeError(
            f"both signals have one shape, got {[*signal.shape]} and {[*made.shape]}; cut them"
        )
    if events.shape[: signal.dim()] != signal.shape or not signal.numel():
        raise ShapeError(
            f"events are those of the signals {[*signal.shape]}, got {[*events.shape]}; cut them"
        )
    fault = not_finite(signal) or not_finite(made)
    if fault:
        raise DataError(f"signals are finite, got {fault}; cut or mend them")
    wrong = float((signal - made).square().mean().sqrt())
    spread = float((signal - signal.mean(0)).square().mean())
    snr = math.inf if wrong == 0 else -math.inf
    if wrong and spread:
        snr = 10 * math.log10(spread / wrong**2)
    count = int(torch.count_nonzero(events))
    total_s = dt_s * signal.numel()
    joules = None if front is None else count * front.event_j
    return Quality(error_v=wrong, snr_db=snr, events_hz=count / total_s, energy_j=joules)
