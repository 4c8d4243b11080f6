"""Exact wires: against a sparse direct solve, ngspice, and the laws of circuits."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.linalg import splu
from torch import Tensor

from clnf.chip import Wires, effective_conductance, line_currents, node_voltages
from clnf.chip.crossbar import wires as wires_module
from clnf.core.errors import ClnfError, ConfigError, DeviceLimitError, ShapeError

SIDES = [(row, column) for row in ("left", "right") for column in ("bottom", "top")]


def crossbar(rows: int, cols: int, largest_s: float = 1e-4) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(rows * 1000 + cols)
    cells = (0.01 + 0.99 * torch.rand(rows, cols, generator=rng, dtype=torch.float64)) * largest_s
    return cells, torch.randn(rows, generator=rng, dtype=torch.float64)


def uneven(rows_from: Any = "left", columns_to: Any = "bottom") -> Wires:
    return Wires(
        word_ohm=2.0,
        bit_ohm=3.5,
        source_ohm=50.0,
        sink_ohm=20.0,
        rows_from=rows_from,
        columns_to=columns_to,
    )


def branches(cells: Tensor, wires: Wires) -> tuple[Any, Any, Any]:
    """Every resistor as node, node, conductance; node -1 is ground, -2 - i the driver of row i."""
    rows, cols = cells.shape
    word = np.arange(rows * cols).reshape(rows, cols)
    bit = word + rows * cols
    first = 0 if wires.rows_from == "left" else cols - 1
    last = rows - 1 if wires.columns_to == "bottom" else 0
    g_word, g_feed, g_bit, g_ground = wires.conductances
    found = [
        (word, bit, cells.numpy()),
        (word[:, :-1], word[:, 1:], g_word),
        (bit[:-1], bit[1:], g_bit),
        (word[:, first], -2 - np.arange(rows), g_feed),
        (bit[last], np.full(cols, -1), g_ground),
    ]
    found = [(a, b, np.broadcast_to(g, a.shape)) for a, b, g in found]
    a, b, g = (
        np.concatenate([part.ravel() for part in parts]) for parts in zip(*found, strict=True)
    )
    return a, b, g


def direct(cells: Tensor, volts: Tensor, wires: Wires) -> tuple[Tensor, Tensor]:
    """Node voltages [2, rows, cols] and column currents by a sparse direct solve."""
    rows, cols = cells.shape
    count = 2 * rows * cols
    a, b, g = branches(cells, wires)
    inner, driven = b >= 0, b < -1
    i = np.concatenate([a, b[inner], a[inner], b[inner]])
    j = np.concatenate([a, b[inner], b[inner], a[inner]])
    value = np.concatenate([g, g[inner], -g[inner], -g[inner]])
    right = np.zeros(count)
    np.add.at(right, a[driven], g[driven] * volts.numpy()[-2 - b[driven]])
    matrix = coo_matrix((value, (i, j)), (count, count)).tocsc()
    nodes = torch.from_numpy(splu(matrix).solve(right).reshape(2, rows, cols))
    end = nodes[1, -1 if wires.columns_to == "bottom" else 0]
    return nodes, end * wires.conductances[3]


def off(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max() / b.abs().max())


@pytest.mark.parametrize("sides", SIDES)
@pytest.mark.parametrize(
    "size", [(1, 1), (1, 7), (7, 1), (5, 3), (3, 5), (16, 8), (64, 64), (48, 128)]
)
def test_currents_equal_a_direct_solve(size: tuple[int, int], sides: tuple[str, str]) -> None:
    cells, volts = crossbar(*size)
    wires = uneven(*sides)
    _, exact = direct(cells, volts, wires)
    assert off(line_currents(cells, volts, wires), exact) < 1e-11
    assert off(volts @ effective_conductance(cells, wires), exact) < 1e-11
    # The same wires fed from another side give other currents, where there is another side.
    if min(size) > 1:
        other = uneven("right" if sides[0] == "left" else "left", sides[1])
        assert off(line_currents(cells, volts, other), exact) > 1e-6


@pytest.mark.parametrize("size", [(128, 128), (256, 256), (256, 64), (100, 300)])
def test_large_crossbars_equal_a_direct_solve(size: tuple[int, int]) -> None:
    cells, volts = crossbar(*size)
    _, exact = direct(cells, volts, Wires(word_ohm=2.0, bit_ohm=2.0))
    assert off(line_currents(cells, volts, 2.0), exact) < 1e-9
    assert off(volts @ effective_conductance(cells, 2.0), exact) < 1e-9
    assert off(line_currents(cells, volts, 2.001), exact) > 1e-6


@pytest.mark.parametrize("ohm", [1e-9, 1e-3, 1.0, 30.0, 1e3, 1e6])
def test_resistances_of_any_allowed_size_keep_their_digits(ohm: float) -> None:
    cells, volts = crossbar(40, 30, largest_s=1e-3)
    iterated = line_currents(cells, volts, ohm)
    assert off(volts @ effective_conductance(cells, ohm), iterated) < 1e-11
    assert off(iterated, direct(cells, volts, Wires(word_ohm=ohm, bit_ohm=ohm))[1]) < 1e-9
    ideal = volts @ cells
    assert off(line_currents(cells, volts, 0.0), ideal) < 1e-15
    lost = off(iterated, ideal)
    assert 0.0 < lost < 1e-7 if ohm < 1e-6 else lost > 1e-5


def test_one_cell_is_ohms_law() -> None:
    current = line_currents(torch.tensor([[1e-3]]), torch.tensor([2.0]), 10.0)
    assert current.dtype == torch.float32
    assert float(current) == pytest.approx(2.0 / (1000.0 + 20.0), rel=1e-6)


def test_currents_add_up_and_batches_do_not_meet() -> None:
    cells, _ = crossbar(33, 17)
    volts = torch.randn(5, 33, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    both = line_currents(cells, volts, uneven())
    assert off(line_currents(cells, volts.sum(0), uneven()), both.sum(0)) < 1e-11
    assert torch.equal(line_currents(cells, volts[3], uneven()), both[3])


def test_threads_change_no_bit() -> None:
    cells, _ = crossbar(70, 51)
    volts = torch.randn(5, 70, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    before, found = torch.get_num_threads(), []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        held = cells.clone().requires_grad_()
        currents = line_currents(held, volts, uneven())
        currents.square().sum().backward()
        assert held.grad is not None
        found.append((currents.detach(), held.grad))
    torch.set_num_threads(before)
    assert all(torch.equal(a, b) for one in found for a, b in zip(one, found[0], strict=True))
    assert not torch.equal(line_currents(cells * (1 + 1e-12), volts, uneven()), found[0][0])


@pytest.mark.parametrize("size", [(31, 45), (1, 1), (17, 9), (160, 96)])
@pytest.mark.parametrize("sides", SIDES)
def test_every_node_keeps_kirchhoffs_laws(sides: tuple[str, str], size: tuple[int, int]) -> None:
    cells, volts = crossbar(*size)
    wires = uneven(*sides)
    word, bit = node_voltages(cells, volts, wires)
    a, b, g = branches(cells, wires)
    # Behind the nodes stand the drivers, the last row's first, and ground.
    known = np.concatenate([word.flatten(), bit.flatten(), volts.flip(0), [0.0]])
    current = g * (known[a] - known[b])
    into = np.bincount(b % len(known), current, len(known)) - np.bincount(a, current, len(known))
    nodes, drivers = into[: 2 * word.numel()], into[2 * word.numel() : -1]
    largest = np.abs(current).max()
    assert np.abs(nodes).max() < 1e-10 * largest
    # All power that the drivers give is spent in resistors.
    given = -(drivers * volts.flip(0).numpy()).sum()
    assert given == pytest.approx((current * (known[a] - known[b])).sum(), rel=1e-10)
    assert off(torch.stack([word, bit]), direct(cells, volts, wires)[0]) < 1e-10
    # Without the resistance of the drivers the same voltages break the law.
    other = Wires(word_ohm=2.0, bit_ohm=3.5, sink_ohm=20.0, rows_from=wires.rows_from,
                  columns_to=wires.columns_to)  # fmt: skip
    wrong = branches(cells, other)[2] * (known[a] - known[b])
    into = np.bincount(b % len(known), wrong, len(known)) - np.bincount(a, wrong, len(known))
    assert np.abs(into[: 2 * word.numel()]).max() > 1e-3 * largest


@pytest.mark.parametrize("sides", SIDES)
def test_gradients_equal_finite_differences(sides: tuple[str, str]) -> None:
    cells, _ = crossbar(5, 4)
    volts = torch.randn(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    wires = uneven(*sides)
    inputs = (cells * 1e4).requires_grad_(), volts.requires_grad_()

    def scaled(ten_kilo: Tensor, v: Tensor) -> Tensor:
        return line_currents(ten_kilo * 1e-3, v, wires) * 1e3

    assert torch.autograd.gradcheck(scaled, inputs)


@pytest.mark.parametrize("size", [(33, 18), (64, 100)])
def test_large_gradients_equal_finite_differences(size: tuple[int, int]) -> None:
    cells, volts = crossbar(*size)
    rng = torch.Generator().manual_seed(4)
    way_cells = torch.randn(cells.shape, generator=rng, dtype=torch.float64) * cells
    way_volts = torch.randn(volts.shape, generator=rng, dtype=torch.float64)
    weight = torch.randn(size[1], generator=rng, dtype=torch.float64)

    def loss(t: float) -> Tensor:
        return line_currents(cells + t * way_cells, volts + t * way_volts, uneven()) @ weight

    t = torch.zeros((), dtype=torch.float64, requires_grad=True)
    loss(t).backward()  # type: ignore[arg-type]
    step = 1e-4
    differences = float(loss(step) - loss(-step)) / (2 * step)
    assert t.grad is not None
    assert float(t.grad) == pytest.approx(differences, rel=1e-6)
    assert float(t.grad) != pytest.approx(1.001 * differences, rel=1e-6)


def test_the_matrix_has_gradients_too() -> None:
    cells, _ = crossbar(4, 3)

    def scaled(ten_kilo: Tensor) -> Tensor:
        return effective_conductance(ten_kilo * 1e-3, uneven()) * 1e3

    assert torch.autograd.gradcheck(scaled, ((cells * 1e4).requires_grad_(),))


def test_arrays_and_empty_batches_are_taken() -> None:
    cells, volts = crossbar(3, 2)
    assert torch.equal(
        line_currents(cells.numpy(), volts.numpy(), 1.0), line_currents(cells, volts, 1.0)
    )
    word, _ = node_voltages(cells.numpy(), volts.numpy(), 1.0)
    assert word.shape == (3, 2)
    for ohm in (0.0, 1.0):
        assert line_currents(cells, torch.ones(0, 3), ohm).shape == (0, 2)


def test_on_another_device_elimination_takes_over(far: torch.device) -> None:
    cells, volts = crossbar(6, 4)
    there = line_currents(cells.to(far), volts.to(far), uneven())
    assert there.device == far
    assert off(there.cpu(), line_currents(cells, volts, uneven())) < 1e-12
    there, _ = node_voltages(cells.to(far), volts.to(far), uneven())
    assert torch.equal(there, node_voltages(cells, volts, uneven())[0])


def test_a_solution_that_is_not_reached_is_no_solution(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wires_module, "GOAL", (1e-13, 1))
    cells, volts = crossbar(40, 40, largest_s=1e-3)
    with pytest.raises(DeviceLimitError, match="no solution after 1 steps"):
        line_currents(cells, volts, 30.0)


LARGE = """
import torch
from pathlib import Path
from clnf.chip import line_currents, node_voltages
cells = 1e-6 + 99e-6 * torch.rand(1024, 1024, dtype=torch.float64)
volts = torch.rand(1024, dtype=torch.float64)
word, bit = node_voltages(cells, volts, 2.0)
given = (volts * (volts - word[:, 0])).sum() / 2
spent = (cells * (word - bit) ** 2).sum() + (word.diff(dim=1) ** 2).sum() / 2
spent += ((volts - word[:, 0]) ** 2).sum() / 2
spent += (bit.diff(dim=0) ** 2).sum() / 2 + (bit[-1] ** 2).sum() / 2
assert abs(float(spent / given) - 1) < 1e-10, float(spent / given)
through = line_currents(cells, volts, 2.0)
assert float((bit[-1] / 2 - through).abs().max() / through.max()) < 1e-11
lines = Path("/proc/self/status").read_text().splitlines()
print(next(line.split()[1] for line in lines if line.startswith("VmHWM")))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc to read memory from")
def test_a_thousand_lines_balance_their_power_in_less_than_a_gigabyte() -> None:
    done = subprocess.run([sys.executable, "-c", LARGE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert 1e5 < int(done.stdout) < 1e6  # in kB; torch alone takes more than the lower bound


def test_reciprocity_exchanges_drivers_and_grounds() -> None:
    cells, _ = crossbar(6, 9)
    turned = Wires(word_ohm=3.5, bit_ohm=2.0, source_ohm=20.0, sink_ohm=50.0,
                   rows_from="right", columns_to="top")  # fmt: skip
    assert (
        off(effective_conductance(cells.T, turned).T, effective_conductance(cells, uneven()))
        < 1e-12
    )


@pytest.mark.parametrize(
    ("kind", "make"),
    [
        (ShapeError, lambda: line_currents(torch.ones(3), torch.ones(3), 1.0)),
        (ShapeError, lambda: line_currents(torch.ones(3, 2), torch.ones(2), 1.0)),
        (
            ShapeError,
            lambda: line_currents(torch.ones(3, 2, dtype=torch.int64), torch.ones(3), 1.0),
        ),
        (ShapeError, lambda: effective_conductance(torch.ones(0, 2), 1.0)),
        (ShapeError, lambda: node_voltages(torch.ones(3, 2), torch.ones(2, 3), 1.0)),
        (DeviceLimitError, lambda: line_currents(-torch.ones(3, 2), torch.ones(3), 1.0)),
        (
            DeviceLimitError,
            lambda: line_currents(torch.full((1, 1), torch.nan), torch.ones(1), 1.0),
        ),
        (DeviceLimitError, lambda: line_currents(torch.ones(3, 2), torch.ones(3), -1.0)),
        (DeviceLimitError, lambda: line_currents(torch.ones(3, 2), torch.ones(3), float("nan"))),
        (DeviceLimitError, lambda: line_currents(torch.ones(3, 2), torch.ones(3), 1e5)),
        (DeviceLimitError, lambda: effective_conductance(torch.ones(3, 2), 1e5)),
        (DeviceLimitError, lambda: line_currents(torch.ones(3, 2), torch.ones(3), None)),
        (
            DeviceLimitError,
            lambda: line_currents(torch.ones(3, 2), torch.full((3,), torch.nan), 1.0),
        ),
        (ShapeError, lambda: line_currents(torch.ones(1, 2), torch.tensor([1j]), 1.0)),
        (DeviceLimitError, lambda: node_voltages(torch.ones(3, 2), torch.ones(3), 0.0)),
        (DeviceLimitError, lambda: Wires(word_ohm=1.0, bit_ohm=1.0, source_ohm=-1.0)),
        (ConfigError, lambda: uneven("top")),
    ],
)
def test_what_is_no_crossbar_is_refused(kind: type[ClnfError], make: Any) -> None:
    with pytest.raises(kind):
        make()


@pytest.mark.parametrize("shape", [(7, 20), (20, 7)])
def test_several_crossbars_at_once_are_each_by_itself(shape: tuple[int, int]) -> None:
    cells = torch.stack([crossbar(*shape)[0] * (k + 1) for k in range(3)])
    for wires in (2.0, uneven("right", "top"), 0.0):
        whole = effective_conductance(cells, wires)
        for mine, one in zip(whole, cells, strict=True):
            assert off(mine, effective_conductance(one, wires)) < 1e-13
    with pytest.raises(DeviceLimitError, match="finite and at least 0"):
        effective_conductance(-cells, 2.0)
