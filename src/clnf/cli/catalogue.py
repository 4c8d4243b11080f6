"""What a person sees of the materials catalogue: human units, tables that fit 100 columns."""

import sys
from dataclasses import asdict
from textwrap import fill
from typing import Any

from clnf.cli.show import COLUMNS, show_table
from clnf.devices import figures
from clnf.devices.keys import KEYS
from clnf.devices.materials import Material, Value
from clnf.devices.select import DAYS_PER_YEAR, Choice, Judgement, Need

__all__ = ["choice_values", "human", "show_choices", "show_material", "show_materials"]

ZERO_C_K = 273.15
EV_J = 1.602176634e-19
SECONDS_PER_DAY = 86400.0
PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ"),
            (1e-9, "n"), (1e-12, "p"), (1e-15, "f"))  # fmt: skip
BOUNDS = {"": "", "at_least": "> ", "at_most": "up to "}


def human(value: float | tuple[float, ...], unit: str, digits: int = 6) -> str:
    """A value in SI as people write it: µS, ns, pJ, °C, years.

    Coefficients share one prefix, that of the largest.

    >>> human(2.5e-05, "S"), human(315576000.0, "s"), human(358.15, "K"), human((0.0, 5e-9), "s")
    ('25 µS', '10 years', '85 °C', '[0, 5] ns')
    """
    if unit == "K" and not isinstance(value, tuple):
        return f"{value - ZERO_C_K:.4g} °C"
    numbers = value if isinstance(value, tuple) else (value,)
    largest = max(map(abs, numbers))
    factor, sign = _scale(largest, unit)
    exact = [_digits(number / factor, digits) for number in numbers]
    text = f"[{', '.join(exact)}]" if isinstance(value, tuple) else exact[0]
    return f"{text} {sign}".strip()


def _scale(largest: float, unit: str) -> tuple[float, str]:
    """What to divide by, and the unit to write behind it."""
    if unit == "s" and largest >= 1:
        if largest >= SECONDS_PER_DAY * DAYS_PER_YEAR:
            return SECONDS_PER_DAY * DAYS_PER_YEAR, "years"
        return (SECONDS_PER_DAY, "days") if largest >= SECONDS_PER_DAY else (1.0, "s")
    if unit in ("1", "V", "A/V^2", "A/V^3", "1/K", "C/m^2") or largest == 0:
        return 1.0, "" if unit == "1" else unit
    # 999.9 rounds to 1000 and belongs to the next prefix.
    factor, prefix = next((p for p in PREFIXES if largest >= 0.9995 * p[0]), PREFIXES[-1])
    return factor, prefix + unit


def _digits(number: float, digits: int = 6) -> str:
    text = f"{number:.{digits}g}"
    mantissa, e, power = text.partition("e")
    return f"{mantissa}e{int(power)}" if e else mantissa


def _said(key: str, value: Value) -> str:
    bound = BOUNDS[value.limit]
    if key == "retention_activation":
        return f"{bound}{value.number / EV_J:.4g} eV"
    if key.startswith("programming_noise_g"):  # powers of G: each coefficient has its own unit
        return f"[{', '.join(map(_digits, value.coefficients))}] SI"
    return bound + human(value.value, value.unit)


def show_materials(rows: list[Material]) -> None:
    """Print one line for each material of the catalogue; fewer columns where 100 do not fit."""
    from rich.console import Console
    from rich.table import Table

    # Ten columns fit 100 only without the room that `show_table` leaves between them.
    console = Console(width=min(COLUMNS, Console().width) if sys.stdout.isatty() else COLUMNS)
    narrow = console.width < COLUMNS - 1
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for head in _HEADS:
        if not (narrow and head in _NOT_IN_NARROW):
            right = head in ("has", "gaps")
            table.add_column(head, justify="right" if right else "left", overflow="fold")
    for row in rows:
        cells = dict(zip(_HEADS, _line(row), strict=True))
        table.add_row(
            *(text for head, text in cells.items() if not (narrow and head in _NOT_IN_NARROW))
        )
    console.print(table, markup=False, highlight=False)
    print(f"\n{fill(' '.join(_LEGEND.split()), console.width)}\n")
    print("clnf chip materials NAME shows one material in full, with its sources.")


_HEADS = ("material", "family", "window", "states", "d2d", "c2c", "writes", "keeps", "has", "gaps")
_NOT_IN_NARROW = ("family", "d2d", "c2c")


def _line(row: Material) -> tuple[str, ...]:
    return (
        row.name,
        row.family,
        _window(row),
        _states(row),
        _number(row, "step_spread"),
        _number(row, "cycle_spread"),
        _bounded(row, "endurance_cycles"),
        _retention(row),
        str(len(row.values)),
        str(len(row.missing)),
    )


