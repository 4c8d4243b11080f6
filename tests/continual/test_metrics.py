"""Each measure equals its equation on matrices small enough to do by hand."""

import math

import numpy as np
import pytest
import torch

from clnf.continual.classifier import Classifier
from clnf.continual.fisher import Fisher
from clnf.continual.guards.ewc import EWC
from clnf.continual.guards.rehearsal import Rehearsal
from clnf.continual.memory import Reservoir
from clnf.continual.metrics import (
    average_accuracy,
    backward_transfer,
    dormant_units,
    effective_rank,
    forgetting,
    forward_transfer,
    guard_bytes,
    hardware_twins,
    intransigence,
    retention,
    stability_gap,
)
from clnf.core.errors import ConfigError, ShapeError
from clnf.core.records import Batch, Experience
from clnf.streams.sources import ArraySource

nan = math.nan
SQUARE = [[0.9, 0.2, 0.1], [0.6, 0.8, 0.3], [0.7, 0.5, 0.9]]


def test_square_matrix_by_hand():
    assert average_accuracy(SQUARE) == pytest.approx((0.7 + 0.5 + 0.9) / 3)
    assert backward_transfer(SQUARE) == pytest.approx(((0.7 - 0.9) + (0.5 - 0.8)) / 2)
    assert forgetting(SQUARE) == pytest.approx(((0.9 - 0.7) + (0.8 - 0.5)) / 2)
    assert forward_transfer(SQUARE, [0.1, 0.1, 0.1]) == pytest.approx((0.1 + 0.2) / 2)


def test_forward_transfer_counts_from_the_baseline():
    """Pitfall: a model that stays at chance transfers nothing."""
    chance = np.full((3, 3), 0.5)
    assert forward_transfer(chance, [0.5] * 3) == 0.0
    assert forward_transfer(chance, [0.0] * 3) == 0.5


def test_concepts_learned_later_are_nan_before():
    lower = [[0.9, nan, nan], [0.6, 0.8, nan], [0.7, 0.5, 0.9]]
    assert average_accuracy(lower) == average_accuracy(SQUARE)
    assert backward_transfer(lower) == backward_transfer(SQUARE)
    assert forgetting(lower) == forgetting(SQUARE)
    assert math.isnan(forward_transfer(lower, [0.1] * 3))
    assert average_accuracy([[0.9, nan], [0.5, nan]]) == 0.5


def test_core_concepts_are_learned_before_the_first_lesson():
    """Two core concepts, two lessons; row 0 is before any lesson."""
    matrix = [[0.9, 0.8, nan, nan], [0.7, 0.8, 0.6, nan], [0.5, 0.9, 0.4, 0.7]]
    learned = [0, 0, 1, 2]
    assert backward_transfer(matrix, learned) == pytest.approx((-0.4 + 0.1 - 0.2) / 3)
    assert forgetting(matrix, learned) == pytest.approx((0.4 + 0.0 + 0.2) / 3)
    with_guess = [[0.9, 0.8, 0.2, 0.1], [0.7, 0.8, 0.6, 0.3], [0.5, 0.9, 0.4, 0.7]]
    assert forward_transfer(with_guess, [0.0, 0.0, 0.1, 0.1], learned) == pytest.approx(0.15)


def test_forgetting_is_never_negative():
    rng = np.random.default_rng(0)
    for _ in range(50):
        matrix = rng.random((6, 6))
        assert forgetting(matrix) >= 0
    rising = np.linspace(0.1, 0.9, 4)[:, None].repeat(4, 1)
    assert forgetting(rising) == 0.0
    assert backward_transfer(rising) > 0  # control: the measures differ


def test_one_row_has_no_transfer():
    assert average_accuracy([[0.4, 0.6]]) == 0.5
    assert math.isnan(backward_transfer([[0.4]]))
    assert math.isnan(forgetting([[0.4]]))


def test_bad_shapes_are_named():
    with pytest.raises(ShapeError, match="matrix"):
        average_accuracy([0.1, 0.2])
    with pytest.raises(ShapeError, match="baselines"):
        forward_transfer(SQUARE, [0.1])
    with pytest.raises(ShapeError, match="rows learned"):
        forgetting(SQUARE, [0])
    with pytest.raises(ShapeError, match="from 0"):
        forgetting(SQUARE, [-1, 0, 1])


