"""The materials catalogue: published values, each with its source, and no invented ones."""

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import final

from clnf.core.errors import ConfigError, DeviceLimitError
from clnf.core.units import quantity

__all__ = ["Material", "Value", "lookup", "material", "materials"]


@final
@dataclass(frozen=True, kw_only=True)
class Value:
    """One published value.

    Attributes:
        value: the number, or the coefficients of the named law.
        unit: SI symbol, ``"1"`` for a pure number.
        source: where it was published.
        material: the catalogue row it comes from.
    """

    value: float | tuple[float, ...] = quantity("1")
    unit: str
    source: str
    material: str

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
class Material:
    """One row of the catalogue: what is known about a material, nothing else."""

    name: str
    title: str
    values: dict[str, Value]

    def get(self, key: str) -> Value:
        """A published value.

        Raises:
            DeviceLimitError: the catalogue holds no such value for this material.
        """
        if key not in self.values:
            raise DeviceLimitError(
                f"no published value of {key!r} is known for {self.name} ({self.title}); "
                f"supply {key} yourself or name a material to borrow it from"
            )
        return self.values[key]


@cache
def _catalogue() -> dict[str, Material]:
    text = files("clnf.devices").joinpath("materials.toml").read_text(encoding="utf-8")
    rows: dict[str, Material] = {}
    for name, row in tomllib.loads(text).items():
        values: dict[str, Value] = {}
        for key, item in row.items():
            if key == "title":
                continue
            raw = item["value"]
            value = tuple(map(float, raw)) if isinstance(raw, list) else float(raw)
            values[key] = Value(
                value=value, unit=item["unit"], source=item["source"], material=name
            )
        rows[name] = Material(name=name, title=row["title"], values=values)
    return rows


def materials() -> tuple[str, ...]:
    """Names of all rows of the catalogue."""
    return tuple(_catalogue())


def material(name: str) -> Material:
    """One row of the catalogue.

    Raises:
        ConfigError: there is no row of that name.

    >>> material("gst_pcm").get("conductance_max_s").number
    2.5e-05
    """
    rows = _catalogue()
    if name not in rows:
        raise ConfigError(f"no material {name!r}; known: {', '.join(rows)}")
    return rows[name]


def lookup(key: str, *names: str) -> Value:
    """The value of ``key`` from the first named material that has one.

    The result says which material it was borrowed from.

    Raises:
        DeviceLimitError: none of them has it.

    >>> lookup("endurance_cycles", "hfo2_array", "hfox_generic").material
    'hfox_generic'
    """
    rows = [material(name) for name in names]
    for row in rows:
        if key in row.values:
            return row.values[key]
    return rows[0].get(key)
