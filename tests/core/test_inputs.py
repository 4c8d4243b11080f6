# mypy: disable-error-code="arg-type, dict-item, assignment, unused-ignore, list-item"
"""Values at the door: what passes, and the sentence for what does not."""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
import pytest

from clnf.core.errors import ConfigError
from clnf.core.inputs import check_fields, instance, number, seconds, shown, whole


@pytest.mark.parametrize("value", [3, np.int16(3)])
def test_whole_numbers_of_any_library_become_plain_ones(value: object) -> None:
    assert type(whole("rows", value)) is int
    assert whole("rows", value, least=3, most=3) == 3


@pytest.mark.parametrize("value", [None, "3", 3.0, True, math.nan, math.inf, [3], 1j])
def test_what_is_no_whole_number_is_refused(value: object) -> None:
    with pytest.raises(ConfigError) as error:
        whole("rows", value)
    assert str(error.value) == f"rows must be a whole number, got {value!r}; correct it"


def test_the_range_of_a_whole_number_is_said() -> None:
    for ends, words in (
        ({"least": 1}, "a whole number of at least 1"),
        ({"most": -1}, "a whole number of at most -1"),
        ({"least": 1, "most": 9}, "a whole number from 1 to 9"),
    ):
        with pytest.raises(ConfigError, match=f"rows must be {words}, got 0; correct it"):
            whole("rows", 0, **ends)


@pytest.mark.parametrize("value", [2, 2.0, np.float32(2), Fraction(4, 2)])
def test_real_numbers_become_floats(value: object) -> None:
    assert type(number("time", value)) is float
    assert number("time", value) == 2.0
    assert number("time", math.inf) == math.inf


@pytest.mark.parametrize("value", [None, "2", True, 2j, math.nan, np.ones(1)])
def test_what_is_no_number_is_refused(value: object) -> None:
    with pytest.raises(ConfigError, match=r"time must be a number, got .*; correct it"):
        number("time", value)


def test_nan_passes_where_the_caller_names_the_range() -> None:
    assert math.isnan(number("time", math.nan, nan=True))


def test_an_object_of_another_class_is_refused() -> None:
    assert instance("name", "x", str) == "x"
    with pytest.raises(ConfigError, match="name must be a text, got 3; give one"):
        instance("name", 3, str)
    with pytest.raises(ConfigError, match=r"size must be of class Fraction, got 3; write it"):
        instance("size", 3, Fraction, "write it")


@dataclass(frozen=True, kw_only=True)
class Spec:
    size: int = 1
    share: float = 0.5
    name: str | None = None
    kind: Literal["up", "down"] = "up"
    on: bool = True
    pair: tuple[int, ...] = ()


def test_fields_are_held_against_their_annotations() -> None:
    for good in ({}, {"share": 1, "name": "x", "kind": "down"}, {"size": np.int64(4)}):
        check_fields(Spec(**good))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("field", "value", "wanted"),
    [
        ("size", 1.0, "a whole number, got 1.0"),
        ("size", True, "a whole number, got True"),
        ("share", "x", "a number, got 'x'"),
        ("share", None, "a number, got None"),
        ("name", 3, "a text or None, got 3"),
        ("kind", "left", "one of 'up', 'down', got 'left'"),
        ("kind", np.ones(2), "one of 'up', 'down', got array"),
        ("on", 1, "True or False, got 1"),
        ("pair", [1], "a tuple, got "),
    ],
)
def test_a_field_of_another_kind_is_named(field: str, value: object, wanted: str) -> None:
    with pytest.raises(ConfigError) as error:
        check_fields(Spec(**{field: value}))  # type: ignore[arg-type]
    assert str(error.value).startswith(f"{field} of Spec must be {wanted}")
    assert str(error.value).endswith("; correct it")


def test_times_are_above_0_and_finite() -> None:
    assert seconds("dt_s", Fraction(1, 1000)) == 1e-3
    for bad in (0, -1e-3, math.inf, -math.inf):
        with pytest.raises(ConfigError, match="dt_s must be above 0 and finite"):
            seconds("dt_s", bad)
    for none in (math.nan, "1 ms", None, True):
        with pytest.raises(ConfigError, match="dt_s must be a number"):
            seconds("dt_s", none)


def test_a_long_value_is_cut_and_kept_on_one_line() -> None:
    text = shown(np.zeros((40, 40)))
    assert len(text) < 100
    assert "\n" not in text
