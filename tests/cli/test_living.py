"""The doors of a run, one after another, as a person goes through them."""

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clnf.living.journal import Journal
from clnf.living.recipe import Recipe
from clnf.living.run import Run

KNOWN = "faces, hearts, flags, clocks, fruit"
Clnf = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "run"))


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, suffix in enumerate(("png", "jpg", "webp") * 4):
        coarse = np.random.default_rng(number).integers(0, 256, (4, 4, 3)).astype(np.uint8)
        picture = Image.fromarray(coarse).resize((40, 50), Image.Resampling.BICUBIC)
        picture.save(folder / f"{number}.{suffix}")
    (folder / "text.png").write_text("not a picture")
    return folder


def _draws_from_a_faint_scene(clnf: Clnf, run: Path, wish: tuple[Any, ...], folder: Path) -> None:
    """Noise shows what the sensor cannot see, the files say so, and edits of them are refused."""
    scene = folder / "scene.png"
    shade = (np.arange(32) * 8).astype(np.uint8)
    Image.fromarray(np.repeat(shade[:, None], 32, axis=1)).save(scene)
    faint = (*wish[:-1], folder / "f.png", "--like", scene, "--contrast", 0.06, "--looks", 64)
    seen = {}
    for name, noise in (("best", ()), ("none", ("--dither", 0.0))):
        code, out, _ = clnf("generate", run, *faint, *noise, "--json")
        files = [Path(file) for file in json.loads(out)["files"]]
        assert (code, files[-1].name) == (0, "f-seen.png")
        assert "noise of 0.0" in json.loads(out)["seen"]
        seen[name] = np.asarray(Image.open(files[-1]), dtype=float)[..., 0].mean(1)
    assert np.ptp(seen["none"]) == 0
    assert np.corrcoef(seen["best"], shade)[0, 1] > 0.99
    edit = ("--image", folder / "f-000.png", "--edited", scene, "--concept", "blots")
    code, _, err = clnf("feedback", run, *edit)
    assert (code, "was drawn from another picture" in err) == (2, True)
    code, _, err = clnf("generate", run, *faint, "--sensor-bits", 1)
    assert (code, "a sensor has 2 to 16 bits" in err) == (2, True)


def test_learn_draw_correct_and_report(
    clnf: Clnf, run: Path, pictures: Path, tmp_path: Path
) -> None:
    code, out, err = clnf("learn", run, pictures, "--concept", "blots", "--json")
    result = json.loads(out)
    assert (code, err) == (0, "")
    assert (result["name"], result["action"], result["admitted"]) == (
        "folder blots 1",
        "commit",
        12,
    )
    assert list(result["files_refused"]) == ["text.png"]
    assert set(result["kid_after"]) - set(result["kid_before"]) == {"blots"}

    wish = ("--concept", "blots", "-n", 2, "--seed", 7, "--steps", 2, "-o", tmp_path / "b.png")
    code, out, _ = clnf("generate", run, *wish, "--json")
    files = [Path(file) for file in json.loads(out)["files"]]
    assert code == 0
    assert [file.name for file in files] == ["b.png", "b-000.png", "b-001.png"]
    before = [file.read_bytes() for file in files]
    code, out, _ = clnf("generate", run, *wish)
    assert "b-000.png b-001.png" in out.replace(" ... ", " ").replace(f"{tmp_path}/", "")
    assert [file.read_bytes() for file in files] == before

    _draws_from_a_faint_scene(clnf, run, wish, tmp_path)

    fixed = tmp_path / "fixed.png"
    Image.new("RGB", (32, 32), "green").save(fixed)
    edit = ("--image", files[2], "--edited", fixed, "--concept", "blots")
    code, out, _ = clnf("feedback", run, *edit, "--json")
    result = json.loads(out)
    assert (code, result["name"]) == (0, "edit blots 1")
    assert 0 < result["distance_after"] < 2
    assert 0 < result["distance_before"] < 2
    assert set(result["match_before"]) == set(result["match_after"])

    flat = tmp_path / "flat"
    flat.mkdir()
    Image.new("RGB", (32, 32), "red").save(flat / "red.png")
    code, out, err = clnf("learn", run, flat, "--concept", "reds")
    assert code == 0
    assert "the gate refused 1: flat: all values are the same: nothing to learn" in out
    assert "folder reds 1: reject: the gate admitted 0 of 1 samples" in err
    code, _, err = clnf("generate", run, "--concept", "reds", "-o", tmp_path / "reds.png")
    assert (code, err) == (2, f'clnf: unknown concept "reds"; this model knows {KNOWN}, blots\n')

    code, out, _ = clnf("report", run, "--json")
    lessons = json.loads(out)["guarded"]["lessons"]
    assert [line["name"] for line in lessons] == [
        "folder blots 1",
        "edit blots 1",
        "folder reds 1",
    ]
    code, out, _ = clnf("report", run)
    assert "edit blots 1" in out
    assert max(map(len, out.replace(str(tmp_path), "").splitlines())) <= 100
    assert "folder blots 1" in (run / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(("number", "code"), [(errno.EROFS, 0), (errno.EIO, 2)])
def test_a_run_on_a_disk_that_cannot_be_written_is_told(
    clnf: Clnf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, code: int
) -> None:
    def refuse(folder: Path, plain: Path | None) -> Path:
        raise OSError(number, "no")

    monkeypatch.setattr("clnf.living.run.write_report", refuse)
    run = Run.create(tmp_path / "run", Recipe(name="x", compare=False)).folder
    Journal(run / "journal.db").close()
    found, _, said = clnf("report", run)
    assert (found, "was not written again (no)" in said) == (code, code == 0)
