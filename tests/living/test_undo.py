"""Going back to a point of return: cells are written and paid for, nothing leaves the journal."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clnf.core.errors import RunError
from clnf.living import snapshots
from clnf.living.arm import Arm
from clnf.living.journal import Journal
from clnf.living.lessons import Added
from clnf.living.recipe import Recipe
from clnf.living.report import render
from clnf.living.run import Run
from clnf.living.store import points
from clnf.living.summary import summarise
from clnf.living.verify import check
from faults.small_arm import small_recipe, small_world


@pytest.fixture(autouse=True)
def world() -> Iterator[None]:
    with small_world():
        yield


def finish(arm: Arm) -> None:
    for _ in arm.run():
        pass


def begun(root: Path, recipe: Recipe) -> Path:
    run = Run.create(root / "run", recipe)
    with run.writing(), run.arm() as arm:
        finish(arm)
    return run.folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two lessons committed, "people, poisoned" and "hands"."""
    with small_world():
        return begun(tmp_path_factory.mktemp("runs"), small_recipe())


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "run"))


def undo(folder: Path, step: int) -> dict[str, Any]:
    recipe = Run(folder).recipe
    arm = Arm(folder, recipe)
    work = arm.undo(step)
    try:
        while True:
            next(work)
    except StopIteration as end:
        result: dict[str, Any] = end.value
    finally:
        arm.close()
    return result


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """What plastic layers weigh, read now from their cells."""
    arm = Arm(folder, Run(folder).recipe)
    arm.close()
    layers = arm.model.chip.layers.items()
    return {name: one.weight.detach().clone() for name, one in layers if one.plastic}


