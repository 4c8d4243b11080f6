"""Two writers of one run: one wins, the other is told at once; who was killed is no hindrance."""

import fcntl
import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from clnf.core.errors import RunError
from clnf.living.journal import Journal
from clnf.living.lock import RunLock, reading
from clnf.living.recipe import Recipe
from clnf.living.run import Run

pytestmark = pytest.mark.chaos

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


HELPED = """
import subprocess, sys, time
from pathlib import Path
from clnf.living.lock import RunLock
with RunLock(Path(sys.argv[1])) as lock:
    sleep = [sys.executable, "-c", "import time; time.sleep(1)"]
    subprocess.Popen(sleep, pass_fds=(lock.fileno(),))
    print("held", flush=True)
    time.sleep(60)
"""


def test_helpers_of_a_killed_writer_are_waited_for(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HELPED, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        process.kill()
    with RunLock(tmp_path) as lock:
        assert f"process {process.pid} ended without closing" in lock.note


def test_who_takes_over_in_between_is_named_at_once(tmp_path: Path) -> None:
    """The file still names the killed one while the next already has the lock."""
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        pass
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    file = tmp_path / "lock"
    file.write_text(json.dumps({"pid": gone.pid, "boot": boot}))
    mine = json.dumps({"pid": os.getpid(), "boot": boot})
    with file.open("r+b") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        threading.Timer(0.25, file.write_text, (mine,)).start()
        start = time.perf_counter()
        with pytest.raises(RunError, match=f"written by process {os.getpid()};"):
            RunLock(tmp_path).__enter__()
        assert time.perf_counter() - start < 1.5


def test_readers_read_together_and_keep_writers_away(tmp_path: Path) -> None:
    with reading(tmp_path):  # nobody ever wrote
        pass
    with RunLock(tmp_path), pytest.raises(RunError, match=f"written by process {os.getpid()};"):
        reading(tmp_path).__enter__()
    words = "written or checked by another process"
    with reading(tmp_path), reading(tmp_path), pytest.raises(RunError, match=words):
        RunLock(tmp_path).__enter__()
    with RunLock(tmp_path) as lock:
        assert lock.note == ""


def test_of_many_that_make_one_run_one_does(tmp_path: Path) -> None:
    def make(_: int) -> str:
        try:
            return str(Run.create(tmp_path / "runs" / "one", Recipe(name="one")).folder)
        except RunError as error:
            return str(error)

    with ThreadPoolExecutor(8) as pool:
        said = list(pool.map(make, range(24)))
    assert said.count(str(tmp_path / "runs" / "one")) == 1
    assert sum("exists already" in one for one in said) == 23
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["one"]
    assert [path.name for path in (tmp_path / "runs" / "one").iterdir()] == ["recipe.toml"]


def test_without_the_lock_two_writers_break_the_chain_and_it_is_found(tmp_path: Path) -> None:
    """The control: what the lock is for."""
    with Journal(tmp_path / "j.db") as one, Journal(tmp_path / "j.db") as two:
        for step in range(3):
            one.append("mine", step)
            two.append("yours", step)
        with pytest.raises(RunError, match="does not match its hash"):
            one.verify()
