import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from clnf.cli.data import export, sets
from clnf.cli.main import app
from clnf.core.errors import ConfigError
from clnf.streams.bundled import digits10k, emoji32, family


def test_every_set_names_its_licence_and_families() -> None:
    found = {row["name"]: row for row in sets()}
    assert set(found) == {"emoji32", "digits10k"}
    assert "Apache-2.0" in found["emoji32"]["licence"]
    assert "MIT" in found["digits10k"]["licence"]
    assert sum(found["digits10k"]["families"].values()) == found["digits10k"]["pictures"]
    assert found["emoji32"]["families"]["hands"] == len(family("hands"))


def test_list_prints_json_and_lines_that_fit() -> None:
    done = CliRunner().invoke(app, ["data", "list", "--json"])
    assert json.loads(done.stdout) == sets()
    done = CliRunner().invoke(app, ["data", "list"])
    assert "hands" in done.stdout
    named = sum(sets()[0]["families"].values())
    assert f"These families hold {named} of the {len(emoji32().images)} pictures" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100


def test_exported_pictures_are_the_bundled_ones(tmp_path: Path) -> None:
    out = tmp_path / "new" / "hands"
    order = ["data", "get", "emoji32", "--family", "hands", "--out", str(out), "--json"]
    done = CliRunner().invoke(app, order)
    assert json.loads(done.stdout)["pictures"] == len(family("hands"))
    files = sorted(out.iterdir())
    assert len(files) == len(family("hands"))
    for path, index in zip(files, family("hands"), strict=True):
        with Image.open(path) as picture:
            assert np.array_equal(np.asarray(picture), emoji32().images[index])
            assert picture.info["Title"] == emoji32().names[index]
            assert "Noto" in picture.info["Copyright"]


def test_one_digit_is_exported(tmp_path: Path) -> None:
    assert export("digits10k", tmp_path, "3") == int((digits10k().labels == 3).sum())
    with Image.open(min(tmp_path.iterdir())) as picture:
        assert picture.size == (28, 28)


@pytest.mark.parametrize(
    ("name", "family_name"), [("emoji", ""), ("emoji32", "hans"), ("digits10k", "10")]
)
def test_unknown_names_are_one_sentence(tmp_path: Path, name: str, family_name: str) -> None:
    with pytest.raises(ConfigError, match="take"):
        export(name, tmp_path / "none", family_name)
    assert not (tmp_path / "none").exists()
