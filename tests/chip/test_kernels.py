"""The compiled read path against its torch twin and against plain statistics."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from clnf.chip import kernels, reference
from clnf.chip.kernels import Columns
from clnf.devices.soft_bounds import hash_key

P, C = 500, 37


def data() -> tuple[Tensor, Tensor, Columns]:
    rng = torch.Generator().manual_seed(2)
    y = torch.randn(P, C, generator=rng)
    energy = torch.rand(P, 1, generator=rng)
    columns = Columns(*(torch.rand(C, generator=rng) + 0.5 for _ in range(3)))
    return y, energy, columns


def arrays(*values: Any) -> list[Any]:
    return [
        Columns(*(t.numpy() for t in v)) if isinstance(v, Columns) else v.numpy() for v in values
    ]


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("top", [0.0, 127.0])
@pytest.mark.parametrize("watch", [0.0, 1.0])
def test_sense_equals_its_twin(exact: bool, top: float, watch: float) -> None:
    y, energy, columns = data()
    energy = energy.expand(P, C).contiguous() if exact else energy
    control = torch.tensor([60.0, 1 / 60.0, top, 1.0, 1.0, 1.0, watch])
    key = hash_key(4, "read", 0)
    mine, theirs = torch.ones(P, C), torch.ones(P, C)
    peak = kernels.sense(*arrays(y, energy, columns, control), key, mine.numpy())
    signed = torch.from_numpy(key.astype(np.int64))
    assert reference.sense(y, energy, columns, control, signed, theirs) == peak
    assert (peak > 127) == bool(watch and top)
    assert torch.equal(mine, theirs)


def test_read_noise_has_the_variance_asked_for() -> None:
    rows = 40_000
    y, energy = torch.zeros(rows, 2), torch.full((rows, 1), 4.0)
    columns = Columns(torch.tensor([0.5, 1.5]), torch.ones(2), torch.zeros(2))
    control = torch.tensor([1.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0])
    out = torch.empty(rows, 2)
    draws = []
    for step in range(2):
        key = hash_key(4, "read", step)
        kernels.sense(*arrays(y, energy, columns, control), key, out.numpy())
        draws.append(out.double().clone())
    sigma = torch.tensor([1.0, 3.0], dtype=torch.float64)
    error = sigma.square() * (2 / rows) ** 0.5
    assert bool(((draws[0].var(0) - sigma.square()).abs() < 4.5 * error).all())
    # Another read is another draw, and the two columns do not know each other.
    assert abs(float((draws[0] * draws[1]).mean(0)[0])) < 4.5 * rows**-0.5
    assert abs(float((draws[0][:, 0] * draws[0][:, 1]).mean())) < 4.5 * 3 * rows**-0.5


@pytest.mark.parametrize("top", [0.0, 127.0])
@pytest.mark.parametrize("count", [3, 16, 20, 32])
def test_drive_equals_its_twin(top: float, count: int) -> None:
    y, _, columns = data()
    dac = torch.tensor([50.0, 1 / 50.0, top])
    power = columns.sigma[5 : 5 + count]
    results = []
    for module in (kernels, reference):
        out, energy = torch.empty(P, count), torch.empty(P)
        args = (y, power, dac, out, energy)
        peak = module.drive(*(arrays(*args) if module is kernels else args), 5)
        results.append((out, energy, peak))
    (out, energy, peak), (out2, energy2, peak2) = results
    assert torch.equal(out, out2)
    assert torch.allclose(energy, energy2, rtol=1e-5)
    assert peak == peak2
    if top:
        assert float(out.abs().max()) == pytest.approx(127 / 50)
        assert peak > 127
    else:
        assert torch.equal(out, y[:, 5 : 5 + count])


def test_a_vector_drives_alike_wherever_it_lies() -> None:
    y, _, columns = data()
    x, dac = y.numpy(), np.array([50.0, 1 / 50.0, 127.0], np.float32)
    energies = []
    for offset in range(17):
        moved = np.empty(x.size + 17, np.float32)[offset : offset + x.size].reshape(x.shape)
        moved[:] = x
        out, energy = np.empty_like(x), np.empty(P, np.float32)
        kernels.drive(moved, columns.sigma.numpy(), dac, out, energy, 0)
        energies.append(energy)
    assert all(np.array_equal(energy, energies[0]) for energy in energies)
    # Another order rounds otherwise, so equal bits do say something.
    assert not np.array_equal(energies[0], (columns.sigma.numpy() * out * out).sum(1))


@pytest.mark.parametrize("module", [kernels, reference])
def test_an_input_that_is_not_finite_asks_for_no_wider_range(module: Any) -> None:
    x = torch.zeros(4, 3)
    x[0, 0] = 1.0
    peaks = []
    for value in (0.0, torch.inf, -torch.inf, torch.nan, 100.0):
        x[2, 1] = value
        dac = torch.tensor([50.0, 1 / 50.0, 127.0])
        args = (x, torch.ones(3), dac, torch.empty(4, 3), torch.empty(4))
        peaks.append(module.drive(*(arrays(*args) if module is kernels else args), 0))
    assert peaks == [50, 50, 50, 50, 8 * 127]


def test_plane_sums_equal_their_twin() -> None:
    rng = torch.Generator().manual_seed(1)
    seen, noise = torch.randn(8, 300, generator=rng), torch.tensor([0.7, 0.01, 1.6])
    results = []
    for module in (kernels, reference):
        weight, variance = torch.empty(300), torch.empty(300)
        args = (seen, noise, weight, variance)
        module.plane_sums(*(arrays(*args) if module is kernels else args))
        results.append((weight, variance))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])
    expected = 0.7 / 8 * (seen[0::2].sum(0) - seen[1::2].sum(0))
    assert torch.allclose(results[0][0], expected, atol=1e-6)
