"""Measures of a stream of lessons, from the matrix R[t, i]: quality on concept i after row t.

NaN marks what was not measured or did not exist yet. ``learned[i]`` is the row right after
which concept i counts as learned; by default i itself, the square matrix of the papers. Concepts
known from the start of a matrix with a row before any lesson have ``learned[i] = 0``.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import numpy.typing as npt
from torch import Tensor

from clnf.core.errors import ConfigError, ShapeError
from clnf.core.protocols import Guard
from clnf.core.units import quantity

__all__ = [
    "HardwareTwins",
    "average_accuracy",
    "backward_transfer",
    "dormant_units",
    "effective_rank",
    "forgetting",
    "forward_transfer",
    "guard_bytes",
    "hardware_twins",
    "intransigence",
    "retention",
    "stability_gap",
]

Matrix = npt.ArrayLike


def average_accuracy(quality: Matrix) -> float:
    """ACC = mean_i R[T, i] over the concepts measured in the last row.

    >>> average_accuracy([[0.9, float("nan")], [0.5, 0.7]])
    0.6
    """
    return _mean(_matrix(quality)[-1])


def backward_transfer(quality: Matrix, learned: Sequence[int] | None = None) -> float:
    """BWT = mean over i learned before T of R[T, i] - R[learned_i, i]; negative is forgetting.

    Source: Lopez-Paz & Ranzato 2017, eq. 3.
    """
    matrix, rows = _with_rows(quality, learned)
    return _mean([matrix[-1, i] - matrix[t, i] for i, t in enumerate(rows) if t < len(matrix) - 1])


def forgetting(quality: Matrix, learned: Sequence[int] | None = None) -> float:
    """FGT = mean over i learned before T of max_t R[t, i] - R[T, i], t over all rows; >= 0.

    Source: Chaudhry et al. 2018, eq. 3, with the last row in the maximum.
    """
    matrix, rows = _with_rows(quality, learned)
    drops = [
        np.max(matrix[:, i], where=~np.isnan(matrix[:, i]), initial=-np.inf) - matrix[-1, i]
        for i, t in enumerate(rows)
        if t < len(matrix) - 1
    ]
    return _mean(drops)


def forward_transfer(
    quality: Matrix, baseline: Sequence[float], learned: Sequence[int] | None = None
) -> float:
    """FWT = mean over i with learned_i >= 1 of R[learned_i - 1, i] - b_i.

    Args:
        quality: R, shape [T, N].
        baseline: b_i, quality of a randomly initialised model on concept i, length N. Without
            it a model that knows nothing would seem to transfer.
        learned: row at which each concept was learned, length N.

    Returns:
        The mean over concepts measured before they were learned; NaN where there is none.

    Source: Lopez-Paz & Ranzato 2017, eq. 4.
    """
    matrix, rows = _with_rows(quality, learned)
    if len(baseline) != matrix.shape[1]:
        raise ShapeError(f"{matrix.shape[1]} concepts need as many baselines, got {len(baseline)}")
    return _mean([matrix[t - 1, i] - baseline[i] for i, t in enumerate(rows) if t >= 1])


def intransigence(
    quality: Matrix, reference: Sequence[float], learned: Sequence[int] | None = None
) -> float:
    """INT = mean_i of reference_i - R[learned_i, i]; positive where the learner learns less.

    Args:
        quality: R, shape [T, N].
        reference: quality on concept i of a model that learned all data up to it jointly, [N].
        learned: row at which each concept was learned, length N.

    Source: Chaudhry et al. 2018, section 3.2.
    """
    matrix, rows = _with_rows(quality, learned)
    if len(reference) != matrix.shape[1]:
        raise ShapeError(
            f"{matrix.shape[1]} concepts need as many references, got {len(reference)}"
        )
    return _mean([reference[i] - matrix[t, i] for i, t in enumerate(rows) if t < len(matrix)])


def retention(quality: Matrix, learned: Sequence[int] | None = None) -> float:
    """RET = mean over i learned before T of min(1, R[T, i] / R[learned_i, i]), in [0, 1].

    The share of what was learned that is still there. Unlike backward transfer it is bounded, and
    gains on one concept do not make up for losses on another. Concepts that were never learned
    (R[learned_i, i] = 0) have nothing to keep and are left out; NaN where none is left.

    >>> round(retention([[0.8, float("nan")], [0.6, 0.9]]), 3)
    0.75
    """
    matrix, rows = _with_rows(quality, learned)
    pairs = [(matrix[t, i], matrix[-1, i]) for i, t in enumerate(rows) if t < len(matrix) - 1]
    return _mean([min(1.0, now / was) if now == now else now for was, now in pairs if was > 0])


@final
@dataclass(frozen=True, kw_only=True)
class HardwareTwins:
    """What retention cost; None where nothing was spent.

    Attributes:
        per_joule: RET / E.
        per_write: RET / W.
        per_byte: RET / M.
    """

    per_joule: float | None = quantity("1/J", None)
    per_write: float | None = quantity("1", None)
    per_byte: float | None = quantity("1/B", None)


def hardware_twins(
    kept: float, *, energy_j: float, writes: int, memory_bytes: int
) -> HardwareTwins:
    """Retention over what it took: the twins that RET has on hardware.

        per joule = RET / E,  per write = RET / W,  per byte = RET / M

    Of two learners that keep as much, the one with the larger figures is the better one; of two
    that spent as much, likewise. A learner that keeps little for next to nothing can lead in any
    one of them, so they stand beside RET and do not replace it.

    Args:
        kept: RET, see :func:`retention`, >= 0.
        energy_j: E, joules of all lessons: teaching, measuring, roll-backs, calibration.
        writes: W, pulses on cells in the same time, those of roll-backs and moves too.
        memory_bytes: M, bytes that guards hold at the end, see :func:`guard_bytes`.

    Raises:
        ConfigError: a cost is below 0 or not a number.

    >>> hardware_twins(0.9, energy_j=3.0, writes=1000, memory_bytes=0)
    HardwareTwins(per_joule=0.3, per_write=0.0009, per_byte=None)
    """
    costs = (energy_j, writes, memory_bytes)
    if not all(cost >= 0 for cost in costs):
        raise ConfigError(f"joules, writes and bytes are at least 0, got {costs}")
    shares = [kept / cost if cost else None for cost in costs]
    return HardwareTwins(per_joule=shares[0], per_write=shares[1], per_byte=shares[2])


def guard_bytes(guards: Iterable[Guard]) -> dict[str, int]:
    """Bytes of the tensors that guards keep between lessons, by kind of guard.

    Remembered samples, importance, anchors and masks count; numbers beside them do not.
    """
    found: dict[str, int] = {}
    for guard in guards:
        held = [value for value in guard.state_dict().values() if isinstance(value, Tensor)]
        size = sum(value.numel() * value.element_size() for value in held)
        if size:
            name = type(guard).__name__
            found[name] = found.get(name, 0) + size
    return found


def stability_gap(before: float, during: Sequence[float]) -> float:
    """How far quality on what was known fell inside a lesson: before - min(during); >= 0.

    Measured at the ends of lessons only, it does not exist.

    >>> round(stability_gap(0.9, [0.88, 0.6, 0.85]), 3)
    0.3

    Source: De Lange et al. 2023 (the minimum of their continual evaluation).
    """
    if not during:
        raise ShapeError("a stability gap needs at least one measure inside the lesson")
    return max(0.0, before - min(during))


def dormant_units(activations: Matrix, threshold: float = 0.025) -> float:
    """Part of a layer's units whose mean |h|, by the layer's mean of it, is at most ``threshold``.

    Args:
        activations: h, [samples, units].
        threshold: tau, >= 0.

    Returns:
        A part in [0, 1]; 1 where no unit answers at all.

    Source: Sokar et al. 2023, definition 3.1.
    """
    size = np.abs(_matrix(activations)).mean(0)
    if not size.mean():
        return 1.0
    return float((size / size.mean() <= threshold).mean())


def effective_rank(features: Matrix) -> float:
    """Exponential of the entropy of the singular values by their sum.

    The number of directions that features really use.

    Args:
        features: [samples, units].

    Returns:
        Between 1 and min(samples, units); 0 for features that are all zero.

    >>> round(effective_rank(np.eye(3)), 6)
    3.0

    Source: Roy & Vetterli 2007.
    """
    values = np.linalg.svd(_matrix(features), compute_uv=False)
    if not values.sum():
        return 0.0
    share = values[values > 0] / values.sum()
    return float(np.exp(-(share * np.log(share)).sum()))


def _matrix(quality: Matrix) -> npt.NDArray[np.float64]:
    matrix = np.asarray(quality, dtype=np.float64)
    if matrix.ndim != 2 or matrix.size == 0:
        raise ShapeError(f"quality is a matrix [rows, concepts], got shape {matrix.shape}")
    return matrix


def _with_rows(
    quality: Matrix, learned: Sequence[int] | None
) -> tuple[npt.NDArray[np.float64], Sequence[int]]:
    matrix = _matrix(quality)
    rows = range(matrix.shape[1]) if learned is None else learned
    if len(rows) != matrix.shape[1]:
        raise ShapeError(f"{matrix.shape[1]} concepts need as many rows learned, got {len(rows)}")
    if any(t < 0 for t in rows):
        raise ShapeError("a concept's row is counted from 0")
    return matrix, rows


def _mean(values: "Sequence[float] | npt.NDArray[np.float64]") -> float:
    array = np.asarray(values, dtype=np.float64)
    measured = array[~np.isnan(array)]
    return float(measured.mean()) if len(measured) else float("nan")
