"""Input and output converters: bits, a full scale found by calibration, and what is wrong."""

from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from clnf.core.errors import ConfigError
from clnf.core.inputs import check_fields, number
from clnf.core.units import quantity
from clnf.devices.draws import hash_normals

__all__ = ["Converter", "ConverterKind", "column_flaws"]


@final
@dataclass(frozen=True, kw_only=True)
class ConverterKind:
    """How inputs are sent and what is wrong with converters; by default nothing is.

    Each column has an output converter of its own, whose gain and offset are drawn once from
    (seed, tile, column). Codes are those of one conversion ("LSB").

    Attributes:
        serial_bits: 0 drives an input's whole code at once; 1, 2 ... drive that many bits of
            its magnitude at a time, and each step is a product and a conversion. The sign is
            the polarity of the drive (sign and magnitude), so 8 bits take 7 steps of 1 bit. A
            ternary drive of this kind is that of NeuRRAM (Wan et al., Nature 2022); ISAAC
            (Shafiee et al., ISCA 2016) drives 1 bit at a time too, in two's complement.
        range_percentile: a range found by calibration covers this share of magnitudes at most.
        offset_lsb: spread of the offset over columns, in codes.
        gain_error: spread of the gain over columns, as a fraction.
        noise_lsb: spread of the converter's own noise, new at each conversion, in codes.
        bow_lsb: largest integral nonlinearity, in codes: an odd bow that is zero at zero and at
            both ends, which is the simplest shape an end-point fit leaves.
        auto_zero: each calibration also converts nothing once, and that code is taken off
            digitally from then on: at most half a code of offset is left.
    """

    serial_bits: int = quantity("1", 0)
    range_percentile: float = quantity("1", 100.0)
    offset_lsb: float = quantity("1", 0.0)
    gain_error: float = quantity("1", 0.0)
    noise_lsb: float = quantity("1", 0.0)
    bow_lsb: float = quantity("1", 0.0)
    auto_zero: bool = False

    def __post_init__(self) -> None:
        check_fields(self)
        flaws = (self.offset_lsb, self.gain_error, self.noise_lsb, self.bow_lsb)
        if not all(0.0 <= flaw < float("inf") for flaw in flaws) or self.gain_error >= 0.2:
            raise ConfigError(
                "offset_lsb, gain_error, noise_lsb and bow_lsb are finite spreads of at least 0, "
                f"gain_error below 0.2, got {', '.join(map(str, flaws))}"
            )
        if not 0 <= self.serial_bits <= 15 or not 0.0 < self.range_percentile <= 100.0:
            raise ConfigError(
                "serial_bits goes from 0 (all at once) to 15 and range_percentile from above 0 "
                f"to 100, got {self.serial_bits} and {self.range_percentile}"
            )

    @property
    def flawed(self) -> bool:
        """Whether any output converter differs from an ideal one."""
        return max(self.offset_lsb, self.gain_error, self.noise_lsb, self.bow_lsb) > 0.0


def column_flaws(kind: ConverterKind, seed: int, columns: Tensor) -> tuple[Tensor, Tensor]:
    """Gain and offset of the output converters of one tile, both of the shape of ``columns``.

    Args:
        kind: the spreads.
        seed: of this tile's converters.
        columns: any tensor with one number per column; says how many, and where.
    """
    shape = tuple(columns.shape)
    gain = 1.0 + kind.gain_error * hash_normals(seed, ("gain",), shape)
    offset = kind.offset_lsb * hash_normals(seed, ("offset",), shape)
    if kind.auto_zero:
        offset = offset - offset.round()
    return gain.to(columns.device), offset.to(columns.device)


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
        percentile: the range covers this share of magnitudes at most.
    """

    def __init__(
        self, bits: int, sigma: float, *, tracking: bool, percentile: float = 100.0
    ) -> None:
        self.bits = bits
        self.percentile = percentile
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
            if self.percentile < 100.0:
                rank = max(round(values.numel() * self.percentile / 100.0), 1)
                peak = float(values.abs().flatten().kthvalue(rank).values)
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
        span = number("a converter's range", value)
        if not 0.0 <= span < float("inf"):
            raise ConfigError(f"a converter's range must be >= 0 and finite, got {value}")
        self.range = span
