"""A batch of trains as one operation: twins agree, means and spreads are those of single pulses."""

from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch

from clnf.devices import batch_moves, coincidence_reference, pulse_reference, trains
from clnf.devices.batch_maths import paces
from clnf.devices.dispatch import run
from clnf.devices.draws import hash_key
from clnf.devices.encoders import BURST, SPREAD, encode_even
from clnf.devices.families import cell
from clnf.devices.pulses import Cells
from clnf.devices.random_trains import encode_random
from clnf.devices.response import Response, cell_traits, fresh_cells
from clnf.devices.trains import Trains

CONSTANT = Response(step_up=0.001, step_down=0.0012, shape_up=0.0, shape_down=0.0, cycle_spread=0.3)
LAWS = {
    "constant": CONSTANT,
    **{
        name: cell(name).response
        for name in ("hfo2_array_optimised", "ecram_li", "gst_pcm_training", "hfo2_single")
    },
}


def words(value: torch.Tensor, key: str, *, compiled: bool = True) -> torch.Tensor:
    out = torch.empty(value.shape, dtype=torch.uint32)
    args = value, 1.0, 31, hash_key(3, key), out
    run(encode_random, coincidence_reference.encode_random, args, compiled=compiled)
    return out


def job_of(shape: tuple[int, int, int], share: float, *, fenced: bool = False) -> Trains:
    vectors, columns, rows = shape
    torch.manual_seed(1)
    x, d = torch.rand(vectors, rows) * 2 - 1, torch.rand(vectors, columns) * 2 - 1
    fence = torch.rand(columns, rows) if fenced else torch.ones(columns, rows)
    return Trains(words(x * share, "x"), words(d * share, "d"), fence, fenced, 0)


def pulsed(response: Response, job: Trains, *, compiled: bool, one_by_one: bool = False) -> Any:
    law, table = response.law(500.0, 30.0, 1.3), cell_traits(response, job.fence.numel(), 1)
    cells = fresh_cells(response, table, 1)
    batch = batch_moves.pulse_batch, coincidence_reference.pulse_batch
    single = trains.pulse_outer, pulse_reference.pulse_outer
    kernel, plain = single if one_by_one else batch
    table = table if one_by_one else paces(table, law)
    args = job, cells, law, table, hash_key(1, "op", words=6)
    bill = run(kernel, plain, args, compiled=compiled)
    return bill, cells


def as_ints(value: torch.Tensor) -> torch.Tensor:
    return value.view(torch.int32)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize(("share", "fenced"), [(0.05, False), (0.4, True), (1.0, False)])
def test_kernel_and_twin_agree_bit_for_bit(law: str, share: float, fenced: bool) -> None:
    job = job_of((5, 3, 600), share, fenced=fenced)
    bills, states = zip(
        *(pulsed(LAWS[law], job, compiled=compiled) for compiled in (True, False)), strict=True
    )
    assert bills[0] == bills[1]
    assert bills[0][0] > 0
    assert all(torch.equal(a, b) for a, b in zip(*states, strict=True))


@pytest.mark.parametrize("role", [BURST, SPREAD])
def test_encoders_and_twins_agree(role: int) -> None:
    value = torch.rand(9, 70) * 2.4 - 1.2
    assert torch.equal(as_ints(words(value, "x")), as_ints(words(value, "x", compiled=False)))
    both = []
    for compiled in (True, False):
        out = torch.empty(value.shape, dtype=torch.uint32)
        args = value, 31, role, 7, hash_key(3, "x"), out
        run(encode_even, coincidence_reference.encode_even, args, compiled=compiled)
        both.append(as_ints(out))
    assert torch.equal(*both)
    assert not torch.equal(both[0], as_ints(words(value, "x")))


def test_random_trains_have_the_right_mean_and_spread() -> None:
    for p in (0.0007, 0.013, 0.4):
        count = np.bitwise_count(words(torch.full((4000, 20), p), "x").numpy())
        mean, variance = 31 * p, 31 * p * (1 - p)
        assert count.mean() == pytest.approx(mean, abs=5 * (variance / 80000) ** 0.5)
        assert count.var() == pytest.approx(variance, rel=0.05)
    # Negative control: one train for all would have the mean, not the spread.
    assert np.unique(words(torch.full((4, 20), 0.4), "x").numpy()).size > 40


