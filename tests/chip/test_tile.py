"""A tile by itself: written, read, pulsed, aged and billed, of any material."""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from clnf.chip import ChipSpec, Mapping, Tile, Verify, Wires, line_currents, read_currents
from clnf.chip.bill import Bill
from clnf.chip.crossbar.array import Crossbar
from clnf.chip.crossbar.make import Make
from clnf.chip.program import write_once
from clnf.chip.technology import technology
from clnf.core.errors import ConfigError, DeviceLimitError, ShapeError
from clnf.core.ledger import Ledger
from clnf.devices import material, materials
from clnf.devices.cell import Unknown
from clnf.devices.families import cell

QUIET = ChipSpec(pairs=1, dac_bits=0, adc_bits=0, read_noise="off")
STORING = ["gst_pcm", "pcm_hermes", "pcm_hermes_pair", "hfo2_1t1r", "reram_130nm", "cmo_hfox"]
LEARNING = ["hfo2_array", "hfo2_array_optimised", "hfo2_single", "ecram_li", "ecram_metal_oxide",
            "capacitor_3t1c", "gst_pcm_training"]  # fmt: skip
WINDOW = {"conductance_min_s": 1e-6, "conductance_max_s": 1e-5}
MONTH = 30 * 86_400.0


def weights(rows: int = 24, cols: int = 10) -> torch.Tensor:
    return torch.randn(rows, cols, generator=torch.Generator().manual_seed(3)) * 0.1


def error(tile: Tile, wanted: torch.Tensor) -> float:
    return float((tile.weights - wanted).square().mean().sqrt() / wanted.square().mean().sqrt())


@pytest.mark.parametrize("name", STORING)
def test_a_stored_tile_errs_by_the_published_programming_error(name: str) -> None:
    """One round: what stays is sigma(G) of both cells of a pair, in weights."""
    one = cell(name)
    tile = Tile(name, 60, 50, seed=1, spec=QUIET)
    wanted = weights(60, 50)
    tile.program(wanted)
    full = wanted.abs().amax(0)
    relative = (wanted / full).T
    target_s = one.conductance_s(Mapping().targets(relative, one.bounds))
    sigma_s = one.need(one.programming).sigma(target_s)
    span_s = one.need(one.window).span_s
    expected = (sigma_s.square().sum(0) / span_s**2).mean().sqrt()
    error_w = ((tile.weights - wanted) / full).square().mean().sqrt()
    # A cell at 0 S cannot err below it: half of its errors are cut.
    assert 0.7 * float(expected) < float(error_w) < 1.05 * float(expected)
    assert int(tile.wear.min()) == int(tile.wear.max()) == 1


def test_more_rounds_of_verifying_bring_it_closer_and_wear_it() -> None:
    once, often = (Tile("gst_pcm", 24, 10, seed=1, spec=QUIET) for _ in range(2))
    first, last = once.program(weights()), often.program(weights(), verify=Verify(rounds=30))
    assert last < first / 2
    assert int(often.wear.sum()) > 2 * int(once.wear.sum())


@pytest.mark.parametrize("name", LEARNING)
def test_a_tile_that_learns_is_written_by_pulses(name: str) -> None:
    tile = Tile(name, 24, 10, seed=1, spec=QUIET)
    start = error(tile, weights())
    # Cells of few states and much write noise come half-way, the others within two percent.
    assert tile.program(weights()) < (0.9 if name.startswith("hfo2_array") else 0.2) * start
    assert tile.ledger.total(op="pulse").count == int(tile.wear.sum()) > 0


@pytest.mark.parametrize("name", STORING)
def test_drift_is_deterministic_and_time_moves_cells_of_a_known_drift_only(name: str) -> None:
    first, second = (Tile(name, 24, 10, seed=1, spec=QUIET) for _ in range(2))
    for tile in (first, second):
        tile.program(weights())
    fresh = first.weights.clone()
    first.age(MONTH)
    for _ in range(3):
        second.age(MONTH / 3)
    assert torch.allclose(first.weights, second.weights, atol=1e-6)
    moves = not isinstance(cell(name).drift, Unknown)
    assert torch.equal(first.weights, fresh) != moves


