"""What an arm leaves on disk and finds there again: journal, snapshots, points of return.

A snapshot and the journal belong together by a mark: what the snapshot does not know of is cut
off the journal when it is loaded, and written anew. What it knows of it holds a copy of, from which
a damaged journal is put back. Snapshots between lessons are points of return; the last of them are
held, so that lessons can be undone.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch

from clnf.core.errors import RunError
from clnf.core.files import make_folder
from clnf.core.toml import recipe_hash
from clnf.core.units import quantity
from clnf.living import snapshots
from clnf.living.journal import Journal
from clnf.living.journal_copy import JournalCopy, open_journal
from clnf.living.journal_faults import is_damage
from clnf.living.recipe import Recipe

__all__ = ["Point", "Store", "points"]

_RESUMED = 2  # newest snapshots, each whole in itself
# Changed since, these may change the last bits of what is calculated.
_ROUNDS = ("torch", "threads")


@final
@dataclass(frozen=True, kw_only=True)
class Point:
    """A snapshot between two lessons, to which a run can go back.

    Attributes:
        step: the run's step; names the point.
        after: what stood before it: a lesson, "start", or an earlier way back.
        without: lessons that count as not taught once the run has gone there.
        here: whether the run stands there now.
        sha256: hash of the snapshot.
    """

    step: int = quantity("1")
    after: str
    without: tuple[str, ...]
    here: bool
    sha256: str


@final
class Store:
    """Journal and snapshots of an arm.

    Args:
        folder: the arm's folder; made when missing.
        recipe: all choices; a snapshot taken under others is refused.

    Attributes:
        note: what :meth:`open` found damaged or different, in sentences; else empty.

    Raises:
        RunError: the journal speaks of lessons without a snapshot, or cannot be read without one.
    """

    def __init__(self, folder: Path, recipe: Recipe) -> None:
        self.folder, self._recipe = folder / "snapshots", recipe_hash(recipe.model_dump())
        self._held = recipe.undo_points
        self.note = ""
        make_folder(folder)
        # The first snapshot comes with its folder; an empty one was emptied by somebody.
        if not snapshots.stored(self.folder):
            _begin_anew(folder)
        self._points: list[int] = []
        self._path = folder / "journal.db"
        self._journal: Journal | None = None
        self._copy = JournalCopy()

    @property
    def journal(self) -> Journal:
        """Open for writing, once the store was opened."""
        assert self._journal is not None
        return self._journal

    def close(self) -> None:
        """Close the journal."""
        if self._journal is not None:
            self._journal.close()

    def open(self) -> snapshots.Snapshot | None:
        """The newest whole snapshot, the journal cut back to its mark; None where an arm begins.

        A journal that is damaged, or is not this run's, is put back from the snapshot's copy.

        Raises:
            RunError: no snapshot is whole, they belong to another recipe, or the journal cannot
                be used.
        """
        if not snapshots.stored(self.folder):
            self._journal = Journal(self._path)
            return None
        found = snapshots.load_latest(self.folder)
        state = found.parts["run"]
        if state["recipe"] != self._recipe:
            raise RunError(
                f"the recipe in {self.folder.parent} is not the one its snapshots were taken "
                "under; put recipe.toml back as it was, or begin a new run with it"
            )
        self._journal, changed = open_journal(self._path, found)
        self._copy, self._points = JournalCopy(found), list(state["points"])
        self.note = "; ".join(filter(None, (found.note, changed, _rounding(found.versions))))
        return found

    def save(
        self, step: int, parts: Mapping[str, Mapping[str, Any]], state: dict[str, Any], point: str
    ) -> str:
        """Write a snapshot, with the journal's mark.

        Args:
            step: the run's step.
            parts: state by part.
            state: the arm's own, as JSON values and tensors.
            point: where this is a point of return, the last lesson before it; else empty.

        Returns:
            The SHA-256 that names the snapshot.
        """
        if point:
            # The newest one is where the run is: going back needs as many besides.
            self._points = [*self._points, step][-(self._held + 1) :]
        mark = self.journal.mark()
        kept = {
            **state,
            "step": step,
            "mark": mark,
            "recipe": self._recipe,
            "points": self._points,
            "point": point,
        }
        hold = self._points if self._held else ()
        whole = {**parts, "journal": self._copy.state(self.journal, mark), "run": kept}
        return snapshots.save(self.folder, step, whole, keep=_RESUMED, hold=hold)

    def load(self, step: int) -> snapshots.Snapshot:
        """Load a point of return.

        Raises:
            RunError: there is none of that step, or it is damaged.
        """
        there = [state["step"] for _, state in _states(self.folder) if state["point"]]
        if step not in there:
            known = ", ".join(map(str, sorted(there))) or "none yet"
            raise RunError(f"no point of return at step {step}; there are: {known}")
        return snapshots.load(self.folder / f"{step:08d}")


def points(folder: Path, recipe: Recipe) -> list[Point]:
    """Points of return of an arm, newest first; damaged ones are left out.

    Args:
        folder: the arm's folder.
        recipe: its choices.
    """
    states = _states(folder / "snapshots")
    if not states:
        return []
    newest = states[0][1]
    added = [lesson["name"] for lesson in newest["lessons"]["added"]]
    names = [*(lesson.name for lesson in recipe.lesson), *added]
    begun = newest["cursor"]["lesson"] + (newest["cursor"]["offered"] is not None)
    found = []
    for digest, state in states:
        if not state["point"]:
            continue
        gone = {*state["lessons"]["undone"], *range(state["cursor"]["lesson"], begun)}
        found.append(
            Point(
                step=state["step"],
                after=state["point"],
                without=tuple(names[number] for number in sorted(gone)),
                here=state is newest,
                sha256=digest,
            )
        )
    return found


def _states(folder: Path) -> list[tuple[str, dict[str, Any]]]:
    """Hash and the arm's own state of each snapshot that is there, newest first."""
    found = []
    for path in snapshots.stored(folder):
        with suppress(RunError):
            found.append(snapshots.peek(path, "run"))
    return found


def _rounding(versions: dict[str, str]) -> str:
    """A sentence where numbers may now be rounded otherwise than when a snapshot was taken."""
    now = {"torch": str(torch.__version__), "threads": str(torch.get_num_threads())}
    other = [f"{name} {versions[name]}" for name in _ROUNDS if versions[name] != now[name]]
    if not other:
        return ""
    return f"this run was written with {' and '.join(other)}: the last bits may differ from here on"


def _begin_anew(folder: Path) -> None:
    """Clear away what an arm wrote that was killed before its first snapshot.

    Raises:
        RunError: the journal speaks of lessons, so the snapshots were taken away.
    """
    file = folder / "journal.db"
    if not file.exists():
        return
    try:
        with Journal(file) as journal:
            taught = journal.events("gate")
    except RunError as error:
        if not is_damage(error):
            raise
        raise RunError(
            f"{file} is damaged, and no snapshot holds a copy of it; put the folder "
            f"{folder / 'snapshots'} back if it was taken away, else remove the file and resume: "
            "nothing was learned yet"
        ) from error
    if taught:
        raise RunError(
            f"{folder} has lessons in its journal but no snapshots; put the folder "
            f"{folder / 'snapshots'} back, or start a new run"
        )
    for part in folder.glob("journal.db*"):
        part.unlink()
