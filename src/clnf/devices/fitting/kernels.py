"""The moment filter of pulse trains with its exact derivatives, compiled (reference beside it).

The hidden weight w of a cell is carried as a mean and a variance. A pulse moves both by the step
law, its cycle-to-cycle spread and the clip at the bounds (moments of a normal cut at both ends);
a reading corrects both as in a Kalman filter. The derivatives of mean and variance by all
parameters are carried along, so one pass gives the likelihood, its gradient and its Fisher
information. Parameters stand in :mod:`clnf.devices.fitting.steps`.

A cell with levels shows only in which bin its weight lies: then the likelihood is the bin's
probability, mean and variance become those of the normal cut to the bin, and the information is
the square of the gradient.

A reading less likely than ``floor`` is an outlier: it counts with that likelihood and corrects
nothing. After four in a row the cell is taken to have jumped and its weight is learned anew.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from clnf.devices.fitting.steps import SIZE, Work, step_of

__all__ = ["CUT", "JUMP", "Found", "Trains", "filter_traces"]

JUMP, CUT = 4, 2.0  # readings in a row that make a jump; mark of an outlier
_ROOT2, _ROOT2PI = math.sqrt(2.0), math.sqrt(2.0 * math.pi)
_LOG2PI = math.log(2.0 * math.pi)


class Trains(NamedTuple):
    """What was done and read.

    Direction of each pulse [T] int8 (1 up, -1 down, 0 where a trace begins anew); scaled
    conductance y = (G - G0) / H0 after it [T], NaN where it was not read; lower and upper edge of
    its bin [T], or empty for cells without levels; index behind each device's last pulse [N];
    G0 / H0; log likelihood of an outlier.
    """

    pulses: Any
    y: Any
    low: Any
    high: Any
    ends: Any
    y0: float
    floor: float


class Found(NamedTuple):
    """What a pass fills in.

    Predicted reading, its deviation and kind (0 not predicted, 1, 2 outlier) [3, T]; gradient
    [N, 14] and information [N, 14, 14] of the log likelihood.
    """

    seen: Any
    grads: Any
    infos: Any


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _clip(mean: float, var: float, par: Any, dmean: Any, dvar: Any) -> tuple[float, float]:
    """Moments of a normal clipped to the bounds, and their derivatives in place."""
    lo, hi = par[2], par[1]
    if mean - lo > 5.0 * math.sqrt(var) and hi - mean > 5.0 * math.sqrt(var):
        return mean, var
    s = math.sqrt(max(var, 1e-14))
    a, b = (lo - mean) / s, (hi - mean) / s
    fa = math.exp(-0.5 * a * a) / _ROOT2PI
    fb = math.exp(-0.5 * b * b) / _ROOT2PI
    below = 0.5 * math.erfc(-a / _ROOT2)
    above = 0.5 * math.erfc(b / _ROOT2)
    inside = max(1.0 - below - above, 0.0)
    one = mean * inside + s * (fa - fb)  # E[x; inside]
    eps2 = inside + a * fa - b * fb  # E[eps^2; inside]
    m1 = one + lo * below + hi * above
    # Second moment about m1, term by term: no cancellation.
    c = mean - m1
    v = c * c * inside + 2.0 * c * s * (fa - fb) + s * s * eps2
    v += (lo - m1) * (lo - m1) * below + (hi - m1) * (hi - m1) * above
    v_mean = 2.0 * (c * inside + s * (fa - fb))
    v_s = 2.0 * (c * (fa - fb) + s * eps2)
    v_lo, v_hi = 2.0 * (lo - m1) * below, 2.0 * (hi - m1) * above
    for k in range(SIZE):
        ds = dvar[k] / (2.0 * s)
        dm = dmean[k]
        first = inside * dm + (fa - fb) * ds
        second = v_mean * dm + v_s * ds
        if k == 1:
            first += above
            second += v_hi
        if k == 2:
            first += below
            second += v_lo
        dmean[k] = first
        dvar[k] = second  # the part through m1 vanishes: v is least there
    return m1, max(v, 0.0)


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _pulse(
    law: int, state: tuple[float, float], up: bool, par: Any, work: Work
) -> tuple[float, float]:
    """Mean and variance of the hidden weight after one pulse."""
    mean, var = state
    d = 1.0 if up else -1.0
    f, fw, fww = step_of(law, mean, up, par, work)
    dmean, dvar, df, dfw = work.mean, work.var, work.step, work.slope
    c2 = par[11]
    keep = 1.0 + d * fw
    for k in range(SIZE):
        step_k = fw * dmean[k] + df[k]
        slope_k = fww * dmean[k] + dfw[k]
        dvar[k] = (
            (keep * keep + c2 * fw * fw) * dvar[k]
            + 2.0 * (keep * d + c2 * fw) * var * slope_k
            + 2.0 * c2 * f * step_k
        )
        dmean[k] += d * step_k
    spread = f * f + fw * fw * var
    dvar[11] += spread
    return _clip(mean + d * f, keep * keep * var + c2 * spread, par, dmean, dvar)


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _noise(mean: float, par: Any, y0: float, dmean: Any, dnoise: Any) -> float:
    """Variance of a reading about the hidden weight, and its derivatives."""
    h = par[4]
    q = (par[3] + y0) / h + mean  # conductance in units of half a window
    noise = par[12] + par[13] * q * q + 1e-10
    t = 2.0 * par[13] * q
    for k in range(SIZE):
        dnoise[k] = t * dmean[k]
    dnoise[3] += t / h
    dnoise[4] -= t * (par[3] + y0) / (h * h)
    dnoise[12] += 1.0
    dnoise[13] += q * q
    return noise


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _restart(y: float, width: float, par: Any, y0: float, work: Work) -> tuple[float, float]:
    """State after a first reading, about which nothing was known; ``width`` of its bin, or 0."""
    mean = (y - par[3]) / par[4]
    for k in range(SIZE):
        work.mean[k] = 0.0
    work.mean[3] = -1.0 / par[4]
    work.mean[4] = -mean / par[4]
    rounding = width * width / (12.0 * par[4] * par[4])
    var = _noise(mean, par, y0, work.mean, work.var) + rounding
    work.var[4] -= 2.0 * rounding / par[4]
    return mean, var


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _learn(nu: float, state: tuple[float, float], par: Any, work: Work, found: Any) -> None:
    """Add one reading's gradient and Fisher information (in units of the reading)."""
    mean, total = state
    grad, info = found
    h, inverse, e, v = par[4], 1.0 / total, work.first, work.second
    for k in range(SIZE):
        e[k] = work.mean[k]
        v[k] = work.total[k] * inverse
    e[3] += 1.0 / h
    e[4] += mean / h
    v[4] += 2.0 / h
    r, z2 = nu * inverse, 0.5 * (nu * nu * inverse - 1.0)
    for k in range(SIZE):
        grad[k] += e[k] * r + v[k] * z2
        ek, vk = e[k] * inverse, 0.5 * v[k]
        for j in range(SIZE):  # all of a row: that is one vector, a triangle is not
            info[k, j] += ek * e[j] + vk * v[j]


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _correct(
    nu: float, state: tuple[float, float], total: float, h: float, work: Work
) -> tuple[float, float]:
    """Mean and variance after a reading, and their derivatives in place."""
    mean, var = state
    inverse = 1.0 / total
    gain = var * inverse
    nu_half = (nu + mean) / h  # minus the derivative of the reading's weight by the half width
    for k in range(SIZE):
        dgain = (work.var[k] - gain * work.total[k]) * inverse
        dnu = -work.mean[k]
        if k == 3:
            dnu -= 1.0 / h
        if k == 4:
            dnu -= nu_half
        work.mean[k] += dgain * nu + gain * dnu
        work.var[k] = work.var[k] * (1.0 - gain) - dgain * var
    return mean + gain * nu, var * (1.0 - gain)


