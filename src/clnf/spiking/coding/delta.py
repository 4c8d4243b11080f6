"""Send-on-delta: an event whenever a signal has moved by a step. The front end without a converter.

    up    where x - r + noise > d + h (after an event down),   r = r + d
    down  where r - x - noise > d + h (after an event up),     r = r - d

r is what a receiver that adds up events knows of the signal. Hysteresis h is added where the
direction changes, which keeps noise from making events there and back. After an event a channel
rests for a refractory time, the nearest number of whole steps; below half a step that is none, as
its events are a step apart anyhow. Noise is the comparator's, new at every step. A channel gives
one event a step at most: a signal that moves faster than d a step runs ahead of its events.

Sources: Miskowicz, Sensors 2006 (send-on-delta); Lichtsteiner, Posch & Delbruck, IEEE JSSC 2008
(the same in pixels, with refractory time and noise).
"""

from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from clnf.core.errors import ConfigError, DataError, ShapeError
from clnf.core.inputs import check_fields, seconds
from clnf.core.rng import torch_rng
from clnf.core.tensors import dense, not_finite
from clnf.core.units import quantity
from clnf.spiking.coding.kernels import Comparators, compare
from clnf.spiking.coding.levels import coded
from clnf.spiking.plans import is_plain
from clnf.spiking.threads import over

__all__ = ["SendOnDelta"]

_LONGEST = 2**31 - 1


@final
@dataclass(frozen=True, kw_only=True)
class SendOnDelta:
    """Comparators around what was last sent.

    Attributes:
        step_v: how far a signal moves for an event, d.
        hysteresis_v: added where the direction changes, h.
        refractory_s: time after an event without another.
        noise_v: standard deviation of the comparator's noise.

    >>> code = SendOnDelta(step_v=0.25)
    >>> code.encode([[0.0], [0.3], [0.55], [0.1], [0.1]], dt_s=1e-3).flatten()
    tensor([ 0.,  1.,  1., -1.,  0.])
    """

    step_v: float = quantity("V", 0.1)
    hysteresis_v: float = quantity("V", 0.0)
    refractory_s: float = quantity("s", 0.0)
    noise_v: float = quantity("V", 0.0)

    def __post_init__(self) -> None:
        check_fields(self)
        rest = (self.hysteresis_v, self.refractory_s, self.noise_v)
        if not (0 < self.step_v < float("inf") and all(0 <= one < float("inf") for one in rest)):
            raise ConfigError(
                "a step is above 0 V, hysteresis, refractory time and noise are 0 or more, got "
                f"{self.step_v} V, {self.hysteresis_v} V, {self.refractory_s} s and "
                f"{self.noise_v} V; correct them"
            )

    def encode(self, x: object, *, dt_s: float, seed: int = 0, kernels: bool = True) -> Tensor:
        """Events +1, -1 or 0, [T, ...], of signals [T, ...] in volts.

        The first value of a signal is known to the receiver.

        Args:
            x: signals.
            dt_s: seconds of a step.
            seed: of the noise.
            kernels: False for the plain way always.

        Raises:
            ShapeError: no signal.
            DataError: a signal is not finite somewhere.
            ConfigError: ``dt_s`` is no finite time above 0, or too short for the refractory time.
        """
        found = dense("signals", x, dtype=torch.float32).detach()
        if found.dim() < 1 or found.numel() == 0:
            raise ShapeError(f"a signal has steps, got shape {[*found.shape]}; give some")
        fault = not_finite(found)
        if fault:
            raise DataError(f"signals are finite, got {fault}; cut or mend them")
        if self.refractory_s / seconds("dt_s", dt_s) > _LONGEST:
            raise ConfigError(
                f"a refractory time of {self.refractory_s} s is more than {_LONGEST} steps of "
                f"{dt_s} s; make dt_s longer"
            )
        rows = found.reshape(len(found), -1).contiguous()
        noise = torch.zeros(1, rows.shape[1])
        if self.noise_v:
            draws = torch.randn(rows.shape, generator=torch_rng(seed, "comparators"))
            noise = draws * self.noise_v
        rest = round(self.refractory_s / dt_s)
        if not (kernels and is_plain(rows)):
            return self._plain(rows, noise.to(rows.device), rest).view(found.shape)
        out = torch.empty(rows.shape)
        by = Comparators(np.float32(self.step_v), np.float32(self.hysteresis_v), rest)

        def work(first: int, last: int) -> None:
            compare(rows.numpy(), noise.numpy(), out.numpy(), by, (first, last))

        over(rows.shape[1], work, least=16)
        return out.view(found.shape)

    def _plain(self, x: Tensor, noise: Tensor, rest: int) -> Tensor:
        """Step by step for all channels, on any device."""
        kept, last, out = x[0].clone(), torch.zeros_like(x[0]), []
        wait = torch.zeros_like(x[0])
        for t, now in enumerate(x):
            away = now - kept + noise[min(t, len(noise) - 1)]
            up = (last < 0) * self.hysteresis_v + self.step_v
            down = (last > 0) * self.hysteresis_v + self.step_v
            event = (away > up).to(x.dtype) - (-away > down).to(x.dtype)
            event = torch.where(wait > 0, torch.zeros_like(event), event)
            fired = event != 0
            kept = kept + event * self.step_v
            last = torch.where(fired, event, last)
            wait = torch.where(fired, torch.full_like(wait, rest), (wait - 1).clamp_min(0))
            out.append(event)
        return torch.stack(out)

    def decode(self, events: Tensor, first_v: Tensor | float = 0.0) -> Tensor:
        """Signals [T, ...] in volts that a receiver makes of events: the first value and all steps.

        Args:
            events: +1, -1 or 0.
            first_v: the first value of each signal.

        Raises:
            DataError: an event is not finite.
            ShapeError: no steps.
        """
        found = coded("events", events)
        fault = not_finite(found)
        if fault:
            raise DataError(f"events are +1, -1 or 0, got {fault}; correct them")
        return found.cumsum(0) * self.step_v + first_v

    def split(self, events: Tensor) -> Tensor:
        """Events up and down as spikes of two cells for each channel, [T, ..., 2]."""
        return torch.stack([(events > 0), (events < 0)], dim=-1).to(torch.float32)
