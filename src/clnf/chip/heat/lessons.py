"""How warm a chip was in each of its lessons, one after the other.

A ledger says what each tile did in a lesson, not when within it: power is the mean over a lesson.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import numpy as np

from clnf.chip.heat.course import Course, Pacing, follow
from clnf.chip.heat.network import Law, ThermalNetwork
from clnf.chip.heat.power import Work, span_s
from clnf.core.units import quantity

__all__ = ["Lesson", "Taught", "taught"]


@final
@dataclass(frozen=True, kw_only=True)
class Lesson:
    """How warm one lesson of several was.

    Attributes:
        lesson: its name.
        end_s: when it was over.
        hottest_k: the hottest cell meanwhile.
        tile: where that was.
    """

    lesson: str
    end_s: float = quantity("s")
    hottest_k: float = quantity("K")
    tile: str


@final
@dataclass(frozen=True, kw_only=True)
class Taught:
    """Lessons one after the other.

    Attributes:
        lessons: those that took any time.
        course: temperatures meanwhile.
    """

    lessons: tuple[Lesson, ...]
    course: Course


def taught(
    network: ThermalNetwork,
    lessons: Mapping[str, Mapping[str, Work]],
    *,
    steps: int = 400,
    at_once: int | None = None,
    laws: Mapping[str, Law] | None = None,
) -> Taught | None:
    """Follow lessons in order, each once and without pause, from a cold chip.

    Args:
        network: the chip's.
        lessons: what tiles did, from :func:`clnf.chip.heat.power.by_lesson`.
        steps: in time, over all of them; a lesson shorter than one has the mean power of it.
        at_once: tiles that work together; None for all.
        laws: see :func:`follow`.

    Returns:
        None where no lesson took any time.
    """
    busy = {n: dict(d) for n, d in lessons.items() if any(one.busy_s > 0 for one in d.values())}
    if not busy:
        return None
    ends = np.cumsum([span_s(done, at_once or len(network.plan.sites)) for done in busy.values()])
    pacing = Pacing(seconds=float(ends[-1]), step_s=float(ends[-1]) / steps, at_once=at_once)
    course = follow(network, list(busy.values()), pacing, laws=laws)
    starts, stops = course.times_s - pacing.step_s, course.times_s
    rows, begin_s, little = [], 0.0, 1e-6 * pacing.step_s
    for name, end_s in zip(busy, ends.tolist(), strict=True):
        inside = (starts >= begin_s - little) & (stops <= end_s + little)
        if not inside.any():  # shorter than a step: those that it has a part in
            inside = (starts < end_s) & (stops > begin_s)
        part = course.hottest_k[inside]
        tile, begin_s = course.names[int(part.max(0).argmax())], end_s
        rows.append(Lesson(lesson=name, end_s=end_s, hottest_k=float(part.max()), tile=tile))
    return Taught(lessons=tuple(rows), course=course)
