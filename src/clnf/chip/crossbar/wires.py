"""Exact currents of a crossbar whose wires have resistance.

Every crossing is two nodes, one on its word line and one on its bit line, joined by the cell; each
line is cut into equal segments. Two methods solve the same equations. :func:`line_currents` is for
vectors: conjugate gradients on the bit-line nodes, compiled. :func:`effective_conductance` is for
many vectors on the same cells: it eliminates row after row once, in plain torch, and leaves a
matrix to multiply with.
"""

from typing import Any, final

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from clnf.chip.crossbar import wire_kernels as kernels
from clnf.chip.crossbar.elimination import eliminated
from clnf.chip.crossbar.wiring import GOAL, Wires, checked, factored, row_count, settled
from clnf.core.errors import DeviceLimitError, ShapeError
from clnf.core.tensors import dense

__all__ = ["Wires", "effective_conductance", "line_currents", "node_voltages"]


def line_currents(conductance_s: Tensor, voltage_v: Tensor, wire_ohm: float | Wires) -> Tensor:
    """Currents that leave the columns of a crossbar with resistive wires.

    Each row is driven through one segment and each column held at ground through one, with one
    segment between neighbours. Differentiable once with respect to cells and voltages (adjoint
    solve: dL/dG = -(lambda_u - lambda_v) (u - v) at each cell). Work is done in float64; currents
    are right to about 1e-12 of the largest of their vector.

    Args:
        conductance_s: cells, >= 0, [rows, cols].
        voltage_v: of the row drivers, finite, [batch, rows] or [rows].
        wire_ohm: resistance of every segment, > 0, with rows driven from the left and columns
            ending at the bottom; or :class:`Wires` to say more. 0 leaves out the wires.

    Returns:
        Currents in A, [batch, cols] or [cols], in the wider type of the two inputs.

    Raises:
        ShapeError: shapes do not fit.
        DeviceLimitError: a conductance, voltage or resistance is out of range, or a segment
            resists more than 1e4 times as much as the best cell.

    >>> i_a = line_currents(torch.full((1, 1), 1e-4), torch.ones(1, 1), 5.0)  # 1 / (1e4 + 2 * 5)
    >>> round(float(i_a) * 1e6, 4)
    99.9001
    """
    conductance_s = dense("conductances", conductance_s)
    voltage_v = dense("voltages of a crossbar", voltage_v)
    wires = checked(conductance_s, wire_ohm)
    rows = row_count(conductance_s, voltage_v)
    kind = torch.promote_types(conductance_s.dtype, voltage_v.dtype)
    cells, drive = conductance_s.double(), voltage_v.double().reshape(-1, rows)
    if wires is None or not cells.is_cpu:
        current = drive @ effective_conductance(cells, wire_ohm)
    else:
        upside_down, mirrored = wires.columns_to == "bottom", wires.rows_from == "right"
        straight = cells.flip(wires.flipped), drive.flip(1) if upside_down else drive
        current = _Exact.apply(*straight, wires.conductances)  # type: ignore[no-untyped-call]
        current = current.flip(1) if mirrored else current
    return current.reshape(*voltage_v.shape[:-1], cells.shape[1]).to(kind)


