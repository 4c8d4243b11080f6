import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from clnf.core.errors import RunError
from clnf.living.lock import RunLock

HOLD = """
import sys, time
from pathlib import Path
from clnf.living.lock import RunLock
with RunLock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def holder(folder: Path) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_second_writer_is_turned_away_at_once_and_told_who(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        start = time.perf_counter()
        with pytest.raises(RunError, match=f"written by process {process.pid};"):
            RunLock(tmp_path).__enter__()
        assert time.perf_counter() - start < 1
        process.kill()
        process.wait()
    with RunLock(tmp_path) as lock:
        assert f"process {process.pid} ended without closing" in lock.note


def test_a_closed_run_leaves_no_note(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        process.communicate("")
    with RunLock(tmp_path) as lock:
        assert lock.note == ""


def test_two_writers_in_one_process_exclude_each_other(tmp_path: Path) -> None:
    with RunLock(tmp_path), pytest.raises(RunError, match=f"process {os.getpid()};"):
        RunLock(tmp_path).__enter__()
    with RunLock(tmp_path):
        pass


def test_the_lock_is_released_when_the_body_raises(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="planned"), RunLock(tmp_path):
        raise ValueError("planned")
    with RunLock(tmp_path) as lock:
        assert lock.note == ""


@pytest.mark.parametrize("text", ["{ half", "[1]", "\x00\xff"])
def test_a_strange_owner_file_does_not_keep_the_run_closed(tmp_path: Path, text: str) -> None:
    (tmp_path / "lock").write_text(text, encoding="latin-1")
    with RunLock(tmp_path):
        pass


def test_an_owner_from_before_a_restart_is_called_that(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text('{"pid": 7, "boot": "another"}')
    with RunLock(tmp_path) as lock:
        assert "process 7 of an earlier start of the machine" in lock.note


def test_a_missing_folder_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="cannot be written"):
        RunLock(tmp_path / "none").__enter__()
