"""Choose a substrate: every material of the catalogue against a need, with reasons and gaps.

Each criterion asked for is judged by itself: ``meets``, ``fails``, or ``unknown`` where a fact was
not published. A published "more than" that is below what is asked is unknown, not failed, and so
is an "up to" above it. Figures are those of :mod:`clnf.devices.figures`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import final

from clnf.core.errors import ConfigError
from clnf.core.inputs import check_fields, instance, shown
from clnf.core.units import quantity
from clnf.devices import figures
from clnf.devices.figures import Figure
from clnf.devices.materials import Material, material, materials

__all__ = ["Choice", "Judgement", "Need", "select"]

DAYS_PER_YEAR = 365.25
_MOST = 1e60  # of any criterion: products and ratios of them stay numbers
COSTS = ("write energy", "write time", "write voltage")


@final
@dataclass(frozen=True, kw_only=True)
class Need:
    """What a substrate must do; what stays None is not asked for.

    Attributes:
        states: states a cell must tell apart, at least.
        on_off: largest over smallest conductance, at least.
        lessons_per_day: lessons taught a day; together with ``years`` it asks for endurance.
        years: years of teaching.
        pulses_per_lesson: writes of the busiest cell in one lesson. The default of 100 is one
            pulse at each of the 100 optimizer steps of a recipe's default lesson. That is
            cautious, as most steps leave most cells alone.
        retention_s: time a state must be kept, at least.
        temperature_k: temperature at which it must be kept; None takes any.
        write_energy_j: energy of a write pulse, at most.
        write_time_s: width of a write pulse, at most.
        write_voltage_v: amplitude of a write pulse, at most.
    """

    states: float | None = quantity("1", None)
    on_off: float | None = quantity("1", None)
    lessons_per_day: float | None = quantity("1", None)
    years: float | None = quantity("1", None)
    pulses_per_lesson: float = quantity("1", 100.0)
    retention_s: float | None = quantity("s", None)
    temperature_k: float | None = quantity("K", None)
    write_energy_j: float | None = quantity("J", None)
    write_time_s: float | None = quantity("s", None)
    write_voltage_v: float | None = quantity("V", None)

    def __post_init__(self) -> None:
        check_fields(self)
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and not 1 / _MOST <= value <= _MOST:
                wanted = "positive" if not value > 0 else f"{1 / _MOST:g} to {_MOST:g}"
                raise ConfigError(f"{field.name} must be {wanted}, got {value:g}; correct it")
        if (self.lessons_per_day is None) != (self.years is None):
            given = "years" if self.lessons_per_day is None else "lessons_per_day"
            raise ConfigError(
                f"endurance needs lessons_per_day and years, got {given} alone; give both"
            )
        if self.temperature_k is not None and self.retention_s is None:
            raise ConfigError(
                "a temperature is that of the retention, got it alone; say how long, too"
            )
        if not self.asked():
            raise ConfigError("nothing is asked for; give at least one criterion, such as states")

    @property
    def cycles(self) -> float | None:
        """Writes the busiest cell must survive: lessons a day, days, pulses a lesson.

        >>> Need(lessons_per_day=100, years=5).cycles
        18262500.0
        """
        if self.lessons_per_day is None or self.years is None:
            return None
        return self.lessons_per_day * DAYS_PER_YEAR * self.years * self.pulses_per_lesson

    def asked(self) -> dict[str, float]:
        """Criteria that are asked for, each with its value in SI units."""
        values = {
            "states": self.states,
            "on/off": self.on_off,
            "endurance": self.cycles,
            "retention": self.retention_s,
            "write energy": self.write_energy_j,
            "write time": self.write_time_s,
            "write voltage": self.write_voltage_v,
        }
        return {name: value for name, value in values.items() if value is not None}


@final
@dataclass(frozen=True, kw_only=True)
class Judgement:
    """One criterion of one material.

    Attributes:
        criterion: ``states``, ``on/off``, ``endurance``, ``retention`` or a ``write ...``.
        verdict: ``meets``, ``fails`` or ``unknown``.
        asked: what is needed, in SI.
        figure: what the material does, and how that is known.
        margin: how many times better than asked; None where there is no figure.
    """

    criterion: str
    verdict: str
    asked: float = quantity("1")
    figure: Figure
    margin: float | None = quantity("1", None)


@final
@dataclass(frozen=True, kw_only=True)
class Choice:
    """A material judged against a need.

    Attributes:
        material: the catalogue row.
        judgements: one for each criterion asked for.
        score: criteria met, less (n + 1) for each one failed, plus a part below 1 that grows with
            the smallest margin of those met; n is the number of criteria. A higher score ranks
            first: fails come last, then more met criteria count, then the margin.
        reason: one sentence; ``(6.2x)`` is a margin, below 1 where the criterion fails.
    """

    material: Material
    judgements: tuple[Judgement, ...]
    score: float = quantity("1")
    reason: str

    @property
    def missing(self) -> tuple[str, ...]:
        """Catalogue keys that would settle what is unknown, to be supplied by the user."""
        keys = (key for one in self.judgements if one.verdict == "unknown"
                for key in one.figure.missing)  # fmt: skip
        return tuple(dict.fromkeys(keys))


def select(need: Need, among: Iterable[Material] | None = None) -> list[Choice]:
    """Rank materials for a need.

    Args:
        need: what is asked for.
        among: rows to judge, for example with supplied values; None takes the whole catalogue.

    Returns:
        Every material judged, the best first; equal ones in the order they came.

    Raises:
        ConfigError: ``need`` or a row is something else.

    >>> best = select(Need(states=32, retention_s=1e8))[0]
    >>> best.material.name, [one.verdict for one in best.judgements]
    ('hzo_wox', ['meets', 'meets'])
    """
    instance("need", need, Need, "write select(Need(states=32))")
    try:
        rows = list(map(material, materials())) if among is None else list(among)
    except TypeError:
        raise ConfigError(f"among lists materials, got {shown(among)}; give a list") from None
    rows = [instance("a row to judge", row, Material, "take material(name)") for row in rows]
    return sorted((_choice(row, need) for row in rows), key=lambda one: -one.score)


def _choice(row: Material, need: Need) -> Choice:
    judgements = tuple(_judged(row, need, name, value) for name, value in need.asked().items())
    met = [one for one in judgements if one.verdict == "meets"]
    fails = sum(one.verdict == "fails" for one in judgements)
    least = min((one.margin or 0.0 for one in met), default=0.0)
    return Choice(
        material=row,
        judgements=judgements,
        score=len(met) - (len(judgements) + 1) * fails + least / (1 + least),
        reason=_reason(judgements),
    )


def _judged(row: Material, need: Need, criterion: str, asked: float) -> Judgement:
    figure = _figure(row, need, criterion, asked)
    if figure.value is None:
        return Judgement(criterion=criterion, verdict="unknown", asked=asked, figure=figure)
    cost = criterion in COSTS
    margin = asked / figure.value if cost else figure.value / asked
    # A bound on the wrong side of what is asked decides nothing.
    open_side = "at_most" if (margin >= 1) != cost else "at_least"
    verdict = "meets" if margin >= 1 else "fails"
    if figure.limit == open_side:
        verdict = "unknown"
    return Judgement(
        criterion=criterion, verdict=verdict, asked=asked, figure=figure, margin=margin
    )


def _figure(row: Material, need: Need, criterion: str, asked: float) -> Figure:
    ways: dict[str, Callable[[], Figure]] = {
        "states": lambda: figures.states(row, asked),
        "on/off": lambda: figures.on_off(row),
        "endurance": lambda: figures.endurance(row, need.states),
        "retention": lambda: figures.retention(row, need.temperature_k),
        "write energy": lambda: figures.write_energy(row),
        "write time": lambda: figures.single(row, "write_time_s"),
        "write voltage": lambda: figures.write_voltage(row),
    }
    return ways[criterion]()


def _reason(judgements: tuple[Judgement, ...]) -> str:
    """One sentence: what is met and failed, by how much, and what nobody published."""
    parts = []
    for verdict, opening in (("meets", "meets"), ("fails", "fails"), ("unknown", "unknown:")):
        named = [
            one.criterion + ("" if verdict == "unknown" else _times(one.margin))
            for one in judgements
            if one.verdict == verdict
        ]
        if named:
            parts.append(f"{opening} {', '.join(named)}")
    return "; ".join(parts)


def _times(margin: float | None) -> str:
    if margin is None:
        return ""
    return " (>1000x)" if margin > 1000 else f" ({float(f'{margin:.2g}'):g}x)"
