"""A hosted module: interface kept, bill exact, snapshots complete, roll-back physical."""

import copy
import json
from typing import Any, Literal

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from clnf.chip.convolutions import AnalogConv
from clnf.chip.crossbar.wiring import Wires
from clnf.chip.hosting import Chip, host
from clnf.chip.layers import AnalogLinear
from clnf.chip.spec import ChipSpec
from clnf.chip.updates import PulseRule
from clnf.core.errors import ConfigError
from clnf.core.rng import torch_rng
from clnf.devices import material


def module() -> nn.Sequential:
    rng = torch.Generator().manual_seed(3)
    net = nn.Sequential(
        nn.Conv2d(3, 12, 3, padding=1),
        nn.SiLU(),
        nn.Conv2d(12, 6, 1),
        nn.Flatten(),
        nn.Linear(6 * 36, 20),
        nn.SiLU(),
        nn.Linear(20, 5),
    )
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=rng) / max(p[0].numel(), 4) ** 0.5)
    return net


def kinds(name: str, leaf: nn.Module) -> Literal["core", "plastic"] | None:
    return {"0": "core", "2": "plastic", "4": "plastic"}.get(name)  # type: ignore[return-value]


SPEC = ChipSpec(pairs=2, tile_rows=128, tile_columns=16)


def hosted(seed: int = 1, **spec: Any) -> tuple[nn.Sequential, Chip]:
    net = module()
    fields = {name: getattr(SPEC, name) for name in SPEC.__dataclass_fields__}
    chip = host(net, assign=kinds, seed=seed, spec=ChipSpec(**(fields | spec)))
    chip.program_core()
    return net, chip


def batch(step: int) -> tuple[Tensor, Tensor]:
    rng = torch_rng(9, "step", step)
    return torch.randn(6, 3, 6, 6, generator=rng), torch.randn(6, 5, generator=rng)


