"""Where work on a run is, for people who wait."""

from dataclasses import dataclass
from typing import final

from clnf.core.units import quantity

__all__ = ["Progress"]


@final
@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where an arm is, for people who wait.

    Attributes:
        lesson: name of the lesson, "start" before the first.
        phase: what is being done.
        done: units done of ``total``.
        total: units of this phase.
        note: a sentence when something was decided, else empty.
        arm: put before the lesson's name where several arms run.
        share: part of the arm's whole work that is done, 0 to 1.
    """

    lesson: str
    phase: str
    arm: str = ""
    done: int = quantity("1", 0)
    total: int = quantity("1", 1)
    note: str = ""
    share: float = quantity("1", 0.0)
