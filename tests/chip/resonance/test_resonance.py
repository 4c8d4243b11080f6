"""Noise that helps: theory against closed forms, a tile against theory, and controls."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.special import ndtr
from torch import Tensor

from clnf.chip.resonance import (
    NoisyLines,
    Quantiser,
    best_dither,
    calibrate,
    code_chances,
    detection,
    detection_apart,
    mean_square_error,
    optimum,
    see,
    study_cells,
)
from clnf.core.errors import ClnfError, ConfigError, ShapeError

LOOKS, TRIALS = 16, 2000


def lines(seed: int = 3, **kinds: object) -> NoisyLines:
    """A wave that is looked for in 16 columns, by converters of 4 bits."""
    wave = torch.sin(torch.arange(64.0) * 2 * math.pi * 3 / 64)
    own = {"looks": LOOKS, "quantiser": Quantiser(step=1 / 7, top=7), "seed": seed, **kinds}
    material = str(own.pop("material", "pcm_hermes"))
    return NoisyLines(material, wave / wave.abs().max(), **own)  # type: ignore[arg-type]


def test_one_look_at_a_comparator_has_the_known_best_noise() -> None:
    """sigma^2 = A (2 theta - A) / (2 ln(theta / (theta - A))), where the slope is zero."""
    for amplitude in (0.05, 0.2, 0.45):
        theta = 0.5
        known = amplitude * (2 * theta - amplitude) / (2 * math.log(theta / (theta - amplitude)))
        best = optimum(amplitude, Quantiser(step=2 * theta), looks=1)
        assert best.sigma == pytest.approx(math.sqrt(known), rel=1e-3)
        gap = ndtr((amplitude - theta) / best.sigma) - ndtr(-theta / best.sigma)
        assert best.accuracy == pytest.approx(0.5 + 0.5 * gap, abs=1e-12)
        assert best.low < best.sigma < best.high
        assert best.helps


def test_looks_add_up_as_a_binomial() -> None:
    """Sums of a comparator's codes: accuracy by brute force over all outcomes."""
    unit, sigma, amplitude, looks = Quantiser(step=1.0), 0.3, 0.2, 9
    p = [float(code_chances(level, sigma, unit)[1]) for level in (0.0, amplitude)]
    rows = [[math.comb(looks, k) * q**k * (1 - q) ** (looks - k) for k in range(10)] for q in p]
    brute = 0.5 * sum(max(a, b) for a, b in zip(*rows, strict=True))
    assert detection(amplitude, sigma, unit, looks=looks) == pytest.approx(brute, abs=1e-12)


def test_codes_follow_their_chances() -> None:
    unit, x = Quantiser(step=0.5, top=3), 0.37
    drawn = unit.convert(x + 0.4 * np.random.default_rng(0).standard_normal(200_000))
    counted = np.bincount(drawn + 3, minlength=7) / len(drawn)
    assert np.abs(counted - code_chances(x, 0.4, unit)).max() < 0.005
    assert code_chances(x, 0.0, unit)[unit.codes == 1] == 1.0


def test_no_noise_helps_a_level_beyond_the_edge() -> None:
    """Negative control: what the converter sees anyway is only blurred by noise."""
    for unit in (Quantiser(step=1.0), Quantiser(step=1.0, top=7)):
        best = optimum(0.7, unit, looks=LOOKS)
        assert not best.helps
        assert best.sigma == 0.0
        assert best.at_zero == pytest.approx(1.0)


def test_looks_that_differ_add_up_as_they_do_one_by_one() -> None:
    """Sums of comparators with edges of their own: accuracy by brute force over all outcomes."""
    unit, amplitude = Quantiser(step=1.0), 0.2
    offsets, sigmas = np.array([-0.3, 0.0, 0.2, 0.45]), np.array([0.1, 0.3, 0.2, 0.05])
    sums = []
    for level in (0.0, amplitude):
        p = ndtr((level + offsets - 0.5) / sigmas)
        chances = np.zeros(5)
        for outcome in range(16):
            bits = np.array([outcome >> k & 1 for k in range(4)])
            chances[bits.sum()] += np.where(bits, p, 1 - p).prod()
        sums.append(chances)
    brute = 0.5 * np.maximum(*sums).sum()
    assert detection_apart(amplitude, offsets, sigmas, unit) == pytest.approx(brute, abs=1e-12)
    alike = np.zeros(4), np.full(4, 0.3)
    told = detection(amplitude, 0.3, unit, looks=4)
    assert detection_apart(amplitude, *alike, unit) == pytest.approx(told, abs=1e-12)
    with pytest.raises(ConfigError, match="every look"):
        detection_apart(0.1, offsets, sigmas[:2], unit)


