"""Linear layers whose weights are tiles of cells.

Legend: B batch, P vectors, C channels, R rows, O outputs (columns).
"""

from typing import Any, NamedTuple, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from clnf.chip.analog import AbstractAnalog
from clnf.chip.circuit import Circuit
from clnf.chip.crossbar.array import Crossbar
from clnf.chip.kernels import Columns
from clnf.chip.plain_reads import drive_rows, sense_rows
from clnf.chip.wiring import Part, Wiring
from clnf.core.errors import ShapeError
from clnf.devices.draws import hash_key

__all__ = ["AnalogLinear"]


class _Hand(NamedTuple):
    """A run of rows as its kernels take it: weights, factors of rows and of columns."""

    weight: Tensor
    power: NDArray[np.float32]
    columns: Any
    biased: bool


@final
class AnalogLinear(AbstractAnalog):
    """y = x W^T + b on tiles; x is [..., R], y is [..., O]."""

    flat = True

    def __init__(self, name: str, leaf: nn.Linear, circuit: Circuit, *, plastic: bool) -> None:
        wiring = Wiring(1, leaf.in_features, 1, leaf.out_features)
        super().__init__(name, leaf, circuit, wiring, plastic=plastic)
        self.in_features, self.out_features = leaf.in_features, leaf.out_features
        spec = circuit.spec
        self._simple = spec.kernels and spec.read_noise != "exact" and not spec.converters.flawed
        self._simple &= self.slices == 1 and circuit.planes == 1
        self._hand: tuple[list[list[Part]], list[_Hand]] | None = None  # of the parts, for speed

    def __getstate__(self) -> dict[str, Any]:
        """A copy, or what is loaded, has tensors of its own and must look at them anew."""
        return {**vars(self), "_hand": None}

    def read(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """As any layer is read; what is simple goes straight to the kernels, to the same bits."""
        parts = self._at_hand() if self._parts else []
        fits = x.dtype == torch.float32 and x.is_cpu and x.shape[-1] == self.in_features
        if not (parts and fits) or torch.is_grad_enabled() or torch.is_autocast_enabled("cpu"):
            return super().read(x)
        return self._read_at_hand(parts, x.contiguous())

    def _read_at_hand(self, parts: list[_Hand], x: Tensor) -> tuple[Tensor, list[Tensor]]:
        circuit, shape = self.circuit, x.shape[:-1]
        rows = x if x.ndim == 2 else x.view(-1, self.in_features)
        count, data, driven, asked = rows.shape[0], rows.numpy(), [], 0
        dac = np.array(self.dac.factors(on=True), dtype=np.float32)
        y = out = rows
        for index, part in enumerate(parts):
            channels, adc, later = self.channels[index], self.adcs[index], index > 0
            volts = torch.empty(count, channels.stop - channels.start)
            energy = np.empty((count, 1), dtype=np.float32)
            own = data, part.power, dac, volts.numpy(), energy[:, 0], channels.start
            asked = max(asked, drive_rows(*own))
            driven.append(volts if x.ndim == 2 else volts.view(*shape, -1))
            y = F.linear(volts, part.weight)
            out = out if later else y
            last = part.biased and index == len(parts) - 1
            switches = circuit.noisy, last, later, adc.tracking
            control = np.array((*adc.factors(on=True), *switches), dtype=np.float32)
            key = hash_key(self.seed, "read", self.reads, index)
            adc.track(sense_rows(y.numpy(), energy, part.columns, control, key, out.numpy()))
        self.dac.track(asked)
        self.reads += 1
        self.charges.forward(count, count, circuit.ledger)
        return out if x.ndim == 2 else out.view(*shape, -1), driven

    def _at_hand(self) -> list[_Hand]:
        """Arrays of all parts where converters hold ranges and nothing special is asked for."""
        circuit, parts = self.circuit, self._parts
        held = all(one.range > 0.0 for one in (self.dac, *self.adcs))
        if not (self._simple and held and circuit.converting and not circuit.calibrating):
            return []
        if self._hand is None or self._hand[0] is not parts:
            hands = []
            for (part,) in parts:
                power, columns = part.power_GC.view(-1), part.columns[:3]
                if part.weight.dtype != torch.float32 or not part.weight.is_cpu:
                    return []
                views = Columns(*(one.numpy() for one in columns))
                hands.append(_Hand(part.weight, power.numpy(), views, self.bias is not None))
            self._hand = parts, hands
        return self._hand[1]

    def prepared(self, x: Tensor) -> Tensor:
        if x.shape[-1] != self.in_features:
            raise ShapeError(
                f"{self.name} takes {self.in_features} features, got shape {tuple(x.shape)}"
            )
        return x.contiguous()

    def packed(self, weight: Tensor) -> Tensor:
        return weight.contiguous()

    def one_column(self, power: Tensor) -> Tensor:
        return power

    def vectors(self, x: Tensor) -> Tensor:
        return x.reshape(-1, x.shape[-1])

    def image(self, rows: Tensor, x: Tensor) -> Tensor:
        return rows.view(*x.shape[:-1], rows.shape[-1])

    def product(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.linear(x, weight)

    def gather(self, energy: Tensor, x: Tensor) -> Tensor:
        return energy[:, None]

    def shaped(self, out: Tensor, y: Tensor, x: Tensor) -> Tensor:
        return out.view(y.shape)

    def back(self, grad: Tensor, weight: Tensor, shape: torch.Size) -> Tensor:
        vectors = grad.numel() // grad.shape[-1]
        self.charges.backward(vectors, vectors, self.circuit.ledger)
        return grad @ weight

    def unfolded(self, driven: list[Tensor], tile: Crossbar) -> Tensor:
        volts = driven[self.spot(tile).part]
        return volts if volts.ndim == 2 else self.vectors(volts)

    def sensed(self, grad: Tensor, tile: Crossbar) -> Tensor:
        plain = grad.ndim == 2 and tile.shape[0] == self.out_features
        return grad if plain else super().sensed(grad, tile)

    def outer(self, driven: list[Tensor], grad: Tensor, weight: Tensor) -> Tensor:
        x = torch.cat([self.vectors(d) for d in driven], dim=1)
        return self.vectors(grad).T @ x
