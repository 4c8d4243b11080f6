"""What an arm did, read from its journal: the one place tables and reports take figures from."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, final

from clnf.core.ledger import ATTOJOULES_PER_JOULE, PICOSECONDS_PER_SECOND, Ledger
from clnf.core.units import quantity
from clnf.living.journal import Journal

__all__ = ["ArmSummary", "LessonLine", "summarise"]

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
class ArmSummary:
    """An arm as figures.

    Attributes:
        core: names of the core concepts.
        lessons: verdicts and bills in order.
        rows: retention matrix: each a dict with "after", "match" and "kid" by concept.
        wear: the chip's wear at the last verdict.
        energy_by_op_j: joules by kind of operation; empty until the arm has finished.
        finished: whether the stream is through.
    """

    core: tuple[str, ...]
    lessons: tuple[LessonLine, ...]
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
        """Joules of all lessons together."""
        return sum(lesson.energy_j for lesson in self.lessons)

    def total_s(self) -> float:
        """Simulated seconds of all lessons together."""
        return sum(lesson.time_s for lesson in self.lessons)

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
        rows = tuple(event.payload for event in journal.events("row"))
        ledgers = journal.events("ledger")
    ledger = Ledger()
    if ledgers:
        ledger.load_state(ledgers[-1].payload["rows"])
    lessons = tuple(_line(v, gates.get(v["lesson"], {})) for v in verdicts)
    return ArmSummary(
        core=tuple(starts[0].payload["core"]) if starts else (),
        lessons=lessons,
        rows=rows,
        wear=verdicts[-1]["wear"] if verdicts else {},
        energy_by_op_j={op: cost.energy_j for op, cost in ledger.by("op").items()},
        finished=bool(ledgers),
    )


def _line(verdict: dict[str, Any], gate: dict[str, Any]) -> LessonLine:
    return LessonLine(
        name=verdict["lesson"],
        concept=verdict["concept"],
        action=verdict["action"],
        reason=verdict["reason"],
        admitted=gate.get("admitted", 0),
        quarantined=gate.get("quarantined", {}),
        pulses=verdict["pulses"],
        energy_j=verdict["energy_aj"] / ATTOJOULES_PER_JOULE,
        time_s=verdict["time_ps"] / PICOSECONDS_PER_SECOND,
        hardware={key: verdict[key] for key in _HARDWARE if key in verdict},
    )
