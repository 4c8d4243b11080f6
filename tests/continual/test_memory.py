"""Memories keep what their policy says, lose nothing, and do not depend on how data arrive."""

import numpy as np
import pytest
import torch

from clnf.continual.memory import AbstractMemory, Balanced, Reservoir
from clnf.continual.ranks import integers
from clnf.core.errors import ConfigError, DataError, RunError
from clnf.core.records import Batch
from clnf.core.rng import fold

POLICIES = [Reservoir, Balanced]


def numbered(size: int, classes: int = 3, start: int = 0) -> Batch:
    """Sample i is the number i, of class i % classes."""
    number = torch.arange(start, start + size)
    return Batch.of(number.float()[:, None], number % classes)


def content(memory: AbstractMemory) -> list[float]:
    return memory.all().x.flatten().tolist()


def offer(memory: AbstractMemory, batch: Batch, cut: int) -> AbstractMemory:
    for part in torch.arange(len(batch)).split(cut):
        memory.add(batch.select(part))
    return memory


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("cut", [1, 7, 1000])
def test_content_does_not_depend_on_the_cut(policy, cut):
    batch = numbered(300)
    whole = offer(policy(20, seed=5), batch, 300)
    assert sorted(content(offer(policy(20, seed=5), batch, cut))) == sorted(content(whole))
    assert sorted(content(offer(policy(20, seed=6), batch, cut))) != sorted(content(whole))


def test_reservoir_is_algorithm_r_sample_by_sample():
    """Vitter 1985: the n-th sample replaces slot j, drawn from 0 to n-1, where j < M."""
    drawn = integers(fold(5, "reservoir"), np.arange(500), np.arange(1, 501))
    slots = [-1.0] * 20
    writes = 0
    for n in range(500):
        j = n if n < 20 else int(drawn[n])
        if j < 20:
            slots[j] = float(n)
            writes += 1
    one_by_one = offer(Reservoir(20, seed=5), numbered(500), 1)
    assert content(one_by_one) == slots
    assert one_by_one.n_writes == writes
    assert content(offer(Reservoir(20, seed=5), numbered(500), 33)) == slots


def test_reservoir_keeps_each_sample_with_chance_m_over_n():
    runs, size, capacity = 1500, 40, 10
    counts = np.zeros(size)
    latest = np.zeros(size)
    for seed in range(runs):
        kept = content(offer(Reservoir(capacity, seed=seed), numbered(size), 13))
        counts[np.array(kept, dtype=int)] += 1
        latest[-capacity:] += 1  # control: a queue keeps the last ones
    mean, spread = runs * 0.25, runs * 0.25 * 0.75
    chi2 = ((counts - mean) ** 2 / spread).sum() * (size - 1) / size
    assert chi2 < 72.1  # 99.9 % point of chi-square with 39 degrees of freedom
    assert ((latest - mean) ** 2 / spread).sum() > 1000


def test_reservoir_writes_follow_the_harmonic_law():
    """Expected writes are M + M (H_n - H_M); the bill of wear is made from it."""
    size, capacity, runs = 150, 20, 100
    harmonic = capacity + capacity * (1 / np.arange(capacity + 1, size + 1)).sum()
    writes = [offer(Reservoir(capacity, seed=s), numbered(size), 1).n_writes for s in range(runs)]
    error = np.std(writes) / np.sqrt(runs)
    assert abs(np.mean(writes) - harmonic) < 4 * error
    assert error < 0.03 * harmonic


def test_balanced_fills_classes_to_one_level():
    cond = torch.tensor([0] * 500 + [1] * 3 + [2] * 60)
    order = torch.randperm(563, generator=torch.Generator().manual_seed(0))
    batch = Batch.of(torch.arange(563.0)[:, None], cond[order])
    memory = offer(Balanced(33, seed=0), batch, 50)
    counts = torch.bincount(memory.all().cond).tolist()
    assert counts == [15, 3, 15]
    crowded = offer(Reservoir(33, seed=0), batch, 50)  # control
    assert torch.bincount(crowded.all().cond, minlength=3)[0] > 20


def test_balanced_gives_room_to_new_classes_and_leaves_uniform_samples():
    counts = np.zeros(60)
    for seed in range(600):
        memory = Balanced(12, seed=seed)
        memory.add(Batch.of(torch.arange(60.0)[:, None], 0))
        assert len(memory) == 12
        memory.add(Batch.of(torch.arange(100.0, 160.0)[:, None], 1))
        kept = np.array(content(memory), dtype=int)
        assert (kept < 100).sum() == 6
        counts[kept[kept < 100]] += 1
    mean, spread = 600 * 0.1, 600 * 0.1 * 0.9
    chi2 = ((counts - mean) ** 2 / spread).sum() * 59 / 60
    assert chi2 < 98.3  # 99.9 % point, 59 degrees of freedom


