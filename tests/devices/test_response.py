"""The spread of soft-bounds cells comes from the seed alone and follows the catalogue."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from clnf.core.errors import DeviceLimitError
from clnf.devices.draws import hash_key, hash_normals
from clnf.devices.families import cell
from clnf.devices.response import Response, cell_traits, fresh_cells

N = 100_000
OPTIMISED = cell("hfo2_array_optimised")
LAW = OPTIMISED.need(OPTIMISED.response)
CONSTANT = Response(step_up=0.1, step_down=0.1, shape_up=0.0, shape_down=0.0)
ALIVE = replace(LAW, dead_fraction=0.0, bias_spread=0.0)


def traits(law: Response, seed: int = 5) -> torch.Tensor:
    return cell_traits(law, N, seed)


def test_steps_spread_as_a_lognormal_that_keeps_its_mean() -> None:
    up, down, _, _ = traits(ALIVE)
    log = up.double().log()
    assert float(log.std()) == pytest.approx(0.7829, rel=0.01)
    error = 0.0949 * (np.exp(0.7829**2) - 1) ** 0.5 / N**0.5
    assert abs(float(up.double().mean()) - 0.0949) < 4.5 * error
    assert torch.equal(up, down)


def test_bounds_keep_their_sign() -> None:
    _, _, upper, lower = traits(ALIVE)
    assert float(upper.min()) >= 0.0
    assert float(lower.max()) <= 0.0
    assert float((upper - 1).square().mean().sqrt()) == pytest.approx(0.35, rel=0.02)


def test_dead_cells_are_as_frequent_as_measured_and_stuck_inside_their_bounds() -> None:
    up, _, upper, lower = traits(LAW)
    dead = up == 0
    error = (0.1348 * 0.8652 / N) ** 0.5
    assert abs(float(dead.double().mean()) - 0.1348) < 4.5 * error
    assert torch.equal(upper[dead], lower[dead])


def test_another_seed_gives_other_cells() -> None:
    assert not torch.equal(traits(LAW)[0], traits(LAW, seed=6)[0])
    assert torch.equal(traits(LAW)[0], traits(LAW)[0])


def test_fresh_cells_carry_one_draw_of_write_noise() -> None:
    cells = fresh_cells(ALIVE, traits(ALIVE), 5)
    assert float(cells.hidden.abs().max()) == 0.0
    assert float(cells.seen.std()) == pytest.approx(1.4113 * 0.0949, rel=0.01)
    assert int(cells.wear.sum()) == 0


def test_compiled_and_plain_cells_are_the_same_bits() -> None:
    tables = [cell_traits(LAW, 5_000, 5, compiled=c) for c in (True, False)]
    assert torch.equal(*tables)
    mine, theirs = (fresh_cells(LAW, tables[0], 5, compiled=c) for c in (True, False))
    assert all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))
    a, b = (hash_normals(1, ("x", 2), (30, 40), compiled=c) for c in (True, False))
    assert torch.equal(a, b)


def test_biases_between_directions_spread_around_none() -> None:
    up, down, _, _ = traits(replace(ALIVE, step_spread=0.0, bias_spread=0.05)).double()
    bias = (up - down) / (up + down)
    assert abs(float(bias.mean())) < 4.5 * 0.05 / N**0.5
    assert float(bias.std()) == pytest.approx(0.05, rel=0.02)
    assert torch.equal(*traits(ALIVE)[:2])


@pytest.mark.parametrize(
    ("law", "up", "down"),
    [
        (Response(step_up=0.1, step_down=0.2), (0.15, 0.05), (0.1, 0.3)),
        (
            Response(step_up=0.1, step_down=0.1, shape_up=0.0, shape_down=0.0),
            (0.1, 0.1),
            (0.1, 0.1),
        ),
        (
            Response(kind="power", step_up=0.1, step_down=0.1, shape_up=2.0, shape_down=1.0),
            (0.1 * 0.75**2, 0.1 * 0.25**2),
            (0.1 * 0.25, 0.1 * 0.75),
        ),
    ],
)
def test_mean_steps_follow_the_law_at_both_sides(
    law: Response, up: tuple[float, float], down: tuple[float, float]
) -> None:
    at = torch.tensor([-0.5, 0.5])
    assert law.mean_step(at, up=True).tolist() == pytest.approx(up, rel=1e-5)
    assert law.mean_step(at, up=False).tolist() == pytest.approx(down, rel=1e-5)


def test_exponential_steps_are_those_of_the_paper() -> None:
    law = cell("hfo2_single").need(cell("hfo2_single").response)
    z = -0.5 * 0.4 - 0.5
    up = 0.00135 * (1 + 1.18445 * np.exp(5 * z))
    assert float(law.mean_step(torch.tensor(0.4), up=True)) == pytest.approx(up, rel=1e-5)


def test_symmetry_is_where_both_directions_step_alike() -> None:
    assert Response(step_up=0.02, step_down=0.01).symmetry == pytest.approx(1 / 3)
    even = Response(step_up=0.01, step_down=0.01, shape_up=0.0, shape_down=0.0)
    assert even.symmetry == 0.0
    one_way = Response(step_up=0.02, step_down=0.01, shape_up=0.0, shape_down=0.0)
    assert np.isnan(one_way.symmetry)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"step_up": 0.0}, "steps must be positive"),
        ({"dead_fraction": 1.0}, "dead fraction"),
        ({"bound_min": 0.5}, "both sides of 0"),
        ({"shape_up": 1.5}, "slopes of a linear law"),
        ({"kind": "power", "shape_up": 0.0}, "exponents of a power law"),
        ({"kind": "exponential", "shape_up": 60.0, "scale": 1.0}, "of an exponential law"),
    ],
)
def test_impossible_laws_are_refused(change: dict[str, Any], word: str) -> None:
    with pytest.raises(DeviceLimitError, match=word):
        replace(LAW, **change)


def test_hash_keys_differ_by_place() -> None:
    keys = {tuple(hash_key(1, "pulse", n, words=6)) for n in range(100)}
    assert len(keys) == 100
    assert hash_key(1, "a").dtype == np.uint32
