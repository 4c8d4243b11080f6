"""The whole loop at its smallest: one poisoned lesson, one harmful one, four steps each."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from clnf.core.errors import DataError, RunError
from clnf.core.ledger import Ledger
from clnf.living.arm import Arm
from clnf.living.generate import Wish, draw
from clnf.living.journal import Journal
from clnf.living.recipe import LessonPart, Recipe
from clnf.living.report import render, write_report
from clnf.living.run import Run
from clnf.living.summary import summarise
from clnf.living.teach import add_folder, making_of
from clnf.streams.bundled import emoji32, split
from faults.compare import final_state, finish, paused, same

# Without wires, which take seconds to solve, and with few tiles.
SMALL = {"tile_rows": 512, "tile_columns": 512, "plastic_tile_rows": 512, "wire_ohm": 0.0}


def tiny(**guards: bool) -> Recipe:
    recipe = Recipe(
        name="tiny",
        seed=3,
        snapshot_steps=2,
        compare=False,
        lesson=(
            LessonPart(name="people, poisoned", family="people", concept="people", poisoned=True),
            LessonPart(name="faces again", family="faces", concept="faces", moved=True),
        ),
    )
    recipe = recipe.changed("learn", steps=4, batch=4)
    recipe = recipe.changed(
        "probe", samples=2, steps=1, tolerance=1.0, mean_tolerance=1.0, kid_tolerance=1e6
    )
    recipe = recipe.changed("chip", pairs=2, **SMALL)
    return recipe.changed("guards", fisher_samples=1, rehearsed=2, memory_per_family=2, **guards)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("runs")
    run = Run.create(root / "tiny", tiny())
    with run.writing():
        for _ in run.go():
            pass
    return run.folder


def test_a_paused_arm_goes_on_bit_for_bit(tmp_path: Path, undisturbed: Path) -> None:
    folder = tmp_path / "paused"
    paused(folder, tiny(), (1, 3, 7))
    finish(folder, tiny())
    assert same(final_state(folder), final_state(undisturbed))


def test_another_seed_ends_elsewhere(tmp_path: Path, undisturbed: Path) -> None:
    finish(tmp_path / "other", tiny().model_copy(update={"seed": 4}))
    assert not same(final_state(tmp_path / "other"), final_state(undisturbed))


def test_the_poison_is_quarantined_with_reasons(undisturbed: Path) -> None:
    line = summarise(undisturbed).lessons[0]
    assert line.quarantined["finite"] >= 10
    assert sum(line.quarantined.values()) >= 30
    with Journal(undisturbed / "journal.db", read_only=True) as journal:
        kept = list(journal.quarantine())
    assert sum(len(row.samples) for row in kept) == sum(line.quarantined.values())
    labels = [row.reason for row in kept if row.reason.startswith("label")]
    assert labels
    assert all("taught as 'people'" in reason for reason in labels)


def test_without_the_gate_the_poison_reaches_the_learner(tmp_path: Path) -> None:
    finish(tmp_path / "open", tiny(gate=False, monitor=False))
    line = summarise(tmp_path / "open").lessons[0]
    assert line.quarantined == {}
    assert line.admitted == len(split("people", "train")) + 48


def test_the_bill_adds_up_exactly(undisturbed: Path) -> None:
    ledger = Ledger()
    with Journal(undisturbed / "journal.db", read_only=True) as journal:
        ledger.load_state(journal.events("ledger")[-1].payload["rows"])
    total = ledger.total().energy_aj
    assert total > 0
    for axis in ("tile", "lesson", "op"):
        assert sum(cost.energy_aj for cost in ledger.by(axis).values()) == total
    assert ledger.total(lesson="people, poisoned", op="pulse").count > 0


def test_the_report_stands_alone_and_names_verdicts(undisturbed: Path) -> None:
    page = write_report(undisturbed, None).read_text(encoding="utf-8")
    assert page == render(undisturbed, None)
    assert "http://" not in page
    assert "https://" not in page
    assert "data:image/png;base64," in page
    for line in summarise(undisturbed).lessons:
        assert line.name in page


def test_drawing_from_a_snapshot_repeats_itself(undisturbed: Path) -> None:
    wish = Wish(concept="hearts", n=2, seed=7, steps=2, guidance=2.0)
    pictures = []
    for _ in range(2):
        arm = Arm(undisturbed, tiny())
        pictures.append(draw(arm.model, wish))
        arm.close()
    assert torch.equal(*pictures)


def test_a_folder_becomes_a_lesson_and_a_bad_file_does_not(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    finish(folder, tiny().model_copy(update={"lesson": ()}))
    pictures = tmp_path / "mine"
    pictures.mkdir()
    for at, image in enumerate(emoji32().images[900:920]):
        Image.fromarray(np.array(image)).save(pictures / f"{at:02d}.png")
    (pictures / "fake.png").write_text("not a picture")
    arm = Arm(folder, tiny().model_copy(update={"lesson": ()}))
    name = add_folder(arm, pictures, "mine")
    for _ in arm.run():
        pass
    assert "mine" in arm.model.concepts.names
    assert [e.payload["file"] for e in arm.journal.events("file refused")] == ["fake.png"]
    with pytest.raises(DataError, match="no folder"):
        add_folder(arm, tmp_path / "no", "x")
    arm.close()
    assert summarise(folder).lessons[-1].name == name


def test_a_grid_or_a_strange_picture_is_no_base_for_feedback(tmp_path: Path) -> None:
    Image.new("RGB", (32, 32)).save(tmp_path / "strange.png")
    with pytest.raises(DataError, match="does not say how it was made"):
        making_of(tmp_path / "strange.png")
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(DataError, match="cannot read"):
        making_of(tmp_path / "text.png")


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no run in"):
        Run(tmp_path)