def test_a_pulsed_cell_drifts_on_from_where_it_is() -> None:
    """A leaking charge: pulses restart its decay; untouched cells go on as before."""
    row = material("capacitor_3t1c").supply(batch_s=1e-3, state_lifetime_spread=0.0, **WINDOW)
    tile = Tile(row, 6, 4, seed=2, spec=QUIET)
    ups = torch.zeros(6, 4, dtype=torch.int16)
    ups[:3] = 50
    tile.pulse(ups)
    start = tile.weights.clone()
    tile.age(500.0)
    kept = float(torch.exp(torch.tensor(-0.5)))
    assert torch.allclose(tile.weights, start * kept, atol=1e-4)
    tile.pulse(ups.flip(0))
    assert torch.allclose(tile.weights[:3], start[:3] * kept, atol=1e-4)
    raised = tile.weights[3:].clone()
    tile.age(500.0)
    assert torch.allclose(tile.weights[3:], raised * kept, atol=1e-4)
    assert torch.allclose(tile.weights[:3], start[:3] * kept**2, atol=1e-4)


def test_heat_empties_cells_where_the_activation_energy_is_known() -> None:
    row = material("gst_pcm").supply(retention_temperature_k=358.0, retention_activation=4e-19)
    tiles = [Tile(row, 24, 10, seed=1, spec=QUIET) for _ in range(3)]
    for tile in tiles:
        tile.program(weights())
    for tile, kelvin in zip(tiles, (300.0, 358.0, 400.0), strict=True):
        tile.age(3.15576e8, temperature_k=kelvin)
    levels = [float(tile.weights.abs().sum()) for tile in tiles]
    assert levels[0] > levels[1] > levels[2]
    with pytest.raises(DeviceLimitError, match="retention_temperature_k"):
        Tile("gst_pcm", 4, 4, seed=1).age(1.0, temperature_k=300.0)


def test_worn_out_cells_stand_still() -> None:
    row = material("ecram_li").supply(endurance_cycles=400.0)
    tile = Tile(row, 20, 10, seed=1, spec=QUIET)
    up = torch.full((20, 10), 20, dtype=torch.int16)
    for _ in range(60):
        tile.pulse(up)
        tile.pulse(-up)
    before = tile.cells.hidden.clone()
    tile.pulse(up)
    assert torch.equal(tile.cells.hidden[0], before[0])
    # Control: cells of unknown endurance live on.
    other = Tile("ecram_li", 20, 10, seed=1, spec=QUIET)
    before = other.cells.hidden.clone()
    other.pulse(up)
    assert bool((other.cells.hidden[0] != before[0]).all())


@pytest.mark.parametrize("kind", ["differential", "balanced", "reference"])
def test_every_mapping_holds_the_same_weights(kind: str) -> None:
    exact = ChipSpec(spreads=False, read_noise="off").make(plastic=False)
    make = Make(cell=exact.cell, mapping=Mapping(kind=kind, pairs=2), noisy=False)  # type: ignore[arg-type]
    tile = Crossbar("t", slice(0, 24), slice(0, 10), 4, make)
    wanted = weights().T
    bill = Bill(Ledger(), technology("isaac_32nm", 8))
    write_once(tile, wanted, 0.0, bill, Verify(rounds=1))
    assert torch.allclose(tile.view(0.0)[0], wanted, atol=1e-6)
    moved = make.mapping.planes if kind == "balanced" else make.mapping.planes // 2
    middle = tile.seen.std(1) > 1e-3
    assert int(middle.sum()) in (moved, make.mapping.planes)


@pytest.mark.parametrize(("bits", "pairs"), [(1, 4), (2, 3), (4, 2)])
def test_slices_hold_the_digits_of_a_whole_number(bits: int, pairs: int) -> None:
    exact = ChipSpec(spreads=False, read_noise="off").make(plastic=False)
    make = Make(cell=exact.cell, mapping=Mapping(kind="sliced", pairs=pairs, bits=bits))
    tile = Crossbar("t", slice(0, 24), slice(0, 10), 4, make)
    wanted = weights().T
    bill = Bill(Ledger(), technology("isaac_32nm", 8))
    write_once(tile, wanted, 0.0, bill, Verify(rounds=1))
    full, whole = wanted.abs().amax(1, keepdim=True), 2 ** (bits * pairs) - 1
    codes = (tile.view(0.0)[0] / full * whole).double()
    assert float((codes - codes.round()).abs().max()) < 1e-3
    assert torch.equal(codes.round(), (wanted / full * whole).round().double())
    digits = (tile.seen + 1) / 2 * (2**bits - 1)
    assert float((digits - digits.round()).abs().max()) < 1e-4
    with pytest.raises(ConfigError, match="written, not pulsed"):
        tile.cell = cell("ecram_li")
        tile.pulsed = True
        tile.pulse(torch.ones(10, 24))


