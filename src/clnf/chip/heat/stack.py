"""What heat flows through: uniform layers one on the other, cut into cells, cooled from below.

Sides and top let no heat through. A heat sink wider than the chip is so told by its conductance
to the air alone; what it spreads sideways is left out.
"""

import math
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from clnf.core.errors import ConfigError, DeviceLimitError
from clnf.core.units import quantity

__all__ = [
    "BEOL",
    "COPPER",
    "INTERFACE",
    "SILICON",
    "Layer",
    "Solid",
    "Stack",
    "hotspot_stack",
    "tile_stack",
]

Vector = NDArray[np.float64]


@final
@dataclass(frozen=True, kw_only=True)
class Solid:
    """What a layer is made of.

    Attributes:
        name: for people.
        conductivity_w_mk: of heat, the same in all directions.
        capacity_j_m3k: heat for a kelvin; None where it is not known, and then nothing that
            changes with time can be solved.
        source: where both were published.

    Raises:
        DeviceLimitError: a value is not above 0.
    """

    name: str
    conductivity_w_mk: float = quantity("W/(m K)")
    capacity_j_m3k: float | None = quantity("J/(m3 K)", None)
    source: str

    def __post_init__(self) -> None:
        for value in (self.conductivity_w_mk, self.capacity_j_m3k):
            if value is not None and not 0 < value < math.inf:
                raise DeviceLimitError(
                    f"conductivity and heat capacity of {self.name} are above 0 and finite, got "
                    f"{self.conductivity_w_mk} and {self.capacity_j_m3k}"
                )


_HOTSPOT = "HotSpot 7, example configuration"
SILICON = Solid(name="silicon", conductivity_w_mk=130.0, capacity_j_m3k=1.6303e6, source=_HOTSPOT)
INTERFACE = Solid(name="interface", conductivity_w_mk=4.0, capacity_j_m3k=4.0e6, source=_HOTSPOT)
COPPER = Solid(name="copper", conductivity_w_mk=400.0, capacity_j_m3k=3.55e6, source=_HOTSPOT)
BEOL = Solid(
    name="wiring layers",
    conductivity_w_mk=2.25,
    capacity_j_m3k=2.175e6,
    source="3D-ICE, material BEOL of its example stacks",
)


@final
@dataclass(frozen=True, kw_only=True)
class Layer:
    """One uniform layer.

    Attributes:
        name: by which heat finds it.
        solid: what it is made of.
        thickness_m: of the layer.
        cells: how many cells it is cut into from bottom to top.
    """

    name: str
    solid: Solid
    thickness_m: float = quantity("m")
    cells: int = quantity("1", 1)

    def __post_init__(self) -> None:
        if not (0 < self.thickness_m < math.inf and self.cells >= 1):
            raise ConfigError(
                f"layer {self.name} needs a thickness above 0 and at least one cell, got "
                f"{self.thickness_m} m and {self.cells}"
            )


