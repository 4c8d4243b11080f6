"""The report: one HTML file with everything inside, for a person who never heard of clnf."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from clnf import __version__
from clnf.core.ledger import ATTOJOULES_PER_JOULE
from clnf.core.toml import load_toml, recipe_hash
from clnf.living.files import write_whole
from clnf.living.floor import CHIP_JSON, CHIP_PNG
from clnf.living.journal import Journal
from clnf.living.pictures import grid, safe_name
from clnf.living.summary import ArmSummary, summarise

__all__ = ["render", "si", "write_report"]

SECONDS_PER_DAY = 86400.0
ZERO_C_K = 273.15
_PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ"),
             (1e-9, "n"), (1e-12, "p"), (1e-15, "f"))  # fmt: skip

_WORK = {
    "read": "products in the arrays",
    "dac": "input converters",
    "adc": "output converters",
    "shift_add": "adding up partial sums",
    "buffer": "moving numbers",
    "routing": "moving numbers between tiles",
    "leakage": "leakage",
    "pulse": "write pulses",
    "verify": "reads that check a write",
    "digital": "digital logic",
    "move": "writing moved columns and tiles anew",
    "importance": "measuring which cells matter",
    "mask": "writing masks",
}


def si(value: float, unit: str) -> str:
    """A quantity with an SI prefix and three digits.

    >>> si(0.00123, "J"), si(999.9, "J"), si(0.0, "s")
    ('1.23 mJ', '1 kJ', '0 s')
    """
    for factor, prefix in _PREFIXES:
        # 999.9 rounds to 1000 and belongs to the next prefix.
        if abs(value) >= 0.9995 * factor:
            return f"{value / factor:.3g} {prefix}{unit}"
    return f"0 {unit}" if value == 0 else f"{value:.2g} {unit}"


def write_report(folder: Path, plain: Path | None) -> Path:
    """Write ``report.html`` into a run's folder, replacing an older one only when complete.

    Args:
        folder: the run's folder (its guarded arm).
        plain: folder of the comparison arm, if there is one.

    Returns:
        Path of the report.
    """
    return write_whole([(folder / "report.html", render(folder, plain).encode())])[0]


def render(folder: Path, plain: Path | None) -> str:
    """The report's HTML text.

    Raises:
        RunError: a journal is missing, damaged or was changed: its hashes do not match.
    """
    for arm in (folder, plain):
        if arm is not None and (arm / "journal.db").exists():
            with Journal(arm / "journal.db", read_only=True) as journal:
                journal.verify()
    guarded = summarise(folder)
    other = summarise(plain) if plain is not None and (plain / "journal.db").exists() else None
    recipe = load_toml(folder / "recipe.toml")
    arms = [(f"Guarded: {_kept_by(recipe)}", guarded)]
    if other is not None and other.rows:
        arms.append((_plain_words(recipe), other))
    environment = Environment(
        loader=PackageLoader("clnf.living", "."), autoescape=True, undefined=StrictUndefined
    )
    environment.filters.update(si=si, shade=_shade)
    return environment.get_template("report.html.j2").render(
        name=recipe["name"],
        seed=recipe["seed"],
        recipe_hash=recipe_hash(recipe),
        version=__version__,
        guarded=guarded,
        arms=arms,
        concepts=guarded.concepts,
        facts=_facts(guarded, other),
        strips=[
            (title, [row["after"] for row in arm.rows], _strips(where, arm))
            for (title, arm), where in zip(arms, (folder, plain), strict=False)
            if where is not None
        ],
        quarantine=_quarantine(folder),
        measures=_measures(guarded, other),
        changes=_changes(guarded),
        bars=_bars(guarded),
        chip=_chip(guarded),
        hardware=_hardware(guarded),
        floor=_floor(folder),
    )


_GUARDS = (
    ("rehearsal", "rehearsal"), ("ewc", "EWC"), ("fence", "fence"), ("distil", "distillation"),
    ("c_lora", "C-LoRA"), ("o_lora", "O-LoRA"), ("gate", "gate"), ("monitor", "monitor"),
)  # fmt: skip


def _kept_by(recipe: dict[str, Any]) -> str:
    """What a recipe holds against forgetting.

    >>> _kept_by({"guards": {"ewc": True, "gate": True, "fence": False, "distil": 0.0}})
    'EWC, gate'
    >>> _kept_by({"adapter": {"own": 12}, "guards": {}})
    'adapters of its own for each concept'
    """
    adapter, guards = recipe.get("adapter", {}), recipe.get("guards", {})
    apart = [
        *(["adapters of its own for each concept"] if adapter.get("own") else []),
        *(["adapters of its own for each lesson"] if adapter.get("lessons") else []),
        *(["masks"] if recipe.get("mask", {}).get("kind", "none") != "none" else []),
    ]
    return ", ".join([*apart, *(words for key, words in _GUARDS if guards.get(key))]) or "nothing"


def _plain_words(recipe: dict[str, Any]) -> str:
    """What the plain arm of a recipe is.

    >>> _plain_words({"guards": {"gate": False, "ewc": True}})
    'Plain fine-tuning: same cells and lessons, one set of adapters, no gate and no guards'
    """
    held = "nothing but the gate" if recipe["guards"]["gate"] else "no gate and no guards"
    return f"Plain fine-tuning: same cells and lessons, one set of adapters, {held}"


def _facts(guarded: ArmSummary, plain: ArmSummary | None) -> list[tuple[str, str]]:
    if not guarded.rows:
        return []
    facts = [(f"{max(guarded.core_drop(), 0):.1f} points", "lost of what it knew at first")]
    if plain is not None and plain.rows:
        facts.append((f"{max(plain.core_drop(), 0):.1f} points", "lost by plain fine-tuning"))
    taught = ((guarded, "of what it learned"), (plain, "of the same by plain fine-tuning"))
    for arm, words in taught:
        learned = arm.learned_mean() if arm is not None and arm.rows else None
        if learned is None:
            break  # where nothing was learned there is nothing to compare
        facts.append((f"{100 * learned:.0f} %", f"{words} is drawn right at the end"))
    actions = [lesson.action for lesson in guarded.lessons]
    away = sum(sum(lesson.quarantined.values()) for lesson in guarded.lessons)
    return [
        *facts,
        _counted(actions.count("commit"), "lesson", "kept"),
        _counted(actions.count("rollback"), "lesson", "undone"),
        *([(str(actions.count("undone")), "undone by hand")] if guarded.undone else []),
        _counted(away, "bad sample", "turned away"),
        (si(guarded.total_j(), "J"), "used by the chip for the lessons"),
        (si(guarded.total_s(), "s"), "of chip time"),
    ]


def _counted(count: int, what: str, done: str) -> tuple[str, str]:
    """A box with a number of things.

    >>> _counted(1, "lesson", "kept"), _counted(0, "lesson", "undone")
    (('1', 'lesson kept'), ('0', 'lessons undone'))
    """
    return str(count), f"{what}{'' if count == 1 else 's'} {done}"


# Key, words, what they mean, factor, unit. Points are hundredths of a match.
_MEASURES = (
    ("average", "average match", "over all kinds, at the end", 100.0, " %"),
    ("backward_transfer", "backward transfer",
     "change since a kind was learned, on average; below 0 is loss", 100.0, " points"),
    ("forgetting", "forgetting",
     "fall from the best a kind ever was, on average", 100.0, " points"),
    ("intransigence", "intransigence",
     "what plain fine-tuning learns more, right after each lesson", 100.0, " points"),
    ("stability_gap", "stability gap",
     "deepest fall of what was known inside a lesson, on average", 100.0, " points"),
    ("retention", "retention", "share of what was learned that is still there", 100.0, " %"),
    ("retention_per_joule", "retention per joule",
     "over the energy of all lessons and of what looking after the chip took", 1.0, " /J"),
    ("retention_per_write", "retention per million writes",
     "over the pulses on cells in the same time", 1e6, ""),
    ("retention_per_byte", "retention per megabyte",
     "over what guards remember: samples, importance, masks", 1e6, ""),
)  # fmt: skip


def _measures(guarded: ArmSummary, plain: ArmSummary | None) -> list[tuple[str, str, str, str]]:
    """Measures of the whole stream: words, guarded value, plain value, meaning."""
    mine = guarded.measures(plain)
    others = plain.measures() if plain is not None else {}
    return [
        (words, _figure(mine.get(key), factor, unit), _figure(others.get(key), factor, unit), means)
        for key, words, means, factor, unit in _MEASURES
        if mine.get(key) is not None
    ]


def _figure(value: float | None, factor: float, unit: str) -> str:
    """Three digits of a measure, or a dash.

    >>> _figure(0.98, 100.0, " %"), _figure(None, 1.0, ""), _figure(-0.0001, 100.0, " points")
    ('98.0 %', '–', '0.0 points')
    """
    if value is None:
        return "\N{EN DASH}"
    scaled = value * factor
    if factor == 100.0:
        return f"{round(scaled, 1) + 0.0:.1f}{unit}"
    return f"{scaled:.3g}{unit}"


def _changes(arm: ArmSummary) -> list[tuple[str, str, str, str]]:
    """What changed before which lesson, what was done, and what that took."""
    lines = []
    for one in arm.drift:
        done = one["response"]
        if "off_before" in one:
            done += f": products {100 * one['off_before']:.1f} % off before, "
            done += f"{100 * one['off_after']:.1f} % after"
        elif "undone" in one:
            done += f": {one['undone']} was undone by {one['pulses']:,} pulses"
        elif "held" in one:
            anew = ", ".join(one["held"])
            done += f": importance measured anew for {anew}" if anew else ": nothing to hold"
        cost = si(one["energy_aj"] / ATTOJOULES_PER_JOULE, "J") if "energy_aj" in one else ""
        lines.append((one["lesson"], one["reason"], done, cost))
    return lines


def _shade(match: float) -> str:
    """White at 0 to green at 1, dark text readable on all of it."""
    low, high = np.array([252, 236, 232]), np.array([122, 201, 154])
    red, green, blue = (low + (high - low) * match).round().astype(int)
    return f"rgb({red},{green},{blue})"


def _strips(folder: Path, arm: ArmSummary) -> list[tuple[str, list[str]]]:
    table = []
    for concept in arm.concepts:
        cells = []
        for row in arm.rows:
            file = folder / "media" / safe_name(row["after"]) / f"{safe_name(concept)}.png"
            # An empty cell keeps the columns in step where the concept was not taught yet.
            cells.append(_uri(file.read_bytes()) if file.exists() else "")
        table.append((concept, cells))
    return table


def _quarantine(folder: Path) -> list[tuple[str, int, str]]:
    found: dict[str, tuple[int, str]] = {}
    with Journal(folder / "journal.db", read_only=True) as journal:
        for row in journal.quarantine():
            count, uri = found.get(row.reason, (0, ""))
            found[row.reason] = (count + len(row.samples), uri or _thumbnails(row.samples))
    return [(reason, count, uri) for reason, (count, uri) in found.items()]


def _thumbnails(samples: np.ndarray[Any, Any]) -> str:
    if samples.ndim != 4 or samples.shape[1] != 3:
        return ""
    finite = np.nan_to_num(samples[:8], nan=-1.0, posinf=1.0, neginf=-1.0).clip(-1, 1)
    levels = ((finite + 1) * 127.5).round().astype(np.uint8).transpose(0, 2, 3, 1)
    buffer = io.BytesIO()
    picture: Image.Image = grid(levels, 8)
    picture.save(buffer, "PNG")
    return _uri(buffer.getvalue())


def _bars(arm: ArmSummary) -> list[tuple[str, float, float]]:
    spent = sorted(arm.energy_by_op_j.items(), key=lambda item: -item[1])
    most = max((joules for _, joules in spent), default=0.0)
    return [(_WORK.get(op, op), joules, joules / most) for op, joules in spent if joules > 0]


def _chip(arm: ArmSummary) -> list[tuple[str, str]]:
    wear = arm.wear
    if not wear:
        return []
    plane, column, row = wear["most_worn_cell"]
    where = f"plane {plane}, column {column}, row {row} of {wear['most_worn_tile']}"
    # JSON has no infinity: where nothing was ever written, there is no rate.
    left = "no end" if wear["life_lessons"] is None else f"{wear['life_lessons']:,.0f}"
    survives = f"{wear['endurance_pulses']:,.0f} ({wear['endurance_source']})"
    return [
        ("most worn cell", where),
        ("pulses on it", f"{wear['pulses_on_it']:,}"),
        ("pulses it should survive", survives),
        ("lessons left at this rate", left),
        *_life(wear.get("life", {})),
        ("days simulated", f"{wear['simulated_clock_s'] / SECONDS_PER_DAY:.1f}"),
    ]


def _life(life: dict[str, Any]) -> list[tuple[str, str]]:
    if "lessons" not in life:
        return [("projected life", life["unknown"])] if "unknown" in life else []
    each = (life[key] for key in ("lessons", "low", "high"))
    middle, low, high = ("no end" if one is None else f"{one:,.0f}" for one in each)
    return [("projected life of the tile that dies first", f"{middle} lessons ({low} to {high})")]


def _hardware(arm: ArmSummary) -> list[tuple[str, str, str, str]]:
    """What each lesson asked of masks, heat and budget; nothing where no recipe asks."""
    lines = []
    for lesson in arm.lessons:
        mask, heat, budget = (lesson.hardware.get(key) for key in ("mask", "heat", "budget"))
        held = warm = spent = ""
        if mask:
            cost = si(mask["measured_aj"] / ATTOJOULES_PER_JOULE, "J")
            held = f"{100 * mask['shut']:.0f} % of weights shut; measuring took {cost}"
        if heat:
            warm = f"hottest cell {heat['hottest_k'] - ZERO_C_K:.1f} °C"
            if heat.get("slower", 1.0) > 1.0:
                warm += f", held there by working {heat['slower']:.2f} times slower"
        if budget:
            spent = f"{budget['spent']:,} of {budget['pulses']:,}"
        if held or warm or spent:
            lines.append((lesson.name, held, warm, spent))
    return lines


def _floor(folder: Path) -> dict[str, Any] | None:
    """Picture and lines of the chip's groups, where somebody looked at the chip."""
    table, picture = (folder / "media" / name for name in (CHIP_JSON, CHIP_PNG))
    if not table.exists() or not picture.exists():
        return None
    found = json.loads(table.read_text(encoding="utf-8"))
    lines = [
        (
            line["group"], line["tiles"], line["learning"], f"{100 * line['used']:.2g} %",
            f"{line['area_m2'] * 1e6:.2f} mm²", si(line["work_j"], "J"),
            si(line["routing_j"], "J"), f"{line['most_worn']:,}",
            f"{line['hottest_k'] - ZERO_C_K:.2f} °C",
        )
        for line in found["groups"]
    ]  # fmt: skip
    routing = found["routing"]
    return {
        "uri": _uri(picture.read_bytes()),
        "lines": lines,
        "evaluations": found["evaluations"],
        "routing": si(routing["energy_j"], "J"),
        "chance": si(routing["random_placement_j"], "J"),
        "unknown": routing["unknown"],
    }


def _uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()