def met(x: torch.Tensor, d: torch.Tensor, *, even: bool) -> np.ndarray[Any, Any]:
    """Coincidences less what was asked for, [N, columns, rows]."""
    lines = []
    for role, value in ((BURST, x), (SPREAD, d)):
        out = torch.empty(value.shape, dtype=torch.uint32)
        key = hash_key(3, str(role))
        if even:
            encode_even(value.numpy(), 31, role, 0, key, out.numpy())
        else:
            encode_random(value.numpy(), 1.0, 31, key, out.numpy())
        lines.append(out.numpy())
    count = np.bitwise_count(lines[0][:, None, :] & lines[1][:, :, None])
    error: np.ndarray[Any, Any] = count - 31 * d[:, :, None].numpy() * x[:, None, :].numpy()
    return error


def test_even_trains_meet_as_often_as_asked_up_to_rounding() -> None:
    torch.manual_seed(2)
    x, d = torch.rand(400, 12), torch.rand(400, 7) * 0.3
    assert np.abs(met(x, d, even=True)).max() < 2.0 < np.abs(met(x, d, even=False)).max()
    # The same vector again and again: what rounding takes it gives back.
    x, d = x[:1].repeat(400, 1), d[:1].repeat(400, 1)
    off, by_chance = (np.abs(met(x, d, even=even).sum(0)).max() for even in (True, False))
    assert off < 12.0 < by_chance / 3


@pytest.mark.parametrize("law", ["constant", "ecram_li", "hfo2_array_optimised"])
def test_one_pulse_a_cell_is_what_a_single_pulse_does(law: str) -> None:
    # One bit in one vector: no order and no sum, so both kernels must move alike but for the draw.
    rows = torch.ones(1, 800, dtype=torch.int32).view(torch.uint32)
    job = Trains(rows, rows[:, :2].contiguous(), torch.ones(2, 800), False, 0)
    response = LAWS[law]
    (bill, one), (other_bill, other) = (
        pulsed(response, job, compiled=True, one_by_one=single) for single in (False, True)
    )
    assert bill == other_bill == (1600, bill[1], 1)
    table = cell_traits(response, 1600, 1)
    alive = table[0] > 0
    assert torch.equal(one.hidden[~alive], other.hidden[~alive])
    moves = [(c.hidden[alive] / table[1][alive]) for c in (one, other)]
    for move in moves:
        assert float(move.mean()) == pytest.approx(-1.0, abs=4 * response.cycle_spread / 1200**0.5)
        assert float(move.std()) == pytest.approx(response.cycle_spread, rel=0.12)


def test_a_batch_lands_where_single_vectors_do() -> None:
    """Cell by cell, after some hundred mixed pulses; the control has another ratio of steps."""
    response = Response(step_up=0.02, step_down=0.03)
    job = job_of((200, 1, 3000), 0.5)
    ways = [pulsed(response, job, compiled=True, one_by_one=single)[1] for single in (False, True)]
    assert torch.equal(ways[0].wear, ways[1].wear)
    assert float(ways[0].wear.float().mean()) > 100
    off = ways[0].hidden - ways[1].hidden
    assert abs(float(off.mean())) < 0.03
    # Single vectors come in some order of their own: it scatters the cells, the batch does not.
    assert float(off.std()) < 0.3
    _, wrong = pulsed(Response(step_up=0.03, step_down=0.03), job, compiled=True)
    assert abs(float((wrong.hidden - ways[1].hidden).mean())) > 0.1


def test_mixed_pulses_move_as_the_mean_over_all_orders() -> None:
    response = Response(step_up=0.05, step_down=0.08)
    cells = Cells(*(torch.full((4,), v) for v in (0.2, 0.2)), torch.zeros(4, dtype=torch.int32))
    rows = torch.tensor([[7], [3 - 2**31]], dtype=torch.int32).view(torch.uint32)
    columns = torch.tensor([[-1], [-1]], dtype=torch.int32).view(torch.uint32)
    job = Trains(rows.repeat(1, 4).contiguous(), columns, torch.ones(1, 4), False, 0)
    table = paces(cell_traits(response, 4, 1), response.law())
    args = job, cells, response.law(), table, hash_key(1, "op", words=6)
    run(batch_moves.pulse_batch, coincidence_reference.pulse_batch, args)

    def walk(signs: tuple[int, ...]) -> float:
        w = 0.2
        for sign in signs:
            w += 0.05 * (1 - w) if sign > 0 else -0.08 * (1 + w)
        return w

    ends = [walk(order) for order in sorted(set(permutations((1, 1, 1, -1, -1))))]
    moved = float(cells.hidden[0])
    assert moved == pytest.approx(sum(ends) / len(ends), abs=3e-4)
    assert max(ends) - min(ends) > 0.01
