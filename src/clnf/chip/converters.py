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

    A *tracking* converter (plastic tiles) clips a value beyond its range once and is wider from
    the next read on; any other one widens only while it is calibrated. An unused converter
    takes its range from the first values it sees. The gradient passes straight through,
    clipped values included.

    Args:
        bits: 2 to 16, or 0 for no quantisation.
        sigma: the range is at most this many root-mean-squares of what was seen.
        tracking: keep widening after calibration.
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

    def wants(self, *, calibrating: bool) -> bool:
        """Whether values must be shown to :meth:`observe` before they are converted."""
        return bool(self.bits) and (calibrating or self.range == 0.0)

    def observe(self, values: Tensor) -> None:
        """Widen the range to values about to be converted; what is not finite does not count."""
        values = values[values.isfinite()]
        if not values.numel():
            return
        low, high = torch.aminmax(values)
        peak = max(-float(low), float(high))
        if peak > self.range:
            level = float(values.square().mean().sqrt())
            self.range = max(self.range, min(peak, self.sigma * level))

    def track(self, peak_code: int) -> None:
        """Widen a tracking converter after codes beyond its top, at most by a factor of two."""
        if self.tracking and self.range > 0.0 and peak_code > self.top:
            self.range *= min(peak_code / self.top, 2.0)

    def factors(self, *, on: bool) -> tuple[float, float, float]:
        """Codes per unit, units per code, largest code (0: no quantisation)."""
        if not on or not self.bits or self.range == 0.0:
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
