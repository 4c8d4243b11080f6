"""What a person sees of a run: tables that fit 100 columns."""

from typing import Any

from clnf.cli.show import show_table
from clnf.living.report import si
from clnf.living.run import Run
from clnf.living.summary import ArmSummary, LessonLine, summarise

__all__ = ["show_feedback", "show_lesson", "show_run"]


def show_run(run: Run) -> None:
    """Print verdicts, retention matrices and the bill of a run."""
    guarded = summarise(run.folder)
    plain = run.plain_folder
    _verdicts(guarded.lessons)
    _matrix("Match in %, with guards", guarded)
    if plain is not None and (plain / "journal.db").exists():
        other = summarise(plain)
        _matrix("Match in %, plain fine-tuning on the same chip", other)
        if other.rows:
            print(f"core lost: {guarded.core_drop():.1f} points with guards, "
                  f"{other.core_drop():.1f} without")  # fmt: skip
    wear = guarded.wear
    if wear:
        print(f"bill: {si(guarded.total_j(), 'J')}, {si(guarded.total_s(), 's')} of tile time; "
              f"most worn cell {wear['pulses_on_it']} pulses, at this rate good for "
              f"{wear['life_lessons']:.3g} more lessons")  # fmt: skip
    print(f"report: {run.folder / 'report.html'}")


def show_lesson(run: Run, name: str) -> None:
    """Print the verdict and bill of one lesson."""
    _verdicts([line for line in summarise(run.folder).lessons if line.name == name])
    print(f"report: {run.folder / 'report.html'}")


def show_feedback(result: dict[str, Any]) -> None:
    """Print what an edit changed."""
    print(f"{result['action']}: {result['reason']}")
    print(f"distance to the edit: {result['distance_before']:.3f} before, "
          f"{result['distance_after']:.3f} after")  # fmt: skip
    rows = [
        (concept, f"{100 * was:.0f} %", f"{100 * result['match_after'].get(concept, 0):.0f} %")
        for concept, was in result["match_before"].items()
    ]
    show_table(["concept", "match before", "after"], rows)


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
    show_table(["lesson", "verdict", "why", "refused", "pulses", "energy"], rows)


def _matrix(title: str, arm: ArmSummary) -> None:
    rows = [
        (
            row["after"],
            *(f"{100 * row['match'][c]:.0f}" if c in row["match"] else "-" for c in arm.concepts),
        )
        for row in arm.rows
    ]
    show_table(["after", *arm.concepts], rows, title=title)
