"""A journal that is no good is put back from a snapshot, and the run ends with the same bits."""

import json
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from clnf.core.errors import RunError
from clnf.core.toml import dump_toml
from clnf.living import journal_copy, snapshots
from clnf.living.journal import Journal
from clnf.living.store import Store
from clnf.living.verify import check, repair
from faults.disk import Disk
from faults.small_run import RECIPE, go
from faults.vfs import available

pytestmark = pytest.mark.chaos


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run with one lesson behind it, and the hash with which two lessons end."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    folder.mkdir()
    (folder / "recipe.toml").write_text(dump_toml(RECIPE.model_dump()))
    go(folder, "digital", lessons=1)
    whole = Path(shutil.copytree(folder, folder.with_name("whole")))
    return folder, go(whole, "digital", lessons=2)


@pytest.fixture
def run(made: tuple[Path, str], tmp_path: Path) -> Path:
    return Path(shutil.copytree(made[0], tmp_path / "run"))


def spoil(statement: str) -> Callable[[Path], None]:
    def work(file: Path) -> None:
        with sqlite3.connect(file) as db:
            db.execute(statement)
        db.close()

    return work


def zeros(file: Path) -> None:
    whole = bytearray(file.read_bytes())
    whole[16384:32768] = bytes(16384)
    file.write_bytes(whole)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:40_000])


def foreign(file: Path) -> None:
    file.unlink()
    with Journal(file) as journal:
        journal.append("start", 0)
        journal.append("another run", 1)


def absurd(file: Path) -> None:
    """A flipped bit in the number of the version."""
    whole = bytearray(file.read_bytes())
    whole[60] ^= 0x20
    file.write_bytes(whole)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "a page of zeros": zeros,
    "cut": cut,
    "empty": lambda file: file.write_bytes(b""),
    "missing": lambda file: file.unlink(),
    "no database": lambda file: file.write_text("a diary, " * 3000),
    "another run's": foreign,
    "absurd version": absurd,
    "changed row": spoil("UPDATE events SET step = 7 WHERE row = 2"),
    "no text": spoil("UPDATE events SET payload = CAST(x'ff7b' AS TEXT) WHERE row = 2"),
    "rows gone from the end": spoil("DELETE FROM events WHERE row > 3"),
    "a table gone": spoil("DROP TABLE quarantine"),
}


def opened(run: Path) -> str:
    """What is said on opening a run."""
    store = Store(run, RECIPE)
    try:
        store.open()
        store.journal.verify()
        return store.note
    finally:
        store.close()


@pytest.mark.parametrize("name", sorted(DAMAGES))
def test_a_resume_puts_it_back_and_ends_the_same(
    name: str, run: Path, made: tuple[Path, str]
) -> None:
    file = run / "journal.db"
    DAMAGES[name](file)
    damaged = file.read_bytes() if file.exists() else None
    (bad, *_) = [one for one in check(run) if not one.good]
    assert bad.file == "journal.db"
    assert "resuming the run, or `clnf verify RUN --repair`, puts back" in bad.cure
    note = opened(run)
    assert "put back from the copy in snapshot 5" in note
    aside = run / "journal.db.damaged"
    assert (aside.read_bytes() if aside.exists() else None) == damaged
    assert [one for one in check(run) if not one.good] == []
    assert go(run, "digital", lessons=2) == made[1]


def test_what_is_good_is_left_alone(run: Path) -> None:
    before = (run / "journal.db").read_bytes()
    assert opened(run) == ""
    assert list(repair(run)) == []
    assert (run / "journal.db").read_bytes() == before
    assert not list(run.glob("*damaged*"))


def test_the_copy_holds_every_row_once(run: Path) -> None:
    """Also after the run was closed and opened between two snapshots."""
    go(run, "digital", lessons=2)
    every_row_once(run)


def every_row_once(run: Path) -> None:
    found = snapshots.load_latest(run / "snapshots")
    held = list(journal_copy._unpacked(journal_copy._packed(found)))
    with Journal(run / "journal.db", read_only=True) as journal:
        assert sorted(map(str, held)) == sorted(map(str, journal.rows({})))
    assert any(isinstance(value, bytes) for _, _, values in held for value in values)


def test_with_the_newest_snapshot_damaged_too_the_one_before_serves(
    run: Path, made: tuple[Path, str]
) -> None:
    newest = max((run / "snapshots").iterdir())
    for file in (run / "journal.db", newest / "journal.safetensors"):
        file.write_bytes(file.read_bytes()[:-100])
    cut(run / "journal.db")
    note = opened(run)
    assert f"snapshot {newest.name} is damaged" in note
    assert "put back from the copy in snapshot 4" in note
    assert go(run, "digital", lessons=2) == made[1]


def test_damaged_twice_both_are_kept(run: Path) -> None:
    for name in ("journal.db.damaged", "journal.db.damaged-2"):
        zeros(run / "journal.db")
        assert f"is kept as {name}" in opened(run)
        assert (run / name).exists()


def test_a_copy_that_lacks_a_row_is_not_taken(run: Path) -> None:
    """The control: what is put back is held against the chain and the mark."""
    unpacked = journal_copy._unpacked

    def less(packed: bytes) -> Iterator[journal_copy.Row]:
        yield from [row for number, row in enumerate(unpacked(packed)) if number != 1]

    def shorter(packed: bytes) -> Iterator[journal_copy.Row]:
        yield from list(unpacked(packed))[:-1]

    zeros(run / "journal.db")
    before = (run / "journal.db").read_bytes()
    for fault, words in ((less, "does not match its hash"), (shorter, "is not whole")):
        with (
            mock.patch.object(journal_copy, "_unpacked", fault),
            pytest.raises(RunError, match=words),
        ):
            opened(run)
        assert (run / "journal.db").read_bytes() == before
        assert not list(run.glob(".journal*"))


