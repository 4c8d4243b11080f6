"""Step laws with their derivatives, compiled: what one pulse does on average at a weight.

Parameters of a device, in order (``NAMES``): log gain, upper and lower bound; centre and half
width of the conductance window; log step at w = 0 up and down; shape up and down; second shape
up and down; squared cycle spread; variance of the write noise; squared relative read noise.

    linear       f = g (1 - slope w / b)                     shape: slope
    exponential  f = g (1 - p + p exp(-2 d gamma w / R))     shape: log gamma, second: log(1 - p)
    power        f = g (2 (b - w) d / R)^gamma               shape: log gamma

g = exp(log gain + log step), d = +1 up and -1 down, b the bound in the step's direction, R the
distance of both bounds.
"""

import math
from typing import Any, NamedTuple

from numba import njit

__all__ = ["EXPONENTIAL", "LINEAR", "NAMES", "POWER", "SIZE", "Work", "step_of"]

NAMES = (
    "gain", "bound_up", "bound_down", "centre", "half",
    "step_up", "step_down", "shape_up", "shape_down", "bend_up", "bend_down",
    "cycle", "write", "read",
)  # fmt: skip
SIZE = len(NAMES)
LINEAR, EXPONENTIAL, POWER = 0, 1, 2


class Work(NamedTuple):
    """Derivatives by all parameters, each [14].

    Of the weight's mean and variance, of a reading's variance, of the step and its slope; two
    more to compute with.
    """

    mean: Any
    var: Any
    total: Any
    step: Any
    slope: Any
    first: Any
    second: Any


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _linear(w: float, up: bool, par: Any, df: Any, dfw: Any) -> tuple[float, float, float]:
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
def _exponential(w: float, up: bool, par: Any, df: Any, dfw: Any) -> tuple[float, float, float]:
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
def _power(w: float, up: bool, par: Any, df: Any, dfw: Any) -> tuple[float, float, float]:
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
def step_of(law: int, w: float, up: bool, par: Any, work: Work) -> tuple[float, float, float]:
    """Mean step, its slope and curvature at a weight; their derivatives go into ``work``.

    Args:
        law: LINEAR, EXPONENTIAL or POWER.
        w: hidden weight.
        up: direction of the pulse.
        par: parameters [14] in the order of ``NAMES``.
        work: ``step`` and ``slope`` are filled.
    """
    df, dfw = work.step, work.slope
    for k in range(SIZE):
        df[k] = 0.0
        dfw[k] = 0.0
    if law == LINEAR:
        return _linear(w, up, par, df, dfw)
    if law == EXPONENTIAL:
        return _exponential(w, up, par, df, dfw)
    return _power(w, up, par, df, dfw)
