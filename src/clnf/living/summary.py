"""What an arm did, read from its journal: the one place tables and reports take figures from."""

from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from clnf.continual import metrics
from clnf.core.ledger import ATTOJOULES_PER_JOULE, PICOSECONDS_PER_SECOND, Cost, Ledger
from clnf.core.units import quantity
from clnf.living.journal import Journal

__all__ = ["ArmSummary", "LessonLine", "UndoLine", "summarise"]

_HARDWARE = ("mask", "heat", "budget")


@final
@dataclass(frozen=True, kw_only=True)
class LessonLine:
    """One lesson's verdict and bill.

    Attributes:
        hardware: what the verdict says of masks, heat and budget, where a recipe asks for them.
    """

    name: str
    concept: str
    action: str
    reason: str
    quarantined: dict[str, int] = field(default_factory=dict)
    admitted: int = quantity("1", 0)
    pulses: int = quantity("1", 0)
    energy_j: float = quantity("J", 0.0)
    time_s: float = quantity("s", 0.0)
    hardware: dict[str, Any] = field(default_factory=dict)


@final
@dataclass(frozen=True, kw_only=True)
class UndoLine:
    """One way back to a point of return.

    Attributes:
        name: of its row in the matrix.
        after: the last lesson before that point.
        lessons: all that count as not taught since.
    """

    name: str
    after: str
    lessons: tuple[str, ...]
    pulses: int = quantity("1")
    energy_j: float = quantity("J")
    time_s: float = quantity("s")


