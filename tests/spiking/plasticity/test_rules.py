"""Rules against explicit sums over pairs and triplets of spikes, and faults that must be found."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from clnf.core.errors import ClnfError
from clnf.spiking.plasticity import (
    PairSTDP,
    PlasticState,
    Scaling,
    SoftBounds,
    ThreeFactor,
    Threshold,
    TripletSTDP,
    normalised,
    plastic_loop,
    plastic_over_time,
    plastic_start,
)
from clnf.spiking.plasticity.over_time import Third
from clnf.spiking.plasticity.rules import Coincident, Pairing

DT_S, T, B, PRE, POST = 1e-3, 70, 2, 3, 2
Rule = PairSTDP | TripletSTDP | ThreeFactor


def spikes(seed: int = 0) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    drawn = [(torch.rand(T, B, n, generator=rng) < 0.2).double() for n in (PRE, POST)]
    return drawn[0], drawn[1]


def lived(rule: Rule, weight: Tensor, third: Third | None = None) -> PlasticState:
    s, z = spikes()
    k = rule.law(DT_S)
    return plastic_loop(s, z, plastic_start(s[0], z[0], weight, k), k, third)


def times(train: Tensor) -> list[int]:
    return train.nonzero().flatten().tolist()


def pairs(rule: PairSTDP, pre: list[int], post: list[int]) -> float:
    """Every pair of spikes that counts, written out; times in steps."""
    first, both = rule.coincident == "pre first", rule.coincident == "both"
    total = rule.up_alone * len(post) - rule.down_alone * len(pre)
    for j in post:
        before = [i for i in pre if i < j or (i == j and (first or both))]
        for i in before[-1:] if rule.pairing == "nearest" else before:
            total += rule.up * math.exp(-(j - i) * DT_S / rule.pre_tau_s)
    for i in pre:
        before = [j for j in post if j < i or (i == j and both)]
        for j in before[-1:] if rule.pairing == "nearest" else before:
            total -= rule.down * math.exp(-(i - j) * DT_S / rule.post_tau_s)
    return float(total)


@pytest.mark.parametrize("pairing", ["all", "nearest"])
@pytest.mark.parametrize("coincident", ["pre first", "both", "neither"])
def test_pair_rule_is_the_sum_over_pairs(pairing: Pairing, coincident: Coincident) -> None:
    rule = PairSTDP(
        up=0.01, down=0.012, pre_tau_s=17e-3, post_tau_s=34e-3, up_alone=-1e-3, down_alone=2e-3,
        pairing=pairing, coincident=coincident,
    )  # fmt: skip
    s, z = spikes()
    got = lived(rule, torch.zeros(B, POST, PRE, dtype=torch.float64)).weight
    for b, j, i in itertools.product(range(B), range(POST), range(PRE)):
        pre, post = times(s[:, b, i]), times(z[:, b, j])
        assert set(pre) & set(post), "spikes of one step are among them"
        assert got[b, j, i].item() == pytest.approx(pairs(rule, pre, post), rel=1e-10)
    # A sum that takes spikes of one step otherwise is another one.
    other: Coincident = "neither" if coincident != "neither" else "both"
    wrong = PairSTDP(**{**vars(rule), "coincident": other})
    assert abs(pairs(wrong, pre, post) - got[-1, -1, -1].item()) > 1e-4


def test_triplet_rule_is_the_sum_over_triplets() -> None:
    rule = TripletSTDP(up=5e-3, down=7e-3, up_triplet=6e-3, down_triplet=2e-3)
    s, z = spikes()
    got = lived(rule, torch.zeros(B, POST, PRE, dtype=torch.float64)).weight

    def fading(gap: int, tau_s: object) -> float:
        return math.exp(-gap * DT_S / float(tau_s))  # type: ignore[arg-type]

    def expected(pre: list[int], post: list[int]) -> float:
        total = 0.0
        for j in post:
            pair = sum(fading(j - i, rule.pre_tau_s) for i in pre if i <= j)
            again = sum(fading(j - n, rule.post_slow_tau_s) for n in post if n < j)
            total += pair * (float(rule.up) + float(rule.up_triplet) * again)
        for i in pre:
            pair = sum(fading(i - j, rule.post_tau_s) for j in post if j < i)
            again = sum(fading(i - n, rule.pre_slow_tau_s) for n in pre if n < i)
            total -= pair * (float(rule.down) + float(rule.down_triplet) * again)
        return total

    for b, j, i in itertools.product(range(B), range(POST), range(PRE)):
        own = expected(times(s[:, b, i]), times(z[:, b, j]))
        assert got[b, j, i].item() == pytest.approx(own, rel=1e-10)
    without = lived(TripletSTDP(up=5e-3, down=7e-3, up_triplet=0.0, down_triplet=2e-3),
                    torch.zeros(B, POST, PRE, dtype=torch.float64)).weight  # fmt: skip
    assert (without - got).abs().max() > 1e-3


def test_the_published_triplet_model_grows_with_rate() -> None:
    """Pfister & Gerstner: post 10 ms behind pre does little at 2 Hz and strengthens at 50 Hz."""
    rule = TripletSTDP()
    found = []
    for hz in (2, 50):
        s = torch.zeros(10_000 // hz, 1, 1, dtype=torch.float64)
        s[:: 1000 // hz] = 1.0
        z = s.roll(10, 0)
        k = rule.law(DT_S)
        state = plastic_start(s[0], z[0], torch.zeros(1, 1, dtype=torch.float64), k)
        found.append(plastic_over_time(s, z, state, k).weight.item())
    assert found[1] > 0.02 > 20 * abs(found[0])


@pytest.mark.parametrize("power", [0.0, 0.4, 1.0])
def test_soft_bounds_shrink_steps(power: float) -> None:
    """One pair: up f+(w), from additive to multiplicative."""
    bounds = SoftBounds(least=-1.0, most=3.0, up_power=power, down_power=power)
    k = PairSTDP(up=0.1, down=0.2, bounds=bounds).law(DT_S)
    on, off = torch.ones(1, 1, 1, dtype=torch.float64), torch.zeros(1, 1, 1, dtype=torch.float64)
    early, late = torch.cat([on, off]), torch.cat([off, on])
    for w in (-0.9, 1.0, 2.5):
        start = plastic_start(on[0], on[0], torch.full((1, 1), w, dtype=torch.float64), k)
        up = plastic_over_time(early, late, start, k).weight.item() - w
        down = plastic_over_time(late, early, start, k).weight.item() - w
        decay = math.exp(-1 / 20)
        assert up == pytest.approx(0.1 * decay * ((3.0 - w) / 4) ** power, rel=1e-9)
        assert down == pytest.approx(
            max(-0.2 * decay * ((w + 1.0) / 4) ** power, -1.0 - w), rel=1e-9
        )


def test_weights_stay_in_their_bounds_and_would_not_by_themselves() -> None:
    weight = torch.full((POST, PRE), 0.5, dtype=torch.float64)
    free = lived(PairSTDP(up=0.5, down=0.4), weight).weight
    held = lived(PairSTDP(up=0.5, down=0.4, bounds=SoftBounds(most=0.6)), weight).weight
    assert free.max() > 0.6
    assert held.min() >= 0.0
    assert held.max() <= 0.6


def test_reward_pays_out_what_was_marked() -> None:
    """Reward late in time gets what is left of each change: the sum over changes, written out."""
    pair, tau_s, at = PairSTDP(up=0.01, down=0.012), 30e-3, 60
    third = torch.zeros(T, dtype=torch.float64)
    third[at] = 1.0 / DT_S
    zeros = torch.zeros(B, POST, PRE, dtype=torch.float64)
    got = lived(ThreeFactor(rule=pair, eligibility_tau_s=tau_s), zeros, third).weight
    s, z = spikes()
    k = pair.law(DT_S)
    state, owed = plastic_start(s[0], z[0], zeros, k), torch.zeros_like(zeros)
    for t in range(at + 1):
        after = plastic_loop(s[t : t + 1], z[t : t + 1], state, k)
        owed += (after.weight - state.weight) * math.exp(-(at - t) * DT_S / tau_s)
        state = after
    assert torch.allclose(got, owed, rtol=1e-10, atol=1e-14)
    assert not torch.allclose(got, state.weight, rtol=1e-2), "not what was never forgotten"
    unpaid = lived(ThreeFactor(rule=pair, eligibility_tau_s=tau_s), zeros, 0.0 * third).weight
    assert unpaid.abs().max() == 0


def test_no_eligibility_pays_in_the_same_step() -> None:
    zeros = torch.zeros(POST, PRE, dtype=torch.float64)
    at_once = lived(ThreeFactor(rule=PairSTDP(), eligibility_tau_s=None), zeros, 1.0).weight
    assert torch.allclose(at_once, lived(PairSTDP(), zeros).weight, rtol=1e-12)


def test_a_third_factor_may_be_of_each_cell_or_synapse_or_a_function() -> None:
    rule = ThreeFactor(rule=PairSTDP(), eligibility_tau_s=50e-3)
    zeros = torch.zeros(POST, PRE, dtype=torch.float64)
    m = torch.linspace(-9, 9, T * B * POST, dtype=torch.float64).reshape(T, B, POST)
    by_cell = lived(rule, zeros, m).weight
    assert torch.equal(by_cell, lived(rule, zeros, m[..., None].expand(T, B, POST, PRE)).weight)
    assert torch.equal(by_cell, lived(rule, zeros, lambda t, weight: m[t]).weight)
    shared = lived(rule, zeros, m[:, 0]).weight
    assert torch.equal(shared, lived(rule, zeros, m[:, :1].expand(T, B, POST)).weight)
    assert not torch.equal(shared, by_cell)


def test_samples_add_up_or_live_alone() -> None:
    zeros = torch.zeros(POST, PRE, dtype=torch.float64)
    alone = lived(PairSTDP(), zeros.expand(B, POST, PRE)).weight
    assert torch.allclose(alone.sum(0), lived(PairSTDP(), zeros).weight, rtol=1e-12)
    assert not torch.allclose(alone[0], alone[1])


def test_thresholds_fall_back_in_real_time() -> None:
    """The same after 10 ms in steps of 1 ms and of 0.1 ms."""
    rule, ends = Threshold(jump_v=1e-3, tau_s=5e-3), []
    for steps in (10, 100):
        theta = rule.step(torch.ones(1), torch.zeros(1), dt_s=1e-2 / steps)
        for _ in range(steps):
            theta = rule.step(torch.zeros(1), theta, dt_s=1e-2 / steps)
        ends.append(theta.item())
    assert ends == pytest.approx([1e-3 * math.exp(-2)] * 2, rel=1e-5)


def test_scaling_holds_a_rate() -> None:
    """A cell whose spikes follow its weight ends at its goal; without speed it does not move."""
    for speed, end in ((2.0, 20.0), (0.0, 60.0)):
        rule = Scaling(goal_hz=20.0, activity_tau_s=0.2, speed=speed)
        weight, rate = torch.full((1, 1), 0.6), torch.zeros(1, 1)
        for _ in range(3000):
            weight, rate = rule.step(weight, weight * 100.0 * 1e-3, rate, dt_s=1e-3)
        assert rate.item() == pytest.approx(end, rel=0.02)


def test_weights_into_a_cell_add_up() -> None:
    weight = torch.rand(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(normalised(weight, 7.0).sum(1), torch.full((3,), 7.0).double())
    assert not torch.allclose(normalised(weight, 7.0).sum(0), torch.full((5,), 7.0).double())


def test_what_makes_no_sense_gets_a_sentence() -> None:
    s, z = spikes()
    weight = torch.zeros(POST, PRE, dtype=torch.float64)
    with pytest.raises(ClnfError, match="pre_tau_s must be above 0"):
        PairSTDP(pre_tau_s=0.0)
    with pytest.raises(ClnfError, match="bounds go up"):
        SoftBounds(least=1.0, most=1.0)
    with pytest.raises(ClnfError, match="up_power is a power from 0 on"):
        SoftBounds(up_power=-0.5)
    with pytest.raises(ClnfError, match="need a weight"):
        plastic_start(s[0], z[0], weight.t(), PairSTDP().law(DT_S))
    with pytest.raises(ClnfError, match="goes with a rule in ThreeFactor"):
        lived(PairSTDP(), weight, 1.0)
    with pytest.raises(ClnfError, match="such a rule needs one"):
        lived(ThreeFactor(rule=PairSTDP()), weight)
    with pytest.raises(ClnfError, match="dt_s must be above 0"):
        PairSTDP().law(0.0)
    k = ThreeFactor(rule=PairSTDP()).law(DT_S)
    with pytest.raises(ClnfError, match=r"third factor for spikes .* got \[3\]"):
        plastic_over_time(s, z, plastic_start(s[0], z[0], weight, k), k, torch.ones(3))
