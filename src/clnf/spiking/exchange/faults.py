"""What is wrong with a graph, as sentences: for the linter, and for whoever runs one."""

from typing import Literal, NamedTuple, final

__all__ = ["Fault"]

Level = Literal["error", "warning", "note"]


@final
class Fault(NamedTuple):
    """One thing to know of a graph.

    Attributes:
        level: ``"error"`` cannot be run, ``"warning"`` others trip over, ``"note"`` is to know.
        where: the node; empty for the whole graph.
        what: is so, with the value seen.
        mend: what to do; empty for nothing.
    """

    level: Level
    where: str
    what: str
    mend: str = ""

    @property
    def sentence(self) -> str:
        """All of it in one line."""
        where = f"{self.where}: " if self.where else ""
        return f"{where}{self.what}" + (f"; {self.mend}" if self.mend else "")
