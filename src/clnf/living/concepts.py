"""Names of concepts and their rows in the generator's table."""

from typing import Any, final

from clnf.core.errors import ConfigError
from clnf.living.pictures import safe_name
from clnf.media.judge import OTHER

__all__ = ["Concepts"]

_LONGEST = 60


@final
class Concepts:
    """Concept names in the order of their rows; row 0 is "no concept".

    >>> concepts = Concepts(["faces", "flags"], rows=8)
    >>> concepts.add("hands"), concepts.row("faces"), concepts.names
    (3, 1, ['faces', 'flags', 'hands'])
    """

    def __init__(self, names: list[str], *, rows: int) -> None:
        self.names = list(names)
        self.rows = rows

    def row(self, name: str) -> int:
        """Row of a known concept.

        Raises:
            ConfigError: the concept is unknown; names the known ones.
        """
        if name not in self.names:
            raise ConfigError(f'unknown concept "{name}"; this model knows {", ".join(self.names)}')
        return self.names.index(name) + 1

    def place(self, name: str) -> int:
        """Row that a concept has, or will have once it is added; nothing is changed.

        Raises:
            ConfigError: as in :meth:`check`.
        """
        self.check(name)
        return self.row(name) if name in self.names else len(self.names) + 1

    def check(self, name: str) -> None:
        """Whether a concept may be taught under a name.

        Raises:
            ConfigError: the name is no name, too like a known one, or the table is full.
        """
        if not name.isprintable() or not 1 <= len(name) <= _LONGEST or name != name.strip():
            raise ConfigError(
                f"a concept's name has 1 to {_LONGEST} printable characters and no space at its "
                f"ends, got {name[: _LONGEST + 1]!r}"
            )
        if name.casefold() == OTHER:
            raise ConfigError(f'"{OTHER}" is what the judge calls a picture of nothing; rename it')
        if name in self.names:
            return
        if len(self.names) + 1 >= self.rows:
            raise ConfigError(
                f"there is no room for {name!r}: this run takes {self.rows - 1} concepts and has "
                "them; start a new one, with a larger adapter.own where there is one"
            )
        for known in self.names:
            # Pictures are kept in files named after concepts; one must not replace another's.
            if safe_name(known).casefold() == safe_name(name).casefold():
                raise ConfigError(f'"{name}" is too like the known concept "{known}"; rename it')

    def add(self, name: str) -> int:
        """Row of a concept, taking the next free one where it is new.

        Raises:
            ConfigError: as in :meth:`check`.
        """
        self.check(name)
        if name not in self.names:
            self.names.append(name)
        return self.row(name)

    def state_dict(self) -> dict[str, Any]:
        """Names in row order."""
        return {"names": list(self.names), "rows": self.rows}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave."""
        self.names, self.rows = list(state["names"]), int(state["rows"])