def test_without_a_copy_it_is_refused(tmp_path: Path) -> None:
    """The control, and what runs of an older clnf have; their next snapshot holds all rows."""
    run, save = tmp_path / "run", snapshots.save
    run.mkdir()

    def older(folder: Path, step: int, parts: dict[str, Any], **how: Any) -> str:
        return save(folder, step, {k: v for k, v in parts.items() if k != "journal"}, **how)

    with mock.patch("clnf.living.store.snapshots.save", older):
        go(run, "digital", lessons=1)
    whole = (run / "journal.db").read_bytes()
    zeros(run / "journal.db")
    with pytest.raises(RunError, match="holds no copy of it"):
        opened(run)
    (run / "journal.db").write_bytes(whole)
    spoil("UPDATE events SET step = 7 WHERE row = 2")(run / "journal.db")
    store = Store(run, RECIPE)
    store.open()
    store.close()
    assert "was changed: row 2 of its events" in store.note
    (run / "journal.db").write_bytes(whole)
    go(run, "digital", lessons=2)
    every_row_once(run)
    zeros(run / "journal.db")
    assert "put back" in opened(run)


@pytest.mark.skipif(not available(), reason="SQLite's functions cannot be found here")
def test_a_full_disk_while_it_is_put_back_loses_nothing(run: Path, made: tuple[Path, str]) -> None:
    """From each other change on; then there is room, and all is as it should be."""
    zeros(run / "journal.db")
    with Disk(Path(shutil.copytree(run, run.with_name("count")))) as disk:
        opened(disk.root)
    assert disk.count > 8
    for at in range(1, disk.count + 1, 2):
        one = Path(shutil.copytree(run, run.with_name(f"at{at}")))
        try:
            with Disk(one, at=at, fault="full"):
                opened(one)
        except RunError as error:
            assert str(one) in str(error)
        opened(one)
        assert [each for each in check(one) if not each.good] == []
        if at % 10 == 1:
            assert go(one, "digital", lessons=2) == made[1]


def test_what_is_not_the_files_fault_is_no_damage(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clnf.living.journal.BUSY_S", 0.1)
    with sqlite3.connect(run / "journal.db", isolation_level=None) as db:
        db.execute("BEGIN EXCLUSIVE")
        db.execute("DELETE FROM events WHERE row = 1")
        with pytest.raises(RunError, match="locked by another process"):
            opened(run)
        db.execute("ROLLBACK")
        db.execute("PRAGMA user_version = 7")
    db.close()
    with pytest.raises(RunError, match="written by a newer clnf"):
        opened(run)
    assert not list(run.glob("*damaged*"))
    (bad, *_) = [one for one in check(run) if not one.good]
    assert "newer clnf" in bad.says


def test_the_door(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from clnf.cli import main

    def clnf(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["clnf", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main.run()
        return int(end.value.code or 0), " ".join(capsys.readouterr().out.split())

    cut(run / "journal.db")
    code, out = clnf("verify", run)
    assert code == 1
    assert "journal.db: resuming the run, or `clnf verify RUN --repair`, puts back" in out
    code, out = clnf("verify", run, "--repair")
    assert code == 0
    assert "put back from the copy in snapshot 5; what was there is kept as" in out
    assert "everything is as it was written" in out
    code, out = clnf("verify", run, "--repair", "--json")
    assert (code, json.loads(out)["repaired"]) == (0, [])


def test_what_can_be_done_is_said(run: Path, tmp_path: Path) -> None:
    def bad(folder: Path) -> dict[str, tuple[str, str]]:
        return {one.file: (one.says, one.cure) for one in check(folder) if not one.good}

    spoil("PRAGMA user_version = 7")(run / "journal.db")
    assert bad(run)["journal.db"][1] == "go on with the clnf that wrote it"
    spoil("PRAGMA user_version = 0")(run / "journal.db")
    newest = max((run / "snapshots").iterdir())
    (newest / "model.safetensors").unlink()
    assert "resuming passes over it" in bad(run)[f"snapshots/{newest.name}/model.safetensors"][1]
    (run / "media" / "l0" / "a.png").unlink()
    assert "no copy of it is kept" in bad(run)["media/l0/a.png"][1]
    for path in (run / "snapshots").iterdir():
        (path / "manifest.json").unlink()
    assert "none of them is whole" in bad(run)["snapshots"][0]
    with pytest.raises(RunError, match="cannot be read"):
        list(repair(run))
    for path in (run / "snapshots").iterdir():
        shutil.rmtree(path)
    assert "gone, and the journal speaks of lessons" in bad(run)["snapshots"][0]
    assert list(repair(run)) == []
    with pytest.raises(RunError, match="has lessons in its journal but no snapshots"):
        opened(run)
    for folder, words in ((tmp_path, "holds runs"), (run / "media", "give the run itself")):
        with pytest.raises(RunError, match=words):
            list(check(folder))


def test_without_snapshots_a_damaged_journal_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "journal.db").write_bytes(b"nothing of a database" * 900)
    with pytest.raises(RunError, match="no snapshot holds a copy of it"):
        Store(tmp_path, RECIPE)
    (tmp_path / "journal.db").unlink()
    store = Store(tmp_path, RECIPE)
    assert store.open() is None
    store.close()


def test_a_folder_in_its_place_is_put_aside(run: Path, made: tuple[Path, str]) -> None:
    (run / "journal.db").unlink()
    (run / "journal.db" / "mine").mkdir(parents=True)
    assert "it is no file" in opened(run)
    assert (run / "journal.db.damaged" / "mine").is_dir()
    assert go(run, "digital", lessons=2) == made[1]
