"""Nonlinear cells: Newton's method, the adjoint at its solution, access devices, floating rows."""

import math
from itertools import pairwise
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
    nonlinear_currents,
    nonlinear_voltages,
    through_transistors,
)
from clnf.chip.crossbar import nonlinear
from clnf.core.errors import ClnfError, DeviceLimitError, ShapeError

LAWS = [
    Polynomial(second_per_v=0.3, third_per_v2=0.8, most_v=2.0),
    Milo(),
    Sinh(scale_v=0.15),
    Access(on_ohm=3e3),
    Access(selector_s=1e-6, selector_v=0.05),
    Access(cell=Sinh(scale_v=0.2), on_ohm=2e3, selector_s=2e-5, selector_v=0.04),
    Access(cell=Milo(), selector_s=1e-4, selector_v=0.1),
]


def crossbar(rows: int, cols: int) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(rows * 1000 + cols)
    cells = (62.5 + 47.5 * torch.rand(rows, cols, generator=rng, dtype=torch.float64)) * 1e-6
    return cells, torch.rand(rows, generator=rng, dtype=torch.float64) * 0.9 - 0.45


def wires(rows_from: Any = "left", columns_to: Any = "bottom") -> Wires:
    return Wires(word_ohm=2.0, bit_ohm=3.5, source_ohm=50.0, sink_ohm=20.0,
                 rows_from=rows_from, columns_to=columns_to)  # fmt: skip


def off(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max() / b.abs().max())


def residual(
    cells: Tensor, volts: Tensor, law: AbstractCellLaw, floating: Tensor | None = None
) -> float:
    """Largest sum of currents at a node, fed left and read at the bottom, over the largest cell."""
    feed = torch.ones(len(cells)).double() / 52
    if floating is not None:
        feed[floating] = 0.0
    found = nonlinear_voltages(cells, volts, wires(), law, floating)
    u, v = found.word_v, found.bit_v
    through = law.current(cells, u - v)
    zero_row, zero_col = torch.zeros(1, cells.shape[1]).double(), torch.zeros(len(cells), 1)
    along = torch.cat(
        [(feed * (volts - u[:, 0]))[:, None], (u[:, :-1] - u[:, 1:]) / 2, zero_col], 1
    )
    down = torch.cat([zero_row, (v[:-1] - v[1:]) / 3.5, v[-1:] / 23.5])
    left_u = along[:, :-1] - along[:, 1:] - through
    left_v = through + down[:-1] - down[1:]
    return float(torch.cat([left_u, left_v]).abs().max() / through.abs().max())


@pytest.mark.parametrize("law", LAWS, ids=str)
@pytest.mark.parametrize("size", [(1, 1), (8, 8), (33, 20), (20, 70)])
def test_every_node_keeps_kirchhoffs_law(size: tuple[int, int], law: AbstractCellLaw) -> None:
    cells, volts = crossbar(*size)
    assert residual(cells, volts, law) < 1e-9


def test_floating_rows_carry_no_current_in_all() -> None:
    cells, volts = crossbar(12, 9)
    floating = torch.arange(12) % 3 == 0
    for law in (Ohmic(), Sinh(scale_v=0.15), Access(selector_s=1e-6, selector_v=0.05)):
        assert residual(cells, volts, law, floating) < 1e-9
    # A row that floats is not a row at 0 V, and the drive of one that floats is not read.
    grounded = torch.where(floating, 0.0, volts)
    apart = nonlinear_currents(cells, volts, wires(), Ohmic(), floating)
    assert off(nonlinear_currents(cells, grounded, wires(), Ohmic()), apart) > 1e-6
    assert torch.equal(nonlinear_currents(cells, grounded, wires(), Ohmic(), floating), apart)


def test_a_selector_keeps_half_selected_cells_quiet() -> None:
    """One row read, the others left open: sneak currents pass three cells, and three selectors."""
    cells, _ = crossbar(16, 16)
    cells[5] *= 0.01  # the row that is read is dark
    volts, floating = torch.zeros(16).double(), torch.ones(16, dtype=torch.bool)
    volts[5], floating[5] = 0.4, False
    selector = Access(selector_s=1e-6, selector_v=0.03)

    def share_of_others(law: AbstractCellLaw) -> float:
        rest = nonlinear_voltages(cells, volts, 5.0, law, floating)
        through = law.current(cells, rest.word_v - rest.bit_v)
        return float(through[floating].abs().max() / through[5].abs().min())

    assert share_of_others(selector) < 0.5 * share_of_others(Ohmic())


@pytest.mark.parametrize("rows_from", ["left", "right"])
@pytest.mark.parametrize("columns_to", ["bottom", "top"])
def test_without_a_nonlinear_part_it_is_the_linear_solver(rows_from: str, columns_to: str) -> None:
    cells, volts = crossbar(13, 21)
    around = wires(rows_from, columns_to)
    linear = line_currents(cells, volts, around)
    flat = Polynomial(most_v=1.0)
    assert off(nonlinear_currents(cells, volts, around, flat), linear) < 1e-12
    assert off(nonlinear_currents(cells, volts, around, Ohmic()), linear) < 1e-12
    bent = Polynomial(third_per_v2=1e-3, most_v=1.0)
    assert off(nonlinear_currents(cells, volts, around, bent), linear) > 1e-7
    behind = line_currents(through_transistors(cells, 5e3), volts, around)
    assert off(nonlinear_currents(cells, volts, around, Access(on_ohm=5e3)), behind) < 1e-12


