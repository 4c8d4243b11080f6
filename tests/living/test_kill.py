"""A whole short run of both arms, killed again and again, ends where an undisturbed one ends."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from clnf.living import snapshots
from clnf.living.journal import Journal
from clnf.living.summary import summarise

KILLS = 10
CLNF = (sys.executable, "-c", "from clnf.cli.main import run; run()")


def start(root: Path, *args: str) -> "subprocess.Popen[str]":
    command = [*CLNF, "run", "--runs", str(root), *args]
    return subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=root
    )


def whole(root: Path, *args: str) -> float:
    began = time.monotonic()
    process = start(root, *args)
    _, words = process.communicate()
    assert process.returncode == 0, words
    return time.monotonic() - began


def leaves(tree: Any, path: str = "") -> dict[str, Any]:
    if isinstance(tree, dict):
        found: dict[str, Any] = {}
        for key, value in tree.items():
            found |= leaves(value, f"{path}/{key}")
        return found
    return {path: tree}


def differences(a: Path, b: Path) -> list[str]:
    """Everything that two arms do not share: weights, cells, wear, journal, matrix, bill."""
    out: list[str] = []
    parts = [leaves(snapshots.load_latest(arm / "snapshots").parts) for arm in (a, b)]
    out += sorted(parts[0].keys() ^ parts[1].keys())
    for name in sorted(parts[0].keys() & parts[1].keys()):
        value, other = parts[0][name], parts[1][name]
        if isinstance(value, torch.Tensor) and isinstance(other, torch.Tensor):
            if not torch.equal(value.nan_to_num(), other.nan_to_num()):
                out.append(name)
        elif value != other and value == value:
            out.append(name)
    chains = []
    for arm in (a, b):
        with Journal(arm / "journal.db", read_only=True) as journal:
            journal.verify()
            chains.append([event.hash for event in journal.events()])
    if chains[0] != chains[1]:
        out.append("journal")
    if summarise(a).to_json() != summarise(b).to_json():
        out.append("summary")
    return out


@pytest.mark.chaos
@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_ten_kills_change_nothing(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"kill times drawn from seed {seed}")
    draw = random.Random(seed)
    lasted_s = whole(tmp_path, "--quick", "--name", "undisturbed")
    kills, args = 0, ["--quick", "--name", "killed"]
    while kills < KILLS:
        process = start(tmp_path, *args)
        if draw.random() < 0.8:  # the other kills fall while it starts
            assert process.stderr is not None
            process.stderr.readline()
        time.sleep(draw.uniform(0.0, 0.1) * lasted_s)
        if (code := process.poll()) is not None:
            assert code == 0
            pytest.fail(f"the run was over after {kills} kills, too early for {KILLS}")
        process.send_signal(signal.SIGKILL)
        process.communicate()
        kills += 1
        if (tmp_path / "killed" / "recipe.toml").exists():
            args = ["--resume", "killed"]
    whole(tmp_path, *args)
    for arm in (".", "plain"):
        assert differences(tmp_path / "undisturbed" / arm, tmp_path / "killed" / arm) == []
    # What compares equal here must be able to differ.
    assert differences(tmp_path / "undisturbed", tmp_path / "undisturbed" / "plain")
