"""Whatever is changed in a run is found, and what is not found changes nothing."""

import random
import shutil
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load

from clnf.core.errors import ClnfError, RunError
from clnf.core.toml import dump_toml
from clnf.living import snapshots
from clnf.living.journal import Journal
from clnf.living.lock import RunLock
from clnf.living.store import Store
from clnf.living.verify import Checked, check
from clnf.streams.quarantine import pardons_text
from faults.small_run import KINDS, RECIPE, go

pytestmark = pytest.mark.chaos
FLIPS, CUTS = 1000, 100


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    folder.mkdir()
    (folder / "recipe.toml").write_text(dump_toml(RECIPE.model_dump()))
    go(folder, "digital", lessons=1)
    (folder / "released.json").write_text(pardons_text([1, -5, 2**60]))
    return folder


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "run"))


def bad(folder: Path) -> list[Checked]:
    return [one for one in check(folder) if not one.good]


def content(folder: Path) -> dict[str, Any]:
    """All that a run is made of, as it is read."""
    found: dict[str, Any] = {}
    for path in sorted((folder / "snapshots").iterdir()):
        one = snapshots.load(path)
        found[path.name] = (one.sha256, str(one.parts))
    with Journal(folder / "journal.db", read_only=True) as journal:
        found["events"] = [event.hash for event in journal.events()]
        found["measures"] = str(journal.measures())
        found["quarantine"] = [str(row) for row in journal.quarantine()]
    return found


def test_a_run_that_nobody_touched_is_good(run: Path) -> None:
    before = {path: path.read_bytes() for path in run.rglob("*.*") if path.is_file()}
    said = list(check(run))
    assert all(one.good for one in said)
    names = {one.file for one in said}
    assert {"recipe.toml", "journal.db", "media, lessons"} <= names
    assert sum(name.startswith("snapshots/0") for name in names) == 3
    # SQLite leaves two empty files beside a journal that was read.
    assert {path: path.read_bytes() for path in before} == before
    assert {path.name for path in run.rglob("*") if path.is_file()} - {p.name for p in before} <= {
        "journal.db-shm", "journal.db-wal", "lock"
    }  # fmt: skip


