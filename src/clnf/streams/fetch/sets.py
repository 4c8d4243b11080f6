"""The sets that can be fetched: where they lie, what they weigh, under which licence."""

import tomllib
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import final

from clnf.core.errors import ConfigError
from clnf.core.units import quantity

__all__ = ["Fetchable", "fetchable", "fetchables"]


@final
@dataclass(frozen=True, kw_only=True)
class Fetchable:
    """One set.

    Attributes:
        name: by which it is asked for.
        what: what it holds.
        url: of an archive, ``.tgz`` or ``.deb``.
        integrity: of the archive, "sha512-BASE64" as npm writes it or "sha256:HEX" as Debian does.
        about_MB: size of the archive.
        keep: endings of the files wanted; licences and origins are kept besides.
        licence: shown before anything is fetched.
    """

    name: str
    what: str
    url: str
    integrity: str
    about_MB: float = quantity("MB")
    keep: tuple[str, ...]
    licence: str


@lru_cache(maxsize=1)
def fetchables() -> dict[str, Fetchable]:
    """All sets by name."""
    text = (files("clnf.streams.fetch") / "sets.toml").read_text(encoding="utf-8")
    return {
        name: Fetchable(name=name, **{**row, "keep": tuple(row["keep"])})
        for name, row in tomllib.loads(text).items()
    }


def fetchable(name: str) -> Fetchable:
    """One set.

    Raises:
        ConfigError: there is none of that name.
    """
    known = fetchables()
    if name not in known:
        raise ConfigError(f"no set {name!r} can be fetched; there are {', '.join(known)}")
    return known[name]
