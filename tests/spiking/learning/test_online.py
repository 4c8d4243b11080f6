"""Online rules as a net ran: against autograd, against their own sums, and under limits."""

import pytest
import torch
from torch import Tensor

from clnf.core.errors import ConfigError
from clnf.spiking import IF, LI, LIF, EventLinear, FastSigmoid, Readout, SpikingLinear
from clnf.spiking.chain import Chain
from clnf.spiking.learning import EProp, OnlineRule, Tags, resume_change, watched
from clnf.spiking.plasticity import PairSTDP
from clnf.spiking.plasticity.law import plastic_start, plastic_step
from clnf.spiking.profiles import Constrained, profile, trace_format

DT_S = 1e-3
SLOPE = FastSigmoid(width_v=0.5)


def events(steps: int = 20, samples: int = 3, share: float = 0.3) -> Tensor:
    rng = torch.Generator().manual_seed(5)
    return (torch.rand(steps, samples, 6, generator=rng) < share).float()


def chain(cell: LIF | IF, outputs: int = 3) -> Chain:
    layers = [
        SpikingLinear(size, cell, dt_s=DT_S, surrogate=SLOPE, seed=n)
        for n, size in enumerate(((6, 8), (8, outputs)))
    ]
    for layer in layers:
        layer.weight.data *= 3
    return Chain(*layers)


def pull(y: Tensor) -> Tensor:
    """Errors that do not hang on outputs: the loss is a weighted sum of them."""
    rng = torch.Generator().manual_seed(9)
    return torch.rand(y.shape, generator=rng) - 0.5


@pytest.mark.parametrize("cell", [LIF(tau_s=10e-3), IF()])
def test_eprop_of_two_spiking_layers_is_the_gradient_through_time(cell: LIF | IF) -> None:
    net, x = chain(cell), events()
    out = net(x)
    assert float(out.detach().sum()) > 0
    (out * pull(out)).sum().backward()
    wanted = [layer.weight.grad.clone() for layer in net]  # type: ignore[union-attr]
    net.zero_grad()
    found = OnlineRule("eprop", net).lesson(x, pull)
    assert torch.equal(found, out)
    for layer, gradient in zip(net, wanted, strict=True):
        assert float(gradient.abs().max()) > 0
        torch.testing.assert_close(layer.weight.grad, gradient, rtol=1e-4, atol=1e-6)


def test_with_a_read_out_it_is_the_rule_of_its_own_class() -> None:
    layer = SpikingLinear((6, 8), LIF(tau_s=10e-3), dt_s=DT_S, surrogate=SLOPE, seed=1)
    layer.weight.data *= 3
    out, end = EventLinear(8, 2, seed=2), Readout(LI(tau_s=15e-3), dt_s=DT_S)
    x, weights = events(), (layer.weight, out.weight)
    EProp(layer, out, end).lesson(x, lambda y, t: y - 0.1)
    wanted = [one.grad.clone() for one in weights if one.grad is not None]
    layer.zero_grad(), out.zero_grad()
    OnlineRule("eprop", torch.nn.Sequential(layer, out, end)).lesson(x, lambda y: y - 0.1)
    for weight, gradient in zip(weights, wanted, strict=True):
        torch.testing.assert_close(weight.grad, gradient, rtol=1e-4, atol=1e-6)


def test_a_local_loss_hears_nothing_of_the_last_layer() -> None:
    found = []
    for scale in (1.0, 2.0):
        net = chain(LIF(tau_s=10e-3))
        net[1].weight.data *= scale
        OnlineRule("local", net, seed=4).lesson(events(), pull)
        found.append(net[0].weight.grad)
    assert torch.equal(*found)
    other = []
    for scale in (1.0, 2.0):
        net = chain(LIF(tau_s=10e-3))
        net[1].weight.data *= scale
        OnlineRule("eprop", net, seed=4).lesson(events(), pull)
        other.append(net[0].weight.grad)
    assert not torch.equal(*other)


