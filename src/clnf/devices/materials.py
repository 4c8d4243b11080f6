"""The materials catalogue: published values, each with its source, and no invented ones."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, final

from clnf.core.errors import ClnfError, ConfigError, DeviceLimitError
from clnf.core.inputs import instance, number, shown
from clnf.core.units import quantity
from clnf.devices.keys import KEYS, checked, known_key

__all__ = [
    "FAMILIES",
    "SUPPLIED",
    "Fact",
    "Material",
    "Value",
    "lookup",
    "material",
    "materials",
    "read_catalogue",
]

SUPPLIED = "supplied by the user"
FAMILIES = (
    "soft_bounds", "exponential", "pcm", "reram", "ecram", "fefet", "cbram", "mos2", "sonos",
    "capacitor", "fitted",
)  # fmt: skip
LIMITS = ("", "at_least", "at_most")
_WINDOW = ("conductance_min_s", "conductance_max_s")
# What a fitted row says of its steps, for people; its keys say the same to the program.
LAWS = ("linear", "soft_bounds", "exponential", "power")


@final
@dataclass(frozen=True, kw_only=True)
class Value:
    """One published value.

    Attributes:
        value: the number, or the coefficients of the named law, ascending powers.
        unit: SI symbol, ``"1"`` for a pure number.
        source: where it was published.
        material: the catalogue row it comes from.
        note: how it was read, converted or meant; empty where there is nothing to add.
        limit: ``"at_least"`` or ``"at_most"`` where only a bound was published, else empty.
        interval: confidence interval of a fitted number; empty for any other.
    """

    value: float | tuple[float, ...] = quantity("1")
    unit: str
    source: str
    material: str
    note: str = ""
    limit: str = ""
    interval: tuple[float, ...] = quantity("1", ())

    @property
    def number(self) -> float:
        """The value as one float; raises DeviceLimitError where it is a list."""
        if isinstance(self.value, tuple):
            raise DeviceLimitError(f"{self.material} holds coefficients here, not one number")
        return self.value

    @property
    def coefficients(self) -> tuple[float, ...]:
        """The value as a tuple of floats."""
        return self.value if isinstance(self.value, tuple) else (self.value,)


@final
@dataclass(frozen=True, kw_only=True)
class Fact:
    """Something published about a material without a number."""

    text: str
    source: str


@final
@dataclass(frozen=True, kw_only=True)
class Material:
    """One row of the catalogue: what is known about a material, nothing else.

    Attributes:
        name: the row.
        title: what the material is, for people.
        values: what is known, by key.
        family: which physics describes the cell, one of ``FAMILIES``; empty where none does.
        facts: what was published without a number.
        missing: keys that a user of the row will need and nobody published.
    """

    name: str
    title: str
    values: Mapping[str, Value]
    family: str = ""
    facts: tuple[Fact, ...] = ()
    missing: tuple[str, ...] = ()

    def get(self, key: str) -> Value:
        """A published value.

        Raises:
            DeviceLimitError: the catalogue holds no such value for this material.
        """
        if instance("key", key, str) not in self.values:
            raise DeviceLimitError(
                f"no published value of {key!r} is known for {self.name} ({self.title}); give your "
                f"own, --supply {self.name}.{key}=VALUE where a command takes it or "
                f".supply({key}=VALUE) in Python, or name a material to borrow it from"
            )
        return self.values[key]

    def borrow(self, **rows: str) -> "Material":
        """Fill what is missing from other rows; what is known stays.

        Args:
            rows: name of a row by key. The value keeps its source and says where it is from.

        Raises:
            DeviceLimitError: that row does not know it either.

        >>> row = material("hfo2_array").borrow(endurance_cycles="hfox_generic")
        >>> row.get("endurance_cycles").material
        'hfox_generic'
        """
        found = {k: material(name).get(k) for k, name in rows.items() if k not in self.values}
        missing = tuple(key for key in self.missing if key not in found)
        return replace(self, values={**self.values, **found}, missing=missing)

    def supply(self, **values: float | tuple[float, ...]) -> "Material":
        """The material with values of your own, in SI units, added or put in place of others.

        Args:
            values: one number or a tuple of coefficients by catalogue key.

        Returns:
            A new row; ``source`` of these values says that they are yours.

        Raises:
            ConfigError: no such key, or a list where one number belongs.
            DeviceLimitError: a number is not finite or out of its range, or the window would end
                below where it begins.

        >>> cell = material("hfo2_array").supply(endurance_cycles=1e6)
        >>> cell.get("endurance_cycles").source
        'supplied by the user'
        """
        own = {
            key: Value(
                value=checked(key, value),
                unit=known_key(key).unit,
                source=SUPPLIED,
                material=self.name,
            )
            for key, value in values.items()
        }
        missing = tuple(key for key in self.missing if key not in own)
        every = {**self.values, **own}
        if own.keys() & set(_WINDOW):
            _ordered(self.name, every)
        return replace(self, values=every, missing=missing)


def read_catalogue(text: str) -> dict[str, Material]:
    """Read and check rows in the form of ``materials.toml``, whose first lines explain it.

    Args:
        text: TOML.

    Returns:
        The rows by name.

    Raises:
        ConfigError: not TOML, or a row without title or known family, an unknown key, a unit that
            is not the key's, a value out of its range, or one without a source.

    >>> states = '{ value = 8, unit = "1", source = "my own wafer" }'
    >>> mine = f'mine = {{ title = "Mine", family = "reram", states = {states} }}'
    >>> read_catalogue(mine)["mine"].get("states").number
    8.0
    """
    try:
        tables = tomllib.loads(instance("a catalogue", text, str, "give the text of a TOML file"))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"the catalogue is not valid TOML: {error}") from None
    return {name: _row(name, table) for name, table in tables.items()}


def _row(name: str, table: dict[str, Any]) -> Material:
    _must(isinstance(table, dict), name, "is no table; write [NAME] and its items below")
    items = dict(table)
    title, family = items.pop("title", ""), items.pop("family", "")
    facts, missing = items.pop("facts", []), items.pop("missing", [])
    for word, given in (("facts", facts), ("missing", missing)):
        _must(isinstance(given, list), name, f"has {word} {given!r}; write a list")
    _must(isinstance(title, str), name, f"has title {title!r}; write a text")
    law = items.pop("law", "linear")
    _must(law in LAWS, name, f"has law {law!r}; take one of {', '.join(LAWS)}")
    _must(bool(title), name, "has no title; say what the material is")
    _must(family in FAMILIES, name, f"has family {family!r}; take one of {', '.join(FAMILIES)}")
    values = {key: _value(name, key, item) for key, item in items.items()}
    try:
        _ordered(name, values)
    except DeviceLimitError as error:
        raise ConfigError(f"catalogue row {name}: {error}") from None
    for key in missing:
        _must(
            isinstance(key, str) and key in KEYS,
            name,
            f"misses {key!r}, which is no key; see clnf.devices.keys.KEYS",
        )
        _must(key not in values, name, f"misses {key!r} and has it; drop one of the two")
    for fact in facts:
        whole = isinstance(fact, dict) and set(fact) == {"text", "source"} and all(fact.values())
        _must(whole, name, f"has a fact {fact}; give text and source")
    return Material(
        name=name,
        title=title,
        family=family,
        values=values,
        facts=tuple(Fact(**fact) for fact in facts),
        missing=tuple(missing),
    )


def _value(name: str, key: str, item: Any) -> Value:
    place = f"{name}.{key}"
    whole = isinstance(item, dict) and {"value", "unit", "source"} <= set(item)
    _must(whole, place, f"is {item!r}; give value, unit and source")
    extra = set(item) - {"value", "unit", "source", "note", "limit", "interval"}
    _must(not extra, place, f"has {', '.join(sorted(extra))}; only note, limit and interval may be "
          "added")  # fmt: skip
    _must(
        isinstance(item["source"], str) and bool(item["source"].strip()),
        place,
        "has no source; say where it was published",
    )
    _must(item.get("limit", "") in LIMITS, place, f"has limit {item.get('limit')!r}; "
          "take at_least or at_most")  # fmt: skip
    try:
        unit = known_key(key).unit
        value = checked(key, item["value"])
        interval = tuple(number(f"the interval of {key}", end) for end in item.get("interval", ()))
    except (ClnfError, TypeError) as error:
        raise ConfigError(f"catalogue row {name}: {error}") from None
    _must(item["unit"] == unit, place, f"is in {item['unit']!r}; this key is in {unit!r}")
    return Value(
        value=value,
        unit=unit,
        source=item["source"],
        material=name,
        note=item.get("note", ""),
        limit=item.get("limit", ""),
        interval=interval,
    )


def _ordered(name: str, values: Mapping[str, Value]) -> None:
    """Refuse a conductance window whose ends are the wrong way round."""
    low, high = (values.get(key) for key in _WINDOW)
    if low and high and not low.number < high.number:
        raise DeviceLimitError(
            f"conductance_min_s of {name} must be below conductance_max_s, got {low.number:g} and "
            f"{high.number:g} S; give both ends"
        )


def _must(good: bool, place: str, fault: str) -> None:
    if not good:
        raise ConfigError(f"catalogue row {place} {fault}")


@cache
def _catalogue() -> dict[str, Material]:
    text = files("clnf.devices").joinpath("materials.toml").read_text(encoding="utf-8")
    return read_catalogue(text)


def materials() -> tuple[str, ...]:
    """Names of all rows of the catalogue."""
    return tuple(_catalogue())


def material(name: str | Path) -> Material:
    """One row of the catalogue, or a material of your own.

    Args:
        name: of a row, or a TOML file with one row in the form of the catalogue, such as
            ``clnf chip fit`` writes.

    Raises:
        ConfigError: there is no row or file of that name, or the file is not in order.

    >>> material("gst_pcm").get("conductance_max_s").number
    2.5e-05
    """
    if not isinstance(name, (str, Path)):
        raise ConfigError(
            f"a material goes by its name or file, got {shown(name)}; give one of "
            f"{', '.join(_catalogue())}"
        )
    if str(name).endswith(".toml"):
        return _own(Path(name))
    rows = _catalogue()
    if str(name) not in rows:
        known = ", ".join(rows)
        raise ConfigError(f"no material {str(name)!r}; give a file NAME.toml or one of {known}")
    return rows[str(name)]


def _own(path: Path) -> Material:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "not text in UTF-8"
        raise ConfigError(
            f"{path} cannot be read as a material ({why}); give a TOML file"
        ) from None
    rows = list(read_catalogue(text).values())
    if len(rows) != 1:
        raise ConfigError(f"{path} holds {len(rows)} materials; give a file with one")
    return rows[0]


def lookup(key: str, *names: str) -> Value:
    """The value of ``key`` from the first named material that has one.

    The result says which material it was borrowed from.

    Raises:
        DeviceLimitError: none of them has it.

    >>> lookup("endurance_cycles", "hfo2_array", "hfox_generic").material
    'hfox_generic'
    """
    rows = [material(name) for name in names]
    if not rows:
        raise ConfigError(f"{shown(key)} is looked up in no material; name one, as gst_pcm")
    instance("key", key, str)
    for row in rows:
        if key in row.values:
            return row.values[key]
    return rows[0].get(key)