_LEGEND = """
window: conductance. states: as published, or with * the range in mean steps, which is no count of
pulses. d2d, c2c: spread of the step from device to device and from cycle to cycle, in mean steps.
writes: endurance. keeps: retention. has: published values. gaps: values a user will need that
nobody published. < and >: only a bound was published. ?: this end was not.
"""


def show_material(row: Material) -> None:
    """Print everything known about one material, with its sources, then what is missing."""
    values = row.values.items()
    places = list(
        dict.fromkeys([value.source for _, value in values] + [f.source for f in row.facts])
    )
    numbers = {source: f"[{number}]" for number, source in enumerate(places, 1)}
    lines = [(key, _said(key, one), numbers[one.source], one.note) for key, one in values]
    title = f"{row.name}: {row.title} (family {row.family})"
    show_table(("key", "value", "", "note"), lines, title=title)
    for fact in row.facts:
        print(fill(f"Also published: {fact.text} {numbers[fact.source]}", COLUMNS))
    for source, number in numbers.items():
        print(fill(f"{number} {source}", COLUMNS, subsequent_indent="    "))
    if not row.missing:
        return
    print()
    lacking = [(key, KEYS[key].unit, KEYS[key].meaning) for key in row.missing]
    show_table(
        ("key", "unit", "meaning"),
        lacking,
        title="Not published; supply your own value where you need it",
    )


def show_choices(need: Need, choices: list[Choice], top: int) -> None:
    """Print the ranking, and the best choice in full.

    Args:
        need: what was asked for.
        choices: the best first.
        top: how many to list; 0 lists all.
    """
    shown = choices[:top] if top else choices
    lines = [
        (place, one.material.name, one.reason, ", ".join(one.missing) or "-")
        for place, one in enumerate(shown, 1)
    ]
    asked = ", ".join(f"{name} {human(value, UNITS[name])}" for name, value in need.asked().items())
    if need.temperature_k is not None:
        asked += f" at {human(need.temperature_k, 'K')}"
    show_table(
        ("", "material", "why", "facts to supply"),
        lines,
        title=f"Asked: {asked}. (2x): twice as good as asked",
    )
    if len(shown) < len(choices):
        print(f"{len(choices) - len(shown)} more follow; --top 0 lists all.\n")
    best = choices[0]
    rows = [(j.criterion, j.verdict, _has(j), _grounds(j)) for j in best.judgements]
    show_table(
        ("criterion", "verdict", "has", "how it is known"),
        rows,
        title=f"{best.material.name}: {best.material.title}",
    )


UNITS = {
    "states": "1", "on/off": "1", "endurance": "1", "retention": "s", "write energy": "J",
    "write time": "s", "write voltage": "V",
}  # fmt: skip


def choice_values(one: Choice) -> dict[str, Any]:
    """A choice as JSON values."""
    return {
        "material": one.material.name,
        "title": one.material.title,
        "score": one.score,
        "reason": one.reason,
        "to_supply": list(one.missing),
        "judgements": [asdict(j) | {"unit": UNITS[j.criterion]} for j in one.judgements],
    }


def _has(j: Judgement) -> str:
    if j.figure.value is None:
        return "-"
    return BOUNDS[j.figure.limit] + human(j.figure.value, UNITS[j.criterion], digits=4)


def _grounds(j: Judgement) -> str:
    return f"{j.figure.how}; {j.figure.source}" if j.figure.source else j.figure.how


def _window(row: Material) -> str:
    high, low = (row.values.get(f"conductance_{end}_s") for end in ("max", "min"))
    if high is None:
        current = row.values.get("current_max_a")
        return f"<{human(current.number, 'A')}" if current else "-"
    factor, unit = _scale(high.number, "S")
    ends = [_digits(end.number / factor, 4) for end in (low, high) if end]
    return f"{'-'.join(ends)} {unit}" if low else f"?-{ends[0]} {unit}"


def _states(row: Material) -> str:
    if "states" in row.values or "step" not in row.values:
        return _bounded(row, "states")
    low, high = figures.bounds(row)
    steps = (high - low) / row.values["step"].number
    return f"{steps:.0f}*" if steps >= 10 else f"{steps:.1f}*"


def _number(row: Material, key: str) -> str:
    return _digits(row.values[key].number, 3) if key in row.values else "-"


def _bounded(row: Material, key: str) -> str:
    if key not in row.values:
        return "-"
    return _SIGNS[row.values[key].limit] + _digits(row.values[key].number)


_SIGNS = {"": "", "at_least": ">", "at_most": "<"}


def _retention(row: Material) -> str:
    if "retention_s" not in row.values:
        return "-"
    factor, unit = _scale(row.values["retention_s"].number, "s")
    span = _digits(row.values["retention_s"].number / factor, 4)
    text = f"{_SIGNS[row.values['retention_s'].limit]}{span} {unit[0]}"
    kelvin = row.values.get("retention_temperature_k")
    return f"{text}, {human(kelvin.number, 'K').replace(' ', '')}" if kelvin else text
