"""Whether cells behave as was published: simulated means and spreads against their bands.

    inside:  |simulated - published| <= 4.5 standard errors + tolerance

A law with a closed form has it as the published side; pulses have an event-by-event NumPy path
with library normals, whose own standard error is added (:mod:`clnf.devices.published`). The
tolerance is ``TOLERANCE`` of the published spread, for draws that are sums of eight bytes: such a
sum lacks the far tails of a normal law, which a law that bends lets through to mean and spread.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from clnf.core.units import quantity
from clnf.devices import published, samples
from clnf.devices.cell import Cell, Unknown
from clnf.devices.draws import hash_key
from clnf.devices.families import cell
from clnf.devices.materials import Material, material
from clnf.devices.published import Moments
from clnf.devices.samples import AGES

__all__ = ["TOLERANCE", "Check", "Statistics", "statistics", "targets"]

# Share of the published spread by which draws may differ from a normal law's.
TOLERANCE = 0.02
_ERRORS = 4.5
# Rounding of float32 cells, as a share of the largest figure.
_ROUNDING = 4e-6
_MARKS = (1, 10, 100, 300)
_SHARES = (0.1, 0.25, 0.5, 0.75, 1.0)

Array = NDArray[np.float64]


@final
@dataclass(frozen=True, kw_only=True)
class Check:
    """One law at one place, simulated and published.

    Attributes:
        law: pulses, symmetric point, programming, drift, read noise or life.
        at: the place, for people.
        unit: of all numbers.
        simulated: moments of the simulated cells.
        published: those of the published law.
        band: by how much mean and spread may differ.
    """

    law: str
    at: str
    unit: str
    simulated: Moments
    published: Moments
    band: Moments

    @property
    def inside(self) -> bool:
        """Whether mean and spread lie inside their bands."""
        both = ((getattr(self.simulated, n), getattr(self.published, n), getattr(self.band, n))
                for n in ("mean", "spread"))  # fmt: skip
        return all(
            abs(mine - theirs) <= band or (math.isnan(mine) and math.isnan(theirs))
            for mine, theirs, band in both
        )


@final
@dataclass(frozen=True, kw_only=True)
class Statistics:
    """All that could be judged of one material.

    Attributes:
        material: the row's name.
        cells: simulated.
        pulses: in either direction.
        checks: law by law.
        left_out: laws that could not be made, with the sentence that says why.
    """

    material: str
    cells: int = quantity("1")
    pulses: int = quantity("1")
    checks: tuple[Check, ...]
    left_out: dict[str, str]

    @property
    def outside(self) -> tuple[Check, ...]:
        """Checks that failed."""
        return tuple(check for check in self.checks if not check.inside)


def statistics(
    row: Material | str,
    *,
    cells: int = 4000,
    pulses: int = 1000,
    seed: int = 0,
    built: Cell | None = None,
) -> Statistics:
    """Judge the cells of a material by what was published of it.

    Args:
        row: a catalogue row or its name.
        cells: simulated for each law, at least 100.
        pulses: up, and then as many down.
        seed: of all draws.
        built: judge this cell in place of the row's own, against the row.

    >>> found = statistics("cmo_hfox", cells=500)
    >>> len(found.checks), found.outside, len(found.left_out)
    (35, (), 5)
    """
    row = material(row) if isinstance(row, str) else row
    one = built or cell(row)
    size = _Size(cells=cells, pulses=pulses, seed=seed)
    checks = (*_pulses(row, one, size), *_programming(row, one, size), *_drift(row, one, size),
              *_reads(row, one, size), *_lives(row, one, size))  # fmt: skip
    return Statistics(
        material=row.name, cells=cells, pulses=pulses, checks=checks, left_out=one.left_out
    )


@final
@dataclass(frozen=True, kw_only=True)
class _Size:
    cells: int
    pulses: int
    seed: int


def targets(one: Cell) -> tuple[float, ...]:
    """Conductances that a cell is judged at, S: shares of full scale inside its window.

    Raises:
        DeviceLimitError: the window is unknown.
    """
    window = one.need(one.window)
    return tuple(
        share * window.high_s for share in _SHARES if share * window.high_s >= window.low_s
    )


def _pulses(row: Material, one: Cell, size: _Size) -> Iterator[Check]:
    if isinstance(one.response, Unknown):
        return
    marks = (*(n for n in _MARKS if n < size.pulses), size.pulses)
    mine = samples.pulsed(one.response, marks, cells=size.cells, seed=size.seed)
    theirs = published.pulsed(row, marks, cells=size.cells, seed=size.seed)
    for way, word in enumerate(("up", "down")):
        for place, n in enumerate(marks):
            at = f"{n} {'pulse' if n == 1 else 'pulses'} {word}"
            law, a, b = _moments(theirs[way, place]), mine[way, place], theirs[way, place]
            yield _check("pulses", at, "1", a, law, also=b)
    found, wanted = samples.crossing(one.response), published.crossing(row)
    yield Check(
        law="symmetric point",
        at="a typical cell",
        unit="1",
        simulated=Moments(mean=found, spread=0.0),
        published=Moments(mean=wanted, spread=0.0),
        band=Moments(mean=TOLERANCE * one.response.step + 1e-3, spread=0.0),
    )


def _programming(row: Material, one: Cell, size: _Size) -> Iterator[Check]:
    if isinstance(one.programming, Unknown) or isinstance(one.window, Unknown):
        return
    goals = targets(one)
    mine = samples.programmed(one.programming, goals, cells=size.cells, seed=size.seed)
    for goal, cells in zip(goals, mine, strict=True):
        law = published.programmed(row, goal)
        yield _check("programming", _human_s(goal), "S", cells, law)


def _drift(row: Material, one: Cell, size: _Size) -> Iterator[Check]:
    if isinstance(one.drift, Unknown) or isinstance(one.window, Unknown):
        return
    goals, ages = targets(one), tuple(AGES)
    mine = samples.drifted(one.drift, goals, ages, cells=size.cells, seed=size.seed)
    for number, goal in enumerate(goals):
        for place, age in enumerate(ages):
            law = published.drifted(row, goal, age)
            at = f"{_human_s(goal)} after {AGES[age]}"
            yield _check("drift", at, "S", mine[place, number], law)


def _reads(row: Material, one: Cell, size: _Size) -> Iterator[Check]:
    if isinstance(one.noise, Unknown) or isinstance(one.window, Unknown):
        return
    goals, ages = targets(one), (min(AGES), max(AGES))
    since_s = row.values["drift_reference_s"].number if "drift_reference_s" in row.values else 0.0
    times = tuple(age + since_s for age in ages)
    mine = samples.read(one.noise, goals, times, cells=size.cells, seed=size.seed)
    for number, goal in enumerate(goals):
        for place, age in enumerate(ages):
            sigma = published.read_sigma(row, goal, times[place])
            law = Moments(mean=goal, spread=sigma)
            at = f"{_human_s(goal)} after {AGES[age]}"
            yield _check("read noise", at, "S", mine[place, number], law)


def _lives(row: Material, one: Cell, size: _Size) -> Iterator[Check]:
    if isinstance(one.endurance, Unknown):
        return
    lives = one.endurance.life(size.cells, hash_key(size.seed, "samples", "life"))
    median = f"median {one.endurance.cycles:.3g}".replace("e+0", "e").replace("e+", "e")
    yield _check("life", median, "1", lives.numpy().astype(np.float64), published.life(row))


def _check(
    law: str, at: str, unit: str, cells: Array, known: Moments, *, also: Array | None = None
) -> Check:
    mine, wide = _moments(cells), TOLERANCE * known.spread
    errors = [_errors(cells)] + ([_errors(also)] if also is not None else [])
    mean, spread = (_ERRORS * math.hypot(*kind) for kind in zip(*errors, strict=True))
    rounding = _ROUNDING * max(abs(known.mean), known.spread)
    band = Moments(mean=mean + wide + rounding, spread=spread + wide + rounding)
    return Check(law=law, at=at, unit=unit, simulated=mine, published=known, band=band)


def _moments(cells: Array) -> Moments:
    return Moments(mean=float(cells.mean()), spread=float(cells.std()))


def _errors(cells: Array) -> tuple[float, float]:
    """Standard errors of the mean and of the standard deviation, from the sample."""
    apart = (cells - cells.mean()) ** 2
    variance = float(apart.mean())
    if variance == 0.0:
        return 0.0, 0.0
    fourth = float((apart**2).mean())
    of_variance = math.sqrt(max(fourth - variance**2, 0.0) / cells.size)
    return math.sqrt(variance / cells.size), of_variance / (2 * math.sqrt(variance))


def _human_s(conductance_s: float) -> str:
    large = conductance_s >= 0.9995e-6
    return f"{conductance_s * (1e6 if large else 1e9):.4g} {'µS' if large else 'nS'}"
