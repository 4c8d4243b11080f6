"""Whether a device knows only some levels of conductance, and which.

Levels are found by the best division of the sorted conductances into k groups (dynamic
programming), k by Bayes' information criterion, groups having one spread. Readings without levels
give groups about 3.5 spreads apart (a uniform piece); only groups ``_APART`` spreads apart count,
and they must foretell readings they were not found from better than the step law alone does.
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from clnf.core.rng import numpy_rng
from clnf.core.units import quantity

__all__ = ["Levels", "find_levels", "group", "likelihood_gain"]

Array = NDArray[np.float64]
_APART, _MOST, _READINGS = 5.0, 40, 1200
_CROWD = 15  # readings by level, on average, without which gaps mean nothing
_RARE = 0.004  # share of readings a level has at least


@final
@dataclass(frozen=True, kw_only=True)
class Levels:
    """Levels a device's conductance snaps to.

    Attributes:
        conductance_s: the levels, rising.
        spread: relative scatter of readings about a level.
        fewest: fewest levels the data leave open (criterion within 6 of the best).
        most: most levels.
        gain: log likelihood by reading over the step law without levels, on unseen readings.
    """

    conductance_s: tuple[float, ...] = quantity("S")
    spread: float = quantity("1")
    fewest: int = quantity("1")
    most: int = quantity("1")
    gain: float = quantity("1", 0.0)


def group(values: Array, most: int = _MOST) -> tuple[Array, Array]:
    """Best division of sorted values into 1 to ``most`` groups.

    Args:
        values: sorted, [n].
        most: largest number of groups.

    Returns:
        Sum of squares within groups by number of groups [most], and where the last group of the
        best division of the first j values begins [most, n + 1].
    """
    n = len(values)
    one = np.concatenate([[0.0], np.cumsum(values - values.mean())])
    two = np.concatenate([[0.0], np.cumsum((values - values.mean()) ** 2)])
    i, j = np.arange(n + 1)[:, None], np.arange(n + 1)[None, :]
    size = np.maximum(j - i, 1)
    within = (two[None, :] - two[:, None]) - (one[None, :] - one[:, None]) ** 2 / size
    within = np.where(j > i, np.maximum(within, 0.0), np.inf)
    best, total, begins = within[0].copy(), [within[0, n]], [np.zeros(n + 1, dtype=np.intp)]
    for _ in range(1, most):
        table = best[:, None] + within
        first = np.argmin(table, axis=0)
        best = np.take_along_axis(table, first[None], axis=0)[0]
        begins.append(first)
        total.append(best[n])
    return np.array(total), np.array(begins)


def _edges(begins: Array, k: int, n: int) -> list[int]:
    edges = [n]
    for row in range(k - 1, -1, -1):
        edges.append(int(begins[row, edges[-1]]))
    return edges[::-1]


def find_levels(conductance_s: Array, seed: int) -> Levels | None:
    """Levels of readings, None where they have none.

    Args:
        conductance_s: readings; a few outliers do no harm.
        seed: settles which are looked at where there are many.
    """
    values = np.sort(conductance_s)
    if len(values) > _READINGS:
        values = np.sort(numpy_rng(seed, "readings looked at").choice(values, _READINGS, False))
    values = np.log(np.maximum(values, 1e-3 * values[-1]))
    n, most = len(values), min(_MOST, len(values) // _CROWD)
    if most < 2:
        return None
    within, begins = group(values, most)
    score = np.full(most, np.inf)
    floor = 1e-8 * n  # readings printed with four digits or fewer have no spread of their own
    for k in range(2, most + 1):
        counts = np.diff(_edges(begins, k, n))
        entropy = float((counts * np.log(np.maximum(counts, 1) / n)).sum())
        spread = max(within[k - 1], floor) / n
        score[k - 1] = n * math.log(spread) - 2 * entropy + 2 * k * math.log(n)
    k = int(np.argmin(score)) + 1
    edges = _edges(begins, k, n)
    counts = np.diff(edges)
    centres = np.array([np.median(values[a:b]) for a, b in pairwise(edges)])
    away = np.concatenate(
        [np.abs(values[a:b] - c) for (a, b), c in zip(pairwise(edges), centres, strict=True)]
    )
    spread = max(1.4826 * float(np.median(away)), math.sqrt(floor / n))
    centres = centres[counts >= _RARE * n]
    if len(centres) < 2 or np.quantile(np.diff(centres), 0.25) < _APART * spread:
        return None
    centres = _merged(centres, _APART * spread)
    distance = np.abs(values[:, None] - centres[None, :]).min(axis=1)
    spread = max(1.4826 * float(np.median(distance)), math.sqrt(floor / n))
    near = np.flatnonzero(score < score[k - 1] + 6) + 1 - (k - len(centres))
    return Levels(
        conductance_s=tuple(np.exp(centres).tolist()),
        spread=spread,
        fewest=int(near.min()),
        most=int(near.max()),
    )


def _merged(centres: Array, apart: float) -> Array:
    """Centres with those that are closer than ``apart`` put together: one level, split."""
    while len(centres) > 2 and np.diff(centres).min() < apart:
        at = int(np.argmin(np.diff(centres)))
        middle = (centres[at] + centres[at + 1]) / 2
        centres = np.concatenate([centres[:at], [middle], centres[at + 2 :]])
    return centres


def likelihood_gain(levels: Levels, reading: Array, mean: Array, deviation: Array) -> Array:
    """Log likelihood of readings with levels minus that without [T], in siemens.

    Without levels a reading is normal about its prediction. With them the prediction says how
    likely each level is (the part of the normal nearest to it), and the reading scatters about it.

    Args:
        levels: the levels.
        reading: conductances [T].
        mean: predicted conductance [T].
        deviation: of the prediction [T].
    """
    g = np.array(levels.conductance_s)
    inner = (g[1:] + g[:-1]) / 2
    edges = np.concatenate([[-np.inf], inner, [np.inf]])
    reach = norm.cdf((edges[None, :] - mean[:, None]) / deviation[:, None])
    share = np.maximum(np.diff(reach, axis=1), 1e-12)
    width = np.maximum(levels.spread, 1e-4) * g
    density = norm.pdf(reading[:, None], g[None, :], width[None, :])
    # One reading in 500 is taken to lie anywhere, as in the filter.
    anywhere = 0.002 / (3 * (g[-1] - g[0]))
    with_levels = np.log((share * density).sum(axis=1) + anywhere)
    return np.asarray(with_levels - np.log(norm.pdf(reading, mean, deviation) + anywhere))
