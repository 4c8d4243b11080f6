"""The moment filter in plain Python, without derivatives: what the compiled one must equal."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

__all__ = ["filter_trace", "step"]

Array = NDArray[np.float64]


def step(law: int, w: float, up: bool, par: Array) -> float:
    """Mean step at weight w; parameters as in :data:`clnf.devices.fitting.steps.NAMES`."""
    d = 1.0 if up else -1.0
    base, bound, width = (5, par[1], par[1] - par[2]) if up else (6, par[2], par[1] - par[2])
    size = math.exp(par[0] + par[base])
    if law == 0:
        return float(size * (1 - par[base + 2] * w / bound))
    gamma = math.exp(par[base + 2])
    if law == 1:
        p = 1 - math.exp(par[base + 4])
        return max(0.0, size * (1 - p + p * math.exp(min(-d * gamma * 2 * w / width, 50.0))))
    return float(size * (2 * max((bound - w) * d / width, 1e-3)) ** gamma)


def _clipped(mean: float, var: float, lo: float, hi: float) -> tuple[float, float]:
    s = math.sqrt(max(var, 1e-14))
    if mean - lo > 5 * s and hi - mean > 5 * s:
        return mean, var
    a, b = (lo - mean) / s, (hi - mean) / s
    below, above = norm.cdf(a), norm.sf(b)
    inside = 1 - below - above
    tilt = norm.pdf(a) - norm.pdf(b)
    bent = inside + a * norm.pdf(a) - b * norm.pdf(b)
    first = mean * inside + s * tilt + lo * below + hi * above
    second = mean**2 * inside + 2 * mean * s * tilt + s * s * bent + lo**2 * below + hi**2 * above
    return float(first), max(float(second - first**2), 0.0)


def _slope(law: int, w: float, up: bool, par: Array) -> float:
    eps = 1e-6
    return (step(law, w + eps, up, par) - step(law, w - eps, up, par)) / (2 * eps)


def filter_trace(
    law: int, par: Array, pulses: NDArray[np.int8], y: Array, scale: tuple[float, float]
) -> float:
    """Log likelihood of one device without jumps; ``scale`` is G0 / H0 and an outlier's floor."""
    y0, floor = scale
    total, known, mean, var = 0.0, False, 0.0, 1.0
    for direction, reading in zip(pulses, y, strict=True):
        if direction == 0:
            known = False
        elif known:
            d = 1.0 if direction > 0 else -1.0
            f, fw = step(law, mean, d > 0, par), _slope(law, mean, d > 0, par)
            moved = (1 + d * fw) ** 2 * var + par[11] * (f * f + fw * fw * var)
            mean, var = _clipped(mean + d * f, moved, par[2], par[1])
        if math.isnan(reading):
            continue
        place = (reading - par[3]) / par[4]
        if not known:
            mean, known = place, True
            var = par[12] + par[13] * ((par[3] + y0) / par[4] + mean) ** 2 + 1e-10
            continue
        noise = par[12] + par[13] * ((par[3] + y0) / par[4] + mean) ** 2 + 1e-10
        dense = norm.logpdf(place, mean, math.sqrt(var + noise)) - math.log(par[4])
        if dense < floor:
            total += floor
            continue
        total += dense
        gain = var / (var + noise)
        mean, var = mean + gain * (place - mean), var * (1 - gain)
    return float(total)
