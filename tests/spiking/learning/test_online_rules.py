"""Online rules are the gradients through time that they say they are, and no others."""

import pytest
import torch
from torch import Tensor

from clnf.core.errors import ConfigError
from clnf.spiking import (
    LI,
    LIF,
    AdaptiveLIF,
    CubaLI,
    CubaLIF,
    EventLinear,
    Readout,
    SpikingLinear,
)
from clnf.spiking.cells import AbstractCell
from clnf.spiking.chain import Chain
from clnf.spiking.learning import EProp, LocalLosses, truncated
from clnf.spiking.steps import leak_loop, spike_step, start

T, B, INPUTS, N, K = 25, 3, 7, 6, 2
CELLS = [LIF(tau_s=10e-3), CubaLIF(gain=4.0), AdaptiveLIF(jump_v=0.3), CubaLIF(drive="hold")]


def inputs() -> Tensor:
    return (torch.rand(T, B, INPUTS, generator=torch.Generator().manual_seed(0)) < 0.4).float()


def parts(cell: AbstractCell, *, ring: bool) -> tuple[SpikingLinear, EventLinear, Readout]:
    layer = SpikingLinear((INPUTS, N), cell, dt_s=1e-3, recurrent=ring, seed=1)
    with torch.no_grad():
        layer.weight.mul_(2).add_(0.3)
    return layer, EventLinear(N, K, seed=2), Readout(LI(tau_s=15e-3), dt_s=1e-3)


def goal(y: Tensor) -> Tensor:
    return (y - torch.linspace(-1, 1, K)).square().sum() / 2


def through_time(
    layer: SpikingLinear, out: EventLinear, readout: Readout, *, whole: bool
) -> list[Tensor]:
    """Gradients by autograd; without ``whole`` none go through recurrent spikes."""
    x, k = inputs(), layer.coefficients()
    state, sent = start(torch.zeros(B, N), k), []
    for now in x:
        push = now @ layer.weight.t()
        if layer.recurrent is not None and state.spikes is not None:
            before = state.spikes if whole else state.spikes.detach()
            push = push + before @ layer.recurrent.t()
        z, state = spike_step(push, state, k, layer.surrogate)
        sent.append(z)
    leak = readout.coefficients()
    y = torch.stack(sent) @ out.weight.t()
    loss = goal(leak_loop(y, start(y[0], leak), leak)[0])
    given = [layer.weight, out.weight] + ([] if layer.recurrent is None else [layer.recurrent])
    return list(torch.autograd.grad(loss, given))


def online(layer: SpikingLinear, out: EventLinear, readout: Readout) -> list[Tensor]:
    rule = EProp(layer, out, readout)
    y = rule.lesson(inputs(), lambda y, t: y - torch.linspace(-1, 1, K))
    assert y.shape == (T, B, K)
    given = [layer.weight, out.weight] + ([] if layer.recurrent is None else [layer.recurrent])
    found = [one.grad for one in given]
    assert all(one is not None and bool(one.any()) for one in found)
    return [one for one in found if one is not None]


@pytest.mark.parametrize("ring", [False, True])
@pytest.mark.parametrize("cell", CELLS, ids=lambda one: type(one).__name__)
def test_eprop_is_the_gradient_without_paths_through_other_cells(
    cell: AbstractCell, ring: bool
) -> None:
    net = parts(cell, ring=ring)
    found, wanted = online(*net), through_time(*net, whole=False)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
    whole = through_time(*net, whole=True)
    differ = [not torch.allclose(a, b, rtol=1e-2) for a, b in zip(found, whole, strict=True)]
    assert any(differ) == ring


def test_random_feedback_is_another_gradient_for_the_layer_alone() -> None:
    layer, out, readout = parts(LIF(tau_s=10e-3), ring=False)
    wanted = through_time(layer, out, readout, whole=False)
    rule = EProp(layer, out, readout, feedback=torch.ones(K, N))
    rule.lesson(inputs(), lambda y, t: y - torch.linspace(-1, 1, K))
    assert layer.weight.grad is not None
    assert out.weight.grad is not None
    torch.testing.assert_close(out.weight.grad, wanted[1], atol=1e-5, rtol=1e-4)
    assert not torch.allclose(layer.weight.grad, wanted[0], rtol=1e-2)