@njit(cache=True, nogil=True, error_model="numpy")
def _cut(mean: float, var: float, low: float, high: float) -> tuple[float, float, float]:
    """Log of a normal's share between two edges, and its first two derivatives by the mean."""
    s = math.sqrt(var)
    a, b = (low - mean) / s, (high - mean) / s
    if a > 0.0:  # the tail that is small is the one that is exact
        share = 0.5 * (math.erfc(a / _ROOT2) - math.erfc(b / _ROOT2))
    else:
        share = 0.5 * (math.erfc(-b / _ROOT2) - math.erfc(-a / _ROOT2))
    share = max(share, 1e-300)
    at_a = math.exp(-0.5 * a * a) / (_ROOT2PI * share)
    at_b = math.exp(-0.5 * b * b) / (_ROOT2PI * share)
    first = (at_a - at_b) / s
    second = -first * first
    if not math.isinf(a):
        second += a * at_a / var
    if not math.isinf(b):
        second -= b * at_b / var
    return math.log(share), first, second


@njit(cache=True, nogil=True, error_model="numpy")
def _learn_bin(
    edges: tuple[float, float], state: tuple[float, float], par: Any, work: Work, found: Any
) -> tuple[float, float]:
    """Gradient, information and correction by a reading that shows only its bin.

    ``work.total`` holds the derivatives of the reading's variance in units of w; derivatives of
    the cut's by mean and variance are taken from nearby cuts.
    """
    mean, var = state
    grad, info = found
    low, high = edges
    h, total = par[4], work.first[0]
    at, wide = par[3] + h * mean, h * h * total
    _, first, second = _cut(at, wide, low, high)
    eps = 1e-4 * math.sqrt(wide)
    _, _, above = _cut(at + eps, wide, low, high)
    _, _, below = _cut(at - eps, wide, low, high)
    _, first_up, second_up = _cut(at, wide * 1.0002, low, high)
    _, first_down, second_down = _cut(at, wide * 0.9998, low, high)
    third = (above - below) / (2.0 * eps)
    first_v = (first_up - first_down) / (4e-4 * wide)
    second_v = (second_up - second_down) / (4e-4 * wide)
    heat = 0.5 * (second + first * first)  # derivative of the log share by the variance
    reach, score = h * var, work.second
    for k in range(SIZE):
        at_k = h * work.mean[k]
        wide_k = h * h * work.total[k]
        reach_k = h * work.var[k]
        if k == 3:
            at_k += 1.0
        if k == 4:
            at_k += mean
            wide_k += 2.0 * h * total
            reach_k += var
        score[k] = first * at_k + heat * wide_k
        work.mean[k] += reach_k * first + reach * (second * at_k + first_v * wide_k)
        work.var[k] += 2.0 * reach * reach_k * second
        work.var[k] += reach * reach * (third * at_k + second_v * wide_k)
    for k in range(SIZE):
        grad[k] += score[k]
        for j in range(SIZE):
            info[k, j] += score[k] * score[j]
    return mean + reach * first, max(var + reach * reach * second, 1e-12)


