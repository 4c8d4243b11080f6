"""The sentry keeps broken samples out of a step and finds odd steps, and nothing else."""

import json

import numpy as np
import pytest
import torch

from clnf.core.errors import ConfigError, DataError
from clnf.core.records import Batch
from clnf.streams.digits import digits_part
from clnf.streams.features import plain_hash, words_of
from clnf.streams.kernels import look
from clnf.streams.sentry import Sentry, SentryParams, Usual, look_plain


def seen(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    out = (np.empty(len(x), np.int32), np.empty(len(x), np.int32))
    look(x.view(np.int32), *out)
    return out


def test_the_kernel_equals_its_plain_twin_and_keys_order_as_floats_do() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(0, 1e3, (64, 38)).astype(np.float32)
    x[3, 4], x[5, 6], x[7, 8] = np.nan, np.inf, -np.inf
    x[9, 1], x[10] = -0.0, 0.0
    for one, other in zip(seen(x), look_plain(x), strict=True):
        assert np.array_equal(one, other)
    keys, _ = look_plain(np.sort(x[20])[:, None].copy())
    assert (np.diff(keys.astype(np.int64)) >= 0).all()


def test_samples_of_two_values_are_told_apart() -> None:
    """What differs in an even number of signs only; sums of products called these copies."""
    x = torch.full((3, 64), -1.0)
    x[1, [1, 3]] = 1.0
    x[2, [5, 7]] = 1.0
    assert len(Sentry(SentryParams(copies=10)).screen(Batch.of(x, 0))) == 2  # the first is flat
    assert len(np.unique(plain_hash(words_of(x.numpy())))) == 3
    odd = np.arange(64, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    with np.errstate(over="ignore"):
        sums = (words_of(x.numpy()) * odd[:32]).sum(1)
    assert len(np.unique(sums)) == 1  # the control


@pytest.mark.parametrize("size", [37, 38])
def test_copies_are_found_in_samples_of_odd_and_even_length(size) -> None:
    x = torch.rand(6, size)
    x[4] = x[1]
    assert len(Sentry(SentryParams(copies=10)).screen(Batch.of(x, 0))) == 5


def test_honest_batches_pass_untouched() -> None:
    sentry = Sentry()
    for part in torch.arange(8000).split(32):
        batch = digits_part().take(part)
        assert sentry.screen(batch) is batch
    assert not sentry.counts


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (float("nan"), "finite"), (-float("nan"), "finite"), (float("inf"), "finite"),
        (-float("inf"), "finite"), (1.1, "range"), (-1.1, "range"), (1e38, "range"),
    ],
)  # fmt: skip
def test_one_broken_value_costs_one_sample(fault, reason) -> None:
    batch = digits_part().take(torch.arange(32))
    batch.x[7, 0, 3, 3] = fault
    sentry = Sentry()
    kept = sentry.screen(batch)
    assert torch.equal(kept.x, torch.cat([batch.x[:7], batch.x[8:]]))
    assert {name: n for name, n in sentry.counts.items() if n} == {reason: 1}


def test_flat_samples_and_rounding_at_the_ends() -> None:
    batch = digits_part().take(torch.arange(4))
    batch.x[2] = 0.25
    batch.x[1, 0, 0, 0] = 1.001
    sentry = Sentry()
    assert len(sentry.screen(batch)) == 3
    assert sentry.counts["flat"] == 1


def test_copies_are_found_as_far_back_as_asked() -> None:
    base = digits_part()
    one, two = base.take(torch.arange(10)), base.take(torch.arange(10, 40))
    sentry = Sentry(SentryParams(copies=30))
    assert len(sentry.screen(one)) == 10
    assert len(sentry.screen(Batch.cat([one, two]))) == 30
    # The first ten are 30 samples back now and forgotten; without the search they always pass.
    assert len(sentry.screen(one)) == 10
    assert sentry.counts["duplicate"] == 10
    assert len(Sentry().screen(Batch.cat([one, one]))) == 20


def losses(seed: int, count: int) -> np.ndarray:
    """Falling and noisy, as in training."""
    rng = np.random.default_rng(seed)
    return 2.3 * np.exp(-np.arange(count) / 300) * rng.lognormal(0, 0.25, count) + 0.02


def test_odd_steps_are_found_and_honest_ones_hardly_ever() -> None:
    false, caught = 0, 0
    for seed in range(20):
        usual = Usual(128, 8.0)
        for value in losses(seed, 600).tolist():
            false += usual.add(value) > 8.0
        caught += usual.add(float(losses(seed, 600)[-1]) * 30) > 8.0
        assert usual.add(float("nan")) == float("inf")
    assert false / (20 * 600) < 0.001
    assert caught == 20


def test_a_burst_does_not_become_usual_and_a_new_level_does() -> None:
    usual = Usual(32, 8.0)
    for value in losses(0, 100).tolist():
        usual.add(value)
    assert all(usual.add(1e3) > 8.0 for _ in range(32))
    # A level that stays for a whole window is the new one.
    scores = [usual.add(1e3 * (1 + 0.01 * (i % 5))) for i in range(60)]
    assert max(scores[20:]) < 8.0


def test_judging_names_what_is_odd_and_survives_a_restart() -> None:
    one, again = Sentry(), Sentry()
    for loss, norm in zip(losses(0, 100), losses(1, 100), strict=True):
        assert one.judge(float(loss), float(norm)) == ""
    again.load_state_dict(json.loads(json.dumps(one.state_dict())))
    said = one.judge(500.0, 1.0)
    assert said.startswith("the loss is 500, ")
    assert "gradient" not in said
    assert again.judge(500.0, 1.0) == said
    both = one.judge(float("nan"), 1e9)
    assert "the loss is nan" in both
    assert "the gradient norm is 1e+09" in both
    assert again.state_dict()["counts"] == {"loss": 1}


def test_copies_are_remembered_over_a_restart() -> None:
    batch = digits_part().take(torch.arange(8))
    one, again = Sentry(SentryParams(copies=20)), Sentry(SentryParams(copies=20))
    one.screen(batch)
    again.load_state_dict(json.loads(json.dumps(one.state_dict())))
    assert len(again.screen(batch)) == 0


def test_wrong_settings_are_refused() -> None:
    for settings in ({"low": 1.0}, {"copies": -1}, {"sigmas": 0.0}, {"window": 2}):
        with pytest.raises(ConfigError, match="a sentry needs"):
            SentryParams(**settings)


def test_a_batch_without_samples_passes_and_samples_without_values_are_one_sentence() -> None:
    nothing = Batch.of(torch.zeros(0, 5), 0)
    for params in (SentryParams(), SentryParams(copies=4)):
        sentry = Sentry(params)
        assert sentry.screen(nothing) is nothing
        assert not sentry.counts
        with pytest.raises(DataError, match=r"hold values, got a batch of \[3, 0\]"):
            sentry.screen(Batch.of(torch.zeros(3, 0), 0))
