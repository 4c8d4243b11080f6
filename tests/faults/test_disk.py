"""The faulty disk sees every change, and what it says may be lost is what may be lost."""

import errno
import shutil
import sqlite3
from pathlib import Path

import pytest

from clnf.core.files import make_folder, sync_folder, write_durably
from faults.disk import Disk, Op
from faults.power import Copies, Power, Tree
from faults.vfs import available

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.skipif(not available(), reason="SQLite's functions cannot be found here"),
]


def kinds(disk: Disk) -> list[tuple[str, str]]:
    return [(op.kind, op.path) for op in disk.ops]


def test_changes_of_python_are_seen_in_order(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with Disk(tmp_path / "in", keep=True) as disk:
        write_durably(tmp_path / "in" / "a", b"abc")
        (tmp_path / "in" / "a").rename(tmp_path / "in" / "b")
        make_folder(tmp_path / "in" / "c" / "d")
        with (tmp_path / "in" / "c" / "e").open("a+b", buffering=0) as file:
            file.write(b"12")
            file.write(b"34")
            file.truncate(1)
        sync_folder(tmp_path / "in")
        shutil.rmtree(tmp_path / "in" / "c")
        (tmp_path / "elsewhere").write_text("not our business")
        (tmp_path / "in" / "b").read_bytes()
    assert kinds(disk) == [
        ("create", "a"),
        ("write", "a"),
        ("sync", "a"),
        ("rename", "a"),
        ("mkdir", "c"),
        ("mkdir", "c/d"),
        ("sync", "."),
        ("sync", "c"),
        ("create", "c/e"),
        ("write", "c/e"),
        ("write", "c/e"),
        ("cut", "c/e"),
        ("sync", "."),
        ("unlink", "c/e"),
        ("rmdir", "c/d"),
        ("rmdir", "c"),
    ]
    assert disk.ops[10] == Op("write", "c/e", "", 2, b"34")
    assert disk.ops[3].other == "b"


def test_changes_of_sqlite_are_seen_and_its_files_stay_right(tmp_path: Path) -> None:
    with Disk(tmp_path, keep=True) as disk:
        db = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("CREATE TABLE t (x)")
        db.execute("INSERT INTO t VALUES (?)", ("word" * 2000,))
        db.close()
    written = {path for kind, path in kinds(disk) if kind == "write"}
    assert written == {"a.db", "a.db-journal", "a.db-wal"}
    assert kinds(disk)[-1] == ("unlink", "a.db-wal")
    assert ("sync", ".") in kinds(disk)
    with sqlite3.connect(tmp_path / "a.db") as db:
        assert db.execute("SELECT length(x) FROM t").fetchone() == (8000,)
    db.close()
    # What was recorded makes the same file.
    power = Power(disk.ops)
    for _ in disk.ops:
        power.step()
    assert power.tree("kept") == {"a.db": (tmp_path / "a.db").read_bytes()}


def test_a_file_written_past_the_stand_ins_is_caught(tmp_path: Path) -> None:
    import io

    real = io.FileIO
    with pytest.raises(AssertionError, match="behind our back"), Disk(tmp_path):
        real(str(tmp_path / "a"), "w").close()


def test_a_full_disk_refuses_from_the_given_change_on(tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(b"old")
    with Disk(tmp_path, at=2, fault="full"):
        with pytest.raises(OSError, match="No space left") as error:
            write_durably(tmp_path / "a", b"abcdef")
        assert error.value.errno == errno.ENOSPC
        with pytest.raises(OSError, match="No space left"):
            (tmp_path / "d").mkdir()
        (tmp_path / "old").unlink()  # to remove is always possible
    assert (tmp_path / "a").read_bytes() == b"abc"  # half of it still found room
    with Disk(tmp_path, at=2, fault="full", lasting=False):
        with pytest.raises(OSError, match="No space left"), (tmp_path / "c").open("wb", 0) as file:
            file.write(b"abcdef")
        (tmp_path / "c").write_bytes(b"now there is room")
    with Disk(tmp_path, at=2, fault="full"):
        db = sqlite3.connect(tmp_path / "b.db")
        with pytest.raises(sqlite3.OperationalError, match="unable to open|full"):
            db.execute("CREATE TABLE t (x)")
        db.close()


def after(ops: list[Op], loss: str | int) -> Tree:
    power = Power(ops)
    for _ in ops:
        power.step()
    return power.tree(loss)


CREATED = [Op("create", "a"), Op("write", "a", "", 0, b"abc")]


@pytest.mark.parametrize(
    ("ops", "bare", "names", "bytes_"),
    [
        (CREATED, {}, {"a": b""}, {}),
        ([*CREATED, Op("sync", "a")], {}, {"a": b"abc"}, {}),
        ([*CREATED, Op("sync", ".")], {"a": b""}, {"a": b""}, {"a": b"abc"}),
        (
            [*CREATED, Op("sync", "a"), Op("sync", "."), Op("rename", "a", "b")],
            {"a": b"abc"},
            {"b": b"abc"},
            {"a": b"abc"},
        ),
        (
            [*CREATED, Op("sync", "a"), Op("sync", "."), Op("write", "a", "", 1, b"XY")],
            {"a": b"abc"},
            {"a": b"abc"},
            {"a": b"aXY"},
        ),
        (
            [*CREATED, Op("sync", "a"), Op("sync", "."), Op("unlink", "a"), Op("mkdir", "d")],
            {"a": b"abc"},
            {"d": None},
            {"a": b"abc"},
        ),
    ],
)
def test_what_was_not_forced_to_disk_may_be_lost(
    ops: list[Op], bare: Tree, names: Tree, bytes_: Tree
) -> None:
    assert (after(ops, "bare"), after(ops, "names"), after(ops, "bytes")) == (bare, names, bytes_)


def test_coins_lose_any_part_and_nothing_that_is_safe() -> None:
    ops = [
        *CREATED, Op("sync", "a"), Op("sync", "."), Op("create", "b"), Op("rename", "a", "c"),
        Op("write", "c", "", 0, b"N" * 1024),
    ]  # fmt: skip
    found = [after(ops, coin) for coin in range(60)]
    assert {"a" in tree for tree in found} == {"b" in tree for tree in found} == {True, False}
    assert all(("a" in tree) is not ("c" in tree) for tree in found)  # a rename is whole
    contents = {tree.get("a", tree.get("c")) for tree in found}
    torn = b"abc" + bytes(509) + b"N" * 512
    assert contents == {b"abc", b"N" * 512, torn, b"N" * 1024}


def test_a_tree_is_put_and_replaced(tmp_path: Path) -> None:
    copies = Copies(tmp_path)
    first: Tree = {"a": b"1", "d": None, "d/b.db": b"2", "gone": b"3"}
    second: Tree = {"a": b"1", "d": b"a file now"}
    for tree in (first, second, first):
        copies.put(tree, tmp_path / "state")
        there = {
            str(path.relative_to(tmp_path / "state")): path.read_bytes() if path.is_file() else None
            for path in (tmp_path / "state").rglob("*")
        }
        assert there == tree
    assert copies.name(first) != copies.name(second)
