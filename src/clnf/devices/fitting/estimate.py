"""Maximum likelihood of one law over a population of devices.

Each device has a log gain and two bounds of its own, normal over the population; the other
numbers are shared. The marginal likelihood is Laplace's: Fisher scoring moves the shared numbers
and all devices at once (the devices' blocks are eliminated), the spreads follow by
expectation-maximisation with the restricted correction, and at the end one step allows for the
curvature of the devices' blocks, without which noises come out too small on short traces.
"""

import math
from dataclasses import dataclass, replace
from typing import NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from clnf.core.units import quantity
from clnf.devices.fitting.kernels import Found, Trains, filter_traces
from clnf.devices.fitting.laws import Law
from clnf.devices.fitting.problem import Problem
from clnf.devices.fitting.solving import inverted, solved
from clnf.devices.fitting.start import beginning
from clnf.devices.fitting.steps import LINEAR, NAMES

__all__ = ["Estimate", "gradients", "marginals", "maximise", "predicted"]

Array = NDArray[np.float64]
_OWN = 3  # numbers each device has for itself
_SHARED = len(NAMES) - _OWN
# How the population's means of log gain and bounds follow centre and half width.
_FOLLOW = np.array([[0.0, 0.0], [1.0, 1.0], [1.0, -1.0]])
_LOW = np.array([-9.0, 0.05, -14.0, -14.0, -4.0, -4.0, -6.0, -6.0, 0.0, 0.0, 0.0])
_HIGH = np.array([9.0, 20.0, 2.0, 2.0, 4.0, 4.0, 1.5, 1.5, 1e4, 4.0, 1.0])
_SLOPE_LOW, _SLOPE_HIGH = _LOW.copy(), _HIGH.copy()
_SLOPE_LOW[4:6], _SLOPE_HIGH[4:6] = 0.0, 1.0
_OWN_LOW, _OWN_HIGH = np.array([-6.0, 0.03, -9.0]), np.array([6.0, 9.0, -0.03])  # of gain, w, w
_GAIN = np.array([1.0, 0.0, 0.0])
_ROOMY = -60.0  # an outlier's log likelihood while the search is still far away


class _Pass(NamedTuple):
    logs: Array
    grads: Array
    infos: Array
    seen: Array


class _Point(NamedTuple):
    shared: Array
    own: Array
    spread: Array  # variances of the devices' own numbers [3]


@final
@dataclass(frozen=True, kw_only=True)
class Estimate:
    """The likeliest numbers of one law.

    Attributes:
        law: the law.
        shared: the numbers all devices share, ``steps.NAMES[3:]`` [11].
        own: log gain and bounds of each device, the bounds in units of y [N, 3].
        spread: variance of each over the population [3].
        climbed: the shared numbers before the last step, where the search ended [11].
        covariance: of the shared numbers [11, 11], zero where one is not free.
        own_variance: of each device's own numbers, given the population [N, 3].
        marginal: log marginal likelihood of each device [N].
        seen: predictions of the filter [3, T].
        converged: whether the search ended by itself.
        carriers: effective number of devices that tell the cycle spread, where it is known.
    """

    law: Law
    shared: Array
    own: Array
    spread: Array
    climbed: Array
    covariance: Array
    own_variance: Array
    marginal: Array
    seen: Array
    converged: bool
    carriers: float = quantity("1", math.inf)


def _run(problem: Problem, law: Law, point: _Point, floor: float) -> _Pass:
    """One pass of the filter; gradients and information by the point's own coordinates.

    A device's bounds are kept in units of y, not of w: their population then has the mean of the
    window whatever its spread, which bounds in units of a window yet unknown have not.
    """
    t, n, (m, h) = problem.traces, len(problem.traces.ends), point.shared[:2]
    own = np.column_stack([point.own[:, 0], (point.own[:, 1:] - m) / h])
    par = np.concatenate([own, np.broadcast_to(point.shared, (n, _SHARED))], axis=1)
    trains = Trains(
        t.pulses, problem.y, problem.low, problem.high, t.ends,
        problem.centre_s / problem.half_s, floor,
    )  # fmt: skip
    size = len(NAMES)
    found = Found(np.zeros((3, len(problem.y))), np.zeros((n, size)), np.zeros((n, size, size)))
    logs = filter_traces(law.kernel, par, trains, found)
    turn = np.tile(np.eye(len(NAMES)), (n, 1, 1))  # d(kernel's parameters) / d(the point's)
    turn[:, 1, 1] = turn[:, 2, 2] = 1.0 / h
    turn[:, 1:3, 3] = -1.0 / h
    turn[:, 1:3, 4] = -own[:, 1:] / h
    grads = np.einsum("nkp,nk->np", turn, found.grads)
    infos = turn.transpose(0, 2, 1) @ found.infos @ turn
    return _Pass(logs, grads, infos, found.seen)


