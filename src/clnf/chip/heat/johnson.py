"""Thermal noise of a read, added to what cells do by themselves.

A conductance G at temperature T, read at a voltage V for a time t, shows a current noise of
4 k T G over the read's bandwidth 1 / (2 t). Seen as a conductance,

    sigma^2 = sigma_own^2 + 4 k T G / (2 t V^2)

Source: Johnson 1928, Nyquist 1928. Published read noise was measured at some temperature and holds
the thermal noise of that; it is taken as the cell's own all the same, which overstates the sum by
at most this small term. All cells of a tile have the noise of its mean temperature.
"""

import math
from dataclasses import dataclass, replace
from typing import final

from torch import Tensor

from clnf.chip.crossbar.array import Crossbar
from clnf.core.errors import DeviceLimitError
from clnf.core.units import quantity
from clnf.devices.cell import Cell, Unknown
from clnf.devices.noise import ReadNoise

__all__ = ["BOLTZMANN_J_K", "JohnsonNoise", "feel_johnson", "johnson", "johnson_share"]

BOLTZMANN_J_K = 1.380649e-23


@final
@dataclass(frozen=True, kw_only=True)
class JohnsonNoise(ReadNoise):
    """Thermal noise beside a cell's own.

    Attributes:
        own: read noise of the material; None where that is not known.
        temperature_k: of the cells.
        read_v: voltage of a read.
        read_s: how long a read integrates.
        heat: conductance there over that at 300 K. A read is scaled by it afterwards, while the
            thermal variance goes with the conductance as it is.
    """

    own: ReadNoise | None
    temperature_k: float = quantity("K")
    read_v: float = quantity("V")
    read_s: float = quantity("s")
    heat: float = quantity("1", 1.0)

    @property
    def per_s(self) -> float:
        """Thermal variance of a conductance at 300 K over that conductance, in S."""
        current = 4.0 * BOLTZMANN_J_K * self.temperature_k / (2.0 * self.read_s * self.heat)
        return current / self.read_v**2

    def sigma(self, programmed_s: Tensor, now_s: Tensor, time_s: float) -> Tensor:
        thermal = now_s * self.per_s
        if self.own is not None:
            thermal.add_(self.own.sigma(programmed_s, now_s, time_s).square_())
        return thermal.sqrt_()


def johnson(cell: Cell, temperature_k: float, read_s: float) -> JohnsonNoise:
    """A material's read noise with thermal noise beside it.

    Raises:
        DeviceLimitError: the window or the voltage of a read is not known; or not a temperature.
    """
    cell.need(cell.window)
    read = cell.material.values.get("read_voltage_v")
    if read is None:
        raise DeviceLimitError(
            f"no published value of 'read_voltage_v' is known for {cell.material.name}; supply it"
        )
    if not 0 < temperature_k < math.inf:
        raise DeviceLimitError(f"a temperature is above 0 K, got {temperature_k}")
    own = None if isinstance(cell.noise, Unknown) else cell.noise
    volts = float(read.number)
    return JohnsonNoise(own=own, temperature_k=temperature_k, read_v=volts, read_s=read_s)


def johnson_share(cell: Cell, temperature_k: float, read_s: float) -> float:
    """Thermal noise of one read over the read's current, for a cell at half its window.

        sqrt(4 k T G / (2 t)) / (G V),  bandwidth 1 / (2 t) of a read that integrates for t

    Raises:
        DeviceLimitError: as :func:`johnson`.
    """
    window, law = cell.need(cell.window), johnson(cell, temperature_k, read_s)
    return math.sqrt(law.per_s / (window.low_s + window.span_s / 2))


def feel_johnson(tile: Crossbar, temperature_k: float | None, read_s: float) -> str | None:
    """Read a tile with the thermal noise of a temperature from now on; None for none of it.

    Returns:
        Why it stays without, where something it needs is not known.
    """
    plain = tile.make.cell.noise
    if temperature_k is None:
        tile.cell = replace(tile.cell, noise=plain)
        return None
    try:
        law = johnson(replace(tile.cell, noise=plain), temperature_k, read_s)
    except DeviceLimitError as error:
        return str(error)
    tile.cell = replace(tile.cell, noise=replace(law, heat=tile.heat))
    return None