def test_steps_shrink_with_their_square(monkeypatch: pytest.MonkeyPatch) -> None:
    cells, volts = crossbar(24, 24)
    law = Sinh(scale_v=0.1)
    changes = nonlinear_voltages(cells, volts, wires(), law).changes_v
    near = [c for c in changes if c < 0.05]

    def quick(steps: list[float]) -> list[bool]:
        # In units of the scale; the last may have reached rounding.
        return [b / 0.1 < 2 * (a / 0.1) ** 2 + 1e-13 for a, b in pairwise(steps)]

    assert len(near) >= 3
    assert all(quick(near))
    assert near[-1] < 1e-9
    # With slopes that do not follow the voltage, steps shrink by a factor each.
    monkeypatch.setattr(Sinh, "slope", lambda self, g, v: 3.0 * g * torch.ones_like(v))
    chords = nonlinear_voltages(cells, volts, wires(), law).changes_v
    assert len(chords) > 2 * len(changes)
    assert not all(quick([c for c in chords if c < 0.01]))


@pytest.mark.parametrize("law", [Sinh(scale_v=0.05), Polynomial(third_per_v2=50.0, most_v=2.0)])
def test_steep_laws_far_from_ohms_are_solved(law: AbstractCellLaw) -> None:
    cells, _ = crossbar(10, 10)
    volts = torch.linspace(-0.5, 0.5, 10).double()
    assert residual(cells, volts, law) < 1e-8
    assert len(nonlinear_voltages(cells, volts, wires(), law).changes_v) < 40


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_gradients_equal_finite_differences(law: AbstractCellLaw) -> None:
    cells, _ = crossbar(4, 3)
    cells = cells * 0.9 + 8e-6  # clear of the ends of Milo's range
    rng = torch.Generator().manual_seed(2)
    volts = torch.rand(2, 4, dtype=torch.float64, generator=rng) * 0.6 - 0.3

    def scaled(ten_kilo: Tensor, v: Tensor) -> Tensor:
        return nonlinear_currents(ten_kilo * 1e-4, v, wires("right"), law) * 1e4

    inputs = (cells * 1e4).requires_grad_(), volts.requires_grad_()
    assert torch.autograd.gradcheck(scaled, inputs, eps=1e-5, atol=1e-6, rtol=1e-5)