@final
@dataclass(frozen=True, kw_only=True)
class ArmSummary:
    """An arm as figures.

    Attributes:
        core: names of the core concepts.
        lessons: verdicts and bills in order; "undone" where a commit was undone later, by a
            person or because of what was seen afterwards.
        undone: what was undone by a person, in order.
        rows: retention matrix: each a dict with "after", "match" and "kid" by concept.
        wear: the chip's wear at the last verdict or undoing.
        energy_by_op_j: joules by kind of operation; empty until the arm has finished.
        finished: whether the stream is through.
        drift: what changed on the way and how it was answered, as the journal has it.
        during: matches drawn inside lessons, where the recipe asks for them.
        spent_j: joules since the core is in its cells: lessons and, once the arm has finished,
            what looking at changes and calibrating took.
        writes: pulses on cells in the same time.
        memory_bytes: what guards held at the last verdict, by kind.
    """

    core: tuple[str, ...]
    lessons: tuple[LessonLine, ...]
    undone: tuple[UndoLine, ...]
    rows: tuple[dict[str, Any], ...]
    wear: dict[str, Any]
    energy_by_op_j: dict[str, float]
    finished: bool
    drift: tuple[dict[str, Any], ...] = ()
    during: tuple[dict[str, Any], ...] = ()
    spent_j: float = quantity("J", 0.0)
    writes: int = quantity("1", 0)
    memory_bytes: dict[str, int] = field(default_factory=dict)

    @property
    def concepts(self) -> tuple[str, ...]:
        """Every concept measured, core first, then in the order of learning."""
        seen = list(self.core)
        for row in self.rows:
            seen += [name for name in {**row["match"], **row["kid"]} if name not in seen]
        return tuple(seen)

    def core_mean(self, row: int) -> float:
        """Mean match over the core concepts in a row of the matrix (0 to 1)."""
        match = self.rows[row]["match"]
        return sum(match[name] for name in self.core) / len(self.core)

    def core_drop(self) -> float:
        """Fall of the core's mean match from the first row to the last, in points (0 to 100)."""
        return 100.0 * (self.core_mean(0) - self.core_mean(-1))

    def learned_mean(self) -> float | None:
        """Mean match at the end over what the judge knows and the core does not (0 to 1)."""
        match = self.rows[-1]["match"]
        found = [value for name, value in match.items() if name not in self.core]
        return sum(found) / len(found) if found else None

    def total_j(self) -> float:
        """Joules of all lessons together, and of undoing them."""
        taught = sum(lesson.energy_j for lesson in self.lessons)
        return taught + sum(one.energy_j for one in self.undone)

    def total_s(self) -> float:
        """Simulated seconds of all lessons together, and of undoing them."""
        taught = sum(lesson.time_s for lesson in self.lessons)
        return taught + sum(one.time_s for one in self.undone)

    def matrix(self) -> tuple[NDArray[np.float64], list[int], list[str]]:
        """R[t, i] of the matches that stand at the end, the row each was learned in, and its name.

        What was not measured is NaN. A concept counts as learned in the first row that has it.
        """
        names = [name for name in self.concepts if name in self.rows[-1]["match"]]
        table = [[row["match"].get(name, np.nan) for name in names] for row in self.rows]
        found = np.array(table, dtype=np.float64)
        return found, [int(np.argmin(np.isnan(column))) for column in found.T], names

    def measures(self, reference: "ArmSummary | None" = None) -> dict[str, float | None]:
        """Measures of the whole stream, see :mod:`clnf.continual.metrics`; None for unknown.

        Args:
            reference: an arm that learned the same lessons with nothing to hold it back;
                intransigence is measured against what it knows right after each of them.
        """
        if not self.rows or not self.rows[-1]["match"]:
            return {}
        found, learned, names = self.matrix()
        kept = metrics.retention(found, learned)
        held = sum(self.memory_bytes.values())
        twins = metrics.hardware_twins(
            kept, energy_j=self.spent_j, writes=self.writes, memory_bytes=held
        )
        return {
            "average": _finite(metrics.average_accuracy(found)),
            "backward_transfer": _finite(metrics.backward_transfer(found, learned)),
            "forgetting": _finite(metrics.forgetting(found, learned)),
            "intransigence": self._intransigence(reference, names),
            "stability_gap": self._stability_gap(),
            "retention": _finite(kept),
            "retention_per_joule": _finite(twins.per_joule),
            "retention_per_write": _finite(twins.per_write),
            "retention_per_byte": _finite(twins.per_byte),
        }

    def _intransigence(self, reference: "ArmSummary | None", names: list[str]) -> float | None:
        """Over the concepts of the stream that both arms learned."""
        if reference is None or not reference.rows:
            return None
        first = partial(_first, core=self.core)
        mine, theirs = first(self.rows), first(reference.rows)
        both = [name for name in names if name in mine and name in theirs]
        if not both:
            return None
        diagonal = np.array([[mine[name] for name in both]])
        learned = [theirs[name] for name in both]
        return _finite(metrics.intransigence(diagonal, learned, [0] * len(both)))

    def _stability_gap(self) -> float | None:
        """Mean over lessons and over what was known before each."""
        before, gaps = {row["after"]: row["match"] for row in self.rows}, []
        standing = self.rows[0]["match"]
        for lesson in self.lessons:
            inside = [one["match"] for one in self.during if one["lesson"] == lesson.name]
            for concept, was in standing.items() if inside else ():
                seen = [one[concept] for one in inside if concept in one]
                gaps += [metrics.stability_gap(was, seen)] if seen else []
            standing = before.get(lesson.name, standing)
            standing = before.get(f"{lesson.name} rolled back", standing)
        return float(np.mean(gaps)) if gaps else None

    def to_json(self, reference: "ArmSummary | None" = None) -> dict[str, Any]:
        """All figures as JSON values; ``reference`` as in :meth:`measures`."""
        return {
            **asdict(self),
            "measures": self.measures(reference),
            "core_drop_points": self.core_drop() if self.rows else None,
            "energy_j": self.total_j(),
            "time_s": self.total_s(),
        }


