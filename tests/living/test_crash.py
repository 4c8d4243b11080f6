"""Writers killed at random moments, and real disks that fill up."""

import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from clnf.core.errors import RunError
from clnf.core.toml import dump_toml
from clnf.living import snapshots
from clnf.living.journal import Journal
from clnf.living.verify import check
from faults.server import Server
from faults.small_arm import small_recipe
from faults.vfs import available

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.skipif(not available(), reason="SQLite's functions cannot be found here"),
]
KINDS = ("digital", "chip", "spiking")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("server"), *KINDS) as made:
        yield made


def _kill(server: Server, folder: Path, kinds: tuple[str, ...], kills: int) -> None:
    """Kill runs at random moments, and let each end; all must end where undisturbed ones do."""
    seed = random.SystemRandom().randrange(2**32)
    print(f"moments drawn from seed {seed}")
    draw, killed, number = random.Random(seed), 0, 0
    whole = {kind: server.run(folder / f"whole {kind}", kind) for kind in kinds}
    while killed < kills:
        kind, number = kinds[number % len(kinds)], number + 1
        run = folder / f"run{number}"
        for _ in range(4):
            moment = draw.uniform(0.0, whole[kind]["seconds"])
            end = server.run(run, kind, kill_after_s=moment)
            killed += end["code"] != 0
            if end["code"] == 0:
                break
        else:
            end = server.run(run, kind)
        assert end["last"] == whole[kind]["last"], run
        with Journal(run / "journal.db", read_only=True) as journal:
            journal.verify()


def test_killed_at_random_moments_it_resumes_to_the_same_bits(
    server: Server, tmp_path: Path
) -> None:
    _kill(server, tmp_path, KINDS, 25)


def test_killed_while_a_damaged_journal_is_put_back(server: Server, tmp_path: Path) -> None:
    """Whatever is left then, the next resume finds it and ends with the same bits."""
    made = tmp_path / "made"
    server.run(made, "digital", lessons=1)
    wanted = server.run(Path(shutil.copytree(made, tmp_path / "whole")), "digital", lessons=2)
    file = made / "journal.db"
    file.write_bytes(file.read_bytes()[:20_000])
    for at in range(1, 25, 3):
        run = Path(shutil.copytree(made, tmp_path / f"run{at}"))
        assert server.run(run, "digital", at=at, lessons=2)["code"] == -9
        end = server.run(run, "digital", lessons=2)
        assert end.get("last") == wanted["last"], at
        assert (run / "journal.db.damaged").stat().st_size == 20_000


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_two_hundred_kills_change_nothing(tmp_path: Path) -> None:
    """The same with a whole arm: gate, monitor, generator and judge, and cells that are pulsed."""
    with Server(tmp_path / "server", *KINDS, "arm") as server:
        _kill(server, tmp_path / "small", KINDS, 120)
        _kill(server, tmp_path / "arm", ("arm",), 80)
    for folder in sorted((tmp_path / "arm").iterdir()):
        (folder / "recipe.toml").write_bytes(dump_toml(small_recipe().model_dump()).encode())
        assert [one for one in check(folder) if not one.good] == []


@pytest.mark.parametrize("fault", ["no truncation", "no optimizer"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_resume_that_leaves_something_out_shows(
    server: Server, tmp_path: Path, kind: str, fault: str
) -> None:
    """The controls: rows past the snapshot that stay, an optimizer that begins anew."""
    wanted = server.run(tmp_path / "whole", kind, lessons=2)["last"]
    for at in range(300, 400, 9):  # in a lesson, with steps that no snapshot knows of
        for name in ("good", "bad"):
            shutil.rmtree(tmp_path / name, ignore_errors=True)
            assert server.run(tmp_path / name, kind, lessons=2, at=at)["code"] == -9
        if _ahead(tmp_path / "good"):
            break
    assert _ahead(tmp_path / "bad")
    assert server.run(tmp_path / "good", kind, lessons=2)["last"] == wanted
    bad = server.run(tmp_path / "bad", kind, lessons=2, fault=fault)
    assert bad["code"] == 0
    assert bad["last"] != wanted


def _ahead(run: Path) -> bool:
    mark = snapshots.load_latest(run / "snapshots").parts["run"]["mark"]
    with Journal(run / "journal.db", read_only=True) as journal:
        return bool(journal.events("step", after=mark["events"]["rows"]))


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