def _middle(shared: Array) -> Array:
    """Mean of the devices' own numbers over the population [3]."""
    return np.asarray(_FOLLOW @ shared[:2])


def _penalty(point: _Point) -> Array:
    away = point.own - _middle(point.shared)
    return np.asarray(0.5 * (away**2 / point.spread).sum(axis=1))


def _blocks(done: _Pass, point: _Point) -> Array:
    """Information on each device's own numbers, with the population's [N, 3, 3]."""
    return np.asarray(done.infos[:, :_OWN, :_OWN] + np.diag(1.0 / point.spread))


class _System(NamedTuple):
    """Newton's equations with the devices' blocks eliminated."""

    block_inverse: Array  # [N, 3, 3]
    cross: Array  # [N, 3, F]
    schur: Array  # [F, F]
    pull: Array  # [F]
    own_pull: Array  # [N, 3]


def _system(done: _Pass, point: _Point, free: NDArray[np.intp]) -> _System:
    n, places = len(point.own), free + _OWN
    away = (point.own - _middle(point.shared)) / point.spread
    follow = np.zeros((_OWN, _SHARED))
    follow[:, :2] = _FOLLOW
    weighed = follow / point.spread[:, None]
    inverse = np.linalg.inv(_blocks(done, point) * (1.0 + 1e-9 * np.eye(_OWN))).astype(np.float64)
    own_pull = done.grads[:, :_OWN] - away
    cross = done.infos[:, :_OWN, :][:, :, places] - weighed[:, free]
    whole = done.infos[:, places][:, :, places].sum(axis=0)
    whole = whole + n * (follow.T @ weighed)[np.ix_(free, free)]
    tilt = np.einsum("nij,njf->nif", inverse, cross)
    schur = whole - np.einsum("nif,nig->fg", cross, tilt)
    direct = done.grads[:, places].sum(axis=0) + (away.sum(axis=0) @ follow)[free]
    pull = direct - np.einsum("nif,ni->f", tilt, own_pull)
    return _System(inverse, cross, np.asarray((schur + schur.T) / 2), pull, own_pull)


def _limits(law: Law) -> tuple[Array, Array]:
    return (_SLOPE_LOW, _SLOPE_HIGH) if law.kernel == LINEAR else (_LOW, _HIGH)


def _moved(
    law: Law, point: _Point, system: _System, free: NDArray[np.intp], damping: float = 0.0
) -> _Point:
    """The point after one step; numbers at a limit that push outward stay.

    Damping acts on the shared numbers' equations after the devices' are eliminated, and on each
    device's own pull, never on how the devices follow the shared numbers: window and bounds move
    together along a narrow valley.
    """
    low, high = _limits(law)
    here = point.shared[free]
    held = (here <= low[free]) & (system.pull < 0) | (here >= high[free]) & (system.pull > 0)
    step = np.zeros(len(free))
    loose = ~held
    matrix = system.schur[np.ix_(loose, loose)]
    step[loose] = solved(matrix + np.diag(damping * np.diag(matrix)), system.pull[loose])
    step = np.where(free < 8, np.clip(step, -1.0, 1.0), step)
    shared = point.shared.copy()
    shared[free] = np.clip(here + step, low[free], high[free])
    # A noise variance may fall tenfold at once, not to nothing.
    noise = slice(8, _SHARED)
    shared[noise] = np.maximum(shared[noise], 0.1 * point.shared[noise] - 1e-9)
    shared[noise] = np.maximum(shared[noise], 0.0)
    step = shared[free] - here
    pull = system.own_pull / (1.0 + damping) - np.einsum("nif,f->ni", system.cross, step)
    own = point.own + np.clip(np.einsum("nij,nj->ni", system.block_inverse, pull), -0.7, 0.7)
    return _Point(shared, _bounded(own, shared), point.spread)


def _bounded(own: Array, shared: Array) -> Array:
    """Gains that are finite, and bounds on both sides of w = 0."""
    scale = np.array([1.0, shared[1], shared[1]])
    shift = np.array([0.0, shared[0], shared[0]])
    return np.asarray(np.clip(own, shift + scale * _OWN_LOW, shift + scale * _OWN_HIGH))


def _full_variance(system: _System) -> Array:
    """Variance of each device's own numbers, the shared ones being uncertain too [N, 3]."""
    inverse = inverted(system.schur)
    tilt = np.einsum("nij,njf->nif", system.block_inverse, system.cross)
    extra = np.einsum("nif,fg,nig->ni", tilt, inverse, tilt)
    return np.asarray(np.einsum("nii->ni", system.block_inverse) + np.maximum(extra, 0.0))


