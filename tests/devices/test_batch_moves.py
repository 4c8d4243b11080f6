"""Batches moved sixteen cells at a time: the twin's bits, whatever the shape, density and law."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from clnf.chip.crossbar.lines import LINES
from clnf.devices import batch_moves, bit_counts, coincidence_reference, train_masks
from clnf.devices.batch_maths import paces
from clnf.devices.batch_moves import Lines
from clnf.devices.dispatch import run
from clnf.devices.draws import hash_key
from clnf.devices.families import cell
from clnf.devices.response import Response, cell_traits, fresh_cells
from clnf.devices.trains import Trains

CONSTANT = Response(step_up=0.001, step_down=0.0012, shape_up=0.0, shape_down=0.0, cycle_spread=0.3)
NAMES = ("hfo2_array_optimised", "ecram_li", "gst_pcm_training")
LAWS: dict[str, Any] = {"constant": CONSTANT, **{name: cell(name).response for name in NAMES}}
BATCHES = batch_moves.pulse_batch, coincidence_reference.pulse_batch


def words(vectors: int, wide: int, density: float, seed: int) -> torch.Tensor:
    """Trains of which a share of bits is set, half of them negative."""
    torch.manual_seed(seed)
    bits = (torch.rand(vectors, wide, 31) < density).long() << torch.arange(31)
    sign = (torch.rand(vectors, wide) < 0.5).long() << 31
    return (bits.sum(2) | sign).to(torch.int32).view(torch.uint32)


def moved(job: Any, pair: Any, response: Response, *, compiled: bool, alike: bool = False) -> Any:
    count = job.fence.numel()
    whole = cell_traits(response, 1 if alike else count, 1)
    cells = fresh_cells(response, whole.expand(-1, count).contiguous(), 1)
    law = response.law(500.0, 30.0, 1.3)
    table = paces(whole, law).contiguous()
    key = hash_key(1, "op", words=6)
    # Twins know nothing of one line of traits for all.
    table = table if compiled else table.expand(-1, count).contiguous()
    kernel, plain = pair
    return run(kernel, plain, (job, cells, law, table, key), compiled=compiled), cells


def alike(job: Any, pair: Any, response: Response, **more: bool) -> bool:
    (bill, mine), (twin, theirs) = (
        moved(job, pair, response, compiled=compiled, **more) for compiled in (True, False)
    )
    return bool(bill == twin and all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True)))


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("density", [0.001, 0.02, 0.3, 1.0])
@pytest.mark.parametrize("shape", [(5, 3, 600), (70, 4, 37), (3, 2, 16)])
def test_a_batch_is_the_twins(law: str, density: float, shape: tuple[int, int, int]) -> None:
    vectors, columns, rows = shape
    fence = torch.rand(columns, rows) if density == 0.3 else torch.ones(columns, rows)
    trains = words(vectors, rows, density, 1), words(vectors, columns, max(density, 0.02), 2)
    job = Trains(*trains, fence, density == 0.3, 7)
    assert alike(job, BATCHES, LAWS[law])


SHARED = {
    "linear": Response(step_up=0.01, step_down=0.02, cycle_spread=0.3),
    "exponential": Response(
        kind="exponential", step_up=0.01, step_down=0.02, shape_up=2.5, shape_down=2.5,
        factor_up=0.05, factor_down=0.05, scale=1.0, cycle_spread=0.3,
    ),
    "power": Response(
        kind="power", step_up=0.01, step_down=0.02, shape_up=1.5, shape_down=2.0, cycle_spread=0.3
    ),
}  # fmt: skip


@pytest.mark.parametrize("law", SHARED)
def test_a_batch_of_cells_that_share_their_traits_is_the_twins(law: str) -> None:
    job = Trains(words(9, 50, 0.1, 1), words(9, 3, 0.1, 2), torch.ones(3, 50), False, 0)
    assert alike(job, BATCHES, SHARED[law], alike=True)


@pytest.mark.parametrize("law", SHARED)
@pytest.mark.parametrize("density", [0.02, 0.3])
def test_one_line_of_traits_moves_cells_as_a_line_for_each(law: str, density: float) -> None:
    job = Trains(words(9, 50, density, 1), words(9, 3, density, 2), torch.ones(3, 50), False, 0)
    response, key = SHARED[law], hash_key(1, "op", words=6)
    one = cell_traits(response, 1, 1)
    found = []
    for table in (one.expand(-1, 150).contiguous(), one, one * 1.01):
        cells = fresh_cells(response, one.expand(-1, 150).contiguous(), 1)
        law = response.law(500.0, 30.0, 1.3)
        bill = run(*BATCHES, (job, cells, law, paces(table, law), key))
        found.append((bill, *(tensor.tolist() for tensor in cells)))
    assert found[0][0][0] > 0
    assert found[0] == found[1]
    assert found[0] != found[2]


def test_a_bit_more_would_be_seen() -> None:
    rows, columns = words(9, 50, 0.1, 1), words(9, 3, 0.1, 2)
    jobs = []
    for flip in (0, 1 << 4):
        other = rows.view(torch.int32).clone()
        other[4, 33] ^= flip
        jobs.append(Trains(other.view(torch.uint32), columns, torch.ones(3, 50), False, 0))
    (bill, mine), (more, theirs) = (moved(job, BATCHES, CONSTANT, compiled=True) for job in jobs)
    assert bill != more
    assert not torch.equal(mine.hidden, theirs.hidden)


@njit
def counted(rows: Any, columns: Any) -> Any:
    """Cells with coincidences at the first column, and what it counted."""
    masks = train_masks.turn(rows)
    counts = bit_counts.new_counts(masks)
    across = train_masks.across(columns)
    cells = bit_counts.count_column(bit_counts.ledge_of(masks, counts, across), np.uintp(0))
    return cells, counts


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 260), st.integers(1, 70), st.floats(0.0, 1.0), st.integers(0, 9))
def test_counts_are_those_of_all_bits(vectors: int, wide: int, density: float, seed: int) -> None:
    rows, columns = words(vectors, wide, density, seed), words(vectors, 1, density, seed + 1)
    job = Trains(rows, columns, torch.ones(1, wide), False, 0)
    ups, downs = coincidence_reference._tally(job)
    cells, counts = counted(rows.numpy(), columns.numpy())
    assert cells == int(((ups + downs) > 0).sum())
    planes = counts.planes.reshape(2, 13, -1)
    for way, asked in enumerate((ups, downs)):
        found = [
            sum((int(planes[way, k, r // 16]) >> r % 16 & 1) << k for k in range(counts.depth[way]))
            for r in range(wide if cells else 0)
        ]
        assert found == asked.tolist()[: len(found)]


def lines_job(rows: list[int], wide: int, most: int) -> Lines:
    torch.manual_seed(3)
    train = ((torch.rand(4, len(rows)) * 2 - 1) * (most + 0.9)).trunc()
    return Lines(torch.tensor(rows), train, torch.ones(4, wide), False, 5)


@pytest.mark.parametrize("law", ["constant", "ecram_li", "hfo2_array_optimised"])
@pytest.mark.parametrize("most", [1, 40])
def test_pulses_of_rows_are_the_twins(law: str, most: int) -> None:
    around = [(33 + k) % 60 for k in range(50)]
    shuffled = [*range(14, -1, -1), *range(20, 45), 15]  # as far apart as a run, yet none
    for rows in (around, shuffled, [4]):
        assert alike(lines_job(rows, 60, most), LINES, LAWS[law])


def test_pulses_of_rows_reach_those_rows_alone() -> None:
    rows = [3, 9, 10]
    job = lines_job(rows, 60, 3)
    (count, _, longest), cells = moved(job, LINES, CONSTANT, compiled=True)
    assert (count, longest) == (int(job.train.abs().sum()), int(job.train.abs().max()))
    wear = cells.wear.view(4, 60)
    assert torch.equal(wear[:, rows], job.train.abs().to(wear.dtype))
    assert int(wear.sum()) == count
    # One pulse moves a cell its own way.
    up = cells.hidden.view(4, 60)[:, rows][job.train == 1]
    assert float(up.mean()) > 0.0
