"""What changed is answered by policy, what did not is left alone, and a resume is exact."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from clnf.continual.guards.ewc import EWC
from clnf.continual.guards.reduced import ReducedRehearsal
from clnf.continual.guards.rehearsal import Rehearsal
from clnf.continual.memory import Balanced
from clnf.core.records import Batch, Experience
from clnf.living.arm import Arm
from clnf.living.changes import Changes
from clnf.living.journal import Journal
from clnf.living.lessons import Lessons
from clnf.living.recipe import LessonPart, Recipe
from clnf.living.store import points
from clnf.living.summary import summarise
from faults.compare import final_state, finish, paused, same

HANDS = LessonPart(name="hands", family="hands", concept="hands")
AGAIN = LessonPart(name="faces again", family="faces", concept="faces", moved=True)


@pytest.fixture(autouse=True)
def _few_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither hundreds of real pictures nor the chip's map are what is tested here."""
    whole: Callable[[Lessons], dict[str, torch.Tensor]] = Lessons.real
    monkeypatch.setattr(Lessons, "real", lambda self: {k: v[:4] for k, v in whole(self).items()})
    monkeypatch.setattr("clnf.living.arm.keep_floor", lambda model, folder: None)


def small(*lessons: LessonPart, hours: float = 24.0, **drift: Any) -> Recipe:
    """Without wires, with few tiles, one pair and rank 1, so that a run takes seconds."""
    recipe = Recipe(name="small", seed=3, snapshot_steps=1, compare=False, lesson=lessons)
    wide = {"tile_rows": 512, "tile_columns": 512, "plastic_tile_rows": 512, "wire_ohm": 0.0}
    recipe = recipe.changed("chip", pairs=1, hours_between_lessons=hours, **wide)
    recipe = recipe.changed("adapter", rank=1).changed("learn", steps=2, batch=4)
    loose = {"tolerance": 1.0, "mean_tolerance": 1.0, "kid_tolerance": 1e6, "good_enough": 0.0}
    recipe = recipe.changed("probe", samples=2, steps=1, nothing_new=1e6, **loose)
    recipe = recipe.changed("guards", fisher_samples=1, rehearsed=2, memory_per_family=2)
    return recipe.changed("drift", watch=True, **{"look": 2, **drift})


def answers(folder: Path) -> list[dict[str, Any]]:
    with Journal(folder / "journal.db", read_only=True) as journal:
        journal.verify()
        return [event.payload for event in journal.events("drift")]


