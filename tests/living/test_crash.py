"""Journal, snapshots and lock together, under SIGKILL and on a full disk."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from clnf.core.errors import RunError
from clnf.living import snapshots
from clnf.living.journal import Journal

# Imports torch once, then forks one writer for each line it is given: FOLDER, FAULT,
# KILL_AFTER_S. A writer advances a state of one tensor over 60 steps, and resumes where it finds
# a snapshot.
SERVER = """
import json, os, signal, sys, time
from pathlib import Path
import torch
from clnf.core.rng import torch_rng
from clnf.living import snapshots
from clnf.living.journal import Journal
from clnf.living.lock import RunLock

def run(folder, fault):
    with RunLock(folder), Journal(folder / "journal.db") as journal:
        step, w = 0, torch.zeros(500)
        if any((folder / "snapshots").glob("0*")):
            found = snapshots.load_latest(folder / "snapshots")
            step, w = found.step, found.parts["model"]["w"]
            if fault != "no truncation":
                journal.truncate_after(found.parts["learner"]["journal"])
        elif fault != "no truncation":
            journal.truncate_after(EMPTY)
        while step < 60:
            w = 0.9 * w + torch.randn(500, generator=torch_rng(1, "step", step))
            step += 1
            journal.append("step", step, {"sum": float(w.sum())})
            journal.add_measure(step, "norm", "w", float(w.norm()))
            if step % 4 == 0:
                parts = {"model": {"w": w}, "learner": {"journal": journal.mark()}}
                snapshots.save(folder / "snapshots", step, parts)
            if fault == f"die at {step}":
                os.kill(os.getpid(), signal.SIGKILL)

probe = Path(sys.argv[1]) / "empty.db"
with Journal(probe) as journal:
    EMPTY = journal.mark()
for line in sys.stdin:
    folder, fault, kill_after_s = json.loads(line)
    pid = os.fork()
    if pid == 0:
        run(Path(folder), fault)
        os._exit(0)
    if kill_after_s is not None:
        time.sleep(kill_after_s)
        os.kill(pid, signal.SIGKILL)  # not waited for yet, so the number is still its own
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


class Server:
    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    def write(self, folder: Path, fault: str = "", *, kill_after_s: float | None = None) -> int:
        """Run one writer to its end, or kill it; return its exit code."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        folder.mkdir(exist_ok=True)
        order = json.dumps([str(folder), fault, kill_after_s])
        print(order, file=self.process.stdin, flush=True)
        return int(self.process.stdout.readline())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("server"))
    yield made
    made.process.communicate()


def end_of(folder: Path) -> tuple[str, object]:
    """The hash of the last snapshot and where the journal stands; all hashes checked."""
    found = snapshots.load_latest(folder / "snapshots")
    assert found.step == 60
    with Journal(folder / "journal.db", read_only=True) as journal:
        journal.verify()
        return found.sha256, [(event.row, event.hash) for event in journal.events()]


def test_killed_at_random_moments_it_resumes_to_the_same_bits(
    server: Server, tmp_path: Path
) -> None:
    start = time.perf_counter()
    assert server.write(tmp_path / "whole") == 0
    whole_s = time.perf_counter() - start
    wanted = end_of(tmp_path / "whole")
    draw, killed, finished = random.Random(11), 0, 0
    while killed < 10:
        folder = tmp_path / f"run{finished}"
        if server.write(folder, kill_after_s=draw.uniform(0, whole_s)) == 0:
            assert end_of(folder) == wanted
            finished += 1
            whole_s *= 0.7  # the first run was a slow one: kill earlier
        else:
            killed += 1
    assert server.write(tmp_path / f"run{finished}") == 0
    assert end_of(tmp_path / f"run{finished}") == wanted


def test_events_past_the_snapshot_are_replayed_not_doubled(server: Server, tmp_path: Path) -> None:
    assert server.write(tmp_path / "whole") == 0
    wanted = end_of(tmp_path / "whole")
    assert server.write(tmp_path / "good", "die at 30") == -signal.SIGKILL
    assert server.write(tmp_path / "good") == 0
    assert end_of(tmp_path / "good") == wanted
    # The fault this test is for: a resume that keeps rows 29 and 30 must show.
    assert server.write(tmp_path / "bad", "die at 30") == -signal.SIGKILL
    assert server.write(tmp_path / "bad", "no truncation") == 0
    assert end_of(tmp_path / "bad") != wanted


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MB, where mounting one is permitted."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    try:
        made = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except OSError:
        made = False
    if not made:
        pytest.skip("mounting a small disk is not permitted here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_stops_the_journal_with_one_sentence(small_disk: Path) -> None:
    with Journal(small_disk / "journal.db") as journal:
        written = 0
        with pytest.raises(RunError, match="the disk is full"):
            for step in range(4000):
                journal.append("fill", step, {"text": "x" * 2000})
                written += 1
        assert written > 50
        assert len(journal.events()) == written
        journal.verify()
    with Journal(small_disk / "journal.db", read_only=True) as journal:
        assert len(journal.events()) == written
        journal.verify()


def test_a_full_disk_keeps_the_old_snapshots(small_disk: Path) -> None:
    import torch

    folder = small_disk / "snapshots"
    first = snapshots.save(folder, 1, {"model": {"w": torch.zeros(50_000)}})
    with pytest.raises(RunError, match="step 2 could not be written .*the disk is full"):
        snapshots.save(folder, 2, {"model": {"w": torch.zeros(1_000_000)}})
    assert [path.name for path in folder.iterdir()] == ["00000001"]
    assert snapshots.load_latest(folder).sha256 == first
    snapshots.save(folder, 2, {"model": {"w": torch.ones(50_000)}})
    assert snapshots.load_latest(folder).step == 2


LIMITED = """
import resource, signal, sys
from pathlib import Path
import torch
from clnf.core.errors import RunError
from clnf.living import snapshots
from clnf.living.journal import Journal

folder = Path(sys.argv[1])
snapshots.save(folder / "snapshots", 1, {"model": {"w": torch.zeros(10)}})
journal = Journal(folder / "journal.db")
journal.append("before", 0)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
try:
    snapshots.save(folder / "snapshots", 2, {"model": {"w": torch.zeros(200_000)}})
except RunError as error:
    print(error)
try:
    for step in range(1000):
        journal.append("fill", step, {"text": "x" * 2000})
except RunError as error:
    print(error)
"""


def test_a_file_size_limit_is_met_in_the_same_way(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path)], capture_output=True, text=True, check=True
    )
    first, second = done.stdout.splitlines()
    assert "the snapshot of step 2 could not be written" in first
    assert "the disk is full" in first
    assert "the disk is full or failing" in second
    assert [path.name for path in (tmp_path / "snapshots").iterdir()] == ["00000001"]
    with Journal(tmp_path / "journal.db", read_only=True) as journal:
        journal.verify()
        assert journal.events()[0].event == "before"
