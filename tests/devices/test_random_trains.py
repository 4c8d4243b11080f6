"""Trains made sixteen at a time: the bits of those made one by one."""

import numpy as np
import pytest
import torch

from clnf.core.rng import fold
from clnf.devices import batch_moves, coincidence_reference, random_trains
from clnf.devices.batch_maths import paces
from clnf.devices.batch_moves import Products
from clnf.devices.dispatch import run
from clnf.devices.draws import hash_key, hash_words
from clnf.devices.pulses import Cells
from clnf.devices.response import Response, cell_traits, fresh_cells


@pytest.mark.parametrize("shape", [(3, 5), (9, 70), (1, 16), (64, 250)])
@pytest.mark.parametrize("share", [0.0003, 0.02, 1.3])
def test_trains_are_those_of_single_values(shape: tuple[int, int], share: float) -> None:
    torch.manual_seed(1)
    value = torch.rand(shape) * 2 - 1
    value[value.abs() < 0.2], value[0, 0] = 0.0, -0.0
    key = hash_key(3, "x")
    made, asked = (torch.empty(shape, dtype=torch.uint32) for _ in range(2))
    for words, compiled in ((made, True), (asked, False)):
        args = value, share, 31, key, words
        kernel, plain = random_trains.encode_random, coincidence_reference.encode_random
        run(kernel, plain, args, compiled=compiled)
    made, asked = made.numpy(), asked.numpy()
    assert np.array_equal(made, asked)
    random_trains.encode_random(value.numpy(), -share, 31, key, made)
    same = made == asked
    assert not same[value.numpy() != 0].any()
    assert np.array_equal(made & 0x7FFFFFFF, asked & 0x7FFFFFFF)


@pytest.mark.parametrize("count", [1, 15, 16, 49])
def test_the_largest_magnitudes_are_found_anywhere(count: int) -> None:
    for place in range(count):
        value = torch.full((1, count), 0.5)
        value[0, place] = -2.0
        assert random_trains.peaks_of(value.numpy(), value.numpy() * 3) == (2.0, 6.0)
    value[0, -1] = float("nan")
    assert random_trains.peaks_of(value.numpy(), value.numpy())[0] in (0.0, 0.5)


@pytest.mark.parametrize("shape", [(5, 3, 40), (33, 7, 600), (64, 2, 9)])
@pytest.mark.parametrize("low", [0.0, -1.0])
def test_products_are_the_twins_whatever_their_signs(
    shape: tuple[int, int, int], low: float
) -> None:
    vectors, columns, rows = shape
    torch.manual_seed(4)
    x = torch.rand(vectors, rows) * (1.0 - low) + low
    x[:, ::3], x[0, 0] = 0.0, 1.0
    d, keys = torch.rand(vectors, columns) * 2 - 1, hash_words(1, "outer", 7, words=10)
    d[1] = 0.0  # a vector whose rows nobody asks for
    response = Response(step_up=0.02, step_down=0.03, write_noise=0.1, step_spread=0.3)
    law, table, found = response.law(500.0, 30.0, 1.3), cell_traits(response, rows * columns, 1), []
    for scale, compiled in ((0.3, True), (0.3, False), (0.31, True)):
        cells = fresh_cells(response, table, 1)
        scales = np.array([scale, -1.1], dtype=np.float32)
        job = Products(x, d, scales, keys[6:], 31, torch.ones(columns, rows), False, 3)
        args = job, cells, law, paces(table, law), keys[:6]
        pair = batch_moves.pulse_products, coincidence_reference.pulse_products
        bill = run(*pair, args, compiled=compiled)
        found.append((bill, *(tensor.tolist() for tensor in cells)))
    assert found[0][0][0] > 0
    assert found[0] == found[1]
    assert found[0] != found[2]


def pulses_of(share: tuple[float, float], operations: int, *, alike: bool) -> tuple[float, float]:
    """Pulses over those asked for, and how far cells scatter over what their number alone asks."""
    response = Response(step_up=1e-6, step_down=1e-6, shape_up=0.0, shape_down=0.0)
    table, law = cell_traits(response, 1, 1).numpy(), response.law().numpy()
    wear = np.zeros(200 * 150, np.int32)
    for number in range(operations):
        keys = hash_words(5, "outer", 0 if alike else number, words=10)
        hidden, rows = np.zeros(wear.size, np.float32), np.ones((64, 200), np.float32)
        job = Products(
            rows, np.ones((64, 150), np.float32), np.array(share, dtype=np.float32), keys[6:], 31,
            np.ones((150, 200), np.float32), False, 0,
        )  # fmt: skip
        batch_moves.pulse_products(job, Cells(hidden, hidden, wear), law, table, keys[:6])
    asked = operations * 64 * 31 * share[0] * share[1]
    return float(wear.mean() / asked), float(wear.var() / asked)


@pytest.mark.parametrize("share", [(0.02, 0.03), (0.3, 0.01), (0.5, 0.4)])
def test_products_pulse_as_often_as_asked_and_scatter_by_chance(share: tuple[float, float]) -> None:
    mean, scatter = pulses_of(share, 12, alike=False)
    (px, pd), trains = share, 12 * 64 * 31
    off = (((1 - px) / (px * 200) + (1 - pd) / (pd * 150)) / trains) ** 0.5
    assert mean == pytest.approx(1.0, abs=4 * off)
    assert scatter == pytest.approx(1 - px * pd, rel=0.25)
    # Control: the same trains again and again scatter far more.
    assert pulses_of(share, 12, alike=True)[1] > 5 * scatter


def test_keys_of_a_place_are_those_of_the_fold() -> None:
    for place in (("a", 3, True), ("a", 3, 1), ("b",)):
        parts = [fold(7, *place, lane) for lane in range(3)]
        both = [w for part in parts for w in (part & 0xFFFFFFFF, part >> 31 & 0xFFFFFFFF)]
        assert hash_key(7, *place, words=5).tolist() == both[:5]
        assert hash_words(7, *place, words=3).tolist() != both[:3]
    assert hash_words(7, "a", True, words=3).tolist() != hash_words(7, "a", 1, words=3).tolist()
