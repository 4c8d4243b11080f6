"""Where the search for a law's numbers starts: window, bounds and steps read off the trains."""

import numpy as np
from numpy.typing import NDArray

from clnf.devices.fitting.laws import Law
from clnf.devices.fitting.problem import Problem

__all__ = ["beginning"]

Array = NDArray[np.float64]


def beginning(problem: Problem, law: Law, turn: int = 0) -> tuple[Array, Array, Array]:
    """Shared numbers [11], devices' own numbers [N, 3] and their variances [3] to start from.

    Args:
        problem: the traces.
        law: the law.
        turn: which of the law's starts.
    """
    n = len(problem.traces.ends)
    rate = _rates(problem)
    jitter = float(np.nanmedian(np.abs(np.diff(problem.y[np.isfinite(problem.y)])))) / 0.95
    shape, bend = law.shape[turn], law.bend[turn]
    read = 1e-4 if problem.read is None else problem.read**2
    noise = max(jitter**2 / 2, 1e-4)
    shared = np.array(
        [0.0, 1.0, np.log(rate[0]), np.log(rate[1]), shape, shape, bend, bend, 0.3, noise, read]
    )
    own = np.tile([0.0, 1.0, -1.0], (n, 1))
    if n == 1:
        return shared, own, np.array([1e-10, 1e-7, 1e-7])
    for i, (_, part) in enumerate(problem.traces.parts()):
        if np.isfinite(problem.y[part]).any():
            low, high = np.nanquantile(problem.y[part], (0.05, 0.95))
            own[i, 1:] = max(high, 0.1), min(low, -0.1)
    return shared, own, np.array([0.3, 0.2, 0.2])


def _rates(problem: Problem) -> tuple[float, float]:
    """Mean change of y per pulse over the first half of the trains up and down."""
    moved, count = {1: 0.0, -1: 0.0}, {1: 0, -1: 0}
    t = problem.traces
    for _, part in t.parts():
        y, way = problem.y[part], t.pulses[part]
        turns = np.flatnonzero(np.diff(way) != 0) + 1
        for a, b in zip([0, *turns], [*turns, len(way)], strict=True):
            at = np.flatnonzero(np.isfinite(y[a : a + max((b - a) // 2, 2)])) + a
            if len(at) > 1 and way[at[-1]] != 0:
                sign = int(way[at[-1]])
                moved[sign] += float(np.clip(sign * (y[at[-1]] - y[at[0]]), -2.0, 2.0))
                count[sign] += int(at[-1] - at[0])
    up, down = (max(moved[s] / max(count[s], 1), 1e-5) for s in (1, -1))
    return up, down
