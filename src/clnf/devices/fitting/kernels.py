"""The moment filter of pulse trains with its exact derivatives, compiled (reference beside it).

The hidden weight w of a cell is carried as a mean and a variance. A pulse moves both by the step
law, its cycle-to-cycle spread and the clip at the bounds (moments of a normal cut at both ends);
a reading corrects both as in a Kalman filter. The derivatives of mean and variance by all
parameters are carried along, so one pass gives the likelihood, its gradient and its Fisher
information.

Parameters of a device, in order (``NAMES``): log gain, upper and lower bound; centre and half
width of the conductance window; log step at w = 0 up and down; shape up and down; second shape
up and down; squared cycle spread; variance of the write noise; squared relative read noise.

The first shape is the slope (linear) or the log of gamma (exponential, power); the second is
log(1 - p) with step = step_0 (1 - p + p exp(...)) for the exponential law.

A reading less likely than ``floor`` is an outlier: it counts with that likelihood and corrects
nothing. After four in a row the cell is taken to have jumped and its weight is learned anew.
"""

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["CUT", "EXPONENTIAL", "JUMP", "LINEAR", "NAMES", "POWER", "filter_traces", "step_of"]

NAMES = (
    "gain", "bound_up", "bound_down", "centre", "half",
    "step_up", "step_down", "shape_up", "shape_down", "bend_up", "bend_down",
    "cycle", "write", "read",
)  # fmt: skip
_P = len(NAMES)
LINEAR, EXPONENTIAL, POWER = 0, 1, 2
JUMP, CUT = 4, 2.0  # readings in a row that make a jump; mark of an outlier
_ROOT2, _ROOT2PI = math.sqrt(2.0), math.sqrt(2.0 * math.pi)
_LOG2PI = math.log(2.0 * math.pi)


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _linear(w, up, par, df, dfw):
    """Step, slope and curvature at w; derivatives of step and slope go into df and dfw."""
    base = 5 if up else 6
    b = par[1] if up else par[2]
    slope = par[base + 2]
    g = math.exp(par[0] + par[base])
    f, fw = g * (1.0 - slope * w / b), -g * slope / b
    df[0], dfw[0] = f, fw
    df[base], dfw[base] = f, fw
    df[base + 2], dfw[base + 2] = -g * w / b, -g / b
    k = 1 if up else 2
    df[k], dfw[k] = g * slope * w / (b * b), g * slope / (b * b)
    return f, fw, 0.0


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _exponential(w, up, par, df, dfw):
    base = 5 if up else 6
    d = 1.0 if up else -1.0
    width = par[1] - par[2]
    q = math.exp(par[base + 4])
    p = 1.0 - q
    g = math.exp(par[0] + par[base])
    k = -2.0 * d * math.exp(par[base + 2]) / width
    e = math.exp(min(k * w, 50.0))
    f = g * (1.0 + p * (e - 1.0))
    if f <= 0.0:
        return 0.0, 0.0, 0.0
    fw = g * p * k * e
    df[0], dfw[0] = f, fw
    df[base], dfw[base] = f, fw
    df[base + 2], dfw[base + 2] = fw * w, fw * (1.0 + k * w)
    df[base + 4], dfw[base + 4] = -g * q * (e - 1.0), -g * q * k * e
    by_width, by_width_w = -fw * w / width, -fw * (1.0 + k * w) / width
    df[1], dfw[1] = by_width, by_width_w
    df[2], dfw[2] = -by_width, -by_width_w
    return f, fw, fw * k


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _power(w, up, par, df, dfw):
    base = 5 if up else 6
    d = 1.0 if up else -1.0
    width = par[1] - par[2]
    b = par[1] if up else par[2]
    gamma = math.exp(par[base + 2])
    u = max((b - w) * d / width, 1e-3)
    logs = math.log(2.0 * u)
    f = math.exp(par[0] + par[base] + gamma * logs)
    fu = f * gamma / u
    fw = -d * fu / width
    df[0], dfw[0] = f, fw
    df[base], dfw[base] = f, fw
    df[base + 2], dfw[base + 2] = f * gamma * logs, fw * (1.0 + gamma * logs)
    u1 = (1.0 - u) / width if up else -u / width
    u2 = u / width if up else (u - 1.0) / width
    df[1], df[2] = fu * u1, fu * u2
    dfw[1] = fw * ((gamma - 1.0) * u1 / u - 1.0 / width)
    dfw[2] = fw * ((gamma - 1.0) * u2 / u + 1.0 / width)
    return f, fw, fu * (gamma - 1.0) / (u * width * width)


