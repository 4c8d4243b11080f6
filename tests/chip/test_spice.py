"""Netlists: ngspice finds the same currents, for every law and every side."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from clnf.chip import (
    AbstractCellLaw,
    Access,
    Milo,
    Ohmic,
    Polynomial,
    Sinh,
    Wires,
    line_currents,
    netlist,
    nonlinear_currents,
    read_currents,
    through_transistors,
)
from clnf.core.errors import DataError, DeviceLimitError, ShapeError

NGSPICE = shutil.which("ngspice")
needs_ngspice = pytest.mark.skipif(
    NGSPICE is None, reason="ngspice is not installed; apt-get install ngspice compares with it"
)
SIDES = [(row, column) for row in ("left", "right") for column in ("bottom", "top")]
LAWS = [
    Polynomial(second_per_v=0.3, third_per_v2=0.8, most_v=2.0),
    Polynomial(second_per_v=-0.2, third_per_v2=0.1, most_v=1.0),
    Milo(),
    Sinh(scale_v=0.15),
    Access(on_ohm=3e3),
    Access(selector_s=1e-6, selector_v=0.05),
    Access(cell=Sinh(scale_v=0.2), on_ohm=2e3, selector_s=2e-5, selector_v=0.04),
    Access(cell=Milo(), on_ohm=1e3, selector_s=1e-4, selector_v=0.1),
]


def crossbar(rows: int = 8, cols: int = 8) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(rows * 1000 + cols)
    cells = (62.5 + 47.5 * torch.rand(rows, cols, generator=rng, dtype=torch.float64)) * 1e-6
    return cells, torch.rand(rows, generator=rng, dtype=torch.float64) * 0.9 - 0.45


def wires(rows_from: Any = "left", columns_to: Any = "bottom") -> Wires:
    return Wires(word_ohm=2.0, bit_ohm=3.5, source_ohm=50.0, sink_ohm=20.0,
                 rows_from=rows_from, columns_to=columns_to)  # fmt: skip


def ngspice(text: str, cols: int, folder: Path) -> Tensor:
    file = folder / "crossbar.cir"
    file.write_text(text, encoding="utf-8")
    assert NGSPICE is not None
    done = subprocess.run([NGSPICE, "-b", file.name], cwd=folder, capture_output=True, text=True)
    return read_currents(done.stdout, cols)


def off(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max() / b.abs().max())


@needs_ngspice
@pytest.mark.parametrize("sides", SIDES)
@pytest.mark.parametrize("size", [(8, 8), (5, 9)])
def test_ngspice_finds_the_same_currents(
    tmp_path: Path, size: tuple[int, int], sides: tuple[str, str]
) -> None:
    cells, volts = crossbar(*size)
    cells[1, 2] = 0.0
    found = ngspice(netlist(cells, volts, wires(*sides)), size[1], tmp_path)
    assert off(line_currents(cells, volts, wires(*sides)), found) < 1e-10
    assert off(line_currents(cells, volts, wires("left", "top")), found) > 1e-6 or sides == (
        "left", "top")  # fmt: skip


@needs_ngspice
@pytest.mark.parametrize("law", LAWS, ids=str)
def test_ngspice_finds_the_same_currents_of_nonlinear_cells(
    tmp_path: Path, law: AbstractCellLaw
) -> None:
    cells, volts = crossbar()
    found = ngspice(netlist(cells, volts, wires(), law), 8, tmp_path)
    assert off(nonlinear_currents(cells, volts, wires(), law), found) < 1e-9
    assert off(line_currents(cells, volts, wires()), found) > 1e-3


@needs_ngspice
@pytest.mark.parametrize("law", [Ohmic(), Access(selector_s=1e-6, selector_v=0.05)], ids=str)
def test_rows_that_float_are_left_open(tmp_path: Path, law: AbstractCellLaw) -> None:
    cells, _ = crossbar()
    volts, floating = torch.zeros(8).double(), torch.ones(8, dtype=torch.bool)
    volts[2], floating[2] = 0.4, False
    found = ngspice(netlist(cells, volts, wires(), law, floating), 8, tmp_path)
    assert off(nonlinear_currents(cells, volts, wires(), law, floating), found) < 1e-9
    assert off(nonlinear_currents(cells, volts, wires(), law), found) > 1e-6  # grounded rows


def test_elements_are_named_by_row_and_column() -> None:
    cells, volts = crossbar(2, 3)
    lines = netlist(cells, volts, wires("right", "top")).splitlines()
    assert lines[0].startswith("*")
    assert "2 rows fed from the right, 3 columns" in lines[0]
    names = [line.split()[0] for line in lines]
    assert len(set(names)) == len(names) - names.count("print") + 1
    assert f"Rcell1_2 w1_2 b1_2 {1 / float(cells[1, 2]):.17g}" in lines
    assert {"Rin1 d1 w1_2 52", "Rout0 b0_0 0 23.5", "Rword1_0 w1_0 w1_1 2"} <= set(lines)
    assert sum(name.startswith("Rbit") for name in names) == 3
    behind = netlist(cells, volts, 1.0, Access(on_ohm=1e3)).splitlines()
    assert "Ron_cell1_2 w1_2 t_cell1_2 1000" in behind
    straight = netlist(through_transistors(cells, 1e3), volts, 1.0)
    assert len(straight.splitlines()) == len(behind) - 6


def test_what_ngspice_did_not_find_is_an_error() -> None:
    assert read_currents("@rout1[i] = -2.5e-06\n@rout0[i] = 1e-06\n", 2).tolist() == [1e-6, -2.5e-6]
    with pytest.raises(DataError, match="no current for column 1 .*iteration limit"):
        read_currents("@rout0[i] = 1e-06\nError: iteration limit reached", 2)


def test_what_no_netlist_can_say_is_refused() -> None:
    cells, volts = crossbar()
    with pytest.raises(DeviceLimitError, match="wire_ohm > 0"):
        netlist(cells, volts, 0.0)
    with pytest.raises(ShapeError, match="one vector of 8 voltages"):
        netlist(cells, volts[None], 1.0)
    with pytest.raises(ShapeError, match=r"bool \[8\]"):
        netlist(cells, volts, 1.0, floating=torch.zeros(8))
    with pytest.raises(DeviceLimitError, match=r"62\.5 to 110 uS"):
        netlist(cells / 10, volts, 1.0, Milo())