@njit(cache=True, nogil=True, error_model="numpy")
def _filter_one(law: int, par: Any, trains: Trains, found: Found) -> float:
    """One device; see :func:`filter_traces`."""
    table = np.zeros((7, SIZE))
    work = Work(table[0], table[1], table[2], table[3], table[4], table[5], table[6])
    y, seen, add, h = trains.y, found.seen, (found.grads, found.infos), par[4]
    mean, var, total_log, known = 0.0, 1.0, 0.0, False
    binned, width = len(trains.low) > 0, 0.0
    odd, since, first = 0, 0, 0
    for t in range(len(y)):
        if trains.pulses[t] == 0:
            known = False
        elif known:
            mean, var = _pulse(law, (mean, var), trains.pulses[t] > 0, par, work)
        if math.isnan(y[t]):
            continue
        if binned:
            width = 2.0 * min(trains.high[t] - y[t], y[t] - trains.low[t])
        if not known:
            mean, var = _restart(y[t], width, par, trains.y0, work)
            known, odd, since, first = True, 0, 0, t
            continue
        total = var + _noise(mean, par, trains.y0, work.mean, work.total)
        for k in range(SIZE):
            work.total[k] += work.var[k]
        nu = (y[t] - par[3]) / h - mean
        dense = -0.5 * (_LOG2PI + math.log(total) + nu * nu / total) - math.log(h)
        if binned:
            dense, _, _ = _cut(par[3] + h * mean, h * h * total, trains.low[t], trains.high[t])
        seen[:, t] = par[3] + h * mean, math.sqrt(h * h * total + width * width / 12.0), 1.0
        since += 1
        if dense < trains.floor:
            seen[2, t] = CUT
            total_log += trains.floor
            odd += 1
            if odd == JUMP or (odd == 2 and since == 2):
                if since == 2:  # the reading before them was the outlier
                    seen[2, first : t + 1] = 0.0
                    seen[:2, first], seen[2, first] = seen[:2, t], CUT
                mean, var = _restart(y[t], width, par, trains.y0, work)
                odd, since, first = 0, 9, t
            continue
        odd = 0
        total_log += dense
        if binned:
            work.first[0] = total
            edges = (trains.low[t], trains.high[t])
            mean, var = _learn_bin(edges, (mean, var), par, work, add)
            continue
        _learn(nu, (mean, total), par, work, add)
        mean, var = _correct(nu, (mean, var), total, h, work)
    return total_log


@njit(cache=True, nogil=True, error_model="numpy")
def filter_traces(law: int, pars: Any, trains: Trains, found: Found) -> Any:
    """Log likelihood of each device [N]; gradient, information and predictions go into ``found``.

    Args:
        law: LINEAR, EXPONENTIAL or POWER.
        pars: parameters [N, 14] in the order of ``NAMES``.
        trains: what was done and read.
        found: filled.

    Returns:
        Log likelihood of each device [N]; the first reading of a trace counts nothing.
    """
    logs = np.zeros(len(trains.ends))
    found.seen[:] = 0.0
    found.grads[:] = 0.0
    found.infos[:] = 0.0
    begin = 0
    for i in range(len(trains.ends)):
        a, b = begin, trains.ends[i]
        part = Trains(
            trains.pulses[a:b], trains.y[a:b], trains.low[a:b], trains.high[a:b], trains.ends,
            trains.y0, trains.floor,
        )  # fmt: skip
        one = Found(found.seen[:, a:b], found.grads[i], found.infos[i])
        logs[i] = _filter_one(law, pars[i], part, one)
        begin = b
    return logs
