"""Whether a run is as it was written: every hash of it, computed anew.

    recipe.toml  against the hash in each snapshot
    journal.db   each row against the one before it, and against the marks in the snapshots
    snapshots/   each file against its manifest, the manifest against its own hash
    lessons/     each file of people's pictures against the journal
    media/       each picture that was measured against the journal

The report and the pictures of the chip can be made again from these and are not looked at.
Nothing is changed, and nothing of the run is loaded as a model.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from clnf.core.errors import ClnfError, RunError
from clnf.core.toml import recipe_hash
from clnf.living import snapshots
from clnf.living.journal import Journal
from clnf.living.lock import reading
from clnf.living.recipe import Recipe, load_recipe
from clnf.streams.quarantine import read_pardons

__all__ = ["Checked", "check"]


@final
@dataclass(frozen=True, kw_only=True)
class Checked:
    """One part of a run that was looked at.

    Attributes:
        file: its path below the run's folder.
        good: whether it is as it was written.
        says: what was found, a sentence.
    """

    file: str
    good: bool
    says: str


def check(run: Path) -> Iterator[Checked]:
    """Look at all of a run.

    Args:
        run: the run's folder; may be on a disk that cannot be written.

    Raises:
        RunError: there is no run in it, or a process is writing it.
    """
    if not (run / "recipe.toml").is_file():
        raise RunError(f"no run in {run}; give the folder of one")
    with reading(run):
        recipe: Recipe | None = None
        try:
            recipe = load_recipe(run / "recipe.toml")
            yield Checked(file="recipe.toml", good=True, says="can be read")
        except ClnfError as error:
            yield Checked(file="recipe.toml", good=False, says=str(error))
        yield from _arm(run, "", recipe)
        if (run / "plain").is_dir():
            yield from _arm(run, "plain/", None if recipe is None else recipe.plain())


def _arm(run: Path, arm: str, recipe: Recipe | None) -> Iterator[Checked]:
    """One arm, the journal first: the rest is held against it."""
    folder = run / arm
    journal: Journal | None = None
    try:
        journal = Journal(folder / "journal.db", read_only=True)
        yield from _journal(journal, arm)
    except RunError as error:
        yield Checked(file=f"{arm}journal.db", good=False, says=str(error))
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
    there = snapshots.stored(folder / "snapshots")
    if not there:
        yield Checked(file=f"{arm}snapshots", good=True, says="none yet")
    for path in there:
        name = f"{arm}snapshots/{path.name}"
        faults = snapshots.faults(path)
        for file, says in faults:
            yield Checked(file=f"{name}/{file}", good=False, says=says)
        if faults:
            continue
        digest, state = snapshots.peek(path, "run")
        if recipe is not None and state["recipe"] != recipe_hash(recipe.model_dump()):
            says = f"is not the recipe that snapshot {path.name} was taken under"
            yield Checked(file="recipe.toml", good=False, says=says)
        if fault := _misses(journal, state["mark"]):
            says = f"does not belong to snapshot {path.name}: {fault}"
            yield Checked(file=f"{arm}journal.db", good=False, says=says)
        yield Checked(file=name, good=True, says=f"step {state['step']}, whole: {digest[:16]}")


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
