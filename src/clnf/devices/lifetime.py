"""How long a cell keeps a state, and how many writes it survives.

Retention is one number in most sources: a time, at a temperature. Here a state relaxes towards
the lower end of the window,

    G(t) = Gmin + (G - Gmin) (1 - loss)^(t / t_r),
    t_r(T) = t_r(T0) exp(Ea / k (1/T - 1/T0)),

so that a share ``loss`` of it is gone at the published time. What the sources call "kept" is
mostly not said; 0.1 is this package's assumption.

Endurance is one number, too. A cell's own life is spread as a Weibull law whose median is that
number; towards its end the window closes, and then the cell is stuck:

    window(n) = 1 - closing (n / life)^2 for n < life,  life = N (-ln(u) / ln 2)^(1 / shape)

Shape 2 and closing 0.5 are assumptions of this package: no source of the catalogue gives them. Only
cells that are pulsed step by step close; programmed ones count their writes.
"""

import math
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clnf.core.errors import DeviceLimitError
from clnf.core.inputs import check_fields, number
from clnf.core.units import quantity
from clnf.devices.reference import uniform
from clnf.devices.temperature import kelvin

__all__ = ["Endurance", "Retention"]

_BOLTZMANN_J_K = 1.380649e-23


@final
@dataclass(frozen=True, kw_only=True)
class Retention:
    """Loss of a state with time and temperature.

    Attributes:
        retention_s: time a state is kept, at ``temperature_k``.
        temperature_k: of that time; None where it was published without.
        activation_j: activation energy; None where none was published.
        loss: share of the state that is gone by then, in (0, 1).
    """

    retention_s: float = quantity("s")
    temperature_k: float | None = quantity("K", None)
    activation_j: float | None = quantity("J", None)
    loss: float = quantity("1", 0.1)

    def __post_init__(self) -> None:
        check_fields(self)
        if not (self.retention_s > 0 and 0 < self.loss < 1):
            raise DeviceLimitError(
                "retention needs a time above 0 and a loss between 0 and 1, got "
                f"{self.retention_s} s and {self.loss}"
            )

    def kept(self, age_s: float, temperature_k: float | None = None) -> float:
        """Share of a state left at an age.

        Args:
            age_s: since the write.
            temperature_k: None for the temperature of the source, whatever it was.

        Raises:
            DeviceLimitError: another temperature was asked for and the activation energy or
                the temperature of the source is unknown.
        """
        if number("age_s", age_s) < 0:
            raise DeviceLimitError(f"an age is at least 0 s, got {age_s}; correct it")
        if temperature_k is not None:
            kelvin(temperature_k)
        time_s = self.retention_s
        if temperature_k is not None and temperature_k != self.temperature_k:
            if self.temperature_k is None or self.activation_j is None:
                lacking = "retention_temperature_k" if self.temperature_k is None else None
                raise DeviceLimitError(
                    f"retention at {temperature_k:g} K needs {lacking or 'retention_activation'}, "
                    "which was not published; supply it"
                )
            inverse = 1 / temperature_k - 1 / self.temperature_k
            time_s *= math.exp(min(self.activation_j / _BOLTZMANN_J_K * inverse, 600.0))
        return (1.0 - self.loss) ** (age_s / time_s)


@final
@dataclass(frozen=True, kw_only=True)
class Endurance:
    """Writes a cell survives.

    Attributes:
        cycles: median life, > 0.
        shape: Weibull shape of lives.
        closing: share of the window lost at the end of a life, in [0, 1].
    """

    cycles: float = quantity("1")
    shape: float = quantity("1", 2.0)
    closing: float = quantity("1", 0.5)

    def __post_init__(self) -> None:
        check_fields(self)
        if not (self.cycles > 0 and self.shape > 0 and 0 <= self.closing <= 1):
            raise DeviceLimitError(
                "endurance needs cycles and shape above 0 and closing in [0, 1], got "
                f"{self.cycles}, {self.shape}, {self.closing}"
            )

    def life(self, count: int, key: NDArray[np.uint32], first: int = 0) -> Tensor:
        """Writes that cells ``first ...`` survive, float32 [count] >= 1, from two key words."""
        u = uniform(torch.arange(first, first + count), int(key[0]), int(key[1]))
        life = ((1.0 - u).log() / -math.log(2)).pow(1 / self.shape) * self.cycles
        return life.clamp_(min=1.0)  # a draw of exactly 0 would be a cell dead before any write

    def wear(self, table: Tensor, pulses: Tensor, life: Tensor, weight: Tensor) -> Tensor:
        """Steps and bounds of worn cells.

        Args:
            table: steps and bounds of fresh cells, [4, M], see ``response.cell_traits``.
            pulses: so far, [M].
            life: what :meth:`life` gave, [M].
            weight: hidden weight now, where a dying cell is stuck, [M].

        Returns:
            The table as it is now, [4, M]; ``table`` is not changed.
        """
        spent = pulses.float() / life
        window = 1.0 - self.closing * spent.clamp(max=1.0).square()
        middle, half = (table[2] + table[3]) / 2, (table[2] - table[3]) / 2
        dead = spent >= 1.0
        none = torch.zeros_like(spent)
        return torch.stack([
            torch.where(dead, none, table[0]),
            torch.where(dead, none, table[1]),
            torch.where(dead, weight, middle + half * window),
            torch.where(dead, weight, middle - half * window),
        ])  # fmt: skip
