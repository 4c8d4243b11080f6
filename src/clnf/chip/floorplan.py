"""What tiles occupy and leak, as far as it is known.

Both come from the parts of a technology; a part without a published value is named, not guessed.
"""

from dataclasses import dataclass
from typing import final

from clnf.chip.crossbar.array import Crossbar
from clnf.chip.hosting import Chip
from clnf.chip.technology import Technology
from clnf.core.ledger import ATTOJOULES_PER_JOULE, PICOSECONDS_PER_SECOND
from clnf.core.units import quantity

__all__ = ["TileArea", "area", "charge_leakage", "tile_area"]

_ATTOJOULES_PER_WATT_PICOSECOND = ATTOJOULES_PER_JOULE // PICOSECONDS_PER_SECOND


@final
@dataclass(frozen=True, kw_only=True)
class TileArea:
    """What one tile occupies.

    Attributes:
        known_m2: sum over the parts that are known.
        parts_m2: area of each of them.
        unknown: parts without a published area, which the sum leaves out.
    """

    known_m2: float = quantity("m2")
    parts_m2: dict[str, float]
    unknown: tuple[str, ...]


def area(chip: Chip) -> dict[str, TileArea]:
    """Area of each tile by its name, from the parts its technology knows.

    One input converter for each row and one shift-and-add for each output converter; output
    converters serve ``columns_per_adc`` columns each, one after the other. A tile has one buffer
    and its share of a router. Drivers, multiplexers and control logic are in no table.
    """
    return {name: tile_area(tile, chip.circuit.costs) for name, tile in chip.tiles.items()}


def tile_area(tile: Crossbar, costs: Technology) -> TileArea:
    """Area of one tile, see :func:`area`; spare columns count as cells, not as converters."""
    rows, columns = (s.stop - s.start for s in (tile.rows, tile.columns))
    physical = columns + tile.make.spare_columns
    adcs = columns
    if "columns_per_adc" in costs:
        adcs = -(-columns // round(costs.get("columns_per_adc")))
    counts = {
        "cell": rows * physical * tile.cells_per_weight,
        "dac": rows,
        "adc": adcs,
        "shift_add": adcs,
        "buffer": 1,
        "router": 1,
    }
    parts = {
        name: count * costs.get(f"{name}_area_m2")
        for name, count in counts.items()
        if f"{name}_area_m2" in costs
    }
    unknown = tuple(name for name in counts if name not in parts)
    return TileArea(known_m2=sum(parts.values()), parts_m2=parts, unknown=unknown)


def charge_leakage(chip: Chip) -> str:
    """Charge what a chip's tiles leaked while they were busy since this was last asked for.

        energy = leakage_w x time in the ledger, by tile and by lesson

    A tile is taken to be cut off from its supply while it is not busy, which is a lower bound.
    Rows of operation "leakage" count the picoseconds they stand for, so asking twice charges
    once.

    Returns:
        One sentence for a report: "leakage unknown", or what was charged.
    """
    costs, ledger = chip.circuit.costs, chip.ledger
    if "leakage_w" not in costs:
        return f"leakage unknown: {costs.name} has no published leakage_w"
    tiles = chip.tiles
    due: dict[tuple[str, str], int] = {}
    for tile, lesson, op, count, _, time_ps in ledger.state():
        if tile in tiles:
            open_ps = -count if op == "leakage" else time_ps
            due[tile, lesson] = due.get((tile, lesson), 0) + open_ps
    rate = costs.leakage_w * _ATTOJOULES_PER_WATT_PICOSECOND
    total, current = 0, ledger.lesson
    for (tile, lesson), busy_ps in due.items():
        if busy_ps == 0:
            continue
        ledger.lesson = lesson
        energy_aj = round(busy_ps * rate)
        ledger.charge_total("leakage", tile=tile, count=busy_ps, energy_aj=energy_aj)
        total += energy_aj
    ledger.lesson = current
    return (
        f"leakage charged: {total / ATTOJOULES_PER_JOULE:.3g} J at {costs.leakage_w:.3g} W a tile"
    )
