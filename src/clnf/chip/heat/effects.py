"""What a tile's temperature does to its cells, and what it does not because nobody knows.

conductance   the material's own coefficient, and copper's for wires
noise         thermal noise of a read, 4 k T G over the bandwidth of a read, beside the read noise
retention     the material's activation energy
drift         unaffected: no law of the catalogue says how it goes with temperature
endurance     unaffected, likewise; the published figure is reported

Whatever a material does not state leaves its cells as they are and is named in the result.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray

from clnf.chip.crossbar.array import Crossbar
from clnf.chip.heat.network import Law, State, ThermalNetwork
from clnf.chip.hosting import Chip
from clnf.core.errors import DeviceLimitError
from clnf.core.units import quantity
from clnf.devices.cell import Cell, Unknown

__all__ = [
    "TileHeat",
    "age",
    "conduction_laws",
    "drawn",
    "johnson_share",
    "report",
    "warm",
    "warm_cells",
]

Array = NDArray[np.float64]

_BOLTZMANN_J_K = 1.380649e-23


@final
@dataclass(frozen=True, kw_only=True)
class TileHeat:
    """What heat does to one tile.

    Attributes:
        tile: its name.
        mean_k: temperature of its cells.
        hottest_k: of the hottest one.
        conductance: over that at 300 K; None where that is not known.
        johnson: thermal noise of one read of a cell at half its window, over its conductance;
            None where window or read are not known.
        retention_s: how long a state is kept at the hottest cell; None where that is not known.
        endurance: published writes a cell survives, at whatever temperature that was; None where
            that is not known.
        unaffected: what stays as it is, and why.
    """

    tile: str
    mean_k: float = quantity("K")
    hottest_k: float = quantity("K")
    conductance: float | None = quantity("1", None)
    johnson: float | None = quantity("1", None)
    retention_s: float | None = quantity("s", None)
    endurance: float | None = quantity("1", None)
    unaffected: dict[str, str]


def conduction_laws(chip: Chip) -> dict[str, Law]:
    """Conductance at a temperature over that at 300 K, of tiles whose material states it."""
    return {
        name: tile.cell.temperature.factor
        for name, tile in chip.tiles.items()
        if not isinstance(tile.cell.temperature, Unknown)
    }


def report(chip: Chip, state: State) -> list[TileHeat]:
    """What a state does to each tile; nothing is changed.

    Raises:
        DeviceLimitError: a temperature is beyond what a material's law holds for.
    """
    tiles = chip.tiles
    both = zip(state.names, state.mean_k, state.hottest_k, strict=True)
    return [_report(tiles[name], float(mean), float(most), chip) for name, mean, most in both]


def _report(tile: Crossbar, mean_k: float, hottest_k: float, chip: Chip) -> TileHeat:
    cell, kept = tile.cell, {}
    conductance = retention = endurance = None
    if isinstance(cell.temperature, Unknown):
        kept["conductance"] = cell.temperature.sentence
    else:
        conductance = cell.temperature.factor(mean_k)
    try:
        retention = _retention_s(cell, hottest_k)
    except DeviceLimitError as error:
        kept["retention"] = str(error)
    if isinstance(cell.endurance, Unknown):
        published = cell.material.values.get("endurance_cycles")
        endurance = None if published is None else float(published.number)
    else:
        endurance = cell.endurance.cycles
    kept["endurance"] = "no source says how the writes a cell survives go with temperature"
    kept["drift"] = "no source says how drift goes with temperature"
    try:
        noise = johnson_share(cell, mean_k, chip.circuit.costs.mvm_s)
    except DeviceLimitError as error:
        noise, kept["johnson"] = None, str(error)
    return TileHeat(
        tile=tile.name,
        mean_k=mean_k,
        hottest_k=hottest_k,
        conductance=conductance,
        johnson=noise,
        retention_s=retention,
        endurance=endurance,
        unaffected=kept,
    )


def _retention_s(cell: Cell, temperature_k: float) -> float:
    """How long a share of a state as in the source's time is kept at a temperature."""
    law = cell.need(cell.retention)
    gone = math.log(law.kept(law.retention_s, temperature_k) or math.ulp(0.0))
    return law.retention_s * math.log(1.0 - law.loss) / gone if gone else math.inf


