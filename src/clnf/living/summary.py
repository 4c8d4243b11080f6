"""What an arm did, read from its journal: the one place tables and reports take figures from."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, final

from clnf.core.ledger import ATTOJOULES_PER_JOULE, PICOSECONDS_PER_SECOND, Ledger
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
        lessons: verdicts and bills in order; "undone" where a person undid a commit later.
        undone: what was undone by a person, in order.
        rows: retention matrix: each a dict with "after", "match" and "kid" by concept.
        wear: the chip's wear at the last verdict or undoing.
        energy_by_op_j: joules by kind of operation; empty until the arm has finished.
        finished: whether the stream is through.
    """

    core: tuple[str, ...]
    lessons: tuple[LessonLine, ...]
    undone: tuple[UndoLine, ...]
    rows: tuple[dict[str, Any], ...]
    wear: dict[str, Any]
    energy_by_op_j: dict[str, float]
    finished: bool

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

    def to_json(self) -> dict[str, Any]:
        """All figures as JSON values."""
        return {
            **asdict(self),
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
    ledger = Ledger()
    if ledgers:
        ledger.load_state(ledgers[-1].payload["rows"])
    gone = undone[-1]["lessons"] if undone else ()
    lessons = tuple(_line(v, gates.get(v["lesson"], {}), v["lesson"] in gone) for v in verdicts)
    return ArmSummary(
        core=tuple(starts[0].payload["core"]) if starts else (),
        lessons=lessons,
        undone=tuple(_undo(number, one) for number, one in enumerate(undone, 1)),
        rows=rows,
        wear=worn[-1] if worn else {},
        energy_by_op_j={op: cost.energy_j for op, cost in ledger.by("op").items()},
        finished=bool(ledgers),
    )


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
