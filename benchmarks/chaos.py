"""Faults on purpose: how often a run comes back as it was, what it costs, and what is lost.

    python benchmarks/chaos.py

``kills``     a run killed at random moments and resumed until it ends: how many of the runs end
              with the bits of one that nobody disturbed, and the steps that had to be done again,
              against the steps between two snapshots. ``digital``, ``chip`` and ``spiking`` are
              classifiers of a hundred weights; ``arm`` is a whole arm (gate, monitor, generator on
              cells) of a small network. What an arm lost is not counted: it does not journal steps.
``deaths``    death before each change to the disk: how many of the states left open as promised.
``power``     the same where what was not forced to disk is lost, all of it or by tosses of a coin.
``full``      the disk full from a change on: how many stop with a sentence and then end as they
              would have.
``rot``       flipped bits and cut files: found, harmless, or missed.
``mended``    the journal damaged (a bit, a page, cut, empty, gone), the newest snapshot too in each
              third: how many runs go on to the bits they would have ended with.
``recovery``  seconds until a run can go on, over those of merely reading the tensors of the same
              snapshot, alternating in one process; medians. Processor time is what a quiet machine
              would take, wall time what this one took. ``arm of full size`` has the bundled network
              on the recipe's own tiles.
``figures``   the sums of all that.

Half of the disk's faults are a model of a disk (``tools/faults``), for the power of this machine
cannot be cut. Moments are drawn anew for each run of this script, from the seed printed.
"""

import contextlib
import io
import json
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))

from clnf.core.errors import ClnfError
from clnf.core.toml import dump_toml
from clnf.living import snapshots
from clnf.living.arm import Arm
from clnf.living.journal import Journal
from clnf.living.recipe import Recipe
from clnf.living.store import Store
from clnf.living.verify import check
from faults.disk import Disk
from faults.judging import Recording, finishes, record, sound, survey
from faults.server import Server
from faults.small_arm import small_recipe, small_world
from faults.small_run import EVERY, KINDS, RECIPE, go

KILLS = {"digital": 60, "chip": 40, "spiking": 20, "arm": 20}
DISKS = ("digital", "chip")
LOSSES = ("bare", "names", "bytes", 0, 1)
FLIPS, CUTS, MENDED, REPEATS = 1000, 100, 60, 9
DEMANDED_S = 2.0
SUMS: Counter[str] = Counter()
LOST: list[int] = []
READY: dict[str, float] = {}


def tell(part: str, **row: Any) -> None:
    """Print a line."""
    print(json.dumps({"benchmark": "chaos", "part": part, **row}), flush=True)


def lost(run: Path) -> int | None:
    """Steps in the journal that no whole snapshot knows of; None where there is none yet."""
    with contextlib.suppress(ClnfError):
        mark = snapshots.load_latest(run / "snapshots").parts["run"]["mark"]
        with Journal(run / "journal.db", read_only=True) as journal:
            return len(journal.events("step", after=mark["events"]["rows"]))
    return None


def kills(base: Path, seed: int) -> None:
    """Kill at random moments."""
    draw = random.Random(seed)
    with Server(base / "server", *KILLS) as server:
        for kind, count in KILLS.items():
            whole = server.run(base / f"whole {kind}", kind)
            killed, runs, same, steps = 0, 0, 0, []
            while killed < count:
                run, runs = base / f"{kind} {runs}", runs + 1
                for _ in range(4):
                    moment = draw.uniform(0.0, whole["seconds"])
                    end = server.run(run, kind, kill_after_s=moment)
                    if end["code"] == 0:
                        break
                    killed += 1
                    steps += [one for one in (lost(run),) if one is not None]
                else:
                    end = server.run(run, kind)
                same += end["last"] == whole["last"]
            row: dict[str, Any] = {"kind": kind, "kills": killed, "runs": runs, "identical": same}
            if kind != "arm":
                row |= {
                    "steps_lost_median": statistics.median(steps),
                    "steps_lost_most": max(steps),
                }
                row |= {"steps_between_snapshots": EVERY}
            LOST.extend(steps if kind != "arm" else ())
            SUMS.update(runs=runs, identical=same, kills=killed)
            tell("kills", **row, seed=seed)


