"""Recipes are checked before anything runs."""

from pathlib import Path

import pytest
from pydantic import ValidationError

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
        (
            "name = 'x'\n[[lesson]]\nname = 'A'\nfamily = 'faces'\nconcept = 'Faces'",
            '"Faces" is too like the known concept "faces"',
        ),
        ("name = 'x'\n[chip]\ncore = 'Gst'", "chip.core is 'Gst': no material 'Gst'"),
        ("name = 'x'\nMyKey = 3", "MyKey is 3: extra inputs are not permitted"),
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


_LESSON = "[[lesson]]\nname = 'a'\nfamily = 'hands'\nconcept = 'hands'\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("seed = '3'", "seed is '3': should be a valid integer"),
        ("seed = true", "seed is True: should be a valid integer"),
        ("seed = 3.0", "seed is 3.0: should be a valid integer"),
        ("compare = 'yes'", "compare is 'yes': should be a valid boolean"),
        ("compare = 1", "compare is 1: should be a valid boolean"),
        ("name = 3", "name is 3: should be a valid string"),
        ("[learn]\nsteps = '3'", "learn.steps is '3': should be a valid integer"),
        ("[learn]\nsteps = true", "learn.steps is True: should be a valid integer"),
        ("[learn]\nlr = '0.1'", "learn.lr is '0.1': should be a valid number"),
        ("[learn]\nlr = true", "learn.lr is True: should be a valid number"),
        ("[guards]\nrehearsal = 'off'", "guards.rehearsal is 'off': should be a valid boolean"),
        ("[adapter]\nown = '7'", "adapter.own is '7': should be a valid integer"),
        ("[heat]\non = 1", "heat.on is 1: should be a valid boolean"),
        (_LESSON + "mask = '0.5'", "lesson.0.mask is '0.5': should be a valid number"),
        (_LESSON + "moved = 'no'", "lesson.0.moved is 'no': should be a valid boolean"),
        ("lesson = 'hands'", "lesson is 'hands': should be a valid"),
    ],
)
def test_a_value_of_another_type_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "bad.toml"
    name = "" if text.startswith("name") else "name = 'x'\n"
    path.write_text(name + text, encoding="utf-8")
    with pytest.raises(ConfigError) as told:
        load_recipe(path)
    assert words in str(told.value)


def test_a_whole_number_where_any_is_wanted_and_lists_stay_allowed(tmp_path: Path) -> None:
    path = tmp_path / "good.toml"
    path.write_text(
        "name = 'x'\nseed = 3\ncompare = false\n[learn]\nlr = 1\nsteps = 3\n[guards]\n"
        "rehearsal = false\n[mask]\nkind = 'activity'\n" + _LESSON + "mask = 1\nmoved = true\n",
        encoding="utf-8",
    )
    recipe = load_recipe(path)
    assert (recipe.learn.lr, type(recipe.learn.lr)) == (1.0, float)
    assert isinstance(recipe.lesson, tuple)
    assert (recipe.lesson[0].mask, recipe.lesson[0].moved) == (1.0, True)
    path.write_text(dump_toml(recipe.model_dump()), encoding="utf-8")
    assert load_recipe(path) == recipe  # as a run's folder keeps it
    assert recipe.changed("learn", clip_norm=2).learn.clip_norm == 2.0
    assert Recipe(name="x", mask=recipe.mask, lesson=recipe.lesson).lesson == recipe.lesson
    with pytest.raises(ValidationError):
        recipe.changed("learn", steps="3")


def test_the_plain_arm_differs_in_guards_and_monitor_only() -> None:
    recipe = Recipe(name="x")
    plain = recipe.plain()
    assert plain.model_dump(exclude={"guards"}) == recipe.model_dump(exclude={"guards"})
    guards = plain.guards
    assert not any((guards.rehearsal, guards.ewc, guards.fence, guards.monitor))
    assert guards.gate
    assert not recipe.changed("guards", gate=False).plain().guards.gate


def test_all_lessons_and_concepts_of_the_plain_arm_share_one_set_of_adapters() -> None:
    for apart in ({"own": 12}, {"lessons": 4}):
        recipe = Recipe(name="x").changed("adapter", **apart)
        assert recipe.adapter != recipe.plain().adapter == Recipe(name="x").adapter


def test_quick_keeps_the_path_and_cuts_the_length() -> None:
    recipe = load_recipe(BUNDLED)
    quick = recipe.quick()
    assert quick.lesson == recipe.lesson
    assert quick.learn.steps < recipe.learn.steps / 4
