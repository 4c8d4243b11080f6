"""Gradients through a hundred changes: against the plain loop and finite differences."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from clnf.core.errors import ClnfError
from clnf.spiking import LIF, State, Triangle, spike_step
from clnf.spiking.plasticity import (
    PairSTDP,
    PlasticState,
    SoftBounds,
    ThreeFactor,
    TripletSTDP,
    plastic_loop,
    plastic_over_time,
    plastic_start,
    plastic_step,
    replayed,
)
from clnf.spiking.plasticity.over_time import Third
from clnf.spiking.steps import start

DT_S, T, B, PRE, POST = 1e-3, 100, 3, 5, 4
Rule = PairSTDP | TripletSTDP | ThreeFactor
Made = tuple[Rule, Tensor | None, list[Tensor]]


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def learnt(*values: float) -> list[Tensor]:
    return [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in values]


def spikes() -> tuple[Tensor, Tensor]:
    own = rng()
    drawn = [(torch.rand(T, B, n, generator=own) < 0.2).double() for n in (PRE, POST)]
    return drawn[0], drawn[1]


def weights(*shape: int) -> Tensor:
    drawn = torch.rand(shape, generator=rng(1), dtype=torch.float64) * 0.3
    return drawn.requires_grad_()


def pair() -> Made:
    p = learnt(0.02, 0.022, 0.02, 0.03, 1e-3, -2e-3)
    rule = PairSTDP(
        up=p[0], down=p[1], pre_tau_s=p[2], post_tau_s=p[3], up_alone=p[4], down_alone=p[5],
        pairing="nearest", bounds=SoftBounds(least=-0.1, most=0.35),
    )  # fmt: skip
    return rule, None, p


def triplet() -> Made:
    p = learnt(0.008, 0.007, 0.005, 0.004, 0.02, 0.03, 0.1, 0.12, 0.4, 1.0)
    rule = TripletSTDP(
        up=p[0], down=p[1], up_triplet=p[2], down_triplet=p[3], pre_tau_s=p[4], post_tau_s=p[5],
        pre_slow_tau_s=p[6], post_slow_tau_s=p[7],
        bounds=SoftBounds(least=-0.5, most=1.0, up_power=p[8], down_power=p[9]),
    )  # fmt: skip
    return rule, None, p


def third_factor() -> Made:
    inner, _, p = triplet()
    assert isinstance(inner, TripletSTDP)
    p += learnt(0.05)
    m = (20 * torch.randn(T, B, POST, generator=rng(2), dtype=torch.float64)).requires_grad_()
    return ThreeFactor(rule=inner, eligibility_tau_s=p[-1]), m, [*p, m]


MADE = [pair, triplet, third_factor]


def loss_of(state: PlasticState) -> Tensor:
    line = torch.arange(1.0, state.weight.numel() + 1, dtype=torch.float64)
    found = (state.weight.flatten() * line).sum() + state.weight.square().sum()
    return found if state.eligibility is None else found + state.eligibility.square().sum()


def run(
    rule: Rule, third: Third | None, weight: Tensor, s: Tensor, z: Tensor, *, fast: bool
) -> Tensor:
    k = rule.law(DT_S)
    first = plastic_start(s[0], z[0], weight, k)
    return loss_of(plastic_over_time(s, z, first, k, third, kernels=fast))


def furthest(a: list[Tensor], b: list[Tensor]) -> float:
    return max(float((x - y).abs().max() / y.abs().max()) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("made", MADE)
@pytest.mark.parametrize("each", [False, True])
@pytest.mark.parametrize("of_spikes", [False, True])
def test_adjoint_is_autograd(made: Callable[[], Made], *, each: bool, of_spikes: bool) -> None:
    rule, third, asked = made()
    weight = weights(B, POST, PRE) if each else weights(POST, PRE)
    s, z = spikes()
    asked = [*asked, weight]
    if of_spikes:
        asked += [s.requires_grad_(), z.requires_grad_()]
    found = []
    for fast in (True, False):
        loss = run(rule, third, weight, s, z, fast=fast)
        found.append(list(torch.autograd.grad(loss, asked)))
    assert furthest(*found) < 1e-9
    assert all(one.abs().max() > 0 for one in found[1]), "each of them matters"


@pytest.mark.parametrize("made", MADE)
def test_gradients_are_finite_differences(made: Callable[[], Made]) -> None:
    rule, third, asked = made()
    weight, (s, z) = weights(POST, PRE), spikes()
    asked = [*asked, weight]
    got = torch.autograd.grad(run(rule, third, weight, s, z, fast=True), asked)
    for value, grad in zip(asked, got, strict=True):
        way = torch.randn(value.shape, generator=rng(3), dtype=torch.float64) * value.detach().abs()
        ends = []
        for sign in (1.0, -1.0):
            with torch.no_grad():
                value += sign * 1e-5 * way
                ends.append(run(rule, third, weight, s, z, fast=False).item())
                value -= sign * 1e-5 * way
        slope = (ends[0] - ends[1]) / 2e-5
        assert float((grad * way).sum()) == pytest.approx(slope, rel=1e-4, abs=1e-9)


def test_a_wrong_gradient_would_be_found() -> None:
    """The same sums with a time constant 1 % off are further away than both tolerances."""
    rule, third, asked = pair()
    s, z = spikes()
    right = torch.autograd.grad(run(rule, third, weights(POST, PRE), s, z, fast=True), asked)
    with torch.no_grad():
        asked[2] *= 1.01
    wrong = torch.autograd.grad(run(rule, third, weights(POST, PRE), s, z, fast=False), asked)
    assert furthest(list(right), list(wrong)) > 1e-3


def test_single_precision_goes_the_same_way() -> None:
    s, z = spikes()
    ends = []
    for kind in (torch.float32, torch.float64):
        up = torch.tensor(0.02, dtype=kind, requires_grad=True)
        weight = weights(POST, PRE).to(kind)
        run(PairSTDP(up=up), None, weight, s.to(kind), z.to(kind), fast=True).backward()
        assert up.grad is not None
        assert up.grad.dtype == kind
        ends.append(up.grad.item())
    assert ends[0] == pytest.approx(ends[1], rel=1e-5)


def test_a_life_can_be_cut_in_two() -> None:
    rule, third, _ = third_factor()
    assert third is not None
    s, z = spikes()
    k = rule.law(DT_S)
    begun = plastic_start(s[0], z[0], weights(POST, PRE), k)
    whole = plastic_over_time(s, z, begun, k, third)
    half = plastic_over_time(s[:40], z[:40], begun, k, third[:40])
    end = plastic_over_time(s[40:], z[40:], half, k, third[40:])
    assert torch.allclose(end.weight, whole.weight, rtol=1e-12)
    assert end.eligibility is not None
    assert whole.eligibility is not None
    assert torch.allclose(end.eligibility, whole.eligibility, rtol=1e-12)


def test_the_loop_can_be_differentiated_twice() -> None:
    rule, third, asked = pair()
    s, z = spikes()
    loss = run(rule, third, weights(POST, PRE), s[:20], z[:20], fast=False)
    (grad,) = torch.autograd.grad(loss, asked[2], create_graph=True)
    (again,) = torch.autograd.grad(grad, asked[2])
    assert again.abs() > 0


def kept(work: Callable[[], Tensor]) -> int:
    """Bytes of all tensors that are kept for the way back, each place in memory once."""
    places: dict[int, int] = {}

    def note(one: Tensor) -> Tensor:
        places[one.untyped_storage().data_ptr()] = one.untyped_storage().nbytes()
        return one

    with torch.autograd.graph.saved_tensors_hooks(note, lambda one: one):
        loss = work()
    del loss
    return sum(places.values())


def test_little_is_kept() -> None:
    up, own = learnt(0.01)[0], rng()
    s, z = ((torch.rand(T, 1, n, generator=own) < 0.1).double() for n in (120, 100))
    rule = PairSTDP(up=up, bounds=SoftBounds(up_power=1.0, down_power=1.0))
    weight = torch.rand(100, 120, generator=own, dtype=torch.float64)
    whole = kept(lambda: run(rule, None, weight, s, z, fast=False))
    little = kept(lambda: run(rule, None, weight, s, z, fast=True))
    assert little < whole / 10


class Life:
    """Cells that spike by the weights that their spikes change, and a reward they cause."""

    def __init__(self) -> None:
        self.asked = learnt(0.02, 0.022, 0.02, 0.05)
        up, down, tau, mark = self.asked
        bounds = SoftBounds(least=0.0, most=1.0, up_power=0.5, down_power=0.5)
        pair = PairSTDP(up=up, down=down, pre_tau_s=tau, bounds=bounds)
        self.k = ThreeFactor(rule=pair, eligibility_tau_s=mark).law(DT_S)
        self.cell = LIF(tau_s=10e-3, threshold_v=0.5).coefficients(DT_S)

    def begun(self, s: Tensor, weight: Tensor) -> tuple[State, PlasticState]:
        rest = torch.zeros(B, POST, dtype=torch.float64)
        return start(rest, self.cell), plastic_start(s[0], rest, weight, self.k)

    def step(
        self, state: tuple[State, PlasticState], now: Tensor
    ) -> tuple[tuple[State, PlasticState], Tensor]:
        cells, life = state
        z, cells = spike_step(now @ life.weight.t(), cells, self.cell, Triangle())
        reward = 40.0 * (0.3 - z.mean(1, keepdim=True))
        return (cells, plastic_step(now, z, life, self.k, reward)), z


@pytest.mark.parametrize("span", [None, 1, 7, 200])
def test_replayed_spans_give_the_gradients_of_the_loop(span: int | None) -> None:
    life, weight, (s, _) = Life(), weights(POST, PRE), spikes()
    state = life.begun(s, weight)
    for now in s:
        state, z = life.step(state, now)
    asked = [*life.asked, weight]
    loop = torch.autograd.grad(loss_of(state[1]) + z.sum(), asked, retain_graph=True)
    end, out = replayed(life.step, life.begun(s, weight), (s,), span=span)
    got = torch.autograd.grad(loss_of(end[1]) + out[-1].sum(), [*life.asked, weight])
    assert out.sum() > 0
    assert furthest(list(got), list(loop)) < 1e-12
    assert all(one.abs().max() > 0 for one in loop)


def test_a_smooth_life_agrees_with_finite_differences() -> None:
    """The third factor follows from the weights themselves; nothing in it is a surrogate."""
    up, m = learnt(0.02, 3.0)
    s, z = spikes()
    k = ThreeFactor(rule=PairSTDP(up=up), eligibility_tau_s=0.05).law(DT_S)
    weight = weights(POST, PRE)

    def ends() -> Tensor:
        first = plastic_start(s[0], z[0], weight, k)
        error = lambda t, w: m * (z[t] - torch.tanh(s[t] @ w.t()))  # noqa: E731
        return loss_of(plastic_over_time(s, z, first, k, error))

    got = torch.autograd.grad(ends(), [up, m], retain_graph=True)[1].item()
    with torch.no_grad():
        m += 1e-6
        high = ends().item()
        m -= 2e-6
        low = ends().item()
    assert got == pytest.approx((high - low) / 2e-6, rel=1e-4)


def test_replay_refuses_what_it_cannot_run() -> None:
    with pytest.raises(ClnfError, match="inputs of one length"):
        replayed(lambda v, x: (v, x), torch.zeros(1), (torch.ones(3), torch.ones(2)))
    with pytest.raises(ClnfError, match="span must be"):
        replayed(lambda v, x: (v, x), torch.zeros(1), (torch.ones(3),), span=0)


def test_the_loop_and_the_call_agree_on_a_rule_without_bounds() -> None:
    s, z = spikes()
    k = PairSTDP().law(DT_S)
    first = plastic_start(s[0], z[0], weights(POST, PRE).detach(), k)
    a, b = plastic_loop(s, z, first, k), plastic_over_time(s, z, first, k)
    assert torch.allclose(a.weight, b.weight, rtol=1e-12)
    assert torch.equal(a.traces.pre, b.traces.pre)
