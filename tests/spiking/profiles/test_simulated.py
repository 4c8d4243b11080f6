"""Training under a chip's limits."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from clnf.core.errors import ClnfError, ConfigError, ShapeError
from clnf.spiking import LI, LIF, AdaptiveLIF, CubaLIF, EventLinear, Readout, SpikingLinear
from clnf.spiking.chain import Chain
from clnf.spiking.profiles import Constrained, deploy, profile
from clnf.spiking.profiles.rounding import Firing, rounded, spikes_of
from clnf.spiking.surrogates import AbstractSurrogate, Arctan, Boxcar, FastSigmoid, Triangle

DT_S = 1e-3


def test_with_many_bits_a_chip_is_the_float_net(nets: Any) -> None:
    """No limit left: the same spikes and, straight through, the same gradients."""
    free = replace(
        profile("memristive:cmo_hfox"), weight_levels=2**20, input_shift=10, decay_bits=24
    )
    net = nets.matrices(["LIF", "IF"], 4, None, "LI").double()
    x = nets.events(30, 4, nets.inputs_of(net), seed=2).double()
    wanted, found = net(x), Constrained(net, free)(x)
    assert torch.allclose(found, wanted, atol=1e-4)
    gradients = []
    for out in (wanted, found):
        net.zero_grad()
        out.square().sum().backward()
        gradients.append([one.grad.clone() for one in net.parameters() if one.grad is not None])
    for a, b in zip(*gradients, strict=True):
        assert torch.allclose(a, b, rtol=1e-2, atol=1e-3 * float(a.abs().max()))
    coarse = replace(free, weight_levels=4)
    assert not torch.allclose(Constrained(net, coarse)(x), wanted, atol=1e-4)


@pytest.mark.parametrize("name", ["loihi", "xylo", "memristive:cmo_hfox"])
def test_a_net_learns_under_limits_and_is_deployed_as_it_learned(name: str) -> None:
    """Two classes of rates: what the chip answers in whole numbers gets better by learning."""
    by, rng = profile(name), torch.Generator().manual_seed(0)
    reset_v = 0.0 if name == "loihi" else None
    net = Chain(
        SpikingLinear((10, 16), LIF(tau_s=16e-3, reset_v=reset_v), dt_s=DT_S, seed=1),
        SpikingLinear((16, 2), LIF(tau_s=16e-3, reset_v=reset_v), dt_s=DT_S, seed=2),
    )
    for layer in net:
        layer.weight.data *= 2  # type: ignore[operator]
    label = torch.arange(24) % 2
    rate = 0.05 + 0.25 * ((torch.arange(10)[None] < 5) == (label == 0)[:, None])
    x = (torch.rand(30, 24, 10, generator=rng) < rate).float()
    chip = Constrained(net, by)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)

    def right() -> float:
        return float((deploy(chip)(x).sum(0).argmax(1) == label).double().mean())

    before = right()
    for lesson in range(18):
        chip.die = lesson
        loss = nn.functional.cross_entropy(chip(x).mean(0) * 10, label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    chip.die = None
    assert right() >= 0.9 > before
    assert torch.equal(deploy(chip)(x), chip(x).long())


def test_time_constants_learn_through_the_decay_of_a_chip(nets: Any) -> None:
    tau = nn.Parameter(torch.tensor(12e-3))
    net = SpikingLinear((6, 4), CubaLIF(tau_s=tau, gain=5.0, reset_v=0.0), dt_s=DT_S)
    Constrained(net, profile("loihi"))(nets.events(30, 3, 6, seed=1)).sum().backward()
    assert tau.grad is not None
    assert float(tau.grad.abs()) > 0


def test_a_die_is_one_chip_of_many(nets: Any) -> None:
    by = replace(profile("loihi"), mismatch=0.2)
    chip = Constrained(nets.matrices(["LIF", "LIF"], 1, 0.0), by)
    nominal = chip.numbers()[0].weight
    chip.die = 3
    one, again = chip.numbers()[0].weight, chip.numbers()[0].weight
    chip.die = 4
    assert torch.equal(one, again)
    assert not torch.equal(one, chip.numbers()[0].weight)
    assert 0.1 < float((one / nominal - 1)[nominal != 0].detach().std()) < 0.3


def test_mismatch_that_nobody_published_is_none(nets: Any) -> None:
    chip = Constrained(nets.matrices(["LIF"], 1, 0.0), profile("loihi"))
    nominal = chip.numbers()[0].weight
    chip.die = 3
    assert torch.equal(chip.numbers()[0].weight, nominal)


def test_spikes_and_their_slopes() -> None:
    v = torch.tensor([3.0, 8.0, 9.0, 16.0, 40.0], requires_grad=True)
    one = torch.tensor(8.0)
    for reached, wanted in ((True, [0, 1, 1, 2, 3]), (False, [0, 0, 1, 1, 3])):
        how = Firing(lsb_v=0.125, most=3, reached=reached, surrogate=Triangle(width_v=0.5))
        n = spikes_of(v, one, how)
        assert n.tolist() == wanted
        (slope,) = torch.autograd.grad(n.sum(), v)
        near = torch.tensor([-5.0, 0.0, 1.0, 0.0, 16.0]) * 0.125
        assert torch.allclose(slope, Triangle(width_v=0.5).slope(near) * 0.125)
    assert rounded(torch.tensor([0.5, 1.5, -2.6])).tolist() == [0.0, 2.0, -3.0]


WRONG = [
    (SpikingLinear((4, 3), LIF(), dt_s=DT_S), "loihi", "a reset by subtraction"),
    (SpikingLinear((4, 3), LIF(reset_v=0.1), dt_s=DT_S), "loihi", "a reset to a value"),
    (
        SpikingLinear((4, 3), AdaptiveLIF(reset_v=0.0), dt_s=DT_S),
        "loihi",
        "kind AdaptiveLIF",
    ),
    (SpikingLinear((4, 3), LIF(reset_v=0.0, refractory_s=3e-3), dt_s=DT_S), "loihi", "refractory"),
    (SpikingLinear((4, 3), LIF(), dt_s=DT_S), "speck", "cells of kind LIF"),
    (SpikingLinear((4, 3), CubaLIF(drive="hold"), dt_s=DT_S), "xylo", "drive='hold'"),
    (EventLinear(4, 3), "loihi", "weights without cells"),
    (nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)), "loihi", "two layers of weights"),
    (nn.Sequential(nn.Linear(4, 3), nn.ReLU()), "loihi", "class ReLU"),
    (nn.Sequential(EventLinear(4, 3), Readout(LI(), dt_s=DT_S)), "xylo", "cells of kind LI"),
]


@pytest.mark.parametrize(("net", "name", "said"), WRONG, ids=[one[2] for one in WRONG])
def test_what_a_chip_cannot_count_is_a_sentence(net: nn.Module, name: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Constrained(net, profile(name))


def test_inputs_are_events() -> None:
    net = SpikingLinear((4, 3), LIF(), dt_s=DT_S)
    chip = Constrained(net, profile("xylo"))
    with pytest.raises(ConfigError, match="values between"):
        chip(torch.full((5, 2, 4), 0.5))
    with pytest.raises(ConfigError, match="takes 15 events of an input a step, got 16"):
        deploy(chip)(torch.full((5, 2, 4), 16.0))
    with pytest.raises(ShapeError, match=r"steps, samples, 4"):
        chip(torch.ones(5, 2, 3))
    with pytest.raises(ClnfError, match="1 stages need as many states"):
        chip.run(torch.ones(5, 2, 4), ())
    dead = EventLinear(4, 3)
    dead.weight.data.zero_()
    with pytest.raises(ConfigError, match="no scale"):
        Constrained(nn.Sequential(dead, Readout(LI(), dt_s=DT_S)), profile("loihi"))


WAYS = [
    (profile("loihi"), ["CubaLIF", "LIF", "IF"], 0.0, "CubaLI"),
    (replace(profile("loihi"), decay_rounding="stochastic"), ["LIF", "CubaLIF"], 0.0, "LI"),
    (profile("xylo"), ["CubaLIF", "LIF"], None, ""),
    (profile("memristive:cmo_hfox"), ["IF", "CubaLIF"], None, "LI"),
    (
        replace(
            profile("loihi"), potential_bits=9, current_bits=9, input_bits=5, input_shift=3,
            threshold_shift=0, threshold_bits=8, weight_bits=4, resets=("subtract",),
            current_overflow="saturate", spikes_per_step=3,
        ),
        ["CubaLIF", "LIF"], None, "",
    ),
]  # fmt: skip


@pytest.mark.parametrize("seed", [1, 3])
@pytest.mark.parametrize("way", WAYS, ids=["loihi", "random", "xylo", "memristive", "narrow"])
@pytest.mark.parametrize(
    "slope", [Triangle(), FastSigmoid(), Arctan(), Boxcar()], ids=lambda s: type(s).__name__
)
def test_the_compiled_way_back_is_that_of_the_loop(
    nets: Any, slope: AbstractSurrogate, way: Any, seed: int
) -> None:
    by, kinds, reset_v, readout = way
    net = nets.matrices(kinds, seed, reset_v, readout)
    for layer in net:
        if isinstance(layer, SpikingLinear):
            layer.surrogate = slope
    x, found = nets.events(20, 3, nets.inputs_of(net), seed=seed), []
    for kernels in (True, False):
        chip = Constrained(net, by, seed=seed, kernels=kernels)
        courses, states = chip.run(x)
        rng = torch.Generator().manual_seed(0)
        loss = states[0].potential.sum() * 1e-3
        for one in courses:
            for part in (one.spikes, one.potential * one.lsb_v):
                if part is not None:
                    loss = loss + (part * torch.randn(part.shape, generator=rng)).sum()
        found.append(torch.autograd.grad(loss, list(net.parameters())))
    assert any(bool((one != 0).any()) for one in found[0])
    for a, b in zip(*found, strict=True):
        assert float((a - b).abs().max()) <= 1e-6 * float(b.abs().max())


def test_what_the_kernels_cannot_take_goes_the_plain_way(nets: Any) -> None:
    net = nets.matrices(["LIF", "LIF"], 2, 0.0)  # the first layer is recurrent
    x = nets.events(20, 3, nets.inputs_of(net), seed=1)
    Constrained(net, profile("loihi"))(x).sum().backward()
    assert net[0].recurrent.grad is not None


def test_a_readout_sends_no_events_and_events_have_no_sign() -> None:
    pairs = (
        (EventLinear(4, 3), Readout(LI(), dt_s=DT_S)),
        (EventLinear(3, 2), Readout(LI(), dt_s=DT_S)),
    )
    with pytest.raises(ConfigError, match="a read-out before other layers"):
        Constrained(Chain(*pairs[0], *pairs[1]), profile("loihi"))
    chip = Constrained(SpikingLinear((4, 3), LIF(), dt_s=DT_S), profile("xylo"))
    with pytest.raises(ConfigError, match="SendOnDelta"):
        chip(-torch.ones(5, 2, 4))
