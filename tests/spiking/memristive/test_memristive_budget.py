"""A budget of writes goes to the pulses that are worth most, and is never exceeded."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clnf.core.errors import ConfigError
from clnf.core.rng import torch_rng
from clnf.devices.cell import Cell
from clnf.devices.families import cell
from clnf.devices.materials import material
from clnf.spiking.memristive import Gate, GateRule, PulseSGD, PulseUpdate, laid

STEPS, CLASSES = 40, 5
FIRST = GateRule(threshold=0.0, steps=STEPS)
WORTH = GateRule(on="worth", steps=STEPS)


def made() -> Cell:
    row = material("ecram_li").supply(
        conductance_min_s=1e-6, conductance_max_s=1e-4, write_voltage_v=1.2, write_time_s=1e-7
    )
    return cell(row)


def blobs() -> tuple[Tensor, Tensor]:
    """Samples of five classes, those of the last two in the second half."""
    rng = torch_rng(4, "blobs")
    half = STEPS * 16 // 2
    y = torch.cat([torch.randint(0, 3, (half,), generator=rng),
                   torch.randint(0, CLASSES, (half,), generator=rng)])  # fmt: skip
    middle = torch.rand(CLASSES, 16, generator=rng)[y]
    return middle + 0.1 * torch.randn(2 * half, 16, generator=rng), y


def taught(rule: GateRule, lessons: int = 1) -> tuple[float, list[int], Gate]:
    """Accuracy at the end, pulses by lesson, and the gate."""
    x, y = blobs()
    torch.manual_seed(3)
    net = nn.Sequential(nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, CLASSES))
    gate = Gate(rule)
    optimizer = PulseSGD(net.parameters(), laid(net, made(), seed=1), lr=1.0, gate=gate)
    spent = []
    for _ in range(lessons):
        before = optimizer.pulses
        gate.lesson()
        for mine, wanted in zip(x.split(16), y.split(16), strict=True):
            optimizer.zero_grad()
            F.cross_entropy(gate(net(mine)), wanted).backward()
            optimizer.step()
        spent.append(optimizer.pulses - before)
    return float((net(x).argmax(1) == y).float().mean()), spent, gate


def test_a_quarter_keeps_most_of_what_a_lesson_teaches_where_first_come_does_not() -> None:
    whole, (every,), _ = taught(FIRST)
    found = {}
    for rule in (FIRST, WORTH, replace(WORTH, falling=True)):
        right, (pulses,), _ = taught(replace(rule, budget=every // 4))
        found[rule.on, rule.falling] = right
        # The one is known before it is given, the other is late by a step.
        assert (pulses <= every // 4) == (rule.on == "worth")
    assert whole > 0.95
    assert min(found["worth", False], found["worth", True]) > 0.85
    assert found["samples", False] < 0.65  # what comes late finds nothing left


@pytest.mark.parametrize(
    ("budget", "falling"), [(3000, False), (3000, True), (50, False), (0, True)]
)
def test_a_budget_is_never_exceeded_lesson_after_lesson(budget: int, falling: bool) -> None:
    _, spent, gate = taught(replace(WORTH, budget=budget, falling=falling), lessons=2)
    assert all(pulses <= budget for pulses in spent)
    assert budget < 100 or min(spent) > 0.9 * budget
    assert gate.share == 1.0  # errors all pass


def test_without_a_budget_worth_alone_decides() -> None:
    every = taught(FIRST)[1][0]
    counts = [taught(replace(WORTH, threshold=t))[1][0] for t in (0.0, 1e-6, 1e9)]
    assert every > counts[0] > counts[1] > counts[2] == 0


def matrix(gate: Gate) -> tuple[nn.Parameter, PulseSGD, float]:
    """One matrix, its optimizer, and a pulse's step."""
    net = nn.Linear(4, 1, bias=False)
    arrays = laid(net, made(), seed=1)
    optimizer = PulseSGD(net.parameters(), arrays, lr=1.0, rule=PulseUpdate(running=0.0), gate=gate)
    return net.weight, optimizer, arrays[net.weight].weight_step