def test_intransigence_is_what_a_joint_learner_had_more():
    matrix = [[0.9, 0.1], [0.5, 0.7]]
    assert intransigence(matrix, [0.95, 0.9]) == pytest.approx((0.05 + 0.2) / 2)
    assert intransigence(matrix, [0.9, 0.7]) == pytest.approx(0)
    with pytest.raises(ShapeError, match="references"):
        intransigence(matrix, [0.9])


def test_the_stability_gap_is_the_deepest_fall():
    assert stability_gap(0.8, [0.7, 0.2, 0.8]) == pytest.approx(0.6)
    assert stability_gap(0.8, [0.9]) == 0
    with pytest.raises(ShapeError):
        stability_gap(0.8, [])


def test_dormant_units_are_counted_against_their_layer():
    h = np.array([[1.0, -1.0, 0.01, 0.0], [1.0, 1.0, -0.01, 0.0]])
    assert dormant_units(h) == 0.5
    assert dormant_units(100 * h) == 0.5  # relative to the layer
    assert dormant_units(h, threshold=0.0) == 0.25
    assert dormant_units(np.zeros((2, 3))) == 1.0


def test_effective_rank_counts_directions():
    rng = np.random.Generator(np.random.Philox(0))
    low = rng.normal(size=(200, 2)) @ rng.normal(size=(2, 10))
    assert 1 < effective_rank(low) <= 2 + 1e-9
    assert effective_rank(rng.normal(size=(500, 10))) > 9
    assert effective_rank(np.ones((5, 5))) == pytest.approx(1, abs=1e-6)
    assert effective_rank(np.zeros((5, 5))) == 0


def test_retention_is_a_share_and_gains_make_up_for_no_loss() -> None:
    assert retention(SQUARE) == pytest.approx((0.7 / 0.9 + 0.5 / 0.8) / 2)
    # One concept doubled, the other was lost: backward transfer sees nothing, retention half.
    both = [[0.4, 0.4, nan], [0.8, 0.0, 0.5]]
    assert backward_transfer(both, [0, 0, 1]) == 0.0
    assert retention(both, [0, 0, 1]) == 0.5
    assert retention([[0.4, 0.4], [0.4, 0.4]], [0, 0]) == 1.0
    # What was never learned has nothing to keep, and what does not stand at the end is not there.
    assert retention([[0.0, 0.5, 0.5], [0.9, 0.25, nan]], [0, 0, 0]) == 0.5
    assert math.isnan(retention([[0.5]]))


def test_twins_are_retention_over_what_it_took() -> None:
    found = hardware_twins(0.9, energy_j=4.5, writes=300, memory_bytes=60)
    assert found.per_joule == pytest.approx(0.2)
    assert found.per_write == pytest.approx(0.003)
    assert found.per_byte == pytest.approx(0.015)
    # A learner that keeps as much for half the pulses has twice the figure, and no other changes.
    fewer = hardware_twins(0.9, energy_j=4.5, writes=150, memory_bytes=60)
    assert fewer.per_write == pytest.approx(2 * 0.003)
    assert (fewer.per_joule, fewer.per_byte) == (found.per_joule, found.per_byte)
    assert hardware_twins(0.9, energy_j=1.0, writes=0, memory_bytes=0).per_write is None
    for wrong in (-1.0, nan):
        with pytest.raises(ConfigError, match="at least 0"):
            hardware_twins(0.9, energy_j=wrong, writes=0, memory_bytes=0)


def test_bytes_of_guards_are_those_of_what_they_keep() -> None:
    model = Classifier(torch.nn.Linear(4, 3))
    guards = [Rehearsal(Reservoir(8, seed=0)), EWC(Fisher(model, ["net.weight"], seed=0))]
    assert guard_bytes(guards) == {}
    source = ArraySource(torch.randn(20, 4), torch.arange(20) % 3)
    for guard in guards:
        guard.consolidate(Experience(name="a", concept="a", data=source))
    held = guard_bytes(guards)
    assert held["EWC"] == 2 * 12 * 4  # importance and anchor
    assert held["Rehearsal"] >= 8 * (4 * 4 + 8 + 4)  # samples, labels, weights
    fuller = Rehearsal(Reservoir(16, seed=0))
    fuller.memory.add(Batch.of(torch.randn(16, 4), 0))
    assert guard_bytes([fuller])["Rehearsal"] > held["Rehearsal"]
