"""Recipes of weights: what they take, what they write."""

import json
from pathlib import Path

import pytest
from safetensors import SafetensorError, safe_open

from clnf.core.errors import ConfigError, ExportError
from clnf.media.bundled import load_core, load_judge
from clnf.media.making import MakingRecipe, load_making, make, members, origin
from clnf.streams.bundled import emoji32

RECIPES = Path(__file__).parents[2] / "recipes"
SMALL = MakingRecipe(
    name="small",
    kind="judge",
    seed=1,
    families=("hearts", "clocks"),
    other=("insects", "birds"),
    plan={"copies": 1, "steps": 2, "batch": 8},
)


def test_families_of_other_share_the_last_class() -> None:
    whole, label = members(SMALL)
    assert len(set(whole.tolist())) == len(label)
    assert label.bincount().tolist() == [23, 24, 16 + 22]


def test_weights_carry_what_they_were_made_of(tmp_path: Path) -> None:
    out = tmp_path / "judge.safetensors"
    assert [done for done, _, _ in make(SMALL, out)] == [1, 2, 3]
    assert list(tmp_path.iterdir()) == [out]
    with safe_open(out, framework="pt") as file:
        facts = json.loads(file.metadata()["facts"])
    assert facts["seed"] == 1
    assert facts["families"] == ["hearts", "clocks"]
    assert facts["data_sha256"] == emoji32().sha256


def test_weights_are_not_touched_before_training_is_done(tmp_path: Path) -> None:
    out = tmp_path / "judge.safetensors"
    out.write_bytes(b"old")
    making = make(SMALL, out)
    next(making)
    making.close()
    assert out.read_bytes() == b"old"


def test_the_same_recipe_makes_the_same_bytes(tmp_path: Path) -> None:
    written = []
    for seed in (1, 1, 2):
        out = tmp_path / "judge.safetensors"
        list(make(SMALL.model_copy(update={"seed": seed}), out))
        written.append(out.read_bytes())
    assert written[0] == written[1] != written[2]


BAD = """
name = "x"
kind = "{kind}"
seed = 1
families = {families}
[net]
{net}
[plan]
{plan}
"""
GOOD = {"kind": "core", "families": '["hearts"]', "net": "", "plan": ""}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"plan": "speed = 3"}, "plan.speed is 3: no such key; take steps, batch"),
        ({"plan": 'steps = "many"'}, "plan.steps is 'many': should be a valid integer"),
        ({"plan": "steps = 0"}, "plan.steps must be above 0, got 0"),
        ({"plan": "lr = nan"}, "plan.lr must be above 0, got nan"),
        ({"plan": "hue = 2.0", "kind": "judge"}, "plan.hue must be 0 to 1, got 2.0"),
        ({"plan": "drop = 1.0", "kind": "judge"}, "plan.drop must be .* below 1, got 1.0"),
        ({"net": "depth = 3"}, "net.depth is 3: no such key; take picture_channels, fold, width"),
        ({"net": "width = 12"}, "net.width must be a multiple of 8, got 12"),
        ({"net": "multipliers = []"}, "net.multipliers must be"),
        ({"net": "concepts = 1"}, "net.concepts is 1: 1 families need 2"),
        ({"net": "width = 8", "kind": "judge"}, "net is {'width': 8}: a judge has no sizes"),
        ({"kind": "poet"}, "kind is 'poet': should be 'core' or 'judge'"),
        ({"families": "[]"}, r"families is \[\]: name at least one"),
        ({"families": '["dragons"]'}, "families or other: no emoji family 'dragons'; take one of"),
        ({"families": '["hearts", "hearts"]'}, "families or other name 'hearts' 2 times"),
    ],
)
def test_a_wrong_recipe_is_one_sentence_with_file_key_and_value(
    tmp_path: Path, change: dict[str, str], sentence: str
) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(BAD.format(**GOOD))
    assert load_making(path).kind == "core"
    path.write_text(BAD.format(**GOOD | change))
    with pytest.raises(ConfigError, match=f"^{path}: {sentence}"):
        load_making(path)


def test_a_target_that_cannot_be_written_is_refused_before_training(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for out in (Path("/proc/o.safetensors"), tmp_path / "file" / "o.safetensors", tmp_path):
        with pytest.raises(ExportError, match=f"^cannot write {out}: "):
            next(make(SMALL, out))
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_missing_folders_are_made_and_a_failed_write_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise SafetensorError("I/O error: No space left on device")

    monkeypatch.setattr("clnf.media.making.save_half", full)
    out = tmp_path / "new" / "deep" / "judge.safetensors"
    with pytest.raises(ExportError, match="No space left on device"):
        list(make(SMALL, out))
    assert list(out.parent.iterdir()) == []


def test_a_recipe_with_a_word_it_does_not_know_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text('name = "x"\nkind = "judge"\nseed = 1\nfamilies = []\nspeed = 3\nplan = {}\n')
    with pytest.raises(ConfigError, match="speed"):
        load_making(path)


@pytest.mark.parametrize("name", ["emoji_core", "emoji_judge"])
def test_the_bundled_weights_are_those_of_the_recipes_and_families_as_they_stand(name: str) -> None:
    recipe = load_making(RECIPES / f"{name}.toml")
    _, facts = load_core() if name == "emoji_core" else load_judge()
    made_of = origin(recipe)
    assert {key: facts[key] for key in made_of} == made_of
    other = origin(recipe.model_copy(update={"families": recipe.families[1:]}))
    assert other["pictures_sha256"] != facts["pictures_sha256"]
