"""Names of concepts and their rows in the generator's table."""

from typing import Any, final

from clnf.core.errors import ConfigError

__all__ = ["Concepts"]


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

    def add(self, name: str) -> int:
        """Row of a concept, taking the next free one where it is new.

        Raises:
            ConfigError: the name is empty or the table is full.
        """
        if not name or not name.isprintable():
            raise ConfigError(f"a concept needs a printable name, got {name!r}")
        if name not in self.names:
            if len(self.names) + 1 >= self.rows:
                raise ConfigError(f"the concept table is full ({self.rows} rows); start a new run")
            self.names.append(name)
        return self.row(name)

    def state_dict(self) -> dict[str, Any]:
        """Names in row order."""
        return {"names": list(self.names), "rows": self.rows}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave."""
        self.names, self.rows = list(state["names"]), int(state["rows"])
