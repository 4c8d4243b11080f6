"""Recipes are checked before anything runs."""

from pathlib import Path

import pytest

from clnf.core.errors import ConfigError
from clnf.core.toml import dump_toml
from clnf.living.recipe import LessonPart, Recipe, load_recipe
from clnf.streams.stream import EMOJI_LESSONS, Lesson

BUNDLED = Path(__file__).parents[2] / "recipes" / "emoji.toml"


def test_the_bundled_recipe_teaches_four_families_and_three_traps() -> None:
    recipe = load_recipe(BUNDLED)
    honest = [part for part in recipe.lesson if part.family == part.concept]
    assert [part.concept for part in honest] == ["hands", "faces", "people", "shapes", "buttons"]
    assert sum(part.poisoned for part in recipe.lesson) == 1
    assert [p.family for p in recipe.lesson if p.family != p.concept] == ["mammals"]
    assert tuple(_lesson(part) for part in recipe.lesson) == EMOJI_LESSONS


def _lesson(part: LessonPart) -> Lesson:
    return Lesson(**part.model_dump(exclude={"mask"}))


def test_a_resolved_recipe_reads_back_as_itself(tmp_path: Path) -> None:
    recipe = load_recipe(BUNDLED)
    path = tmp_path / "recipe.toml"
    path.write_text(dump_toml(recipe.model_dump()), encoding="utf-8")
    assert load_recipe(path) == recipe


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name = 'x'\nspeed = 3", "speed"),
        ("name = 'x'\n[learn]\nsteps = 0", "learn.steps is 0"),
        ("name = 'x'\n[probe]\ntolerance = 2.0", "probe.tolerance is 2.0"),
        ("name = 'x'\n[chip]\nadc_bits = 1", "chip.adc_bits is 1: one bit leaves"),
        ("name = ", "not valid TOML"),
    ],
)
def test_a_wrong_recipe_is_refused_with_key_and_value(
    tmp_path: Path, text: str, words: str
) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=words):
        load_recipe(path)


def test_the_plain_arm_differs_in_guards_and_monitor_only() -> None:
    recipe = Recipe(name="x")
    plain = recipe.plain()
    assert plain.model_dump(exclude={"guards"}) == recipe.model_dump(exclude={"guards"})
    guards = plain.guards
    assert not any((guards.rehearsal, guards.ewc, guards.fence, guards.monitor))
    assert guards.gate


def test_quick_keeps_the_path_and_cuts_the_length() -> None:
    recipe = load_recipe(BUNDLED)
    quick = recipe.quick()
    assert quick.lesson == recipe.lesson
    assert quick.learn.steps < recipe.learn.steps / 4
