"""Families of cells, one file each; the same parts in the same order.

    window  response  pulse  programming  noise  drift  retention  endurance  temperature

A family knows which of the catalogue's keys make its laws, and says how far they describe it.
"""

from clnf.core.errors import ConfigError
from clnf.devices.cell import Cell
from clnf.devices.families import (
    capacitor,
    cbram,
    ecram,
    exponential,
    fefet,
    fitted,
    mos2,
    pcm,
    reram,
    soft_bounds,
    sonos,
)
from clnf.devices.materials import Material, material

__all__ = ["cell"]

_FAMILIES = {
    "capacitor": capacitor.cell,
    "cbram": cbram.cell,
    "ecram": ecram.cell,
    "exponential": exponential.cell,
    "fefet": fefet.cell,
    "fitted": fitted.cell,
    "mos2": mos2.cell,
    "pcm": pcm.cell,
    "reram": reram.cell,
    "soft_bounds": soft_bounds.cell,
    "sonos": sonos.cell,
}


def cell(row: Material | str) -> Cell:
    """The cell of a material.

    Args:
        row: a catalogue row, with values of your own if you supplied some, or its name.

    Raises:
        ConfigError: no such material, or its family has no laws.

    >>> cell("hfo2_array_optimised").response.step_up
    0.0949
    >>> sorted(cell("hfo2_array_optimised").left_out)[:3]
    ['drift', 'endurance', 'noise']
    """
    row = row if isinstance(row, Material) else material(row)
    if row.family not in _FAMILIES:
        raise ConfigError(
            f"family {row.family!r} of {row.name} has no laws; take one of {', '.join(_FAMILIES)}"
        )
    return _FAMILIES[row.family](row)
