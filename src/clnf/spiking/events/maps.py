"""How inputs of a layer reach its cells: matrices and convolutions, by events or by whole products.

A map has three products, and takes each by the events of its sparse side where there are few:

    forward   y = W x          events of x
    weights   dW = sum g x^T   events of x
    back      W^T e            events of e

Legend: T steps, B samples, I inputs, N neurons.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple, final

import numpy as np
import torch
from torch import Tensor

from clnf.core.errors import ShapeError
from clnf.spiking.events.kernels import Events
from clnf.spiking.events.lists import (
    event_outer,
    event_product,
    packed,
    spotted,
)
from clnf.spiking.memory import room

__all__ = ["BUSY", "AbstractMap", "Kept", "Linear", "kept_events", "product_of"]

BUSY = 0.4  # share of events above which a whole product is faster


class Kept(NamedTuple):
    """What a map keeps of its inputs for the gradient of its weights: events, or the inputs.

    Attributes:
        tensors: start, index and value of events, then what else the map needs; or the inputs. No
            values stand for ones: spikes are kept by their places alone.
    """

    tensors: tuple[Tensor, ...]

    @property
    def events(self) -> Events | None:
        """The events, where these were kept."""
        if len(self.tensors) < 3:
            return None
        start, index, value = (one.numpy() for one in self.tensors[:3])
        return Events(start, index.view(np.uint32), value)


def kept_events(events: Events) -> Kept:
    """Events as tensors."""
    spikes = not events.value.size or bool((events.value[:-1] == 1).all())
    value = np.empty(0, np.float32) if spikes else events.value
    arrays = (events.start, events.index.view(np.int32), value)
    return Kept(tuple(torch.from_numpy(one) for one in arrays))


class AbstractMap(ABC):
    """Products of a layer's weights. All tensors are float32 on the CPU but for :meth:`plain`."""

    @abstractmethod
    def shape(self, x: torch.Size, weight: torch.Size) -> torch.Size:
        """Of what comes out, [T, B, ...].

        Raises:
            ShapeError: inputs do not fit the weights.
        """

    @abstractmethod
    def plain(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """W x + b by torch alone, on any device."""

    @abstractmethod
    def forward(self, x: Tensor, weight: Tensor, out: Tensor) -> Kept:
        """W x into ``out``; what the gradient of the weights needs."""

    @abstractmethod
    def weights(self, kept: Kept, g: Tensor, weight: Tensor) -> Tensor:
        """DW from what was kept and ``g`` [T, B, ...], of the shape of the weights."""

    @abstractmethod
    def back(self, e: Tensor, weight: Tensor, inputs: torch.Size) -> Tensor:
        """W^T e, of the shape ``inputs``."""


def _rows(x: Tensor) -> Tensor:
    return x.detach().reshape(x.shape[0] * x.shape[1], -1).contiguous()


def product_of(x: Tensor, w: Tensor, out: Tensor) -> Events | None:
    """X w for rows ``x`` [R, I] and ``w`` [I, N], into ``out``; events of x where taken."""
    events = spotted(x.numpy(), BUSY)
    if events is None:
        torch.mm(x, w, out=out)
        return None
    event_product(events, packed(w), out.numpy())
    return events


@final
@dataclass(frozen=True)
class Linear(AbstractMap):
    """A matrix [N, I]; inputs [T, B, I]."""

    def shape(self, x: torch.Size, weight: torch.Size) -> torch.Size:
        if len(x) != 3 or len(weight) != 2 or x[2] != weight[1]:
            raise ShapeError(
                f"weights {[*weight]} take inputs [steps, samples, {weight[-1]}], got {[*x]}; "
                "flatten them or make other weights"
            )
        return torch.Size((*x[:2], weight[0]))

    def plain(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return torch.nn.functional.linear(x, weight, bias)

    def forward(self, x: Tensor, weight: Tensor, out: Tensor) -> Kept:
        events = product_of(_rows(x), weight.detach().t(), _rows(out))
        return Kept((x.detach(),)) if events is None else kept_events(events)

    def weights(self, kept: Kept, g: Tensor, weight: Tensor) -> Tensor:
        events, rows = kept.events, _rows(g)
        if events is None:
            return rows.t() @ _rows(kept.tensors[0])
        return event_outer(events, rows.numpy(), weight.shape[1])

    def back(self, e: Tensor, weight: Tensor, inputs: torch.Size) -> Tensor:
        out = room(inputs)
        product_of(_rows(e), weight.detach(), _rows(out))
        return out
