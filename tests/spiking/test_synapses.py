"""Layers with weights: by events or by whole products, the same as the plain loop."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from clnf.core.errors import ShapeError
from clnf.spiking import (
    LI,
    LIF,
    AdaptiveLIF,
    Arctan,
    Convolution,
    CubaLIF,
    EventConv2d,
    EventLinear,
    Readout,
    SpikingConv2d,
    SpikingLinear,
    Triangle,
)
from clnf.spiking.cells import AbstractCell
from clnf.spiking.convolution import maps as convolution
from clnf.spiking.events import maps as linear
from clnf.spiking.events.maps import Linear
from clnf.spiking.over_time import Weights, weighted
from clnf.spiking.plans import uniform
from clnf.spiking.steps import State
from clnf.spiking.surrogates import AbstractSurrogate

CELLS = [
    LIF(),
    LIF(leak_v=0.1, reset_v=0.0),
    LIF(tau_s=torch.linspace(5e-3, 40e-3, 70)),
    LIF(refractory_s=3e-3),
    CubaLIF(gain=5.0),
    CubaLIF(gain=9.0, drive="hold"),
    AdaptiveLIF(jump_v=0.3),
]


def grid(*shape: int, scale: float, seed: int = 0) -> Tensor:
    """Weights that are multiples of a power of two: their sums are exact in any order."""
    values = torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * scale
    return (values * 2**10).round() / 2**10


def spikes(*shape: int, share: float = 0.05, seed: int = 0) -> Tensor:
    return (torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) < share).float()


def taught(
    run: Callable[..., tuple[Tensor, State]], inputs: list[Tensor]
) -> tuple[Tensor, list[Tensor]]:
    """Spikes, and gradients of a loss that looks at spikes and at the state after."""
    given = [one.clone().requires_grad_() for one in inputs]
    out, end = run(*given)
    loss = (out * grid(*out.shape, scale=1.0, seed=7)).sum() + (end.v * 0.3).sum()
    if end.current is not None:
        loss = loss + (end.current * 0.2).sum()
    return out.detach(), list(torch.autograd.grad(loss, given))


def same(found: tuple[Tensor, list[Tensor]], wanted: tuple[Tensor, list[Tensor]]) -> None:
    assert torch.equal(found[0], wanted[0])
    for one, other in zip(found[1], wanted[1], strict=True):
        assert float((one - other).abs().max()) <= 1e-6 * float(other.abs().max())


@pytest.mark.parametrize("ring", [False, True])
@pytest.mark.parametrize("surrogate", [Triangle(), Arctan()], ids=["compact", "wide"])
@pytest.mark.parametrize("cell", CELLS, ids=lambda one: type(one).__name__)
def test_a_layer_equals_the_loop(
    cell: AbstractCell, surrogate: AbstractSurrogate, ring: bool
) -> None:
    x, k = spikes(30, 4, 50, share=0.1), cell.coefficients(1e-3)
    inputs = [x, grid(70, 50, scale=0.4, seed=1), grid(70, scale=0.05, seed=2)]
    inputs += [grid(70, 70, scale=0.1, seed=3)] if ring else []

    def run(kernels: bool) -> tuple[Tensor, list[Tensor]]:
        return taught(
            lambda x, *w: weighted(x, Weights(Linear(), *w), k, surrogate, kernels=kernels), inputs
        )

    wanted = run(False)
    assert 0.005 < float(wanted[0].mean()) < 0.4
    same(run(True), wanted)


@pytest.mark.parametrize("busy", [-1.0, 2.0])
def test_whole_products_and_events_give_the_same(
    monkeypatch: pytest.MonkeyPatch, busy: float
) -> None:
    x, k = spikes(20, 3, 40), LIF().coefficients(1e-3)
    inputs = [x, grid(30, 40, scale=0.5)]
    wanted = taught(
        lambda x, w: weighted(x, Weights(Linear(), w), k, Triangle(), kernels=False), inputs
    )
    monkeypatch.setattr(linear, "BUSY", busy)
    same(taught(lambda x, w: weighted(x, Weights(Linear(), w), k, Triangle()), inputs), wanted)


def test_a_leak_that_differs_does_not_come_last() -> None:
    assert [uniform(cell.coefficients(1e-3)) for cell in CELLS] == [
        True, False, False, False, True, True, True,
    ]  # fmt: skip


@pytest.mark.parametrize("busy", [-1.0, 2.0])
def test_a_convolution_equals_the_loop(monkeypatch: pytest.MonkeyPatch, busy: float) -> None:
    x, weight = spikes(12, 3, 2, 9, 8, share=0.1), grid(5, 2, 3, 3, scale=0.5)
    by, k = Convolution(padding=(1, 1)), LIF().coefficients(1e-3)

    inputs = [x, weight, grid(5, scale=0.05)]

    def run(inputs: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        return taught(lambda x, w, b: weighted(x, Weights(by, w, b), k, Triangle()), inputs)

    # Torch adds up gradients of weights and bias in an order that loses more than 1e-6.
    spiked, grads = run([one.double() for one in inputs])
    monkeypatch.setattr(convolution, "BUSY", busy)
    found, near = run(inputs)
    assert torch.equal(found.double(), spiked)
    for one, other in zip(near, grads, strict=True):
        bound = 1e-6 if busy > 0 else 1e-5
        assert float((one - other).abs().max()) <= bound * float(other.abs().max())


def test_events_are_kept_in_place_of_inputs() -> None:
    weight = grid(32, 64, scale=0.4).requires_grad_()

    def kept(x: Tensor) -> int:
        """Numbers of float tensors, without those of the cells and the weights."""
        floats: list[int] = []

        def note(one: Tensor) -> Tensor:
            floats.append(one.numel() * one.is_floating_point())
            return one

        with torch.autograd.graph.saved_tensors_hooks(note, lambda one: one):
            weighted(x, Weights(Linear(), weight), LIF().coefficients(1e-3), Triangle())
        return sum(floats) - 20 * 4 * 32 - weight.numel()

    x = spikes(20, 4, 64).requires_grad_()
    assert kept(x) == 0  # places alone
    assert kept(0.5 * x) == int(x.count_nonzero()) + 1
    assert kept(x + 1.0) == x.numel()


def test_weights_alone_are_torch_s() -> None:
    for layer, plain, x in (
        (EventLinear(9, 5, bias=True, seed=3), nn.functional.linear, spikes(6, 2, 9, share=0.2)),
        (
            EventConv2d((2, 5), 3, bias=True, seed=3),
            lambda x, w, b: nn.functional.conv2d(x.flatten(0, 1), w, b).unflatten(0, (6, 2)),
            spikes(6, 2, 2, 7, 7),
        ),
    ):
        x.requires_grad_()
        assert layer.bias is not None
        out, wanted = layer(x), plain(x, layer.weight, layer.bias)
        torch.testing.assert_close(out, wanted)
        g = torch.randn(out.shape)
        given = [x, layer.weight, layer.bias]
        for one, other in zip(
            torch.autograd.grad(out, given, g), torch.autograd.grad(wanted, given, g), strict=True
        ):
            torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
        layer.kernels = False
        assert torch.equal(layer(x), wanted)


def test_a_net_learns_to_tell_two_patterns() -> None:
    net = nn.Sequential(
        SpikingLinear((20, 30), LIF(tau_s=10e-3), dt_s=1e-3, recurrent=True, seed=1),
        EventLinear(30, 2, seed=2),
        Readout(LI(), dt_s=1e-3),
    )
    which = torch.arange(16) % 2
    x = spikes(20, 16, 20, share=0.3) * (torch.arange(20) % 2 == which[:, None])
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    course = []
    for _ in range(30):
        loss = nn.functional.cross_entropy(net(x).mean(0), which)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        course.append(loss.item())
    assert course[-1] < 0.5 * course[0]


def test_pictures_go_through_modules_and_states_come_out() -> None:
    layer = SpikingConv2d((2, 4), (3, 2), LIF(), dt_s=1e-3, how=Convolution(stride=(2, 1)))
    x = spikes(8, 3, 2, 9, 7, share=0.3)
    out, state = layer.run(x)
    assert out.shape == (8, 3, 4, 4, 6)
    again = torch.cat([layer.run(x[:5])[0], layer.run(x[5:], layer.run(x[:5])[1])[0]])
    assert torch.equal(out, again)
    assert state.v.shape == (3, 4, 4, 6)


def test_inputs_that_do_not_fit_are_refused(far: torch.device) -> None:
    layer = SpikingLinear((4, 3), LIF(), dt_s=1e-3)
    with pytest.raises(ShapeError, match="flatten them"):
        layer(torch.zeros(5, 2, 6))
    with pytest.raises(ShapeError, match="flatten them"):
        EventLinear(4, 3)(torch.zeros(5, 2, 4, 1))


def test_the_plain_way_runs_elsewhere(far: torch.device) -> None:
    x, weight = spikes(10, 2, 6, share=0.5), grid(4, 6, scale=0.8)
    k = LIF().coefficients(1e-3)
    wanted = weighted(x, Weights(Linear(), weight), k, Triangle())[0]
    found = weighted(x.to(far), Weights(Linear(), weight.to(far)), k, Triangle())[0]
    assert found.device == far
    assert torch.equal(found.cpu(), wanted)
