"""Whether a run is as it was written: every hash of it, computed anew.

    recipe.toml  against the hash in each snapshot
    journal.db   each row against the one before it, and against the marks in the snapshots
    snapshots/   each file against its manifest, the manifest against its own hash
    lessons/     each file of people's pictures against the journal
    media/       each picture that was measured against the journal

The report and the pictures of the chip can be made again from these and are not looked at.
Nothing is changed, and nothing of the run is loaded as a model; :func:`repair` alone writes, and
only where a journal is no good: it is put back from the newest whole snapshot.
"""

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

from clnf.core.errors import ClnfError, RunError
from clnf.core.toml import recipe_hash
from clnf.living import snapshots
from clnf.living.journal import Journal
from clnf.living.journal_copy import fault_of, open_journal
from clnf.living.journal_faults import is_damage
from clnf.living.lock import RunLock, reading
from clnf.living.recipe import Recipe, check_run, load_recipe
from clnf.streams.quarantine import read_pardons

__all__ = ["Checked", "check", "repair"]

_PUT_BACK = "put it back as it was, from a copy of your own"


@final
@dataclass(frozen=True, kw_only=True)
class Checked:
    """One part of a run that was looked at.

    Attributes:
        file: its path below the run's folder.
        good: whether it is as it was written.
        says: what was found, a sentence.
        cure: what can be done, a sentence; empty where it is good.
    """

    file: str
    good: bool
    says: str
    cure: str = ""


def check(run: Path) -> Iterator[Checked]:
    """Look at all of a run.

    Args:
        run: the run's folder; may be on a disk that cannot be written.

    Raises:
        RunError: there is no run in it, or a process is writing it.
    """
    check_run(run)
    with reading(run):
        recipe: Recipe | None = None
        try:
            recipe = load_recipe(run / "recipe.toml")
            yield Checked(file="recipe.toml", good=True, says="can be read")
        except ClnfError as error:
            yield Checked(file="recipe.toml", good=False, says=str(error), cure=_PUT_BACK)
        for arm, of in (("", recipe), ("plain/", None if recipe is None else recipe.plain())):
            if not arm or (run / arm).is_dir():
                for one in _arm(run, arm, of):
                    bare = not one.good and not one.cure
                    yield replace(one, cure=_cure(run / arm, one.file)) if bare else one


def repair(run: Path) -> Iterator[str]:
    """Put each journal of a run that is no good back from the newest whole snapshot beside it.

    What is good is left alone. Rows past the snapshot are gone; resuming does them again.

    Args:
        run: the run's folder.

    Yields:
        What was done, a sentence each.

    Raises:
        RunError: there is no run in it, a process has it, it cannot be written, or no snapshot
            of it is whole.
    """
    check_run(run)
    with RunLock(run):
        for folder in (run, run / "plain"):
            if not snapshots.stored(folder / "snapshots"):
                continue
            found, path = snapshots.load_latest(folder / "snapshots"), folder / "journal.db"
            if fault_of(path, found):
                journal, says = open_journal(path, found)
                journal.close()
                yield says


def _cure(folder: Path, file: str) -> str:
    """What can be done about a bad file of an arm."""
    if file.endswith("snapshots"):
        return f"{_PUT_BACK}, or begin a new run"
    if "snapshots/" in file:
        return "resuming passes over it, and does again what came after the whole one before it"
    if file.endswith("recipe.toml"):
        return _PUT_BACK
    if not file.endswith("journal.db"):
        return f"no copy of it is kept: {_PUT_BACK}"
    for path in snapshots.stored(folder / "snapshots"):
        with suppress(RunError):
            if snapshots.peek(path, "journal")[1]:
                return (
                    "resuming the run, or `clnf verify RUN --repair`, puts back what its newest "
                    "whole snapshot holds of it"
                )
    return f"no snapshot holds a copy of it: {_PUT_BACK}"


