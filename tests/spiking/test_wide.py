"""Sixteen cells at once give the bits of a loop, and a layer at once those of its parts."""

from typing import Any

import pytest
import torch
from torch import Tensor

from clnf.spiking import over_time, plans
from clnf.spiking.cells import LIF
from clnf.spiking.coefficients import Coefficients
from clnf.spiking.events import layer
from clnf.spiking.events.maps import Linear
from clnf.spiking.over_time import Weights, weighted
from clnf.spiking.steps import State, start
from clnf.spiking.surrogates import AbstractSurrogate, Arctan, Boxcar, FastSigmoid, Triangle

STEPS, SAMPLES, SIZE = 64, 20, 64
SURROGATES: list[AbstractSurrogate] = [Triangle(), Boxcar(), FastSigmoid(), Arctan()]
ALIKE = LIF(leak_v=-0.1, reset_v=0.05)
EACH = LIF(tau_s=torch.linspace(5e-3, 50e-3, SIZE), threshold_v=torch.linspace(0.6, 1.2, SIZE))


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Arrays of this size count as large."""
    monkeypatch.setattr(plans, "_LARGE", 2**16)


def counted(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> list[int]:
    """How often a kernel is called."""
    calls, real = [0], getattr(module, name)

    def call(*given: Any) -> Any:
        calls[0] += 1
        return real(*given)

    monkeypatch.setattr(module, name, call)
    return calls


def drawn(*shape: int, seed: int = 0, scale: float = 1.0, shift: float = 0.0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * scale + shift


def spikes(*shape: int, share: float) -> Tensor:
    return (torch.rand(*shape, generator=torch.Generator().manual_seed(3)) < share).float()


def ran(
    given: dict[str, Tensor], k: Coefficients, surrogate: AbstractSurrogate, **how: bool
) -> list[Tensor]:
    """Spikes, the state after, and gradients of all that has one."""
    own = {name: one.clone().requires_grad_(name != "first") for name, one in given.items()}
    x = own.get("x", own.get("first"))
    assert x is not None
    by = Linear() if "weight" in own else None
    v = own.get("v", start(x[0, :, :1].expand(-1, SIZE), k).v)
    state = State(v, torch.zeros_like(v))
    out, end = weighted(x, Weights(by, own.get("weight")), k, surrogate, state, **how)
    loss = (out * drawn(*out.shape, seed=5)).sum() + (end.v * drawn(*v.shape, seed=6)).sum()
    asked = [one for one in own.values() if one.requires_grad]
    return [out.detach(), end.v.detach(), *torch.autograd.grad(loss, asked)]


def close(found: list[Tensor], wanted: list[Tensor]) -> None:
    """Spikes and states alike to the bit, gradients to 1e-6 of the largest."""
    assert torch.equal(found[0], wanted[0])
    assert torch.equal(found[1], wanted[1])
    for one, other in zip(found[2:], wanted[2:], strict=True):
        assert float((one - other).abs().max()) <= 1e-6 * float(other.abs().max())


@pytest.mark.parametrize("surrogate", SURROGATES, ids=lambda one: type(one).__name__)
@pytest.mark.parametrize("cell", [ALIKE, EACH], ids=["alike", "each"])
def test_sixteen_cells_at_once_equal_the_loop(
    cell: LIF, surrogate: AbstractSurrogate, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = [
        counted(monkeypatch, plans, name) for name in ("lif_forward_wide", "lif_backward_wide")
    ]
    given = {
        "x": drawn(STEPS, SAMPLES, SIZE, scale=0.4, shift=0.1),
        "v": drawn(SAMPLES, SIZE, seed=1, scale=0.1),
    }
    k = cell.coefficients(1e-3)
    found, wanted = (ran(given, k, surrogate, kernels=on) for on in (True, False))
    assert [one[0] for one in calls] == [1, 1]
    assert 0.01 < float(wanted[0].mean()) < 0.5
    close(found, wanted)


def test_numbers_and_arrays_are_two_ways_to_say_the_same() -> None:
    given = {"x": drawn(STEPS, SAMPLES, SIZE, scale=0.4, shift=0.1)}
    alike = LIF(threshold_v=0.75)
    each = LIF(threshold_v=torch.full((SIZE,), 0.75))
    pair = [ran(given, one.coefficients(1e-3), Triangle()) for one in (alike, each)]
    assert all(torch.equal(a, b) for a, b in zip(*pair, strict=True))


def test_one_cell_with_another_threshold_is_seen() -> None:
    given = {"x": drawn(STEPS, SAMPLES, SIZE, scale=0.4, shift=0.1)}
    levels = torch.full((SIZE,), 0.75)
    levels[-1] += 0.01
    one, other = LIF(threshold_v=0.75), LIF(threshold_v=levels)
    a, b = (ran(given, cell.coefficients(1e-3), Triangle()) for cell in (one, other))
    assert torch.equal(a[0][..., :-1], b[0][..., :-1])
    assert not torch.equal(a[0], b[0])


def first_layer(*, share: float = 0.1, ones: bool = True) -> dict[str, Tensor]:
    """Inputs without a gradient, weights on a grid, a first state."""
    x = spikes(STEPS, SAMPLES, 90, share=share)
    weight = (drawn(SIZE, 90, seed=1, scale=0.2) * 2**12).round() / 2**12
    v = drawn(SAMPLES, SIZE, seed=2, scale=0.1)
    return {"first": x if ones else 2 * x - x[:1], "weight": weight, "v": v}


@pytest.mark.parametrize("surrogate", SURROGATES, ids=lambda one: type(one).__name__)
@pytest.mark.parametrize("ones", [True, False])
@pytest.mark.parametrize("cell", [ALIKE, EACH], ids=["alike", "each"])
def test_a_first_layer_at_once_equals_the_loop(
    cell: LIF, ones: bool, surrogate: AbstractSurrogate, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = [counted(monkeypatch, layer, name) for name in ("fused_forward", "fused_backward")]
    given, k = first_layer(ones=ones), cell.coefficients(1e-3)
    found, wanted = (ran(given, k, surrogate, kernels=on) for on in (True, False))
    assert [one[0] for one in calls] == [1, 1]
    assert 0.01 < float(wanted[0].mean()) < 0.5
    close(found, wanted)


def test_a_layer_at_once_is_its_parts_to_the_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    given, k = first_layer(), ALIKE.coefficients(1e-3)
    given["weight"] = drawn(SIZE, 90, seed=1, scale=0.2)  # on no grid
    whole = ran(given, k, Triangle())
    monkeypatch.setattr(over_time, "cells_at_once", lambda *_: False)
    parts = ran(given, k, Triangle())
    assert torch.equal(whole[0], parts[0])
    close(whole, parts)


def test_an_event_that_lacks_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    given, k = first_layer(), ALIKE.coefficients(1e-3)
    wanted, real = ran(given, k, Triangle(), kernels=False), layer.by_inputs

    def lacking(*its: Any) -> Any:
        by = real(*its)
        by.index[7] = (by.index[7] + 1) % SAMPLES
        return by

    monkeypatch.setattr(layer, "by_inputs", lacking)
    found = ran(given, k, Triangle())
    assert torch.equal(found[0], wanted[0])
    with pytest.raises(AssertionError):
        close(found, wanted)


def test_many_events_go_the_whole_way(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = [counted(monkeypatch, layer, name) for name in ("fused_forward", "fused_backward")]
    given, k = first_layer(share=0.6), LIF(gain=0.3).coefficients(1e-3)
    found, wanted = (ran(given, k, Triangle(), kernels=on) for on in (True, False))
    assert [one[0] for one in calls] == [0, 0]
    close(found, wanted)


def test_any_number_of_threads_gives_the_same_bits() -> None:
    given, k = first_layer(), ALIKE.coefficients(1e-3)
    torch.set_num_threads(1)
    one = ran(given, k, Triangle())
    torch.set_num_threads(3)
    assert all(torch.equal(a, b) for a, b in zip(one, ran(given, k, Triangle()), strict=True))