@njit(cache=True, nogil=True, error_model="numpy")
def step_of(law, w, up, par, df, dfw):
    """Mean step, its slope and curvature at weight ``w``; derivatives go into ``df``, ``dfw``."""
    for k in range(_P):
        df[k] = 0.0
        dfw[k] = 0.0
    if law == 0:
        return _linear(w, up, par, df, dfw)
    if law == 1:
        return _exponential(w, up, par, df, dfw)
    return _power(w, up, par, df, dfw)


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _clip(mean, var, lo, hi, dmean, dvar):
    """Moments of a normal clipped to [lo, hi], and their derivatives in place."""
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
    for k in range(_P):
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
def _pulse(law, mean, var, up, par, dmean, dvar, df, dfw):
    """Mean and variance of the hidden weight after one pulse."""
    d = 1.0 if up else -1.0
    f, fw, fww = step_of(law, mean, up, par, df, dfw)
    c2 = par[11]
    keep = 1.0 + d * fw
    for k in range(_P):
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
    mean += d * f
    var = keep * keep * var + c2 * spread
    return _clip(mean, var, par[2], par[1], dmean, dvar)


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _noise(mean, par, y0, dmean, dnoise):
    """Variance of a reading about the hidden weight, and its derivatives."""
    h = par[4]
    q = (par[3] + y0) / h + mean  # conductance in units of half a window
    noise = par[12] + par[13] * q * q + 1e-10
    t = 2.0 * par[13] * q
    for k in range(_P):
        dnoise[k] = t * dmean[k]
    dnoise[3] += t / h
    dnoise[4] -= t * (par[3] + y0) / (h * h)
    dnoise[12] += 1.0
    dnoise[13] += q * q
    return noise


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _restart(y, par, y0, dmean, dvar):
    """State after a first reading, about which nothing was known."""
    mean = (y - par[3]) / par[4]
    for k in range(_P):
        dmean[k] = 0.0
    dmean[3] = -1.0 / par[4]
    dmean[4] = -mean / par[4]
    return mean, _noise(mean, par, y0, dmean, dvar)


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _learn(nu, total, h, mean, dmean, dtotal, grad, info, e, v):
    """Add one reading's gradient and Fisher information (in units of the reading)."""
    inverse = 1.0 / total
    for k in range(_P):
        e[k] = dmean[k]
        v[k] = dtotal[k] * inverse
    e[3] += 1.0 / h
    e[4] += mean / h
    v[4] += 2.0 / h
    r, z2 = nu / total, 0.5 * (nu * nu / total - 1.0)
    for k in range(_P):
        grad[k] += e[k] * r + v[k] * z2
        ek, vk = e[k] * inverse, 0.5 * v[k]
        for j in range(_P):  # all of a row: that is one vector, a triangle is not
            info[k, j] += ek * e[j] + vk * v[j]


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _correct(nu, total, h, mean, var, dmean, dvar, dtotal):
    """Mean and variance after a reading, and their derivatives in place."""
    inverse = 1.0 / total
    gain = var * inverse
    nu_half = (nu + mean) / h  # minus the derivative of the reading's weight by the half width
    for k in range(_P):
        dgain = (dvar[k] - gain * dtotal[k]) * inverse
        dnu = -dmean[k]
        if k == 3:
            dnu -= 1.0 / h
        if k == 4:
            dnu -= nu_half
        dmean[k] += dgain * nu + gain * dnu
        dvar[k] = dvar[k] * (1.0 - gain) - dgain * var
    return mean + gain * nu, var * (1.0 - gain)


