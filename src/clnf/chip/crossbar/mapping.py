"""How a weight lies on cells.

A weight is a weighted sum of the normalised weights w_p of its cells, one on each plane:

    weight = full scale * sum_p coefficient_p w_p

Planes count up and down in turn, so the sum of coefficients is 0 and a conductance common to both
sides cancels. ``differential`` writes a weight into one side and leaves the other at the lower end
of the window; ``balanced`` moves both sides from the middle; ``reference`` writes one side only
and measures it against cells held in the middle of the window.
"""

from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor

from clnf.core.errors import ConfigError
from clnf.core.inputs import check_fields
from clnf.core.units import quantity

__all__ = ["Mapping"]


@final
@dataclass(frozen=True, kw_only=True)
class Mapping:
    """Cells behind a weight.

    Attributes:
        kind: how a pair shares a weight.
        pairs: pairs of cells a weight, 1 or more; the number of slices where it is sliced.
        bits: bits of a slice, 1 to 8; pairs times bits is at most 16.
    """

    kind: Literal["differential", "balanced", "reference", "sliced"] = "differential"
    pairs: int = quantity("1", 1)
    bits: int = quantity("1", 2)

    def __post_init__(self) -> None:
        check_fields(self)
        if self.pairs < 1 or self.kind not in ("differential", "balanced", "reference", "sliced"):
            raise ConfigError(
                "a mapping is differential, balanced, reference or sliced with at least 1 pair, "
                f"got {self.kind!r} with {self.pairs}"
            )
        if not 1 <= self.bits <= 8 or (self.kind == "sliced" and self.pairs * self.bits > 16):
            raise ConfigError(
                "slices have 1 to 8 bits and a weight at most 16, got "
                f"{self.pairs} slices of {self.bits}"
            )

    @property
    def planes(self) -> int:
        """Cells of one weight."""
        return 2 * self.pairs

    @property
    def taught(self) -> range:
        """Planes that pulses may go to."""
        if self.kind == "sliced":
            return range(0)
        return range(0, self.planes, 2 if self.kind == "reference" else 1)

    @property
    def slices(self) -> int:
        """Columns of one weight that are converted by themselves."""
        return self.pairs if self.kind == "sliced" else 1

    @property
    def factors(self) -> tuple[float, ...]:
        """What each pair counts, in coefficients."""
        if self.kind != "sliced":
            return (1.0,) * self.pairs
        one, whole = 2**self.bits - 1, 2 ** (self.bits * self.pairs) - 1
        return tuple(2 ** (self.bits * place) * one / whole for place in range(self.pairs))

    @property
    def coefficient(self) -> float:
        """What a plane that counts up adds to the weight per unit of w, in full scales."""
        # With one side fixed in the middle, w of the other covers the range alone.
        alike = 1 if self.kind == "sliced" else self.pairs
        return (1.0 if self.kind == "reference" else 0.5) / alike

    def targets(self, relative_CR: Tensor, bounds: tuple[float, float]) -> Tensor:
        """Where to put the cells of weights.

        Args:
            relative_CR: weights over full scale, in [-1, 1].
            bounds: lower and upper end of w.

        Returns:
            w of each plane, [planes, C, R].
        """
        low, high = bounds
        middle, half = (low + high) / 2, (high - low) / 2
        if self.kind == "differential":
            up, down = relative_CR.clamp(min=0.0), (-relative_CR).clamp(min=0.0)
            pair = torch.stack([low + 2 * half * up, low + 2 * half * down])
        elif self.kind == "sliced":
            return low + 2 * half * self._digits(relative_CR)
        elif self.kind == "balanced":
            pair = torch.stack([middle + half * relative_CR, middle - half * relative_CR])
        else:
            pair = torch.stack([middle + half * relative_CR, middle + 0 * relative_CR])
        return pair.repeat(self.pairs, 1, 1)

    def _digits(self, relative_CR: Tensor) -> Tensor:
        """Digits of each weight over the largest digit, on the side of its sign."""
        one, whole = 2**self.bits - 1, 2 ** (self.bits * self.pairs) - 1
        number = (relative_CR.abs() * whole).round().long().clamp(max=whole)
        planes = []
        for place in range(self.pairs):
            digit = (number >> (self.bits * place) & one) / one
            planes += [digit * (relative_CR > 0), digit * (relative_CR < 0)]
        return torch.stack(planes)
