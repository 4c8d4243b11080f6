"""Input and output converters: bits, and a full scale found by calibration."""

from typing import Any, final

import torch
from torch import Tensor

from clnf.core.errors import ConfigError

__all__ = ["Converter"]


@final
class Converter:
    """A symmetric uniform converter of ``bits`` whose full scale is measured, then held.

        code = clip(round(x top / range), -top, top),  top = 2^(bits-1) - 1

    A *tracking* converter (plastic tiles) grows its range whenever a larger value arrives; any
    other one grows only while it is calibrated. An unused converter takes its range from the
    first values it sees. The gradient passes straight through, clipped values included.

    Args:
        bits: 2 to 16, or 0 for no quantisation.
        sigma: the range is at most this many root-mean-squares of what was seen.
        tracking: keep growing after calibration.
    """

    def __init__(self, bits: int, sigma: float, *, tracking: bool) -> None:
        self.bits = bits
        self.sigma = sigma
        self.tracking = tracking
        self.range = 0.0

    @property
    def top(self) -> int:
        """Largest code, 0 where quantisation is off."""
        return 2 ** (self.bits - 1) - 1 if self.bits else 0

    def observe(self, values: Tensor, *, calibrating: bool) -> None:
        """Look at values about to be converted and grow the range if it is open to that."""
        if not self.bits or not (calibrating or self.tracking or self.range == 0.0):
            return
        low, high = torch.aminmax(values)
        peak = max(-float(low), float(high))
        if peak > self.range:
            level = float(values.square().mean().sqrt())
            self.range = max(self.range, min(peak, self.sigma * level))

    def factors(self) -> tuple[float, float, float]:
        """Codes per unit, units per code, largest code."""
        if not self.bits or self.range == 0.0:
            return 1.0, 1.0, 0.0
        return self.top / self.range, self.range / self.top, float(self.top)

    def state(self) -> float:
        """The full scale, all a converter remembers."""
        return self.range

    def load_state(self, value: Any) -> None:
        """Restore what :meth:`state` gave."""
        if not float(value) >= 0.0:
            raise ConfigError(f"a converter's range must be >= 0, got {value}")
        self.range = float(value)