def disk(base: Path, kind: str) -> None:
    """Deaths, lost power and full disks, at the changes of one recorded run."""
    recording = record(base / "recorded", kind, 2)
    for part, losses, every in (("deaths", ("kept",), 1), ("power", LOSSES, 2)):
        found = survey(recording, base / part, losses, every=every, finish=25)
        tell(
            part, kind=kind, changes=len(recording.ops), states=found.looked,
            sound=found.looked - len(found.bad), ended=found.finished, wrong=found.bad[:3],
        )  # fmt: skip
        SUMS.update(states=found.looked, sound=found.looked - len(found.bad))
    filled = full(base, recording)
    SUMS.update(runs=filled["faults"], identical=filled["identical"])
    tell("full", kind=kind, **filled)


def full(base: Path, recording: Recording) -> dict[str, int]:
    """Fill the disk at every seventh change."""
    stopped = unfelt = same = 0
    for at in range(1, len(recording.ops), 7):
        run = base / f"full {at}"
        run.mkdir()
        try:
            with Disk(run, at=at, fault="full"):
                go(run, recording.kind, lessons=recording.lessons)
            unfelt += 1
        except (ClnfError, OSError):
            stopped += 1
        same += sound(run, recording, 0) == "" and finishes(run, recording)
        shutil.rmtree(run)
    return {"faults": stopped + unfelt, "stopped": stopped, "unfelt": unfelt, "identical": same}


def content(run: Path) -> str:
    """All that a run is made of, as it is read."""
    parts = [str(snapshots.load(path).parts) for path in sorted((run / "snapshots").iterdir())]
    with Journal(run / "journal.db", read_only=True) as journal:
        rows = [str(journal.events()), str(journal.measures()), str(list(journal.quarantine()))]
    return "\n".join(parts + rows)