def train(net: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> list[float]:
    losses = []
    for step in steps:
        x, y = batch(step)
        optimizer.zero_grad()
        loss = (net(x) - y).square().mean()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def trained(steps: int = 5, **spec: Any) -> tuple[nn.Sequential, Chip, torch.optim.Optimizer]:
    net, chip = hosted(**spec)
    optimizer = chip.optimizer(net.parameters(), lr=1e-2)
    chip.ledger.lesson = "first"
    train(net, optimizer, range(steps))
    return net, chip, optimizer


def test_leaves_are_replaced_in_place_and_keep_their_names() -> None:
    before = module().state_dict().keys()
    net, chip = hosted()
    assert isinstance(net[0], AnalogConv)
    assert isinstance(net[4], AnalogLinear)
    assert type(net[6]) is nn.Linear
    assert net.state_dict().keys() == before
    assert set(chip.layers) == {"0", "2", "4"}
    assert not net[0].weight.requires_grad
    assert net[4].weight.requires_grad


def test_the_ledger_adds_up_by_tile_by_lesson_and_by_operation() -> None:
    _, chip, _ = trained()
    chip.ledger.lesson = "second"
    chip.advance(3600.0)
    chip.recalibrate()
    total = chip.ledger.total()
    for axis in ("tile", "lesson", "op"):
        parts = chip.ledger.by(axis).values()  # type: ignore[arg-type]
        assert sum(part.energy_aj for part in parts) == total.energy_aj
        assert sum(part.count for part in parts) == total.count
        assert sum(part.time_ps for part in parts) == total.time_ps
    assert set(chip.ledger.by("op")) == {
        "pulse", "verify", "read", "dac", "adc", "shift_add", "buffer", "routing", "digital"
    }  # fmt: skip
    assert set(chip.tiles) <= set(chip.ledger.by("tile"))
    assert chip.ledger.total(op="pulse").count == sum(
        int(t.wear.sum()) for t in chip.tiles.values()
    )


def test_reads_are_counted_as_a_hand_count_says() -> None:
    net, chip = hosted()
    chip.ledger.load_state([])
    x = torch.randn(2, 3, 6, 6)
    with torch.no_grad():
        net(x)
    # Convolution 0: 27 rows x 12 columns, 72 vectors, 2 cells a weight.
    assert chip.ledger.total(tile="0[0:27,0:12]", op="read").count == 27 * 12 * 72 * 2
    assert chip.ledger.total(tile="0[0:27,0:12]", op="dac").count == 27 * 72
    assert chip.ledger.total(tile="0[0:27,0:12]", op="adc").count == 12 * 72
    # Linear 4 has 216 rows on tiles of 108 and 20 columns on tiles of 10: 4 tiles, 4 cells.
    tiles = [name for name in chip.tiles if name.startswith("4[")]
    assert len(tiles) == 4
    assert sum(chip.ledger.total(tile=n, op="read").count for n in tiles) == 216 * 20 * 2 * 4
    assert sum(chip.ledger.total(tile=n, op="adc").count for n in tiles) == 2 * 20 * 2


def test_backward_reads_are_charged_too() -> None:
    net, chip = hosted()
    x = torch.randn(2, 3, 6, 6, requires_grad=True)
    chip.ledger.load_state([])
    net(x)
    forward = chip.ledger.total(op="read").count
    net(x).sum().backward()
    assert chip.ledger.total(op="read").count == 3 * forward


@pytest.mark.parametrize(
    "spec", [{}, {"wires": Wires(word_ohm=9.0, bit_ohm=9.0), "exact_wires": False}]
)
def test_a_snapshot_through_files_continues_bit_for_bit(tmp_path: Any, spec: Any) -> None:
    net, chip, optimizer = trained(4, **spec)
    chip.advance(60.0)
    state = chip.state_dict()
    tensors = {k: v.contiguous() for k, v in state.items() if isinstance(v, Tensor)}
    rest = {k: v for k, v in state.items() if not isinstance(v, Tensor)}
    save_file(tensors, tmp_path / "chip.safetensors")
    (tmp_path / "chip.json").write_text(json.dumps(rest))
    digital = {k: v.clone() for k, v in net.state_dict().items()}
    memory = optimizer.state_dict()
    memory = {**memory, "state": {k: {n: v.clone() if isinstance(v, Tensor) else v for n, v in s.items()} for k, s in memory["state"].items()}}  # fmt: skip # noqa: E501
    losses = train(net, optimizer, range(4, 8))

    net2, chip2 = hosted(**spec)
    optimizer2 = chip2.optimizer(net2.parameters(), lr=1e-2)
    net2.load_state_dict(digital)
    loaded = load_file(tmp_path / "chip.safetensors")
    chip2.load_state_dict({**loaded, **json.loads((tmp_path / "chip.json").read_text())})
    optimizer2.load_state_dict(memory)
    assert train(net2, optimizer2, range(4, 8)) == losses
    mine, theirs = chip.state_dict(), chip2.state_dict()
    assert mine.keys() == theirs.keys()
    for key, value in mine.items():
        same = (
            torch.equal(value, theirs[key]) if isinstance(value, Tensor) else value == theirs[key]
        )
        assert same, key


def test_a_snapshot_is_a_copy() -> None:
    net, chip, optimizer = trained(1)
    state = chip.state_dict()
    kept = {k: v.clone() for k, v in state.items() if isinstance(v, Tensor)}
    train(net, optimizer, range(1, 4))
    assert all(torch.equal(state[k], v) for k, v in kept.items())


def test_roll_back_reprograms_what_was_touched_and_charges_for_it() -> None:
    net, chip, optimizer = trained(3)
    snapshot = chip.state_dict()
    before = net[4].weight.detach().clone()
    shut = torch.ones_like(before)
    shut[:, ::2] = 0.0
    chip.set_fence("4", shut)
    fenced = [t.seen.clone() for t in chip.layers["4"].tiles]
    chip.ledger.lesson = "harm"
    train(net, optimizer, range(3, 30))
    harm = float((net[4].weight - before).detach().square().mean().sqrt())
    wear = sum(int(t.wear.sum()) for t in chip.tiles.values())
    chip.ledger.lesson = "rollback"
    left = chip.restore_plastic(snapshot)
    after = float((net[4].weight - before).detach().square().mean().sqrt())
    assert after < harm / 3
    assert 0 < left < 0.1
    pulses = chip.ledger.total(lesson="rollback", op="pulse").count
    assert pulses == sum(int(t.wear.sum()) for t in chip.tiles.values()) - wear > 0
    assert chip.ledger.total(lesson="rollback").energy_aj > 0
    for tile, seen in zip(chip.layers["4"].tiles, fenced, strict=True):
        mask = shut.flatten(1)[tile.columns, tile.rows].reshape(-1) == 0
        assert torch.equal(tile.seen[:, mask], seen[:, mask])


def test_nothing_is_pulsed_when_nothing_changed() -> None:
    _, chip, _ = trained(2)
    wear = sum(int(t.wear.sum()) for t in chip.tiles.values())
    assert chip.restore_plastic(chip.state_dict()) == 0.0
    assert sum(int(t.wear.sum()) for t in chip.tiles.values()) == wear


def test_a_shut_fence_keeps_conductances_bit_for_bit() -> None:
    net, chip, optimizer = trained(1)
    chip.set_fence("4", torch.zeros_like(net[4].weight))
    before = [t.seen.clone() for t in chip.layers["4"].tiles]
    free = [t.seen.clone() for t in chip.layers["2"].tiles]
    train(net, optimizer, range(1, 6))
    assert all(torch.equal(t.seen, b) for t, b in zip(chip.layers["4"].tiles, before, strict=True))
    assert not all(
        torch.equal(t.seen, b) for t, b in zip(chip.layers["2"].tiles, free, strict=True)
    )


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    """Draws are counted, not taken in turn; products this small round alike on any number."""
    outcomes = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        net, chip, _ = trained(3)
        outcomes.append((net[4].weight.detach().clone(), chip.ledger.state()))
    assert torch.equal(outcomes[0][0], outcomes[1][0])
    assert outcomes[0][1] == outcomes[1][1]


def test_the_torch_path_learns_alike() -> None:
    """Same draws; only products and sums round differently, so weights agree statistically."""
    weights, counts = [], []
    for kernels in (True, False):
        net, chip, _ = trained(5, kernels=kernels)
        weights.append(net[4].weight.detach())
        counts.append(chip.ledger.total(op="pulse").count)
    spread = float(weights[0].std())
    assert float((weights[0] - weights[1]).std()) < 0.05 * spread
    assert counts[0] == pytest.approx(counts[1], rel=0.02)


def test_another_seed_is_another_chip() -> None:
    a, b = hosted(seed=1)[0], hosted(seed=2)[0]
    assert not torch.equal(a[0].weight, b[0].weight)


def test_time_drifts_stored_cells_and_recalibration_helps() -> None:
    net, chip = hosted()
    start = net[0].weight.detach().clone()
    plastic = net[4].weight.detach().clone()
    chip.advance(86_400.0)
    drifted = float((net[0].weight - start).detach().square().mean())
    chip.recalibrate()
    assert float((net[0].weight - start).detach().square().mean()) < drifted / 3
    assert torch.equal(net[4].weight, plastic)
    assert chip.clock_s == 86_400.0
    with pytest.raises(ConfigError, match="seconds must be at least 0 and finite, got -1.0"):
        chip.advance(-1.0)


def test_wear_names_the_worst_cell_and_the_source_of_its_endurance() -> None:
    _, chip, _ = trained(5)
    report = chip.wear()
    assert report.keys() == chip.tiles.keys()
    for name, tile in chip.tiles.items():
        row = report[name]
        plane, column, line = row.worst
        rows = tile.rows.stop - tile.rows.start
        cells = tile.wear.reshape(tile.cells_per_weight, -1)
        assert int(cells[plane, column * rows + line]) == row.most == int(tile.wear.max())
    plastic = next(row for name, row in report.items() if name.startswith("4["))
    assert plastic.endurance == 1e6
    assert "generic HfOx" in plastic.source
    assert plastic.life_lessons < 1e6
    assert report["0[0:27,0:12]"].endurance == 1e9
    assert report["0[0:27,0:12]"].life_lessons == float("inf")


def test_noise_and_converters_can_be_switched_off() -> None:
    net, chip = hosted()
    x, _ = batch(0)
    assert not torch.equal(net(x), net(x))
    chip.noise(False)
    for _ in range(5):
        net(x)  # tracking converters settle
    assert torch.equal(net(x), net(x))
    quantised = net(x)
    chip.converters(False)
    exact = net(x)
    assert not torch.equal(quantised, exact)
    dense = nn.functional.conv2d(x, net[0].weight, net[0].bias, padding=1)
    assert torch.allclose(net[0](x), dense, atol=1e-5)
    chip.noise(True)
    assert not torch.equal(net(x), net(x))


def test_calibration_widens_ranges_only_while_it_is_on() -> None:
    net, chip = hosted()
    x, _ = batch(0)
    net(x)
    narrow = chip.layers["0"].dac.range
    net(3 * x)
    assert chip.layers["0"].dac.range == narrow
    chip.calibrating(True)
    net(3 * x)
    chip.calibrating(False)
    assert chip.layers["0"].dac.range > 2 * narrow


def test_wrong_requests_are_refused_in_one_sentence() -> None:
    with pytest.raises(ConfigError, match="a leaf cannot be replaced"):
        host(nn.Linear(2, 2), assign=kinds, seed=1, spec=SPEC)
    with pytest.raises(ConfigError, match="no leaf was assigned"):
        host(module(), assign=lambda n, m: None, seed=1, spec=SPEC)
    _, chip = hosted()
    with pytest.raises(ConfigError, match="no plastic layer '0'"):
        chip.set_fence("0", torch.ones(1))
    with pytest.raises(ConfigError, match=r"values in \[0, 1\]"):
        chip.set_fence("4", torch.full((20, 216), 2.0))


def test_a_pulse_moves_a_weight_behind_wires_as_far_as_without_on_average() -> None:
    """Pulsed columns are trimmed: as long a way for the same pulses, but for what spreads."""
    moved = {}
    for ohm in (0.0, 2.0):
        wires = Wires(word_ohm=ohm, bit_ohm=ohm) if ohm else None
        net = nn.Sequential(nn.Linear(128, 4, bias=False))
        nn.init.zeros_(net[0].weight)
        spec = ChipSpec(pairs=1, wires=wires, spreads=False, dead_cells=False)
        chip = host(net, assign=lambda *_: "plastic", seed=1, spec=spec)
        tile, before = chip.layers["0"].tiles[0], net[0].weight.clone()
        # As many up as down: a column as a whole draws what it drew, and so do its wires.
        signs = torch.ones(4, 128, dtype=torch.int16)
        signs[:, ::2] = -1
        tile.pulse(signs)
        chip.layers["0"].refresh()
        moved[ohm] = ((net[0].weight - before) * signs).detach()
        untrimmed = tile.compensation.clone()
    assert float(moved[2.0].mean()) == pytest.approx(float(moved[0.0].mean()), rel=0.03)
    assert float(moved[2.0].std()) > 3 * float(moved[0.0].std())
    assert float((moved[2.0] / untrimmed[:, None]).mean()) < 0.8 * float(moved[0.0].mean())


@pytest.mark.parametrize("wires", [None, Wires(word_ohm=1e-6, bit_ohm=1e-6)])
def test_warm_plastic_cells_count_more_however_they_are_read_back(wires: Any) -> None:
    row = material("hfo2_array_optimised").supply(conductance_temperature_coefficient=0.004)
    net = nn.Sequential(nn.Linear(40, 6))
    spec = ChipSpec(plastic=row, wires=wires)
    chip = host(net, assign=lambda *_: "plastic", seed=1, spec=spec)
    cold = net[0].weight.detach().clone()
    chip.set_temperature(350.0)
    assert torch.allclose(net[0].weight, 1.2 * cold, rtol=1e-3)
    chip.set_temperature(None)
    assert torch.equal(net[0].weight, cold)


@pytest.mark.parametrize("mode", ["stochastic", "mixed", "tiki_taka_2"])
def test_a_copy_learns_by_itself_and_as_the_first_would(mode: str) -> None:
    """What is kept for speed looks at tensors; a copy's must be its own."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 4))
    chip = host(net, assign=lambda name, leaf: "plastic", seed=1, spec=ChipSpec(pairs=1))
    x, y = torch.rand(32, 16), torch.randint(0, 4, (32,))
    rule = PulseRule(mode=mode)  # type: ignore[arg-type]

    def teach(net: nn.Module, chip: Chip) -> None:
        optimizer = chip.optimizer(net.parameters(), lr=0.5, rule=rule)
        for _ in range(3):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x), y).backward()
            optimizer.step()

    teach(net, chip)
    other, copied = copy.deepcopy((net, chip))
    first, second = chip.layers["0"], copied.layers["0"]
    before = first.weight.detach().clone()
    teach(other, copied)
    assert torch.equal(first.weight, before)
    assert not torch.equal(second.weight, before)
    assert torch.allclose(second.weight.detach(), second.tiles[0].view(0.0)[0], atol=1e-6)
    teach(net, chip)
    # A product may round otherwise in memory that lies otherwise, and a code flip by it.
    assert float((first.weight - second.weight).detach().abs().mean()) < 0.1 * float(before.std())


def test_a_state_that_does_not_fit_is_refused_whole() -> None:
    net = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2))
    chip = host(net, assign=lambda name, leaf: "plastic", seed=1, spec=ChipSpec(pairs=1))
    state = chip.state_dict()
    wear = next(key for key in state if key.endswith("/wear"))
    hidden = wear.replace("/wear", "/hidden")
    wrong: list[Any] = [
        None,
        {},
        {key: value for key, value in state.items() if key != wear},
        {**state, wear: state[wear][:, :3]},
        {**state, hidden: torch.full_like(state[hidden], float("nan"))},
        {**state, wear: 3},
        {**state, "0/other": torch.ones(1)},
    ]
    for one in wrong:
        broken = {**one, "clock_s": 77.0} if one else one
        with pytest.raises(ConfigError):
            chip.load_state_dict(broken)
        assert chip.clock_s == 0.0
    chip.load_state_dict(state)
    spare = host(
        nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2)),
        assign=lambda name, leaf: "plastic", seed=1, spec=ChipSpec(pairs=1, spare_columns=2),
    )  # fmt: skip
    for mine, other in ((chip, spare), (spare, chip)):
        with pytest.raises(ConfigError, match="state"):
            mine.load_state_dict(other.state_dict())