def test_every_slice_is_converted_by_itself_and_added_digitally() -> None:
    """Eight bits of weight on cells of two bits: half a step of the number off, and its price."""
    mapping = Mapping(kind="sliced", pairs=4, bits=2)
    ideal = ChipSpec(spreads=False, read_noise="off", dac_bits=0, adc_bits=0, stored=mapping)
    plain = ChipSpec(spreads=False, read_noise="off", stored=mapping, dac_bits=0, adc_bits=12)
    one = ChipSpec(spreads=False, read_noise="off", dac_bits=0, adc_bits=12)
    x = torch.randn(6, 24, generator=torch.Generator().manual_seed(1))
    outs, conversions = [], []
    for spec in (ideal, plain, one):
        tile = Tile("gst_pcm", 24, 10, seed=1, spec=spec)
        tile.program(weights())
        outs.append(tile.mvm(x))
        conversions.append(tile.ledger.total(op="adc").count)
    step = weights().abs().amax(0) / 255
    bound = (x.abs().sum(1, keepdim=True) * step / 2).double()
    assert bool(((outs[0] - x @ weights()).abs() <= bound + 1e-6).all())
    assert torch.allclose(outs[1], outs[0], atol=2e-3)
    assert conversions[1] == 4 * conversions[2] == 4 * 6 * 10
    # Noise of every slice counts by its place: the highest digit makes most of it.
    noisy = ChipSpec(stored=mapping, dac_bits=0, adc_bits=0, read_noise="exact")
    tile = Tile("gst_pcm", 24, 10, seed=1, spec=noisy)
    tile.program(weights())
    reads = torch.stack([tile.mvm(x) for _ in range(400)])
    _, variance = tile.cells.view_slices(0.0)
    expected = x.square() @ variance.sum(0).T
    assert torch.allclose(reads.var(0) / expected, torch.ones(6, 10), atol=0.45)
    assert float((reads.var(0) / expected).mean()) == pytest.approx(1.0, abs=0.05)
    assert float(variance[3].sum()) > 10 * float(variance[1].sum())


def test_wires_are_those_of_the_exact_solver() -> None:
    wires = Wires(word_ohm=3.0, bit_ohm=2.0)
    spec = ChipSpec(
        pairs=1, dac_bits=0, adc_bits=0, read_noise="off", wires=wires, correct_wires=False
    )
    tile, ideal = (Tile("gst_pcm", 40, 12, seed=1, spec=s) for s in (spec, QUIET))
    for each in (tile, ideal):
        each.program(weights(40, 12))
    x = torch.randn(5, 40, generator=torch.Generator().manual_seed(1))
    up, down = (line_currents(g.double(), x.double(), wires) for g in tile.conductance_s)
    full = weights(40, 12).abs().amax(0)
    assert torch.allclose(tile.mvm(x), ((up - down) / 25e-6 * full).float(), atol=1e-5)
    assert not torch.allclose(tile.mvm(x), ideal.mvm(x), atol=1e-4)


def test_carried_wires_stay_close_to_exact_ones_while_cells_drift() -> None:
    wires = Wires(word_ohm=2.0, bit_ohm=2.0)
    spec = ChipSpec(
        pairs=1, dac_bits=0, adc_bits=0, read_noise="off", wires=wires, correct_wires=False
    )
    carried_spec = replace(spec, exact_wires=False)
    exact, carried, none = (
        Tile("gst_pcm", 128, 32, seed=1, spec=s) for s in (spec, carried_spec, QUIET)
    )
    for tile in (exact, carried, none):
        tile.program(weights(128, 32))
    assert torch.allclose(exact.weights, carried.weights, atol=1e-6)
    for tile in (exact, carried, none):
        tile.age(MONTH)
    lost = float((exact.weights - none.weights).norm())
    apart = float((exact.weights - carried.weights).norm())
    assert 0 < apart < 0.1 * lost


