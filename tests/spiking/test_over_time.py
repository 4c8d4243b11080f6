"""Compiled steps equal the plain loop: spikes to the bit, gradients to rounding."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from clnf.core.errors import ConfigError, ShapeError
from clnf.spiking.cells import IF, LI, LIF, AbstractCell, AdaptiveLIF, CubaLI, CubaLIF
from clnf.spiking.over_time import leak_over_time, recurrent_over_time, spike_over_time
from clnf.spiking.plans import compiled
from clnf.spiking.recurrent.sweeps import BUSY
from clnf.spiking.steps import State, spike_loop, spike_step, start
from clnf.spiking.surrogates import AbstractSurrogate, Arctan, Boxcar, FastSigmoid, Triangle

CELLS: list[AbstractCell] = [
    IF(),
    LIF(),
    LIF(leak_v=-0.2, reset_v=0.1),
    LIF(refractory_s=3e-3),
    LIF(tau_s=torch.linspace(5e-3, 50e-3, 37), threshold_v=torch.linspace(0.6, 1.2, 37)),
    CubaLIF(gain=3.0),
    CubaLIF(gain=9.0, drive="hold", refractory_s=2e-3),
    AdaptiveLIF(jump_v=0.3),
    AdaptiveLIF(jump_v=0.3, reset_v=0.0, refractory_s=1e-3),
]
SURROGATES: list[AbstractSurrogate] = [Triangle(), Boxcar(), FastSigmoid(), Arctan()]


def drawn(*shape: int, seed: int = 0, scale: float = 1.0, shift: float = 0.0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * scale + shift


def results(
    run: Callable[..., tuple[Tensor, State]], cell: AbstractCell, inputs: list[Tensor]
) -> list[Tensor]:
    """Spikes, the state after, and gradients with respect to all inputs and the first state."""
    k = cell.coefficients(1e-3)
    given = [one.clone().requires_grad_() for one in inputs]
    first = start(given[0][0], k)
    asked = [one + 0.05 for one in (first.v, first.current, first.adaptation) if one is not None]
    asked = [one.requires_grad_() for one in asked]
    names = [n for n in ("v", "current", "adaptation") if getattr(first, n) is not None]
    first = first._replace(**dict(zip(names, asked, strict=True)))
    out, end = run(*given, k, first)
    loss = (out * drawn(*out.shape, seed=5)).sum()
    for seed, one in enumerate((end.v, end.current, end.adaptation)):
        if one is not None:
            loss = loss + (one * drawn(*one.shape, seed=seed)).sum()
    ends = [one.detach() for one in end if one is not None]
    return [out.detach(), *ends, *torch.autograd.grad(loss, [*given, *asked])]


def close(found: list[Tensor], wanted: list[Tensor], states: int) -> None:
    """Spikes and states alike to the bit, gradients to 1e-6 of the largest."""
    for one, other in zip(found[: 1 + states], wanted[: 1 + states], strict=True):
        assert torch.equal(one, other)
    for one, other in zip(found[1 + states :], wanted[1 + states :], strict=True):
        assert float((one - other).abs().max()) <= 1e-6 * float(other.abs().max())


@pytest.mark.parametrize("surrogate", SURROGATES, ids=lambda one: type(one).__name__)
@pytest.mark.parametrize("cell", CELLS, ids=lambda one: type(one).__name__)
def test_compiled_steps_equal_the_loop(cell: AbstractCell, surrogate: AbstractSurrogate) -> None:
    x = drawn(40, 5, 37, scale=0.4, shift=0.1)

    def run(kernels: bool) -> list[Tensor]:
        return results(
            lambda x, k, first: spike_over_time(x, k, surrogate, first, kernels=kernels), cell, [x]
        )

    found, wanted = run(True), run(False)
    assert 0.01 < float(wanted[0].mean()) < 0.5
    close(found, wanted, sum(one is not None for one in start(x[0], cell.coefficients(1e-3))))


@pytest.mark.parametrize("surrogate", SURROGATES, ids=lambda one: type(one).__name__)
@pytest.mark.parametrize("cell", CELLS, ids=lambda one: type(one).__name__)
def test_compiled_recurrent_steps_equal_the_loop(
    cell: AbstractCell, surrogate: AbstractSurrogate
) -> None:
    x = drawn(40, 5, 37, scale=0.4, shift=0.1)
    # Multiples of a power of two: their sums are exact, whatever the order.
    weight = (drawn(37, 37, seed=1, scale=0.1) * 2**12).round() / 2**12

    def run(kernels: bool) -> list[Tensor]:
        return results(
            lambda x, w, k, first: recurrent_over_time(x, w, k, surrogate, first, kernels=kernels),
            cell,
            [x, weight],
        )

    found, wanted = run(True), run(False)
    close(found, wanted, sum(one is not None for one in start(x[0], cell.coefficients(1e-3))))


@pytest.mark.parametrize("size", [1, 16, 64, 81, 130])
def test_recurrent_populations_of_any_size(size: int) -> None:
    x = drawn(12, 3, size, scale=0.5, shift=0.3)
    weight = (drawn(size, size, seed=1, scale=0.2) * 2**12).round() / 2**12
    k = LIF().coefficients(1e-3)
    found = recurrent_over_time(x, weight, k, Triangle())[0]
    assert torch.equal(found, recurrent_over_time(x, weight, k, Triangle(), kernels=False)[0])


def test_a_busy_recurrent_population_takes_products_and_stays_exact() -> None:
    x = drawn(45, 4, 24, scale=0.5, shift=0.9)
    weight = (drawn(24, 24, seed=1, scale=0.1) * 2**12).round() / 2**12

    def run(kernels: bool) -> list[Tensor]:
        return results(
            lambda x, w, k, first: recurrent_over_time(x, w, k, Triangle(), first, kernels=kernels),
            LIF(),
            [x, weight],
        )

    found, wanted = run(True), run(False)
    assert float(wanted[0].mean()) > BUSY
    close(found, wanted, 2)


def test_another_order_of_reset_is_seen() -> None:
    x, k = drawn(40, 5, 37, scale=0.4, shift=0.1), LIF().coefficients(1e-3)
    state, late = start(x[0], k), []
    for now in x:
        assert state.spikes is not None
        v = k.decay * state.v + now - state.spikes * k.threshold  # after the decay, not before
        state = State(v, (v > k.threshold).float())
        late.append(state.spikes)
    found = spike_over_time(x, k, Triangle())[0]
    assert int((found != torch.stack([one for one in late if one is not None])).sum()) > 0


@pytest.mark.parametrize("cell", [LI(leak_v=0.1), CubaLI(gain=2.0)])
def test_compiled_read_outs_equal_the_loop(cell: AbstractCell) -> None:
    x = drawn(40, 5, 3, 4, scale=0.4)

    def run(kernels: bool) -> list[Tensor]:
        return results(lambda x, k, s: leak_over_time(x, k, s, kernels=kernels), cell, [x])

    found, wanted = run(True), run(False)
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert float((one - other).abs().max()) <= 1e-6 * float(other.abs().max())


def test_only_one_float_tensor_is_kept_for_the_way_back() -> None:
    x = drawn(20, 3, 8).requires_grad_()
    k = AdaptiveLIF(refractory_s=2e-3).coefficients(1e-3)

    def kept(run: Callable[[], Any]) -> int:
        sizes: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda one: (sizes.append(one.numel()), one)[1], lambda one: one
        ):
            run()
        return sum(sizes)

    assert kept(lambda: spike_over_time(x, k, Triangle())) == x.numel()
    weight = drawn(8, 8).requires_grad_()
    small = weight.numel()
    assert kept(lambda: recurrent_over_time(x, weight, k, Triangle())) == x.numel() + small
    assert kept(lambda: spike_over_time(x, k, Triangle(), kernels=False)) > 3 * x.numel()


@pytest.mark.parametrize("cell", [LIF(), CubaLIF(gain=3.0, refractory_s=2e-3)])
def test_any_number_of_threads_gives_the_same_bits(cell: AbstractCell) -> None:
    x, weight = drawn(20, 7, 70, scale=0.5, shift=0.1), drawn(70, 70, seed=1, scale=0.1)

    def run() -> list[Tensor]:
        return results(
            lambda x, w, k, first: recurrent_over_time(x, w, k, Triangle(), first),
            cell,
            [x, weight],
        ) + results(lambda x, k, first: spike_over_time(x, k, Triangle(), first), cell, [x])

    torch.set_num_threads(1)
    one = run()
    torch.set_num_threads(3)
    assert all(torch.equal(a, b) for a, b in zip(one, run(), strict=True))


def test_steps_in_two_halves_are_the_steps_at_once() -> None:
    x, k = drawn(20, 3, 8, scale=0.5, shift=0.2), AdaptiveLIF(refractory_s=2e-3).coefficients(1e-3)
    whole, end = spike_over_time(x, k, Triangle())
    first, middle = spike_over_time(x[:9], k, Triangle())
    second, last = spike_over_time(x[9:], k, Triangle(), middle)
    assert torch.equal(whole, torch.cat([first, second]))
    for one, other in zip(end, last, strict=True):
        assert (one is None) == (other is None)
        assert one is None or other is None or torch.equal(one, other)


def test_what_kernels_cannot_take_goes_the_plain_way() -> None:
    x, k = drawn(6, 2, 4), LIF().coefficients(1e-3)
    assert compiled(k, x)
    assert not compiled(k, x.double())
    learned = LIF(tau_s=torch.nn.Parameter(torch.tensor(20e-3)))
    assert not compiled(learned.coefficients(1e-3), x)
    assert spike_over_time(x.double(), k, Triangle())[0].dtype == torch.float64
    grads = torch.func.grad(lambda x: spike_over_time(x, k, Triangle())[0].sum())(x)
    assert grads.shape == x.shape


def test_time_constants_learn() -> None:
    tau = torch.nn.Parameter(torch.full((4,), 20e-3))
    x = drawn(30, 2, 4, scale=0.3, shift=0.1)
    spike_over_time(x, LIF(tau_s=tau).coefficients(1e-3), Triangle())[0].sum().backward()
    assert tau.grad is not None
    assert bool((tau.grad != 0).all())


def test_the_plain_way_runs_elsewhere(far: torch.device) -> None:
    x, k = drawn(10, 2, 4, scale=0.4, shift=0.2), CubaLIF(gain=4.0, refractory_s=2e-3)
    wanted = spike_over_time(x, k.coefficients(1e-3), Triangle())[0]
    found = spike_over_time(x.to(far), k.coefficients(1e-3), Triangle())[0]
    assert found.device == far
    assert torch.equal(found.cpu(), wanted)


def test_numbers_too_small_for_a_float_are_left_as_they_are() -> None:
    x = torch.full((3, 2, 16), 1e-40)
    spike_over_time(x, IF().coefficients(1e-3), Triangle())
    assert float(np.float32(1e-40) * np.float32(0.5)) > 0
    assert float(torch.tensor(1e-40) * 0.5) > 0


@pytest.mark.parametrize("shape", [(4,), (4, 2), (0, 2, 3), (4, 0, 3)])
def test_inputs_without_steps_or_samples_are_refused(shape: tuple[int, ...]) -> None:
    k = LIF().coefficients(1e-3)
    with pytest.raises(ShapeError, match="steps, samples, neurons"):
        spike_over_time(torch.zeros(shape), k, Triangle())


def test_weights_of_another_shape_and_cells_without_a_threshold_are_refused() -> None:
    x, k = drawn(4, 2, 3), LIF().coefficients(1e-3)
    with pytest.raises(ShapeError, match="square"):
        recurrent_over_time(x, torch.zeros(3, 4), k, Triangle())
    still = LI().coefficients(1e-3)
    with pytest.raises(ConfigError, match="leak_step"):
        spike_step(x[0], start(x[0], still), still, Triangle())
    with pytest.raises(ConfigError, match="leak_over_time"):
        spike_over_time(x, still, Triangle())
    with pytest.raises(ConfigError, match="spike_over_time"):
        leak_over_time(x, k)


def test_states_of_others_and_inputs_that_are_no_floats_are_refused() -> None:
    x, k = drawn(4, 2, 3), LIF().coefficients(1e-3)
    _, state = spike_over_time(x, k, Triangle())
    with pytest.raises(ShapeError, match=r"\[5, 3\]"):
        spike_over_time(drawn(4, 5, 3), k, Triangle(), state)
    with pytest.raises(ShapeError, match="current"):
        spike_over_time(x, CubaLIF().coefficients(1e-3), Triangle(), state)
    with pytest.raises(ShapeError, match="wait"):
        spike_over_time(x, LIF(refractory_s=1e-3).coefficients(1e-3), Triangle(), state)
    with pytest.raises(ShapeError, match="spikes"):
        leak_over_time(x, LI().coefficients(1e-3), state)
    with pytest.raises(ShapeError, match=r"float\(\)"):
        spike_over_time(x > 0, k, Triangle())


def test_the_loop_is_its_step() -> None:
    x, k = drawn(6, 2, 4, scale=0.6, shift=0.3), LIF().coefficients(1e-3)
    state, out = start(x[0], k), []
    for now in x:
        z, state = spike_step(now, state, k, Triangle())
        out.append(z)
    assert torch.equal(torch.stack(out), spike_loop(x, start(x[0], k), k, Triangle())[0])
