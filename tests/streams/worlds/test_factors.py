"""Factors are drawn by counter, within their limits, and drift where asked."""

import numpy as np
import pytest
import torch

from clnf.core.errors import ConfigError
from clnf.core.rng import fold
from clnf.streams.worlds.factors import uniform
from clnf.streams.worlds.sounds import Sounds
from clnf.streams.worlds.sprites import SHAPES, Sprites
from clnf.streams.worlds.voxels import Voxels

MANY = torch.arange(4000)
WORLDS = {
    "sprites": lambda **more: Sprites(4000, seed=3, label="shape", **more),
    "sounds": lambda **more: Sounds(4000, seed=3, label="timbre", **more),
    "voxels": lambda **more: Voxels(4000, seed=3, label="solid", **more),
}


def test_counters_give_even_and_independent_numbers() -> None:
    index = np.arange(100_000)
    u = uniform(fold(0, "a"), index)
    assert np.histogram(u, 20, (0, 1))[0] == pytest.approx(5000, abs=5 * 70)
    assert abs(np.corrcoef(u[1:], u[:-1])[0, 1]) < 0.015
    assert abs(np.corrcoef(u, uniform(fold(0, "b"), index))[0, 1]) < 0.015
    assert np.array_equal(uniform(fold(0, "a"), np.array([77, 5])), u[[77, 5]])
    # SplitMix64 seeded with 0: its first number, from the authors' C code.
    first = 0xE220A8397B1DCDAF >> 11
    assert uniform(0, np.array([0]))[0] == first * 2.0**-53


@pytest.mark.parametrize("name", WORLDS)
def test_every_factor_fills_its_range_and_the_label_is_the_factor(name) -> None:
    world = WORLDS[name]()
    scene = world.scene(MANY)
    assert list(scene) == [factor.name for factor in world.factors]
    for factor in world.factors:
        values = scene[factor.name]
        if factor.kinds:
            share = np.bincount(values.astype(int), minlength=len(factor.kinds)) / 4000
            assert share == pytest.approx(1 / len(factor.kinds), rel=0.25)
        else:
            assert factor.low <= values.min() <= factor.low + 0.01 * (factor.high - factor.low)
            assert values.max() < factor.high
            middle = np.sqrt(factor.low * factor.high) if factor.logarithmic else None
            want = middle or (factor.low + factor.high) / 2
            assert np.median(values) == pytest.approx(want, abs=0.03 * (factor.high - factor.low))
    batch = world.take(MANY[:50])
    assert batch.cond.tolist() == scene[world.label][:50].tolist()
    assert batch.x.dtype == torch.float32
    assert batch.x.abs().max() <= 1.0


@pytest.mark.parametrize("name", WORLDS)
def test_a_sample_depends_on_its_number_alone(name) -> None:
    one, other = WORLDS[name](), WORLDS[name]()
    all_ = one.take(MANY[:20]).x
    assert torch.equal(other.take(torch.tensor([7])).x[0], all_[7])
    assert len({row.numpy().tobytes() for row in all_}) == 20
    third = type(one)(4000, seed=4, label=one.label)
    assert not torch.equal(third.take(MANY[:20]).x, all_)


def test_limits_narrow_one_factor_and_leave_the_others() -> None:
    free = WORLDS["sprites"]().scene(MANY)
    tight = WORLDS["sprites"](
        limits={"colour": ["red", "blue"], "x": (0.5, 0.5), "shape": ["ring"]}
    ).scene(MANY)
    assert set(tight["colour"]) == {0.0, 5.0}
    assert set(tight["x"]) == {0.5}
    assert set(tight["shape"]) == {float(SHAPES.index("ring"))}
    assert np.array_equal(free["y"], tight["y"])
    assert np.array_equal(free["rotation_rad"], tight["rotation_rad"])


def test_drift_moves_a_factor_with_the_sample_number_and_turns_back() -> None:
    scene = WORLDS["sprites"](
        limits={"x": (0.4, 0.4), "scale": (0.2, 0.25)}, drift={"x": 1e-4}
    ).scene(MANY)
    assert scene["x"][:3] == pytest.approx([0.4, 0.4001, 0.4002])
    assert scene["x"].max() == pytest.approx(0.7)
    assert scene["x"][3999] == pytest.approx(0.7 - (3999 - 3000) * 1e-4)
    assert np.ptp(scene["scale"]) < 0.05


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"limits": {"size": (0, 1)}}, "no factor 'size'; there are shape"),
        ({"limits": {"shape": ["blob"]}}, "shape is one of disc"),
        ({"limits": {"shape": []}}, "shape is one of disc"),
        ({"limits": {"x": (0.0, 0.5)}}, "x lies between 0.3 and 0.7, got 0, 0.5"),
        ({"limits": {"x": (0.6, 0.5)}}, "got 0.6, 0.5"),
        ({"limits": {"x": ["a", "b"]}}, "two numbers"),
        ({"drift": {"shape": 1.0}}, "drift is of numbers"),
    ],
)
def test_wrong_limits_are_one_sentence(settings, sentence) -> None:
    with pytest.raises(ConfigError, match=sentence):
        WORLDS["sprites"](**settings)
    with pytest.raises(ConfigError, match="at least one sample"):
        Sprites(0, seed=0, label="shape")
    with pytest.raises(ConfigError, match="label 'x'"):
        Sprites(1, seed=0, label="x")
