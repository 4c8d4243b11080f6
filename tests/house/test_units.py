"""Every numeric field of a public dataclass names its unit."""

import dataclasses
import importlib
import pkgutil
import types
import typing
from collections.abc import Iterator
from typing import Any

import pytest

import clnf
from clnf.core.units import quantity

NUMBERS = (int, float, complex)


def modules() -> list[str]:
    return [info.name for info in pkgutil.walk_packages(clnf.__path__, "clnf.")]


def is_number(kind: Any) -> bool:
    """Whether a field of this type holds numbers, by itself, optional or in a tuple or list."""
    if typing.get_origin(kind) in (typing.Union, types.UnionType, tuple, list):
        return any(is_number(part) for part in typing.get_args(kind))
    return kind in NUMBERS


def without_unit(module: types.ModuleType) -> Iterator[str]:
    for name, record in vars(module).items():
        own = isinstance(record, type) and record.__module__ == module.__name__
        if not own or name.startswith("_") or not dataclasses.is_dataclass(record):
            continue
        hints = typing.get_type_hints(record)
        for field in dataclasses.fields(record):
            if is_number(hints[field.name]) and "unit" not in field.metadata:
                yield f"{module.__name__}.{name}.{field.name} has no unit"


@pytest.mark.parametrize("name", modules())
def test_every_module_loads_and_its_numbers_have_units(name: str) -> None:
    found = list(without_unit(importlib.import_module(name)))
    assert not found, "\n".join(found)


def test_a_number_without_a_unit_is_found() -> None:
    @dataclasses.dataclass
    class Pulse:
        width_s: float = quantity("s", 1e-7)
        count: int = 3
        levels: tuple[float, ...] = ()
        limit: float | None = None
        name: str = ""
        on: bool = True

    Pulse.__module__ = "planted"
    module = types.ModuleType("planted")
    module.__dict__["Pulse"] = Pulse
    assert [sentence.split()[0] for sentence in without_unit(module)] == [
        "planted.Pulse.count",
        "planted.Pulse.levels",
        "planted.Pulse.limit",
    ]