def test_gradients_of_floating_rows_and_bare_cells() -> None:
    cells, volts = crossbar(4, 3)
    floating = torch.tensor([False, True, False, False])
    law = Sinh(scale_v=0.15)

    def some(ten_kilo: Tensor, v: Tensor) -> Tensor:
        return nonlinear_currents(ten_kilo * 1e-4, v, wires(), law, floating) * 1e4

    def bare(ten_kilo: Tensor, v: Tensor) -> Tensor:
        return nonlinear_currents(ten_kilo * 1e-4, v, 0.0, law) * 1e4

    inputs = (cells * 1e4).requires_grad_(), volts.requires_grad_()
    assert torch.autograd.gradcheck(some, inputs, eps=1e-5, atol=1e-6, rtol=1e-5)
    assert torch.autograd.gradcheck(bare, inputs, eps=1e-5, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_slopes_are_derivatives_and_laws_but_one_are_odd(law: AbstractCellLaw) -> None:
    cells, _ = crossbar(3, 3)
    volt = torch.linspace(-0.45, 0.45, 9).double().reshape(3, 3).requires_grad_()
    current = law.current(cells, volt)
    (slope,) = torch.autograd.grad(current.sum(), volt)
    assert off(law.slope(cells, volt.detach()), slope) < 1e-11
    even = off(law.current(cells, -volt.detach()), -current.detach())
    assert even > 1e-2 if "Milo" in str(law) else even < 1e-12


def test_measured_cells_conduct_as_measured() -> None:
    """The fit's polynomials by hand, at 100 uS: log10(G) = -4."""
    cell = torch.tensor(1e-4, dtype=torch.float64)
    second = -64 * 0.0001388 + 16 * 0.001541 - 4 * 0.005711 + 0.007063
    third = 16 * 8.871e-5 - 4 * 6.7919e-4 + 1.2968e-3
    for volt in (-0.5, -0.1, 0.3, 0.5):
        by_hand = 1e-4 * volt + second * volt**2 + third * volt**3
        found = float(Milo().current(cell, torch.tensor(volt, dtype=torch.float64)))
        assert found == pytest.approx(by_hand, rel=1e-9)


def test_an_access_device_takes_its_share() -> None:
    cell = torch.tensor(1e-4, dtype=torch.float64)
    law = Access(on_ohm=2e3, selector_s=1e-5, selector_v=0.05)
    for volt in (1e-6, 0.1, 1.0, 5.0):
        amps = float(law.current(cell, torch.tensor(volt, dtype=torch.float64)))
        drop = amps * (1e4 + 2e3) + 0.05 * math.asinh(amps / (1e-5 * 0.05))
        assert drop == pytest.approx(volt, rel=1e-12)
    assert float(Access().current(cell, torch.tensor(0.3).double())) == pytest.approx(3e-5)
    assert float(through_transistors(cell, 1e4)) == pytest.approx(5e-5)


def test_threads_change_no_bit() -> None:
    cells, volts = crossbar(190, 180)  # torch divides work above 32,768 numbers
    before, found = torch.get_num_threads(), []
    law = Access(cell=Sinh(scale_v=0.1), selector_s=1e-4, selector_v=0.05)
    for threads in (1, 3):
        torch.set_num_threads(threads)
        held = cells.clone().requires_grad_()
        current = nonlinear_currents(held, volts, wires(), law)
        current.square().sum().backward()
        assert held.grad is not None
        found.append((current.detach(), held.grad))
    torch.set_num_threads(before)
    assert all(torch.equal(a, b) for one in found for a, b in zip(one, found[0], strict=True))


def test_batches_types_and_empty_batches() -> None:
    cells, volts = crossbar(6, 5)
    law = Sinh(scale_v=0.15)
    both = nonlinear_currents(cells, torch.stack([volts, -volts]), wires(), law)
    one = nonlinear_currents(cells, volts, wires(), law)
    assert torch.equal(both[0], one)
    assert off(both[1], -one) < 1e-10
    assert nonlinear_currents(cells.float(), volts.float(), 1.0, law).dtype == torch.float32
    for ohm in (0.0, 1.0):
        assert nonlinear_currents(cells, torch.zeros(0, 6), ohm, law).shape == (0, 5)
    assert not nonlinear_currents(cells, torch.zeros(6), 1.0, law).any()


def test_on_another_device_the_answer_comes_back_there(far: torch.device) -> None:
    cells, volts = crossbar(6, 5)
    there = nonlinear_currents(cells.to(far), volts.to(far), 1.0, Sinh(scale_v=0.15))
    assert there.device == far
    assert torch.equal(there.cpu(), nonlinear_currents(cells, volts, 1.0, Sinh(scale_v=0.15)))


def test_a_solution_that_is_not_reached_is_no_solution(monkeypatch: pytest.MonkeyPatch) -> None:
    cells, volts = crossbar(6, 5)
    monkeypatch.setattr(nonlinear, "_MOST_STEPS", 2)
    with pytest.raises(DeviceLimitError, match="no solution after 2 steps of Newton's method"):
        nonlinear_currents(cells, volts, 1.0, Sinh(scale_v=0.05))


ONE, UP = torch.full((1, 1), 1e-4, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
OPEN = torch.ones(1, dtype=torch.bool)


@pytest.mark.parametrize(
    ("kind", "make"),
    [
        (DeviceLimitError, lambda: nonlinear_currents(ONE, UP, 1.0, Milo())),  # 1 V > 0.5 V
        (DeviceLimitError, lambda: nonlinear_currents(ONE, UP, 0.0, Milo())),
        (DeviceLimitError, lambda: nonlinear_currents(ONE / 2, UP / 4, 1.0, Milo())),
        (DeviceLimitError, lambda: nonlinear_currents(ONE / 2, UP / 4, 1.0, Access(cell=Milo()))),
        (DeviceLimitError, lambda: nonlinear_currents(ONE, UP, 1e-3, Sinh(scale_v=0.05))),
        (DeviceLimitError, lambda: nonlinear_currents(ONE * 0, UP, 1.0, Ohmic(), OPEN)),
        (DeviceLimitError, lambda: nonlinear_currents(ONE, UP, 0.0, Ohmic(), OPEN)),
        (DeviceLimitError, lambda: nonlinear_currents(ONE, UP, 1e6, Sinh(scale_v=1e-5))),
        (DeviceLimitError, lambda: nonlinear_voltages(ONE, UP, 0.0, Ohmic())),
        (ShapeError, lambda: nonlinear_voltages(ONE, UP[None], 1.0, Ohmic())),
        (ShapeError, lambda: nonlinear_currents(ONE, UP, 1.0, Ohmic(), OPEN[None])),
        (DeviceLimitError, lambda: Polynomial(second_per_v=-1.0, most_v=1.0)),
        (DeviceLimitError, lambda: Polynomial(second_per_v=-1.0, third_per_v2=0.3, most_v=3.0)),
        (DeviceLimitError, lambda: Polynomial(most_v=0.0)),
        (DeviceLimitError, lambda: Sinh(scale_v=0.0)),
        (DeviceLimitError, lambda: Access(on_ohm=-1.0)),
        (DeviceLimitError, lambda: Access(selector_s=1e-6)),
        (DeviceLimitError, lambda: through_transistors(ONE, float("nan"))),
    ],
)
def test_what_cannot_be_solved_is_refused(kind: type[ClnfError], make: Any) -> None:
    with pytest.raises(kind):
        make()
