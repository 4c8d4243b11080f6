"""Recipes are TOML files; this reads, writes and hashes them."""

import hashlib
import json
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clnf.core.errors import ConfigError

if TYPE_CHECKING:
    from pydantic import ValidationError

__all__ = ["broken_rule", "dump_toml", "load_toml", "recipe_hash"]


def broken_rule(error: "ValidationError") -> str:
    """The first broken rule of a table of values as half a sentence: key, value, rule."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    rule = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if first["type"] != "value_error":  # ours begin as they should; names in any stay as they are
        rule = rule[:1].lower() + rule[1:]
    if first["type"] == "missing":
        return f"{key} is missing"
    return f"{key} is {first['input']!r}: {rule}" if key else rule


def load_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        ConfigError: the file is missing or is not valid TOML.
    """
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except (FileNotFoundError, IsADirectoryError):
        raise ConfigError(f"no recipe at {path}; give the path of a .toml file") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not a text file; give a .toml file") from None


def dump_toml(values: dict[str, Any]) -> str:
    """Write values as TOML text; keys holding None are left out, as TOML has no null."""
    import tomli_w

    def clean(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: clean(item) for key, item in value.items() if item is not None}
        if isinstance(value, (list, tuple)):
            return [clean(item) for item in value]
        return value

    return tomli_w.dumps(clean(values))


def recipe_hash(values: dict[str, Any]) -> str:
    """SHA-256 of the values in canonical JSON, independent of key order.

    >>> recipe_hash({"a": 1, "b": 2}) == recipe_hash({"b": 2, "a": 1})
    True
    """
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