def test_carried_wires_of_a_tile_that_learns_resume_bit_for_bit() -> None:
    """They were solved some pulses ago, which the cells alone do not tell."""
    row = material("ecram_li").supply(**WINDOW)
    spec = ChipSpec(pairs=1, wires=Wires(word_ohm=99.0, bit_ohm=99.0), exact_wires=False)
    first, second, exact = (Tile(row, 24, 10, seed=s, spec=spec) for s in (1, 1, 1))
    ups = torch.ones(24, 10, dtype=torch.int16)
    _ = first.weights
    for _ in range(7):
        first.pulse(30 * ups)
    second.chip.load_state_dict(first.chip.state_dict())
    assert torch.equal(first.weights, second.weights)
    state = {k: v for k, v in first.chip.state_dict().items() if not k.endswith(("kept", "level"))}
    exact.chip.load_state_dict(state)
    assert not torch.equal(first.weights, exact.weights)


def test_warm_cells_and_wires_read_as_an_exact_solver_says() -> None:
    row = material("gst_pcm").supply(conductance_temperature_coefficient=0.002)
    wires = Wires(word_ohm=3.0, bit_ohm=2.0, source_ohm=5.0)
    spec = ChipSpec(pairs=1, dac_bits=0, adc_bits=0, read_noise="off", wires=wires)
    tile, other = (Tile(row, 40, 12, seed=1, spec=spec) for _ in range(2))
    tile.program(weights(40, 12))
    cold, x = tile.conductance_s, torch.eye(40)
    before = tile.mvm(x)
    tile.set_temperature(350.0)
    hot = Wires(word_ohm=3.0 * 1.2255, bit_ohm=2.0 * 1.2255, source_ohm=5.0)
    assert torch.allclose(tile.conductance_s, cold * 1.1, rtol=1e-6)
    up, down = (line_currents(1.1 * g.double(), x.double(), hot) for g in cold)
    full = tile.cells.scale / 25e-6
    assert torch.allclose(tile.mvm(x), ((up - down) * full).float(), atol=1e-5)
    up, down = (line_currents(1.1 * g.double(), x.double(), wires) for g in cold)
    assert not torch.allclose(tile.mvm(x), ((up - down) * full).float(), atol=1e-4)
    other.chip.load_state_dict(tile.chip.state_dict())
    assert torch.equal(other.weights, tile.weights)
    tile.set_temperature(None)
    assert torch.equal(tile.mvm(x), before)


def test_a_temperature_is_refused_where_nobody_knows_what_it_does() -> None:
    tile = Tile("gst_pcm", 8, 4, seed=1, spec=QUIET)
    tile.program(weights(8, 4))
    before = tile.weights
    with pytest.raises(DeviceLimitError, match="conductance_temperature_coefficient"):
        tile.set_temperature(320.0)
    assert tile.chip.temperature_k is None
    assert torch.equal(tile.weights, before)


@pytest.mark.skipif(shutil.which("ngspice") is None, reason="ngspice is not installed")
def test_ngspice_reads_the_tile_as_it_is_now(tmp_path: Path) -> None:
    wires = Wires(word_ohm=3.0, bit_ohm=2.0)
    tile = Tile("gst_pcm", 8, 8, seed=1, spec=ChipSpec(pairs=1, wires=wires))
    tile.program(weights(8, 8))
    tile.age(3_600.0)
    x = torch.linspace(-0.2, 0.2, 8).double()
    deck = tmp_path / "tile.cir"
    deck.write_text(tile.netlist(x, plane=1))
    text = subprocess.run(["ngspice", "-b", deck], capture_output=True, text=True, check=False)
    mine = line_currents(tile.conductance_s[1].double(), x, wires)
    theirs = read_currents(text.stdout, 8)
    assert float((mine - theirs).abs().max() / theirs.abs().max()) < 1e-10
    with pytest.raises(DeviceLimitError, match="wires that resist"):
        Tile("gst_pcm", 4, 4, seed=1).netlist(torch.ones(4))