def test_a_noisy_source_needs_less_noise_or_none() -> None:
    unit = Quantiser(step=1.0, top=7)
    best = optimum(0.25, unit, looks=LOOKS)
    less = optimum(0.25, unit, looks=LOOKS, own=0.6 * best.sigma)
    assert less.sigma == pytest.approx(0.8 * best.sigma, rel=1e-3)
    assert less.accuracy == pytest.approx(best.accuracy, abs=1e-6)
    assert best.at_zero < less.at_zero < less.accuracy
    assert not optimum(0.25, unit, looks=LOOKS, own=1.5 * best.sigma).helps


def test_cells_bring_noise_of_their_own_under_a_voltage() -> None:
    own = lines()
    offset, spread = own.cell_noise(volts=1.0)
    twice = own.cell_noise(volts=2.0)
    # Both go with the voltage; offsets stay from read to read, and no column shares another's.
    assert torch.allclose(twice[0], offset, atol=4 * float(spread.max()) / 16)
    assert float(twice[1].mean()) == pytest.approx(float(spread.mean()), rel=0.1)
    assert float(offset.std()) > float(spread.mean()) / 16
    # Nothing but errors is left of rows that add up to nothing.
    assert float(offset.abs().max()) < 0.1
    exact = lines(material="hfo2_1t1r").cell_noise()[1]
    assert float(exact.max()) < 1e-6  # without read noise there is none


def test_noise_of_cells_uncovers_what_a_converter_hides() -> None:
    found = study_cells("pcm_hermes", 0.25, trials=1000, seed=2)
    assert found.found.helps
    assert found.found.p_value < 1e-6
    assert found.agrees
    assert found.worst_gap < 0.08
    assert 0.0 < found.offset_share < 1.0
    above = study_cells("pcm_hermes", 0.7, trials=400, seed=2)
    assert not above.found.helps
    assert not above.told.helps


def test_the_tile_follows_theory_over_its_noise() -> None:
    own = lines()
    unit = own.quantiser
    amplitude = 0.25 * unit.step
    for share in (0.0, 0.15, 0.3, 1.0):
        there = torch.rand(4000, generator=torch.Generator().manual_seed(5)) < 0.5
        score = own.look(there.float() * amplitude, sigma=share * unit.step).sum(1)
        cuts = torch.arange(-60, 60)[:, None]
        measured = float(((score > cuts) == there).float().mean(1).max())
        told = detection(amplitude, share * unit.step, unit, looks=LOOKS)
        assert measured == pytest.approx(told, abs=0.025)


def test_columns_draw_their_noise_apart() -> None:
    """Looks count as independent, so columns may not share what drives them."""
    own = lines()
    own.tile.chip.converters(False)
    y = own._read(torch.zeros(4000), 0.1)
    mixed = torch.corrcoef(y.T) - torch.eye(LOOKS)
    assert float(mixed.abs().max()) < 0.1
    assert float(y.std()) / float(own.template.square().sum()) == pytest.approx(0.1, rel=0.03)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_calibration_finds_the_noise_that_theory_names(seed: int) -> None:
    own = lines(seed)
    unit = own.quantiser
    tried = [unit.step * 0.05 * 1.35**k for k in range(14)]
    amplitude = 0.25 * unit.step

    def look(x: Tensor, sigma: float) -> Tensor:
        return own.look(x, sigma=sigma)

    found = calibrate(look, amplitude, tried, trials=TRIALS, seed=seed)
    slack = 2 * math.sqrt(0.25 / (TRIALS / 2))
    told = optimum(amplitude, unit, looks=LOOKS, slack=slack)
    assert found.helps
    assert found.p_value < 1e-6
    assert told.low <= found.sigma <= told.high
    assert found.accuracy > found.at_zero + 0.3
    assert "helps" in found.sentence