def rot(base: Path, seed: int) -> None:
    """Flip bits and cut files of a run; look what ``clnf verify`` says."""
    run, draw = base / "rot", random.Random(seed)
    run.mkdir()
    (run / "recipe.toml").write_text(dump_toml(RECIPE.model_dump()))
    go(run, "digital")
    files = [f for f in sorted(run.rglob("*.*")) if f.is_file() and f.name != "memory.db"]
    whole, found = content(run), Counter[str]()
    for number in range(FLIPS + CUTS):
        file, kind = files[draw.randrange(len(files))], "flip" if number < FLIPS else "cut"
        before = file.read_bytes()
        changed = bytearray(before)
        if kind == "flip":
            place = draw.randrange(8 * len(before))
            changed[place // 8] ^= 1 << place % 8
        else:
            del changed[draw.randrange(len(before)) :]
        file.write_bytes(changed)
        bad = not all(one.good for one in check(run))
        said = "found" if bad else "harmless" if content(run) == whole else "missed"
        found[f"{kind}s_{said}"] += 1
        for leftover in run.glob("journal.db-*"):
            leftover.unlink()
        file.write_bytes(before)
    names = [
        f"{kind}s_{said}" for kind in ("flip", "cut") for said in ("found", "harmless", "missed")
    ]
    SUMS.update(
        damaged=sum(found[name] for name in names if not name.endswith("harmless")),
        detected=found["flips_found"] + found["cuts_found"],
    )
    tell("rot", **{name: found[name] for name in names}, seed=seed)


def spoil(file: Path, how: int, draw: random.Random) -> None:
    """Damage a file in one of five ways."""
    whole = bytearray(file.read_bytes())
    if how == 4:
        file.unlink()
        return
    at = draw.randrange(len(whole))
    if how == 0:
        whole[at] ^= 1 << draw.randrange(8)
    elif how == 1:
        whole[at : at + 4096] = bytes(len(whole[at : at + 4096]))
    else:
        del whole[at if how == 2 else 0 :]
    file.write_bytes(whole)


def mended(base: Path, seed: int) -> None:
    """Damage journals, some with the newest snapshot, and let the runs go on."""
    made, draw, same, said = base / "begun", random.Random(seed), 0, 0
    made.mkdir()
    go(made, "digital", lessons=1)
    wanted = go(Path(shutil.copytree(made, base / "ended")), "digital", lessons=2)
    for number in range(MENDED):
        run = Path(shutil.copytree(made, base / "mended"))
        spoil(run / "journal.db", number % 5, draw)
        if number % 3 == 0:
            newest = max((run / "snapshots").iterdir())
            files = sorted(file for file in newest.iterdir() if file.stat().st_size)
            spoil(draw.choice(files), 0, draw)
        with contextlib.suppress(ClnfError):
            same += go(run, "digital", lessons=2) == wanted
        said += (run / "journal.db.damaged").exists()
        shutil.rmtree(run)
    SUMS.update(runs=MENDED, identical=same)
    tell("mended", journals=MENDED, identical=same, kept_aside=said, seed=seed)


def bare(run: Path) -> None:
    """Merely read every tensor of the newest snapshot."""
    newest = max((run / "snapshots").iterdir())
    for file in newest.glob("*.safetensors"):
        for tensor in load_file(file).values():
            tensor.sum()  # files are mapped; this touches them


def timed(run: Path, what: str, ready: Callable[[], None]) -> None:
    """Recovery against a bare load, alternating."""
    ready(), bare(run)
    wall: dict[str, list[float]] = {"ready": [], "bare": []}
    cpu: dict[str, list[float]] = {"ready": [], "bare": []}
    for _ in range(REPEATS):
        for name, work in (("ready", ready), ("bare", lambda: bare(run))):
            start, worked = time.perf_counter(), time.process_time()
            work()
            wall[name].append(time.perf_counter() - start)
            cpu[name].append(time.process_time() - worked)
    ratios = [a / b for a, b in zip(cpu["ready"], cpu["bare"], strict=True)]
    newest, ready_cpu_s = max((run / "snapshots").iterdir()), statistics.median(cpu["ready"])
    READY[what] = ready_cpu_s
    tell(
        "recovery", kind=what, cpu_s=round(ready_cpu_s, 4),
        wall_s=round(statistics.median(wall["ready"]), 4),
        bare_cpu_s=round(statistics.median(cpu["bare"]), 4),
        bare_wall_s=round(statistics.median(wall["bare"]), 4),
        ratio_cpu=round(statistics.median(ratios), 1), demanded_s=DEMANDED_S,
        met=ready_cpu_s < DEMANDED_S,
        snapshot_bytes=sum(file.stat().st_size for file in newest.iterdir()),
    )  # fmt: skip


def recovery(base: Path) -> None:
    """How long a run takes to be ready again, once everything is imported."""
    for kind in KINDS:
        run = base / f"ready {kind}"
        run.mkdir()
        go(run, kind)

        def ready(run: Path = run, kind: str = kind) -> None:
            store = Store(run, RECIPE)
            world, found = KINDS[kind](run), store.open()
            assert found is not None
            world.load(found.parts)
            store.close()
            if world.shelf is not None:
                world.shelf.close()

        timed(run, kind, ready)
    with small_world():
        arm(base / "ready arm", "arm", small_recipe())
    arm(base / "ready full", "arm of full size", Recipe(name="full", compare=False))


def arm(run: Path, what: str, recipe: Recipe) -> None:
    """An arm: begun, closed, and opened again and again."""
    one = Arm(run, recipe)
    for _ in one.run():
        pass
    one.close()
    timed(run, what, lambda: Arm(run, recipe).close())


def main() -> None:
    """Run all parts in a folder that is removed afterwards."""
    torch.set_num_threads(1)
    seed = random.SystemRandom().randrange(2**32)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        base = Path(folder)
        kills(base, seed)
        for kind in DISKS:
            (base / kind).mkdir()
            disk(base / kind, kind)
        rot(base, seed)
        mended(base, seed)
        recovery(base)
        tell(
            "figures", **SUMS, steps_lost_median=statistics.median(LOST),
            steps_lost_most=max(LOST), steps_between_snapshots=EVERY,
            recovery_cpu_s=round(READY["arm of full size"], 3),
        )  # fmt: skip


if __name__ == "__main__":
    main()