@final
@dataclass(frozen=True, kw_only=True)
class Stack:
    """Layers over the same rectangle, the lowest first, cooled from below.

    Attributes:
        layers: the lowest, which touches the coolant, first.
        width_m: of the rectangle, along columns.
        depth_m: of the rectangle, along rows.
        columns: cells along the width.
        rows: cells along the depth.
        bottom_w_m2k: h, heat that leaves below for each square metre and kelvin; or
        bottom_k_w: R_conv, resistance of the whole bottom to the coolant. One of the two.
        ambient_k: temperature of the coolant.

    Raises:
        ConfigError: no layers, two of one name, both or neither way of cooling, or a size that
            is not positive.
    """

    layers: tuple[Layer, ...]
    width_m: float = quantity("m")
    depth_m: float = quantity("m")
    columns: int = quantity("1")
    rows: int = quantity("1")
    bottom_w_m2k: float | None = quantity("W/(m2 K)", None)
    bottom_k_w: float | None = quantity("K/W", None)
    ambient_k: float = quantity("K")

    def __post_init__(self) -> None:
        names = [layer.name for layer in self.layers]
        if not names or len(set(names)) < len(names):
            raise ConfigError(f"a stack needs layers of different names, got {names}")
        sizes = (self.width_m, self.depth_m, self.columns, self.rows, self.ambient_k)
        if not all(0 < size < math.inf for size in sizes):
            raise ConfigError(
                "width, depth, columns, rows and ambient temperature of a stack are above 0 and "
                f"finite, got {', '.join(f'{size:g}' for size in sizes)}"
            )
        ways = [way for way in (self.bottom_w_m2k, self.bottom_k_w) if way is not None]
        if len(ways) != 1 or not 0 < ways[0] < math.inf:
            raise ConfigError(
                "a stack is cooled by bottom_w_m2k or by bottom_k_w, one of them above 0 and "
                f"finite, got {self.bottom_w_m2k} and {self.bottom_k_w}"
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Cells from bottom to top, rows, columns."""
        return len(self.heights_m), self.rows, self.columns

    @property
    def area_m2(self) -> float:
        """Of the rectangle."""
        return self.width_m * self.depth_m

    @property
    def coolant_w_m2k(self) -> float:
        """Whichever way it was given: conductance of the bottom to the coolant by area."""
        if self.bottom_w_m2k is not None:
            return self.bottom_w_m2k
        return 1.0 / ((self.bottom_k_w or math.inf) * self.area_m2)

    @property
    def heights_m(self) -> Vector:
        """Of each cell from bottom to top."""
        return self._each([layer.thickness_m / layer.cells for layer in self.layers])

    @property
    def conductivities_w_mk(self) -> Vector:
        """Of each cell from bottom to top."""
        return self._each([layer.solid.conductivity_w_mk for layer in self.layers])

    @property
    def capacities_j_m3k(self) -> Vector:
        """Of each cell from bottom to top.

        Raises:
            DeviceLimitError: a layer's heat capacity is not known.
        """
        for layer in self.layers:
            if layer.solid.capacity_j_m3k is None:
                raise DeviceLimitError(
                    f"heat that changes with time needs capacity_j_m3k of {layer.solid.name}, "
                    "which is not known; supply it"
                )
        return self._each([layer.solid.capacity_j_m3k or math.nan for layer in self.layers])

    def _each(self, values: list[float]) -> Vector:
        return np.repeat(values, [layer.cells for layer in self.layers]).astype(np.float64)

    @property
    def couplings_w_m2k(self) -> Vector:
        """Between each cell and the one below by area; the first is with the coolant.

        Half a cell of one material lies in series with half a cell of the next:
        1 / g = dz_i / 2 k_i + dz_j / 2 k_j; below, dz / 2 k + 1 / h.
        """
        half = self.heights_m / (2 * self.conductivities_w_mk)
        return 1.0 / (half + np.concatenate([[1.0 / self.coolant_w_m2k], half[:-1]]))

    def at(self, name: str) -> slice:
        """Which cells from bottom to top a layer is.

        Raises:
            ConfigError: there is no layer of that name.
        """
        first = 0
        for layer in self.layers:
            if layer.name == name:
                return slice(first, first + layer.cells)
            first += layer.cells
        names = ", ".join(layer.name for layer in self.layers)
        raise ConfigError(f"no layer {name!r} in this stack; it has {names}")


def hotspot_stack(*, rows: int = 64, columns: int = 64) -> Stack:
    """The example of HotSpot: a die of 16 mm, interface, spreader and sink, 0.1 K/W to air.

    Spreader and sink end where the die does.

    Source: HotSpot 7, example configuration.
    """
    return Stack(
        layers=(
            Layer(name="sink", solid=COPPER, thickness_m=6.9e-3, cells=2),
            Layer(name="spreader", solid=COPPER, thickness_m=1e-3, cells=2),
            Layer(name="interface", solid=INTERFACE, thickness_m=20e-6, cells=2),
            Layer(name="silicon", solid=SILICON, thickness_m=150e-6, cells=2),
        ),
        width_m=16e-3,
        depth_m=16e-3,
        columns=columns,
        rows=rows,
        bottom_k_w=0.1,
        ambient_k=318.15,
    )


def tile_stack(
    width_m: float,
    depth_m: float,
    *,
    coolant_w_m2k: float = 1.0 / (0.1 * 16e-3 * 16e-3),
    ambient_k: float = 318.15,
    cells: tuple[int, int] = (64, 64),
) -> Stack:
    """A chip of tiles: HotSpot's package under silicon and, above it, wiring layers with cells.

    Converters and digital parts heat the top of the silicon (layer "logic", its uppermost
    micrometre), memory cells the middle of 10 um of wiring layers ("cells", 0.5 um between two
    halves of "wiring"). The thickness of the wiring layers is that of 3D-ICE's examples; those of
    "logic" and "cells" only say how finely heat is placed.

    Args:
        width_m: of the chip.
        depth_m: of the chip.
        coolant_w_m2k: h below; by default HotSpot's 0.1 K/W over its die of 16 mm.
        ambient_k: of the coolant; by default HotSpot's 45 degrees Celsius.
        cells: rows and columns.
    """
    return Stack(
        layers=(
            Layer(name="sink", solid=COPPER, thickness_m=6.9e-3),
            Layer(name="spreader", solid=COPPER, thickness_m=1e-3),
            Layer(name="interface", solid=INTERFACE, thickness_m=20e-6),
            Layer(name="silicon", solid=SILICON, thickness_m=149e-6),
            Layer(name="logic", solid=SILICON, thickness_m=1e-6),
            Layer(name="wiring", solid=BEOL, thickness_m=4.75e-6),
            Layer(name="cells", solid=BEOL, thickness_m=0.5e-6),
            Layer(name="upper wiring", solid=BEOL, thickness_m=4.75e-6),
        ),
        width_m=width_m,
        depth_m=depth_m,
        columns=cells[1],
        rows=cells[0],
        bottom_w_m2k=coolant_w_m2k,
        ambient_k=ambient_k,
    )