def distance(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    return sum(float((value - other[name]).square().sum()) for name, value in one.items()) ** 0.5


def at_point(folder: Path, step: int, tmp_path: Path) -> Path:
    """A copy of a run as it was at a point."""
    copy = Path(shutil.copytree(folder, tmp_path / f"at{step}"))
    for path in (copy / "snapshots").iterdir():
        if int(path.name) > step:
            shutil.rmtree(path)
    return copy


def test_points_say_what_would_be_undone(run: Path) -> None:
    found = points(run, Run(run).recipe)
    assert [(p.after, p.without, p.here) for p in found] == [
        ("hands", (), True),
        ("people, poisoned", ("hands",), False),
        ("start", ("people, poisoned", "hands"), False),
    ]
    assert [p.step for p in found] == sorted((p.step for p in found), reverse=True)
    assert points(run / "none", Run(run).recipe) == []


def test_cells_and_all_that_is_digital_go_back_and_it_is_charged(run: Path, tmp_path: Path) -> None:
    _, middle, start = points(run, Run(run).recipe)
    now, then = weights(run), weights(at_point(run, middle.step, tmp_path))
    result = undo(run, middle.step)
    back = weights(run)
    assert distance(now, then) > 0
    assert distance(back, then) < 0.6 * distance(now, then)  # one pair of cells is coarse
    assert result["lessons"] == ["hands"]
    assert result["pulses"] > 0
    assert result["energy_aj"] > 0
    assert 0 < result["rms_error"] < 0.05
    new = snapshots.load_latest(run / "snapshots").parts
    old = snapshots.load(run / "snapshots" / f"{middle.step:08d}").parts
    for part, keys in (("model", old["model"]), ("learner", old["learner"])):
        for key in keys:
            one, other = new[part][key], old[part][key]
            same = torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other
            assert same, (part, key)
    assert new["model"]["concepts"]["names"][-1] == "people"
    assert new["run"]["lessons"]["undone"] == [1]
    # Time, wear and the bill go on.
    clocks = [parts["chip"]["clock_s"] for parts in (old, new)]
    assert clocks[0] < clocks[1]
    bill = Journal(run / "journal.db", read_only=True)
    ledger = bill.events("ledger")[-1].payload["rows"]
    bill.close()
    assert sum(row[4] for row in ledger if row[1] == "undo") == result["energy_aj"]
    assert {one.after for one in points(run, Run(run).recipe)} == {
        "undone 1", "hands", "people, poisoned", "start"
    }  # fmt: skip
    assert start.step in {one.step for one in points(run, Run(run).recipe)}


def test_nothing_leaves_the_journal_and_the_report_says_so(run: Path) -> None:
    assert "by hand" not in render(run, None)
    with Journal(run / "journal.db", read_only=True) as journal:
        before = [event.hash for event in journal.events()]
        spent = summarise(run).total_j()
    _, middle, _ = points(run, Run(run).recipe)
    result = undo(run, middle.step)
    with Journal(run / "journal.db", read_only=True) as journal:
        journal.verify()
        assert [event.hash for event in journal.events()][: len(before)] == before
    summary = summarise(run)
    assert [line.action for line in summary.lessons] == ["commit", "undone"]
    assert summary.lessons[1].reason.startswith("kept at first (")
    assert summary.undone[0].lessons == ("hands",)
    assert summary.total_j() == pytest.approx(spent + result["energy_aj"] / 1e18)
    assert summary.rows[-1]["after"] == "undone 1"
    assert "hands" not in summary.rows[-1]["match"]
    assert summary.wear == result["wear"]
    page = render(run, None)
    assert "back to what was known after people, poisoned" in page
    assert "undone by hand" in page
    assert [one for one in check(run) if not one.good] == []


def test_an_undoing_can_be_undone(run: Path, tmp_path: Path) -> None:
    last, _, start = points(run, Run(run).recipe)
    undo(run, start.step)
    assert [line.action for line in summarise(run).lessons] == ["undone", "undone"]
    result = undo(run, last.step)
    assert result["lessons"] == []
    assert [line.action for line in summarise(run).lessons] == ["commit", "commit"]
    names = snapshots.load_latest(run / "snapshots").parts["model"]["concepts"]["names"]
    assert names[-2:] == ["people", "hands"]
    assert [one for one in check(run) if not one.good] == []


def test_killed_at_any_time_it_is_undone_or_not(run: Path, tmp_path: Path) -> None:
    """Nothing is kept before the snapshot at its end; then it goes to the same bits."""
    _, middle, _ = points(run, Run(run).recipe)
    again = Path(shutil.copytree(run, tmp_path / "again"))
    arm = Arm(again, Run(again).recipe)
    for _ in arm.undo(middle.step):
        break  # the cells are written, nothing is measured
    arm.close()
    arm = Arm(again, Run(again).recipe)
    assert arm.journal.events("undone") == []
    arm.close()
    for folder in (run, again):
        undo(folder, middle.step)
    ends = [snapshots.load_latest(folder / "snapshots").sha256 for folder in (run, again)]
    assert ends[0] == ends[1]


def pictures(seed: int) -> Any:
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 4, 4, 3)).astype(np.uint8)
    return coarse.repeat(8, 1).repeat(8, 2)


def teach(folder: Path, name: str, seed: int) -> None:
    arm = Arm(folder, Run(folder).recipe)
    lesson = Added(
        name=name, concept="blots", kind="new", file=f"{len(arm.lessons):04d}.safetensors",
        provenance="a test",
    )  # fmt: skip
    arm.add(lesson, pictures(seed))
    finish(arm)
    arm.close()


def test_a_persons_lesson_is_forgotten_and_can_be_taught_again(run: Path) -> None:
    here = points(run, Run(run).recipe)[0].step
    teach(run, "folder blots 1", 1)
    first = Run(run).recipe
    undo(run, here)
    arm = Arm(run, first)
    assert "blots" not in arm.model.concepts.names
    assert arm.lessons.own() == {}
    arm.close()
    teach(run, "folder blots 2", 2)
    arm = Arm(run, first)
    assert arm.model.concepts.names[-1] == "blots"
    assert torch.equal(arm.lessons.own()["blots"][0, :, 0, 0], _first_pixel(2))
    arm.close()
    lines = {line.name: line.action for line in summarise(run).lessons}
    assert lines["folder blots 1"] == "undone"
    assert lines["folder blots 2"] in ("commit", "reject")


