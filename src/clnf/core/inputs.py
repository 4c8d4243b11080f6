"""What people hand in: numbers, choices and objects, each looked at once, at the door.

The sentence names the value, says what it must be and shows what came. Nothing here loads torch.
"""

import dataclasses
import types
from collections.abc import Callable
from functools import cache
from numbers import Integral, Real
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from clnf.core.errors import ConfigError

__all__ = ["check_fields", "instance", "number", "seconds", "shown", "whole"]

T = TypeVar("T")

_LONGEST = 80  # letters of a value in a sentence
_WORDS = {bool: "True or False", int: "a whole number", float: "a number", str: "a text"}


def shown(value: object) -> str:
    """A value as a sentence shows it: on one line, and not too long.

    >>> shown(3.5), shown("x" * 100)[-5:]
    ('3.5', 'x ...')
    """
    text = " ".join(repr(value).split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."


def whole(name: str, value: object, *, least: int | None = None, most: int | None = None) -> int:
    """A whole number in a range, ends included.

    Args:
        name: what the sentence calls it.
        value: anything; True and False are no numbers.
        least: smallest allowed, None for any.
        most: largest allowed, None for any.

    Raises:
        ConfigError: it is none, or out of the range.

    >>> whole("rows", 8, least=1)
    8
    """
    if _is_whole(value):
        found = int(value)  # type: ignore[call-overload]
        if (least is None or found >= least) and (most is None or found <= most):
            return int(found)
    ends = [f"{word} {end}" for word, end in (("from", least), ("to", most)) if end is not None]
    if len(ends) == 1:
        ends = [f"of at least {least}" if most is None else f"of at most {most}"]
    wanted = " ".join(["a whole number", *ends])
    raise ConfigError(f"{name} must be {wanted}, got {shown(value)}; correct it")


def number(name: str, value: object, *, nan: bool = False) -> float:
    """A real number, as a float.

    Args:
        name: what the sentence calls it.
        value: anything; True and False are no numbers.
        nan: let NaN pass, for callers that name the range in its sentence.

    Raises:
        ConfigError: it is no number.

    >>> number("seconds", 3)
    3.0
    """
    if not _is_real(value) or (value != value and not nan):
        raise ConfigError(f"{name} must be a number, got {shown(value)}; correct it")
    return float(value)  # type: ignore[arg-type]


def seconds(name: str, value: object) -> float:
    """A time above 0 s that ends, as a float.

    Args:
        name: what the sentence calls it.
        value: anything.

    Raises:
        ConfigError: it is no number, 0 or less, or infinite.

    >>> seconds("dt_s", 1e-3)
    0.001
    """
    found = number(name, value)
    if not 0.0 < found < float("inf"):
        raise ConfigError(f"{name} must be above 0 and finite, got {found}; correct it")
    return found


def instance(name: str, value: object, kind: type[T], make: str = "") -> T:
    """An object of a class.

    Args:
        name: what the sentence calls it.
        value: anything.
        kind: the class.
        make: what to do, ``"give one"`` where nothing is said.

    Raises:
        ConfigError: it is of another class.

    >>> instance("name", "gst_pcm", str)
    'gst_pcm'
    """
    if not isinstance(value, kind):
        told = make or "give one"
        word = _WORDS.get(kind, f"of class {kind.__name__}")
        raise ConfigError(f"{name} must be {word}, got {shown(value)}; {told}")
    return value


def check_fields(record: Any) -> None:
    """Hold the fields of a dataclass against their annotations; ranges are the record's own.

    A float may be a whole number, an int of any library may be an int. Containers are looked at
    from outside only.

    Raises:
        ConfigError: a field holds another kind of value.

    >>> @dataclasses.dataclass
    ... class Spec: rows: int
    >>> check_fields(Spec(8))
    """
    kind: Any = type(record)
    for name, wanted, fits in _tests(kind):
        value = getattr(record, name)
        if not fits(value):
            raise ConfigError(
                f"{name} of {kind.__name__} must be {wanted}, got {shown(value)}; correct it"
            )


Test = Callable[[object], bool]


@cache
def _tests(kind: Any) -> tuple[tuple[str, str, Test], ...]:
    hints = get_type_hints(kind)
    return tuple((f.name, *_test(hints[f.name])) for f in dataclasses.fields(kind))


def _test(hint: Any) -> tuple[str, Test]:
    """What a value of an annotation is called, and whether something is one."""
    origin, parts = get_origin(hint), get_args(hint)
    if hint is None or hint is type(None):
        return "None", lambda value: value is None
    if origin is Literal:
        words = ", ".join(map(repr, parts))
        return f"one of {words}", lambda value: isinstance(value, str) and value in parts
    if origin in (Union, types.UnionType):
        pairs = [_test(part) for part in parts]
        words = " or ".join(word for word, _ in pairs)
        return words, lambda value: any(fits(value) for _, fits in pairs)
    if hint is int:
        return _WORDS[int], _is_whole
    if hint is float:
        return _WORDS[float], _is_real
    plain = origin or hint
    return _WORDS.get(plain, f"a {plain.__name__}"), lambda value: isinstance(value, plain)


def _is_whole(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_real(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
