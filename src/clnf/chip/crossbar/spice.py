"""A crossbar as a netlist for ngspice, and what ngspice answers.

Nodes are named by place: ``w3_5`` and ``b3_5`` are the word-line and bit-line ends of the cell in
row 3, column 5; ``d3`` is the driver of row 3. Elements likewise: ``Rcell3_5`` or ``Bcell3_5``,
``Rword3_5`` between ``w3_5`` and its neighbour to the right, ``Rbit3_5`` between ``b3_5`` and its
neighbour below, ``Rin3`` and ``Rout5`` at the ends, ``Vin3`` the driver.
"""

import re

import torch
from torch import Tensor

from clnf.chip.crossbar.laws import AbstractCellLaw, Ohmic
from clnf.chip.crossbar.wiring import Wires, checked, open_rows, row_count
from clnf.core.errors import DataError, DeviceLimitError, ShapeError
from clnf.core.inputs import instance, whole
from clnf.core.tensors import dense

__all__ = ["netlist", "read_currents"]

# Far below what matters, so that ngspice's answer is as good as its arithmetic.
_OPTIONS = ".options reltol=1e-14 vntol=1e-20 abstol=1e-20 gmin=1e-30 itl1=500"


@torch.no_grad()
def netlist(
    conductance_s: Tensor,
    voltage_v: Tensor,
    wire_ohm: float | Wires,
    law: AbstractCellLaw | None = None,
    floating: Tensor | None = None,
) -> str:
    """A crossbar with its present conductances as a netlist that finds its operating point.

    ``ngspice -b FILE`` prints the current of each column's read-out resistor with 15 digits;
    :func:`read_currents` reads them back.

    Args:
        conductance_s: cells, >= 0, [rows, cols].
        voltage_v: of the row drivers, [rows].
        wire_ohm: as in :func:`clnf.chip.line_currents`, but not 0.
        law: of the cells; resistors without one.
        floating: rows that nothing drives, bool [rows].

    Returns:
        The text of a file.

    Raises:
        ShapeError: shapes do not fit.
        DeviceLimitError: as :func:`clnf.chip.line_currents`, or wires without resistance.

    >>> print(netlist(torch.full((1, 1), 0.5), torch.ones(1), 5.0).splitlines()[4])
    Rcell0_0 w0_0 b0_0 2
    """
    cells = dense("conductances", conductance_s, dtype=torch.float64).cpu()
    volts = dense("voltages of a crossbar", voltage_v).cpu()
    wires, rows = checked(cells, wire_ohm), row_count(cells, volts)
    if wires is None:
        raise DeviceLimitError("a netlist needs wires that resist; give wire_ohm > 0")
    if volts.dim() != 1:
        raise ShapeError(f"give one vector of {rows} voltages, got {tuple(volts.shape)}")
    if law is None:
        law = Ohmic()
    kind: type[AbstractCellLaw] = AbstractCellLaw  # type: ignore[type-abstract]
    instance("law", law, kind, "write Ohmic()")
    law.check(cells)
    cols = cells.shape[1]
    lines = [
        f"* clnf crossbar: {rows} rows fed from the {wires.rows_from}, {cols} columns read at the "
        f"{wires.columns_to}",
    ]
    alone = open_rows(cells, floating).tolist()
    lines += _ends(wires, (rows, cols), volts.double().tolist(), alone)
    for i, row in enumerate(cells.tolist()):
        for j, value in enumerate(row):
            lines += law.spice(value, f"cell{i}_{j}", (f"w{i}_{j}", f"b{i}_{j}"))
    lines += _lines(wires, rows, cols)
    printed = [f"print @Rout{j}[i]" for j in range(cols)]
    lines += [_OPTIONS, ".control", "set numdgt=15", "op", *printed, ".endc", ".end"]
    return "\n".join(lines) + "\n"


def _ends(
    wires: Wires, shape: tuple[int, int], volts: list[float], floating: list[bool]
) -> list[str]:
    rows, cols = shape
    first = 0 if wires.rows_from == "left" else cols - 1
    last = rows - 1 if wires.columns_to == "bottom" else 0
    into, out = wires.word_ohm + wires.source_ohm, wires.bit_ohm + wires.sink_ohm
    lines = []
    for i in range(rows):
        if not floating[i]:
            lines.append(f"Vin{i} d{i} 0 {volts[i]:.17g}")
            lines.append(f"Rin{i} d{i} w{i}_{first} {into:.17g}")
    return lines + [f"Rout{j} b{last}_{j} 0 {out:.17g}" for j in range(cols)]


def _lines(wires: Wires, rows: int, cols: int) -> list[str]:
    word = [
        f"Rword{i}_{j} w{i}_{j} w{i}_{j + 1} {wires.word_ohm:.17g}"
        for i in range(rows)
        for j in range(cols - 1)
    ]
    bit = [
        f"Rbit{i}_{j} b{i}_{j} b{i + 1}_{j} {wires.bit_ohm:.17g}"
        for i in range(rows - 1)
        for j in range(cols)
    ]
    return word + bit


def read_currents(text: str, cols: int) -> Tensor:
    """Currents of the columns from what ngspice printed.

    Args:
        text: standard output of ``ngspice -b``.
        cols: number of columns.

    Returns:
        Amperes, float64 [cols].

    Raises:
        DataError: a column is missing, so ngspice found no operating point.

    >>> read_currents("@rout0[i] = 9.990009990010e-05", 1)
    tensor([9.9900e-05], dtype=torch.float64)
    """
    cols = whole("cols", cols, least=1, most=1_000_000)
    instance("text", text, str, "give what ngspice printed")
    found = dict(re.findall(r"(?im)^@rout(\d+)\[i\]\s*=\s*(\S+)", text))
    missing = [j for j in range(cols) if str(j) not in found]
    if missing:
        raise DataError(
            f"no current for column {missing[0]} in what ngspice printed: {text.strip()[-200:]!r}"
        )
    try:
        return torch.tensor([float(found[str(j)]) for j in range(cols)], dtype=torch.float64)
    except ValueError as error:
        raise DataError(f"ngspice printed a current that is no number: {error}") from None
