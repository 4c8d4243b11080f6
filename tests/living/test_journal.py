import math
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clnf.core.errors import RunError
from clnf.living.journal import Journal

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def filled(path: Path, lessons: int = 3) -> Journal:
    journal = Journal(path)
    for step in range(lessons):
        journal.append("lesson", step, {"name": f"l{step}", "loss": 0.1 * step})
        journal.add_measure(step, "match", "faces", 0.9 - step / 100)
        samples = np.full((2, 3), step, np.uint8)
        journal.add_quarantine(step, lesson=f"l{step}", reason="NaN", samples=samples)
    return journal


def test_rows_come_back_as_written(tmp_path: Path) -> None:
    with filled(tmp_path / "j.db") as journal:
        journal.append("end", 3)
    with Journal(tmp_path / "j.db", read_only=True) as journal:
        assert [e.event for e in journal.events()] == ["lesson"] * 3 + ["end"]
        assert journal.events("lesson")[2].payload == {"name": "l2", "loss": 0.2}
        assert [e.row for e in journal.events(after=2)] == [3, 4]
        assert [m.value for m in journal.measures("match")] == [0.9, 0.89, 0.88]
        assert journal.measures("kid") == []
        kept = list(journal.quarantine())
    assert [(q.lesson, q.reason) for q in kept] == [("l0", "NaN"), ("l1", "NaN"), ("l2", "NaN")]
    assert kept[1].samples.dtype == np.uint8
    assert np.array_equal(kept[1].samples, np.full((2, 3), 1))


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.dictionaries(st.text(), json_values, max_size=3), max_size=4))
def test_any_json_payload_round_trips_and_verifies(
    tmp_path: Path, payloads: list[dict[str, object]]
) -> None:
    path = tmp_path / "p.db"
    path.unlink(missing_ok=True)
    with Journal(path) as journal:
        for payload in payloads:
            journal.append("e", 0, payload)
        journal.verify()
        back = [event.payload for event in journal.events()]
    # A float that is not finite is kept as null; here only infinities are drawn.
    assert back == [finite(payload) for payload in payloads]


