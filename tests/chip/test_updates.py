"""Steps become pulses: the right number, on the right cells, and learning really happens."""

from typing import Any

import pytest
import torch
from torch import nn

from clnf.chip.crossbar.array import Crossbar
from clnf.chip.hosting import Chip, host
from clnf.chip.spec import ChipSpec
from clnf.chip.updates import PulseRule
from clnf.chip.updates.mixed import direction, step_digital
from clnf.core.errors import ConfigError


def single(**spec: Any) -> tuple[nn.Sequential, Chip]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(16, 8))
    spec = {"spreads": False, "read_noise": "off", "dac_bits": 0, "adc_bits": 0, "pairs": 1} | spec
    return net, host(net, assign=lambda n, m: "plastic", seed=2, spec=ChipSpec(**spec))


def tile_of(chip: Chip) -> Crossbar:
    (tile,) = chip.tiles.values()
    return tile


def test_the_accumulator_pays_out_whole_pulses_and_keeps_the_rest() -> None:
    net, chip = single()
    tile = tile_of(chip)
    optimizer = chip.optimizer([net[0].weight], lr=1.0, rule=PulseRule(precondition="none"))
    step = tile.weight_step
    wanted = torch.linspace(-3.4, 3.4, 128).view(8, 16) * step
    before = tile.wear.sum(0).clone()
    owed = torch.zeros(8, 16)
    for _ in range(5):
        net[0].weight.grad = -wanted.clone()
        optimizer.step()
        owed += wanted / step
    pulses = (tile.wear.sum(0) - before).view(8, 16)
    # Slow count: whole units leave the accumulator at each step.
    slow, chi = torch.zeros(8, 16), torch.zeros(8, 16)
    for _ in range(5):
        chi += wanted
        due = (chi / step).trunc()
        chi -= due * step
        slow += due.abs()
    assert torch.equal(pulses, slow.to(pulses.dtype))
    assert torch.allclose(optimizer.state[net[0].weight]["chi"], chi, atol=1e-6)
    assert float(chi.abs().max()) < step


def test_small_steps_move_weights_as_asked_on_average() -> None:
    net, chip = single(pairs=4)
    tile = tile_of(chip)
    weight = net[0].weight
    optimizer = chip.optimizer([weight], lr=1.0, rule=PulseRule(precondition="none"))
    start = weight.detach().clone()
    for _ in range(60):
        weight.grad = torch.full_like(weight, 0.2 * tile.weight_step) * start.sign()
        optimizer.step()
    moved = ((weight - start) * -start.sign()).detach()
    assert float(moved.mean()) == pytest.approx(12 * tile.weight_step, rel=0.15)


@pytest.mark.parametrize("rule", [
    PulseRule(), PulseRule(precondition="momentum"), PulseRule(mode="stochastic")
])  # fmt: skip
def test_a_regression_is_learned_on_real_cells(rule: PulseRule) -> None:
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(16, 8))
    chip = host(net, assign=lambda n, m: "plastic", seed=2, spec=ChipSpec())
    x = torch.randn(64, 16)
    y = x @ (torch.randn(16, 8) * 0.2)
    rate = {"mixed": 5e-3 if rule.precondition == "adam" else 0.3, "stochastic": 0.3}[rule.mode]
    optimizer = chip.optimizer(net.parameters(), lr=rate, rule=rule)
    losses = []
    for _ in range(150):
        optimizer.zero_grad()
        loss = (net(x) - y).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-10:]) < 0.35 * sum(losses[:3]) / 3 * 10
    pulses = chip.ledger.total(op="pulse").count
    assert pulses == int(tile_of(chip).wear.sum())


def test_digital_parameters_get_plain_adam() -> None:
    net, chip = single()
    optimizer = chip.optimizer(net.parameters(), lr=1e-2, rule=PulseRule(digital_lr=1e-3))
    assert [group["kind"] for group in optimizer.param_groups] == ["plastic", "digital"]
    bias = net[0].bias
    twin = nn.Parameter(bias.detach().clone())
    adam = torch.optim.Adam([twin], lr=1e-3)
    for step in range(4):
        bias.grad = torch.sin(torch.arange(8.0) + step)
        twin.grad = bias.grad.clone()
        optimizer.step()
        adam.step()
    assert torch.allclose(bias, twin, atol=1e-7)
    assert chip.ledger.total(tile="digital", op="digital").count == 4 * 8


def test_nothing_happens_without_a_gradient_and_frozen_parameters_stay_out() -> None:
    net, chip = single()
    net[0].bias.requires_grad_(False)
    optimizer = chip.optimizer(net.parameters(), lr=1e-2)
    assert len(optimizer.param_groups) == 1
    wear = tile_of(chip).wear.clone()
    optimizer.step()
    assert torch.equal(tile_of(chip).wear, wear)


def test_wrong_rules_are_refused() -> None:
    net, chip = single()
    with pytest.raises(ConfigError, match="learning rate"):
        chip.optimizer(net.parameters(), lr=0.0)
    with pytest.raises(ConfigError, match="threshold"):
        PulseRule(threshold=0.0)


def test_digital_parameters_step_together_as_each_alone() -> None:
    rule = PulseRule()
    torch.manual_seed(1)
    start = [torch.randn(shape) for shape in ((3,), (4, 5), (40,))]
    mine, theirs = ([nn.Parameter(one.clone()) for one in start] for _ in range(2))
    states: list[list[dict[str, Any]]] = [[{} for _ in start] for _ in range(2)]
    for _ in range(4):
        for one, other in zip(mine, theirs, strict=True):
            one.grad = torch.randn(one.shape)
            other.grad = one.grad.clone()
        with torch.no_grad():
            step_digital(mine, rule, states[0], 0.01)
            for other, state in zip(theirs, states[1], strict=True):
                other.add_(direction(other, rule, state, "adam"), alpha=-0.01)
    assert all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(mine, start, strict=True))
