"""Measures of a stream for a generator: the matrices R[t, i] are class match and KID.

Match is better where it is high, KID where it is low; both are forgotten alike. Likelihoods are not
here: they say little about what a diffusion model still draws (Zajac et al. 2023, 2303.15342).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import numpy.typing as npt

from clnf.continual.metrics import average_accuracy, backward_transfer, forgetting
from clnf.core.errors import DataError
from clnf.core.units import quantity

__all__ = ["GeneratorScores", "first_rows", "generator_scores", "measure_matrix"]

Rows = Sequence[Mapping[str, Any]]


@final
@dataclass(frozen=True, kw_only=True)
class GeneratorScores:
    """What a generator kept; NaN where nothing was measured.

    Attributes:
        match: mean class match in the last row, 0 to 1.
        match_transfer: backward transfer of the match; negative is forgetting.
        match_forgetting: mean fall of the match below its highest.
        kid: mean KID in the last row.
        kid_error: standard error of that mean, from the errors of its parts.
        kid_transfer: backward transfer of the KID, as a rise; positive is forgetting.
        kid_forgetting: mean rise of the KID above its lowest.
    """

    match: float = quantity("1")
    match_transfer: float = quantity("1")
    match_forgetting: float = quantity("1")
    kid: float = quantity("1")
    kid_error: float = quantity("1")
    kid_transfer: float = quantity("1")
    kid_forgetting: float = quantity("1")


def measure_matrix(rows: Rows, measure: str, concepts: Sequence[str]) -> npt.NDArray[np.float64]:
    """R[t, i] of one measure, NaN where a concept was not measured.

    Args:
        rows: each with a dict by concept under the measure's name, as an arm's journal has them.
        measure: its name.
        concepts: of the columns.

    Returns:
        Shape [rows, concepts].

    Raises:
        DataError: there are no rows or no concepts.

    >>> measure_matrix([{"match": {"faces": 1.0}}], "match", ["faces", "hands"]).tolist()
    [[1.0, nan]]
    """
    if not rows or not concepts:
        raise DataError(
            f"a matrix needs rows and concepts, got {len(rows)} rows and {len(concepts)} concepts"
        )
    found = [[row.get(measure, {}).get(name) for name in concepts] for row in rows]
    # A value that was not finite is None in a journal.
    return np.array([[np.nan if v is None else v for v in line] for line in found], dtype=float)


def first_rows(matrix: npt.NDArray[np.float64]) -> list[int]:
    """The row in which each concept was measured first: what is known from the start has 0.

    A concept that never was has the last row, so that no measure counts it as forgotten.
    """
    seen = ~np.isnan(matrix)
    last = len(matrix) - 1
    return [int(np.argmax(column)) if column.any() else last for column in seen.T]


def generator_scores(rows: Rows, concepts: Sequence[str]) -> GeneratorScores:
    """Match and KID of a whole stream.

    Args:
        rows: with "match", "kid" and, where known, "kid_error" by concept, the first before any
            lesson or after the first one. Rows of lessons that were rolled back do not belong.
        concepts: that count.

    Raises:
        DataError: there are no rows or no concepts.
    """
    match, kid, error = (measure_matrix(rows, m, concepts) for m in ("match", "kid", "kid_error"))
    known, near = first_rows(match), first_rows(kid)
    last = error[-1][~np.isnan(error[-1])]
    return GeneratorScores(
        match=average_accuracy(match),
        match_transfer=backward_transfer(match, known),
        match_forgetting=forgetting(match, known),
        kid=average_accuracy(kid),
        kid_error=float(np.sqrt((last**2).sum()) / len(last)) if len(last) else float("nan"),
        kid_transfer=-backward_transfer(-kid, near),
        kid_forgetting=forgetting(-kid, near),
    )
