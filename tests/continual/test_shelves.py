"""Samples come back to the bit from any shelf, and a database survives being ahead."""

import pytest
import torch

from clnf.continual.guards import Rehearsal, RehearsalParams
from clnf.continual.memory import Balanced, Reservoir
from clnf.continual.ranks import herd
from clnf.continual.shelves import Compressed, Database, Ram
from clnf.core.errors import ConfigError, DataError, RunError, ShapeError
from clnf.core.records import Batch


def samples(name, size=60):
    rng = torch.Generator().manual_seed(3)
    cond = torch.arange(size) % 3
    if name == "grid":
        levels = torch.randint(256, (size, 1, 6, 6), generator=rng, dtype=torch.uint8)
        return Batch.of(torch.div(levels, 127.5).sub_(1).float(), cond)
    if name == "double":
        return Batch.of(torch.randn(size, 5, generator=rng, dtype=torch.float64), cond)
    return Batch.of(torch.randn(size, 5, generator=rng), cond)


@pytest.fixture(params=["compressed", "database"])
def shelf(request, tmp_path):
    made = []

    def build(name="samples.db"):
        if request.param == "compressed":
            return Compressed()
        made.append(Database(tmp_path / name))
        return made[-1]

    yield build
    for one in made:
        one.close()


@pytest.mark.parametrize("policy", [Reservoir, Balanced])
@pytest.mark.parametrize("data", ["grid", "float", "double"])
def test_every_shelf_gives_what_ram_gives(shelf, policy, data):
    batch = samples(data)
    plain, other = policy(20, seed=0), policy(20, seed=0, shelf=shelf())
    for memory in (plain, other):
        for index in torch.arange(60).split(7):
            memory.add(batch.select(index))
    assert torch.equal(plain.all().x, other.all().x)
    assert plain.all().x.dtype == other.all().x.dtype
    draws = [m.draw(9, torch.Generator().manual_seed(1)).x for m in (plain, other)]
    assert torch.equal(*draws)
    assert float((other.all().x[0] - other.all().x[1]).abs().max()) > 0


def test_state_travels_and_goes_on(shelf, through_disk):
    batch = samples("grid")
    memory = Reservoir(20, seed=0, shelf=shelf())
    memory.add(batch.select(torch.arange(40)))
    state = through_disk(memory.state_dict())
    again = Reservoir(20, seed=0, shelf=shelf())
    again.load_state_dict(state)
    for one in (memory, again):
        one.add(batch.select(torch.arange(40, 60)))
    assert torch.equal(memory.all().x, again.all().x)


def test_compression_makes_flat_pictures_small():
    flat = Compressed()
    flat.put(torch.zeros(10, 3, 32, 32), torch.arange(10))
    noisy = Compressed()
    noisy.put(torch.rand(10, 3, 32, 32), torch.arange(10))
    assert flat.nbytes() < 10 * 3 * 32 * 32 / 50
    assert noisy.nbytes() > 10 * 3 * 32 * 32


def test_a_database_ahead_of_its_snapshot_still_serves_it(tmp_path):
    """A kill after the snapshot: slots written since point back to the old rows."""
    batch = samples("grid")
    shelf = Database(tmp_path / "a.db")
    memory = Balanced(12, seed=0, shelf=shelf)
    memory.add(batch.select(torch.arange(30)))
    state, then = memory.state_dict(), memory.all().x
    memory.add(batch.select(torch.arange(30, 60)))
    assert not torch.equal(memory.all().x, then)
    ahead = memory.all().x
    shelf.close()
    reopened = Database(tmp_path / "a.db")
    again = Balanced(12, seed=0, shelf=reopened)
    again.load_state_dict(state)
    assert torch.equal(again.all().x, then)
    again.add(batch.select(torch.arange(30, 60)))
    assert torch.equal(again.all().x, ahead)
    reopened.close()


def test_a_database_forgets_what_no_kept_snapshot_needs(tmp_path):
    shelf = Database(tmp_path / "a.db", generations=2)
    memory = Reservoir(5, seed=0, shelf=shelf)
    states = []
    for _ in range(6):
        for _ in range(4):
            memory.add(samples("grid", 30))
        states.append(memory.state_dict())
    with pytest.raises(RunError, match="lacks"):
        Reservoir(5, seed=0, shelf=shelf).load_state_dict(states[0])
    Reservoir(5, seed=0, shelf=shelf).load_state_dict(states[-2])
    count = shelf._connection.execute("SELECT COUNT(*) FROM samples").fetchone()[0]
    assert count <= 10
    shelf.close()


def by_hand(features, most):
    """iCaRL's sentence, one candidate at a time."""
    phi = features.double() / features.double().norm(dim=1, keepdim=True)
    mean, chosen = phi.mean(0), []
    for k in range(most):
        far = [
            (mean - (phi[i] + sum(phi[j] for j in chosen)) / (k + 1)).norm()
            if i not in chosen
            else torch.tensor(float("inf"))
            for i in range(len(phi))
        ]
        chosen.append(int(torch.stack([f.double() for f in far]).argmin()))
    return chosen


def test_herding_equals_brute_force_and_beats_chance():
    features = torch.randn(40, 6, generator=torch.Generator().manual_seed(0)) + 1
    rank = herd(features, 8)
    order = sorted(range(40), key=lambda i: (rank[i], i))[:8]
    assert order == by_hand(features, 8)
    assert sorted(rank)[8:] == [40] * 32
    phi = torch.nn.functional.normalize(features, dim=1)
    near = float((phi[order].mean(0) - phi.mean(0)).norm())
    draws = [torch.randperm(40, generator=torch.Generator().manual_seed(i))[:8] for i in range(50)]
    chance = [float((phi[draw].mean(0) - phi.mean(0)).norm()) for draw in draws]
    assert near < 0.6 * sum(chance) / 50
    with pytest.raises(ShapeError):
        herd(torch.zeros(3), 1)


def test_a_herding_memory_keeps_the_first_of_each_class():
    batch = samples("float")
    memory = Balanced(9, seed=0, herding=True)
    memory.add(batch, batch.x)
    kept = memory.all()
    for c in range(3):
        own = batch.x[batch.cond == c]
        wanted = own[by_hand(own, 3)]
        assert {tuple(r) for r in kept.x[kept.cond == c].tolist()} == {
            tuple(r) for r in wanted.tolist()
        }
    with pytest.raises(DataError, match="features"):
        memory.add(batch)
    with pytest.raises(RunError):
        Balanced(9, seed=0).load_state_dict(memory.state_dict())


def test_rehearsal_herds_a_lesson_whole(lesson):
    experience = lesson(size=600)
    memory = Balanced(6, seed=0, herding=True)
    guard = Rehearsal(memory, RehearsalParams(samples=4), features=lambda batch: batch.x)
    guard.consolidate(experience)
    kept, cond = memory.all(), experience.data.cond
    own = experience.data.x[cond == 1]
    assert {tuple(r) for r in kept.x[kept.cond == 1].tolist()} == {
        tuple(r) for r in own[by_hand(own, 2)].tolist()
    }


def test_bad_use_is_named(tmp_path):
    with pytest.raises(ConfigError):
        Compressed(level=0)
    with pytest.raises(ConfigError):
        Database(tmp_path / "x.db", generations=0)
    with pytest.raises(DataError):
        Compressed().put(torch.zeros(2, 3, dtype=torch.complex64), torch.arange(2))
    assert Ram(3).shape is None
