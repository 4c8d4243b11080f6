"""A classifier of pictures as events: encoded as they come, one hidden layer, a read-out.

    pictures [B, ...] -> events [T, B, I] -> cells -> potentials [T, B, K] -> mean over time [B, K]

Events are made anew from pictures in every pass and depend on them alone, so that a memory may keep
pictures, and what is rehearsed spikes as it did then. Each pass begins at rest.

    latency  one spike a pixel, the earlier the brighter; dark ones never spike
    rate     spikes by chance; the draws are frozen, one for each pixel and step
    delta    the picture is read out column by column, each row a signal; events up and down

Legend: B samples, T steps, I channels of events, K classes.
"""

from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor, nn
from torch.nn import functional

from clnf.core.errors import ConfigError, ShapeError
from clnf.core.inputs import check_fields, whole
from clnf.core.rng import torch_rng
from clnf.core.units import quantity
from clnf.spiking.cells import LI, LIF, AbstractCell
from clnf.spiking.coding import Latency, SendOnDelta
from clnf.spiking.coding.levels import levels
from clnf.spiking.layers import Readout
from clnf.spiking.synapses import EventLinear, SpikingLinear

__all__ = ["EventClassifier", "PictureCode"]


@final
@dataclass(frozen=True, kw_only=True)
class PictureCode:
    """How a picture becomes events.

    Attributes:
        kind: see the head of this module.
        steps: of time, T.
        dt_s: seconds of a step.
        side: pictures are averaged to so many pixels a side.
        low: value of a dark pixel in the pictures.
        high: of a bright one.
        highest_hz: rate of a bright pixel (rate).
        step: of brightness for an event (delta).
        seed: of the frozen draws (rate).

    >>> PictureCode(kind="latency", steps=10, side=2).events(torch.ones(1, 1, 4, 4)).sum().item()
    4.0
    """

    kind: Literal["latency", "rate", "delta"] = "latency"
    steps: int = quantity("1", 20)
    dt_s: float = quantity("s", 1e-3)
    side: int = quantity("1", 14)
    low: float = quantity("1", -1.0)
    high: float = quantity("1", 1.0)
    highest_hz: float = quantity("Hz", 200.0)
    step: float = quantity("1", 0.2)
    seed: int = quantity("1", 0)

    def __post_init__(self) -> None:
        check_fields(self)
        whole("steps", self.steps, least=1), whole("side", self.side, least=1)
        if self.kind not in ("latency", "rate", "delta") or not self.low < self.high:
            raise ConfigError(
                "a code is latency, rate or delta, and dark is below bright, got "
                f"{self.kind!r}, {self.low} and {self.high}"
            )
        if not (self.dt_s > 0 and 0 < self.highest_hz * self.dt_s <= 1 and 0 < self.step <= 1):
            raise ConfigError(
                "dt_s is above 0, a rate gives one spike a step at most and a step is in (0, 1], "
                f"got {self.dt_s} s, {self.highest_hz} Hz and {self.step}"
            )

    @property
    def channels(self) -> int:
        """I."""
        return 2 * self.side if self.kind == "delta" else self.side**2

    def events(self, x: Tensor) -> Tensor:
        """Events [T, B, I] of pictures [B, 1, H, W].

        Raises:
            ShapeError: no such pictures, or sides that do not divide.
            DataError: a pixel is no number.
        """
        if x.dim() != 4 or x.shape[1] != 1 or x.shape[2] % self.side or x.shape[3] % self.side:
            raise ShapeError(
                f"pictures are [B, 1, H, W] with sides that {self.side} divides, got "
                f"{[*x.shape]}; choose another side"
            )
        level = ((x - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
        level = functional.adaptive_avg_pool2d(level, self.side)[:, 0]
        if self.kind == "latency":
            code = Latency(law="log", last_s=(self.steps - 0.5) * self.dt_s, tau_s=8 * self.dt_s)
            return code.encode(level.flatten(1), steps=self.steps, dt_s=self.dt_s)
        if self.kind == "rate":
            rng = torch_rng(self.seed, "frozen draws")
            draws = torch.rand((self.steps, 1, self.channels), generator=rng).to(x.device)
            return (draws < levels(level.flatten(1)) * (self.highest_hz * self.dt_s)).float()
        return self._scanned(level)

    def _scanned(self, level: Tensor) -> Tensor:
        """Rows of pictures [B, S, S] as signals in time; the first and last columns are dark."""
        framed = functional.pad(level, (1, 1))
        at = torch.arange(self.steps, device=level.device) * (self.side + 1) / self.steps
        left, share = at.long(), at - at.floor()
        signal = framed[:, :, left] * (1 - share) + framed[:, :, left + 1] * share
        code = SendOnDelta(step_v=self.step)
        return code.split(code.encode(signal.movedim(2, 0), dt_s=self.dt_s)).flatten(2)


@final
class EventClassifier(nn.Module):
    """Pictures [B, 1, H, W] to logits [B, K], by events.

    Args:
        code: how pictures become events.
        hidden: spiking cells.
        classes: K.
        cell: of the hidden layer; None for LIF with 20 ms.
        recurrent: whether the hidden layer is.
        seed: of the first weights.

    >>> net = EventClassifier(PictureCode(steps=10, side=4), hidden=8, classes=3, seed=1)
    >>> net(torch.ones(2, 1, 8, 8)).shape
    torch.Size([2, 3])
    """

    def __init__(
        self,
        code: PictureCode,
        *,
        hidden: int = 128,
        classes: int = 10,
        cell: AbstractCell | None = None,
        recurrent: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.code = code
        sizes = code.channels, whole("hidden", hidden, least=1)
        self.layer = SpikingLinear(
            sizes, cell or LIF(), dt_s=code.dt_s, recurrent=recurrent, seed=seed
        )
        with torch.no_grad():
            # Few inputs spike, once or twice each: weights large enough that cells do, too.
            self.layer.weight.mul_(2.0)
        self.out = EventLinear(hidden, classes, seed=seed + 1)
        self.readout = Readout(LI(tau_s=20e-3), dt_s=code.dt_s)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [B, K]: potentials, mean over time."""
        return self.potentials(self.code.events(x)).mean(0)

    def potentials(self, events: Tensor) -> Tensor:
        """Potentials [T, B, K] of events [T, B, I]."""
        found: Tensor = self.readout(self.out(self.layer(events)))
        return found

    @torch.no_grad()
    def operations(self, events: Tensor) -> tuple[int, int]:
        """Synaptic operations of events [T, B, I]: of the hidden layer, and of the read-out."""
        spikes = self.layer(events)
        ring = 0 if self.layer.recurrent is None else int(spikes.sum()) * self.layer.weight.shape[0]
        first = int(torch.count_nonzero(events)) * self.layer.weight.shape[0] + ring
        return first, int(spikes.sum()) * self.out.weight.shape[0]
