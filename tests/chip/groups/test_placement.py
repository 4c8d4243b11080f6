"""Traffic is the ledger's, the kernel is its reference, and placing beats chance."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from clnf.chip import Chip, ChipSpec, host
from clnf.chip.groups.placement import (
    _moves,
    _net,
    anneal,
    anneal_reference,
    arrange,
    place_m,
    plan_of,
    routing,
    scatter,
)
from clnf.chip.groups.traffic import PORT, Flow, traffic
from clnf.chip.technology import Constant
from clnf.core.errors import ConfigError
from clnf.media.unet import UNet, UNetParams


class Net(nn.Module):
    """Branches that are added, put side by side, and multiplied."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(20, 12), nn.Linear(12, 12)
        self.c, self.d = nn.Linear(24, 8), nn.Linear(8, 12)

    def forward(self, x: Tensor) -> Tensor:
        a = torch.relu(self.a(x))
        b = self.b(a) + a
        c = self.c(torch.cat([a, b], 1))
        out: Tensor = self.d(c.tanh())
        return out


def hosted(module: nn.Module, side: int = 16) -> Chip:
    torch.manual_seed(0)
    module.requires_grad_(False)
    spec = ChipSpec(tile_rows=side, tile_columns=side)
    chip = host(module, assign=lambda name, leaf: "core", seed=1, spec=spec)
    chip.program_core()
    return chip


def followed(chip: Chip, ask: Callable[[], object]) -> tuple[list[Flow], int]:
    before = chip.ledger.total(op="routing").count
    flows = traffic(chip, ask)
    return flows, chip.ledger.total(op="routing").count - before


def sums(flows: list[Flow], *kinds: str) -> float:
    return sum(flow.bits for flow in flows if flow.kind in kinds)


def test_inputs_and_sums_are_the_bits_of_the_ledger() -> None:
    one = Net()
    chip = hosted(one)
    flows, charged = followed(chip, lambda: one(torch.randn(3, 20)))
    assert sums(flows, "inputs", "sums") == pytest.approx(charged, rel=1e-12)
    unet = UNet(UNetParams(width=8, embedding=16, multipliers=(1, 2)))
    nn.init.normal_(unet.leave.weight)
    chip = hosted(unet, 24)
    x = torch.randn(2, 3, 32, 32)
    flows, charged = followed(chip, lambda: unet(x, torch.rand(2), torch.tensor([1, 2])))
    assert sums(flows, "inputs", "sums") == pytest.approx(charged, rel=1e-12)
    turned = nn.Sequential(nn.Conv1d(4, 6, 3, groups=2), nn.ConvTranspose1d(6, 3, 4, stride=2))
    chip = hosted(turned, 8)
    flows, charged = followed(chip, lambda: turned(torch.randn(2, 4, 11)))
    assert sums(flows, "inputs", "sums") == pytest.approx(charged, rel=1e-12)


def between(flows: list[Flow], source: str, sink: str, kind: str) -> float:
    return sum(
        flow.bits
        for flow in flows
        if (flow.source.partition("[")[0], flow.sink.partition("[")[0], flow.kind)
        == (source, sink, kind)
    )


def test_flows_follow_the_module() -> None:
    one = Net()
    chip = hosted(one, 64)
    flows, _ = followed(chip, lambda: one(torch.randn(3, 20)))
    assert between(flows, PORT, "a", "inputs") == 3 * 20 * 8
    assert between(flows, "a", "b", "inputs") == 3 * 12 * 8
    assert between(flows, "a", "b", "operands") == 3 * 12 * 16  # added beside b
    assert between(flows, "a", "c", "inputs") == between(flows, "b", "c", "inputs") == 3 * 12 * 8
    assert between(flows, "c", "d", "inputs") == 3 * 8 * 8
    assert len(flows) == 6
    with torch.no_grad(), pytest.raises(ConfigError, match="gradients"):
        traffic(chip, torch.no_grad()(lambda: one(torch.randn(3, 20))))


