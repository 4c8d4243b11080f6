"""What a tile's temperature does to its cells, and what it does not because nobody knows.

conductance   the material's own coefficient, and copper's for wires
noise         thermal noise of a read, added to the read noise; see *johnson*
retention     the material's activation energy; this and the next two: see *ageing*
drift         an activation energy that is supplied, else as measured
endurance     likewise; the published figure is reported

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
from clnf.chip.heat.ageing import Activations, drift_pace, endurance_at, refresh
from clnf.chip.heat.johnson import feel_johnson, johnson_share
from clnf.chip.heat.network import Law, State, ThermalNetwork
from clnf.chip.hosting import Chip
from clnf.core.errors import DeviceLimitError
from clnf.core.units import quantity
from clnf.devices.cell import Cell, Unknown

__all__ = [
    "TileHeat",
    "cell_temperatures",
    "conduction_laws",
    "drawn",
    "feel",
    "report",
    "warm",
    "warm_cells",
]

Array = NDArray[np.float64]


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
        drift: how many times as fast as measured the hottest cell drifts; None where cells drift
            as measured, or not at all.
        endurance: writes a cell survives at the hottest cell, or as published, at whatever
            temperature that was; None where that is not known.
        unaffected: what stays as it is, and why.
    """

    tile: str
    mean_k: float = quantity("K")
    hottest_k: float = quantity("K")
    conductance: float | None = quantity("1", None)
    johnson: float | None = quantity("1", None)
    retention_s: float | None = quantity("s", None)
    drift: float | None = quantity("1", None)
    endurance: float | None = quantity("1", None)
    unaffected: dict[str, str]


def conduction_laws(chip: Chip) -> dict[str, Law]:
    """Conductance at a temperature over that at 300 K, of tiles whose material states it."""
    return {
        name: tile.cell.temperature.factor
        for name, tile in chip.tiles.items()
        if not isinstance(tile.cell.temperature, Unknown)
    }


def report(chip: Chip, state: State, *, activations: Activations | None = None) -> list[TileHeat]:
    """What a state does to each tile; nothing is changed.

    Raises:
        DeviceLimitError: a temperature is beyond what a material's law holds for.
    """
    tiles, read_s = chip.tiles, chip.circuit.costs.mvm_s
    both = zip(state.names, state.mean_k, state.hottest_k, strict=True)
    return [
        _report(tiles[name], (float(mean), float(most)), read_s, activations)
        for name, mean, most in both
    ]


def _report(
    tile: Crossbar, kelvins: tuple[float, float], read_s: float, activations: Activations | None
) -> TileHeat:
    cell, kept, (mean_k, hottest_k) = tile.make.cell, {}, kelvins
    conductance = retention = noise = None
    if isinstance(cell.temperature, Unknown):
        kept["conductance"] = cell.temperature.sentence
    else:
        conductance = cell.temperature.factor(mean_k)
    try:
        retention = _retention_s(cell, hottest_k)
    except DeviceLimitError as error:
        kept["retention"] = str(error)
    try:
        noise = johnson_share(cell, mean_k, read_s)
    except DeviceLimitError as error:
        kept["johnson"] = str(error)
    faster, why_drift = drift_pace(cell, hottest_k, activations)
    lives, why_lives = endurance_at(cell, hottest_k, activations)
    why = {"drift": why_drift, "endurance": why_lives}
    published = cell.material.values.get("endurance_cycles")
    found = None if published is None else float(published.number)
    return TileHeat(
        tile=tile.name,
        mean_k=mean_k,
        hottest_k=hottest_k,
        conductance=conductance,
        johnson=noise,
        retention_s=retention,
        drift=float(faster) if why_drift is None else None,
        endurance=found if lives is None else lives.cycles,
        unaffected=kept | {part: text for part, text in why.items() if text is not None},
    )


def _retention_s(cell: Cell, temperature_k: float) -> float:
    """How long a share of a state as in the source's time is kept at a temperature."""
    law = cell.need(cell.retention)
    gone = math.log(law.kept(law.retention_s, temperature_k) or math.ulp(0.0))
    return law.retention_s * math.log(1.0 - law.loss) / gone if gone else math.inf


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
            feel_johnson(tile, None, chip.circuit.costs.mvm_s)
        elif name not in temperatures_k:
            continue
        elif isinstance(tile.cell.temperature, Unknown):
            stay[name] = tile.cell.temperature.sentence
        else:
            tile.set_temperature(temperatures_k[name])
    feel(chip)
    return stay


def feel(chip: Chip) -> dict[str, str]:
    """Read each tile with the thermal noise of its temperature now.

    What warms a tile does so, too. A chip whose state was loaded remembers its temperatures; this
    brings back their noise.

    Returns:
        Tiles without thermal noise, and which value it lacks.
    """
    read_s = chip.circuit.costs.mvm_s
    found = {
        name: feel_johnson(tile, tile.temperature_k, read_s) for name, tile in chip.tiles.items()
    }
    refresh(chip)
    return {name: why for name, why in found.items() if why is not None}


def warm_cells(chip: Chip, network: ThermalNetwork, state: State) -> dict[str, str]:
    """Read every cell at a temperature of its own from now on, wires at the mean of their tile.

    The cells of a weight are taken at their mean, as they lie side by side.

    Args:
        chip: its layers are refreshed.
        network: its thermal resistances.
        state: at rest; tiles that are not in it stay, and so do blank ones.

    Returns:
        Tiles whose cells stay as they are, and why; their wires stay, too.
    """
    stay: dict[str, str] = {}
    tiles, blank = chip.tiles, chip.blank
    for name in state.names:
        tile = tiles[name]
        if name in blank:
            continue
        if isinstance(tile.cell.temperature, Unknown):
            stay[name] = tile.cell.temperature.sentence
            continue
        cells = network.cells(state, name, drawn(tile, chip.clock_s))
        each = torch.from_numpy(cells).view(*tile.shape[::-1], tile.planes).mean(2).T
        tile.set_temperature(float(each.mean()), each)
    feel(chip)
    return stay


def cell_temperatures(chip: Chip, network: ThermalNetwork, state: State) -> dict[str, Array]:
    """Temperature of every cell by tile, [rows, columns x cells a weight], K; nothing is changed.

    What :func:`clnf.chip.heat.ageing.age` takes.
    """
    tiles, now_s = chip.tiles, chip.clock_s
    return {name: network.cells(state, name, drawn(tiles[name], now_s)) for name in state.names}
