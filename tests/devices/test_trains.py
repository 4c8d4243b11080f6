"""Stochastic trains: coincidences average to the outer product, with the stated variance."""

import numpy as np
import pytest
import torch

from clnf.devices import reference, trains
from clnf.devices.kernels import Cells
from clnf.devices.soft_bounds import SoftBounds, fresh_cells, hash_key
from clnf.devices.trains import Trains

WIDE = SoftBounds(
    step_up=1e-3,
    step_down=1e-3,
    cycle_spread=0.3,
    bound_max=50.0,
    bound_min=-50.0,
    conductance_min_s=5e-5,
    conductance_max_s=2.25e-4,
    pulse_v=1.5,
    pulse_s=1e-8,
)
LENGTH = 31


def job(x: torch.Tensor, d: torch.Tensor, fence: torch.Tensor, place: int) -> Trains:
    bits = []
    for values, name in ((x, "x"), (d, "d")):
        words = np.zeros(values.shape, dtype=np.uint32)
        trains.encode(values.abs().numpy(), LENGTH, hash_key(2, name, place), words)
        bits.append(words)
    signs = [values.sign().numpy() for values in (x, d)]
    return Trains(bits[0], signs[0], bits[1], signs[1], fence.numpy(), 0)


def run(law: SoftBounds, work: Trains, cells: Cells, place: int = 0) -> tuple[int, int, int]:
    table = np.empty((6, cells.hidden.numel()), dtype=np.float32)
    trains.outer_table(law.law().numpy(), hash_key(2, "traits", words=8), 0, table)
    arrays = Cells(*(t.numpy() for t in cells))
    key = hash_key(2, "op", place, words=6)
    return trains.pulse_outer(work, arrays, law.law().numpy(), table, key)


def test_moments_of_the_update_match_the_closed_form() -> None:
    """E[dW] = -dw BL p d-sign, Var[dW] = dw^2 BL q (1 - q + c^2) with q = px pd."""
    columns = rows = 200
    px, pd = 0.5, 0.3
    x = torch.full((1, rows), px)
    d = -torch.full((1, columns), pd)
    total = []
    for place in range(6):
        cells = fresh_cells(WIDE, rows * columns, 2)
        run(WIDE, job(x, d, torch.ones(columns, rows), place), cells, place)
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
    cells = fresh_cells(WIDE, 4, 2)
    run(WIDE, job(x, d, torch.ones(2, 2), 0), cells)
    assert torch.equal(cells.hidden.sign().view(2, 2), torch.tensor([[-1.0, 1.0], [1.0, -1.0]]))


def test_kernel_and_reference_agree() -> None:
    law = SoftBounds.of("hfo2_array_optimised")
    rng = torch.Generator().manual_seed(3)
    x, d = torch.randn(5, 70, generator=rng) * 0.2, torch.randn(5, 9, generator=rng) * 0.2
    fence = torch.ones(9, 70)
    fence[:, ::3] = 0.5
    fence[:, ::7] = 0.0
    work = job(x, d, fence, 4)
    mine, theirs = fresh_cells(law, 630, 2), fresh_cells(law, 630, 2)
    result = run(law, work, mine)
    plain = [torch.from_numpy(v.astype(np.int64) if v.dtype == np.uint32 else v) for v in work[:5]]
    keys = [hash_key(2, "traits", words=8), hash_key(2, "op", 0, words=6)]
    traits_key, key = (torch.from_numpy(k.astype(np.int64)) for k in keys)
    table = torch.empty(6, 630)
    reference.outer_table(law.law(), traits_key, 0, table)
    assert reference.pulse_outer(Trains(*plain, 0), theirs, law.law(), table, key) == result
    assert torch.equal(mine.wear, theirs.wear)
    # The kernel takes powers from a series; saturated cells differ most.
    assert torch.allclose(mine.hidden, theirs.hidden, rtol=0, atol=1e-4)
    shut = (fence == 0).reshape(-1)
    start = fresh_cells(law, 630, 2)
    assert torch.equal(mine.seen[shut], start.seen[shut])
    assert not torch.equal(mine.seen[~shut], start.seen[~shut])


def test_encoded_bits_have_their_probability() -> None:
    p = torch.tensor([[0.0, 0.1, 0.5, 1.0]]).repeat(4000, 1)
    words = np.zeros(p.shape, dtype=np.uint32)
    trains.encode(p.numpy(), LENGTH, hash_key(1, "bits"), words)
    share = np.array([[bin(int(v)).count("1") for v in row] for row in words]).mean(0) / LENGTH
    assert share[0] == 0.0
    assert share[3] == 1.0
    assert share[1:3] == pytest.approx([0.1, 0.5], abs=0.01)
    twin = torch.zeros(p.shape, dtype=torch.int64)
    reference.encode(p, LENGTH, torch.from_numpy(hash_key(1, "bits").astype(np.int64)), twin)
    assert (twin.numpy() == words).all()