@pytest.mark.parametrize(("chip", "cell", "steps"), [
    # A reset to 0 cuts gradients through time, which one trace an input does not see.
    ("loihi", LIF(tau_s=10e-3, reset_v=0.0), 1),
    ("xylo", LIF(tau_s=16e-3), 20),
    ("speck", IF(), 20),
])  # fmt: skip
def test_under_limits_it_goes_where_gradients_straight_through_go(
    chip: str, cell: LIF | IF, steps: int
) -> None:
    net, x = chain(cell), events(steps, share=0.3 if steps > 1 else 0.9)
    limited = Constrained(net, profile(chip))
    out = limited(x)
    (out * pull(out)).sum().backward()
    wanted = [layer.weight.grad.clone() for layer in net]  # type: ignore[union-attr]
    net.zero_grad()
    assert torch.equal(OnlineRule("eprop", limited).lesson(x, pull), out.detach())
    for layer, gradient in zip(net, wanted, strict=True):
        both = torch.stack([layer.weight.grad.flatten(), gradient.flatten()])
        assert float(torch.corrcoef(both)[0, 1]) > 0.9
        # The control: another net's gradient has nothing to do with it.
        both[1] = both[1].roll(5)
        assert float(torch.corrcoef(both)[0, 1]) < 0.7


def test_traces_and_tags_of_a_chip_are_coarser_and_agree_on_average() -> None:
    net, x = chain(LIF(tau_s=10e-3, reset_v=0.0)), events(samples=60)
    limited, how = Constrained(net, profile("loihi")), trace_format(profile("loihi"))
    found = []
    for traces, tags in ((None, None), (how, Tags(8, 20.0)), (how, Tags(2, 20.0))):
        net.zero_grad()
        OnlineRule("eprop", limited, traces=traces, tags=tags, seed=3).lesson(x, pull)
        found.append(net[0].weight.grad.clone())
    size = float(found[0].abs().max())
    fine, coarse = (float((one - found[0]).abs().max()) / size for one in found[1:])
    assert 0 < fine < 0.1 < coarse


def test_resume_is_pair_stdp_of_the_teacher_less_that_of_the_cell() -> None:
    layer = SpikingLinear((6, 4), LIF(tau_s=20e-3), dt_s=DT_S, seed=2)
    layer.weight.data *= 4
    x = events()
    seen = watched(layer, x)[0]
    teacher = torch.zeros(20, 3, 4)
    teacher[4::5, :, 1] = 1.0
    k = PairSTDP(up=0.01, down=0.0, pre_tau_s=20e-3).law(DT_S)._replace(up_alone=0.002)
    state = plastic_start(x[0], teacher[0], torch.zeros(4, 6), k._replace(least=None, most=None))
    for now, post in zip(x, teacher - seen.outputs, strict=True):
        state = plastic_step(now, post, state, k._replace(least=None, most=None))
    assert float(seen.outputs.sum()) > 0
    change = 0.01 * resume_change(seen, teacher, alone=0.2)
    torch.testing.assert_close(change, state.weight, rtol=1e-4, atol=1e-6)


def test_what_one_trace_an_input_cannot_do_is_refused() -> None:
    x = events()
    ring = SpikingLinear((6, 3), LIF(), dt_s=DT_S, recurrent=True)
    with pytest.raises(ConfigError, match="matrices without recurrence"):
        watched(ring, x)
    with pytest.raises(ConfigError, match="one trace an input"):
        watched(SpikingLinear((6, 3), LIF(leak_v=0.1), dt_s=DT_S), x)
    with pytest.raises(ConfigError, match="two layers, got 1"):
        OnlineRule("local", SpikingLinear((6, 3), LIF(), dt_s=DT_S)).lesson(x, pull)
    with pytest.raises(ConfigError, match="eprop or local"):
        OnlineRule("bptt", ring)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="bits of tags"):
        OnlineRule("eprop", ring, tags=Tags(0, 1.0))


def test_a_grid_that_stays_while_weights_change() -> None:
    net = SpikingLinear((6, 3), LIF(reset_v=0.0), dt_s=DT_S, seed=1)
    chip = Constrained(net, profile("loihi"))
    free = chip.numbers()[0]
    chip.full_v = {"0": 2.0}
    found = chip.numbers()[0]
    assert free.used == 127
    assert found.used == round(float(net.weight.detach().abs().max()) * 127 / 2.0)
    net.weight.data[0, 0] = 9.0
    assert chip.numbers()[0].lsb_v == found.lsb_v
    assert chip.numbers()[0].used == 127