def summarise(folder: Path) -> ArmSummary:
    """Read an arm's journal; needs no lock, so a running arm can be looked at.

    Args:
        folder: the arm's folder.

    Raises:
        RunError: there is no journal.
    """
    with Journal(folder / "journal.db", read_only=True) as journal:
        starts = journal.events("start")
        gates = {event.payload["lesson"]: event.payload for event in journal.events("gate")}
        verdicts = [event.payload for event in journal.events("verdict")]
        undone = [event.payload for event in journal.events("undone")]
        rows = tuple(event.payload for event in journal.events("row"))
        worn = [e.payload["wear"] for e in journal.events() if e.event in ("verdict", "undone")]
        ledgers = journal.events("ledger")
        drift = tuple(event.payload for event in journal.events("drift"))
        during = tuple(event.payload for event in journal.events("during"))
    ledger = Ledger()
    if ledgers:
        ledger.load_state(ledgers[-1].payload["rows"])
    spent, writes = _spent(verdicts, ledger)
    gone = {one["undone"] for one in drift if "undone" in one}
    gone |= set(undone[-1]["lessons"]) if undone else set()
    lessons = tuple(_line(v, gates.get(v["lesson"], {}), v["lesson"] in gone) for v in verdicts)
    return ArmSummary(
        core=tuple(starts[0].payload["core"]) if starts else (),
        lessons=lessons,
        undone=tuple(_undo(number, one) for number, one in enumerate(undone, 1)),
        rows=rows,
        wear=worn[-1] if worn else {},
        energy_by_op_j={op: cost.energy_j for op, cost in ledger.by("op").items()},
        finished=bool(ledgers),
        drift=drift,
        during=during,
        spent_j=spent.energy_j,
        writes=writes,
        memory_bytes=verdicts[-1].get("memory_bytes", {}) if verdicts else {},
    )


def _spent(verdicts: list[dict[str, Any]], ledger: Ledger) -> tuple[Cost, int]:
    """What everything but setting up took, and pulses in it; of lessons alone while they go on."""
    rows = [row for row in ledger.state() if row[1] != "setup"]
    if rows:
        energy_aj = sum(row[4] for row in rows)
        return Cost(energy_aj=energy_aj), sum(r[3] for r in rows if r[2] in ("pulse", "move"))
    energy_aj = sum(verdict["energy_aj"] for verdict in verdicts)
    return Cost(energy_aj=energy_aj), sum(verdict["pulses"] for verdict in verdicts)


def _first(rows: tuple[dict[str, Any], ...], core: tuple[str, ...]) -> dict[str, float]:
    """Match of each concept of the stream in the first row that has it."""
    found: dict[str, float] = {}
    for row in rows:
        for name, match in row["match"].items():
            if name not in core:
                found.setdefault(name, match)
    return found


def _finite(value: float | None) -> float | None:
    """A number that JSON has, or none."""
    return None if value is None or not np.isfinite(value) else float(value)


def _line(verdict: dict[str, Any], gate: dict[str, Any], undone: bool) -> LessonLine:
    back = undone and verdict["action"] == "commit"
    return LessonLine(
        name=verdict["lesson"],
        concept=verdict["concept"],
        action="undone" if back else verdict["action"],
        reason=f"kept at first ({verdict['reason']})" if back else verdict["reason"],
        admitted=gate.get("admitted", 0),
        quarantined=gate.get("quarantined", {}),
        pulses=verdict["pulses"],
        energy_j=verdict["energy_aj"] / ATTOJOULES_PER_JOULE,
        time_s=verdict["time_ps"] / PICOSECONDS_PER_SECOND,
        hardware={key: verdict[key] for key in _HARDWARE if key in verdict},
    )


def _undo(number: int, entry: dict[str, Any]) -> UndoLine:
    return UndoLine(
        name=f"undone {number}",
        after=entry["after"],
        lessons=tuple(entry["lessons"]),
        pulses=entry["pulses"],
        energy_j=entry["energy_aj"] / ATTOJOULES_PER_JOULE,
        time_s=entry["time_ps"] / PICOSECONDS_PER_SECOND,
    )
