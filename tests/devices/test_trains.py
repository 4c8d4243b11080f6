"""Stochastic trains: coincidences average to the outer product, with the stated variance."""

import numpy as np
import pytest
import torch

from clnf.devices import pulse_reference, trains
from clnf.devices.draws import hash_key
from clnf.devices.families import cell
from clnf.devices.pulses import Cells
from clnf.devices.response import Response, cell_traits, fresh_cells
from clnf.devices.trains import Trains

FLAT = Response(step_up=1e-3, step_down=1e-3, shape_up=0.0, shape_down=0.0, cycle_spread=0.3)
WIDE = Response(step_up=1e-3, step_down=1e-3, cycle_spread=0.3, bound_max=50.0, bound_min=-50.0)
OPTIMISED = cell("hfo2_array_optimised")
FULL = OPTIMISED.need(OPTIMISED.response)
LENGTH = 31


def job(x: torch.Tensor, d: torch.Tensor, fence: torch.Tensor, place: int) -> Trains:
    words = []
    for values, name in ((x, "x"), (d, "d")):
        train = np.zeros(values.shape, dtype=np.uint32)
        trains.encode(values.numpy(), LENGTH, hash_key(2, name, place), train)
        words.append(train)
    return Trains(words[0], words[1], fence.numpy(), bool((fence < 1).any()), 0)


def start_of(law: Response, count: int) -> Cells:
    return fresh_cells(law, cell_traits(law, count, 2), 2)


def run(law: Response, work: Trains, cells: Cells, place: int = 0) -> tuple[int, int, int]:
    table = cell_traits(law, cells.hidden.numel(), 2).numpy()
    arrays = Cells(*(t.numpy() for t in cells))
    key = hash_key(2, "op", place, words=6)
    law_numbers = law.law(1_000.0, 700.0, 0.25).numpy()
    return trains.pulse_outer(work, arrays, law_numbers, table, key)


def plain(law: Response, work: Trains, cells: Cells) -> tuple[int, int, int]:
    words = (torch.from_numpy(v.astype(np.int64)) for v in (work.rows, work.columns))
    key = torch.from_numpy(hash_key(2, "op", 0, words=6).astype(np.int64))
    mine = Trains(*words, torch.from_numpy(work.fence), work.fenced, 0)
    table = cell_traits(law, cells.hidden.numel(), 2)
    return pulse_reference.pulse_outer(mine, cells, law.law(1_000.0, 700.0, 0.25), table, key)


@pytest.mark.parametrize("law", [WIDE, FLAT], ids=["wide", "constant"])
def test_moments_of_the_update_match_the_closed_form(law: Response) -> None:
    """E[dW] = -dw BL p d-sign, Var[dW] = dw^2 BL q (1 - q + c^2) with q = px pd."""
    columns = rows = 200
    px, pd = 0.5, 0.3
    x = torch.full((1, rows), px)
    d = -torch.full((1, columns), pd)
    total = []
    for place in range(6):
        cells = start_of(law, rows * columns)
        run(law, job(x, d, torch.ones(columns, rows), place), cells, place)
        total.append(cells.hidden.double().view(columns, rows))
    moved = torch.stack(total)
    q = px * pd
    mean, variance = 1e-3 * LENGTH * q, 1e-6 * LENGTH * q * (1 - q + 0.3**2)
    # Cells of one row or column share bits, so the mean's error is that of whole trains.
    sigma_mean = 1e-3 * LENGTH**0.5 * q * ((1 / px + 1 / pd) / rows / 6) ** 0.5
    assert abs(float(moved.mean()) - mean) < 4.5 * sigma_mean
    assert float(moved.var()) == pytest.approx(variance, rel=0.03)
    # Control: without the coincidence term the variance would be far off.
    assert float(moved.var()) != pytest.approx(1e-6 * LENGTH * q * 0.3**2, rel=0.5)


def test_signs_give_gradient_descent() -> None:
    x, d = torch.tensor([[0.9, -0.9]]), torch.tensor([[0.9, -0.9]])
    cells = start_of(WIDE, 4)
    run(WIDE, job(x, d, torch.ones(2, 2), 0), cells)
    assert torch.equal(cells.hidden.sign().view(2, 2), torch.tensor([[-1.0, 1.0], [1.0, -1.0]]))


CURVED = Response(
    kind="exponential", step_up=0.01, step_down=0.01, shape_up=2.0, shape_down=2.0,
    factor_up=-2.0, factor_down=-1.0, scale=-0.5, offset=-0.5, cycle_spread=0.3,
)  # fmt: skip


