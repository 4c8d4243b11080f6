"""Guards of generators in a recipe: off they leave no trace, on they are resumed bit for bit."""

from pathlib import Path

import pytest
import torch

from clnf.continual.metrics import guard_bytes
from clnf.core.records import Experience
from clnf.living import snapshots
from clnf.living.lessons import Lessons
from clnf.living.model import LivingModel
from clnf.living.recipe import Recipe
from clnf.streams.stream import emoji_source
from faults.compare import same

ON = {"rehearsal_weight": 0.5, "distil": 1.0, "c_lora": 100.0}


def small(**guards: float) -> Recipe:
    """Without wires, with few tiles, one pair and rank 1, so that a model takes a second."""
    wide = {"tile_rows": 512, "tile_columns": 512, "plastic_tile_rows": 512}
    recipe = Recipe(name="small", seed=3).changed("chip", pairs=1, wire_ohm=0.0, **wide)
    recipe = recipe.changed("adapter", rank=1).changed("probe", samples=2, steps=1)
    few = {"fisher_samples": 1, "rehearsed": 2, "rehearsed_core": 2, "memory_per_family": 2}
    return recipe.changed("guards", **few, **guards)


def lesson_of(model: LivingModel, name: str) -> Experience:
    return Experience(name=name, concept=name, data=emoji_source(name, model.concepts.add(name)))


def step(model: LivingModel, name: str, at: int) -> float:
    """One step of a lesson of two."""
    lesson = lesson_of(model, name)
    (info, *_) = model.learner.lesson(lesson, steps=at + 1, batch_size=2, start_step=at)
    return float(info.loss)


def test_off_they_leave_no_trace_and_the_plain_arm_has_none() -> None:
    usual = ["Rehearsal", "Rehearsal", "EWC", "Fence", "OwnRow", "Edits"]
    assert LivingModel(small(), blank=True).learner.state_dict()["guards"] == usual
    assert small(**ON).plain() == small(rehearsal_weight=0.5).plain()
    on = LivingModel(small(**ON), blank=True).learner.state_dict()["guards"]
    assert on == ["ReducedRehearsal"] * 2 + ["Distillation", "CLoRA", *usual[2:]]


def test_on_they_are_resumed_bit_for_bit(tmp_path: Path) -> None:
    recipe = small(**ON)
    model, again = LivingModel(recipe), LivingModel(recipe, blank=True)
    core = Lessons(recipe, tmp_path / "unused", model.concepts).core()
    model.prepare(core)
    model.begin("hands", "hands")
    step(model, "hands", 0)
    model.consolidate(lesson_of(model, "hands"), core)
    model.begin("people", "people")
    step(model, "people", 0)
    snapshots.save(tmp_path, 1, model.state_dict())
    again.load_state_dict(snapshots.load(tmp_path / "00000001").parts)
    losses = [step(one, "people", 1) for one in (model, again)]
    assert losses[0] == losses[1]
    assert same(model.state_dict(), again.state_dict())
    # Two changes and a start as factors of rank 1; as matrices they would take some 12 MB.
    assert guard_bytes(again.learner.guards)["CLoRA"] < 0.3e6
    distilled = again.learner.guards[2].state_dict()
    assert torch.unique(distilled["point.cond"]).tolist() == [0, 1, 2, 3, 4, 5, 6]
    # Without what a guard knows, the next step is another one.
    again.load_state_dict(snapshots.load(tmp_path / "00000001").parts)
    again.learner.guards[2].load_state_dict({"lessons": 0})
    assert step(again, "people", 1) != losses[0]


def test_adapters_that_never_meet_need_no_c_lora() -> None:
    with pytest.raises(ValueError, match=r"guards.c_lora is 5, but concepts with adapters"):
        small(c_lora=5.0).changed("adapter", own=7)
