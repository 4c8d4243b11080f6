"""What surrounds the cells of a crossbar: resistances of its wires, and what may be solved."""

from dataclasses import dataclass, replace
from numbers import Real
from typing import Literal, final

import numpy as np
import torch
from torch import Tensor

from clnf.chip.crossbar import wire_kernels as kernels
from clnf.core.errors import ConfigError, DeviceLimitError, ShapeError
from clnf.core.inputs import shown
from clnf.core.tensors import dense, not_finite
from clnf.core.units import quantity
from clnf.devices.temperature import LinearTemperature

__all__ = ["GOAL", "Wires", "checked", "factored", "open_rows", "row_count", "settled"]

# The root of energy left, which leaves currents right to 1e-12 of the largest; and most steps.
GOAL = (1e-13, 2000)
# A segment against the best cell: beyond it double precision cannot keep 12 digits. On chips the
# product is below 0.01.
_MOST_RESISTING = 1e4
_LEAST_OHM = {"word_ohm": 1e-15, "bit_ohm": 1e-15, "source_ohm": 0.0, "sink_ohm": 0.0}
_MOST_OHM = 1e15
# Of resistance here: NeuroSim's constant for copper lines.
_METAL = LinearTemperature(per_k=0.00451)


@final
@dataclass(frozen=True, kw_only=True)
class Wires:
    """Resistances around the cells of a crossbar, and where it is fed.

    Attributes:
        word_ohm: a segment of a word line (row), 1e-15 to 1e15.
        bit_ohm: a segment of a bit line (column), 1e-15 to 1e15.
        source_ohm: of a row's driver, on top of its first segment, 0 to 1e15.
        sink_ohm: of a column's read-out, on top of its last segment, 0 to 1e15.
        rows_from: the side at which rows are driven.
        columns_to: the side at which columns are held at ground and read.

    Raises:
        DeviceLimitError: a resistance is out of its range.
        ConfigError: a side is not one of the two.
    """

    word_ohm: float = quantity("ohm")
    bit_ohm: float = quantity("ohm")
    source_ohm: float = quantity("ohm", 0.0)
    sink_ohm: float = quantity("ohm", 0.0)
    rows_from: Literal["left", "right"] = "left"
    columns_to: Literal["bottom", "top"] = "bottom"

    def __post_init__(self) -> None:
        for name, least in _LEAST_OHM.items():
            value = getattr(self, name)
            if not _is_number(value) or not least <= value <= _MOST_OHM:
                raise DeviceLimitError(
                    f"{name} is a number from {least:g} to {_MOST_OHM:g}, got {shown(value)}; for "
                    "wires without resistance give wire_ohm = 0"
                )
        if self.rows_from not in ("left", "right") or self.columns_to not in ("bottom", "top"):
            raise ConfigError(
                f"rows are fed from left or right and columns end at bottom or top, got "
                f"{self.rows_from!r} and {self.columns_to!r}"
            )

    def at(self, temperature_k: float) -> "Wires":
        """The same wires at another temperature than 300 K; driver and read-out stay.

        Raises:
            DeviceLimitError: as :meth:`LinearTemperature.factor`.

        >>> round(Wires(word_ohm=1.0, bit_ohm=1.0).at(400.0).word_ohm, 3)
        1.451
        """
        factor = _METAL.factor(temperature_k)
        return replace(self, word_ohm=self.word_ohm * factor, bit_ohm=self.bit_ohm * factor)

    @property
    def conductances(self) -> tuple[float, float, float, float]:
        """Of a word segment, of a row's way in, of a bit segment, of a column's way out, in S."""
        word, bit = self.word_ohm, self.bit_ohm
        return 1 / word, 1 / (word + self.source_ohm), 1 / bit, 1 / (bit + self.sink_ohm)

    @property
    def flipped(self) -> list[int]:
        """Dimensions to turn round for rows fed at column 0 and columns that end at row 0."""
        return [0] * (self.columns_to == "bottom") + [1] * (self.rows_from == "right")


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def row_count(cells: Tensor, voltage_v: Tensor) -> int:
    """Rows of a crossbar, once the voltages fit them.

    Raises:
        ShapeError: voltages are not [batch, rows] or [rows].
        DeviceLimitError: a voltage is not finite.
    """
    rows = cells.shape[0]
    dense("voltages of a crossbar", voltage_v)
    if voltage_v.dim() not in (1, 2) or voltage_v.shape[-1] != rows:
        raise ShapeError(
            f"voltages of a crossbar with {rows} rows are [batch, {rows}], got "
            f"{tuple(voltage_v.shape)}"
        )
    bad = not_finite(voltage_v)
    if bad:
        raise DeviceLimitError(f"voltages must be finite, got {bad}; mend that value")
    return rows