@pytest.mark.parametrize(
    ("memory", "share"),
    [
        (Reservoir(100, seed=0), 0.1),
        (Reservoir(100, seed=0, by_class=True), 0.5),
        (Balanced(100, seed=0), 0.5),
    ],
)
def test_draws_are_even_over_samples_or_over_classes(memory, share):
    """DER of the papers draws samples evenly; draws by class cost it 4 points."""
    memory.add(Batch.of(torch.zeros(90, 1), 4))
    memory.add(Batch.of(torch.ones(10, 1), 7))
    rng = torch.Generator().manual_seed(0)
    assert float(memory.draw(4000, rng).x.mean()) == pytest.approx(share, abs=0.04)
    assert float(memory.draw_uniform(4000, rng).x.mean()) == pytest.approx(0.1, abs=0.03)


@pytest.mark.parametrize("policy", POLICIES)
def test_draws_reach_every_sample_and_repeat_with_the_generator(policy):
    memory = offer(policy(60, seed=0), numbered(60), 7)
    first = memory.draw(2000, torch.Generator().manual_seed(1))
    again = memory.draw(2000, torch.Generator().manual_seed(1))
    assert torch.equal(first.x, again.x)
    assert set(first.x.flatten().tolist()) == set(map(float, range(60)))
    assert torch.equal(first.x[:, 0].long() % 3, first.cond)


def test_images_are_kept_as_bytes_without_loss():
    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    images = levels.float() / 127.5 - 1
    other_rounding = levels.float() * (2 / 255) - 1
    memory = Reservoir(4, seed=0)
    memory.add(Batch.of(torch.cat([images, other_rounding]), 0))
    assert memory.state_dict()["x"].dtype == torch.uint8
    assert torch.equal(memory.all().x[0], images[0])
    assert torch.equal(memory.all().x[1], images[0])


def test_what_is_off_the_grid_is_kept_raw():
    grid = torch.tensor([[0.0, 51.0, 255.0]]) / 127.5 - 1
    off = torch.tensor([[0.1234, -3.0, 7.0]])
    memory = Reservoir(4, seed=0)
    memory.add(Batch.of(grid, 0))
    memory.add(Batch.of(off, 1))
    assert memory.state_dict()["x"].dtype == torch.float32
    assert torch.equal(memory.all().x, torch.cat([grid, off]))
    whole = Reservoir(4, seed=0)
    whole.add(Batch.of(torch.tensor([[3, 4]]), 0))
    assert whole.all().x.dtype == torch.int64


def test_weights_are_kept():
    memory = Reservoir(4, seed=0)
    memory.add(Batch.of(torch.zeros(2, 1), 0, weight=2.5))
    assert memory.draw(3, torch.Generator()).weight.tolist() == [2.5] * 3


@pytest.mark.parametrize("policy", POLICIES)
def test_samples_that_are_not_finite_never_enter(policy):
    x = torch.zeros(4, 2)
    x[1, 0], x[3, 1] = torch.nan, torch.inf
    memory = policy(10, seed=0)
    memory.add(Batch.of(x, 0))
    assert (len(memory), memory.n_seen, memory.n_refused) == (2, 2, 2)
    assert bool(torch.isfinite(memory.all().x).all())


@pytest.mark.parametrize("policy", POLICIES)
def test_state_travels_with_its_counters(policy, through_disk):
    """Pitfall: a reservoir restored without n_seen prefers new samples."""
    first = offer(policy(10, seed=3), numbered(80), 9)
    second = policy(10, seed=3)
    second.load_state_dict(through_disk(first.state_dict()))
    forgetful = policy(10, seed=3)
    offer(forgetful, first.all(), 10)
    for memory in (first, second, forgetful):
        offer(memory, numbered(60, start=80), 9)
    assert content(second) == content(first)
    assert (
        (second.n_seen, second.n_writes) == (first.n_seen, first.n_writes) == (140, first.n_writes)
    )
    assert content(forgetful) != content(first)
    rngs = [torch.Generator().manual_seed(2) for _ in range(2)]
    assert torch.equal(first.draw(8, rngs[0]).x, second.draw(8, rngs[1]).x)


def test_an_empty_memory_travels(through_disk):
    memory = Balanced(5, seed=0)
    memory.load_state_dict(through_disk(Balanced(5, seed=0).state_dict()))
    assert len(memory) == 0
    with pytest.raises(DataError, match="empty"):
        memory.draw(1, torch.Generator())


def test_bad_use_is_named():
    with pytest.raises(ConfigError, match="at least one"):
        Reservoir(0, seed=0)
    memory = Reservoir(5, seed=0)
    memory.add(numbered(3))
    with pytest.raises(DataError, match="shape"):
        memory.add(Batch.of(torch.zeros(1, 2), 0))
    with pytest.raises(RunError, match="reservoir of 5"):
        Balanced(5, seed=0).load_state_dict(memory.state_dict())
    memory.add(Batch.of(torch.zeros(0, 1), 0))
    assert len(memory) == 3