@pytest.mark.parametrize("size", [0.2, 2.0])
@pytest.mark.parametrize(
    ("law", "atol"),
    # The kernel's spread of more than two pulses is approximate; cells that saturate differ most.
    [(FLAT, 1e-7), (WIDE, 1e-5), (FULL, 2e-2), (CURVED, 1e-6)],
    ids=["constant", "wide", "soft", "exponential"],
)
def test_kernel_and_reference_agree(law: Response, atol: float, size: float) -> None:
    rng = torch.Generator().manual_seed(3)
    x, d = torch.randn(5, 70, generator=rng) * size, torch.randn(5, 9, generator=rng) * size
    fence = torch.ones(9, 70)
    fence[:, ::3] = 0.5
    fence[:, ::7] = 0.0
    work = job(x, d, fence, 4)
    mine, theirs, start = (start_of(law, 630) for _ in range(3))
    assert plain(law, work, theirs) == run(law, work, mine)
    assert torch.equal(mine.wear, theirs.wear)
    assert torch.allclose(mine.hidden, theirs.hidden, rtol=0, atol=atol)
    assert float((mine.hidden - theirs.hidden).abs().mean()) < atol / 20
    shut = (fence == 0).reshape(-1)
    assert torch.equal(mine.seen[shut], start.seen[shut])
    assert not torch.equal(mine.seen[~shut], start.seen[~shut])


def test_a_row_of_cells_of_any_length_is_pulsed_as_a_whole() -> None:
    """Blocks of 512 cells and their rests: every cell once, with its own draws."""
    law = FULL
    x, d = torch.full((3, 1_100), 0.5), torch.full((3, 2), -0.5)
    mine, theirs = start_of(law, 2_200), start_of(law, 2_200)
    work = job(x, d, torch.ones(2, 1_100), 5)
    assert run(law, work, mine) == plain(law, work, theirs)
    assert torch.allclose(mine.hidden, theirs.hidden, rtol=0, atol=2e-2)


@pytest.mark.parametrize("n", [1, 2, 3, 6, 31])
def test_spread_of_many_pulses_is_that_of_single_ones(n: int) -> None:
    """All coincidences of a vector are one draw; its moments against one draw a pulse."""
    law = Response(step_up=0.06, step_down=0.06, cycle_spread=0.4)
    cells = 40_000
    words = np.full((1, cells), 2**n - 1, dtype=np.uint32)
    one = np.array([[2**n - 1 + 2**31]], dtype=np.uint32)
    work = Trains(words, one, np.ones((1, cells), np.float32), False, 0)
    moved = start_of(law, cells)
    assert run(law, work, moved)[0] == n * cells
    rng, slow = np.random.default_rng(1), np.zeros(cells)
    for _ in range(n):
        slow += 0.06 * (1 - slow) * (1 + 0.4 * rng.standard_normal(cells))
    error = slow.std() / cells**0.5
    assert abs(float(moved.hidden.double().mean()) - slow.mean()) < 6.4 * error
    assert float(moved.hidden.double().std()) == pytest.approx(slow.std(), rel=0.02)


def test_encoded_bits_have_their_probability() -> None:
    p = torch.tensor([[0.0, 0.1, 0.5, 1.0]]).repeat(4000, 1)
    words = np.zeros(p.shape, dtype=np.uint32)
    signs = torch.where(torch.arange(4_000) % 2 == 0, 1.0, -1.0)[:, None]
    trains.encode((p * signs).numpy(), LENGTH, hash_key(1, "bits"), words)
    negative = words >> np.uint32(31)
    assert (negative[1::2, 1:] == 1).all()
    assert not negative[::2].any()
    assert not negative[:, 0].any()
    words = words & np.uint32(2**31 - 1)
    share = np.array([[bin(int(v)).count("1") for v in row] for row in words]).mean(0) / LENGTH
    assert share[0] == 0.0
    assert share[3] == 1.0
    assert share[1:3] == pytest.approx([0.1, 0.5], abs=0.01)
    twin = torch.zeros(p.shape, dtype=torch.int64)
    key = torch.from_numpy(hash_key(1, "bits").astype(np.int64))
    pulse_reference.encode(p * signs, LENGTH, key, twin)
    assert (twin.numpy() & (2**31 - 1) == words).all()
    assert (twin.numpy() >> 31 == negative).all()
