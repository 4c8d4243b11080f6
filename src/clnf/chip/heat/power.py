"""From joules in the ledger to watts on tiles.

Power here is the mean over the time that the work takes, so what a chip draws depends on how many
tiles work at once:

    time = max(longest tile, sum over tiles / tiles at once)

which is what layers that work on different pictures at the same time can reach, and no schedule
can beat. Reads and write pulses heat cells; converters, buffers, routers, verifying reads and
whatever else is charged to a tile heat the silicon below it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, final

from clnf.core.errors import ConfigError
from clnf.core.ledger import ATTOJOULES_PER_JOULE, PICOSECONDS_PER_SECOND
from clnf.core.units import quantity

__all__ = ["Work", "by_lesson", "span_s", "work"]

_IN_CELLS = frozenset({"read", "pulse", "move"})


@final
@dataclass(frozen=True, kw_only=True)
class Work:
    """What one tile did.

    Attributes:
        cells_j: heat in its cells.
        logic_j: heat in the silicon below.
        busy_s: how long it was at it.
    """

    cells_j: float = quantity("J", 0.0)
    logic_j: float = quantity("J", 0.0)
    busy_s: float = quantity("s", 0.0)


def work(
    rows: Iterable[list[Any]], before: Iterable[list[Any]] = (), *, lesson: str | None = None
) -> dict[str, Work]:
    """What each tile did, from the rows of a ledger.

    Args:
        rows: :meth:`clnf.core.ledger.Ledger.state` now.
        before: the same at the beginning of the span that counts.
        lesson: only what was charged to this one.

    Returns:
        By tile, in order of first appearance. Sums are exact to 1 aJ and 1 ps.

    >>> rows = [["t", "a", "read", 2, 10**18, 10**12], ["t", "a", "adc", 1, 5 * 10**17, 0]]
    >>> work(rows)["t"]
    Work(cells_j=1.0, logic_j=0.5, busy_s=1.0)
    """
    sums: dict[str, list[int]] = {}
    for sign, part in ((1, rows), (-1, before)):
        for tile, of, op, _, energy_aj, time_ps in part:
            if lesson is None or of == lesson:
                row = sums.setdefault(tile, [0, 0, 0])
                row[0 if op in _IN_CELLS else 1] += sign * energy_aj
                row[2] += sign * time_ps
    return {
        tile: Work(
            cells_j=cells / ATTOJOULES_PER_JOULE,
            logic_j=logic / ATTOJOULES_PER_JOULE,
            busy_s=time / PICOSECONDS_PER_SECOND,
        )
        for tile, (cells, logic, time) in sums.items()
    }


def by_lesson(rows: Iterable[list[Any]]) -> dict[str, dict[str, Work]]:
    """What each tile did in each lesson, in order of first appearance.

    >>> rows = [["t", "a", "read", 2, 10**18, 10**12], ["t", "b", "adc", 1, 5 * 10**17, 10**12]]
    >>> {lesson: done["t"].logic_j for lesson, done in by_lesson(rows).items()}
    {'a': 0.0, 'b': 0.5}
    """
    kept = list(rows)
    return {lesson: work(kept, lesson=lesson) for lesson in dict.fromkeys(row[1] for row in kept)}


def span_s(done: dict[str, Work], at_once: int) -> float:
    """How long the work takes with so many tiles at once.

    Raises:
        ConfigError: fewer than one tile at once, or no work took any time.

    >>> three = {name: Work(busy_s=2.0) for name in "abc"}
    >>> span_s(three, 1), span_s(three, 2), span_s(three, 9)
    (6.0, 3.0, 2.0)
    """
    if at_once < 1:
        raise ConfigError(f"at least one tile works at once, got {at_once}")
    busy = [one.busy_s for one in done.values()]
    if not sum(busy) > 0:
        raise ConfigError("no tile was busy; let the model draw or learn first")
    return max(max(busy), sum(busy) / at_once)
