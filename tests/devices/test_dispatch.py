"""One place chooses: compiled on the CPU, torch where asked for or where the CPU cannot reach."""

from typing import Any

import numpy as np
import pytest
import torch

from clnf.devices import kernels, pulse_reference, pulses
from clnf.devices.dispatch import run
from clnf.devices.draws import hash_key, hash_normals
from clnf.devices.families import cell
from clnf.devices.pulses import Cells, PulseJob
from clnf.devices.response import cell_traits, fresh_cells

OPTIMISED = cell("hfo2_array_optimised")
LAW = OPTIMISED.need(OPTIMISED.response)


def kernel(*args: Any) -> tuple[str, tuple[Any, ...]]:
    return "kernel", args


def plain(*args: Any) -> tuple[str, tuple[Any, ...]]:
    return "plain", args


def args_on(device: torch.device | str) -> tuple[Any, ...]:
    pair = Cells(torch.zeros(2, device=device), torch.ones(2), np.array([2**32 - 1], np.uint32))
    return pair, 3, np.array([0.5], np.float32)


def test_the_kernel_gets_views_and_the_twin_gets_tensors() -> None:
    args = args_on("cpu")
    name, (pair, number, factor) = run(kernel, plain, args)
    assert (name, number, factor.dtype) == ("kernel", 3, np.float32)
    pair.hidden[0] = 5.0
    assert float(args[0].hidden[0]) == 5.0
    assert isinstance(pair, Cells)
    name, (pair, number, factor) = run(kernel, plain, args, compiled=False)
    assert (name, number, factor.dtype) == ("plain", 3, torch.float32)
    assert pair.hidden is args[0].hidden
    assert pair.wear.tolist() == [2**32 - 1]


def test_one_tensor_elsewhere_is_enough_for_the_twin(far: torch.device) -> None:
    assert run(kernel, plain, args_on(far))[0] == "plain"
    # Control: the compiled side could not have worked on it.
    with pytest.raises(TypeError, match="no NumPy view"):
        kernels.fill_gauss(torch.empty(3, device=far).numpy(), hash_key(1, "x"), 0)


def test_draws_are_the_same_bits_everywhere(far: torch.device) -> None:
    here, there = (hash_normals(1, ("x", 2), (30, 40), device=d) for d in ("cpu", far))
    assert there.device == far
    assert torch.equal(here, there.cpu())


def test_cells_are_pulsed_alike_everywhere(far: torch.device) -> None:
    rng = torch.Generator().manual_seed(1)
    train = torch.randint(-9, 10, (5_000,), generator=rng).to(torch.int16)
    fence = torch.rand(5_000, generator=rng).mul(1.5).clamp(max=1.0)
    table, key = cell_traits(LAW, 5_000, 3), hash_key(3, "op", words=6)
    results = []
    for device in ("cpu", far):
        cells = Cells(*(t.to(device) for t in fresh_cells(LAW, table, 3)))
        job = PulseJob(train.to(device), fence.to(device), 0)
        done = run(
            pulses.pulse_cells,
            pulse_reference.pulse_cells,
            (job, cells, LAW.law(), table.to(device), key),
        )
        results.append((done, *(t.cpu() for t in cells)))
    (done, hidden, seen, wear), (done2, hidden2, seen2, wear2) = results
    assert done == done2
    assert torch.equal(wear, wear2)
    # A root may be off by its last bit where it cannot be taken in double precision.
    assert torch.allclose(hidden, hidden2, rtol=0, atol=3e-7)
    assert torch.allclose(seen, seen2, rtol=0, atol=3e-7)
    assert not torch.equal(hidden, fresh_cells(LAW, table, 3).hidden)


def test_the_other_device_is_strict(far: torch.device) -> None:
    """Control of the device itself: mixing, views and conversions fail as on an accelerator."""
    there = torch.arange(6.0, device=far)
    assert there.sum().item() == 15.0
    with pytest.raises(RuntimeError, match="same device"):
        there + torch.ones(6)
    with pytest.raises(TypeError, match="no NumPy view"):
        there.numpy()
    assert torch.equal((there * torch.tensor(2.0)).cpu(), 2 * torch.arange(6.0))
