"""Fast cells gather gradients: what is handed on, what it costs, and that it is worth it."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from clnf.chip.crossbar.array import Crossbar
from clnf.chip.hosting import Chip, host
from clnf.chip.spec import ChipSpec, ideal_chip
from clnf.chip.updates import PulseOptimizer, PulseRule, Transfer
from clnf.continual.optimizer_state import pack, unpack
from clnf.core.errors import ConfigError
from clnf.devices.materials import Material, material

MODES = ("tiki_taka", "tiki_taka_2", "chopped", "agad")
EXACT = {
    "step_spread": 0.0, "bound_max_spread": 0.0, "bound_min_spread": 0.0, "write_noise": 0.0,
    "dead_fraction": 0.0,
}  # fmt: skip


def linear_cells() -> Material:
    """Steps of one size, some thousand of them."""
    return material("ecram_li").supply(
        step=0.0005, slope_up=0.0, slope_down=0.0, step_spread=0.0, bound_max_spread=0.0,
        bound_min_spread=0.0, cycle_spread=0.0,
    )  # fmt: skip


def lopsided_cells() -> Material:
    """Soft bounds, pulses down three times as strong as pulses up."""
    return material("hfo2_array_optimised").supply(
        step_up=0.02, step_down=0.06, cycle_spread=0.3, **EXACT
    )


def one_layer(
    row: Material, mode: str, lr: float, seed: int = 2, **rule: Any
) -> tuple[nn.Sequential, Chip, Any]:
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(16, 8, bias=False))
    spec = replace(ideal_chip(), plastic=row, pairs=1, spreads=True)
    chip = host(net, assign=lambda n, m: "plastic", seed=seed, spec=spec)
    chosen = PulseRule(mode=mode, precondition="none", **rule)  # type: ignore[arg-type]
    return net, chip, chip.optimizer(net.parameters(), lr=lr, rule=chosen)


def tile_of(chip: Chip) -> Crossbar:
    return next(iter(chip.tiles.values()))


def teach(net: nn.Sequential, optimizer: PulseOptimizer, x: Tensor, d: Tensor) -> None:
    """One step whose gradient is the outer product of d and x."""
    net.zero_grad()
    net(x).backward(d)
    optimizer.step()


@pytest.mark.parametrize("mode", ["stochastic", "deterministic"])
def test_outer_products_descend_like_sgd_on_linear_cells(mode: str) -> None:
    slopes, errors = [], []
    for seed in range(9):  # random trains alone scatter the slope of one chip by a twentieth
        net, _, optimizer = one_layer(linear_cells(), mode, 0.004, seed)
        start, wanted = net[0].weight.detach().clone(), torch.zeros(8, 16)
        for step in range(40):
            torch.manual_seed(step)
            x, d = torch.randn(8, 16), torch.randn(8, 8) * 0.1
            teach(net, optimizer, x, d)
            wanted -= 0.004 * d.T @ x
        moved = net[0].weight.detach() - start
        slopes.append(float((moved * wanted).sum() / wanted.square().sum()))
        errors.append(float((moved - wanted).square().mean() / wanted.square().mean()))
    assert sum(slopes) / 9 == pytest.approx(1.0, abs=0.05)
    # What is left is the chance of trains, which evenly spread ones have far less of.
    assert sum(errors) / 9 < (0.4 if mode == "stochastic" else 0.1)


def test_even_trains_are_nearer_to_sgd_than_random_ones() -> None:
    errors = {}
    for mode in ("stochastic", "deterministic"):
        net, _, optimizer = one_layer(linear_cells(), mode, 0.002)
        start, wanted = net[0].weight.detach().clone(), torch.zeros(8, 16)
        for step in range(20):
            torch.manual_seed(step)
            x, d = torch.randn(8, 16), torch.randn(8, 8) * 0.1
            teach(net, optimizer, x, d)
            wanted -= 0.002 * d.T @ x
        errors[mode] = float((net[0].weight.detach() - start - wanted).square().mean())
    assert errors["deterministic"] < 0.7 * errors["stochastic"]


@pytest.mark.parametrize("mode", MODES)
def test_what_was_gathered_is_handed_on_with_slope_one(mode: str) -> None:
    """One batch on linear cells, all rows transferred once: C and what H owes moved by -lr d x."""
    transfer = Transfer(every=1, fast_lr=0.01, chop=0.0, shift_cycles=0)
    slopes = []
    for seed in range(9):
        net, chip, optimizer = one_layer(linear_cells(), mode, 0.002, seed, transfer=transfer)
        start = net[0].weight.detach().clone()
        torch.manual_seed(3)
        x, d = torch.randn(16, 16), torch.randn(16, 8) * 0.1
        teach(net, optimizer, x, d)
        owed = optimizer.state[net[0].weight]["hidden"]
        moved, wanted = net[0].weight.detach() - start + owed, -0.002 * d.T @ x
        slopes.append(float((moved * wanted).sum() / wanted.square().sum()))
    assert sum(slopes) / 9 == pytest.approx(1.0, abs=0.12)
    assert float(owed.abs().max()) < tile_of(chip).weight_step or mode == "tiki_taka"
    # Half the rows only, with a transfer every other vector.
    net, chip, optimizer = one_layer(
        linear_cells(), mode, 0.002, transfer=replace(transfer, every=2)
    )
    start = net[0].weight.detach().clone()
    teach(net, optimizer, x, d)
    untouched = (net[0].weight.detach() - start + optimizer.state[net[0].weight]["hidden"])[:, 8:]
    assert not untouched.any()


def error_of(row: Material, mode: str, lr: float, **rule: Any) -> float:
    """Relative squared weight error of a noisy linear regression, late; the mean of three chips."""
    return sum(_error_of(row, mode, lr, seed, **rule) for seed in (2, 3, 4)) / 3


def _error_of(row: Material, mode: str, lr: float, seed: int, **rule: Any) -> float:
    net, _, optimizer = one_layer(row, mode, lr, seed, **rule)
    torch.manual_seed(7)
    target, rng = torch.randn(8, 16) * 0.12, torch.Generator().manual_seed(5)
    errors = []
    for step in range(600):
        x = torch.randn(16, 16, generator=rng)
        y = x @ target.T + 0.5 * torch.randn(16, 8, generator=rng)
        optimizer.zero_grad()
        ((net(x) - y).square().sum(1).mean() / 2).backward()
        optimizer.step()
        if step >= 450:
            off = (net[0].weight.detach() - target).square().mean() / target.square().mean()
            errors.append(float(off))
    return sum(errors) / len(errors)


def test_lopsided_cells_fail_plain_sgd_and_not_tiki_taka() -> None:
    """The known result (Gokmen & Haensch 2020; Rasch et al. 2024); plain SGD is the control."""
    row = lopsided_cells()
    plain = min(error_of(row, "stochastic", lr) for lr in (0.01, 0.03))
    assert plain > 0.15
    assert error_of(linear_cells(), "stochastic", 0.01) < 0.05
    second = error_of(row, "tiki_taka_2", 0.01, transfer=Transfer(every=8, fast_pulses=2.0))
    dynamic = error_of(row, "agad", 0.003, transfer=Transfer(every=8, fast_pulses=2.0))
    assert second < plain / 2
    assert dynamic < plain / 2


def test_zero_shifting_brings_cells_and_references_together() -> None:
    row = lopsided_cells()
    _, chip, _ = one_layer(row, "tiki_taka_2", 0.01)
    fast = tile_of(chip).fast
    assert fast is not None
    law = fast.cell.need(fast.cell.response)
    assert float(fast.hidden[0].mean()) == pytest.approx(law.symmetry, abs=0.06)
    assert float(fast.view(0.0)[0].abs().mean() / fast.scale[0]) < 0.02
    pulses = chip.ledger.total(tile=fast.name, op="pulse").count
    assert pulses == int(fast.wear.sum()) > 0
    # Control: without it, cells stay where they were made, far from there.
    _, chip, _ = one_layer(row, "agad", 0.01)
    fast = tile_of(chip).fast
    assert fast is not None
    assert abs(float(fast.hidden[0].mean()) - law.symmetry) > 0.3


@pytest.mark.parametrize("mode", MODES)
def test_a_shut_fence_keeps_both_arrays(mode: str) -> None:
    net, chip, optimizer = one_layer(lopsided_cells(), mode, 0.1, transfer=Transfer(every=1))
    mask = torch.ones(8, 16)
    mask[:, :8] = 0.0
    chip.set_fence("0", mask)
    tile = tile_of(chip)
    assert tile.fast is not None
    before = [t.wear.clone().view(2, 8, 16) for t in (tile, tile.fast)]
    for step in range(6):
        torch.manual_seed(step)
        teach(net, optimizer, torch.randn(8, 16), torch.randn(8, 8))
    for crossbar, wear in zip((tile, tile.fast), before, strict=True):
        worn = crossbar.wear.view(2, 8, 16) - wear
        assert int(worn[:, :, :8].sum()) == 0
        assert int(worn[:, :, 8:].sum()) > 0


def test_reads_and_pulses_are_charged_as_counted_by_hand() -> None:
    transfer = Transfer(every=2, fast_lr=0.05, shift_cycles=0)
    net, chip, optimizer = one_layer(linear_cells(), "agad", 0.1, transfer=transfer)
    chip.ledger.lesson = "one"
    fast = tile_of(chip).fast
    assert fast is not None
    wear = int(fast.wear.sum())
    teach(net, optimizer, torch.randn(12, 16), torch.randn(12, 8))
    counts = {
        op: chip.ledger.total(tile=fast.name, lesson="one", op=op).count
        for op in ("read", "dac", "adc", "pulse", "digital")
    }
    # 12 vectors, a row each 2: 6 rows of 8 columns, a cell and its reference each.
    assert (counts["read"], counts["dac"], counts["adc"]) == (6 * 8 * 2, 6, 6 * 8)
    assert counts["digital"] == 6 * 8
    assert counts["pulse"] == int(fast.wear.sum()) - wear > 0
    slow = tile_of(chip)
    pulses = chip.ledger.total(tile=slow.name, lesson="one", op="pulse").count
    setup = chip.ledger.total(tile=slow.name, lesson="setup", op="pulse").count
    assert pulses + setup == int(slow.wear.sum())


def run_some(net: nn.Sequential, optimizer: PulseOptimizer, steps: range) -> None:
    for step in steps:
        torch.manual_seed(step)
        teach(net, optimizer, torch.randn(8, 16), torch.randn(8, 8))


@pytest.mark.parametrize("mode", ["stochastic", "deterministic", *MODES])
def test_who_resumes_goes_on_to_the_same_bits(mode: str) -> None:
    row, rule = material("hfo2_array_optimised"), {"transfer": Transfer(every=3, chop=0.3)}
    net, chip, optimizer = one_layer(row, mode, 0.1, **rule)
    run_some(net, optimizer, range(5))
    kept = chip.state_dict(), pack(optimizer.state_dict())
    run_some(net, optimizer, range(5, 9))
    ends = []
    for late in (False, True):
        torch.manual_seed(99)
        other = nn.Sequential(nn.Linear(16, 8, bias=False))
        spec = replace(ideal_chip(), plastic=row, pairs=1, spreads=True)
        again = host(other, assign=lambda n, m: "plastic", seed=2, spec=spec)
        chosen = PulseRule(mode=mode, precondition="none", **rule)  # type: ignore[arg-type]
        if late:  # the state first, then the rule that asks for fast cells
            again.load_state_dict(kept[0])
        resumed = again.optimizer(other.parameters(), lr=0.1, rule=chosen)
        if not late:
            again.load_state_dict(kept[0])
        resumed.load_state_dict(unpack(kept[1]))
        run_some(other, resumed, range(5, 9))
        ends.append(other[0].weight.detach().clone())
        mine, theirs = chip.state_dict(), again.state_dict()
        assert all(torch.equal(v, theirs[k]) for k, v in mine.items() if isinstance(v, Tensor))
    assert all(torch.equal(net[0].weight.detach(), end) for end in ends)
    fresh, _, other_optimizer = one_layer(row, mode, 0.1, **rule)
    run_some(fresh, other_optimizer, range(5, 9))
    assert not torch.equal(net[0].weight.detach(), fresh[0].weight.detach())


def test_together_and_one_by_one_gather_alike_and_differ_in_what_is_read() -> None:
    """A whole number of rounds after the last vector is the same order, so the same reads."""
    torch.manual_seed(3)
    x, d = torch.randn(8, 16).sign(), torch.randn(8, 8).sign() * 0.1
    owed = {}
    for every, together in ((8, True), (8, False), (1, True), (1, False)):
        transfer = Transfer(every=every, fast_lr=0.06, chop=0.0, shift_cycles=0)
        net, chip, optimizer = one_layer(
            linear_cells(), "tiki_taka_2", 1.0, transfer=transfer, together=together
        )
        start = net[0].weight.detach().clone()
        teach(net, optimizer, x, d)
        hidden = optimizer.state[net[0].weight]["hidden"]
        owed[every, together] = net[0].weight.detach() - start + hidden
        fast = tile_of(chip).fast
        assert fast is not None

    def off(value: Tensor, target: Tensor) -> float:
        return float((value - target).square().mean() / target.square().mean())

    # One transfer, after all vectors: only the draws of the trains differ.
    wanted = -(d.T @ x)
    for together in (True, False):
        assert off(owed[8, together][:, 0], wanted[:, 0]) < 0.1
        assert not owed[8, together][:, 1:].any()
    # One after each vector: together all rows hold the whole batch, one by one the first row
    # holds one vector, the second two, and so on.
    partial = torch.stack([-(d[: r + 1].T @ x[: r + 1])[:, r] for r in range(8)], dim=1)
    assert off(owed[1, True][:, :8], wanted[:, :8]) < 0.15 < off(partial, wanted[:, :8])
    assert off(owed[1, False][:, :8], partial) < 0.15


def test_gamma_adds_the_fast_cells_to_every_read_and_to_its_price() -> None:
    net, chip, optimizer = one_layer(
        linear_cells(), "tiki_taka", 0.1, transfer=Transfer(every=1000, gamma=0.5, fast_lr=0.01)
    )
    start = net[0].weight.detach().clone()
    chip.ledger.lesson = "one"
    torch.manual_seed(3)
    x, d = torch.randn(8, 16), torch.randn(8, 8) * 0.1
    teach(net, optimizer, x, d)
    moved, wanted = net[0].weight.detach() - start, -0.005 * d.T @ x
    assert float((moved * wanted).sum() / wanted.square().sum()) == pytest.approx(1.0, abs=0.1)
    tile = tile_of(chip)
    reads = chip.ledger.total(tile=tile.name, lesson="one", op="read").count
    assert reads == 8 * 16 * 8 * 4  # forward: cells of both arrays; no input needs a gradient
    assert {tile.name, f"{tile.name}/fast"} == set(chip.wear())


def test_a_roll_back_brings_fast_cells_back_too() -> None:
    net, chip, optimizer = one_layer(
        linear_cells(), "tiki_taka_2", 0.1, transfer=Transfer(fast_lr=0.2)
    )
    snapshot = chip.state_dict()
    fast = tile_of(chip).fast
    assert fast is not None
    before = fast.view(0.0)[0].clone()
    run_some(net, optimizer, range(10))
    far = float((fast.view(0.0)[0] - before).abs().max())
    chip.restore_plastic(snapshot)
    left = float((fast.view(0.0)[0] - before).abs().max())
    assert left < 0.011 * float(fast.scale[0]) < far


def test_wrong_transfers_are_refused() -> None:
    with pytest.raises(ConfigError, match="every"):
        Transfer(every=0)
    with pytest.raises(ConfigError, match="memory"):
        Transfer(memory=0.0)
    with pytest.raises(ConfigError, match="mode"):
        PulseRule(mode="tiki")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="learning rate"):
        net = nn.Sequential(nn.Linear(4, 2))
        chip = host(net, assign=lambda n, m: "plastic", seed=0, spec=ChipSpec())
        chip.optimizer(net.parameters(), lr=0.0, rule=PulseRule(mode="agad"))
