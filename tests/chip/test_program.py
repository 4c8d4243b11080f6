"""Write-verify: errors shrink to the tolerance, pulses are counted, drift can be undone."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from clnf.chip.bill import Bill
from clnf.chip.compensation import PROBES, compensate
from clnf.chip.crossbar.array import Crossbar
from clnf.chip.crossbar.footprint import state_bytes
from clnf.chip.crossbar.mapping import Mapping
from clnf.chip.crossbar.wiring import Wires
from clnf.chip.program import Verify, write_by_pulses, write_once
from clnf.chip.spec import ChipSpec
from clnf.chip.technology import technology
from clnf.core.errors import ConfigError
from clnf.core.ledger import Ledger
from clnf.devices.cell import Unknown

RNG = torch.Generator().manual_seed(6)
TARGET = torch.randn(40, 60, generator=RNG) * 0.1
DAY = 86_400.0


def bill() -> Bill:
    return Bill(Ledger(), technology("isaac_32nm", 8))


def stored(rounds: int = 20, **spec: object) -> tuple[Crossbar, Bill, float]:
    make = ChipSpec(**spec).make(plastic=False)  # type: ignore[arg-type]
    tile = Crossbar("t", slice(0, 60), slice(0, 40), 4, make)
    account = bill()
    return tile, account, write_once(tile, TARGET, 0.0, account, Verify(rounds=rounds))


def test_verifying_makes_programming_better_and_costs_pulses() -> None:
    _, once_bill, once = stored(1)
    tile, many_bill, many = stored(20)
    assert many < once / 2.5
    pulses = [b.ledger.total(op="pulse").count for b in (once_bill, many_bill)]
    assert pulses[0] == 2 * TARGET.numel()
    assert pulses[1] == int(tile.wear.sum()) > 2 * pulses[0]


def test_without_spread_programming_is_exact_in_one_round() -> None:
    tile, account, error = stored(spreads=False, read_noise="off")
    assert error < 1e-6
    assert account.ledger.total(op="pulse").count == 2 * TARGET.numel()
    assert torch.allclose(tile.view(365 * DAY)[0], TARGET, atol=1e-6)


@pytest.mark.parametrize("kind", ["differential", "balanced", "sliced"])
def test_cells_are_written_higher_by_what_their_wires_take(kind: Any) -> None:
    quiet = {
        "spreads": False, "read_noise": "off", "stored": Mapping(kind=kind, pairs=2, bits=8),
        "wires": Wires(word_ohm=8.0, bit_ohm=12.0, source_ohm=50.0, sink_ohm=30.0),
    }  # fmt: skip
    _, _, lost = stored(**quiet, correct_wires=False)
    tile, _, left = stored(**quiet)
    assert lost > 0.03
    assert left < lost / 8
    low, high = (float(x) for x in tile.conductance_s(0.0).aminmax())
    assert high <= tile.cell.window.high_s * (1 + 1e-6)
    assert low >= tile.cell.window.low_s * (1 - 1e-6)


@pytest.mark.parametrize("kind", ["global", "column", "learned"])
def test_drift_shrinks_weights_and_compensation_brings_their_level_back(kind: Any) -> None:
    tile, account, _ = stored()
    start, _ = tile.view(0.0)
    drifted, _ = tile.view(DAY)
    shrink = float(drifted.abs().sum() / start.abs().sum())
    assert 0.5 < shrink < 0.8
    before = account.ledger.total(op="verify").count
    compensate(tile, DAY, account, kind)
    reads = account.ledger.total(op="verify").count - before
    assert reads == (PROBES if kind == "learned" else TARGET.numel())
    now, _ = tile.view(DAY)
    assert float(now.abs().sum() / start.abs().sum()) == pytest.approx(1.0, abs=0.03)
    lost = float((drifted - start).square().mean())
    assert float((now - start).square().mean()) < lost / 4
    if kind == "column":
        columns = now.abs().sum(1) / start.abs().sum(1)
        assert float((columns - 1).abs().max()) < 0.25


def test_the_learned_factor_is_best_for_outputs() -> None:
    """On new inputs: less error than any common factor, and than no correction at all."""
    x = torch.randn(500, 60, generator=torch.Generator().manual_seed(8))
    errors = {}
    for kind in (None, "global", "learned"):
        tile, account, _ = stored()
        wanted = x @ tile.view(0.0)[0].T
        if kind:
            compensate(tile, DAY, account, kind)  # type: ignore[arg-type]
        errors[kind] = float((x @ tile.view(DAY)[0].T - wanted).norm() / wanted.norm())
    assert errors["learned"] < errors["global"] < errors[None] / 2
    with pytest.raises(ConfigError, match="global, column or learned"):
        compensate(tile, DAY, account, "mean")  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(40, 60), (3, 4)])
@pytest.mark.parametrize("pairs", [1, 2, 5])
def test_kernels_and_torch_write_and_drift_to_the_same_bits(
    shape: tuple[int, int], pairs: int
) -> None:
    tiles = []
    for kernels in (True, False):
        make = ChipSpec(kernels=kernels, stored=Mapping(pairs=pairs)).make(plastic=False)
        tile = Crossbar("t", slice(0, shape[1]), slice(0, shape[0]), 4, make)
        write_once(tile, TARGET[: shape[0], : shape[1]], 3.0, bill(), Verify(rounds=1))
        tiles.append(tile)
    a, b = tiles
    for name in ("seen", "trait", "born_s", "wear", "scale", "expected", "answers"):
        assert torch.equal(getattr(a, name), getattr(b, name)), name
    assert torch.equal(a.weights_now(DAY), b.weights_now(DAY))
    # What is kept to compare with is what a read then gives, and every cell was pulsed once.
    assert torch.allclose(a.view(3.0)[0].abs().sum(1), a.expected, rtol=1e-5)
    assert bool((a.wear == 1).all())
    assert bool((a.born_s == 3.0).all())
    # Against the published law in torch's own functions; and a control: it has drifted.
    drift = a.cell.need(a.cell.drift)
    now = drift.at(a.cell.conductance_s(a.seen), a.trait, torch.tensor(DAY - 3.0))
    assert torch.allclose(a.weights_now(DAY), a.cell.weight(now), atol=2e-6)
    assert not torch.allclose(a.weights_now(DAY), a.seen, atol=1e-2)


def test_state_takes_few_bytes_a_cell() -> None:
    learns, stores = (ChipSpec(pairs=1).make(plastic=p) for p in (True, False))
    full = replace(learns, cell=replace(learns.cell, drift=stores.cell.drift))
    bare = ChipSpec(pairs=1, spreads=False).make(plastic=True)
    bare = replace(bare, cell=replace(bare.cell, endurance=Unknown("off")))
    found = []
    for make in (full, bare):
        tile = Crossbar("t", slice(0, 128), slice(0, 128), 1, make)
        tile.set_fence(torch.full((128, 128), 0.5))
        assert tile.pulse(torch.ones(128, 128))[0] > 0
        found.append(state_bytes(tile) / (tile.planes * tile.size))
    assert found[0] <= 40
    assert found[1] <= 16
    # Control: traits of every cell, 16 bytes, are what the second one saves and are counted.
    assert found[0] > found[1] + 16


def plastic() -> Crossbar:
    tile = Crossbar("p", slice(0, 60), slice(0, 40), 4, ChipSpec().make(plastic=True))
    tile.scale.fill_(0.4)
    return tile


def test_plastic_weights_reach_their_target_by_pulses() -> None:
    tile, account = plastic(), bill()
    start = float((tile.view(0.0)[0] - TARGET).square().mean().sqrt() / 0.4)
    left = write_by_pulses(tile, TARGET, account, Verify())
    assert left < start / 3
    assert account.ledger.total(op="pulse").count == int(tile.wear.sum()) > 0
    assert account.ledger.total(op="verify").count >= TARGET.numel()


def test_only_chosen_weights_are_pulsed() -> None:
    tile, only = plastic(), torch.zeros(40, 60, dtype=torch.bool)
    only[:, ::2] = True
    before = tile.seen.clone()
    write_by_pulses(tile, TARGET, bill(), Verify(), only_CR=only)
    touched = (tile.seen != before).any(0).view(40, 60)
    assert not bool(touched[~only].any())
    assert float(touched[only].float().mean()) > 0.5
