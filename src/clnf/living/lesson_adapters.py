"""Adapters of its own for each lesson, one after another: what one learned, none overwrites."""

from typing import Any, final

from clnf.chip.groups import Groups
from clnf.chip.hosting import Chip
from clnf.continual.adapters import Stack
from clnf.continual.adapters.pairs import Chooses
from clnf.core.errors import RunError
from clnf.living.features import own_group
from clnf.media.flow import FlowModel

__all__ = ["LessonAdapters"]

_PREFIX = "lesson"


@final
class LessonAdapters:
    """A stack of adapters for so many lessons; each lesson that is kept uses one up.

    The answer is the sum of all that were used, so a lesson needs no name when pictures are asked
    for. Cells are there from the start, for all of them: those not yet used are not read. While a
    lesson is taught the tiles of all others are shut. One that was rolled back leaves its adapter
    to the next. Make these before the generator is hosted, and :meth:`gates` after it.

    Attributes:
        room: lessons there are adapters for.
        used: of them.

    Args:
        engine: whose net gets adapters, in place.
        room: see above, >= 1.
        rank: of each adapter.
        scale: factor on its output.
        seed: of its start.
        only: which leaves get them.

    Raises:
        ConfigError: rank or scale is out of range.
    """

    def __init__(
        self,
        engine: FlowModel,
        room: int,
        *,
        rank: int,
        scale: float = 1.0,
        seed: int = 0,
        only: Chooses | None = None,
    ) -> None:
        self.room, self.used, self._open = room, 0, False
        self._gates: Groups | None = None
        self._stack = Stack(engine.net, rank=rank, scale=scale, seed=seed, only=only)
        for number in range(room):
            self._stack.add(f"{_PREFIX}{number}")
        self._hear()

    def gates(self, chip: Chip, engine: FlowModel) -> Groups:
        """Gates of the adapters' tiles; the look-up table stays open, as its rows have a guard."""
        self._gates = Groups(chip, engine, own_group, free=("net.concept.weight",))
        return self._gates

    def waits(self, layer: str) -> bool:
        """None: all cells are written at once."""
        return False

    def check(self) -> None:
        """Refuse another lesson where no adapter is left.

        Raises:
            RunError: all were used.
        """
        if self.used >= self.room:
            raise RunError(
                f"each of the {self.room} adapters has learned a lesson and none is left; undo a "
                "lesson, or begin a run with more of them: adapter.lessons in the recipe"
            )

    def write(self, row: int) -> None:
        """Nothing is left to write."""

    def begin(self, row: int) -> None:
        """Open the next adapter for a lesson, of whatever concept, and shut all others.

        Raises:
            RunError: all were used.
        """
        self.check()
        if self._gates is None:
            raise RunError("host the generator first, then make the gates of its adapters")
        self._open = True
        self._hear()
        self._gates.open(self._next)
        self._stack.learn(self._next)  # freezes what the gates have frozen already

    def keep(self) -> None:
        """The lesson was committed: its adapter is used."""
        self.used, self._open = self.used + self._open, False

    @property
    def _next(self) -> str:
        return f"{_PREFIX}{self.used}"

    def _hear(self) -> None:
        """Adapters that learned and the one that learns are read, those that wait are not."""
        for number, name in enumerate(self._stack.names):
            self._stack.weigh(name, float(number < self.used + self._open))

    def state_dict(self) -> dict[str, Any]:
        """How many are used, and whether the next one learns."""
        return {"used": self.used, "open": self._open}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave; load the gates' state first."""
        self.used, self._open = state["used"], state["open"]
        self._hear()
        if self._open:
            self._stack.learn(self._next)
