"""The bill: what was done where, for which lesson, and what it cost.

Counts are integers; energy is kept in whole attojoules (1e-18 J) and time in whole
picoseconds, so sums over tiles, lessons and operations agree exactly in any order.
"""

from dataclasses import dataclass
from typing import Any, Literal, final

from clnf.core.errors import ConfigError
from clnf.core.inputs import shown
from clnf.core.units import quantity

__all__ = ["NO_LESSONS", "Cost", "Ledger"]

ATTOJOULES_PER_JOULE = 10**18
PICOSECONDS_PER_SECOND = 10**12
# What is charged to these names teaches nothing; no lesson may have one of them.
NO_LESSONS = frozenset({"setup", "calibration", "undo"})

Axis = Literal["tile", "lesson", "op"]
_AXES: tuple[Axis, ...] = ("tile", "lesson", "op")


@final
@dataclass(frozen=True, kw_only=True)
class Cost:
    """A number of operations and what they cost together."""

    count: int = quantity("1", 0)
    energy_aj: int = quantity("aJ", 0)
    time_ps: int = quantity("ps", 0)

    @property
    def energy_j(self) -> float:
        """Energy in joules."""
        return self.energy_aj / ATTOJOULES_PER_JOULE

    @property
    def time_s(self) -> float:
        """Simulated time in seconds."""
        return self.time_ps / PICOSECONDS_PER_SECOND

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            count=self.count + other.count,
            energy_aj=self.energy_aj + other.energy_aj,
            time_ps=self.time_ps + other.time_ps,
        )


@final
class Ledger:
    """Counters keyed by (tile, lesson, operation).

    >>> ledger = Ledger(); ledger.lesson = "hands"
    >>> ledger.charge("read", tile="t0", count=3, energy_j=1e-12, time_s=1e-9)
    >>> ledger.total().energy_j == ledger.by("tile")["t0"].energy_j == 3e-12
    True
    """

    def __init__(self) -> None:
        self.lesson = "setup"
        self._rows: dict[tuple[str, str, str], list[int]] = {}

    def charge(
        self, op: str, *, tile: str, count: int, energy_j: float = 0.0, time_s: float = 0.0
    ) -> None:
        """Charge ``count`` operations at a cost each (rounded to 1 aJ and 1 ps each)."""
        self.charge_total(
            op,
            tile=tile,
            count=count,
            energy_aj=count * round(energy_j * ATTOJOULES_PER_JOULE),
            time_ps=count * round(time_s * PICOSECONDS_PER_SECOND),
        )

    def charge_total(
        self, op: str, *, tile: str, count: int, energy_aj: int = 0, time_ps: int = 0
    ) -> None:
        """Charge operations whose joint cost is already known in aJ and ps."""
        row = self._rows.setdefault((tile, self.lesson, op), [0, 0, 0])
        row[0] += int(count)
        row[1] += int(energy_aj)
        row[2] += int(time_ps)

    def total(self, **where: str) -> Cost:
        """Sum over all rows, or those matching ``tile=``, ``lesson=`` and ``op=``."""
        total = Cost()
        for key, (count, energy_aj, time_ps) in self._rows.items():
            if all(key[_AXES.index(axis)] == value for axis, value in where.items()):
                total += Cost(count=count, energy_aj=energy_aj, time_ps=time_ps)
        return total

    def by(self, axis: Axis) -> dict[str, Cost]:
        """Sum by tile, lesson or operation, in order of first appearance."""
        sums: dict[str, Cost] = {}
        for key, (count, energy_aj, time_ps) in self._rows.items():
            name = key[_AXES.index(axis)]
            cost = Cost(count=count, energy_aj=energy_aj, time_ps=time_ps)
            sums[name] = sums.get(name, Cost()) + cost
        return sums

    def state(self) -> list[list[Any]]:
        """Rows as JSON values: [tile, lesson, op, count, aJ, ps]."""
        return [[*key, *row] for key, row in self._rows.items()]

    def load_state(self, rows: list[list[Any]]) -> None:
        """Replace all rows by ones written by :meth:`state`.

        Raises:
            ConfigError: a row is none of those; the ledger stays as it was.
        """
        try:
            found = {(r[0], r[1], r[2]): [int(r[3]), int(r[4]), int(r[5])] for r in rows}
            good = all(isinstance(word, str) for key in found for word in key)
        except (TypeError, ValueError, OverflowError, LookupError, RuntimeError):
            good = False
        if not good:
            raise ConfigError(
                f"rows of a ledger are [tile, lesson, op, count, aJ, ps], got {shown(rows)}; give "
                "what state() returned"
            )
        self._rows = found
