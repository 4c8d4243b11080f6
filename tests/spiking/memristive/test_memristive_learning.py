"""The gate and the pulses behind it: what passes, what is written, what a budget does."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clnf.core.errors import ConfigError, DataError
from clnf.core.rng import torch_rng
from clnf.devices.cell import Cell
from clnf.devices.families import cell
from clnf.devices.materials import material
from clnf.spiking import LI, LIF, EventLinear, Readout, SpikingLinear
from clnf.spiking.learning import EProp, LocalLosses
from clnf.spiking.memristive import Gate, GateRule, Lay, PulseSGD, PulseUpdate, laid


def made(name: str = "ecram_li") -> Cell:
    row = material(name).supply(
        conductance_min_s=1e-6, conductance_max_s=1e-4, write_voltage_v=1.2, write_time_s=1e-7
    )
    return cell(row)


def net_of(size: int = 4) -> nn.Sequential:
    return nn.Sequential(
        SpikingLinear((size, 5), LIF(), dt_s=1e-3, seed=1), EventLinear(5, 3, seed=2),
        Readout(LI(), dt_s=1e-3),
    )  # fmt: skip


def data() -> tuple[Tensor, Tensor]:
    rng = torch_rng(3, "events")
    x = (torch.rand(12, 6, 4, generator=rng) < 0.4).float()
    return x, torch.randint(3, (6,), generator=rng)


def test_small_errors_are_held_by_sample_or_one_by_one() -> None:
    error = torch.tensor([[0.5, -0.1], [0.1, 0.1], [-0.4, 0.3]])
    for on, wanted in (("samples", [[0.5, -0.1], [0.0, 0.0], [-0.4, 0.3]]),
                       ("errors", [[0.5, 0.0], [0.0, 0.0], [-0.4, 0.0]])):  # fmt: skip
        gate = Gate(GateRule(threshold=1.1, on=on))  # type: ignore[arg-type]
        torch.testing.assert_close(gate.let(error), torch.tensor(wanted))
        assert gate.scale.item() == pytest.approx(3 * error.square().mean().sqrt().item())
    assert gate.share == pytest.approx(2 / 6)
    # A batch twice as large has errors half as large, and as many pass.
    assert gate.let(torch.cat([error, error]) / 2).count_nonzero() == 4


def test_a_gate_of_threshold_0_changes_nothing_and_one_that_asks_lets_all_pass() -> None:
    x, y = data()
    plain, gated = net_of(), net_of()
    gate = Gate(GateRule(threshold=0.0))
    F.cross_entropy(plain(x).mean(0), y).backward()
    F.cross_entropy(gate(gated(x).mean(0)), y).backward()
    for one, other in zip(plain.parameters(), gated.parameters(), strict=True):
        assert one.grad is not None
        assert torch.equal(one.grad, other.grad)
    shut = Gate(GateRule(threshold=1e6))
    shut.eval()
    other = net_of()
    F.cross_entropy(shut(other(x).mean(0)), y).backward()
    assert torch.equal(other[0].weight.grad, plain[0].weight.grad)
    assert not int(shut.seen)
    shut.train()
    other.zero_grad()
    F.cross_entropy(shut(other(x).mean(0)), y).backward()
    assert int(shut.seen) == 6
    assert not other[0].weight.grad.any()


@pytest.mark.parametrize("way", ["eprop", "local"])
def test_online_rules_go_through_the_gate(way: str) -> None:
    x, y = data()
    hot = F.one_hot(y, 3).float()

    def error_of(p: Tensor, t: int) -> Tensor:
        return (p.softmax(1) - hot) / len(y)

    found = []
    for threshold in (None, 0.0, 1.35 if way == "eprop" else 1.7):
        net, gate = net_of(), Gate(GateRule(threshold=threshold or 0.0))
        errors = error_of if threshold is None else gate.over(error_of)
        rule = EProp(*net) if way == "eprop" else LocalLosses([net[0]], outputs=3)
        rule.lesson(x, errors)
        found.append(net[0].weight.grad)
    assert torch.equal(found[0], found[1])
    assert 0 < gate.share < 1
    assert not torch.equal(found[0], found[2])


def test_the_threshold_follows_a_budget_of_writes() -> None:
    gate = Gate(GateRule(threshold=1.0, budget=100, steps=10))
    gate.wrote(40)
    assert gate.threshold.item() == pytest.approx(min((40 / (60 / 9)) ** 0.25, 2.0))
    gate.wrote(0)
    assert gate.threshold.item() < 1.0
    assert gate.open
    gate.wrote(60)
    assert not gate.open
    assert not gate.let(torch.ones(2, 2)).any()
    gate.lesson()
    assert gate.open


@pytest.mark.parametrize("mode", ["owed", "drawn"])
def test_pulses_follow_the_gradient(mode: str) -> None:
    net = nn.Linear(40, 30, bias=False)
    arrays = laid(net, made(), seed=1, lay=Lay(range_v=0.5))
    cells = arrays[net.weight]
    assert torch.equal(net.weight.detach(), cells.weight())
    optimizer = PulseSGD(net.parameters(), arrays, lr=0.05, rule=PulseUpdate(mode=mode))  # type: ignore[arg-type]
    before = net.weight.detach().clone()
    wanted = torch.randn(30, 40, generator=torch_rng(0, "gradient")) * 0.05
    for _ in range(4):
        net.weight.grad = wanted.clone()
        optimizer.step()
    moved = (net.weight.detach() - before).flatten()
    fit = (-0.2 * wanted.flatten() @ moved) / (0.2 * wanted).square().sum()
    assert 0.7 < fit < 1.1  # steps are smaller away from the middle
    assert torch.corrcoef(torch.stack([wanted.flatten(), -moved]))[0, 1] > 0.9
    cost = cells.ledger.total(op="pulse")
    assert cost.energy_j > 0
    assert optimizer.pulses <= cost.count


def test_pulses_owed_for_longer_are_fewer() -> None:
    counts = []
    for least in (1.0, 4.0):
        net = nn.Linear(20, 10, bias=False)
        with torch.no_grad():
            net.weight.zero_()
        arrays = laid(net, made(), seed=1)
        optimizer = PulseSGD(net.parameters(), arrays, lr=0.02, rule=PulseUpdate(least=least))
        rng = torch_rng(0, "noise")
        for _ in range(20):
            net.weight.grad = torch.randn(10, 20, generator=rng) * 0.1
            optimizer.step()
        counts.append(optimizer.pulses)
    assert 0 < counts[1] < 0.9 * counts[0]


@pytest.mark.parametrize("mode", ["owed", "drawn"])
def test_a_gradient_that_is_not_finite_leaves_no_trace(mode: str) -> None:
    net = nn.Linear(3, 2, bias=False)
    arrays = laid(net, made(), seed=1)
    optimizer = PulseSGD(net.parameters(), arrays, lr=0.1, rule=PulseUpdate(mode=mode))  # type: ignore[arg-type]
    (float("inf") * net(torch.ones(1, 3))).sum().backward()
    before = net.weight.detach().clone()
    with pytest.raises(DataError, match="not finite"):
        optimizer.step()
    assert optimizer.pulses == 0
    assert torch.equal(net.weight, before)
    optimizer.zero_grad()
    net(torch.ones(1, 3)).sum().backward()
    optimizer.step()  # nothing that is owed stands in the way
    assert bool((net.weight < before).all())


def test_what_is_no_cell_takes_a_plain_step() -> None:
    net = nn.Linear(3, 2)
    optimizer = PulseSGD(net.parameters(), laid(net, made(), seed=1), lr=0.1)
    before = net.bias.detach().clone()
    net(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    torch.testing.assert_close(net.bias.detach(), before - 0.1)


def test_what_makes_no_sense_is_refused() -> None:
    net = nn.Linear(3, 2, bias=False)
    with pytest.raises(ConfigError, match="a learning rate"):
        PulseSGD(net.parameters(), {}, lr=0.0)
    with pytest.raises(ConfigError, match="owed to nobody"):
        PulseUpdate(mode="drawn", least=2.0)
    with pytest.raises(ConfigError, match="from 1 or more"):
        PulseUpdate(least=0.5)
    with pytest.raises(ConfigError, match="needs a matrix"):
        laid(nn.BatchNorm1d(3), made(), seed=1)
    with pytest.raises(ConfigError, match="a threshold is"):
        GateRule(threshold=-1.0)
    with pytest.raises(ConfigError, match="a budget is"):
        GateRule(budget=-1)
