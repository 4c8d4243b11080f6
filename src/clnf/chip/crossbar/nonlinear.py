"""Exact currents of a crossbar whose cells do not obey Ohm's law, by Newton's method.

At voltages d across the cells each cell is replaced by its tangent: a conductance dI/dV and a
source I(d) - d dI/dV. The linear solver gives the voltages of that network, and so on. The network
has a convex content, so a step that overshoots is shortened and the way always leads down.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from clnf.chip.crossbar import wire_kernels as kernels
from clnf.chip.crossbar.laws import AbstractCellLaw
from clnf.chip.crossbar.wiring import GOAL, Wires, checked, factored, open_rows, row_count, settled
from clnf.core.errors import DeviceLimitError, ShapeError
from clnf.core.inputs import instance
from clnf.core.tensors import dense
from clnf.core.units import quantity

__all__ = ["Operating", "nonlinear_currents", "nonlinear_voltages"]

_MOST_STEPS = 100
_LAW: type[AbstractCellLaw] = AbstractCellLaw  # type: ignore[type-abstract]
# Below this share of the drive the next step would be its square; below the other, step lengths
# are not measured any more, as content changes by less than its rounding.
_SETTLED, _SURE = 1e-9, 1e-6
# torch divides longer work among threads, and rounds sinh and its kind otherwise where parts end.
_PART = 16384
_MOST_RESISTING = 1e4  # of a segment against the steepest cell, as for the linear solver


@final
@dataclass(frozen=True, kw_only=True)
class Operating:
    """Where a crossbar comes to rest.

    Attributes:
        word_v: voltages on the word lines, float64 [rows, cols].
        bit_v: voltages on the bit lines, float64 [rows, cols].
        changes_v: largest change of a node at each step of Newton's method.
    """

    word_v: Tensor
    bit_v: Tensor
    changes_v: tuple[float, ...] = quantity("V")


@dataclass(frozen=True, kw_only=True)
@final
class _Array:
    """A crossbar fed at column 0 and read at row 0."""

    cells: Tensor
    conductances: tuple[float, float, float, float]
    floating: Tensor
    law: AbstractCellLaw

    def tangent(self, across: Tensor) -> tuple[Tensor, Tensor]:
        """Current and slope, continued straight where a step leads out of the law's range."""
        most = self.law.limit_v()
        inside = across.clamp(-most, most)
        found = [self.law.tangent(*part) for part in _parts(self.cells, inside)]
        current, slope = (torch.cat(x).view_as(across) for x in zip(*found, strict=True))
        return current + slope * (across - inside), slope

    def solve(
        self, slope: Tensor, volts: Tensor, ends: Tensor, amps: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Voltages of the linear network, with sources."""
        net = factored(slope, self.conductances, self.floating)
        word, bit = torch.empty_like(slope), torch.empty_like(slope)
        given = volts.contiguous().numpy(), ends.contiguous().numpy(), amps.contiguous().numpy()
        settled(kernels.voltages(net, given, GOAL, word.numpy(), bit.numpy()), GOAL)
        return word, bit

    def spent(self, word: Tensor, bit: Tensor) -> float:
        """Power in the wires at these voltages, with drivers at 0 V."""
        g_word, g_feed, g_bit, g_ground = self.conductances
        fed = word[~self.floating, 0]
        return (
            g_word * _sum(word.diff(dim=1).square()) + g_feed * _sum(fed.square())
            + g_bit * _sum(bit.diff(dim=0).square()) + g_ground * _sum(bit[0].square())
        )  # fmt: skip


def nonlinear_currents(
    conductance_s: Tensor,
    voltage_v: Tensor,
    wire_ohm: float | Wires,
    law: AbstractCellLaw,
    floating: Tensor | None = None,
) -> Tensor:
    """Currents that leave the columns of a crossbar with resistive wires and nonlinear cells.

    Differentiable once with respect to cells and voltages: one more linear solve, of the tangent
    network at the solution (dL/dG = -(lambda_u - lambda_v) dI/dG at each cell). Work is done in
    float64 on the CPU, vector by vector.

    Args:
        conductance_s: cells, >= 0, [rows, cols].
        voltage_v: of the row drivers, finite, [batch, rows] or [rows].
        wire_ohm: as in :func:`clnf.chip.line_currents`; 0 leaves out the wires.
        law: of the cells.
        floating: rows that nothing drives, bool [rows]; their voltages are not read.

    Returns:
        Currents in A, [batch, cols] or [cols], in the wider type of the two inputs.

    Raises:
        ShapeError: shapes do not fit.
        DeviceLimitError: a value is out of range, a cell sees more than the law's ``limit_v()``,
            or a row floats without a cell that conducts.

    >>> from clnf.chip import Sinh
    >>> cell, volt = torch.full((1, 1), 1e-4, dtype=torch.float64), torch.ones(1).double()
    >>> i_a = nonlinear_currents(cell, volt, 5.0, Sinh(scale_v=0.5))
    >>> round(float(i_a) * 1e6, 3)
    180.665
    """
    conductance_s = dense("conductances", conductance_s)
    voltage_v = dense("voltages of a crossbar", voltage_v)
    wires, rows = checked(conductance_s, wire_ohm), row_count(conductance_s, voltage_v)
    instance("law", law, _LAW, "write Ohmic()")
    law.check(conductance_s)
    kind = torch.promote_types(conductance_s.dtype, voltage_v.dtype)
    cells, drive = conductance_s.double().cpu(), voltage_v.double().cpu().reshape(-1, rows)
    alone = open_rows(cells, floating)
    if wires is None:
        if bool(alone.any()):
            raise DeviceLimitError("a row floats on a wire that resists; give wire_ohm > 0")
        _within(law, drive)
        across = drive[:, :, None].expand(-1, -1, cells.shape[1])
        found = [law.current(*part) for part in _parts(cells.expand_as(across), across)]
        current = torch.cat(found).view_as(across).sum(1)
    else:
        upside_down, mirrored = [0] * (wires.columns_to == "bottom"), wires.rows_from == "right"
        array = _Array(
            cells=cells.detach().flip(wires.flipped), conductances=wires.conductances,
            floating=alone.flip(upside_down), law=law,
        )  # fmt: skip
        straight = cells.flip(wires.flipped), drive.flip(1) if upside_down else drive
        current = _Tangent.apply(*straight, array)  # type: ignore[no-untyped-call]
        current = current.flip(1) if mirrored else current
    shaped = current.reshape(*voltage_v.shape[:-1], cells.shape[1])
    return shaped.to(conductance_s.device, kind)


@torch.no_grad()
def nonlinear_voltages(
    conductance_s: Tensor,
    voltage_v: Tensor,
    wire_ohm: float | Wires,
    law: AbstractCellLaw,
    floating: Tensor | None = None,
) -> Operating:
    """Voltages at both ends of every nonlinear cell.

    Args:
        conductance_s: cells, >= 0, [rows, cols].
        voltage_v: of the row drivers, [rows].
        wire_ohm: as in :func:`nonlinear_currents`, but not 0.
        law: of the cells.
        floating: as in :func:`nonlinear_currents`.

    Returns:
        Voltages, and how Newton's method found them.

    Raises:
        ShapeError: shapes do not fit.
        DeviceLimitError: as :func:`nonlinear_currents`.

    >>> from clnf.chip import Sinh
    >>> rest = nonlinear_voltages(torch.full((2, 2), 1e-4), torch.ones(2), 5.0, Sinh(scale_v=0.5))
    >>> rest.changes_v[-1] < 1e-9
    True
    """
    conductance_s = dense("conductances", conductance_s).cpu()
    voltage_v = dense("voltages of a crossbar", voltage_v).cpu()
    wires, rows = checked(conductance_s, wire_ohm), row_count(conductance_s, voltage_v)
    if wires is None:
        raise DeviceLimitError("wires of 0 ohm have the voltages of their ends; give more than 0")
    if voltage_v.dim() != 1:
        raise ShapeError(f"give one vector of {rows} voltages, got {tuple(voltage_v.shape)}")
    instance("law", law, _LAW, "write Ohmic()")
    law.check(conductance_s)
    cells, upside_down = conductance_s.double(), [0] * (wires.columns_to == "bottom")
    array = _Array(
        cells=cells.flip(wires.flipped), conductances=wires.conductances,
        floating=open_rows(cells, floating).flip(upside_down), law=law,
    )  # fmt: skip
    word, bit, changes = _newton(array, voltage_v.double().flip(upside_down))
    return Operating(
        word_v=word.flip(wires.flipped), bit_v=bit.flip(wires.flipped), changes_v=tuple(changes)
    )


def _within(law: AbstractCellLaw, across: Tensor) -> None:
    seen = float(across.detach().abs().max()) if across.numel() else 0.0
    if seen > law.limit_v():
        raise DeviceLimitError(
            f"a cell sees {seen:.4g} V, but {type(law).__name__} holds up to "
            f"{law.limit_v():.4g} V; drive with less, or take another law"
        )


def _newton(array: _Array, volts: Tensor) -> tuple[Tensor, Tensor, list[float]]:
    """Voltages of word and bit lines, and the change at each step."""
    none, ends = torch.zeros_like(array.cells), torch.zeros(array.cells.shape[1]).double()
    word, bit = array.solve(array.tangent(none)[1], volts, ends, none)
    scale = float(volts[~array.floating].abs().max()) if not bool(array.floating.all()) else 0.0
    changes: list[float] = []
    for _ in range(_MOST_STEPS):
        across = word - bit
        current, slope = array.tangent(across)
        new = array.solve(slope, volts, ends, current - slope * across)
        move = new[0] - word, new[1] - bit
        change = max(float(move[0].abs().max()), float(move[1].abs().max()))
        length = 1.0 if change <= _SURE * scale else _length(array, across, move)
        word, bit = word + length * move[0], bit + length * move[1]
        changes.append(length * change)
        if length == 1.0 and change <= _SETTLED * scale:
            across = word - bit
            _within(array.law, across)
            _not_too_steep(array, array.tangent(across)[1])
            return word, bit, changes
    raise DeviceLimitError(
        f"no solution after {_MOST_STEPS} steps of Newton's method; take lower voltages"
    )


def _length(array: _Array, across: Tensor, move: tuple[Tensor, Tensor]) -> float:
    """How much of a step to take: until the content, convex, falls no more than half as steeply."""
    wires, apart = array.spent(*move), move[0] - move[1]
    current, slope = array.tangent(across)
    fall = wires + _sum(slope * apart * apart)
    length = 1.0
    while length > 1e-6:
        there, _ = array.tangent(across + length * apart)
        if _sum((there - current) * apart) + length * wires - fall <= 0.5 * fall:
            break
        length /= 2
    return length


def _parts(cells: Tensor, across: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(cells.flatten().split(_PART), across.flatten().split(_PART), strict=True)


def _sum(x: Tensor) -> float:
    # torch splits long sums among its threads, and their number must not change a step.
    return float(x.contiguous().numpy().sum())


def _not_too_steep(array: _Array, slope: Tensor) -> None:
    steepest, worst = float(slope.max()), 1 / min(array.conductances[0], array.conductances[2])
    if steepest * worst > _MOST_RESISTING:
        raise DeviceLimitError(
            f"a segment of {worst:g} ohm beside a cell with a slope of {steepest:.2g} S resists "
            f"{steepest * worst:.2g} times as much; currents can be found up to "
            f"{_MOST_RESISTING:g} times"
        )


@final
class _Tangent(torch.autograd.Function):
    """Currents by Newton's method, and the way back through the tangent network."""

    @staticmethod
    def forward(ctx: Any, cells: Tensor, drive: Tensor, array: _Array) -> Tensor:
        found = [_newton(array, volts) for volts in drive]
        nothing = torch.empty(0, *cells.shape, dtype=torch.float64)
        across = torch.stack([word - bit for word, bit, _ in found]) if found else nothing
        ctx.save_for_backward(cells, across)
        ctx.array = array
        ends = torch.stack([bit[0] for _, bit, _ in found]) if found else nothing[:, 0]
        return ends * array.conductances[3]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        cells, across = ctx.saved_tensors
        array: _Array = ctx.array
        by_cell, none = torch.zeros_like(cells), torch.zeros_like(cells)
        by_volt = torch.zeros(len(across), len(cells), dtype=torch.float64)
        feed = array.conductances[1] * (~array.floating)
        for b, seen in enumerate(across):
            slope = array.tangent(seen)[1]
            ends = array.conductances[3] * grad[b]
            word, bit = array.solve(slope, torch.zeros(len(cells)).double(), ends, none)
            by_volt[b] = feed * word[:, 0]
            with torch.enable_grad():
                held = array.cells.clone().requires_grad_()
                found = [array.law.current(*part) for part in _parts(held, seen)]
            weight = (bit - word).flatten().split(_PART)
            by_cell += torch.autograd.grad(found, held, weight)[0]
        return by_cell, by_volt, None
