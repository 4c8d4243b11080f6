"""What warmth does to cells in the long run: states that are lost, drift, and lives.

All three go with an activation energy E, as far as one is known,

    a(T) = exp(-E / k (1 / T - 1 / T0)),

retention  a state is lost a(T) times as fast: E and T0 are the material's
drift      a second at T counts as a(T) seconds at T0: time and temperature stand for each other
endurance  a pulse at T wears as a(T) pulses at T0

No source of the catalogue gives an energy for drift or endurance, so those two stay as they were
measured unless :class:`Activations` supplies one. Of phase change it is known that the exponent of
drift hardly goes with temperature: 0.07 to 0.11 from 125 K to 300 K, and about 0.1 at and above
room temperature (Khan et al., resistance drift in Ge2Sb2Te5 line cells at low temperatures and its
response to photoexcitation, abstract); so its drift stays as it is.

Simplified: lives of a tile are those at its temperature now, whatever it was when it was pulsed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clnf.chip.crossbar.array import Crossbar
from clnf.chip.heat.johnson import BOLTZMANN_J_K
from clnf.chip.hosting import Chip
from clnf.core.errors import ConfigError, DeviceLimitError, ShapeError
from clnf.core.units import quantity
from clnf.devices.cell import Cell, Unknown
from clnf.devices.lifetime import Endurance
from clnf.devices.temperature import ROOM_K

__all__ = [
    "OXIDE_ACTIVATION_J",
    "Activations",
    "age",
    "drift_pace",
    "endurance_at",
    "pace",
    "refresh",
    "shorten_lives",
]

Array = NDArray[np.float64]
Kelvins = Mapping[str, float] | Mapping[str, Array]
# SKY130 ReRAM, Verilog-A: 1.501 eV to make and 1.500 eV to fill a vacancy. That of losing a state
# of hafnium oxide equals that of switching (10.1016/j.mee.2017.04.032, abstract).
OXIDE_ACTIVATION_J = 1.5 * 1.602176634e-19
_FLAT_DRIFT = frozenset({"pcm"})


@final
@dataclass(frozen=True, kw_only=True)
class Activations:
    """Activation energies that no source of the catalogue gives.

    Attributes:
        drift_j: of drift; None leaves it as measured.
        endurance_j: of wear; likewise.
        reference_k: temperature at which drift and endurance were measured.
    """

    drift_j: float | None = quantity("J", None)
    endurance_j: float | None = quantity("J", None)
    reference_k: float = quantity("K", ROOM_K)

    def __post_init__(self) -> None:
        for energy in (self.drift_j, self.endurance_j):
            if energy is not None and not 0 < energy < float("inf"):
                raise ConfigError(f"an activation energy is above 0 J and finite, got {energy}")
        if not 0 < self.reference_k < float("inf"):
            raise ConfigError(f"a reference temperature is above 0 K, got {self.reference_k}")


def pace(activation_j: float, temperature_k: float | Array, reference_k: float) -> Array:
    """How many times as fast as at a reference something goes at a temperature.

    >>> eV = 1.602176634e-19
    >>> f"{float(1 / pace(1.0 * eV, 358.15, 300.15)):.1e}"  # of 85 against 27 degrees Celsius
    '1.9e-03'
    """
    inverse = 1.0 / np.asarray(temperature_k, dtype=np.float64) - 1.0 / reference_k
    return np.exp(np.clip(-activation_j / BOLTZMANN_J_K * inverse, -600.0, 600.0))


def drift_pace(
    cell: Cell, temperature_k: float | Array, activations: Activations | None
) -> tuple[Array, str | None]:
    """How many times as fast cells drift, and why they drift as measured where they do."""
    as_measured = np.ones_like(np.asarray(temperature_k, dtype=np.float64))
    if isinstance(cell.drift, Unknown):
        return as_measured, "these cells are not known to drift at all"
    if activations is not None and activations.drift_j is not None:
        return pace(activations.drift_j, temperature_k, activations.reference_k), None
    if cell.material.family in _FLAT_DRIFT:
        return as_measured, "exponents of phase change were found alike from 125 K up (Khan et al.)"
    return as_measured, "no source says how it goes with warmth; supply Activations.drift_j"


def endurance_at(
    cell: Cell, temperature_k: float, activations: Activations | None
) -> tuple[Endurance | None, str | None]:
    """Lives at a temperature, None where none are known, and why they are as measured."""
    if isinstance(cell.endurance, Unknown):
        return None, cell.endurance.sentence
    if activations is None or activations.endurance_j is None:
        return (
            cell.endurance,
            "no source says how it goes with warmth; supply Activations.endurance_j",
        )
    faster = float(pace(activations.endurance_j, temperature_k, activations.reference_k))
    return replace(cell.endurance, cycles=cell.endurance.cycles / faster), None


def shorten_lives(
    chip: Chip, temperatures_k: Mapping[str, float], activations: Activations | None
) -> dict[str, str]:
    """Let cells live as long as at the temperature of their tile from now on.

    Args:
        chip: windows of worn cells are closed accordingly.
        temperatures_k: mean by tile.
        activations: None, or without an energy of endurance, brings back the measured lives.

    Returns:
        Tiles that live as measured, and why.
    """
    stay, tiles = dict[str, str](), chip.tiles
    for name, temperature_k in temperatures_k.items():
        tile = tiles[name]
        found, why = endurance_at(tile.make.cell, temperature_k, activations)
        if why is not None:
            stay[name] = why
        if found is not None:
            tile.cell = replace(tile.cell, endurance=found)
            tile.close_windows()
    refresh(chip)
    return stay


def age(
    chip: Chip,
    seconds: float,
    temperatures_k: Kelvins,
    *,
    activations: Activations | None = None,
) -> dict[str, str]:
    """Let time pass with each tile, or each cell, at a temperature of its own.

    Args:
        chip: its clock goes on; cells that are blank stay so.
        seconds: >= 0.
        temperatures_k: by tile: one for all of its cells, or that of each cell, [rows, columns x
            cells a weight], as :meth:`clnf.chip.heat.network.ThermalNetwork.cells` gives it.
        activations: see :class:`Activations`.

    Returns:
        Tiles that lose nothing because their retention is not known, and why.

    Raises:
        ConfigError: time runs backward.
        ShapeError: temperatures of other cells than the tile's.
    """
    if not 0 <= seconds < float("inf"):
        raise ConfigError(f"time runs forward and ends; got {seconds} s")
    stay: dict[str, str] = {}
    blank = chip.blank
    for name, tile in chip.tiles.items():
        if name not in temperatures_k or name in blank:
            continue
        each = _by_plane(tile, temperatures_k[name])
        try:
            _relax(tile, _kept(tile.cell, seconds, each))
        except DeviceLimitError as error:
            stay[name] = str(error)
        faster, why = drift_pace(tile.cell, each, activations)
        if why is None:  # older by the time that warmth adds
            tile.born_s.sub_(torch.from_numpy((faster - 1.0) * seconds).to(tile.born_s))
    chip.advance(seconds)
    refresh(chip)
    return stay


def refresh(chip: Chip) -> None:
    """Let all layers take what their cells read now."""
    for layer in chip.layers.values():
        if layer.is_programmed:
            layer.refresh()


def _by_plane(tile: Crossbar, temperature_k: float | Array) -> Array:
    """Temperature of every cell in the order of a tile's own tensors, [planes, M], or [1, 1]."""
    found = np.asarray(temperature_k, dtype=np.float64)
    if not found.ndim:
        return found.reshape(1, 1)
    columns, rows = tile.shape
    if found.shape != (rows, columns * tile.planes):
        raise ShapeError(
            f"{tile.name} has {rows} x {columns * tile.planes} cells, got temperatures of "
            f"{found.shape}"
        )
    each = found.reshape(rows, columns, tile.planes).transpose(2, 1, 0)
    return np.ascontiguousarray(each).reshape(tile.planes, -1)


def _kept(cell: Cell, seconds: float, temperature_k: Array) -> Array:
    """Share of each state that is left, of the shape of the temperatures.

    kept(T) = kept(T0)^a(T), as the time constant is a(T) times shorter.
    """
    law = cell.need(cell.retention)
    law.kept(seconds, float(temperature_k.max()))  # says what is not known
    if law.activation_j is None or law.temperature_k is None:
        return np.full_like(temperature_k, law.kept(seconds))
    faster = pace(law.activation_j, temperature_k, law.temperature_k)
    return np.exp(np.log(1.0 - law.loss) * seconds / law.retention_s * faster)


def _relax(tile: Crossbar, kept: Array) -> None:
    """Let every state relax towards the lower end of the window, cell by cell."""
    share: Tensor = torch.from_numpy(kept).to(tile.hidden)
    low = tile.cell.bounds[0]
    for state in (tile.hidden,) if tile.seen is tile.hidden else (tile.hidden, tile.seen):
        state.sub_(low).mul_(share).add_(low)
    tile.events += 1
