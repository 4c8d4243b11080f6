"""Whether what is left of a small run after a fault is as good as it was promised to be."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

from clnf.core.errors import ClnfError
from clnf.living.lock import RunLock
from clnf.living.store import Store
from faults.disk import Disk, Op
from faults.power import Copies, Power, Tree
from faults.small_run import KINDS, RECIPE, go

__all__ = ["Recording", "Survey", "finishes", "record", "sound", "states", "survey"]


@final
@dataclass
class Recording:
    """A run that nobody disturbed, and every change it made.

    Attributes:
        kind: of small run.
        lessons: of it.
        ops: changes and notes, in order.
        saved: SHA-256 of each snapshot by step.
        last: SHA-256 of the last.
    """

    kind: str
    lessons: int
    ops: Sequence[Op]
    last: str
    saved: dict[int, str] = field(default_factory=dict)


def record(folder: Path, kind: str, lessons: int = 3) -> Recording:
    """Run once in an empty folder, and remember all."""
    folder.mkdir(parents=True)
    with Disk(folder, keep=True) as disk:
        last = go(folder, kind, disk.note, lessons=lessons)
    saved = {}
    for op in disk.ops:
        if op.kind == "note":
            _, step, digest = op.other.split()
            saved[int(step)] = digest
    return Recording(kind, lessons, disk.ops, last, saved)


def states(
    recording: Recording, losses: Sequence[str | int], every: int = 1
) -> Iterator[tuple[int, str | int, int, Tree]]:
    """What may be on the disk at every moment of a recording.

    Args:
        recording: of the run.
        losses: see :mod:`faults.power`.
        every: look after every so manieth change.

    Yields:
        Changes made, what was lost, step of the last snapshot that was said to be safe (0 where
        none was), and what is there.
    """
    power, safe = Power(recording.ops), 0
    for count in range(1, len(recording.ops) + 1):
        op = power.step()
        if op.kind == "note":
            safe = int(op.other.split()[1])
        if count % every == 0 or op.kind == "note":
            for loss in losses:
                yield count, loss, safe, power.tree(loss)


def sound(folder: Path, recording: Recording, safe: int) -> str:
    """Open what is left of a run; what is wrong with it in words, empty where nothing is."""
    try:
        with Disk(folder), RunLock(folder):  # syncs cost time, and nobody pulls the plug here
            store = Store(folder, RECIPE)
            try:
                return _sound(folder, store, recording, safe)
            finally:
                store.close()
    except ClnfError as error:
        return f"{type(error).__name__}: {error}"


def _sound(folder: Path, store: Store, recording: Recording, safe: int) -> str:
    found = store.open()
    if found is None:
        return f"snapshot {safe} was safe and is gone" if safe else ""
    if found.step < safe:
        return f"snapshot {safe} was safe, the newest is {found.step}"
    if found.sha256 != recording.saved.get(found.step, found.sha256):
        return f"snapshot {found.step} is another one"
    if store.note:  # a journal that had to be put back counts too
        return store.note
    store.journal.verify()
    world = KINDS[recording.kind](folder)
    world.load(found.parts)
    if world.shelf is not None:
        world.shelf.close()
    for event in store.journal.events("pictures"):
        for name, wanted in event.payload["sha256"].items():
            file = folder / "media" / name
            if not file.exists() or hashlib.sha256(file.read_bytes()).hexdigest() != wanted:
                return f"{name} is missing or damaged"
    return ""


def finishes(folder: Path, recording: Recording) -> bool:
    """Whether a run goes on to the same bits."""
    with Disk(folder):
        return go(folder, recording.kind, lessons=recording.lessons) == recording.last


@final
@dataclass
class Survey:
    """What came of opening a run in every state a fault may leave it in.

    Attributes:
        looked: different states opened.
        finished: of them, runs that were also let go on to their end.
        bad: what was wrong, with the change it came after and what was lost.
    """

    looked: int = 0
    finished: int = 0
    bad: list[str] = field(default_factory=list)


def survey(
    recording: Recording, folder: Path, losses: Sequence[str | int], *, every: int, finish: int = 0
) -> Survey:
    """Open a run in every state that the loss of power may leave.

    Args:
        recording: of the run.
        folder: for the states; made.
        losses: see :mod:`faults.power`.
        every: look after every so manieth change.
        finish: let every so manieth state go on to its end as well; 0 lets none, and stops at
            the first that is bad.
    """
    folder.mkdir(parents=True)
    copies, seen, found = Copies(folder), set[tuple[str, int]](), Survey()
    for count, loss, safe, tree in states(recording, losses, every):
        key = copies.name(tree), safe
        if key in seen:
            continue
        seen.add(key)
        copies.put(tree, folder / "state")
        said = sound(folder / "state", recording, safe)
        found.looked += 1
        if not said and finish and found.looked % finish == 0:
            found.finished += 1
            said = "" if finishes(folder / "state", recording) else "it ends with other bits"
        if said:
            found.bad.append(f"after change {count}, lost {loss}: {said}")
            if not finish:
                break
    return found
