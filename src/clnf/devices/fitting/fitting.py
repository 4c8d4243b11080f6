"""From a file of measured pulse trains to the law of the cell."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy import stats

from clnf.core.errors import ConfigError
from clnf.core.inputs import number, whole
from clnf.core.rng import numpy_rng
from clnf.devices.fitting.calibrate import calibrated
from clnf.devices.fitting.choose import Score, held_out, prefer
from clnf.devices.fitting.estimate import Estimate, maximise
from clnf.devices.fitting.intervals import Parameter, dead_share, parameters, read_parameter
from clnf.devices.fitting.kernels import CUT
from clnf.devices.fitting.laws import LAWS
from clnf.devices.fitting.levels import Levels, find_levels, likelihood_gain
from clnf.devices.fitting.living import Census, census
from clnf.devices.fitting.problem import Problem
from clnf.devices.fitting.result import Fit, Outlier
from clnf.devices.fitting.traces import Traces, read_traces

__all__ = ["fit", "fit_traces"]

Tell = Callable[[str, int, int], None]
_MEDIAN = 0.37  # readings worth of one in a median deviation, against a standard deviation
_SOFT, _FLAT = 0.97, 0.01  # slopes that are soft bounds, and none


def _silent(label: str, done: int, total: int) -> None:
    """Say nothing of the progress."""


def fit(
    path: Path | str,
    *,
    seed: int = 0,
    rate: float = 0.95,
    read_noise: float | None = None,
    tell: Tell = _silent,
) -> Fit:
    """Fit step laws to measured pulse trains and choose the best by cross-validation.

    Args:
        path: a CSV file, see :func:`clnf.devices.fitting.read_traces`.
        seed: settles folds and subsets.
        rate: chance that a confidence interval holds the truth, in (0.5, 1).
        read_noise: relative noise of the measurement where it is known, >= 0. Without it, cells
            that never move tell it, or else it is fitted along.
        tell: called with a label, steps done and steps in all.

    Returns:
        Law, numbers with intervals, scores, outliers and warnings.

    Raises:
        DataError: the file holds no pulse trains that could be fitted.
        ConfigError: ``seed`` is no whole number, or ``rate`` or ``read_noise``
            out of its range.
    """
    _check(rate, read_noise, seed)
    return fit_traces(
        read_traces(path), Path(path).name, seed=seed, rate=rate, read_noise=read_noise, tell=tell
    )


def fit_traces(
    traces: Traces,
    name: str = "traces",
    *,
    seed: int = 0,
    rate: float = 0.95,
    read_noise: float | None = None,
    tell: Tell = _silent,
) -> Fit:
    """Fit traces that are in memory already; see :func:`fit`."""
    _check(rate, read_noise, seed)
    found = census(traces)
    known = found.read_noise if read_noise is None else read_noise
    problem = Problem.of(traces.only(found.living), known)
    levels, said = _levels(problem, seed)
    if levels is not None:
        problem = problem.snapped(levels.conductance_s, levels.spread)
    scores, count, tried = held_out(problem, seed, tell)
    law, rows = prefer(scores, count)
    estimate = _whole(problem, law, tried)
    law, rows, estimate = _plain(problem, law, rows, estimate)
    estimate = calibrated(problem, estimate, seed)
    numbers = parameters(problem, estimate, rate)
    if levels is not None:
        numbers |= _snapped(levels, problem, rate)
    elif known is not None:
        from_dead = found.read_count if read_noise is None else 0
        numbers["read_noise_scale"] = read_parameter(known, from_dead, rate)
    numbers["dead_fraction"] = dead_share(len(found.dead), len(traces.ends), rate)
    warnings = traces.warnings + said + tuple(_warnings(problem, estimate, found, numbers))
    return Fit(
        file=name,
        sha256=traces.sha256,
        law=law,
        parameters=numbers,
        rate=rate,
        scores=rows,
        levels=levels,
        outliers=_outliers(problem, estimate),
        dead=tuple(traces.names[i] for i in found.dead),
        contrary=tuple(traces.names[i] for i in found.contrary),
        warnings=warnings,
        devices=len(traces.ends),
        pulses=len(traces.pulses),
        readings=int(traces.read.sum()),
        converged=estimate.converged,
        problem=problem,
        estimate=estimate,
    )


def _check(rate: float, read_noise: float | None, seed: int) -> None:
    whole("seed", seed)
    number("rate", rate)
    if read_noise is not None:
        number("read_noise", read_noise)
    if not 0.5 < rate < 1:
        raise ConfigError(f"the rate of intervals lies between 0.5 and 1, got {rate}; correct it")
    if read_noise is not None and not 0 <= read_noise < 1:
        raise ConfigError(
            f"read_noise is a share of a reading, 0 to below 1, got {read_noise}; correct it"
        )


def _whole(problem: Problem, law: str, tried: dict[str, Estimate]) -> Estimate:
    """The estimate from all devices; the one from the choice will do where it saw all."""
    if len(tried[law].own) == len(problem.traces.ends):
        return tried[law]
    return maximise(problem, tried[law].law)


def _plain(
    problem: Problem, law: str, rows: tuple[Score, ...], estimate: Estimate
) -> tuple[str, tuple[Score, ...], Estimate]:
    """A linear law whose slopes are all but 1, or all but 0, under its plain name."""
    slopes = estimate.shared[4:6]
    simple = "soft_bounds" if slopes.min() >= _SOFT else "constant" if slopes.max() < _FLAT else law
    if law != "linear" or simple == law:
        return law, rows, estimate
    rows = tuple(replace(row, chosen=row.law == simple) for row in rows)
    return simple, rows, maximise(problem, next(one for one in LAWS if one.name == simple))


def _levels(problem: Problem, seed: int) -> tuple[Levels | None, tuple[str, ...]]:
    """Levels that half of the readings show and that foretell the other half better."""
    t = problem.traces
    order = numpy_rng(seed, "halves").permutation(np.flatnonzero(t.read))
    half, rest = np.split(order, [len(order) // 2])
    first = find_levels(t.conductance_s[half], seed)
    levels = find_levels(t.conductance_s[order], seed)
    if first is None or levels is None:
        return None, _own_levels(problem, seed)
    plain = maximise(problem, next(law for law in LAWS if law.name == "linear"))
    rest = rest[plain.seen[2, rest] == 1.0]
    mean = problem.centre_s + problem.half_s * plain.seen[0, rest]
    reach = problem.half_s * plain.seen[1, rest]
    gain = likelihood_gain(first, t.conductance_s[rest], mean, reach)
    if len(gain) < 2 or gain.mean() < 3 * gain.std() / math.sqrt(len(gain)):
        return None, ()
    return replace(levels, gain=float(gain.mean())), ()


def _own_levels(problem: Problem, seed: int) -> tuple[str, ...]:
    """A warning where devices have levels, each its own ones."""
    rows = [part for _, part in problem.traces.parts()][:5]
    g = problem.traces.conductance_s
    alone = [find_levels(g[part][np.isfinite(g[part])], seed) for part in rows]
    counts = [len(one.conductance_s) for one in alone if one is not None]
    like = sum(abs(k - np.median(counts)) <= 1 for k in counts) if counts else 0
    if len(rows) < 2 or like <= 0.7 * len(rows):
        return ()
    return (
        f"devices have about {np.median(counts):.0f} levels of conductance, each its own ones; "
        "they are fitted as if they had none, rounding counting as write noise",
    )


def _snapped(levels: Levels, problem: Problem, rate: float) -> dict[str, Parameter]:
    """Numbers of a cell with levels: how many, and how readings scatter about one."""
    k, count = len(levels.conductance_s), int(problem.traces.read.sum())
    return {
        "states": Parameter(value=k, low=levels.fewest, high=levels.most),
        "read_noise_scale": read_parameter(levels.spread, max(int(_MEDIAN * (count - k)), 1), rate),
    }


def _outliers(problem: Problem, estimate: Estimate) -> tuple[Outlier, ...]:
    found, t = [], problem.traces
    left = t.read & ~np.isfinite(problem.y)  # on no level
    cut = estimate.seen[2] == CUT
    for name, part in t.parts():
        for row in np.flatnonzero((left | cut)[part]) + part.start:
            expected = problem.centre_s + problem.half_s * float(estimate.seen[0, row])
            found.append(
                Outlier(
                    device=name,
                    pulse=int(t.numbers[row]),
                    conductance_s=float(t.conductance_s[row]),
                    expected_s=expected if cut[row] else None,
                )
            )
    return tuple(found)


def _warnings(
    problem: Problem, estimate: Estimate, found: Census, numbers: dict[str, Parameter]
) -> list[str]:
    """What a reader of the numbers must know."""
    said, n = [], len(problem.traces.ends)
    if found.contrary:
        said.append(f"{len(found.contrary)} devices move against their pulses and were left out")
    if n == 1:
        said.append("one living device: spreads from device to device are unknown and left out")
    elif n < 10:
        said.append(
            f"{n} living devices: spreads from device to device are little more than guesses"
        )
    vague = [
        key for key, one in numbers.items()
        if key.startswith(("power", "exponential_gamma")) and one.high > 20 * one.low
    ]  # fmt: skip
    if vague:
        said.append(f"these readings hardly determine {' and '.join(vague)}")
    share = len(_outliers(problem, estimate)) / max(int(problem.traces.read.sum()), 1)
    if share > 0.05:
        said.append(f"{share:.0%} of the readings are outliers; no law here describes these cells")
    said += _unreached(problem, estimate, numbers)
    z = _residuals(problem, estimate)
    tail = float(stats.kurtosis(z)) if len(z) > 100 else 0.0
    if tail > 3:
        said.append(f"residuals have heavy tails (excess kurtosis {tail:.1f}); noise is not normal")
    if not estimate.converged:
        said.append("the search stopped before it had settled; intervals may be too narrow")
    return said


def _unreached(problem: Problem, estimate: Estimate, numbers: dict[str, Parameter]) -> list[str]:
    """Bounds most trains stay away from are known from the shape of the law alone."""
    said = []
    for k, word, quantile in ((1, "upper", 0.98), (2, "lower", 0.02)):
        away = []
        for i, (_, part) in enumerate(problem.traces.parts()):
            y = np.nanquantile(problem.y[part], quantile)
            bound = estimate.own[i, k]
            away.append(abs(bound - y) > 0.25 * estimate.shared[1] and (bound > y) == (k == 1))
        if np.mean(away) > 0.5:
            key = "conductance_max_s" if k == 1 else "conductance_min_s"
            said.append(
                f"most trains end far from the {word} bound; {key} = {numbers[key].value:.3g} S "
                "is an extrapolation: measure longer trains"
            )
    return said


def _residuals(problem: Problem, estimate: Estimate) -> np.ndarray:
    kept = estimate.seen[2] == 1.0
    return np.asarray((problem.y[kept] - estimate.seen[0, kept]) / estimate.seen[1, kept])