def _respread(point: _Point, variance: Array) -> Array:
    """One step of expectation-maximisation for the spreads."""
    if len(point.own) < 2:
        return point.spread
    away = point.own - _middle(point.shared)
    return np.maximum((away**2 + variance).mean(axis=0), 1e-6)


def maximise(
    problem: Problem, law: Law, *, start: Estimate | None = None, own: Array | None = None
) -> Estimate:
    """Fit one law.

    Args:
        problem: the traces.
        law: the law.
        start: an estimate of the same law from similar traces; the search is short then, and
            leaves out the last step for the curvature.
        own: where the devices' own numbers start [N, 3].
    """
    free = law.freed(read=problem.read is None)
    if start is None:
        tries = [
            _search(problem, law, _Point(*beginning(problem, law, turn)), free)
            for turn in range(len(law.shape))
        ]
        point, converged = max(tries, key=lambda t: float((_heights(problem, law, t[0])).sum()))
    else:
        first = beginning(problem, law)[1] if own is None else own
        point = _Point(start.shared, first, start.spread)
        point, converged = _climb(problem, law, point, free, problem.floor)
        return _described(problem, law, point, free, converged)
    last = _described(problem, law, _allow(problem, law, point, free), free, converged)
    return replace(last, climbed=point.shared)


def _search(
    problem: Problem, law: Law, point: _Point, free: NDArray[np.intp]
) -> tuple[_Point, bool]:
    """Climb from afar, let devices look elsewhere, climb again."""
    point, _ = _climb(problem, law, point, free, _ROOMY, 1.0)
    point, converged = _climb(problem, law, point, free, problem.floor)
    if len(point.own) > 1:
        ranges, gain = beginning(problem, law)[1], float(np.sqrt(point.spread[0]))
        moved = _elsewhere(problem, law, point, [ranges + k * gain * _GAIN for k in (-1.5, 0, 1.5)])
        if moved is not point:
            point, converged = _climb(problem, law, moved, free, problem.floor)
    return point, converged


def _elsewhere(problem: Problem, law: Law, point: _Point, places: list[Array]) -> _Point:
    """Let each device search again from other places; devices may hide in a lesser peak."""
    best, here = point, _heights(problem, law, point)
    for own in places:
        trial, _ = _settle(problem, law, point._replace(own=own), 8)
        there = _heights(problem, law, trial)
        better = there > here + 0.5
        if better.any():
            best = best._replace(own=np.where(better[:, None], trial.own, best.own))
            here = np.where(better, there, here)
    return best


def _heights(problem: Problem, law: Law, point: _Point) -> Array:
    return _run(problem, law, point, problem.floor).logs - _penalty(point)


def _climb(
    problem: Problem,
    law: Law,
    point: _Point,
    free: NDArray[np.intp],
    floor: float,
    enough: float = 0.05,
) -> tuple[_Point, bool]:
    """Fisher scoring with Levenberg's damping until nothing rises any more."""
    damping, calm = 1e-2, 0
    done = _run(problem, law, point, floor)
    height = float((done.logs - _penalty(point)).sum())
    for _ in range(60):
        system = _system(done, point, free)
        new = _moved(law, point, system, free, damping)
        trial = _run(problem, law, new, floor)
        heights = trial.logs - _penalty(new)
        if (heights < done.logs - _penalty(point) - 1.0).any():  # some devices went astray
            kept = new._replace(own=point.own)
            still = _run(problem, law, kept, floor).logs - _penalty(kept)
            worse = (still > heights)[:, None]
            new = new._replace(own=np.where(worse, point.own, new.own))
            trial = _run(problem, law, new, floor)
            heights = trial.logs - _penalty(new)
        gained = float(heights.sum()) - height
        if not gained > -1e-6:
            damping = min(max(30 * damping, 1e-3), 1e6)
            calm += damping >= 1e4
            if calm > 1:
                return point, True
            continue
        point, done, damping = new, trial, damping * 0.1
        system = _system(done, point, free)
        spread = _respread(point, _full_variance(system))
        change = float(np.abs(np.log(spread / point.spread)).max())
        point = point._replace(spread=spread)
        height = float((done.logs - _penalty(point)).sum())
        calm = calm + 1 if gained < enough and change < max(enough / 5, 0.02) else 0
        if calm > 1:
            return point, True
    return point, False


def _log_blocks(problem: Problem, law: Law, point: _Point) -> float:
    done = _run(problem, law, point, problem.floor)
    return float(np.linalg.slogdet(_blocks(done, point))[1].sum())