def finite(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    return [finite(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("value", [0.1, -0.0, 5e-324, 1e308, math.inf, -math.inf, math.nan, 3.0])
def test_any_measured_value_is_kept(tmp_path: Path, value: float) -> None:
    with Journal(tmp_path / "j.db") as journal:
        journal.add_measure(0, "m", "p", value)
        journal.verify()
        (back,) = journal.measures()
    assert back.value == value or (math.isnan(back.value) and math.isnan(value))


@pytest.mark.parametrize(
    "samples",
    [
        np.array([[1.5, np.nan]], np.float32),
        np.zeros((0, 3, 2, 2), np.uint8),
        np.array(7, np.int64),
        np.arange(12, dtype=np.float64).reshape(3, 4).T,
    ],
)
def test_quarantined_samples_keep_type_shape_and_bits(tmp_path: Path, samples: np.ndarray) -> None:
    with Journal(tmp_path / "j.db") as journal:
        journal.add_quarantine(0, lesson="l", reason="r", samples=samples)
        (back,) = journal.quarantine()
    assert back.samples.dtype == samples.dtype
    assert np.array_equal(back.samples, samples, equal_nan=samples.dtype.kind == "f")
    assert back.samples.shape == samples.shape


def test_samples_of_objects_are_refused(tmp_path: Path) -> None:
    with Journal(tmp_path / "j.db") as journal, pytest.raises(RunError, match="numeric array"):
        journal.add_quarantine(0, lesson="l", reason="r", samples=np.array([{}]))


def test_same_rows_give_same_hashes(tmp_path: Path) -> None:
    with filled(tmp_path / "a.db") as a, filled(tmp_path / "b.db") as b:
        assert a.mark() == b.mark()
        a.append("more", 9)
        assert a.mark() != b.mark()


TAMPER = [
    "UPDATE events SET payload = '{}' WHERE row = 2",
    "UPDATE events SET step = 9 WHERE row = 3",
    "UPDATE measures SET value = value + 1e-12 WHERE row = 1",
    "UPDATE quarantine SET samples = zeroblob(6) WHERE row = 2",
    "UPDATE quarantine SET reason = 'fine' WHERE row = 3",
    "DELETE FROM events WHERE row = 2",
    "DELETE FROM measures WHERE row = 1",
    "UPDATE events SET row = 7 WHERE row = 3",
]


@pytest.mark.parametrize("change", ["", *TAMPER])
def test_a_changed_row_is_found(tmp_path: Path, change: str) -> None:
    filled(tmp_path / "j.db").close()
    if change:
        with sqlite3.connect(tmp_path / "j.db") as db:
            assert db.execute(change).rowcount == 1
        db.close()
    with Journal(tmp_path / "j.db", read_only=True) as journal:
        if change:
            with pytest.raises(RunError, match="does not match its hash|is missing"):
                journal.verify()
        else:
            journal.verify()


def test_resume_deletes_rows_past_the_mark_and_replays_them(tmp_path: Path) -> None:
    with filled(tmp_path / "j.db", lessons=2) as journal:
        mark = journal.mark()
    with filled(tmp_path / "whole.db", lessons=3) as whole:
        wanted = whole.mark()
    with filled(tmp_path / "k.db", lessons=2) as journal:
        journal.append("half of lesson 2", 2)
        journal.add_measure(2, "match", "faces", 0.1)
        assert journal.truncate_after(mark) == 2
        journal.append("lesson", 2, {"name": "l2", "loss": 0.2})
        journal.add_measure(2, "match", "faces", 0.88)
        samples = np.full((2, 3), 2, np.uint8)
        journal.add_quarantine(2, lesson="l2", reason="NaN", samples=samples)
        assert journal.mark() == wanted
        journal.verify()


def test_a_mark_of_another_journal_is_refused(tmp_path: Path) -> None:
    with filled(tmp_path / "a.db") as a, Journal(tmp_path / "b.db") as b:
        mark = a.mark()
        b.append("other", 0)
        with pytest.raises(RunError, match="does not belong to this snapshot"):
            b.truncate_after(mark)
        assert [event.event for event in b.events()] == ["other"]
        b.append("goes on", 1)
        b.verify()


def test_rows_written_together_stay_together(tmp_path: Path) -> None:
    with filled(tmp_path / "j.db") as journal:
        before = journal.mark()
        with pytest.raises(ValueError, match="planned"), journal.together():
            journal.append("never", 5)
            journal.add_measure(5, "m", "p", 1.0)
            raise ValueError("planned")
        assert journal.mark() == before
        with journal.together():
            journal.append("kept", 5)
        journal.verify()
        assert len(journal.events()) == 4


def test_a_reader_beside_the_writer_needs_no_lock_and_cannot_write(tmp_path: Path) -> None:
    with filled(tmp_path / "j.db") as writer, Journal(tmp_path / "j.db", read_only=True) as reader:
        writer.append("new", 4)
        assert reader.events()[-1].event == "new"
        with pytest.raises(RunError, match="could not be used"):
            reader.append("no", 5)


def test_a_second_writer_in_a_transaction_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clnf.living.journal.BUSY_S", 0.1)
    with filled(tmp_path / "j.db") as one, Journal(tmp_path / "j.db") as two, one.together():
        one.append("mine", 4)
        with pytest.raises(RunError, match="locked by another process"):
            two.append("yours", 4)


def test_missing_and_foreign_files_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no journal at"):
        Journal(tmp_path / "none.db", read_only=True)
    (tmp_path / "text.db").write_text("not a database, " * 100)
    with pytest.raises(RunError, match="damaged or not a journal"):
        Journal(tmp_path / "text.db")
    with pytest.raises(RunError, match="could not be used"):
        Journal(tmp_path / "no/such/folder/j.db")


def test_a_journal_on_a_disk_that_cannot_be_written_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "j.db"
    with filled(path) as journal:
        rows = len(journal.events())
    # Root may write wherever it is, so the disk is told to be one that cannot be written.
    monkeypatch.setattr("clnf.living.journal.os.access", lambda place, mode: False)
    for beside in ((), ("-wal",)):
        for ending in beside:
            (tmp_path / f"j.db{ending}").touch()
        before = sorted(tmp_path.iterdir())
        with Journal(path, read_only=True) as journal:
            journal.verify()
            assert len(journal.events()) == rows
            assert sorted(tmp_path.iterdir()) == before  # nothing had to be made for it
    # The controls: rows that are in the log alone count, and elsewhere two files are made.
    with Journal(path) as writer:
        writer.append("late", 9)
        with Journal(path, read_only=True) as journal:
            assert len(journal.events()) == rows + 1
    monkeypatch.undo()
    with Journal(path, read_only=True):
        assert (tmp_path / "j.db-shm").exists()


@pytest.mark.parametrize("lost", [1, 2000])
def test_damage_inside_the_file_is_found(tmp_path: Path, lost: int) -> None:
    filled(tmp_path / "j.db", lessons=200).close()
    data = bytearray((tmp_path / "j.db").read_bytes())
    place = data.index(b'"name":"l100"') + 8
    data[place : place + lost] = b"x" * lost
    (tmp_path / "j.db").write_bytes(data)
    with Journal(tmp_path / "j.db", read_only=True) as journal, pytest.raises(RunError):
        journal.verify()