def johnson_share(cell: Cell, temperature_k: float, read_s: float) -> float:
    """Thermal noise of one read over the read's current, for a cell at half its window.

        sqrt(4 k T G / (2 t)) / (G V),  bandwidth 1 / (2 t) of a read that integrates for t

    Source: Johnson 1928, Nyquist 1928.

    Raises:
        DeviceLimitError: the window or the voltage of a read is not known.
    """
    middle_s = cell.need(cell.window).low_s + cell.need(cell.window).span_s / 2
    read = cell.material.values.get("read_voltage_v")
    if read is None:
        raise DeviceLimitError(
            f"no published value of 'read_voltage_v' is known for {cell.material.name}; supply it"
        )
    power = 4.0 * _BOLTZMANN_J_K * temperature_k / (2.0 * read_s * middle_s)
    return math.sqrt(power) / float(read.number)


def drawn(tile: Crossbar, now_s: float) -> Array:
    """Share of a tile's power that each of its cells draws, [rows, columns x cells a weight].

    V^2 G with the same mean square of the voltage on all rows. Cells of a weight lie side by side.
    Cells of an unknown window all draw alike.
    """
    columns, rows = tile.shape
    size = rows, columns * tile.planes
    if isinstance(tile.cell.window, Unknown):
        return np.full(size, 1.0 / (size[0] * size[1]))
    now = tile.conductance_s(now_s).double().cpu().numpy().transpose(2, 1, 0).reshape(size)
    return np.asarray(now / now.sum())


def warm(chip: Chip, temperatures_k: Mapping[str, float] | None) -> dict[str, str]:
    """Read each tile's cells and wires at a temperature of its own from now on.

    Args:
        chip: its layers are refreshed.
        temperatures_k: by tile; None for those of the measurements. Tiles left out stay.

    Returns:
        Tiles whose cells stay as they are, and why; their wires stay, too.
    """
    stay: dict[str, str] = {}
    for name, tile in chip.tiles.items():
        if temperatures_k is None:
            tile.set_temperature(None)
        elif name not in temperatures_k:
            continue
        elif isinstance(tile.cell.temperature, Unknown):
            stay[name] = tile.cell.temperature.sentence
        else:
            tile.set_temperature(temperatures_k[name])
    _refresh(chip)
    return stay


def warm_cells(chip: Chip, network: ThermalNetwork, state: State) -> dict[str, str]:
    """Read every cell at a temperature of its own from now on, wires at the mean of their tile.

    The cells of a weight are taken at their mean, as they lie side by side.

    Args:
        chip: its layers are refreshed.
        network: its thermal resistances.
        state: at rest; tiles that are not in it stay.

    Returns:
        Tiles whose cells stay as they are, and why; their wires stay, too.
    """
    stay: dict[str, str] = {}
    for name in state.names:
        tile = chip.tiles[name]
        if isinstance(tile.cell.temperature, Unknown):
            stay[name] = tile.cell.temperature.sentence
            continue
        cells = network.cells(state, name, drawn(tile, chip.clock_s))
        each = torch.from_numpy(cells).view(*tile.shape[::-1], tile.planes).mean(2).T
        tile.set_temperature(float(each.mean()), each)
    _refresh(chip)
    return stay


def _refresh(chip: Chip) -> None:
    for layer in chip.layers.values():
        if all(tile.is_programmed for tile in layer.tiles):
            layer.refresh()


def age(chip: Chip, seconds: float, temperatures_k: Mapping[str, float]) -> dict[str, str]:
    """Let time pass with each tile at a temperature of its own.

    Cells drift as at the temperature of their measurement, and lose their states by the retention
    of their material at theirs.

    Args:
        chip: its clock goes on.
        seconds: >= 0.
        temperatures_k: by tile.

    Returns:
        Tiles that lose nothing because their retention is not known, and why.
    """
    stay: dict[str, str] = {}
    for name, tile in chip.tiles.items():
        if name in temperatures_k:
            try:
                law = tile.cell.need(tile.cell.retention)
                tile.relax(law.kept(seconds, temperatures_k[name]))
            except DeviceLimitError as error:
                stay[name] = str(error)
    chip.advance(seconds)
    _refresh(chip)
    return stay
