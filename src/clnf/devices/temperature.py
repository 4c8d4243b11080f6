"""How cells and wires conduct at another temperature than that of their measurement.

    G(T) = G(T0) (1 + a (T - T0)),  T0 = 300 K

One coefficient for all states of a cell: none of the catalogue's sources gives one, so a user
supplies it, and where it changes with the state the supplied one is a mean.
"""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from clnf.core.errors import DeviceLimitError
from clnf.core.inputs import check_fields, number
from clnf.core.units import quantity

__all__ = ["ROOM_K", "LinearTemperature", "kelvin"]

ROOM_K = 300.0


def kelvin(value: float) -> float:
    """A temperature as a float.

    Raises:
        ConfigError: it is no number.
        DeviceLimitError: it is not above 0 K, or not finite.
    """
    found = number("a temperature in kelvin", value, nan=True)
    if not 0 < found < float("inf"):
        raise DeviceLimitError(f"a temperature is above 0 K and finite, got {value}; correct it")
    return found


@final
@dataclass(frozen=True, kw_only=True)
class LinearTemperature:
    """A relative change of all conductances with temperature.

    Attributes:
        per_k: a, relative change per kelvin, of either sign.
    """

    per_k: float = quantity("1/K")

    def __post_init__(self) -> None:
        check_fields(self)
        if not -float("inf") < self.per_k < float("inf"):
            raise DeviceLimitError(f"per_k must be finite, got {self.per_k}; correct it")

    def factor(self, temperature_k: float) -> float:
        """G(T) / G(300 K).

        Raises:
            DeviceLimitError: not a temperature, or so far away that nothing would conduct.

        >>> round(LinearTemperature(per_k=0.001).factor(350.0), 3)
        1.05
        """
        kelvin(temperature_k)
        factor = 1.0 + self.per_k * (temperature_k - ROOM_K)
        if factor <= 0:
            raise DeviceLimitError(
                f"a straight line of {self.per_k:g} per K leaves no conductance at "
                f"{temperature_k:g} K; it holds near {ROOM_K:g} K only"
            )
        return factor

    def factors(self, temperatures_k: Tensor) -> Tensor:
        """The same for many temperatures, of any shape.

        Raises:
            DeviceLimitError: as :meth:`factor`, for the lowest and the highest.
        """
        for end in torch.aminmax(temperatures_k):
            self.factor(float(end))
        return 1.0 + self.per_k * (temperatures_k - ROOM_K)