def test_outer_products_move_weights_down_the_gradient() -> None:
    tile = Tile("ecram_metal_oxide", 24, 10, seed=1, spec=QUIET)
    rng = torch.Generator().manual_seed(2)
    x, d = torch.randn(8, 24, generator=rng), torch.randn(8, 10, generator=rng)
    start = tile.weights.clone()
    for _ in range(40):
        tile.update(x, d, lr=1e-4)
    moved, wanted = (tile.weights - start).flatten(), (-40e-4 * x.T @ d).flatten()
    assert float(torch.corrcoef(torch.stack([moved, wanted]))[0, 1]) > 0.8
    assert float((moved * wanted).sum() / wanted.square().sum()) == pytest.approx(1.0, abs=0.3)


def test_every_material_makes_a_tile_or_says_what_it_lacks() -> None:
    made = 0
    for name in materials():
        tile = Tile(name, 6, 4, seed=1)
        assert {"programming", "response"} - set(tile.left_out) or name not in STORING + LEARNING
        try:
            tile.program(weights(6, 4))
            made += 1
        except DeviceLimitError as lack:
            assert "supply" in str(lack)
    assert made == len(STORING) + len(LEARNING)


def test_bad_input_is_one_sentence() -> None:
    with pytest.raises(ConfigError, match="rows must be a whole number from 1 to 65536, got 0"):
        Tile("gst_pcm", 0, 4, seed=1)
    tile = Tile("gst_pcm", 6, 4, seed=1)
    with pytest.raises(ShapeError, match=r"\[6, 4\], got \[4, 6\]"):
        tile.program(weights(6, 4).T)
    with pytest.raises(ShapeError, match="finite"):
        tile.program(weights(6, 4) * float("nan"))
    with pytest.raises(DeviceLimitError, match="holds nothing yet"):
        tile.mvm(torch.ones(1, 6))
    with pytest.raises(DeviceLimitError, match="supply"):
        tile.pulse(torch.ones(6, 4))
    with pytest.raises(ConfigError, match="seconds must be at least 0 and finite, got -1.0"):
        tile.age(-1.0)
    learner = Tile("ecram_li", 6, 4, seed=1)
    before, x, d = learner.cells.hidden.clone(), torch.ones(2, 6), torch.ones(2, 4)
    for inputs, gradient, words in (
        (x[:, :5], d, r"inputs of this tile are \[batch, 6\], got \[2, 5\]"),
        (x, d[:1], r"gradients of this tile are \[2, 4\], got \[1, 4\]"),
        (x, d[:, :3], r"gradients of this tile are \[2, 4\], got \[2, 3\]"),
        (x * float("nan"), d, r"inputs of this tile must be finite, got nan at \[0, 0\]"),
    ):
        with pytest.raises(ShapeError, match=words):
            learner.update(inputs, gradient, lr=0.1)
    with pytest.raises(ConfigError, match="must be positive and finite, got -1"):
        learner.update(x, d, lr=-1.0)
    for pulses in (torch.full((6, 4), 0.5), torch.full((6, 4), 40_000), torch.ones(4, 6)):
        with pytest.raises(ShapeError, match="whole numbers of at most 32767"):
            learner.pulse(pulses)
    assert torch.equal(learner.cells.hidden, before)


def test_a_stored_tile_reads_what_was_written_last_whatever_it_held_before() -> None:
    """Converters set for weights a thousand times smaller would clip every product."""
    x, weights = torch.ones(1, 16), torch.rand(16, 4, generator=torch.manual_seed(0))
    tile = Tile("gst_pcm", 16, 4, seed=0)
    tile.program(weights / 1000)
    tile.mvm(x)
    tile.program(weights)
    assert torch.allclose(tile.mvm(x), x @ weights, rtol=0.15)
    clipped = Tile("gst_pcm", 16, 4, seed=0)
    clipped.program(weights)
    clipped.chip.layers["tile"].adcs[0].range = float((x @ weights).max()) / 1000
    assert not torch.allclose(clipped.mvm(x), x @ weights, rtol=0.15)
