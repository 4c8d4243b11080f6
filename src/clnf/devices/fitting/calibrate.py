"""What the likelihood gets wrong, learned from devices made after the estimate itself.

The filter carries two moments of a weight whose steps are no longer normal, and each device's own
numbers stand at their likeliest values. At the true numbers the expected gradient is therefore
not zero and its variance is not the information: squared spreads come out up to a sixth off, and
their intervals miss. So devices are simulated from the estimate, with its pulses and its gaps,
and their gradients at the numbers that made them are taken. Their mean moves the estimate (one
Newton step), their variance gives its error (the sandwich H^-1 J H^-1).
"""

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from clnf.core.rng import numpy_rng
from clnf.devices.fitting.estimate import Estimate, gradients
from clnf.devices.fitting.kernels import CUT
from clnf.devices.fitting.problem import Problem
from clnf.devices.fitting.solving import inverted
from clnf.devices.fitting.steps import SIZE, Work, step_of

__all__ = ["calibrated", "imitated"]

Array = NDArray[np.float64]
_ROUNDS = 8  # populations simulated: their mean is known to a third of the estimate's own error
_CYCLE = 8  # place of the squared cycle spread among the shared numbers


class _Draws(NamedTuple):
    """Where each device starts [N] and normal numbers of steps and write noise [T]."""

    start: Any
    step: Any
    write: Any


@njit(cache=True, nogil=True, error_model="numpy")
def _walk(law: int, pars: Any, pulses: Any, ends: Any, draws: _Draws) -> Any:
    """Visible weights [T] of devices with parameters [N, 14] in the order of ``NAMES``."""
    table = np.zeros((7, SIZE))
    work = Work(table[0], table[1], table[2], table[3], table[4], table[5], table[6])
    seen = np.zeros(len(pulses))
    begin = 0
    for i in range(len(ends)):
        par = pars[i]
        cycle, write = np.sqrt(par[11]), np.sqrt(par[12])
        w = draws.start[begin]
        for t in range(begin, ends[i]):
            if pulses[t] == 0 or t == begin:
                w = draws.start[t]
            else:
                f, _, _ = step_of(law, w, pulses[t] > 0, par, work)
                w += pulses[t] * f * (1.0 + cycle * draws.step[t])
            w = min(max(w, par[2]), par[1])
            seen[t] = w + write * draws.write[t]
        begin = ends[i]
    return seen


def imitated(problem: Problem, estimate: Estimate, seed: int) -> tuple[Problem, Array]:
    """Traces of devices like the estimate's, and their own numbers [N, 3].

    A device keeps its numbers as far as they are known and is drawn anew within that; it starts
    each trace where the measured one did and is read where that was read and no outlier.
    """
    rng, t, shared = numpy_rng(seed, "imitated traces"), problem.traces, estimate.shared
    m, h = shared[:2]
    own = estimate.own + np.sqrt(estimate.own_variance) * rng.standard_normal(estimate.own.shape)
    own[:, 1] = np.maximum(own[:, 1], m + 0.03 * h)
    own[:, 2] = np.minimum(own[:, 2], m - 0.03 * h)
    inner = np.column_stack([own[:, 0], (own[:, 1:] - m) / h])
    pars = np.concatenate([inner, np.broadcast_to(shared, (len(own), len(shared)))], axis=1)
    normal = rng.standard_normal((3, len(problem.y)))
    draws = _Draws(_starts(problem, shared), normal[0], normal[1])
    y = m + h * _walk(estimate.law.kernel, pars, t.pulses, t.ends, draws)
    g = (problem.centre_s + problem.half_s * y) * (1.0 + np.sqrt(shared[10]) * normal[2])
    if problem.levels_s:
        levels = np.array(problem.levels_s)
        g = levels[np.searchsorted((levels[1:] + levels[:-1]) / 2, g)]
    gone = ~np.isfinite(problem.y) | (estimate.seen[2] == CUT)
    g = np.where(gone, np.nan, g)
    return problem.part(replace(t, conductance_s=g)), own


def _starts(problem: Problem, shared: Array) -> Array:
    """The next reading of its device from each pulse on, as a weight [T]."""
    found = np.empty(len(problem.y))
    for _, part in problem.traces.parts():
        y = problem.y[part]
        at = np.flatnonzero(np.isfinite(y))
        if len(at) == 0:
            found[part] = 0.0
            continue
        after = np.minimum(np.searchsorted(at, np.arange(len(y))), len(at) - 1)
        found[part] = (y[at[after]] - shared[0]) / shared[1]
    return found


def calibrated(problem: Problem, estimate: Estimate, seed: int = 0) -> Estimate:
    """The estimate with its cycle spread, and that one's error, as simulated devices say.

    The step starts where the search ended, before the one for the devices' curvature: simulated
    devices show what that one allows for, and the rest too. Other numbers stay as they are.

    Args:
        problem: the traces.
        estimate: what was fitted to them.
        seed: of the simulated devices.
    """
    free = estimate.law.freed(read=problem.read is None)
    pushed = _pushed(problem, estimate, free, seed)
    n = pushed.shape[1]
    variance = n * float(pushed.var(ddof=1)) * (1.0 + 1.0 / _ROUNDS)
    if not (np.isfinite(variance) and variance > 0):
        return estimate
    shared, covariance = estimate.shared.copy(), estimate.covariance.copy()
    shared[_CYCLE] = max(estimate.climbed[_CYCLE] - n * float(pushed.mean()), 0.0)
    # Correlations with other numbers stay those of the likelihood.
    scale = np.ones(len(shared))
    scale[_CYCLE] = np.sqrt(variance / max(covariance[_CYCLE, _CYCLE], 1e-300))
    covariance = covariance * scale[:, None] * scale
    return replace(estimate, shared=shared, covariance=covariance, carriers=_carriers(pushed))


def _carriers(pushed: Array) -> float:
    """Effective number of devices that tell the spread (Satterthwaite): N where all tell alike."""
    each = np.square(pushed - pushed.mean()).mean(axis=0)
    # The square of a mean over few rounds is too large by its own scatter.
    squares = np.square(each).sum() / (1.0 + 2.0 / len(pushed))
    return float(min(each.sum() ** 2 / squares, len(each)))


def _pushed(problem: Problem, estimate: Estimate, free: NDArray[np.intp], seed: int) -> Array:
    """How far each simulated device moves the cycle spread at the true numbers [rounds, N]."""
    scores, info = [], np.zeros((len(free), len(free)))
    for turn in range(_ROUNDS):
        made, own = imitated(problem, estimate, _ROUNDS * seed + turn)
        score, one = gradients(made, replace(estimate, own=own), free)
        scores.append(score)
        info += one / _ROUNDS
    return np.asarray(np.stack(scores) @ inverted(info)[np.searchsorted(free, _CYCLE)])
