"""Charge-trapping transistors (SONOS), read as currents at one voltage.

    programmed and read:  sigma(I) = A (1 - exp(-I / B))

The source gives currents; a read voltage makes conductances of them: supply read_voltage_v. Its
five-day drift polynomial is not in the catalogue, and pulses one by one were not published.

Source: Agrawal et al., IEDM 2022.
"""

from clnf.devices import parts
from clnf.devices.cell import Cell, Window
from clnf.devices.materials import Material
from clnf.devices.noise import SaturatingNoise
from clnf.devices.programming import SaturatingError

__all__ = ["cell"]


def cell(row: Material) -> Cell:
    """The cell of a row of this family."""
    return parts.assemble(
        row,
        window=_window,
        response=parts.linear_response,
        programming=lambda row: _error(row, "programming_noise_saturating"),
        noise=lambda row: SaturatingNoise(law=_error(row, "read_noise_saturating")),
    )


def _window(row: Material) -> Window:
    high = row.get("current_max_a").number / row.get("read_voltage_v").number
    return Window(low_s=high / row.get("on_off").number, high_s=high)


def _error(row: Material, key: str) -> SaturatingError:
    volts = row.get("read_voltage_v").number
    height, scale = row.get(key).coefficients
    return SaturatingError(height_s=height / volts, scale_s=scale / volts)
