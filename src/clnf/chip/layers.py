"""Linear layers whose weights are tiles of cells.

Legend: B batch, P vectors, C channels, R rows, O outputs (columns).
"""

from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clnf.chip.analog import AbstractAnalog
from clnf.chip.circuit import Circuit
from clnf.chip.crossbar.array import Crossbar
from clnf.chip.wiring import Wiring
from clnf.core.errors import ShapeError

__all__ = ["AnalogLinear"]


@final
class AnalogLinear(AbstractAnalog):
    """y = x W^T + b on tiles; x is [..., R], y is [..., O]."""

    flat = True

    def __init__(self, name: str, leaf: nn.Linear, circuit: Circuit, *, plastic: bool) -> None:
        wiring = Wiring(1, leaf.in_features, 1, leaf.out_features)
        super().__init__(name, leaf, circuit, wiring, plastic=plastic)
        self.in_features, self.out_features = leaf.in_features, leaf.out_features

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
        return self.vectors(driven[self.spot(tile).part])

    def outer(self, driven: list[Tensor], grad: Tensor, weight: Tensor) -> Tensor:
        x = torch.cat([self.vectors(d) for d in driven], dim=1)
        return self.vectors(grad).T @ x
