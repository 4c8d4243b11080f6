from dataclasses import replace

import numpy as np
import pytest

from clnf.chip.heat.stack import (
    BEOL,
    SILICON,
    Layer,
    Solid,
    Stack,
    hotspot_stack,
    tile_stack,
)
from clnf.core.errors import ConfigError, DeviceLimitError


def test_the_presets_are_what_their_sources_say() -> None:
    stack = hotspot_stack()
    assert stack.shape == (8, 64, 64)
    assert stack.heights_m.sum() == pytest.approx(6.9e-3 + 1e-3 + 20e-6 + 150e-6)
    assert stack.coolant_w_m2k == pytest.approx(1 / (0.1 * 256e-6))
    tiles = tile_stack(4e-3, 5e-3)
    assert tiles.shape == (8, 64, 64)
    assert tiles.coolant_w_m2k == pytest.approx(stack.coolant_w_m2k)
    assert tiles.heights_m[3:5].sum() == pytest.approx(150e-6)
    assert tiles.heights_m[5:].sum() == pytest.approx(10e-6)
    assert all(layer.solid.source for layer in tiles.layers)


def test_unlike_layers_meet_in_series() -> None:
    stack = Stack(
        layers=(
            Layer(name="a", solid=SILICON, thickness_m=2e-6),
            Layer(name="b", solid=BEOL, thickness_m=6e-6, cells=2),
        ),
        width_m=1e-3, depth_m=1e-3, columns=2, rows=2, bottom_w_m2k=1e4, ambient_k=300.0,
    )  # fmt: skip
    assert stack.couplings_w_m2k == pytest.approx([
        1 / (1e-6 / 130 + 1e-4),
        1 / (1e-6 / 130 + 1.5e-6 / 2.25),
        1 / (3e-6 / 2.25),
    ])  # fmt: skip
    assert stack.at("b") == slice(1, 3)
    with pytest.raises(ConfigError, match="no layer 'c'"):
        stack.at("c")


def test_both_ways_of_cooling_are_one() -> None:
    one = tile_stack(2e-3, 3e-3, coolant_w_m2k=1 / (0.5 * 6e-6))
    other = replace(one, bottom_w_m2k=None, bottom_k_w=0.5)
    assert other.coolant_w_m2k == pytest.approx(one.coolant_w_m2k)
    for ways in ({"bottom_k_w": 0.5}, {"bottom_w_m2k": None}, {"bottom_w_m2k": -1.0}):
        with pytest.raises(ConfigError, match="one of them above 0"):
            replace(one, **ways)


@pytest.mark.parametrize(
    "wrong", [{"width_m": 0.0}, {"depth_m": float("nan")}, {"columns": 0}, {"ambient_k": -1.0}]
)
def test_sizes_are_positive(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="above 0 and finite"):
        replace(tile_stack(1e-3, 1e-3), **wrong)


def test_layers_have_names_of_their_own_and_a_thickness() -> None:
    stack = tile_stack(1e-3, 1e-3)
    for layers in ((), (stack.layers[0], stack.layers[0])):
        with pytest.raises(ConfigError, match="different names"):
            replace(stack, layers=layers)
    with pytest.raises(ConfigError, match="layer x needs a thickness"):
        Layer(name="x", solid=SILICON, thickness_m=0.0)
    with pytest.raises(DeviceLimitError, match="above 0 and finite"):
        Solid(name="x", conductivity_w_mk=0.0, source="-")


def test_a_heat_capacity_nobody_gave_is_named() -> None:
    oxide = Solid(name="hafnium oxide", conductivity_w_mk=0.5, source="Niraula, COMSOL model")
    stack = replace(
        tile_stack(1e-3, 1e-3), layers=(Layer(name="only", solid=oxide, thickness_m=1e-6),)
    )
    assert np.isfinite(stack.couplings_w_m2k).all()
    with pytest.raises(DeviceLimitError, match="capacity_j_m3k of hafnium oxide"):
        _ = stack.capacities_j_m3k
