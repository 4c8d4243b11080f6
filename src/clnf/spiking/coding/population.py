"""Population code: each number moves several cells, each most where its own field is.

    a_i = exp(-(x - c_i)^2 / (2 s^2)),   i = 1 ... M

What the cells do with it is another code's: a rate, or a latency.

Source: Bohte, Kok & La Poutré, Neurocomputing 2002.
"""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from clnf.core.errors import ConfigError, DataError, ShapeError
from clnf.core.inputs import check_fields, whole
from clnf.core.tensors import dense, not_finite
from clnf.core.units import quantity
from clnf.spiking.coding.levels import coded

__all__ = ["Population"]


@final
@dataclass(frozen=True, kw_only=True)
class Population:
    """Fields of equal width over a range.

    Attributes:
        cells: M, for each number.
        low: where the first field is.
        high: where the last is.
        overlap: width s in distances between fields.

    >>> code = Population(cells=5)
    >>> code.encode([0.25]).argmax().item(), round(code.decode(code.encode([0.4])).item(), 2)
    (1, 0.4)
    """

    cells: int = quantity("1", 8)
    low: float = quantity("1", 0.0)
    high: float = quantity("1", 1.0)
    overlap: float = quantity("1", 0.7)

    def __post_init__(self) -> None:
        check_fields(self)
        whole("cells", self.cells, least=2)
        endless = float("inf")
        if not (-endless < self.low < self.high < endless and 0 < self.overlap < endless):
            raise ConfigError(
                "fields lie from low to high, both finite, and have a width, got "
                f"{self.low}, {self.high} and {self.overlap}; correct them"
            )

    def centres(self) -> Tensor:
        """Where fields are, [M]."""
        return torch.linspace(self.low, self.high, self.cells)

    def encode(self, x: object) -> Tensor:
        """Levels in (0, 1], [..., M], of numbers [...]; far out of the range they round to 0.

        Raises:
            DataError: one is not finite.
        """
        found = dense("numbers", x, dtype=torch.float32)
        fault = not_finite(found)
        if fault:
            raise DataError(f"numbers are finite, got {fault}; correct them")
        wide = self.overlap * (self.high - self.low) / (self.cells - 1)
        away = (found[..., None] - self.centres().to(found.device)) / wide
        return torch.exp(-0.5 * away * away)

    def decode(self, levels: Tensor) -> Tensor:
        """Numbers [...] of levels or counts [..., M]: the least squares fit of the fields.

        The number, of 256 in the range, whose levels, scaled, come closest.

        Raises:
            DataError: a level is not finite.
            ShapeError: not as many levels as there are fields.
        """
        levels = coded("levels", levels).to(torch.float32)
        fault = not_finite(levels)
        if fault:
            raise DataError(f"levels are finite, got {fault}; correct them")
        if levels.shape[-1] != self.cells:
            raise ShapeError(
                f"levels of {self.cells} fields are [..., {self.cells}], got {[*levels.shape]}; "
                "correct them"
            )
        tried = torch.linspace(self.low, self.high, 256, device=levels.device)
        fields = torch.nn.functional.normalize(self.encode(tried), dim=-1)
        return tried[(levels @ fields.t()).argmax(-1)]