def _first_pixel(seed: int) -> torch.Tensor:
    return torch.from_numpy(pictures(seed)[0, 0, 0].astype(np.float32) / 127.5 - 1)


def test_a_lesson_in_the_middle_is_given_up_and_no_more_points_are_held(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", small_recipe().model_copy(update={"undo_points": 1}))
    with run.writing(), run.arm() as arm:
        for at in arm.run():
            if at.lesson == "hands" and at.done == 3:
                break
    arm = Arm(run.folder, run.recipe)
    assert arm.cursor["offered"] is not None
    arm.close()
    (middle, start) = points(run.folder, run.recipe)
    result = undo(run.folder, start.step)
    assert result["lessons"] == ["people, poisoned", "hands"]
    assert [one.after for one in points(run.folder, run.recipe)] == ["undone 1", middle.after]
    arm = Arm(run.folder, run.recipe)
    assert arm.finished
    arm.close()
    assert [line.action for line in summarise(run.folder).lessons] == ["undone"]


@pytest.mark.slow
def test_columns_that_moved_and_masks_go_back_too(tmp_path: Path) -> None:
    recipe = small_recipe()
    recipe = recipe.changed("chip", spare_columns=1)
    recipe = recipe.changed("levelling", every=1, budget=1.0)
    recipe = recipe.changed("mask", kind="fisher", share=0.2, samples=2)
    run = begun(tmp_path, recipe)
    now = weights(run)
    _, middle, _ = points(run, recipe)
    then = weights(at_point(run, middle.step, tmp_path))
    masks = snapshots.load(run / "snapshots" / f"{middle.step:08d}").parts["hardware"]["masks"]
    undo(run, middle.step)
    # Lines stay where they moved to, on cells of another kind; their weights go back.
    assert distance(weights(run), then) < 0.9 * distance(now, then)
    kept = snapshots.load_latest(run / "snapshots").parts["hardware"]["masks"]
    assert kept["lessons"] == masks["lessons"]
    assert all(torch.equal(kept["importance"][k], v) for k, v in masks["importance"].items())


def test_what_is_no_point_is_refused(run: Path) -> None:
    arm = Arm(run, Run(run).recipe)
    with pytest.raises(RunError, match="no point of return at step 2; there are: 1, "):
        next(arm.undo(2))
    with pytest.raises(RunError, match="there is nothing to undo"):
        next(arm.undo(arm.step))
    arm.close()


def test_the_door(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import sys

    from clnf.cli import main

    def clnf(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["clnf", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main.run()
        return int(end.value.code or 0), *capsys.readouterr()

    code, out, err = clnf("undo", run)
    assert (code, err) == (0, "")
    listed = json.loads(clnf("undo", run, "--json")[1])
    assert f"go back with: clnf undo {run} --to {listed[1]['step']}" in out.replace("\n", " ")
    assert clnf("undo", run, "--to", 10**6)[0] == 2
    code, out, _ = clnf("undo", run, "--to", listed[1]["step"])
    assert code == 0
    assert "back to after people, poisoned: " in out
    assert "not taught any more: hands" in out
    assert "undone" in clnf("report", run)[1]
    code, out, err = clnf("verify", run)
    assert (code, err) == (0, "")
    assert "everything is as it was written" in out
    target = run / "snapshots" / f"{listed[1]['step']:08d}" / "chip.safetensors"
    whole = bytearray(target.read_bytes())
    whole[-1] ^= 1
    target.write_bytes(whole)
    code, out, _ = clnf("verify", run, "--json")
    assert code == 1
    bad = [one for one in json.loads(out)["checked"] if not one["good"]]
    assert [one["file"] for one in bad] == [f"snapshots/{target.parent.name}/chip.safetensors"]
    assert "BAD" in clnf("verify", run)[1]
    words = "is damaged"
    assert words in clnf("undo", run, "--to", listed[1]["step"])[2]