def effective_conductance(conductance_s: Tensor, wire_ohm: float | Wires) -> Tensor:
    """The matrix that a crossbar with resistive wires multiplies with.

    The network is linear: currents = voltages @ result, exactly. Rows are eliminated one by one,
    from the far end of the columns. Differentiable, at the price of memory for every row.

    Args:
        conductance_s: cells, >= 0, [rows, cols]; or several crossbars alike, [..., rows, cols].
        wire_ohm: as in :func:`line_currents`.

    Returns:
        Shape and type of ``conductance_s``.

    Raises:
        ShapeError: not a matrix.
        DeviceLimitError: as :func:`line_currents`.

    >>> cells = torch.full((2, 3), 1e-4, dtype=torch.float64)
    >>> ideal = effective_conductance(cells, 0.0)
    >>> bool((effective_conductance(cells, 10.0) < ideal).all())
    True
    """
    conductance_s = dense("conductances", conductance_s)
    stacked = conductance_s.flatten(0, -2) if conductance_s.dim() > 2 else conductance_s
    wires = checked(stacked, wire_ohm)
    if wires is None:
        return conductance_s.clone()
    sides = [side - 2 for side in wires.flipped]
    cells = conductance_s.double().flip(sides)
    word, feed, bit, ground = wires.conductances
    if cells.shape[-2] < cells.shape[-1]:
        # Reciprocity: exchange drivers and grounds, so that the dense steps are the smaller ones.
        effective = eliminated(cells.mT, bit, ground, word, feed).mT
    else:
        effective = eliminated(cells, word, feed, bit, ground)
    return effective.flip(sides).to(conductance_s.dtype)


@torch.no_grad()
def node_voltages(
    conductance_s: Tensor, voltage_v: Tensor, wire_ohm: float | Wires
) -> tuple[Tensor, Tensor]:
    """Voltages at both ends of every cell: where a crossbar loses its drive.

    Args:
        conductance_s: cells, >= 0, [rows, cols].
        voltage_v: of the row drivers, [rows].
        wire_ohm: as in :func:`line_currents`, but not 0.

    Returns:
        Voltages on the word lines and on the bit lines, float64 [rows, cols] each, on the CPU.

    Raises:
        ShapeError: shapes do not fit.
        DeviceLimitError: as :func:`line_currents`.

    >>> word_v, bit_v = node_voltages(torch.full((2, 2), 1e-3), torch.ones(2), 10.0)
    >>> bool((word_v[:, 0] > word_v[:, 1]).all() & (bit_v[0] > bit_v[1]).all())
    True
    """
    conductance_s = dense("conductances", conductance_s).cpu()
    voltage_v = dense("voltages of a crossbar", voltage_v).cpu()
    wires = checked(conductance_s, wire_ohm)
    if wires is None:
        raise DeviceLimitError("wires of 0 ohm have the voltages of their ends; give more than 0")
    rows = row_count(conductance_s, voltage_v)
    if voltage_v.dim() != 1:
        raise ShapeError(f"give one vector of {rows} voltages, got {tuple(voltage_v.shape)}")
    cells = conductance_s.double().flip(wires.flipped)
    drive = voltage_v.double().flip([0] * (wires.columns_to == "bottom"))
    word, bit = torch.empty_like(cells), torch.empty_like(cells)
    given = drive.contiguous().numpy(), np.zeros(cells.shape[1]), np.zeros(cells.shape)
    net = factored(cells, wires.conductances)
    settled(kernels.voltages(net, given, GOAL, word.numpy(), bit.numpy()), GOAL)
    return word.flip(wires.flipped), bit.flip(wires.flipped)


@final
class _Exact(torch.autograd.Function):
    """Currents of rows fed at column 0 and columns that end at row 0, and the way back."""

    @staticmethod
    def forward(
        ctx: Any, cells: Tensor, drive: Tensor, conductances: tuple[float, float, float, float]
    ) -> Tensor:
        ctx.save_for_backward(cells, drive)
        ctx.conductances = conductances
        out = torch.empty(len(drive), cells.shape[1], dtype=torch.float64)
        given = drive.contiguous().numpy(), GOAL
        settled(kernels.currents(factored(cells, conductances), *given, out.numpy()), GOAL)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        cells, drive = ctx.saved_tensors
        by_cell = torch.zeros(cells.shape, dtype=torch.float64)
        by_volt = torch.empty(drive.shape, dtype=torch.float64)
        given = drive.contiguous().numpy(), grad.contiguous().numpy(), GOAL
        net = factored(cells, ctx.conductances)
        settled(kernels.gradients(net, *given, by_cell.numpy(), by_volt.numpy()), GOAL)
        return by_cell, by_volt, None
