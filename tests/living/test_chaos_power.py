"""Death before every change, power that goes at every moment, a disk that fills up at any write.

Each with a run that breaks one promise on purpose, which must be noticed.
"""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from clnf.core.errors import RunError
from clnf.living import snapshots
from clnf.living.journal import Journal
from faults.disk import Disk
from faults.judging import Recording, finishes, record, sound, survey
from faults.server import Server
from faults.small_run import go
from faults.vfs import available

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.skipif(not available(), reason="SQLite's functions cannot be found here"),
]
LOSSES = ("bare", "names", "bytes", 0)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    return record(tmp_path_factory.mktemp("recorded") / "run", "digital", 1)


def test_death_before_any_change_costs_no_whole_snapshot(
    recording: Recording, tmp_path: Path
) -> None:
    """What kill -9 leaves: everything that was done, up to some change."""
    found = survey(recording, tmp_path / "states", ("kept",), every=2, finish=12)
    assert found.bad == []
    assert found.looked > 80
    assert found.finished > 5


def test_a_snapshot_written_in_its_place_would_be_noticed(tmp_path: Path) -> None:
    """The control: without a draft that is renamed, a death in between leaves half a snapshot."""
    with mock.patch("clnf.living.snapshots._write", _in_place):
        recording = record(tmp_path / "run", "digital", 1)
    found = survey(recording, tmp_path / "states", ("kept",), every=1)
    assert any("damaged" in said for said in found.bad)


_write = snapshots._write


def _in_place(folder: Path, step: int, parts: Any, shares: Any) -> str:
    target = folder.with_name(folder.name.removeprefix(".new-"))
    target.mkdir()
    digest = _write(target, step, parts, shares)
    folder.rmdir()
    target.rename(folder)
    return digest


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("kind", ["digital", "chip"])
def test_killed_before_each_change_it_ends_with_the_same_bits(kind: str, tmp_path: Path) -> None:
    """The same by real kills, one run for every change, let go on to the end."""
    wanted = record(tmp_path / "whole", kind, 1)
    changes = sum(op.kind != "note" for op in wanted.ops)
    with Server(tmp_path / "server", kind) as server:
        for at in range(1, changes + 1):
            folder = tmp_path / f"run{at}"
            assert server.run(folder, kind, at=at, lessons=1)["code"] == -9
            assert server.run(folder, kind, lessons=1)["last"] == wanted.last
        assert server.run(tmp_path / "none", kind, at=changes + 1, lessons=1)["code"] == 0


def test_power_may_go_at_any_moment(recording: Recording, tmp_path: Path) -> None:
    found = survey(recording, tmp_path / "states", LOSSES, every=5, finish=20)
    assert found.bad == []
    assert found.looked > 100
    assert found.finished > 5


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("kind", ["digital", "chip"])
def test_power_may_go_at_every_moment(kind: str, tmp_path: Path) -> None:
    recorded = record(tmp_path / "run", kind, 3)
    found = survey(recorded, tmp_path / "states", (*LOSSES, 1, 2, 3), every=1, finish=20)
    assert found.bad == []
    assert found.looked > 1500


def _nothing(*_: object, **__: object) -> None:
    pass


BROKEN: dict[str, tuple[Callable[[], contextlib.AbstractContextManager[Any]], str]] = {
    "names of snapshots": (
        lambda: mock.patch("clnf.living.snapshots.sync_folder", _nothing), "was safe"
    ),
    "bytes of snapshots": (
        lambda: mock.patch(
            "clnf.living.snapshots.write_durably", lambda path, data: path.write_bytes(data)
        ),
        "damaged",
    ),
    "names of pictures": (
        lambda: mock.patch("clnf.living.files.sync_folder", _nothing), "is missing or damaged"
    ),
    "the journal": (
        lambda: mock.patch.object(Journal, "_checkpoint", _nothing),
        "put back from the copy",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", sorted(BROKEN))
def test_what_is_not_forced_to_disk_would_be_noticed(what: str, tmp_path: Path) -> None:
    """The controls: leave out one sync, and some moment shows it."""
    broken, words = BROKEN[what]
    with broken():
        recording = record(tmp_path / "run", "digital", 1)
    found = survey(recording, tmp_path / "states", ("bare", "names"), every=1)
    assert any(words in said for said in found.bad), found.bad


def test_a_reader_does_not_take_the_promise_of_a_mark(tmp_path: Path) -> None:
    """A reader in the middle of its reading keeps the log from being emptied; it is forced then."""
    from faults.power import Copies, Power

    def marked(folder: Path) -> list[Any]:
        folder.mkdir()
        with (
            mock.patch("clnf.living.journal.BUSY_S", 0.01),
            Disk(folder, keep=True) as disk,
            Journal(folder / "j.db") as journal,
        ):
            for step in range(5):
                journal.append("before", step)
            journal.mark()
            with Journal(folder / "j.db", read_only=True) as reader:
                reading = reader._db.execute("SELECT * FROM events")
                reading.fetchone()
                journal.append("marked", 5)
                disk.note(f"{journal.mark()['events']['rows']} rows")
                journal.append("not marked", 6)
                reading.close()
        at = next(n for n, op in enumerate(disk.ops) if op.kind == "note")
        power = Power(disk.ops)
        rows = []
        for _ in range(at + 1):
            power.step()
        for loss in ("bare", "names", 0, 1):
            copy = folder / f"after {loss}"
            Copies(folder).put(power.tree(loss), copy)
            with Journal(copy / "j.db") as journal:
                journal.verify()
                rows.append(len(journal.events()))
        return rows

    assert marked(tmp_path / "good") == [6, 6, 6, 6]
    with mock.patch.object(Journal, "_force_log", _nothing):
        assert marked(tmp_path / "bad") != [6, 6, 6, 6]


def full(folder: Path, recording: Recording, at: int, *, lasting: bool) -> str:
    """Run until the disk is full; what was said of it, empty where nothing was."""
    folder.mkdir()
    try:
        with Disk(folder, at=at, fault="full", lasting=lasting):
            go(folder, recording.kind, lessons=recording.lessons)
    except (RunError, OSError) as error:
        return str(error)
    return ""


def _full_disk(recording: Recording, folder: Path, changes: range) -> tuple[int, int]:
    """Fill the disk at each of the changes; how often it was met, and how often not felt."""
    met, unfelt = 0, 0
    for at in changes:
        for lasting in (True, False):
            place = folder / f"run{at}{lasting}"
            said = full(place, recording, at, lasting=lasting)
            met, unfelt = met + bool(said), unfelt + (not said)
            assert not said or any(words in said for words in ("full", "pace", "unable to open"))
            # With space again it goes on, from a snapshot that is as good as before.
            assert sound(place, recording, 0) == ""
            assert finishes(place, recording), (at, lasting, said)
    return met, unfelt


def test_a_disk_that_fills_up_stops_the_run_and_costs_nothing(
    recording: Recording, tmp_path: Path
) -> None:
    met, _ = _full_disk(recording, tmp_path, range(1, len(recording.ops), 17))
    assert met > 15


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("kind", ["digital", "chip"])
def test_a_disk_may_fill_up_at_any_change(kind: str, tmp_path: Path) -> None:
    recorded = record(tmp_path / "whole", kind, 1)
    met, _ = _full_disk(recorded, tmp_path, range(1, len(recorded.ops) + 1))
    assert met > 200