def checked(cells: Tensor, wire_ohm: float | Wires) -> Wires | None:
    """The wires around cells, once both are sound; None for wires without resistance.

    Raises:
        ShapeError: conductances are not a matrix of floats.
        DeviceLimitError: a conductance or resistance is out of range.
    """
    dense("conductances", cells)
    if cells.dim() != 2 or not cells.numel() or not cells.is_floating_point():
        raise ShapeError(
            f"conductances are a matrix of floats [rows, cols], got {cells.dtype} "
            f"{tuple(cells.shape)}"
        )
    bad = not_finite(cells)
    if bad:
        raise DeviceLimitError(
            f"conductances must be finite and at least 0 S, got {bad}; mend that value"
        )
    if not bool((cells >= 0).all()):
        raise DeviceLimitError(
            "conductances must be finite and at least 0 S, got values from "
            f"{float(cells.detach().min())} to {float(cells.detach().max())}"
        )
    wires = wire_ohm
    if not isinstance(wires, Wires):
        if not _is_number(wires):
            raise DeviceLimitError(f"wire_ohm is a number or Wires, got {shown(wires)}; correct it")
        if wires == 0:
            return None
        wires = Wires(word_ohm=wires, bit_ohm=wires)
    best, worst = float(cells.detach().max()), max(wires.word_ohm, wires.bit_ohm)
    if best * worst > _MOST_RESISTING:
        raise DeviceLimitError(
            f"a segment of {worst:g} ohm beside a cell of {best:g} S resists {best * worst:.2g} "
            f"times as much as the cell; currents can be found up to {_MOST_RESISTING:g} times"
        )
    return wires


def open_rows(cells: Tensor, floating: Tensor | None) -> Tensor:
    """Which rows nothing drives, bool [rows] on the CPU.

    Raises:
        ShapeError: not bool [rows].
        DeviceLimitError: a row floats whose cells all have 0 S, so that it has no voltage.
    """
    rows = cells.shape[0]
    if floating is None:
        return torch.zeros(rows, dtype=torch.bool)
    floating = dense("floating rows", floating).cpu()
    if floating.dtype != torch.bool or floating.shape != (rows,):
        raise ShapeError(
            f"floating rows of {rows} are bool [{rows}], got {floating.dtype} "
            f"{tuple(floating.shape)}"
        )
    if bool((floating & (cells.detach().amax(1) == 0)).any()):
        raise DeviceLimitError("a row that floats needs a cell of more than 0 S; one has none")
    return floating


def factored(
    cells: Tensor, conductances: tuple[float, float, float, float], floating: Tensor | None = None
) -> kernels.Network:
    """The network around cells whose rows are fed at column 0 and columns end at row 0.

    Args:
        cells: conductances, float64 [rows, cols].
        conductances: as :attr:`Wires.conductances`.
        floating: rows that nothing drives, bool [rows].

    Returns:
        What the compiled passes take.
    """
    word, feed, bit, ground = conductances
    drivers = np.full(len(cells), feed)
    if floating is not None:
        drivers[floating.numpy()] = 0.0
    return kernels.network(cells.detach().contiguous().numpy(), word, drivers, bit, ground)


def settled(steps: int, goal: tuple[float, int]) -> None:
    """Raise DeviceLimitError where a solver took more steps than it may."""
    if steps > goal[1]:
        raise DeviceLimitError(
            f"no solution after {goal[1]} steps; take smaller wire resistances or conductances"
        )