def _arm(run: Path, arm: str, recipe: Recipe | None) -> Iterator[Checked]:
    """One arm, the journal first: the rest is held against it."""
    folder = run / arm
    journal: Journal | None = None
    try:
        journal = Journal(folder / "journal.db", read_only=True)
        yield from _journal(journal, arm)
    except RunError as error:
        path, says = folder / "journal.db", str(error)
        # Where the file is not to blame, the sentence ends with what to do.
        cure = "" if is_damage(error) or not path.is_file() else says.rpartition("; ")[2]
        yield Checked(file=f"{arm}journal.db", good=False, says=says, cure=cure)
    try:
        yield from _snapshots(folder, arm, recipe, journal)
        if journal is not None:
            yield from _files(journal, folder, arm)
    finally:
        if journal is not None:
            journal.close()
    try:
        read_pardons(folder / "released.json")
    except ClnfError as error:
        yield Checked(file=f"{arm}released.json", good=False, says=str(error))


def _journal(journal: Journal, arm: str) -> Iterator[Checked]:
    good = True
    for fault in journal.faults():
        good = False
        yield Checked(file=f"{arm}journal.db", good=False, says=f"was changed: {fault}")
    if good:
        rows = len(journal.events())
        says = f"{rows} events and what was measured, each as it was written"
        yield Checked(file=f"{arm}journal.db", good=True, says=says)


def _snapshots(
    folder: Path, arm: str, recipe: Recipe | None, journal: Journal | None
) -> Iterator[Checked]:
    there, whole = snapshots.stored(folder / "snapshots"), 0
    if not there:
        begun = journal is not None and _has_begun(journal)
        says = "gone, and the journal speaks of lessons" if begun else "none yet"
        yield Checked(file=f"{arm}snapshots", good=not begun, says=says)
    for path in there:
        name = f"{arm}snapshots/{path.name}"
        faults = snapshots.faults(path)
        for file, says in faults:
            yield Checked(file=f"{name}/{file}", good=False, says=says)
        if faults:
            continue
        whole += 1
        digest, state = snapshots.peek(path, "run")
        if recipe is not None and state["recipe"] != recipe_hash(recipe.model_dump()):
            says = f"is not the recipe that snapshot {path.name} was taken under"
            yield Checked(file="recipe.toml", good=False, says=says)
        if fault := _misses(journal, state["mark"]):
            says = f"does not belong to snapshot {path.name}: {fault}"
            yield Checked(file=f"{arm}journal.db", good=False, says=says)
        yield Checked(file=name, good=True, says=f"step {state['step']}, whole: {digest[:16]}")
    if there and not whole:
        yield Checked(file=f"{arm}snapshots", good=False, says="none of them is whole")


def _has_begun(journal: Journal) -> bool:
    try:
        return bool(journal.events("gate"))
    except RunError:  # the journal was found bad already
        return False


def _misses(journal: Journal | None, mark: dict[str, Any]) -> str:
    if journal is None:
        return ""
    try:
        return journal.holds(mark)
    except RunError as error:
        return str(error)


def _files(journal: Journal, folder: Path, arm: str) -> Iterator[Checked]:
    """Files whose hashes the journal holds; of one written twice, the last hash counts."""
    hashes: dict[str, str] = {}
    try:
        for event in journal.events("lesson added"):
            hashes[f"lessons/{event.payload['file']}"] = event.payload["sha256"]
        for event in journal.events("pictures"):
            hashes |= {f"media/{name}": one for name, one in event.payload["sha256"].items()}
    except (RunError, KeyError, TypeError, AttributeError):
        return  # the journal was found bad already
    whole = 0
    for name, wanted in hashes.items():
        try:
            found = hashlib.sha256((folder / name).read_bytes()).hexdigest()
            says = "" if found == wanted else "does not match its hash in the journal"
        except OSError as error:
            says = f"cannot be read ({error.strerror or error})"
        whole += not says
        if says:
            yield Checked(file=f"{arm}{name}", good=False, says=says)
    if whole:
        says = f"{whole} files as the journal has them"
        yield Checked(file=f"{arm}media, {arm}lessons", good=True, says=says)
