"""Drift detection: has the distribution of a number changed?

ADWIN (Bifet and Gavaldà 2007) keeps a window of past values as an exponential histogram and
drops its older part whenever the means of two parts differ by more than chance allows.
"""

import math
from dataclasses import dataclass
from typing import Any, final

from clnf.core.errors import ConfigError
from clnf.core.units import quantity

__all__ = ["Adwin", "AdwinParams"]


@final
@dataclass(frozen=True, kw_only=True)
class AdwinParams:
    """Sensitivity and cost of the detector.

    Attributes:
        delta: chance of a false alarm at one check, in (0, 1).
        clock: values between two checks, >= 1.
        buckets: buckets of one size before two are merged, >= 2.
        grace: values before the first check, and the shortest part compared is 5.
    """

    delta: float = quantity("1", 0.002)
    clock: int = quantity("1", 16)
    buckets: int = quantity("1", 5)
    grace: int = quantity("1", 10)

    def __post_init__(self) -> None:
        if not 0.0 < self.delta < 1.0 or self.clock < 1 or self.buckets < 2:
            raise ConfigError(f"ADWIN needs 0 < delta < 1, clock >= 1, buckets >= 2, got {self}")


_SHORTEST = 5  # values in the shorter of two compared parts


@final
class Adwin:
    """ADWIN2 over one stream of numbers.

    Two parts of n0 and n1 values with means differing by more than

        eps = sqrt(2/m * v * L) + 2/(3m) * L,  1/m = 1/(n0-5+1) + 1/(n1-5+1),  L = ln(2 ln(n)/delta)

    (n values in all, variance v) mean a change. The bound's last term supposes values of order
    one; scale the input to that. Costs a few microseconds a value and O(log n) memory.

    >>> detector = Adwin()
    >>> any(detector.update(0.0) for _ in range(500)), any(detector.update(1.0) for _ in range(500))
    (False, True)
    """

    def __init__(self, params: AdwinParams = AdwinParams()) -> None:
        self.params = params
        self.seen = 0
        # Row r holds buckets of 2**r values, newest last: [sum, sum of squared deviations].
        self._rows: list[list[list[float]]] = [[]]
        self._count = 0
        self._total = 0.0
        self._spread = 0.0

    @property
    def mean(self) -> float:
        """Mean over the window; 0 when it is empty."""
        return self._total / self._count if self._count else 0.0

    @property
    def width(self) -> int:
        """Values in the window."""
        return self._count

    def update(self, value: float) -> bool:
        """Take one value; True when the older part of the window was just dropped.

        Args:
            value: finite, of order one.
        """
        if self._count:
            gap = value - self._total / self._count
            self._spread += gap * gap * self._count / (self._count + 1)
        self._count += 1
        self._total += value
        self._rows[0].append([value, 0.0])
        if len(self._rows[0]) > self.params.buckets:
            self._compress()
        self.seen += 1
        if self.seen % self.params.clock or self._count <= self.params.grace:
            return False
        changed = False
        while self._cut():
            self._drop_oldest()
            changed = True
        return changed

    def _compress(self) -> None:
        """Merge the two oldest buckets of each over-full row into one of the next."""
        for r, row in enumerate(self._rows):
            if len(row) <= self.params.buckets:
                return
            if r + 1 == len(self._rows):
                self._rows.append([])
            older, newer = row[0], row[1]
            del row[:2]
            gap = (older[0] - newer[0]) / 2**r
            spread = older[1] + newer[1] + gap * gap * 2**r / 2
            self._rows[r + 1].append([older[0] + newer[0], spread])

    def _cut(self) -> bool:
        """Whether some split of the window has means further apart than chance allows."""
        n = self._count
        if n < 2 * _SHORTEST:
            return False
        log_term = math.log(2.0 * math.log(n) / self.params.delta)
        twice_variance = 2.0 * self._spread / n * log_term
        n0, sum0 = 0, 0.0
        for r in range(len(self._rows) - 1, -1, -1):
            size = 2**r
            for bucket in self._rows[r]:
                n0 += size
                sum0 += bucket[0]
                n1 = n - n0
                if n1 < _SHORTEST:
                    return False
                if n0 < _SHORTEST:
                    continue
                inverse = 1.0 / (n0 - _SHORTEST + 1) + 1.0 / (n1 - _SHORTEST + 1)
                bound = math.sqrt(inverse * twice_variance) + 2.0 / 3.0 * inverse * log_term
                if abs(sum0 / n0 - (self._total - sum0) / n1) > bound:
                    return True
        return False

    def _drop_oldest(self) -> None:
        size = 2 ** (len(self._rows) - 1)
        total, spread = self._rows[-1].pop(0)
        if not self._rows[-1] and len(self._rows) > 1:
            self._rows.pop()
        rest = self._count - size
        gap = total / size - (self._total - total) / rest
        self._spread = max(0.0, self._spread - spread - gap * gap * size * rest / self._count)
        self._count = rest
        self._total -= total

    def state_dict(self) -> dict[str, Any]:
        """All that must survive a restart, as JSON values."""
        return {
            "seen": self.seen,
            "count": self._count,
            "total": self._total,
            "spread": self._spread,
            "rows": [[list(bucket) for bucket in row] for row in self._rows],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave."""
        self.seen = int(state["seen"])
        self._count = int(state["count"])
        self._total = float(state["total"])
        self._spread = float(state["spread"])
        self._rows = [[[float(v) for v in bucket] for bucket in row] for row in state["rows"]]