def test_a_calibration_says_when_no_noise_helps() -> None:
    """Negative controls: a level that is seen anyway, and one that is not there."""
    own = lines()
    tried = [own.quantiser.step * 0.1 * 2.0**k for k in range(5)]

    def look(x: Tensor, sigma: float) -> Tensor:
        return own.look(x, sigma=sigma)

    for contrast in (own.quantiser.step, 0.0):
        found = calibrate(look, contrast, tried, trials=400, seed=1)
        assert not found.helps
        assert found.sigma == 0.0
        assert "no noise helps" in found.sentence


def test_noise_is_not_free() -> None:
    own = lines()
    before = own.tile.ledger.total().energy_j
    own.look(torch.zeros(8), sigma=0.1)
    spent = own.tile.ledger.total().energy_j - before
    bare = lines(looks=1)
    before = bare.tile.ledger.total().energy_j
    bare.look(torch.zeros(8), sigma=0.1)
    assert spent > 1.3 * (bare.tile.ledger.total().energy_j - before) > 0


def test_a_faint_ramp_is_seen_by_help_of_noise() -> None:
    ramp, sensor = torch.linspace(-0.1, 0.1, 4096), Quantiser(step=0.25, top=4)
    best = best_dither(0.1, sensor, looks=64)
    errors = {
        sigma: float((see(ramp, sensor, sigma=sigma, looks=64, seed=1) - ramp).square().mean())
        for sigma in (0.0, best.sigma, 8 * best.sigma)
    }
    assert errors[best.sigma] < 0.2 * min(errors[0.0], errors[8 * best.sigma])
    assert errors[best.sigma] == pytest.approx(best.error**2, rel=0.1)
    told = mean_square_error(np.linspace(-0.1, 0.1, 65), 0.0, sensor, looks=64)
    assert errors[0.0] == pytest.approx(told, rel=0.05)


def test_noise_that_a_source_brings_is_not_added_again() -> None:
    sensor = Quantiser(step=0.25, top=4)
    best = best_dither(0.1, sensor, looks=64)
    less = best_dither(0.1, sensor, looks=64, own=0.6 * best.sigma)
    assert less.sigma == pytest.approx(0.8 * best.sigma, rel=1e-2)
    assert less.at_zero < best.at_zero
    none = best_dither(0.1, sensor, looks=64, own=1.2 * best.sigma)
    assert none.sigma == 0.0


def test_a_fine_sensor_wants_no_noise() -> None:
    """Negative control: one look, and steps far below the contrast."""
    best = best_dither(1.0, Quantiser(step=0.01, top=127), looks=1)
    assert best.sigma == 0.0
    assert "no noise helps" in best.sentence


def test_seeing_does_not_depend_on_its_batch() -> None:
    sensor, x = Quantiser(step=0.5, top=2), torch.full((6, 10), 0.1)
    seen = see(x, sensor, sigma=0.3, looks=4, seed=2)
    assert torch.equal(seen, see(x, sensor, sigma=0.3, looks=4, seed=2))
    assert not torch.equal(seen, see(x, sensor, sigma=0.3, looks=4, seed=3))


def test_bad_input_gets_a_sentence() -> None:
    unit, wave = Quantiser(step=1.0, top=3), torch.ones(4)
    wrong: list[Callable[[], object]] = [
        lambda: Quantiser(step=0.0),
        lambda: code_chances(0.0, -1.0, unit),
        lambda: detection(0.1, 0.1, unit, looks=0),
        lambda: optimum(-0.1, unit, looks=1),
        lambda: lines(looks=12),
        lambda: lines(quantiser=Quantiser(step=1.0, top=4)),
        lambda: lines().look(torch.zeros(2, 2), sigma=0.1),
        lambda: see(wave, unit, sigma=0.1, looks=0, seed=1),
        lambda: best_dither(0.0, unit, looks=1),
        lambda: best_dither(0.1, Quantiser(step=1.0), looks=1),
        lambda: calibrate(lambda x, s: x[:, None], 0.1, [0.2, 0.1, 0.3], trials=50, seed=1),
        lambda: calibrate(lambda x, s: x[:, None], 0.1, [0.1, 0.2, 0.3], trials=5, seed=1),
    ]
    for call in wrong:
        with pytest.raises(ConfigError, match="got"):
            call()
    with pytest.raises(ShapeError):
        NoisyLines("gst_pcm", torch.zeros(4), looks=2, quantiser=unit, seed=1)
    with pytest.raises(ClnfError):
        see(torch.full((2,), float("nan")), unit, sigma=0.1, looks=2, seed=1)
