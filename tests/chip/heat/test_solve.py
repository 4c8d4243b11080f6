"""The solver against closed forms, a sparse direct solve, and the heat it lets out."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse.linalg import spsolve

from clnf.chip.heat import modes as modes_module
from clnf.chip.heat.modes import decay
from clnf.chip.heat.reference import conduction
from clnf.chip.heat.solve import Steady
from clnf.chip.heat.stack import (
    COPPER,
    SILICON,
    Layer,
    Solid,
    Stack,
    hotspot_stack,
    tile_stack,
)
from clnf.core.errors import ShapeError

Array = NDArray[np.float64]


def unlike(seed: int, rows: int = 12, columns: int = 8) -> Stack:
    """Layers of very unlike materials, heights and numbers of cells, on an oblong."""
    rng = np.random.default_rng(seed)
    layers = tuple(
        Layer(
            name=str(n),
            solid=Solid(
                name=str(n), conductivity_w_mk=10 ** rng.uniform(-1, 2.6),
                capacity_j_m3k=10 ** rng.uniform(6, 6.6), source="drawn",
            ),
            thickness_m=10 ** rng.uniform(-6.5, -3),
            cells=int(rng.integers(1, 4)),
        )
        for n in range(5)
    )  # fmt: skip
    return Stack(
        layers=layers, width_m=3e-3, depth_m=8e-3, columns=columns, rows=rows,
        bottom_w_m2k=10 ** rng.uniform(3, 5), ambient_k=300.0,
    )  # fmt: skip


def power(stack: Stack, seed: int = 0) -> Array:
    return np.random.default_rng(seed).random(stack.shape) * 1e-3


def off(a: Array, b: Array) -> float:
    return float(abs(a - b).max() / abs(b).max())


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("shape", [(12, 8), (11, 6), (1, 9), (2, 2)])
def test_equals_a_sparse_direct_solve(seed: int, shape: tuple[int, int]) -> None:
    stack = unlike(seed, *shape)
    watts = power(stack, seed)
    direct = spsolve(conduction(stack), watts.ravel()).reshape(stack.shape)
    assert off(Steady(stack).field(watts), direct) < 1e-9


@pytest.mark.parametrize(
    "fault",
    [
        lambda s: replace(s, width_m=s.depth_m, depth_m=s.width_m),
        lambda s: replace(s, bottom_w_m2k=s.bottom_w_m2k * 1.001),
        lambda s: replace(s, layers=s.layers[::-1]),
        lambda s: replace(
            s,
            layers=(
                replace(s.layers[0], solid=replace(s.layers[0].solid, conductivity_w_mk=9.0)),
                *s.layers[1:],
            ),
        ),
    ],
    ids=["turned", "cooled otherwise", "upside down", "another material"],
)
def test_the_sparse_solve_finds_a_planted_fault(fault: Callable[[Stack], Stack]) -> None:
    stack = unlike(1)
    watts = power(stack)
    direct = spsolve(conduction(stack), watts.ravel()).reshape(stack.shape)
    assert off(Steady(fault(stack)).field(watts), direct) > 1e-6


def test_uniform_power_is_a_row_of_resistances() -> None:
    stack = hotspot_stack()
    watts = np.zeros(stack.shape)
    watts[-1] = 40.0 / (64 * 64)
    rise = Steady(stack).field(watts)
    series = (
        sum(layer.thickness_m / layer.solid.conductivity_w_mk for layer in stack.layers)
        / stack.area_m2
    )
    half = 75e-6 / 2 / 130 / stack.area_m2
    assert rise[-1] == pytest.approx(40.0 * (series + 0.1 - half), rel=1e-12)
    assert rise[-1, 3, 5] == pytest.approx(8.0024038, abs=5e-8)
    assert np.ptp(rise[-1]) < 1e-11
    assert rise[-1, 0, 0] != pytest.approx(40.0 * (series + 0.1), rel=1e-6)


def slab(cells: int, mode: int = 3) -> tuple[float, float]:
    """Temperature of the surface under one cosine of flux: solved, and by the closed form."""
    thick, h, flux = 200e-6, 3e4, 1e6
    stack = Stack(
        layers=(Layer(name="slab", solid=SILICON, thickness_m=thick, cells=cells),),
        width_m=2e-3, depth_m=1e-3, columns=48, rows=5, bottom_w_m2k=h, ambient_k=300.0,
    )  # fmt: skip
    wave = np.cos(np.pi * mode * (np.arange(48) + 0.5) / 48)
    watts = np.zeros(stack.shape)
    watts[-1] = flux * wave * stack.area_m2 / (48 * 5)
    rise = Steady(stack).field(watts)[-1]
    k, dz = 130.0, thick / cells
    solved = float(rise[2] @ wave / (wave @ wave)) + flux * dz / (2 * k)
    # The exact mode of the lateral cells, so that what is left is the error along z.
    b = float(np.sqrt(decay(stack)[0, mode]))
    up, down = np.cosh(b * thick), np.sinh(b * thick)
    closed = flux / (k * b) * (k * b * up + h * down) / (k * b * down + h * up)
    assert abs(rise - rise[2] @ wave / (wave @ wave) * wave).max() < 1e-9 * abs(rise).max()
    return solved, float(closed)


def test_one_cosine_comes_down_to_the_closed_form_with_the_square_of_the_cells() -> None:
    errors = [abs(solved / closed - 1) for solved, closed in map(slab, (10, 20, 40))]
    assert errors[-1] < 8e-5
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.05)
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.05)
    solved, _ = slab(40)
    assert abs(solved / slab(40, mode=4)[1] - 1) > 0.1


def test_lateral_modes_are_those_of_the_continuum_for_long_waves() -> None:
    stack = tile_stack(2e-3, 3e-3, cells=(64, 48))
    exact = (np.pi * 2 / 3e-3) ** 2 + (np.pi / 2e-3) ** 2
    assert decay(stack)[2, 1] == pytest.approx(exact, rel=2e-3)


@pytest.mark.parametrize("seed", range(4))
def test_what_comes_in_goes_out(seed: int) -> None:
    stack = unlike(seed, 9, 16)
    watts, solver = power(stack, seed), Steady(stack)
    rise = solver.field(watts)
    assert solver.carried_w(rise) == pytest.approx(watts.sum(), rel=1e-9)
    rise[0, 2, 2] *= 1.001
    assert solver.carried_w(rise) != pytest.approx(watts.sum(), rel=1e-9)


def test_planes_are_parts_of_the_field_one_by_one_and_together() -> None:
    stack = unlike(3)
    many = np.stack([power(stack, n) for n in range(3)])
    sources, outputs = (1, 4), (0, 4, 5)
    only = np.zeros_like(many)
    only[:, sources] = many[:, sources]
    whole = Steady(stack).field(only)
    some = Steady(stack, sources=sources, outputs=outputs)
    assert off(some.planes(many[:, sources]), whole[:, outputs]) < 1e-12
    assert off(some.planes(many[1][list(sources)]), whole[1][list(outputs)]) < 1e-12
    lone = Steady(stack, sources=(4,), outputs=outputs)
    only[:, 1] = 0.0
    assert off(lone.planes(only[:, [4]]), Steady(stack).field(only)[:, outputs]) < 1e-12
    assert off(whole[1], Steady(stack).field(only[1])) > 1e-3


def test_the_fast_transform_gives_what_the_folded_one_gives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stack = unlike(2, 12, 10)
    watts, folded = power(stack), Steady(stack)
    monkeypatch.setattr(modes_module, "_FOLDED", 4)
    fast = Steady(stack)
    assert folded.modes.folded
    assert not fast.modes.folded
    assert off(fast.field(watts), folded.field(watts)) < 1e-12
    assert off(fast.modes.into(watts), folded.modes.into(watts)) > 1e-3  # another order of modes


def test_power_is_left_as_it_was() -> None:
    stack = unlike(0)
    watts = power(stack)
    before = watts.copy()
    Steady(stack).field(watts)
    Steady(stack, sources=(0,)).planes(watts[:1])
    assert np.array_equal(watts, before)


def test_hot_sinks_are_hot() -> None:
    """Twice the power, twice the rise; a copper die spreads better than a silicon one."""
    stack = hotspot_stack(rows=16, columns=16)
    watts = np.zeros(stack.shape)
    watts[-1, 3, 4] = 1.0
    once = Steady(stack).field(watts)
    assert off(Steady(stack).field(2 * watts), 2 * once) < 1e-12
    copper = replace(stack, layers=(*stack.layers[:-1], replace(stack.layers[-1], solid=COPPER)))
    assert Steady(copper).field(watts).max() < 0.9 * once.max()
    assert np.unravel_index(once.argmax(), once.shape) == (7, 3, 4)


def test_wrong_shapes_and_powers_are_refused() -> None:
    stack = unlike(0)
    solver = Steady(stack)
    with pytest.raises(ShapeError, match="power is"):
        solver.field(np.zeros((2, 3, 4)))
    with pytest.raises(ShapeError, match="power is"):
        solver.planes(np.zeros(stack.shape[1:]))
    bad = power(stack)
    bad[0, 0, 0] = np.nan
    with pytest.raises(ShapeError, match="finite"):
        solver.field(bad)