def test_the_best_pulses_come_first_and_the_rest_stay_owed() -> None:
    gate = Gate(GateRule(on="worth", budget=5, steps=1))
    weight, optimizer, step = matrix(gate)
    weight.grad = -step * torch.tensor([[3.25, -2.25, 1.25, 5.25]])  # 11 pulses
    optimizer.step()
    owed = optimizer.state[weight]["owed"] / step
    torch.testing.assert_close(owed, torch.tensor([[3.25, -2.25, 1.25, 0.25]]))
    assert optimizer.pulses == 5
    gate.lesson()
    weight.grad = -step * torch.tensor([[0.1, -0.3, 0.001, 0.0]])
    optimizer.step()
    assert optimizer.pulses == 10
    owed = optimizer.state[weight]["owed"] / step
    assert owed[0, 2] > 1 > owed[0, [0, 1, 3]].abs().max()


def test_a_large_debt_does_not_stand_in_the_way() -> None:
    weight, optimizer, step = matrix(Gate(GateRule(on="worth", budget=10, steps=2)))
    weight.grad = -step * torch.tensor([[30.5, 1.0, 1.0, 1.0]])
    optimizer.step()
    assert optimizer.pulses == 5
    assert optimizer.state[weight]["owed"][0, 0] / step == pytest.approx(25.5)


def test_debts_that_went_wrong_are_not_paid() -> None:
    weight, optimizer, step = matrix(Gate(GateRule(on="worth", budget=100, steps=10)))
    optimizer.state[weight]["owed"] = step * torch.tensor([[3.5, 0.0, 0.0, 0.0]])
    weight.grad = step * torch.tensor([[1.0, 0.0, 0.0, 0.0]])
    optimizer.step()
    assert optimizer.pulses == 0  # 2.5 are owed still, up; the gradient says down
    weight.grad = -step * torch.tensor([[0.1, 0.0, 0.0, 0.0]])
    optimizer.step()
    assert optimizer.pulses == 2  # negative control


def test_the_rate_follows_the_budget_and_comes_back() -> None:
    gate = Gate(GateRule(on="worth", budget=100, steps=10))
    weight, optimizer, step = matrix(gate)
    rates = []
    for size in (25.0, 25.0, 0.0, 0.0, 0.0):
        weight.grad = torch.full_like(weight, -size * step)
        optimizer.step()
        rates.append(gate.rate.item())
    assert rates[0] == pytest.approx((4 * 10 / 10) ** -0.25)  # no cell asks for more than all
    assert rates[1] < rates[0]
    optimizer.state[weight]["owed"].zero_()
    for _ in range(12):
        optimizer.step()
    assert gate.rate.item() == 1.0
    plain = Gate(GateRule(budget=100, steps=10))
    weight, optimizer, step = matrix(plain)
    weight.grad = torch.full_like(weight, -25.0 * step)
    optimizer.step()
    assert plain.rate.item() == 1.0  # negative control


def test_a_gate_goes_on_where_its_state_was_kept() -> None:
    rule, rng = GateRule(on="worth", budget=60, steps=6), torch_rng(2, "gradients")
    gate = Gate(rule)
    weight, optimizer, step = matrix(gate)
    grads = [step * 8 * torch.randn(1, 4, generator=rng) for _ in range(6)]
    for number, grad in enumerate(grads):
        if number == 3:
            kept = gate.state_dict(), optimizer.state_dict(), optimizer.arrays[weight].state_dict()
            kept = copy.deepcopy(kept)
        weight.grad = grad
        optimizer.step()
    ends = []
    for lost in (False, True):
        again = Gate(rule)
        other, others, _ = matrix(again)
        if not lost:
            again.load_state_dict(kept[0])
        others.load_state_dict(kept[1])
        others.arrays[other].load_state_dict(kept[2])
        for grad in grads[3:]:
            other.grad = grad
            others.step()
        ends.append(torch.equal(other, weight) and others.pulses == optimizer.pulses)
    assert ends == [True, False]


def test_drawn_pulses_and_other_places_are_refused() -> None:
    net = nn.Linear(3, 2, bias=False)
    with pytest.raises(ConfigError, match="among owed pulses"):
        PulseSGD(net.parameters(), {}, lr=1.0, rule=PulseUpdate(mode="drawn"), gate=Gate(WORTH))
    with pytest.raises(ConfigError, match="keeps from 0"):
        PulseUpdate(running=1.0)
    with pytest.raises(ConfigError, match="'samples', 'errors', 'worth'"):
        GateRule(on="cells")  # type: ignore[arg-type]
    assert (GateRule().start, WORTH.start) == (1.0, 0.0)
