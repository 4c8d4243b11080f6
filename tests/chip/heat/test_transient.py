"""Steps in time against closed forms, a dense exponential and the heat that is kept."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.linalg import expm

from clnf.chip.heat.modes import decay
from clnf.chip.heat.reference import conduction, storage
from clnf.chip.heat.solve import Steady
from clnf.chip.heat.stack import SILICON, Layer, Stack, tile_stack
from clnf.chip.heat.transient import Transient
from clnf.core.errors import ConfigError, DeviceLimitError, ShapeError

THICK, H = 100e-6, 2e4


def slab(rows: int = 3, columns: int = 8) -> Stack:
    return Stack(
        layers=(Layer(name="slab", solid=SILICON, thickness_m=THICK),),
        width_m=2e-3, depth_m=1e-3, columns=columns, rows=rows, bottom_w_m2k=H, ambient_k=300.0,
    )  # fmt: skip


def leak() -> float:
    """Conductance of the slab's only cells to the coolant, W/m2K."""
    return 1 / (THICK / 2 / 130 + 1 / H)


def test_a_slab_that_warms_up_is_one_resistance_and_one_capacity() -> None:
    stack, step_s = slab(), 1e-3
    watts = np.full(stack.shape, 0.5 / 24)
    tau = 1.6303e6 * THICK / leak()
    end = 0.5 / (leak() * stack.area_m2)
    for how, per_step in (("exact", np.exp(-step_s / tau)), ("euler", 1 / (1 + step_s / tau))):
        run = Transient(stack, step_s, how=how)  # type: ignore[arg-type]
        for n in range(1, 6):
            rise = run.step(watts)
            assert rise == pytest.approx(end * (1 - per_step**n), rel=1e-12)
    assert rise != pytest.approx(end * (1 - np.exp(-5 * step_s / tau)), rel=1e-3)


def test_one_cosine_decays_at_its_own_rate() -> None:
    stack, step_s = slab(), 2e-4
    wave = np.broadcast_to(np.cos(np.pi * 2 * (np.arange(8) + 0.5) / 8), stack.shape)
    rate = (130.0 * decay(stack)[0, 2] * THICK + leak()) / (1.6303e6 * THICK)
    run = Transient(stack, step_s)
    run.load(wave)
    run.advance(np.zeros(stack.shape), 7)
    assert run.field() == pytest.approx(wave * np.exp(-rate * 7 * step_s), rel=1e-10)
    assert run.field() != pytest.approx(wave * np.exp(-1.001 * rate * 7 * step_s), rel=1e-6)


def test_equals_the_exponential_of_the_sparse_matrix() -> None:
    stack, step_s = tile_stack(1e-3, 2e-3, cells=(3, 4)), 3e-4
    rng = np.random.default_rng(0)
    watts, start = rng.random(stack.shape) * 1e-3, rng.random(stack.shape)
    K, C = conduction(stack).toarray(), storage(stack)
    end = np.linalg.solve(K, watts.ravel())
    root = np.sqrt(C)
    grown = expm(-K / np.outer(root, root) * 2 * step_s)
    direct = end + grown @ (root * (start.ravel() - end)) / root
    run = Transient(stack, step_s)
    run.load(start)
    run.advance(watts, 2)
    assert abs(run.field().ravel() - direct).max() < 1e-9 * abs(direct).max()


def test_the_way_of_euler_comes_to_the_exact_one_with_the_step() -> None:
    stack = tile_stack(1e-3, 2e-3, cells=(6, 5))
    watts = np.random.default_rng(1).random(stack.shape) * 1e-3
    exact = Transient(stack, 0.02)
    target = exact.step(watts)
    errors = []
    for steps in (64, 128, 256):
        run = Transient(stack, 0.02 / steps, how="euler")
        run.advance(watts, steps)
        errors.append(abs(run.field() - target).max())
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.1)
    assert errors[1] / errors[2] == pytest.approx(2, rel=0.1)


def test_heat_is_kept_step_by_step() -> None:
    stack, step_s = tile_stack(1e-3, 2e-3, cells=(6, 5)), 1e-3
    rng, run = np.random.default_rng(2), Transient(stack, 1e-3, how="euler")
    kept, given = 0.0, 0.0
    for _ in range(20):
        watts = rng.random(stack.shape) * 1e-3
        run.step(watts)
        left = run.leaving_w * step_s
        assert run.stored_j - kept == pytest.approx(watts.sum() * step_s - left, rel=1e-9)
        kept, given = run.stored_j, given + watts.sum() * step_s
    assert 0.0 < kept < given


def test_exact_steps_keep_heat_between_them() -> None:
    """What flows out within long steps, summed over many short ones by Simpson's rule."""
    stack = tile_stack(1e-3, 2e-3, cells=(4, 4))
    watts = np.random.default_rng(3).random(stack.shape) * 1e-3
    run, flows = Transient(stack, 1e-4), [0.0]
    for _ in range(400):
        run.step(watts)
        flows.append(run.leaving_w)
    weights = np.array([1, *([4, 2] * 199), 4, 1]) * 1e-4 / 3
    assert run.stored_j == pytest.approx(watts.sum() * 0.04 - weights @ flows, rel=1e-6)


def test_long_steps_end_in_the_steady_state() -> None:
    stack = tile_stack(1e-3, 2e-3, cells=(6, 5))
    watts = np.random.default_rng(4).random(stack.shape) * 1e-3
    steady = Steady(stack).field(watts)
    assert Transient(stack, 1e4).step(watts) == pytest.approx(steady, rel=1e-10)
    assert Transient(stack, 1e-3).step(watts) != pytest.approx(steady, rel=1e-2)


def test_steps_shapes_and_capacities_are_checked() -> None:
    stack = slab()
    with pytest.raises(ConfigError, match="a step in time"):
        Transient(stack, 0.0)
    run = Transient(stack, 1.0)
    with pytest.raises(ShapeError, match="power is"):
        run.step(np.zeros((1, 2, 3)))
    with pytest.raises(ShapeError, match="a field is"):
        run.load(np.zeros((1, 2, 3)))
    bare = replace(SILICON, capacity_j_m3k=None)
    unknown = replace(stack, layers=(replace(stack.layers[0], solid=bare),))
    with pytest.raises(DeviceLimitError, match="capacity_j_m3k"):
        Transient(unknown, 1.0)