@njit(cache=True, nogil=True, error_model="numpy")
def _filter_one(law, par, pulses, y, y0, floor, seen, grad, info):
    """One device; see :func:`filter_traces`."""
    dmean, dvar, dtotal = np.zeros(_P), np.zeros(_P), np.zeros(_P)
    df, dfw, e, v = np.zeros(_P), np.zeros(_P), np.zeros(_P), np.zeros(_P)
    h = par[4]
    mean, var, total_log = 0.0, 1.0, 0.0
    known, odd, since, first = False, 0, 0, 0
    for t in range(len(y)):
        if pulses[t] == 0:
            known = False
        elif known:
            mean, var = _pulse(law, mean, var, pulses[t] > 0, par, dmean, dvar, df, dfw)
        if math.isnan(y[t]):
            continue
        if not known:
            mean, var = _restart(y[t], par, y0, dmean, dvar)
            known, odd, since, first = True, 0, 0, t
            continue
        noise = _noise(mean, par, y0, dmean, dtotal)
        total = var + noise
        for k in range(_P):
            dtotal[k] += dvar[k]
        nu = (y[t] - par[3]) / h - mean
        dense = -0.5 * (_LOG2PI + math.log(total) + nu * nu / total) - math.log(h)
        seen[0, t], seen[1, t], seen[2, t] = par[3] + h * mean, h * math.sqrt(total), 1.0
        since += 1
        if dense < floor:
            seen[2, t] = 2.0
            total_log += floor
            odd += 1
            if odd == JUMP or (odd == 2 and since == 2):
                if since == 2:  # the reading before them was the outlier
                    for s in range(first, t + 1):
                        seen[2, s] = 0.0
                    seen[0, first], seen[1, first], seen[2, first] = seen[0, t], seen[1, t], 2.0
                mean, var = _restart(y[t], par, y0, dmean, dvar)
                odd, since, first = 0, 9, t
            continue
        odd = 0
        total_log += dense
        _learn(nu, total, h, mean, dmean, dtotal, grad, info, e, v)
        mean, var = _correct(nu, total, h, mean, var, dmean, dvar, dtotal)
    return total_log


@njit(cache=True, nogil=True, error_model="numpy")
def filter_traces(law, pars, pulses, y, ends, y0, floor, seen, grads, infos):
    """Log likelihood, gradient and Fisher information of each device.

    Args:
        law: LINEAR, EXPONENTIAL or POWER.
        pars: parameters [N, 14] in the order of ``NAMES``.
        pulses: direction of each pulse [T] int8: 1 up, -1 down, 0 where a trace begins anew.
        y: scaled conductance (G - G0) / H0 after each pulse [T], NaN where it was not read.
        ends: index behind the last pulse of each device [N].
        y0: G0 / H0.
        floor: log likelihood of an outlier.
        seen: filled, [3, T]: predicted reading, its deviation, kind (0 not predicted, 1, 2
            outlier).
        grads: filled, [N, 14].
        infos: filled, [N, 14, 14].

    Returns:
        Log likelihood of each device [N]; the first reading of a trace counts nothing.
    """
    logs = np.zeros(len(ends))
    begin = 0
    seen[:] = 0.0
    grads[:] = 0.0
    infos[:] = 0.0
    for i in range(len(ends)):
        a, b = begin, ends[i]
        logs[i] = _filter_one(
            law, pars[i], pulses[a:b], y[a:b], y0, floor, seen[:, a:b], grads[i], infos[i]
        )
        begin = b
    return logs