def _allow(problem: Problem, law: Law, point: _Point, free: NDArray[np.intp]) -> _Point:
    """One step for the curvature of the devices' blocks (Laplace's determinant)."""
    done = _run(problem, law, point, problem.floor)
    system = _system(done, point, free)
    tilt = np.einsum("nij,njf->nif", system.block_inverse, system.cross)
    slope = np.zeros(len(free))
    low, high = _limits(law)
    for k, place in enumerate(free):
        size = 0.2 / np.sqrt(max(system.schur[k, k], 1e-12))
        ends = []
        for sign in (1.0, -1.0):
            shared = point.shared.copy()
            shared[place] = np.clip(shared[place] + sign * size, low[place], high[place])
            by = shared[place] - point.shared[place]
            near = point._replace(shared=shared, own=point.own - tilt[:, :, k] * by)
            ends.append((by, _log_blocks(problem, law, near)))
        if ends[0][0] != ends[1][0]:
            slope[k] = -0.5 * (ends[0][1] - ends[1][1]) / (ends[0][0] - ends[1][0])
    before = float((done.logs - _penalty(point)).sum())
    for _ in range(3):  # a step that costs more than the determinant can give is none
        new = _moved(law, point, system._replace(pull=system.pull + slope), free)
        if float(_heights(problem, law, new).sum()) > before - 3.0:
            return new
        slope = slope / 3
    return point


def _described(
    problem: Problem, law: Law, point: _Point, free: NDArray[np.intp], converged: bool
) -> Estimate:
    done = _run(problem, law, point, problem.floor)
    system = _system(done, point, free)
    covariance = np.zeros((_SHARED, _SHARED))
    covariance[np.ix_(free, free)] = inverted(system.schur)
    return Estimate(
        law=law,
        shared=point.shared,
        own=point.own,
        spread=point.spread,
        climbed=point.shared,
        covariance=covariance,
        own_variance=np.einsum("nii->ni", system.block_inverse),
        marginal=_laplace(done, point),
        seen=done.seen,
        converged=converged,
    )


def _laplace(done: _Pass, point: _Point) -> Array:
    width = np.linalg.slogdet(_blocks(done, point))[1] + np.log(point.spread).sum()
    return np.asarray(done.logs - _penalty(point) - 0.5 * width)


def marginals(problem: Problem, estimate: Estimate) -> tuple[Array, Array]:
    """Log marginal likelihood [N] and predictions [3, T] of devices the estimate has not seen."""
    own = beginning(problem, estimate.law)[1]
    point = _Point(estimate.shared, own, estimate.spread)
    point, done = _settle(problem, estimate.law, point)
    other, second = _settle(
        problem, estimate.law, point._replace(own=np.tile(_middle(point.shared), (len(own), 1)))
    )
    first, last = _laplace(done, point), _laplace(second, other)
    better = np.repeat(last > first, np.diff([0, *problem.traces.ends]))
    return np.maximum(first, last), np.where(better, second.seen, done.seen)


def _settle(problem: Problem, law: Law, point: _Point, steps: int = 25) -> tuple[_Point, _Pass]:
    """Move each device to its own peak, the shared numbers staying."""
    nothing = np.array([], dtype=np.intp)
    done = _run(problem, law, point, problem.floor)
    damping = np.full(len(point.own), 1e-2)
    for _ in range(steps):
        system = _system(done, point, nothing)
        reach = np.einsum("nij,nj->ni", system.block_inverse, system.own_pull)
        step = np.clip(reach / (1 + damping[:, None]), -0.7, 0.7)
        new = point._replace(own=_bounded(point.own + step, point.shared))
        trial = _run(problem, law, new, problem.floor)
        better = trial.logs - _penalty(new) >= done.logs - _penalty(point)
        own = np.where(better[:, None], new.own, point.own)
        damping = np.where(better, damping * 0.1, np.maximum(damping, 0.1) * 8)
        point = point._replace(own=own)
        done = trial if better.all() else _run(problem, law, point, problem.floor)
        if np.abs(step).max() < 1e-3:
            break
    return point, done


def gradients(problem: Problem, estimate: Estimate, free: NDArray[np.intp]) -> tuple[Array, Array]:
    """Gradient by the free shared numbers of each device [N, F] and their information [F, F].

    Each device's own numbers move to their peak first, the shared ones staying.
    """
    point = _Point(estimate.shared, estimate.own, estimate.spread)
    point, done = _settle(problem, estimate.law, point, 8)
    system = _system(done, point, free)
    follow = (point.own - _middle(point.shared)) / point.spread @ _FOLLOW
    direct = done.grads[:, free + _OWN]
    direct[:, :2] += follow
    tilt = np.einsum("nij,njf->nif", system.block_inverse, system.cross)
    return direct - np.einsum("nif,ni->nf", tilt, system.own_pull), system.schur


def predicted(problem: Problem, estimate: Estimate) -> Array:
    """Log likelihood [N] of other readings of the very devices an estimate was made from."""
    point = _Point(estimate.shared, estimate.own, estimate.spread)
    return _run(problem, estimate.law, point, problem.floor).logs