@pytest.mark.parametrize("cell", CELLS[:2], ids=lambda one: type(one).__name__)
def test_local_losses_are_gradients_of_each_layer_s_own(cell: AbstractCell) -> None:
    layers = [parts(cell, ring=False)[0], SpikingLinear((N, N), cell, dt_s=1e-3, seed=5)]
    rule = LocalLosses(layers, outputs=K, seed=3)
    rule.lesson(inputs(), lambda y, t: y - torch.linspace(-1, 1, K))
    x = inputs()
    for layer, matrix in zip(layers, rule.readouts, strict=True):
        z = layer(x)
        (wanted,) = torch.autograd.grad(goal(z @ matrix.t()), [layer.weight])
        assert layer.weight.grad is not None
        torch.testing.assert_close(layer.weight.grad, wanted, atol=1e-5, rtol=1e-4)
        x = z.detach()
    assert not torch.equal(rule.readouts[0], rule.readouts[1])


def test_lessons_add_up() -> None:
    layer, out, readout = parts(LIF(), ring=True)
    once = [one.clone() for one in online(layer, out, readout)]
    for one, other in zip(online(layer, out, readout), once, strict=True):
        torch.testing.assert_close(one, 2 * other)


def test_eprop_learns() -> None:
    layer, out, readout = parts(LIF(tau_s=10e-3), ring=True)
    rule = EProp(layer, out, readout)
    optimizer = torch.optim.Adam([*layer.parameters(), *out.parameters()], lr=0.01)
    course = []
    for _ in range(30):
        optimizer.zero_grad()
        y = rule.lesson(inputs(), lambda y, t: y - torch.linspace(-1, 1, K))
        optimizer.step()
        course.append(goal(y).item())
    assert course[-1] < 0.3 * course[0]


def test_one_span_is_all_of_time_and_shorter_ones_are_not() -> None:
    layer, out, readout = parts(LIF(tau_s=10e-3), ring=True)
    net = Chain(layer, out, readout)
    wanted = through_time(layer, out, readout, whole=True)[:2]

    def spans(span: int) -> list[Tensor]:
        net.zero_grad()
        total = truncated(net, inputs(), lambda y, t: goal(y), span=span)
        assert total == pytest.approx(goal(net(inputs())).item(), rel=1e-5)
        grads = [layer.weight.grad, out.weight.grad]
        return [one.clone() for one in grads if one is not None]

    for one, other in zip(spans(T), wanted, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(spans(4)[0], wanted[0], rtol=1e-2)


def test_what_cannot_be_taught_is_refused() -> None:
    layer, out, readout = parts(LIF(), ring=True)
    for cell in (LIF(reset_v=0.0), LIF(refractory_s=2e-3), LIF(tau_s=torch.full((N,), 1e-2))):
        with pytest.raises(ConfigError, match="leak alike"):
            EProp(parts(cell, ring=False)[0], out, readout)
    with pytest.raises(ConfigError, match="feedback"):
        EProp(layer, out, readout, feedback=torch.ones(N, K))
    with pytest.raises(ConfigError, match="no bias"):
        EProp(layer, EventLinear(N, K, bias=True), readout)
    with pytest.raises(ConfigError, match="without a current"):
        EProp(layer, out, Readout(CubaLI(), dt_s=1e-3))
    with pytest.raises(ConfigError, match="recurrent"):
        LocalLosses([layer], outputs=2)
    with pytest.raises(ConfigError, match="at least one layer"):
        LocalLosses([], outputs=2)
    with pytest.raises(ConfigError, match="span"):
        truncated(Chain(layer), inputs(), lambda y, t: y.sum(), span=0)