def chain(count: int) -> tuple[list[Flow], dict[str, str | None]]:
    names = [f"t{n}" for n in range(count)]
    ends = [PORT, *names]
    flows = [
        Flow(source=a, sink=b, kind="inputs", bits=100.0 + n)
        for n, (a, b) in enumerate(zip(ends, names, strict=False))
    ]
    return flows, {name: "ab"[n * 2 // count] for n, name in enumerate(names)}


def test_the_kernel_does_what_its_reference_does() -> None:
    flows, groups = chain(11)
    for together in (0.0, 0.3):
        start = scatter(tuple(groups), 3)
        net = _net(flows, tuple(groups), groups, together, start)
        moves = _moves(net, 11, 40, 3)
        fast, slow = (np.array(start.places) for _ in range(2))
        anneal(fast, net, moves)
        anneal_reference(slow, net, moves)
        assert fast.tolist() == slow.tolist()
        assert fast.tolist() != list(start.places)


def test_placing_finds_a_chains_best_and_beats_every_chance() -> None:
    flows, groups = chain(25)
    placed = arrange(flows, dict.fromkeys(groups), seed=1)
    assert sorted(placed.places) == list(range(25))
    hops = sum(flow.bits * placed.hops(flow.source, flow.sink) for flow in flows)
    least = sum(flow.bits for flow in flows)
    assert hops <= 1.15 * least  # one place on for each, or nearly
    for seed in range(5):
        chance = scatter(tuple(groups), seed)
        assert sum(f.bits * chance.hops(f.source, f.sink) for f in flows) > 2.5 * least


def test_groups_pull_together() -> None:
    _, groups = chain(36)
    names = list(groups)
    flows = [  # talk across the groups, which by itself mixes them
        Flow(source=names[n], sink=names[35 - n], kind="inputs", bits=50.0) for n in range(18)
    ]

    def apart(together: float) -> float:
        placed = arrange(flows, groups, seed=2, together=together)
        mine = [name for name in names if groups[name] == "a"]
        return sum(placed.hops(a, b) for a in mine for b in mine)

    assert apart(3.0) < 0.8 * apart(0.0)


def test_energy_is_routers_and_wires_and_what_is_unknown_is_named() -> None:
    one = Net()
    chip = hosted(one, 64)
    flows, _ = followed(chip, lambda: one(torch.randn(3, 20)))
    placed = arrange(flows, dict.fromkeys(chip.tiles), seed=1)
    each = chip.circuit.costs.routing_bit_j
    bare = routing(chip, flows, placed)
    by_hand = sum(f.bits * (placed.hops(f.source, f.sink) + 1) for f in flows) * each
    assert bare.energy_j == pytest.approx(by_hand)
    assert sum(bare.by_tile_j.values()) == pytest.approx(by_hand)
    assert bare.wires_j is None
    assert "wire_bit_m_j" in bare.unknown[0]
    wire = Constant(value=1e-10, source="a test")
    both = routing(chip, flows, placed, wire_bit_m_j=wire)
    assert not both.unknown
    assert both.wires_j == pytest.approx(both.bit_hops * place_m(chip) * 1e-10)
    assert both.energy_j == pytest.approx(bare.energy_j + both.wires_j)  # type: ignore[operator]


def test_what_the_ledger_has_and_what_a_placement_adds_are_all_of_it() -> None:
    one = Net()
    chip = hosted(one)
    flows, charged = followed(chip, lambda: one(torch.randn(3, 20)))
    operands = sum(flow.bits for flow in flows if flow.kind == "operands")
    for seed in (4, 5):
        found = routing(chip, flows, scatter(tuple(chip.tiles), seed))
        passes = charged + operands + found.bit_hops
        assert found.energy_j == pytest.approx(passes * chip.circuit.costs.routing_bit_j, rel=1e-6)


def test_a_plan_has_every_tile_in_its_own_place() -> None:
    one = Net()
    chip = hosted(one)
    placed = scatter(tuple(chip.tiles), 4)
    plan = plan_of(chip, placed)
    side = place_m(chip)
    assert plan.names == placed.names
    assert plan.width_m == pytest.approx(placed.columns * side)
    for site, at in zip(plan.sites, placed.places, strict=True):
        row, column = divmod(at, placed.columns)
        assert column * side <= site.left_m <= site.left_m + site.side_m <= (column + 1) * side
        low = (placed.rows - 1 - row) * side
        assert low <= site.low_m <= low + side + 1e-12


def test_bad_input_gets_a_sentence() -> None:
    flows, groups = chain(4)
    for together, tries in ((-1.0, 1), (0.1, 0), (float("inf"), 1)):
        with pytest.raises(ConfigError, match="placing needs"):
            arrange(flows, groups, seed=1, together=together, tries=tries)
    with pytest.raises(ConfigError, match="has no place"):
        arrange(flows, {"t0": None}, seed=1)
    with pytest.raises(ConfigError, match="at least one tile"):
        arrange([], {}, seed=1)
