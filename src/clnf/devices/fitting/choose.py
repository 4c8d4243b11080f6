"""Which law: mean log likelihood of readings a fit has not seen, the simpler within one error."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import final

import numpy as np
from numpy.typing import NDArray

from clnf.core.rng import numpy_rng
from clnf.core.units import quantity
from clnf.devices.fitting.estimate import Estimate, marginals, maximise, predicted
from clnf.devices.fitting.laws import LAWS, Law
from clnf.devices.fitting.problem import Problem
from clnf.devices.fitting.traces import Traces

__all__ = ["Score", "held_out", "prefer"]

Array = NDArray[np.float64]
FOLDS = 5
_MOST = 20_000  # pulses the choice looks at
_FEWEST = 12  # devices it looks at in any case


@final
@dataclass(frozen=True, kw_only=True)
class Score:
    """How well one law foretells readings it has not seen.

    Attributes:
        law: name of the law.
        mean: log likelihood by reading (density of the scaled conductance).
        behind: how far it is behind the best law, by reading.
        error: standard error of ``behind`` over held-out devices or blocks.
        chosen: whether it was preferred.
    """

    law: str
    mean: float = quantity("1")
    behind: float = quantity("1")
    error: float = quantity("1")
    chosen: bool = False


def held_out(
    problem: Problem, seed: int, tell: Callable[[str, int, int], None]
) -> tuple[dict[str, Array], Array, dict[str, Estimate]]:
    """Log likelihood of held-out parts under each law.

    Parts are devices, five folds; with fewer than five devices, five blocks of each trace.

    Args:
        problem: the traces.
        seed: settles the folds.
        tell: called with a label, steps done and steps in all.

    Returns:
        Log likelihood by law and part, readings by part, estimates from all parts looked at.
    """
    small = _few(problem, seed)
    by_device = len(small.traces.ends) >= FOLDS
    scores, estimates, done = {}, {}, 0
    total = len(LAWS) * (FOLDS + 1)
    count = np.ones(1)
    for law in LAWS:
        tell("choose a law", done, total)
        whole = estimates[law.name] = maximise(small, law)
        parts = []
        for fold in range(FOLDS):
            done += 1
            tell("choose a law", done, total)
            way = _device_fold if by_device else _block_fold
            parts.append(way(small, whole, fold, seed))
        done += 1
        scores[law.name] = np.concatenate([part[0] for part in parts])
        count = np.concatenate([part[1] for part in parts])
    tell("choose a law", total, total)
    return scores, count, estimates


def _few(problem: Problem, seed: int) -> Problem:
    """As many devices as the choice can look at, but no fewer than a dozen."""
    n = len(problem.traces.ends)
    fits = int(_MOST * n / max(len(problem.y), 1))
    if n <= max(fits, _FEWEST):
        return problem
    chosen = numpy_rng(seed, "devices looked at").permutation(n)[: max(fits, _FEWEST)]
    return problem.part(problem.traces.only(sorted(chosen.tolist())))


def _device_fold(problem: Problem, whole: Estimate, fold: int, seed: int) -> tuple[Array, Array]:
    n = len(problem.traces.ends)
    order = numpy_rng(seed, "folds").permutation(n)
    test = sorted(order[fold::FOLDS].tolist())
    train = sorted(set(range(n)) - set(test))
    learned = problem.part(problem.traces.only(train))
    estimate = maximise(learned, whole.law, start=whole, own=whole.own[train])
    unseen = problem.part(problem.traces.only(test))
    logs, _ = marginals(unseen, estimate)
    return logs, _readings(unseen.traces)


def _block_fold(problem: Problem, whole: Estimate, fold: int, _: int) -> tuple[Array, Array]:
    """Learn from four of five blocks of each trace, foretell the fifth with the same devices."""
    inside = np.zeros(len(problem.y), dtype=bool)
    for _name, part in problem.traces.parts():
        edges = np.linspace(part.start, part.stop, FOLDS + 1).astype(int)
        inside[edges[fold] : edges[fold + 1]] = True
    learned = problem.part(_hidden(problem.traces, inside))
    estimate = maximise(learned, whole.law, start=whole, own=whole.own)
    unseen = problem.part(_hidden(problem.traces, ~inside))
    return predicted(unseen, estimate), _readings(unseen.traces)


def _hidden(traces: Traces, away: NDArray[np.bool_]) -> Traces:
    """Traces without some rows' readings, beginning anew behind them."""
    begins = away | np.concatenate([[True], away[:-1]])
    return replace(
        traces,
        pulses=np.where(begins, 0, traces.pulses).astype(np.int8),
        conductance_s=np.where(away, np.nan, traces.conductance_s),
    )


def _readings(traces: Traces) -> Array:
    return np.array([float(traces.read[part].sum()) for _, part in traces.parts()])


def prefer(scores: dict[str, Array], count: Array) -> tuple[str, tuple[Score, ...]]:
    """The simplest law within one standard error of the best, and all scores, best first.

    Args:
        scores: log likelihood by law and held-out part.
        count: readings by part.
    """
    laws: dict[str, Law] = {law.name: law for law in LAWS}
    best = max(scores, key=lambda name: float(scores[name].sum()))
    total, rows = float(count.sum()), []
    for name, logs in scores.items():
        behind = scores[best] - logs
        error = float(np.std(behind, ddof=1)) * np.sqrt(len(behind)) if len(behind) > 1 else 0.0
        rows.append(
            Score(
                law=name,
                mean=float(logs.sum()) / total,
                behind=float(behind.sum()) / total,
                error=error / total,
            )
        )
    near = [row for row in rows if row.behind <= row.error or row.law == best]
    chosen = min(near, key=lambda row: (laws[row.law].shapes, row.behind)).law
    rows.sort(key=lambda row: row.behind)
    return chosen, tuple(replace(row, chosen=row.law == chosen) for row in rows)