def _of(cells: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {k.removeprefix(prefix): v for k, v in cells.items() if k.startswith(prefix)}


def test_each_change_has_its_answer_and_a_resume_is_exact(tmp_path: Path) -> None:
    recipe = small(HANDS, AGAIN)
    finish(tmp_path / "whole", recipe)
    cells, news, later = answers(tmp_path / "whole")
    told = [(one["lesson"], one["change"], one["response"]) for one in (cells, news, later)]
    assert told == [
        ("hands", "hardware", "recalibrate"),
        ("hands", "data", "consolidate"),
        ("faces again", "hardware", "recalibrate"),
    ]
    assert cells["drift"] > later["drift"] > recipe.drift.tolerance  # it goes with log time
    assert (cells["ranges"], later["ranges"]) == (True, False)
    for one in (cells, later):
        assert one["off_after"] < one["off_before"]
        assert one["energy_aj"] > 0
    assert (news["reason"], news["energy_aj"] > 0) == ("hands was never taught", True)
    assert "faces" in news["held"]
    # Before the first snapshot, within a lesson, between two.
    arm = paused(tmp_path / "paused", recipe, (1, 4, 2))
    assert arm.changes.open
    # What compares equal below must be able to differ.
    assert not same(final_state(tmp_path / "whole"), final_state(tmp_path / "paused"))
    finish(tmp_path / "paused", recipe)
    assert same(final_state(tmp_path / "whole"), final_state(tmp_path / "paused"))


@pytest.mark.parametrize("kind", [Rehearsal, ReducedRehearsal])
@pytest.mark.parametrize("weighed", [True, False])
def test_only_what_a_guard_measured_is_told(kind: Any, *, weighed: bool) -> None:
    weight, asked = torch.nn.Parameter(torch.ones(2)), []

    def measure(experience: Experience) -> dict[str, torch.Tensor]:
        asked.append(experience.concept)
        return {"w": torch.ones(2)}

    fisher: Any = SimpleNamespace(parameters={"w": weight}, measure=measure)
    memory = Balanced(8, seed=1)
    memory.add(Batch.of(torch.zeros(4, 3, 2, 2), 1))
    rehearsal = Rehearsal(memory) if kind is Rehearsal else ReducedRehearsal(fisher, memory)
    guards = [rehearsal, *([EWC(fisher)] if weighed else [])]
    model = SimpleNamespace(
        learner=SimpleNamespace(guards=guards), concepts=SimpleNamespace(names=["faces"])
    )
    wanted = ["faces"] if weighed else []
    assert Changes._hold(cast(Any, SimpleNamespace(model=model))) == wanted
    assert asked == wanted


def test_where_nothing_changed_nothing_is_done(tmp_path: Path) -> None:
    finish(tmp_path / "still", small(AGAIN, hours=0.0))
    assert answers(tmp_path / "still") == []
    assert [line.action for line in summarise(tmp_path / "still").lessons] == ["skip"]


@pytest.mark.parametrize("harmed", [True, False])
def test_harm_seen_after_a_commit_is_taken_back_from_the_cells(
    tmp_path: Path, *, harmed: bool
) -> None:
    recipe = small(HANDS, AGAIN, hours=0.0, data="nothing").changed("probe", tolerance=0.4)
    arm = Arm(tmp_path / "run", recipe)
    table = arm.model.engine.net.concept.weight
    begun = table.detach().clone()
    for progress in arm.run():
        if progress.phase == "verdict" and progress.lesson == "hands":
            assert arm.changes.open
            before = arm.model.chip.ledger.total(op="pulse").count
            if harmed:  # as a lesson would whose harm its own pictures did not show
                with torch.no_grad():
                    table.mul_(-3.0)
            break
    arm._pass_time(0.0)
    assert not arm.changes.open
    pulses = arm.model.chip.ledger.total(op="pulse").count - before
    found = answers(tmp_path / "run")
    rows = [row["after"] for row in summarise(tmp_path / "run").rows]
    known = arm.lessons._gate.known.label_of(arm.lessons._gate.known.prints)
    row = 6  # of hands, were they known
    if not harmed:
        assert (found, rows[-1], pulses) == ([], "hands", 0)
        assert "hands" in arm.model.concepts.names
        assert (known == row).any()
        start = points(tmp_path / "run", recipe)[-1]
        assert start.after == "start"
        for _ in arm.undo(start.step):  # a person may still take it back, and is not asked again
            pass
        assert not arm.changes.open
        assert "hands" not in arm.model.concepts.names
        assert (arm.changes._last, arm.changes._origin) == (arm.changes._origin, arm.changes._last)
        arm.close()
        return
    # What the lesson wrote into the cells is written back, as far as write-verify can.
    for name, layer in arm.model.chip.layers.items():
        for tile in layer.tiles if layer.plastic else ():
            wanted = tile.read_of(_of(arm.before["cells"], f"{name}/{tile.name}/"), 0.0)
            left = (tile.view(0.0)[0] - wanted).square().mean().sqrt()
            assert float(left) < 0.1 * float(tile.scale.max())
    (first, second) = found
    assert (first["change"], first["response"]) == ("hardware", "recalibrate")  # tried first
    assert (second["change"], second["response"], second["undone"]) == ("harm", "rollback", "hands")
    assert second["pulses"] == pulses > 0
    assert second["reason"].startswith("after 'hands' was kept, ")
    assert rows[-1] == "hands rolled back"
    assert torch.equal(table, begun)
    assert "hands" not in arm.model.concepts.names
    assert not (known == row).any()
    arm.close()
