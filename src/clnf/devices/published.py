"""The published laws a second time: plain, slow, and read from a catalogue row alone.

This is what the cells that learn are judged against. It knows nothing of the kernels, of the
hashed draws or of the records that a chip works with: pulses come one after the other in double
precision with NumPy's normals, all else is a closed form.

It shares the package's reading of the tables where that simplifies: spreads of steps are log-normal
laws that keep the mean step, the spread from cycle to cycle is a share of the step at hand, slopes
refer to a cell's own bounds, and dead cells are stuck anywhere between theirs.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.polynomial.polynomial import polyval
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import gamma, ndtr

from clnf.core.rng import numpy_rng
from clnf.core.units import quantity
from clnf.devices.materials import Material

__all__ = [
    "Moments",
    "crossing",
    "drifted",
    "life",
    "programmed",
    "programming_sigma",
    "pulsed",
    "read_sigma",
]

Array = NDArray[np.float64]
# Laws in ln g hold no further down than this share of full scale; the package's own choice.
_LEAST = 1e-4
_DAY_S = 86400.0
# Assumed, see clnf.devices.lifetime: no source gives a shape of the spread of lives.
_LIFE_SHAPE = 2.0


@final
@dataclass(frozen=True, kw_only=True)
class Moments:
    """Mean and standard deviation over cells, in one unit.

    Attributes:
        mean: over cells.
        spread: standard deviation.
    """

    mean: float = quantity("1")
    spread: float = quantity("1")


def _step(row: Material, span: Array | float, up: bool) -> Callable[[Array, Array], Array]:
    """Size of a step over dw, from weights and the bound of its direction."""
    way = "up" if up else "down"
    sign = 1.0 if up else -1.0
    if f"power_{way}" in row.values:
        power = row.get(f"power_{way}").number
        return lambda w, bound: np.maximum(sign * (bound - w) / span, 0.0) ** power
    if f"exponential_{way}" in row.values:
        own, both = f"exponential_gamma_{way}", "exponential_gamma"
        steep = row.get(own if own in row.values else both).number
        a, b = row.get("exponential_a").number, row.get("exponential_b").number
        height = row.get(f"exponential_{way}").number
        return lambda w, _: np.maximum(
            1.0 - height * np.exp(sign * steep * (2.0 * a * w / span + b)), 0.0
        )
    slope = 1.0 if row.family == "soft_bounds" else row.get(f"slope_{way}").number
    return lambda w, bound: 1.0 - slope * w / bound


def _number(row: Material, key: str) -> float:
    return row.get(key).number if key in row.values else 0.0


def _steps(row: Material) -> tuple[float, float]:
    if "step_up" in row.values:
        return row.get("step_up").number, row.get("step_down").number
    step, bias = row.get("step").number, _number(row, "up_down_bias")
    return (step, step * (1.0 - bias)) if bias > 0 else (step * (1.0 + bias), step)


def _bounds(row: Material) -> tuple[float, float]:
    given = row.get("weight_range").coefficients if "weight_range" in row.values else (-1.0, 1.0)
    return given[0], given[1]


def pulsed(row: Material, marks: Sequence[int], *, cells: int, seed: int = 0) -> Array:
    """Weights after single pulses up from each cell's lower bound, then down.

        w <- clip(w +- dw step(w) (1 + c xi)),  seen = w + sigma_write dw xi'

    Args:
        row: with a law of steps.
        marks: numbers of pulses at which to look, rising.
        cells: how many.
        seed: of NumPy's generator.

    Returns:
        Visible weights, [2, marks, cells].

    Raises:
        DeviceLimitError: the row has no law of steps.
    """
    rng, (low, high), sizes = numpy_rng(seed, "published"), _bounds(row), _steps(row)
    spread = _number(row, "step_spread")
    gain = np.exp(spread * rng.standard_normal(cells) - spread**2 / 2)
    bias = _number(row, "up_down_spread") * rng.standard_normal(cells)
    upper = np.abs(high * (1 + _number(row, "bound_max_spread") * rng.standard_normal(cells)))
    lower = -np.abs(low * (1 + _number(row, "bound_min_spread") * rng.standard_normal(cells)))
    dead = rng.random(cells) < _number(row, "dead_fraction")
    stuck = lower + (upper - lower) * rng.random(cells)
    w = np.where(dead, stuck, lower)
    counted = _number(row, "step") if "step_up" not in row.values else sum(sizes) / 2
    noise = _number(row, "write_noise") * counted
    cycle, seen = _number(row, "cycle_spread"), np.empty((2, len(marks), cells))
    for way, sign in enumerate((1.0, -1.0)):
        own = sizes[way] * gain * np.maximum(1 + sign * bias, 0.01)
        law, bound = _step(row, upper - lower, way == 0), (upper, lower)[way]
        for n in range(1, marks[-1] + 1):
            size = own * law(w, bound) * (1 + cycle * rng.standard_normal(cells))
            w = np.where(dead, stuck, np.clip(w + sign * size, lower, upper))
            if n in marks:
                drawn = w + noise * rng.standard_normal(cells)
                seen[way, list(marks).index(n)] = np.where(dead, stuck, drawn)
    return seen


def crossing(row: Material) -> float:
    """Weight at which steps of a typical cell up and down are alike; nan where none is.

    Raises:
        DeviceLimitError: the row has no law of steps.
    """
    (low, high), (size_up, size_down) = _bounds(row), _steps(row)
    up, down = (_step(row, high - low, way) for way in (True, False))

    def gain(w: float) -> float:
        at = np.array([w])
        rise, fall = size_up * up(at, np.array([high])), size_down * down(at, np.array([low]))
        return float(rise[0] - fall[0])

    if gain(low) * gain(high) >= 0:
        return math.nan
    return float(brentq(gain, low, high, xtol=1e-12))


def programming_sigma(row: Material, target_s: float) -> float:
    """Published spread after programming, S."""
    if row.family == "sonos":
        return _saturating(row, "programming_noise_saturating", target_s)
    if "programming_noise_s" in row.values:
        g = target_s / row.get("conductance_max_s").number
        return max(float(polyval(g, row.get("programming_noise_s").coefficients)), 0.0)
    coefficients = row.get("programming_noise_g").coefficients
    return max(float(polyval(target_s, coefficients)), 0.0)


def programmed(row: Material, target_s: float) -> Moments:
    """Conductances of cells programmed to one target: a normal law cut at 0."""
    return _cut(target_s, programming_sigma(row, target_s))


def _saturating(row: Material, key: str, level_s: float) -> float:
    volts = row.get("read_voltage_v").number
    height_a, scale_a = row.get(key).coefficients
    return height_a * (1.0 - math.exp(-level_s * volts / scale_a)) / volts


def _cut(mean: float, spread: float) -> Moments:
    """Moments of max(mean + spread xi, 0)."""
    if spread == 0.0:
        return Moments(mean=max(mean, 0.0), spread=0.0)
    x = mean / spread
    inside, edge = float(ndtr(x)), math.exp(-x * x / 2) / math.sqrt(2 * math.pi)
    first = mean * inside + spread * edge
    second = (mean**2 + spread**2) * inside + mean * spread * edge
    return Moments(mean=first, spread=math.sqrt(max(second - first**2, 0.0)))


def drifted(row: Material, target_s: float, age_s: float) -> Moments:
    """Conductances at an age after a write that hit its target.

    Raises:
        DeviceLimitError: no law of drift was published for the row.
    """
    if "drift_log_mean_s" in row.values:
        slope, offset = row.get("drift_log_spread_s").coefficients
        log = math.log(max(age_s, 1.0))
        mean = target_s + row.get("drift_log_mean_s").number * log
        return _cut(mean, slope * log + offset)
    if "relaxation_spread_1s_s" in row.values:
        return _cut(target_s, _relaxed(row, target_s, age_s))
    if row.family == "capacitor":
        return _leaked(row, target_s, age_s)
    return _power(row, target_s, age_s)


def _relaxed(row: Material, target_s: float, age_s: float) -> float:
    """Spread gained since one second; variances in between go linearly in ln t (assumed)."""
    g = target_s / row.get("conductance_max_s").number
    keys = (f"relaxation_spread_{age}_s" for age in ("1s", "1d", "2d"))
    variances = [max(float(polyval(g, row.get(key).coefficients)), 0.0) ** 2 for key in keys]
    logs = [0.0, math.log(_DAY_S), math.log(2 * _DAY_S)]
    now = float(np.interp(math.log(max(age_s, 1.0)), logs, variances))
    return math.sqrt(max(now - variances[0], 0.0))


def _power(row: Material, target_s: float, age_s: float) -> Moments:
    """((t + t0) / t0)^-|mu + sigma xi|: exponential moments of a folded normal law."""
    mean, spread = _exponent(row, "mean", target_s), _exponent(row, "spread", target_s)
    log = math.log1p(age_s / row.get("drift_reference_s").number)
    first, second = (_folded(mean, spread, k * log) for k in (1, 2))
    return Moments(mean=target_s * first, spread=target_s * math.sqrt(max(second - first**2, 0.0)))


def _folded(mean: float, spread: float, rate: float) -> float:
    """Mean of exp(-rate |mean + spread xi|)."""
    half = (spread * rate) ** 2 / 2
    above = math.exp(half - mean * rate) * ndtr(mean / spread - spread * rate)
    return float(above + math.exp(half + mean * rate) * ndtr(-mean / spread - spread * rate))


def _exponent(row: Material, which: str, target_s: float) -> float:
    g = min(max(target_s / row.get("conductance_max_s").number, _LEAST), 1.0)
    return _in_two_parts(row, (f"drift_{which}", f"drift_{which}_from"), g)


def _in_two_parts(row: Material, keys: tuple[str, str], g: float) -> float:
    """clip(slope ln g + offset) below the changeover, a polynomial in g from there on."""
    key, start = keys
    if start in row.values and g >= row.get(start).number:
        return float(polyval(g, row.get(f"{start.removesuffix('_from')}_polynomial").coefficients))
    slope, offset, low, high = row.get(key).coefficients
    return min(max(slope * math.log(g) + offset, low), high)


def _leaked(row: Material, target_s: float, age_s: float) -> Moments:
    """A charge that leaks: rest + (G - rest) exp(-t / tau), over a normal tau by quadrature."""
    full_s = row.get("conductance_max_s").number
    floor_s = _number(row, "conductance_min_s") or (
        full_s / row.get("on_off").number if "on_off" in row.values else 0.0
    )
    rest_s = (floor_s + full_s) / 2
    life_s = row.get("batch_s").number * row.get("state_lifetime_batches").number
    x = np.linspace(-8.0, 8.0, 20_001)
    weight = np.exp(-(x**2) / 2)
    weight /= weight.sum()
    tau = life_s * np.maximum(1 + _number(row, "state_lifetime_spread") * x, 0.1)
    g = rest_s + (target_s - rest_s) * np.exp(-age_s / tau)
    mean = float(weight @ g)
    return Moments(mean=mean, spread=math.sqrt(float(weight @ (g - mean) ** 2)))


def read_sigma(row: Material, level_s: float, time_s: float) -> float:
    """Published spread of one read of a cell as programmed, S, at a time since the write."""
    if row.family == "sonos":
        return _saturating(row, "read_noise_saturating", level_s)
    if "read_time_s" not in row.values:
        return row.get("read_noise_scale").number * level_s
    read_s = row.get("read_time_s").number
    grown = math.sqrt(max(math.log((time_s + read_s) / (2 * read_s)), 0.0))
    if "read_noise_log10" in row.values:
        level = math.log10(max(level_s * 1e6, 1.0))
        return row.get("read_noise_log10").number * level * grown
    g = min(max(level_s / row.get("conductance_max_s").number, _LEAST), 1.0)
    if "read_noise_log" in row.values:
        share = _in_two_parts(row, ("read_noise_log", "read_noise_from"), g)
    else:
        power = row.get("read_noise_scale").number / g ** row.get("read_noise_exponent").number
        share = min(power, row.get("read_noise_cap").number)
    return level_s * share * grown


def life(row: Material) -> Moments:
    """Writes that cells survive: a Weibull law with the published figure as its median."""
    scale = row.get("endurance_cycles").number / math.log(2) ** (1 / _LIFE_SHAPE)
    mean = scale * float(gamma(1 + 1 / _LIFE_SHAPE))
    square = scale**2 * float(gamma(1 + 2 / _LIFE_SHAPE))
    return Moments(mean=mean, spread=math.sqrt(square - mean**2))
