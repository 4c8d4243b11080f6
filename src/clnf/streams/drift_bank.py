"""ADWIN over several quantities at once, compiled: the same alarms as ``drift.Adwin``."""

from collections.abc import Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from clnf.core.errors import DataError, ShapeError
from clnf.streams.drift import AdwinParams
from clnf.streams.kernels import adwin_feed

__all__ = ["AdwinBank"]

_ROWS = 48  # buckets of up to 2^47 values: more than any stream has


@final
class AdwinBank:
    """One detector for each named quantity.

    Args:
        names: of the quantities.
        params: sensitivity and cost of all of them; the usual ones where not given.
    """

    def __init__(self, names: Sequence[str], params: AdwinParams | None = None) -> None:
        self.names = tuple(names)
        self.params = params = params or AdwinParams()
        count = len(self.names)
        # Sizes of one detector: seen, width, rows in use, length of each row.
        self._sizes = np.zeros((count, _ROWS + 3), np.int64)
        self._sizes[:, 2] = 1
        self._buckets = np.zeros((count, _ROWS, params.buckets + 1, 2))
        self._totals = np.zeros((count, 2))

    def feed(self, values: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Take numbers in order; where the older part of a window was dropped.

        Args:
            values: float64 [N, quantities], finite and of order one.

        Returns:
            bool [N, quantities].

        Raises:
            ShapeError: another number of quantities.
            DataError: a value is not finite; it would blind the detector for good.
        """
        if values.ndim != 2 or values.shape[1] != len(self.names):
            raise ShapeError(
                f"drift is watched in {len(self.names)} quantities ({', '.join(self.names)}), "
                f"got values of shape {list(values.shape)}"
            )
        if not np.isfinite(values).all():
            raise DataError("drift cannot be watched in values that are NaN or infinite")
        changed = np.zeros(values.shape, bool)
        settings = (
            self.params.delta,
            self.params.clock,
            self.params.buckets,
            self.params.grace,
        )
        for column in range(len(self.names)):
            row = np.zeros(len(values), bool)
            adwin_feed(
                np.ascontiguousarray(values[:, column], np.float64),
                settings,
                self._sizes[column],
                self._buckets[column],
                self._totals[column],
                row,
            )
            changed[:, column] = row
        return changed

    def means(self) -> dict[str, float]:
        """Mean over each window; 0 where it is empty."""
        widths = np.maximum(self._sizes[:, 1], 1)
        return dict(zip(self.names, (self._totals[:, 0] / widths).tolist(), strict=True))

    def copy(self) -> "AdwinBank":
        """Detectors in the same state that go their own way from here."""
        other = AdwinBank(self.names, self.params)
        other._sizes, other._buckets = self._sizes.copy(), self._buckets.copy()
        other._totals = self._totals.copy()
        return other

    def state_dict(self) -> dict[str, Any]:
        """By quantity, what ``Adwin.state_dict`` gives."""
        return {name: self._state(number) for number, name in enumerate(self.names)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave."""
        for number, name in enumerate(self.names):
            one = state[name]
            sizes, buckets = self._sizes[number], self._buckets[number]
            sizes[:3] = one["seen"], one["count"], len(one["rows"])
            self._totals[number] = one["total"], one["spread"]
            for r, row in enumerate(one["rows"]):
                sizes[3 + r] = len(row)
                buckets[r, : len(row)] = np.array(row, float).reshape(-1, 2)

    def _state(self, number: int) -> dict[str, Any]:
        sizes, buckets = self._sizes[number], self._buckets[number]
        rows = [buckets[r, : sizes[3 + r]].tolist() for r in range(int(sizes[2]))]
        total, spread = self._totals[number].tolist()
        seen, count = sizes[:2].tolist()
        return {"seen": seen, "count": count, "total": total, "spread": spread, "rows": rows}
