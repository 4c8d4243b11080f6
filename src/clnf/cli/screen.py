"""What a person sees of a run: tables that fit 100 columns."""

import sys
from dataclasses import fields
from pathlib import Path
from textwrap import fill
from typing import Any

from clnf.cli.show import COLUMNS, show_table
from clnf.core.ledger import ATTOJOULES_PER_JOULE
from clnf.living.generate import Drawn
from clnf.living.report import si
from clnf.living.run import Run
from clnf.living.store import Point
from clnf.living.summary import ArmSummary, LessonLine, summarise
from clnf.living.verify import Checked

__all__ = [
    "show_checked",
    "show_drawn",
    "show_lesson",
    "show_points",
    "show_run",
    "show_undone",
]

_FILES = 3  # files with the same fault named one by one
_MOST = 10  # refused files named one by one
_SHOWN = ("match", "kid")


def show_run(run: Run) -> None:
    """Print verdicts, retention matrices and the bill of a run."""
    guarded = summarise(run.folder)
    plain = run.plain_folder
    _verdicts(guarded.lessons)
    for one in guarded.undone:
        print(f"{one.name}: back to after {one.after}, {_price(one.pulses, one.energy_j)}")
    _matrix("Match in %, guarded", guarded)
    if plain is not None and (plain / "journal.db").exists():
        other = summarise(plain)
        _matrix("Match in %, plain fine-tuning on the same cells", other)
        if other.rows and guarded.rows:
            print(f"core lost: {guarded.core_drop():.1f} points guarded, "
                  f"{other.core_drop():.1f} by plain fine-tuning")  # fmt: skip
    wear = guarded.wear
    learned = guarded.learned_mean() if guarded.rows else None
    if learned is not None:
        print(f"learned: {100 * learned:.0f} % of what it learned is drawn right at the end")
    if wear:
        print(f"bill: {si(guarded.total_j(), 'J')}, {si(guarded.total_s(), 's')} of tile time")
        print(f"most worn cell: {wear['pulses_on_it']} pulses, {_life(wear['life_lessons'])}")
    print(f"report: {run.folder / 'report.html'}")


def show_drawn(drawn: Drawn) -> None:
    """Print where drawings lie, and what a reader must know of them."""
    for said in filter(None, (drawn.note, drawn.seen)):
        print(f"clnf: {said}", file=sys.stderr)
    first, *rest = map(str, drawn.files)
    ends = rest if len(rest) < 3 else [rest[0], rest[-1]]
    print(f"{first} and, one by one, {' ... '.join(ends)}")


def show_lesson(result: dict[str, Any], report: Path) -> None:
    """Print what came of a lesson that a person taught: verdict, refusals, what changed."""
    _verdicts([LessonLine(**{f.name: result[f.name] for f in fields(LessonLine)})])
    for reason in result["gate_reasons"]:
        count = result["quarantined"][reason.partition(":")[0]]
        print(fill(f"the gate refused {count}: {reason}", COLUMNS))
    files = list(result["files_refused"].items())
    if files:
        more = f", among them the first {_MOST}" if len(files) > _MOST else ""
        title = f"files that could not be used: {len(files)}{more}"
        show_table(["file", "why"], files[:_MOST], title=title)
    if "distance_before" in result:
        print(
            f"distance of the drawing to the edit: {result['distance_before']:.3f} before, "
            f"{result['distance_after']:.3f} after"
        )
    if result["pulses"]:
        _changes(result)
    print(f"report: {report}")


def show_points(folder: Path, found: list[Point]) -> None:
    """Print where a run can go back to, and what would then count as not taught."""
    rows = [
        (point.step, point.after, ", ".join(point.without) or "-", "here" if point.here else "")
        for point in found
    ]
    if not rows:
        print("no points of return yet")
        return
    show_table(["step", "after", "then not taught", ""], rows)
    if len(rows) > 1:
        print(f"go back with: clnf undo {folder} --to {found[1].step}")


def show_undone(result: dict[str, Any], report: Path) -> None:
    """Print what was undone and what that took."""
    gone = ", ".join(result["lessons"]) or "no lesson"
    energy_j = result["energy_aj"] / ATTOJOULES_PER_JOULE
    print(f"back to after {result['after']}: {_price(result['pulses'], energy_j)}")
    print(fill(f"not taught any more: {gone}", COLUMNS))
    print(f"error left in the cells: {100 * result['rms_error']:.2g} % of full scale")
    print(f"report: {report}")


def show_checked(found: list[Checked], done: list[str]) -> None:
    """Print what was put back, what is bad in a run and what can be done, or that all is well."""
    bad = [one for one in found if not one.good]
    for says in done:
        print(fill(says, COLUMNS))
    show_table(["", "file", "finding"], [
        ("ok" if one.good else "BAD", one.file, one.says) for one in found
    ])  # fmt: skip
    print(
        f"{len(bad)} of {len(found)} findings are bad" if bad else "everything is as it was written"
    )
    for cure in dict.fromkeys(one.cure for one in bad):
        files = list(dict.fromkeys(one.file for one in bad if one.cure == cure))
        more = f" and {len(files) - _FILES} more" if len(files) > _FILES else ""
        print(fill(f"{', '.join(files[:_FILES])}{more}: {cure}", COLUMNS))


def _price(pulses: int, energy_j: float) -> str:
    return f"{pulses:,} pulses and {si(energy_j, 'J')}"


def _changes(result: dict[str, Any]) -> None:
    """What each concept's drawings were like before and after a lesson."""
    columns = [result[f"{measure}_{when}"] for measure in _SHOWN for when in ("before", "after")]
    rows = [
        [name, *(_cell(column.get(name), _SHOWN[i // 2]) for i, column in enumerate(columns))]
        for name in {name: None for column in columns for name in column}
    ]
    heads = ["drawings of", "match % before", "after", "KID before", "after"]
    show_table(heads, rows, title="KID: distance to real pictures, 0 where they are alike")


def _cell(value: float | None, measure: str) -> str:
    if value is None:
        return "-"
    return f"{100 * value:.0f}" if measure == "match" else f"{round(value, 2) + 0.0:.2f}"


def _life(lessons: float | None) -> str:
    if lessons is None:  # JSON has no infinity
        return "at this rate it lasts without end"
    return f"at this rate good for {lessons:.3g} more lessons"


def _verdicts(lines: "list[LessonLine] | tuple[LessonLine, ...]") -> None:
    rows = [
        (
            line.name,
            line.action,
            line.reason,
            sum(line.quarantined.values()),
            line.pulses,
            si(line.energy_j, "J"),
        )
        for line in lines
    ]
    if rows:
        show_table(["lesson", "verdict", "why", "refused", "pulses", "energy"], rows)


def _matrix(title: str, arm: ArmSummary) -> None:
    rows = [(row["after"], *(_known(row, c) for c in arm.concepts)) for row in arm.rows]
    if any("KID" in cell for row in rows for cell in row[1:]):
        title += "; of your own concepts, which the judge does not know, the KID"
    show_table(["after", *arm.concepts], rows, title=title)


def _known(row: dict[str, Any], concept: str) -> str:
    if concept in row["match"]:
        return f"{100 * row['match'][concept]:.0f}"
    kid = row["kid"].get(concept)
    return "-" if kid is None else f"KID {kid:.2f}"