def damaged(whole: bytes, draw: random.Random, cut: bool) -> bytes:
    if cut:
        return whole[: draw.randrange(len(whole))]
    place, changed = draw.randrange(8 * len(whole)), bytearray(whole)
    changed[place // 8] ^= 1 << place % 8
    return bytes(changed)


def _spoil(run: Path, flips: int, cuts: int) -> tuple[Counter[str], list[str]]:
    """Spoil one file after the other; what was found, and what neither was found nor harmless."""
    seed = random.SystemRandom().randrange(2**32)
    print(f"damage drawn from seed {seed}")
    draw, found, unseen = random.Random(seed), Counter[str](), list[str]()
    derived = {"lock", "memory.db"}
    files = [f for f in sorted(run.rglob("*")) if f.is_file() and f.name not in derived]
    whole = content(run)
    for number in range(flips + cuts):
        file = files[draw.randrange(len(files))]
        before, cut = file.read_bytes(), number >= flips
        file.write_bytes(damaged(before, draw, cut))
        said = bad(run)
        if said:
            found["cuts found" if cut else "flips found"] += 1
            assert all(one.says for one in said)
        else:
            # SQLite has bytes that say nothing, and a recipe has spaces.
            found["harmless"] += 1
            if content(run) != whole:
                unseen.append(f"{file.relative_to(run)}: {'cut' if cut else 'flip'} {number}")
        for leftover in run.glob("journal.db-*"):
            leftover.unlink()
        file.write_bytes(before)
    return found, unseen


def test_flipped_bits_and_cut_files_are_found_or_harmless(run: Path) -> None:
    found, unseen = _spoil(run, FLIPS // 4, CUTS // 4)
    assert unseen == []
    assert found["flips found"] > 0.8 * FLIPS / 4
    assert found["cuts found"] > 0.9 * CUTS / 4
    assert bad(run) == []


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_a_thousand_flipped_bits_and_a_hundred_cut_files(run: Path) -> None:
    found, unseen = _spoil(run, FLIPS, CUTS)
    assert unseen == []
    assert found["cuts found"] > 0.9 * CUTS


def test_safetensors_alone_would_load_a_flipped_bit(run: Path) -> None:
    """The control: why files are hashed."""
    file = next((run / "snapshots").glob("*/model.safetensors"))
    whole = bytearray(file.read_bytes())
    before = load(bytes(whole))
    whole[-3] ^= 4
    after = load(bytes(whole))
    assert any(str(before[name]) != str(after[name]) for name in before)
    file.write_bytes(whole)
    assert [one.says for one in bad(run)] == ["does not match its hash"]


def test_a_damaged_snapshot_is_passed_over_and_the_run_ends_the_same(run: Path) -> None:
    wanted = snapshots.load_latest(run / "snapshots").sha256
    draw = random.Random(5)
    for name in ("learner.safetensors", "manifest.json", "run.safetensors"):
        newest = max((run / "snapshots").iterdir())
        file = newest / name
        file.write_bytes(damaged(file.read_bytes(), draw, cut=False))
        store = Store(run, RECIPE)
        found = store.open()
        store.close()
        assert found is not None
        assert found.step < int(newest.name)
        assert f"snapshot {newest.name} is damaged" in store.note
        assert "went back to the snapshot of step" in store.note
        assert go(run, "digital", lessons=1) == wanted
        assert bad(run) == []


def test_damage_is_named_by_file_and_row(run: Path) -> None:
    with sqlite3.connect(run / "journal.db") as db:
        db.execute("UPDATE events SET payload = '{}' WHERE row = 3")
        db.execute("DELETE FROM measures WHERE row = 2")
    db.close()
    (run / "media" / "l0" / "a.png").unlink()
    (run / "released.json").write_text((run / "released.json").read_text().replace("8", "9"))
    said = {one.file: one.says for one in bad(run)}
    assert said["media/l0/a.png"] == "cannot be read (No such file or directory)"
    assert "it does not match its hash" in said["released.json"]
    rows = [one.says for one in bad(run) if one.file == "journal.db"]
    assert rows[0] == "was changed: row 3 of its events does not match its hash"
    assert rows[1] == "was changed: row 2 of its measures is missing"


def test_a_changed_journal_is_told_when_the_run_is_opened(run: Path) -> None:
    """Not only when the report is written, at the end of the work."""
    with sqlite3.connect(run / "journal.db") as db:
        db.execute("UPDATE events SET step = 7 WHERE row = 2")
    db.close()
    store = Store(run, RECIPE)
    assert store.open() is not None
    store.close()
    assert "journal.db was no good (row 2 of its events does not match its hash)" in store.note


def test_rows_taken_from_the_end_are_missed(run: Path) -> None:
    """A chain alone does not notice that its end is gone; the mark in the snapshot does."""
    with sqlite3.connect(run / "journal.db") as db:
        db.execute("DELETE FROM events WHERE row = (SELECT max(row) FROM events)")
    db.close()
    with Journal(run / "journal.db", read_only=True) as journal:
        journal.verify()
    (one,) = bad(run)
    assert one.file == "journal.db"
    assert one.says.startswith("does not belong to snapshot ")


def test_another_recipe_is_found_and_not_gone_on_with(run: Path) -> None:
    other = RECIPE.changed("learn", lr=0.02)
    (run / "recipe.toml").write_text(dump_toml(other.model_dump()))
    assert {one.file for one in bad(run)} == {"recipe.toml"}
    store = Store(run, other)
    with pytest.raises(RunError, match="is not the one its snapshots were taken under"):
        store.open()
    store.close()
    (run / "recipe.toml").write_text("learn = [")
    assert "is not valid TOML" in bad(run)[0].says
    (run / "recipe.toml").unlink()
    with pytest.raises(RunError, match="no run in"):
        list(check(run))


def test_pictures_of_people_are_hashed(run: Path) -> None:
    (run / "lessons").mkdir()
    (run / "lessons" / "0001.safetensors").write_bytes(b"pictures")
    digest = "0" * 64
    with Journal(run / "journal.db") as journal:
        journal.append("lesson added", 9, {"file": "0001.safetensors", "sha256": digest})
    (one,) = bad(run)
    assert (one.file, one.says) == (
        "lessons/0001.safetensors",
        "does not match its hash in the journal",
    )


def test_both_arms_are_looked_at_and_a_writer_is_not_disturbed(run: Path) -> None:
    go(_made(run / "plain"), "digital", lessons=1)
    # The plain arm's recipe is not the guarded one's: these snapshots were taken under that.
    assert {one.file for one in bad(run)} == {"recipe.toml"}
    (run / "plain" / "journal.db").write_bytes(b"")
    assert "plain/journal.db" in {one.file for one in bad(run)}
    with RunLock(run), pytest.raises(RunError, match="is being written by process"):
        list(check(run))


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_a_remembered_sample_that_was_damaged_is_refused(run: Path) -> None:
    """Every flip in the memory's file: an error in a sentence, or the same samples."""
    file = run / "memory.db"
    whole, parts = file.read_bytes(), snapshots.load_latest(run / "snapshots").parts

    def remembered() -> str:
        world = KINDS["digital"](run)
        try:
            world.load(parts)
            return str(world.learner.guards[1].memory.all().x)  # type: ignore[attr-defined]
        except ClnfError as error:
            return f"refused: {error}"
        finally:
            assert world.shelf is not None
            world.shelf.close()

    wanted, found = remembered(), Counter[str]()
    draw = random.Random(1)
    for _ in range(60):
        file.write_bytes(damaged(whole, draw, cut=False))
        said = remembered()
        assert said == wanted or said.startswith("refused: ")
        found[said[:7]] += 1
    assert found["refused"] > 3
    file.write_bytes(whole)
    assert remembered() == wanted
