"""A lesson with adapters of its own: O-LoRA has something to hold apart, and resumes to the bit."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from clnf.continual.adapters.lessons import lessons_of
from clnf.core.errors import RunError
from clnf.core.records import Experience
from clnf.living import snapshots
from clnf.living.arm import Arm
from clnf.living.lessons import Lessons
from clnf.living.model import LivingModel
from clnf.living.recipe import Recipe
from clnf.living.store import points
from clnf.living.summary import summarise
from clnf.living.teach import add_folder
from clnf.streams.stream import emoji_source
from faults.compare import final_state, finish, paused, same
from faults.small_arm import small_recipe, small_world


@pytest.fixture(autouse=True)
def world() -> Iterator[None]:
    with small_world():
        yield


def small(lessons: int = 2, **guards: Any) -> Recipe:
    """Two lessons of a few steps on a chip of a few tiles."""
    recipe = small_recipe().model_copy(update={"snapshot_steps": 1}).changed("learn", steps=2)
    return recipe.changed("adapter", rank=1, lessons=lessons).changed("guards", **guards)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing stopped."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    with small_world():
        finish(folder, small(o_lora=5.0))
    return folder


def lesson_of(model: LivingModel, name: str) -> Experience:
    return Experience(name=name, concept=name, data=emoji_source(name, model.concepts.add(name)))


def step(model: LivingModel, name: str, at: int) -> float:
    """One step of a lesson of two."""
    lesson = lesson_of(model, name)
    (info, *_) = model.learner.lesson(lesson, steps=at + 1, batch_size=2, start_step=at)
    return float(info.loss)


def wear(model: LivingModel, group: str) -> Tensor:
    tiles = model.chip.tiles.items()
    return torch.cat([t.wear.flatten() for name, t in tiles if f".of.{group}." in name])


def taught(recipe: Recipe, folder: Path) -> tuple[LivingModel, Experience]:
    """A model that learned one lesson."""
    model = LivingModel(recipe)
    core = Lessons(recipe, folder / "unused", model.concepts).core()
    model.prepare(core)
    model.begin("hands", "hands")
    step(model, "hands", 0)
    model.close()
    model.consolidate(lesson_of(model, "hands"), core)
    return model, core


def test_lessons_stay_apart_and_are_resumed_bit_for_bit(tmp_path: Path) -> None:
    recipe = small(o_lora=5.0, c_lora=100.0)
    model, core = taught(recipe, tmp_path)
    again = LivingModel(recipe, blank=True)
    first, second = wear(model, "lesson0"), wear(model, "lesson1")
    origin = model.capture()
    model.begin("people", "people")
    assert all(len(one.earlier or ()) == 1 for one in lessons_of(model.engine).values())
    step(model, "people", 0)
    guard = next(g for g in model.learner.guards if type(g).__name__ == "OLoRA")
    assert guard.energy() > 0  # type: ignore[attr-defined]
    snapshots.save(tmp_path, 1, model.state_dict())
    again.load_state_dict(snapshots.load(tmp_path / "00000001").parts)
    losses = [step(one, "people", 1) for one in (model, again)]
    assert losses[0] == losses[1]
    assert same(model.state_dict(), again.state_dict())
    # Only the lesson's own cells were pulsed.
    assert torch.equal(wear(model, "lesson0"), first)
    assert not torch.equal(wear(model, "lesson1"), second)
    # Without the directions of the first lesson, the next step is another one.
    again.load_state_dict(snapshots.load(tmp_path / "00000001").parts)
    other = next(g for g in again.learner.guards if type(g).__name__ == "OLoRA")
    other.load_state_dict({})
    assert step(again, "people", 1) != losses[0]
    # Rolled back, its adapter waits for the next lesson, unread; kept, none is left.
    model.close()
    model.roll_back(origin)
    assert model.apart is not None
    assert model.apart.state_dict() == {"used": 1, "open": False}
    model.begin("people", "people")
    step(model, "people", 0)
    model.close()
    model.consolidate(lesson_of(model, "people"), core)
    with pytest.raises(RunError, match=r"each of the 2 adapters has learned a lesson"):
        model.begin("shapes", "shapes")


def test_a_run_resumes_to_the_same_bits_and_an_undone_lesson_gives_its_adapter_back(
    whole: Path, tmp_path: Path
) -> None:
    recipe = small(o_lora=5.0)
    assert [line.action for line in summarise(whole).lessons] == ["commit"] * 2
    paused(tmp_path / "paused", recipe, (1, 3, 5, 2))
    assert not same(final_state(whole), final_state(tmp_path / "paused"))
    finish(tmp_path / "paused", recipe)
    assert same(final_state(whole), final_state(tmp_path / "paused"))
    arm = Arm(tmp_path / "paused", recipe)
    with pytest.raises(RunError, match="undo a lesson, or begin a run with more"):
        add_folder(arm, tmp_path / "cats", "cats")
    middle = next(p for p in points(arm.folder, recipe) if p.after == "people, poisoned")
    for _ in arm.undo(middle.step):
        pass
    assert arm.model.apart is not None
    assert arm.model.apart.state_dict() == {"used": 1, "open": False}
    arm.model.apart.check()
    arm.close()
    again = Arm(arm.folder, recipe)
    assert same(again.model.state_dict(), arm.model.state_dict())
    again.close()


def test_without_the_guard_only_what_comes_second_learns_otherwise(
    whole: Path, tmp_path: Path
) -> None:
    finish(tmp_path, small())
    ends = [final_state(folder)["parts"]["chip"] for folder in (whole, tmp_path)]
    other = {n for n in ends[0] if n.endswith("/wear") and not same(ends[0][n], ends[1][n])}
    assert other
    assert all(".of.lesson1." in name for name in other)  # nothing to keep off before


def test_the_plain_arm_has_one_set_of_adapters_and_no_guard() -> None:
    assert small(o_lora=0.5).plain() == small().plain()
    assert small(o_lora=0.5).adapter.lessons == 2
    assert small(o_lora=0.5).plain().adapter.lessons == 0


def test_what_cannot_be_gets_a_sentence() -> None:
    with pytest.raises(ValueError, match=r"guards.o_lora is 5, but no lesson has adapters of its"):
        small(0, o_lora=5.0)
    with pytest.raises(ValueError, match=r"own is 7 and lessons is 2, but an adapter is a"):
        small().changed("adapter", own=7)
    row = {"name": "a", "family": "hands", "concept": "hands"}
    three = [row | {"name": name} for name in "abc"]
    with pytest.raises(ValueError, match=r"there are adapters for 2 lessons and 3 lessons"):
        Recipe.model_validate(small().model_dump() | {"lesson": three})
